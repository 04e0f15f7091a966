//! The key that stored logins are encrypted with, and what keeps it.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{LoginsError, read};
use crate::model::id::random_bytes;

/// What keeps the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// A file beside the logins.
    KeyFile,
}

impl Protection {
    /// As it stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyFile => "key-file",
        }
    }

    /// What that means, for whoever opens the file.
    pub fn note(self) -> &'static str {
        match self {
            Self::KeyFile => {
                "a refresh token, encrypted with the key in the file `key` beside it (mode 0600): whoever reads both can use it"
            }
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyFile => "the key file",
        })
    }
}

/// 256 bits.
pub(super) struct Key(Zeroizing<[u8; LEN]>);

impl Key {
    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }
}

/// The key of a login that is there.
pub(super) fn find(dir: &Path, protection: Protection) -> Result<Key, LoginsError> {
    match protection {
        Protection::KeyFile => read_file(dir)?.ok_or_else(|| LoginsError::Key {
            protection,
            why: format!("there is no {}", dir.join(NAME).display()),
        }),
    }
}

/// The key for a login that is to be stored.
pub(super) fn find_or_make(dir: &Path) -> Result<(Protection, Key), LoginsError> {
    if read_file(dir)?.is_none() {
        make(dir).map_err(|source| LoginsError::Unwritable { path: dir.join(NAME), source })?;
    }
    Ok((Protection::KeyFile, find(dir, Protection::KeyFile)?))
}

fn read_file(dir: &Path) -> Result<Option<Key>, LoginsError> {
    let path = dir.join(NAME);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    match Key::of(&bytes) {
        Some(key) => Ok(Some(key)),
        None => Err(LoginsError::Damaged(path)),
    }
}

/// Written under a name of its own and then linked, which fails where the name is taken: of two who make
/// one at once both use the first, and a kill in between never leaves half a key.
fn make(dir: &Path) -> io::Result<()> {
    let mut fresh = tempfile::Builder::new().prefix("key-").tempfile_in(dir)?;
    fresh.write_all(&*Zeroizing::new(random_bytes()))?;
    fresh.as_file().sync_all()?;
    match fs::hard_link(fresh.path(), dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(dir)?.sync_all()
}

const NAME: &str = "key";
const LEN: usize = 32;
