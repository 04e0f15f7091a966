//! The key that stored logins are encrypted with, and the file that it may be kept in.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::LoginsError;
use super::disk::read;
use crate::model::id::random_bytes;

/// A key of 256 bits, wiped when it is dropped.
pub(super) struct Key(Zeroizing<[u8; LEN]>);

/// Says nothing of the key.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

impl Key {
    pub(super) fn random() -> Self {
        Self(Zeroizing::new(random_bytes()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }

    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }
}

/// The key of a login that is there, in a file.
pub(super) fn find(dir: &Path) -> Result<Key, LoginsError> {
    read_file(dir)?.ok_or_else(|| LoginsError::Key(dir.join(KEY_FILE)))
}

/// The key for a login that is to be stored in a file.
pub(super) fn find_or_make(dir: &Path) -> Result<Key, LoginsError> {
    if read_file(dir)?.is_none() {
        make(dir).map_err(|source| LoginsError::Unwritable { path: dir.join(KEY_FILE), source })?;
    }
    find(dir)
}

fn read_file(dir: &Path) -> Result<Option<Key>, LoginsError> {
    let path = dir.join(KEY_FILE);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    match Key::of(&bytes) {
        Some(key) => Ok(Some(key)),
        None => Err(LoginsError::Damaged(path)),
    }
}

/// Written under a name of its own and then linked, which fails where the name is taken: of two who
/// make one at once both use the first, and a kill in between never leaves half a key.
fn make(dir: &Path) -> io::Result<()> {
    let mut fresh = tempfile::Builder::new().prefix("key-").tempfile_in(dir)?;
    fresh.write_all(&*Zeroizing::new(random_bytes()))?;
    fresh.as_file().sync_all()?;
    match fs::hard_link(fresh.path(), dir.join(KEY_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(dir)?.sync_all()
}

const KEY_FILE: &str = "key";
const LEN: usize = 32;
