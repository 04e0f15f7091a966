//! The unix socket: made 0600, never through a link, and only for our own uid.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::Caller;
use crate::local::place;
use crate::local::uid::is_ours;

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The system refuses to make the socket.
    #[error("cannot listen on the admin socket: {path}", path = path.display())]
    Bind {
        /// Where the socket was to be.
        path: PathBuf,
        /// What the system says to that.
        source: io::Error,
    },
    /// Something that is no socket lies there.
    #[error("something other than a socket lies at the admin socket's path: {path}", path = path.display())]
    Occupied {
        /// Where something else lies.
        path: PathBuf,
    },
}

impl SocketError {
    /// The stable word of this failure, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "admin-socket-unavailable",
            Self::Occupied { .. } => "admin-socket-occupied",
        }
    }

    /// What the person who started the daemon can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Bind { .. } => {
                "check the directory's permissions, or name another path in admin.socket"
            }
            Self::Occupied { .. } => "look who put it there, and remove it",
        }
    }
}

/// Connections that the kernel queues. Few: whoever comes behind a flood waits for all of it that
/// is queued, and of those that wait for a place in it each has its turn.
const QUEUED: i32 = 64;

/// Listens at `path`. The caller holds the state directory's lock, so a socket left there is a dead
/// daemon's.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError::Bind { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        // Only one that nobody listens on any more: another daemon's is left alone.
        Ok(found) if found.file_type().is_socket() => match StdStream::connect(path) {
            Ok(_) => return Err(failed(io::ErrorKind::AddrInUse.into())),
            Err(_) => fs::remove_file(path).map_err(failed)?,
        },
        Ok(_) => return Err(SocketError::Occupied { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = place::listen(path, 0o600).map_err(failed)?;
    rustix::net::listen(&listener, QUEUED).map_err(|error| failed(error.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}

/// The peer, where it is a process of our own user (`SO_PEERCRED`, unix(7)).
pub(super) fn caller(stream: &UnixStream) -> Option<Caller> {
    let peer = stream.peer_cred().ok().filter(|peer| is_ours(peer.uid()))?;
    // 0: of another PID namespace.
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    Some(Caller { pid })
}
