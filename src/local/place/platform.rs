//! Linux: a path walked one name at a time, each by the descriptor of the directory that it stands
//! in, so that what was judged is what is used. Links are followed here and not by the kernel, for
//! whose they are counts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, openat, readlinkat,
};
use rustix::io::Errno;

use super::exposure::Exposure;
use crate::local::uid;

/// As many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Nothing is read through it, and no right to read is needed (open(2)).
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
pub(super) struct Walked {
    /// The directory that the last name stands in.
    pub(super) parent: OwnedFd,
    /// Without links: where it really is.
    pub(super) path: PathBuf,
    /// What stands there; `None`: nothing.
    pub(super) found: Option<Entry>,
    /// By whom else it could be replaced.
    pub(super) exposure: Option<Exposure>,
    /// The first link on the way that another user made.
    pub(super) link: Option<Exposure>,
}

/// What stands under a name, held by a descriptor that nothing can be read through.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
}

impl Entry {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Walks `path`, which must be absolute. All but the last name must be there.
pub(super) fn walk(path: &Path) -> io::Result<Walked> {
    let root = || openat(CWD, "/", LOOK | OFlags::DIRECTORY, Mode::empty());
    let mut parent = root()?;
    let mut real = PathBuf::from("/");
    let mut exposure = exposed_directory(&real, &parent, &fstat(&parent)?);
    let mut names: VecDeque<OsString> = names(path).collect();
    let (mut links, mut link) = (0, None);
    let Some(mut name) = names.pop_front() else {
        let stat = fstat(&parent)?;
        let fd = root()?;
        return Ok(Walked {
            parent,
            path: real,
            found: Some(Entry { fd, stat }),
            exposure,
            link: None,
        });
    };
    loop {
        let fd = match openat(&parent, &name, LOOK, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if names.is_empty() => {
                return Ok(Walked { parent, path: real.join(name), found: None, exposure, link });
            }
            Err(error) => return Err(error.into()),
        };
        let entry = Entry { stat: fstat(&fd)?, fd };
        if name == ".." {
            real.pop();
        } else {
            real.push(&name);
        }
        match entry.kind() {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let foreign = foreign(&real, &entry.stat);
                link = link.or_else(|| foreign.clone());
                worsen(&mut exposure, foreign);
                let target = readlinkat(&entry.fd, "", Vec::new())?.into_bytes();
                let target = PathBuf::from(OsString::from_vec(target));
                real.pop();
                if target.is_absolute() {
                    parent = root()?;
                    real = PathBuf::from("/");
                }
                for name in self::names(&target).collect::<Vec<_>>().into_iter().rev() {
                    names.push_front(name);
                }
            }
            FileType::Directory if !names.is_empty() => {
                worsen(&mut exposure, exposed_directory(&real, &entry.fd, &entry.stat));
                parent = entry.fd;
            }
            _ if !names.is_empty() => return Err(Errno::NOTDIR.into()),
            _ => return Ok(Walked { parent, path: real, found: Some(entry), exposure, link }),
        }
        name = match names.pop_front() {
            Some(next) => next,
            // A link to `/`, or to nothing at all.
            None => OsString::from("."),
        };
    }
}

/// The names of a path; `.` is none, and `..` is one: it is walked as the kernel would.
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    })
}

/// A path by which the kernel reaches what a descriptor of ours holds, whatever has its name by now
/// (proc(5)).
pub(super) fn by_descriptor(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Whose name stands before whose rights: the owner can change those.
fn worsen(known: &mut Option<Exposure>, more: Option<Exposure>) {
    match (&known, &more) {
        (None, Some(_)) | (Some(Exposure::Writable { .. }), Some(Exposure::Owner { .. })) => {
            *known = more;
        }
        _ => {}
    }
}

/// Who else can put something else in the place of what is in a directory.
fn exposed_directory(path: &Path, fd: &OwnedFd, stat: &Stat) -> Option<Exposure> {
    if let Some(foreign) = foreign(path, stat) {
        return Some(foreign);
    }
    let mode = stat.st_mode & 0o7777;
    // In a sticky directory only the owner of a file can take its name away, and owners are judged
    // as well.
    if mode & 0o1000 != 0 || !others_may_write(fd, stat) {
        return None;
    }
    let read_only =
        fstatvfs(fd.as_fd()).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY));
    (!read_only).then(|| Exposure::Writable { path: path.to_owned(), mode })
}

/// Whether further users are named in an access list (acl(5)): then the bits of the group are all
/// that any may do.
fn has_list(fd: &OwnedFd) -> bool {
    rustix::fs::getxattr_query(by_descriptor(fd), "system.posix_acl_access").is_ok()
}

/// Whether users other than the owner and root have the right to write, to a file or to a
/// directory.
pub(super) fn others_may_write(fd: &OwnedFd, stat: &Stat) -> bool {
    stat.st_mode & 0o002 != 0
        || (stat.st_mode & 0o020 != 0 && (uid::is_shared(stat.st_gid, stat.st_uid) || has_list(fd)))
}

/// Another user's. One that this namespace does not know counts as root: above a place of our own
/// that is what it is on the machine outside.
fn foreign(path: &Path, stat: &Stat) -> Option<Exposure> {
    let uid = stat.st_uid;
    let fine = uid == 0 || uid::is_ours(uid) || uid::overflow() == Some(uid);
    (!fine).then(|| Exposure::Owner { path: path.to_owned(), uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn exposure(path: &Path) -> Option<Exposure> {
        walk(path).unwrap().exposure
    }

    #[test]
    fn leads_where_the_kernel_leads() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("a/b")).unwrap();
        fs::write(at.join("a/b/file"), "x").unwrap();
        symlink("b", at.join("a/link")).unwrap();
        symlink(at.join("a/link/file"), at.join("absolute")).unwrap();
        symlink("loop", at.join("loop")).unwrap();
        symlink("../..", at.join("a/b/up")).unwrap();
        symlink("/", at.join("root")).unwrap();
        for path in [
            "a/b/file",
            "a/link/file",
            "absolute",
            "a/b/../link/file",
            "a/b/up/absolute",
            "a/link/",
        ] {
            let walked = walk(&at.join(path)).unwrap();
            assert_eq!(walked.path, at.join(path).canonicalize().unwrap(), "{path}");
            assert!(walked.found.is_some(), "{path}");
        }
        for path in ["/", "/.", "/..", "/../.."] {
            assert_eq!(walk(Path::new(path)).unwrap().path, Path::new("/"), "{path}");
        }
        assert_eq!(walk(&at.join("root")).unwrap().path, Path::new("/"));
        let absent = walk(&at.join("a/link/none")).unwrap();
        assert!(absent.found.is_none() && absent.path == at.join("a/b/none"));
        let error = |path: &str| walk(&at.join(path)).unwrap_err();
        assert_eq!(error("none/none").kind(), io::ErrorKind::NotFound);
        assert_eq!(error("a/b/file/none").kind(), io::ErrorKind::NotADirectory);
        assert_eq!(error("loop").raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn says_who_else_may_write_above() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let (open, below) = (at.join("open"), at.join("open/below"));
        fs::create_dir_all(&below).unwrap();
        let mode = |mode| fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        for fine in [0o700, 0o755, 0o1777] {
            mode(fine);
            assert_eq!(exposure(&below), None, "{fine:o}");
        }
        mode(0o777);
        let wanted = Some(Exposure::Writable { path: open.clone(), mode: 0o777 });
        assert_eq!(exposure(&below), wanted);
        assert_eq!(exposure(&open), None, "what is above it is fine");
        // By way of a link as well.
        symlink(&open, at.join("link")).unwrap();
        assert_eq!(exposure(&at.join("link/below")), wanted);
    }
}
