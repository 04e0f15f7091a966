//! `audit.key`: 32 random bytes that only this user can read.
//!
//! It signs `audit.head` and `audit.index` and keys the fingerprints of guessable values. Each use
//! gets a key of its own, derived from the file's bytes, so that none can be made to answer for
//! another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::AuditError;
use crate::local::place::NO_LINK;
use crate::local::uid::is_ours;
use crate::model::hex::hex;
use crate::model::id::random_bytes;
use crate::model::secret::Secret;

pub struct Key {
    head: hmac::Key,
    index: hmac::Key,
    fingerprints: Secret,
}

impl Key {
    /// Reads `audit.key` of a state directory. `None`: there is none.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, AuditError> {
        let path = state_dir.join(KEY_FILE);
        match read_bytes(&path) {
            Ok(bytes) => Ok(Some(Self::derive(&bytes))),
            Err(Unread::Io(e)) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(Unread::Io(source)) => Err(AuditError::Key { path, source }),
            Err(Unread::Unsafe(what)) => Err(AuditError::KeyUnsafe { path, what }),
        }
    }

    /// Reads it, or makes it. The caller holds the audit's lock.
    pub(crate) fn read_or_create(state_dir: &Path) -> Result<Self, AuditError> {
        if let Some(key) = Self::read(state_dir)? {
            return Ok(key);
        }
        let path = state_dir.join(KEY_FILE);
        create(&path).map_err(|source| AuditError::Key { path: path.clone(), source })?;
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        Self::read(state_dir)?.ok_or_else(|| AuditError::Key { path, source: gone() })
    }

    /// HMAC-SHA-256 over the head's bytes, in hex.
    pub(crate) fn mac(&self, head: &[u8]) -> String {
        hex(hmac::sign(&self.head, head).as_ref())
    }

    /// The same over the index's bytes.
    pub(crate) fn index_mac(&self, index: &[u8]) -> String {
        hex(hmac::sign(&self.index, index).as_ref())
    }

    /// What [`Secret::keyed_fingerprint`] takes for static keys.
    pub fn fingerprints(&self) -> &Secret {
        &self.fingerprints
    }

    fn derive(bytes: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let head = hmac::sign(&root, b"valetkey audit head 1");
        let index = hmac::sign(&root, b"valetkey audit index 1");
        let fingerprints = hmac::sign(&root, b"valetkey audit fingerprints 1");
        Self {
            head: hmac::Key::new(hmac::HMAC_SHA256, head.as_ref()),
            index: hmac::Key::new(hmac::HMAC_SHA256, index.as_ref()),
            fingerprints: Secret::new(fingerprints.as_ref()),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(****)")
    }
}

enum Unread {
    Io(io::Error),
    Unsafe(&'static str),
}

fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let file =
        OpenOptions::new().read(true).custom_flags(no_follow()).open(path).map_err(Unread::Io)?;
    let meta = file.metadata().map_err(Unread::Io)?;
    if !meta.is_file() {
        return Err(Unread::Unsafe("it is not a regular file"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(Unread::Unsafe("others may read or write it"));
    }
    if !is_ours(meta.uid()) {
        return Err(Unread::Unsafe("it belongs to another user"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN + 1));
    (&file).take(LEN as u64 + 1).read_to_end(&mut bytes).map_err(Unread::Io)?;
    if bytes.len() != LEN {
        return Err(Unread::Unsafe("it is not 32 bytes long"));
    }
    Ok(bytes)
}

/// Written under another name and then linked, which fails where the name is taken: a kill
/// in between never leaves half a key.
fn create(path: &Path) -> io::Result<()> {
    let fresh = path.with_extension("key.new");
    if let Err(e) = fs::remove_file(&fresh)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file: File =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&*Zeroizing::new(random_bytes()))?;
    file.sync_all()?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    linked
}

/// A link in the last place is not followed, and opening never waits (a FIFO would).
pub(crate) fn no_follow() -> i32 {
    NO_LINK
}

const KEY_FILE: &str = "audit.key";
const LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_made_once_and_must_be_private() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Key::read(dir.path()).unwrap().is_none());
        let one = Key::read_or_create(dir.path()).unwrap();
        let two = Key::read_or_create(dir.path()).unwrap();
        assert_eq!(one.mac(b"x"), two.mac(b"x"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(Key::read(dir.path()).unwrap_err().code(), "audit-key-unsafe");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert_eq!(Key::read_or_create(dir.path()).unwrap_err().code(), "audit-key-unsafe");
        assert_eq!(format!("{one:?}"), "Key(****)");
    }
}
