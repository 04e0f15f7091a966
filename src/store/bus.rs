//! The session bus, connected to by ourselves: a bus that has ended leaves its name to whoever
//! takes it next, and who listens there is known before a byte is sent.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;
use zbus::address::Address;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;

use super::keyring_error::KeyringError;
use crate::local::peer::{self, PeerError};
use crate::local::uid;

/// A connection to the bus of the session, which is a process of our own user.
pub(super) async fn connect() -> Result<zbus::Connection, KeyringError> {
    let stream = stream()?;
    stream.set_nonblocking(true).map_err(|_| KeyringError::Failed)?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(|_| KeyringError::Failed)?;
    Builder::unix_stream(stream).build().await.map_err(|error| KeyringError::of_bus(&error))
}

/// Only where the environment names one: a daemon of another session must not find the bus of this
/// one by guessing its path.
fn stream() -> Result<UnixStream, KeyringError> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty());
    let Some(address) = named("DBUS_SESSION_BUS_ADDRESS") else {
        let dir = named("XDG_RUNTIME_DIR").ok_or(KeyringError::Unavailable)?;
        return by_path(&PathBuf::from(dir).join("bus"));
    };
    let address = address.to_str().and_then(|text| text.parse::<Address>().ok());
    let address = address.ok_or(KeyringError::Unavailable)?;
    match address.transport() {
        Transport::Unix(unix) => match unix.path() {
            UnixSocket::File(path) => by_path(path),
            UnixSocket::Abstract(name) => by_name(name.as_bytes()),
            // For whoever listens.
            _ => Err(KeyringError::Unavailable),
        },
        // Of these nobody says who is at the other end.
        _ => Err(KeyringError::Foreign),
    }
}

fn by_path(path: &Path) -> Result<UnixStream, KeyringError> {
    peer::connect(path).map_err(|error| match error {
        PeerError::Absent { .. } | PeerError::Unreachable { .. } => KeyringError::Unavailable,
        PeerError::Foreign { .. } | PeerError::Place(_) => KeyringError::Foreign,
    })
}

/// Such a name lies nowhere: whoever listens is all that can be judged.
fn by_name(name: &[u8]) -> Result<UnixStream, KeyringError> {
    let connected =
        SocketAddr::from_abstract_name(name).and_then(|at| UnixStream::connect_addr(&at));
    let stream = connected.map_err(|_: io::Error| KeyringError::Unavailable)?;
    let peer = socket_peercred(&stream).map_err(|_| KeyringError::Unavailable)?;
    if uid::is_ours(peer.uid.as_raw()) { Ok(stream) } else { Err(KeyringError::Foreign) }
}
