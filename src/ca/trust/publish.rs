//! `[ca] publish`: the roots in a directory that others share and may write to, a container's
//! volume.
//!
//! The way there is walked once, name by name, and from then on what is written is written in that
//! very directory: whoever may write on the way cannot lead us elsewhere.
//!
//! Nothing that lies there is followed, opened or read: what is there is compared, by what `stat`
//! says of the name itself, with the file that we wrote, and anything else is replaced. So a link,
//! a pipe or a file without end costs whoever put it there, and not us.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustls::pki_types::CertificateDer;

use super::{CA, COMBINED, JAVA, TrustError, io_error, java, merged, text};
use crate::ca::pem;
use crate::local::place;
use crate::model::id::random_text;
use crate::model::lock::lock;

/// Keeps the files as they should be.
#[derive(Debug)]
pub struct Publisher {
    dir: PathBuf,
    last: Mutex<Published>,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All was as we had left it.
    Unchanged,
    /// The roots changed, or were written for the first time.
    Written,
    /// Somebody else had changed or removed a file.
    Repaired,
}

/// What lies there, if nobody touched it.
#[derive(Debug, Default)]
struct Published {
    /// Where they lie: the directory that was found first, whatever has its name by now.
    dir: Option<OwnedFd>,
    ours: String,
    files: Vec<PublishedFile>,
}

#[derive(Debug)]
struct PublishedFile {
    name: &'static str,
    /// Kept, so that a repair costs one write however often it is needed.
    bytes: Vec<u8>,
    stamp: Option<Stamp>,
}

/// Which file it is and when it was last changed; that time nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([i128; 5]);

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self([
            stat.st_dev.into(),
            stat.st_ino.into(),
            stat.st_size.into(),
            stat.st_ctime.into(),
            stat.st_ctime_nsec.into(),
        ])
    }
}

impl Publisher {
    /// For this directory, which must be there.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, last: Mutex::default() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes what is missing or not ours. `platform` is asked when our own roots have changed.
    pub fn keep(
        &self,
        ours_pem: &str,
        platform: impl FnOnce() -> Vec<CertificateDer<'static>>,
    ) -> Result<Kept, TrustError> {
        let mut last = lock(&self.last);
        let Published { dir, ours, files } = &mut *last;
        let dir = self.same(dir)?;
        let fresh = *ours != ours_pem;
        if fresh {
            *files = files_of(ours_pem, &platform())?;
            ours_pem.clone_into(ours);
        }
        let mut kept = if fresh { Kept::Written } else { Kept::Unchanged };
        for entry in files {
            let found = rustix::fs::statat(dir, entry.name, AtFlags::SYMLINK_NOFOLLOW);
            if entry.stamp.is_some() && found.ok().map(|stat| Stamp::of(&stat)) == entry.stamp {
                continue;
            }
            let failed = |error| io_error("write a bundle", &self.dir.join(entry.name), error);
            entry.stamp = Some(write(dir, entry.name, &entry.bytes).map_err(failed)?);
            kept = if fresh { Kept::Written } else { Kept::Repaired };
        }
        Ok(kept)
    }

    /// The directory, which is found once. That its name leads elsewhere by now is no reason to
    /// write there.
    fn same<'a>(&self, kept: &'a mut Option<OwnedFd>) -> Result<&'a OwnedFd, TrustError> {
        let failed = |error| io_error("open the shared directory", &self.dir, error);
        let found = place::directory(&self.dir).map_err(|error| failed(error.into()))?;
        let identity = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        let kept = kept.get_or_insert(found.try_clone().map_err(failed)?);
        let same = identity(kept).and_then(|kept| Ok(kept == identity(&found)?));
        match same.map_err(|error| failed(error.into()))? {
            true => Ok(kept),
            false => Err(io_error(
                "use the shared directory, whose name leads to another one by now (a restart takes that)",
                &self.dir,
                io::ErrorKind::NotFound.into(),
            )),
        }
    }
}

fn files_of(
    ours_pem: &str,
    platform: &[CertificateDer<'static>],
) -> Result<Vec<PublishedFile>, TrustError> {
    let ours = pem::certificates(ours_pem.as_bytes()).ok_or(TrustError::Roots)?;
    let all = merged(&ours, Vec::new(), platform);
    let entry = |name, bytes| PublishedFile { name, bytes, stamp: None };
    Ok(vec![
        entry(CA, text(&ours).into_bytes()),
        entry(JAVA, java::trust_store(&all)?),
        entry(COMBINED, text(&all).into_bytes()),
    ])
}

/// Whole or not at all: beside it first, under a name that must be free, then in the place of
/// whatever is there.
fn write(dir: &OwnedFd, name: &str, bytes: &[u8]) -> io::Result<Stamp> {
    let beside = format!(".{name}.new");
    let remove = || rustix::fs::unlinkat(dir, &beside, AtFlags::empty());
    clear(dir, &beside)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let mut file = File::from(rustix::fs::openat(dir, &beside, flags, mode)?);
    let written = (|| {
        // The umask may have taken something away.
        rustix::fs::fchmod(&file, mode)?;
        file.write_all(bytes)?;
        match rustix::fs::renameat(dir, &beside, dir, name) {
            // No file takes the place of a directory.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                set_aside(dir, name)?;
                rustix::fs::renameat(dir, &beside, dir, name)?;
            }
            other => other?,
        }
        // Of our own file, whatever has the name by now; renaming counts as a change.
        Ok(Stamp::of(&rustix::fs::fstat(&file)?))
    })();
    if written.is_err() {
        let _ = remove();
    }
    written
}

/// Frees a name, whatever has it.
fn clear(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => set_aside(dir, name),
        Err(error) => Err(error.into()),
    }
}

/// Takes the name away from a directory: removed where it is empty, else left beside under another
/// name. What is in it is not looked at: that is whoever's put it there.
fn set_aside(dir: &OwnedFd, name: &str) -> io::Result<()> {
    if rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    let aside = format!(".{name}.not-ours-{}", &random_text()[..10]);
    Ok(rustix::fs::renameat(dir, name, dir, &aside)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::super::tests::root;
    use super::*;

    type Planted<'a> = (&'a str, &'a dyn Fn(&Path));

    #[test]
    fn what_others_put_there_is_replaced_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        let publisher = Publisher::new(shared.clone());
        let (ours, platform) = (pem::certificate(&root()), root());
        let keep = || publisher.keep(&ours, || vec![platform.clone()]);
        assert_eq!(keep().unwrap(), Kept::Written);
        assert_eq!(keep().unwrap(), Kept::Unchanged);
        let ca = shared.join(CA);
        let is_ours = || {
            let found = ca.symlink_metadata().unwrap();
            found.is_file() && fs::read_to_string(&ca).unwrap() == ours
        };
        assert!(is_ours() && ca.metadata().unwrap().mode() & 0o777 == 0o644);

        let victim = dir.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let plant: [Planted<'_>; 6] = [
            ("nothing", &|_| {}),
            ("a link", &|path| symlink(&victim, path).unwrap()),
            ("a link to nowhere", &|path| symlink(dir.path().join("made"), path).unwrap()),
            ("another's file", &|path| fs::write(path, "evil").unwrap()),
            ("the same text", &|path| fs::write(path, &ours).unwrap()),
            ("a file without end", &|path| {
                File::create(path).unwrap().set_len(1 << 40).unwrap();
            }),
        ];
        for (what, plant) in plant {
            for name in [CA, ".valetkey-ca.pem.new"] {
                let path = shared.join(name);
                let _ = fs::remove_file(&path);
                let _ = fs::remove_file(&ca);
                plant(&path);
                assert_eq!(keep().unwrap(), Kept::Repaired, "{what} as {name}");
                assert!(is_ours(), "{what} as {name}");
            }
        }
        let pipe = std::process::Command::new("sh")
            .args(["-c", "rm \"$0\"; mkfifo \"$0\""])
            .arg(&ca)
            .status();
        assert!(pipe.unwrap().success());
        assert_eq!(keep().unwrap(), Kept::Repaired, "a pipe holds nobody up");
        assert!(is_ours());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert!(!dir.path().join("made").exists());

        // A directory goes, by whatever name it stands in the way; one with something in it is left
        // beside.
        for name in [CA, ".valetkey-ca.pem.new"] {
            for inside in ["", "full"] {
                let path = shared.join(name);
                let _ = fs::remove_file(&path);
                fs::create_dir_all(path.join(inside)).unwrap();
                let _ = fs::remove_file(&ca);
                assert_eq!(keep().unwrap(), Kept::Repaired, "{name}/{inside}");
                assert!(is_ours(), "{name}/{inside}");
            }
        }
        let aside = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("not-ours");
        let left: Vec<_> = fs::read_dir(&shared).unwrap().flatten().filter(aside).collect();
        assert_eq!(left.len(), 2);
        for entry in left {
            fs::remove_dir_all(entry.path()).unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [COMBINED, JAVA, CA], "nothing is left over");

        // Nor is a link in the place of the directory followed.
        fs::rename(&shared, dir.path().join("moved")).unwrap();
        symlink(dir.path().join("moved"), &shared).unwrap();
        assert_eq!(keep().unwrap_err().code(), "trust-io");
    }

    #[test]
    fn new_roots_are_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::new(dir.path().to_owned());
        let (first, second) = (pem::certificate(&root()), pem::certificate(&root()));
        assert_eq!(publisher.keep(&first, Vec::new).unwrap(), Kept::Written);
        assert_eq!(publisher.keep(&second, Vec::new).unwrap(), Kept::Written);
        assert_eq!(fs::read_to_string(dir.path().join(CA)).unwrap(), second);
        assert_eq!(fs::read_to_string(dir.path().join(COMBINED)).unwrap(), second);
    }
}
