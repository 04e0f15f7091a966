//! `audit.head`: the chain's end, signed, in a small file of its own.
//!
//! A chain alone cannot show that its last records are gone; the head names them. It is replaced as
//! a whole after records were written, so it may be behind the file, never ahead of it. It also
//! names the oldest record that rotation has kept, so that a missing first record shows too.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Link};
use super::key::Key;
use super::signed::{self, Signed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) link: Link,
    /// Sequence number of the oldest record that has not been deleted by rotation.
    pub(crate) oldest: u64,
}

/// What stands in the place of the head.
pub(crate) type HeadFile = Signed<Head>;

impl Head {
    /// Replaces the file at `path` atomically.
    pub(crate) fn write(&self, path: &Path, key: &Key, time: &str) -> io::Result<()> {
        let shape = HeadFields {
            v: 1,
            seq: self.link.seq,
            hash: self.link.hash.hex(),
            time: time.into(),
            oldest: self.oldest,
        };
        signed::write(path, &shape, |text| key.mac(text))
    }
}

impl HeadFile {
    /// Reads and checks the file at `path`.
    pub(crate) fn read(path: &Path, key: &Key) -> io::Result<Self> {
        let file = signed::read(path, |text| key.mac(text))?;
        Ok(match file {
            Signed::Valid(HeadFields { seq, hash, oldest, .. }) => {
                match Hash::parse(hash.as_bytes()) {
                    Some(hash) => Self::Valid(Head { link: Link { seq, hash }, oldest }),
                    None => Self::Invalid,
                }
            }
            Signed::Absent => Self::Absent,
            Signed::Invalid => Self::Invalid,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct HeadFields {
    v: u32,
    seq: u64,
    hash: String,
    time: String,
    oldest: u64,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn survives_and_shows_changes() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::read_or_create(dir.path()).unwrap();
        let path = dir.path().join("audit.head");
        assert_eq!(HeadFile::read(&path, &key).unwrap(), HeadFile::Absent);
        let head = Head { link: Link { seq: 12, ..Link::START }, oldest: 3 };
        head.write(&path, &key, "now").unwrap();
        assert_eq!(HeadFile::read(&path, &key).unwrap(), HeadFile::Valid(head));

        let text = fs::read(&path).unwrap();
        for at in 0..text.len() {
            let mut bad = text.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(HeadFile::read(&path, &key).unwrap(), HeadFile::Invalid, "byte {at}");
        }
    }
}
