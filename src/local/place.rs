//! Places on disk: a directory of our own, a file that is read, a socket that is connected to. Each
//! is judged with all directories above it and then used by the descriptor that was judged.

mod error;
mod exposure;
mod platform;

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::uid::{self, Uid};
pub use error::PlaceError;
pub use exposure::Exposure;
use platform::{Entry, Walked};

/// For opening a file of ours: a link in the last place is not followed, and opening never waits as
/// for a pipe.
pub const NO_LINK: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

fn walk(path: &Path) -> Result<Walked, PlaceError> {
    let absolute = std::path::absolute(path).map_err(|error| PlaceError::io(path, error))?;
    platform::walk(&absolute).map_err(|error| PlaceError::io(path, error))
}

/// Who else could put something else at `path`, or in its place; `None`: nobody, or there is
/// nothing.
pub fn exposure(path: &Path) -> Option<Exposure> {
    let walked = walk(path).ok()?;
    let found = walked.found?;
    let (uid, mode) = (found.stat.st_uid, found.stat.st_mode & 0o7777);
    if uid != 0 && !uid::is_ours(uid) {
        return Some(Exposure::Owner { path: walked.path, uid });
    }
    let writable = || Exposure::Writable { path: walked.path.clone(), mode };
    walked.exposure.or_else(|| platform::others_may_write(&found.fd, &found.stat).then(writable))
}

/// The same of a name that is there, whatever it leads to: a link that leads nowhere may be
/// somebody's too.
pub fn planted(path: &Path) -> Option<Exposure> {
    let of_itself = || {
        let uid = path.symlink_metadata().ok()?.uid();
        let foreign = uid != 0 && !uid::is_ours(uid);
        foreign.then(|| Exposure::Owner { path: path.to_owned(), uid })
    };
    exposure(path).or_else(of_itself).or_else(|| exposure_of_directory(path))
}

/// Of a directory, one with the sticky bit is safe for what is another's: nobody else can take that
/// away.
fn exposure_of_directory(path: &Path) -> Option<Exposure> {
    let directory = path.parent()?;
    let mode = directory.metadata().ok()?.mode();
    exposure(directory).filter(|_| mode & 0o1000 == 0)
}

/// A directory that is ours alone (0700), held open: what is done by [`Private::anchor`] happens in
/// this very directory, whatever has its name by then.
#[derive(Debug)]
pub struct Private {
    fd: OwnedFd,
    path: PathBuf,
    exposure: Option<Exposure>,
}

impl Private {
    /// Makes it where it is absent, 0700 as every directory above it that is absent too.
    pub fn create(path: &Path) -> Result<Self, PlaceError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| {
            // Something else has its name.
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::AlreadyExists => Self::not_plain(path),
                _ => PlaceError::Io { path, source },
            }
        })?;
        Self::open(path)
    }

    /// Opens a directory that is there; one that is not is an error.
    pub fn open(path: &Path) -> Result<Self, PlaceError> {
        if Uid::own().is_none() {
            return Err(PlaceError::Unmapped { uid: rustix::process::geteuid().as_raw() });
        }
        let Walked { path: real, found, exposure, .. } = walk(path)?;
        let Some(Entry { fd, stat }) = found else {
            let source = io::ErrorKind::NotFound.into();
            return Err(PlaceError::Absent { path: path.to_owned(), source });
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Self::not_plain(path.to_owned()));
        }
        if !uid::is_ours(stat.st_uid) {
            return Err(PlaceError::Owner { path: real, uid: stat.st_uid });
        }
        let mode = stat.st_mode & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PlaceError::Loose { path: real, mode });
        }
        if let Some(exposure @ Exposure::Owner { .. }) = exposure {
            return Err(PlaceError::Exposed { path: real, exposure });
        }
        Ok(Self { fd, path: real, exposure })
    }

    fn not_plain(path: PathBuf) -> PlaceError {
        PlaceError::NotPlain { path, wanted: "a directory" }
    }

    /// Its path, all links followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who may take its name away: whoever is handed a path below it could be given something else.
    pub fn exposure(&self) -> Option<&Exposure> {
        self.exposure.as_ref()
    }

    /// Believed only where nobody can take its name away either.
    pub fn unexposed(self) -> Result<Self, PlaceError> {
        match self.exposure {
            None => Ok(self),
            Some(exposure) => Err(PlaceError::Exposed { path: self.path, exposure }),
        }
    }

    /// A path to this very directory, for this process alone and while this value lives.
    pub fn anchor(&self) -> PathBuf {
        platform::by_descriptor(&self.fd)
    }
}

/// A file that was opened for reading: a plain one, whoever's it is.
#[derive(Debug)]
pub struct Opened {
    /// Without links: where it really is.
    pub path: PathBuf,
    file: File,
}

impl Opened {
    /// All of it, or an error where it holds more than `most` bytes. One reading.
    pub fn read(self, most: u64) -> Result<Vec<u8>, PlaceError> {
        let mut bytes = Vec::new();
        let read = self.file.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|source| PlaceError::Io { path: self.path.clone(), source })?;
        if bytes.len() as u64 > most {
            return Err(PlaceError::TooLarge { path: self.path, most });
        }
        Ok(bytes)
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// All of it, or the first `most` bytes.
    pub fn read_up_to(self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Opens a plain file. It never waits: a pipe, a device or a directory in its place is refused.
pub fn open(path: &Path) -> Result<Opened, PlaceError> {
    for _ in 0..MAX_SWAPS {
        if let Some(opened) = open_once(path)? {
            return Ok(opened);
        }
    }
    let source = io::Error::other("another file takes its name all the time");
    Err(PlaceError::Io { path: path.to_owned(), source })
}

/// So often a file may be renamed over another between two looks: editors do it once.
const MAX_SWAPS: usize = 32;

/// `None`: another file took its name between two looks.
fn open_once(path: &Path) -> Result<Option<Opened>, PlaceError> {
    let Walked { parent, path: real, found, .. } = walk(path)?;
    let wanted = "a plain file";
    let Some(found) = found else {
        let source = io::ErrorKind::NotFound.into();
        return Err(PlaceError::Absent { path: path.to_owned(), source });
    };
    if found.kind() != FileType::RegularFile {
        return Err(PlaceError::NotPlain { path: path.to_owned(), wanted });
    }
    let name = real.file_name().unwrap_or_default();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // A link, or nothing, by now.
        Err(Errno::LOOP | Errno::NOENT) => return Ok(None),
        Err(error) => return Err(PlaceError::io(path, error.into())),
    };
    let meta = file.metadata().map_err(|error| PlaceError::io(path, error))?;
    let same = (meta.dev(), meta.ino()) == (found.stat.st_dev, found.stat.st_ino);
    Ok(same.then_some(Opened { path: real, file }))
}

/// A directory, whoever's it is, held open: what is done by it happens in this very directory,
/// whatever has its name by then. No link is followed in the last place, nor one on the way that
/// another user made.
pub fn directory(path: &Path) -> Result<OwnedFd, PlaceError> {
    let not_plain = || PlaceError::NotPlain { path: path.to_owned(), wanted: "a directory" };
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_plain());
    };
    let Walked { path: real, found, link, .. } = walk(above)?;
    let Some(Entry { fd, .. }) = found else {
        let source = io::ErrorKind::NotFound.into();
        return Err(PlaceError::Absent { path: path.to_owned(), source });
    };
    if let Some(exposure) = link {
        return Err(PlaceError::Exposed { path: real, exposure });
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&fd, name, flags, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::LOOP | Errno::NOTDIR) => Err(not_plain()),
        Err(error) => Err(PlaceError::io(path, error.into())),
    }
}

/// A link on the way to `path`, or in its place, that another user made: he says where it leads.
pub fn foreign_link(path: &Path) -> Option<Exposure> {
    walk(path).ok()?.link
}

/// Listens at `path`, whose file has this mode from the first moment on: to set it later would be
/// by a name that may lead elsewhere by then. For the start of a process, which no other thread
/// makes files in.
pub fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let before = rustix::process::umask(Mode::from_raw_mode(!mode & 0o777));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// So long a connection waits where more of them are waiting than the kernel queues.
const QUEUED: Duration = Duration::from_secs(4);

/// A socket of ours, where nobody else owns a directory on the way to it.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    /// To this very socket, whatever has its name by now. Somebody may listen and never accept, so
    /// behind others who came first it waits for a while and no longer, and what comes later does
    /// not block.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let flags = SocketFlags::CLOEXEC;
        let stream = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::sockopt::set_socket_timeout(&stream, net::sockopt::Timeout::Send, Some(QUEUED))?;
        net::connect(&stream, &SocketAddrUnix::new(platform::by_descriptor(&self.0))?)?;
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(stream.into())
    }
}

pub(super) fn socket(path: &Path) -> Result<Socket, PlaceError> {
    let Walked { path: real, found, exposure, .. } = walk(path)?;
    let Some(Entry { fd, stat }) = found else {
        let source = io::ErrorKind::NotFound.into();
        return Err(PlaceError::Absent { path: path.to_owned(), source });
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(PlaceError::NotPlain { path: path.to_owned(), wanted: "a socket" });
    }
    if !uid::is_ours(stat.st_uid) {
        return Err(PlaceError::Owner { path: real, uid: stat.st_uid });
    }
    if let Some(exposure @ Exposure::Owner { .. }) = exposure {
        return Err(PlaceError::Exposed { path: real, exposure });
    }
    Ok(Socket(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_private_directory_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let state = at.join("deep/state");
        let private = Private::create(&state).unwrap();
        assert_eq!((private.path(), private.exposure()), (&*state, None));
        // What is done by its anchor stays in it.
        fs::write(private.anchor().join("a"), "1").unwrap();
        fs::rename(&state, at.join("deep/moved")).unwrap();
        fs::create_dir(&state).unwrap();
        fs::write(private.anchor().join("b"), "1").unwrap();
        assert!(at.join("deep/moved/b").exists() && !state.join("b").exists());

        fs::set_permissions(&state, fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(Private::open(&state).unwrap_err().code(), "place-loose");
        fs::remove_dir(&state).unwrap();
        assert_eq!(Private::open(&state).unwrap_err().code(), "place-absent");
        fs::write(&state, "").unwrap();
        for refused in [Private::open(&state), Private::create(&state)] {
            assert_eq!(refused.unwrap_err().code(), "place-not-plain");
        }
        // A link of ours is followed.
        fs::remove_file(&state).unwrap();
        symlink("moved", &state).unwrap();
        assert_eq!(Private::open(&state).unwrap().path(), at.join("deep/moved"));
    }

    #[test]
    fn a_directory_that_others_may_rename_is_exposed() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        let private = Private::create(&at.join("state")).unwrap();
        assert!(private.unexposed().is_ok());
        fs::set_permissions(&at, fs::Permissions::from_mode(0o777)).unwrap();
        let private = Private::open(&at.join("state")).unwrap();
        assert!(private.exposure().is_some_and(|e| e.to_string().contains("other users")));
        assert_eq!(private.unexposed().unwrap_err().code(), "place-exposed");
    }

    #[test]
    fn only_plain_files_are_opened_and_none_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "text").unwrap();
        symlink("file", at("link")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(pipe.success());
        fs::create_dir(at("dir")).unwrap();
        for name in ["file", "link"] {
            let opened = open(&at(name)).unwrap();
            assert_eq!(opened.path, at("file").canonicalize().unwrap());
            assert_eq!(opened.read(4).unwrap(), b"text");
        }
        assert_eq!(open(&at("file")).unwrap().read(3).unwrap_err().code(), "place-too-large");
        assert_eq!(open(&at("file")).unwrap().read_up_to(2).unwrap(), b"te");
        for (name, code) in
            [("pipe", "place-not-plain"), ("dir", "place-not-plain"), ("none", "place-absent")]
        {
            assert_eq!(open(&at(name)).unwrap_err().code(), code, "{name}");
        }
        assert_eq!(open(Path::new("/dev/zero")).unwrap_err().code(), "place-not-plain");
    }
}
