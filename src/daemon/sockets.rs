//! The proxy's unix sockets: who may connect, what a daemon that was killed left behind, and their
//! end.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::config::Config;
use crate::local::place;

/// A socket that is listened on; its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    file: File,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Device and inode: whoever puts another file there keeps it.
    same: (u64, u64),
}

/// Binds all of them, or none.
pub(super) fn bind(config: &Config) -> Result<Vec<Socket>, Error> {
    let mode = mode(config);
    let bind = |path: &PathBuf| {
        bind_one(path, mode).map_err(|source| Error::ListenSocket { path: path.clone(), source })
    };
    config.proxy.sockets.iter().map(bind).collect()
}

/// Whoever could be admitted may connect, nobody else: the rest is the gate's.
fn mode(config: &Config) -> u32 {
    let proxy = &config.proxy;
    let others = proxy.auth_uid && !proxy.allow_uids.is_empty()
        || proxy.auth_session && !config.sessions.is_empty();
    if others { 0o666 } else { 0o600 }
}

fn bind_one(path: &Path, mode: u32) -> io::Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            // Only a socket that nobody listens on any more may be replaced.
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
                Err(error) => return Err(error),
            }
        }
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = place::listen(path, mode)?;
    listener.set_nonblocking(true)?;
    let made = fs::symlink_metadata(path)?;
    let file = File { path: path.to_owned(), same: (made.dev(), made.ino()) };
    Ok(Socket { listener, file })
}

impl Socket {
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.same);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a socket's file stays: {}", self.path.display());
        }
    }
}
