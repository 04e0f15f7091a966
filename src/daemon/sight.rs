//! What the files of a config hold, at the cost of a `stat` each where nothing happened.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::local::place;
use crate::model::hex::hex;

/// A file as young as this may change without its times telling: they are as coarse as the kernel's
/// tick, and on some filesystems as a second.
const YOUNG: Duration = Duration::from_secs(3);
/// The most of a file that is looked at, in bytes; nothing that config names is larger.
const MOST: u64 = 64 * 1024 * 1024;

/// What the files held at one look.
pub(super) type Sight = BTreeMap<PathBuf, Content>;

/// What one of them held: a digest, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Digest([u8; 32]),
    Error(io::ErrorKind),
}

impl Content {
    /// The digest, as [`crate::config::Config::digest`] has it.
    pub(super) fn hex(&self) -> Option<String> {
        match self {
            Self::Digest(digest) => Some(hex(digest)),
            Self::Error(_) => None,
        }
    }
}

/// The files, and what makes a second look at them cheap.
#[derive(Debug, Default)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    known: BTreeMap<PathBuf, (Stamp, Content)>,
}

/// What changes with a file's content, when there is time enough between two changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    pub(super) fn name(&mut self, paths: Vec<PathBuf>) {
        self.known.retain(|path, _| paths.contains(path));
        self.paths = paths;
    }

    pub(super) fn look(&mut self) -> Sight {
        let now = SystemTime::now();
        let mut sight = Sight::new();
        for path in &self.paths {
            let content = match fs::metadata(path) {
                // A pipe would not end.
                Ok(meta) if meta.is_file() => {
                    let stamp = Stamp::of(&meta);
                    match self.known.get(path) {
                        Some((known, content)) if *known == stamp && !is_young(&meta, now) => {
                            *content
                        }
                        _ => {
                            let content = read(path);
                            self.known.insert(path.clone(), (stamp, content));
                            content
                        }
                    }
                }
                // What is called like a file of policies may be one.
                Ok(meta) if meta.is_dir() => names_in(path),
                Ok(_) => Content::Error(io::ErrorKind::InvalidInput),
                Err(error) => Content::Error(error.kind()),
            };
            sight.insert(path.clone(), content);
        }
        sight
    }
}

/// Of a directory, which files of policies it has. What they hold is seen of each.
fn names_in(dir: &Path) -> Content {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return Content::Error(error.kind()),
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| name.as_bytes().ends_with(b".cedar") && !name.as_bytes().starts_with(b"."));
    names.sort();
    let mut digest = digest::Context::new(&digest::SHA256);
    for name in &names {
        digest.update(name.as_bytes());
        digest.update(b"\0");
    }
    content(digest.finish())
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// By the time that nobody can set, and a clock that may have been set back.
fn is_young(meta: &fs::Metadata, now: SystemTime) -> bool {
    let changed = u64::try_from(meta.ctime()).unwrap_or_default();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    now.duration_since(changed).is_ok_and(|age| age < YOUNG) || changed > now
}

/// Through one small buffer, wiped afterwards: it may be a secret.
fn read(path: &Path) -> Content {
    let mut buffer = Zeroizing::new([0; 8192]);
    let mut context = digest::Context::new(&digest::SHA256);
    let mut digest = || -> io::Result<()> {
        let mut file = place::open(path)?.into_file().take(MOST);
        loop {
            match file.read(buffer.as_mut_slice())? {
                0 => return Ok(()),
                length => context.update(&buffer[..length]),
            }
        }
    };
    match digest() {
        Ok(()) => content(context.finish()),
        Err(error) => Content::Error(error.kind()),
    }
}

/// Of SHA-256.
fn content(digest: digest::Digest) -> Content {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Content::Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&Path]) -> Files {
        let mut files = Files::default();
        files.name(paths.iter().map(|path| path.to_path_buf()).collect());
        files
    }

    #[test]
    fn every_way_to_change_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let link = dir.path().join("link");
        fs::write(&path, "one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut files = files(&[&path, &link]);
        let mut last = files.look();
        assert_eq!(files.look(), last, "nothing happened");
        let mut differs = |what: &str| {
            let now = files.look();
            assert_ne!(now, last, "{what}");
            last = now;
        };
        // As long as before, and faster than any clock of a filesystem.
        fs::write(&path, "two").unwrap();
        differs("written in place");
        let other = dir.path().join("b");
        fs::write(&other, "six").unwrap();
        fs::rename(&other, &path).unwrap();
        differs("renamed over");
        fs::write(&other, "ten").unwrap();
        let next = dir.path().join("next");
        std::os::unix::fs::symlink(&other, &next).unwrap();
        fs::rename(&next, &link).unwrap();
        differs("another target of the symlink");
        fs::remove_file(&path).unwrap();
        differs("removed");
        fs::create_dir(&path).unwrap();
        differs("no file any more");
    }

    #[test]
    fn the_same_content_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut files = files(&[&path]);
        let before = files.look();
        fs::write(dir.path().join("b"), "one").unwrap();
        fs::rename(dir.path().join("b"), &path).unwrap();
        assert_eq!(files.look(), before);
    }
}
