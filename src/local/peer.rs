//! Who is at the other end of a connection, as the kernel tells.

mod platform;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;

use super::place::{self, PlaceError};
pub use platform::Owner;

/// An IPv4 address as one, also where a socket of both families writes it as IPv6
/// (`::ffff:127.0.0.1`).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        // With the device that a link-local one is on.
        _ => address,
    }
}

/// The owner of the socket whose own address is `peer` and whose other end is `local`. `None` where
/// the kernel knows none: the socket is gone, or lives on another machine or in another network
/// namespace.
pub fn owner_of(peer: SocketAddr, local: SocketAddr) -> Option<Owner> {
    platform::owner_of(peer, local)
}

/// Whether a connection to `local` begins on this machine, by whichever of its addresses. Whoever
/// has no owner all the same is a user of it that nobody knows. On doubt, yes.
pub fn is_here(peer: SocketAddr, local: SocketAddr) -> bool {
    platform::is_here(peer, local)
}

/// Whether a connection to `local` comes from a process of our own user, or of root's: some relay a
/// desktop's browser to a machine inside it.
pub fn is_own(peer: SocketAddr, local: SocketAddr) -> bool {
    let uid = owner_of(peer, local).and_then(|owner| owner.uid);
    uid.is_some_and(|uid| uid.is_ours() || uid.is_root())
}

/// Why nobody at a unix socket is believed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody listens at the socket.
    #[error("nobody listens on the socket: {path}", path = path.display())]
    Absent { path: PathBuf, source: io::Error },
    /// Whoever listens is another user.
    #[error("another user listens on the socket: {path}", path = path.display())]
    Foreign { path: PathBuf },
    /// The socket, or a directory above it, is not what it must be.
    #[error(transparent)]
    Place(PlaceError),
    #[error("cannot connect to the socket: {path}", path = path.display())]
    Unreachable { path: PathBuf, source: io::Error },
}

/// Connects to a socket that is ours, and to nobody but a process of our own user. The directories,
/// the socket and the peer are judged before a byte is sent.
pub fn connect(path: &Path) -> Result<std::os::unix::net::UnixStream, PeerError> {
    let socket = place::socket(path).map_err(|error| match error {
        PlaceError::Absent { path, source } => PeerError::Absent { path, source },
        other => PeerError::Place(other),
    })?;
    let stream = socket.connect().map_err(|source| {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                PeerError::Absent { path, source }
            }
            _ => PeerError::Unreachable { path, source },
        }
    })?;
    let peer = socket_peercred(&stream)
        .map_err(|error| PeerError::Unreachable { path: path.to_owned(), source: error.into() })?;
    if !super::uid::is_ours(peer.uid.as_raw()) {
        return Err(PeerError::Foreign { path: path.to_owned() });
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_owns_what_does_not_exist() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(owner_of(nowhere, SocketAddr::from(([127, 0, 0, 1], 2))), None);
        assert!(!is_own(nowhere, SocketAddr::from(([127, 0, 0, 1], 2))));
    }

    #[test]
    fn a_socket_that_is_bound_to_a_device_has_an_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        for device in [None, Some(&b"lo"[..])] {
            let kind = socket2::Type::STREAM;
            let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
            socket.bind_device(device).unwrap();
            socket.connect(&local.into()).unwrap();
            let (_served, peer) = listener.accept().unwrap();
            assert!(is_own(peer, local), "{device:?}");
        }
    }

    #[test]
    fn our_own_socket_is_connected_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        assert!(matches!(connect(&path), Err(PeerError::Absent { .. })));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        connect(&path).unwrap();
        drop(listener);
        assert!(matches!(connect(&path), Err(PeerError::Absent { .. })), "left behind");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(matches!(connect(&path), Err(PeerError::Place(PlaceError::NotPlain { .. }))));
    }
}
