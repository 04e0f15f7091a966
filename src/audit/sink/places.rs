//! The audit's files and their names, for `path = "audit.jsonl"`:
//!
//! - `audit.jsonl`: the current file;
//! - `audit.jsonl.00000000000000000001`: a rotated file, named by its first record's number, so
//!   that names sort as records do and a missing first record shows;
//! - `audit.head`, `audit.torn`, `audit.lock`: the signed end, bytes of killed writes, the lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The paths of one audit.
#[derive(Clone, Debug)]
pub(crate) struct TrailPaths {
    pub(crate) current: PathBuf,
    pub(crate) head: PathBuf,
    pub(crate) torn: PathBuf,
    pub(crate) lock: PathBuf,
}

impl TrailPaths {
    pub(crate) fn of(path: &Path) -> Self {
        Self {
            current: path.to_owned(),
            head: path.with_extension("head"),
            torn: path.with_extension("torn"),
            lock: path.with_extension("lock"),
        }
    }

    /// The directory that holds them all.
    pub(crate) fn dir(&self) -> &Path {
        match self.current.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        }
    }

    /// The rotated file whose first record is `first`.
    pub(crate) fn rotated(&self, first: u64) -> PathBuf {
        let mut name = self.current.clone().into_os_string();
        name.push(format!(".{first:020}"));
        name.into()
    }

    /// The first records of all rotated files, oldest first.
    pub(crate) fn list_rotated(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir())? {
            let path = self.dir().join(entry?.file_name());
            let number = path.extension().and_then(|e| e.to_str()).and_then(|e| e.parse().ok());
            if let Some(first) = number
                && self.rotated(first) == path
            {
                found.push(first);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_own_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let places = TrailPaths::of(&dir.path().join("audit.jsonl"));
        for first in [10_000_000_000, 1, 9] {
            fs::write(places.rotated(first), "").unwrap();
        }
        for name in ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.gz", "b.00000000000000000001"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(places.list_rotated().unwrap(), [1, 9, 10_000_000_000]);
    }
}
