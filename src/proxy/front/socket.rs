//! [`Socket`]: a client's connection, of whichever kind, and what it says of its other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::client::{Gate, Peer};
use crate::model::host::Host;
use crate::model::target::Target;

/// What clients connect to, not yet on a runtime; non-blocking.
#[derive(Debug)]
pub enum Bound {
    Tcp(std::net::TcpListener),
    /// An address that connections to elsewhere are redirected to.
    Redirected(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// The same on a runtime.
pub(super) enum Listener {
    Tcp(tokio::net::TcpListener),
    Redirected(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// An accepted connection, and what the kernel says of it.
pub(super) struct Accepted {
    pub(super) stream: Socket,
    /// Where it comes from, over TCP.
    pub(super) peer: Option<SocketAddr>,
    pub(super) way: Way,
}

/// How a connection came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Straight,
    Redirected(SocketAddr),
    /// To a listener for redirected connections, by nobody's redirection.
    Astray,
}

#[derive(Debug)]
pub(super) struct Socket {
    io: SocketIo,
    /// Bytes that the kernel took.
    taken: Arc<AtomicU64>,
}

#[derive(Debug)]
enum SocketIo {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Bound {
    /// Another handle to the same queue.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Redirected(listener) => Self::Redirected(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }
}

impl Listener {
    pub(super) fn on_this_runtime(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Bound::Redirected(listener) => {
                Self::Redirected(tokio::net::TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener) => Self::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        let (listener, redirected) = match self {
            Self::Tcp(listener) => (listener, false),
            Self::Redirected(listener) => (listener, true),
            Self::Unix(listener) => {
                let stream = Socket::new(SocketIo::Unix(listener.accept().await?.0));
                return Ok(Accepted { stream, peer: None, way: Way::Straight });
            }
        };
        let (stream, peer) = listener.accept().await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let way = if redirected {
            match original(&stream) {
                Ok(Some(original)) => Way::Redirected(original),
                Ok(None) => Way::Astray,
                Err(error) => {
                    tracing::debug!(%error, "where a connection was redirected from");
                    Way::Astray
                }
            }
        } else {
            Way::Straight
        };
        Ok(Accepted { stream: Socket::new(SocketIo::Tcp(stream)), peer: Some(peer), way })
    }
}

/// Where the client wanted to go. `None`: nobody redirected it, it came to our own address.
fn original(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let local = canonical(stream.local_addr()?);
    let original = match local {
        SocketAddr::V4(_) => sockopt::ip_original_dst(stream).map(SocketAddr::V4),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(stream).map(SocketAddr::V6),
    };
    match original {
        Ok(original) => Ok(Some(canonical(original)).filter(|original| *original != local)),
        // The kernel keeps no record of connections that it left alone.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOPROTOOPT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Without the IPv6 disguise of IPv4, and without flow and scope, which say nothing about who it
/// is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Accepted {
    /// Who is at the other end, as far as the kernel tells: for a unix socket whoever connected it
    /// (`SO_PEERCRED`, unix(7)), for a loopback address who owns the peer's socket, and for a
    /// redirected connection who owns the socket that it began at.
    pub(super) fn end(&self, gate: &Gate) -> Peer {
        match (&self.stream.io, self.way, self.peer) {
            (SocketIo::Unix(stream), ..) => stream.peer_cred().map_or_else(
                |_| Peer::default(),
                |peer| {
                    Peer::of_unix(peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok()))
                },
            ),
            (SocketIo::Tcp(stream), Way::Straight, Some(peer)) => stream
                .local_addr()
                .map_or_else(|_| Peer::default(), |local| gate.peer_of(peer, local)),
            (SocketIo::Tcp(_), Way::Redirected(original), Some(peer)) => {
                gate.peer_of_redirected(peer, original)
            }
            (SocketIo::Tcp(_), ..) => Peer::default(),
        }
    }
}

impl Socket {
    fn new(io: SocketIo) -> Self {
        Self { io, taken: Arc::default() }
    }

    /// Counts what the kernel takes of what is written: whatever holds it back above does not.
    pub(super) fn taken(&self) -> &Arc<AtomicU64> {
        &self.taken
    }

    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = polled {
            self.taken.fetch_add(written as u64, Relaxed);
        }
        polled
    }

    /// Whether this names the address that the client connected to.
    pub(super) fn is_at(&self, named: &Target) -> bool {
        let SocketIo::Tcp(stream) = &self.io else { return false };
        stream.local_addr().map(canonical).is_ok_and(|local| match &named.host {
            Host::Ip(ip) => ip.to_canonical() == local.ip() && named.port == local.port(),
            Host::Name(name) => {
                &**name == "localhost" && local.ip().is_loopback() && named.port == local.port()
            }
        })
    }

    /// Its end will be a reset (RFC 9293 section 3.5.2). A unix socket has none.
    pub(super) fn reset_on_close(self) {
        if let SocketIo::Tcp(stream) = self.io {
            let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        }
    }

    /// Writes what takes no waiting.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.io {
            SocketIo::Tcp(stream) => stream.try_write(bytes),
            SocketIo::Unix(stream) => stream.try_write(bytes),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            SocketIo::Tcp(stream) => Pin::new(stream).poll_read(cx, out),
            SocketIo::Unix(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.io {
            SocketIo::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            SocketIo::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        this.count(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.io {
            SocketIo::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            SocketIo::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        };
        this.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        // Both are.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Neither holds anything back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            SocketIo::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            SocketIo::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_spelling() {
        let mapped = "[::ffff:10.1.2.3]:443".parse().unwrap();
        assert_eq!(canonical(mapped), "10.1.2.3:443".parse().unwrap());
    }
}
