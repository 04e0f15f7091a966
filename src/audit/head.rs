//! `audit.head`: the chain's end, signed, in a small file of its own.
//!
//! A chain alone cannot show that its last records are gone; the head names them. It is replaced as
//! a whole after records were written, so it may be behind the file, never ahead of it. It also
//! names the oldest record that rotation has kept, so that a missing first record shows too.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Link};
use super::key::{Key, no_follow};
use crate::local::place::{self, PlaceError};

/// The content of `audit.head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last record.
    pub(crate) link: Link,
    /// Sequence number of the oldest record that has not been deleted by rotation.
    pub(crate) oldest: u64,
}

/// What stands in the place of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadFile {
    /// Nothing.
    Absent,
    /// Something that our key did not sign.
    Invalid,
    /// A head.
    Valid(Head),
}

impl Head {
    /// Replaces the file at `path` atomically.
    pub(crate) fn write(&self, path: &Path, key: &Key, time: &str) -> io::Result<()> {
        let shape = Shape {
            v: 1,
            seq: self.link.seq,
            hash: self.link.hash.hex(),
            time: time.into(),
            oldest: self.oldest,
        };
        let mut text = serde_json::to_string(&shape)?;
        text.pop();
        let mac = key.mac(text.as_bytes());
        text.push_str(&format!("{MAC}{mac}\"}}\n"));

        // One writer at a time (the audit's lock), so that one fixed name does and leaves no litter.
        let fresh = path.with_extension("head.new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&fresh, path)
    }
}

impl HeadFile {
    /// Reads and checks the file at `path`.
    pub(crate) fn read(path: &Path, key: &Key) -> io::Result<Self> {
        let text = match place::open(path) {
            Ok(opened) => opened.read(MAX_LEN)?,
            Err(PlaceError::Absent { .. }) => return Ok(Self::Absent),
            Err(error) => return Err(error.into()),
        };
        Ok(parse(&text, key).map_or(Self::Invalid, Self::Valid))
    }
}

fn parse(text: &[u8], key: &Key) -> Option<Head> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix("\"}\n")?;
    let (body, mac) = text.rsplit_once(MAC)?;
    let expected = crate::model::secret::Secret::new(key.mac(body.as_bytes()));
    if !expected.matches(mac.as_bytes()) {
        return None;
    }
    let shape: Shape = serde_json::from_str(&format!("{body}}}")).ok()?;
    let hash = Hash::parse(shape.hash.as_bytes())?;
    Some(Head { link: Link { seq: shape.seq, hash }, oldest: shape.oldest })
}

#[derive(Serialize, Deserialize)]
struct Shape {
    v: u32,
    seq: u64,
    hash: String,
    time: String,
    oldest: u64,
}

const MAC: &str = ",\"mac\":\"";
/// Some 250 bytes are written.
const MAX_LEN: u64 = 4096;

#[cfg(test)]
mod tests {
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
