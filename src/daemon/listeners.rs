//! TCP addresses taken: bound together, all or none, and shared with no other program.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Type};

use super::error::Error;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 1024;

/// Listening, not yet accepted from.
pub(super) struct Listeners {
    bound: Vec<TcpListener>,
    beside: Beside,
}

/// The same ports of the other family, where we listen on all addresses of one: held and not
/// listened on, for a socket of another user that takes both families there could get what is meant
/// for us (ipv6(7), `IPV6_V6ONLY`).
pub(super) struct Beside(Vec<socket2::Socket>);

impl Listeners {
    /// The addresses really bound, ports filled in.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        self.bound.iter().map(|listener| listener.local_addr().map_err(Error::Runtime)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TcpListener> {
        self.bound.iter()
    }

    /// The one there is, if there is one, and what must be kept as long as it.
    pub(super) fn only(self) -> Result<(Option<(TcpListener, SocketAddr)>, Beside), Error> {
        let with_address = |listener: TcpListener| {
            let address = listener.local_addr().map_err(Error::Runtime)?;
            Ok::<_, Error>((listener, address))
        };
        Ok((self.bound.into_iter().next().map(with_address).transpose()?, self.beside))
    }
}

/// Binds all of them, or none.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Listeners, Error> {
    let (sockets, beside) = reserve(addresses)?;
    let mut bound = Vec::with_capacity(sockets.len());
    for (socket, &address) in sockets.into_iter().zip(addresses) {
        socket.listen(BACKLOG).map_err(|source| Error::Listen { address, source })?;
        bound.push(socket.into());
    }
    Ok(Listeners { bound, beside })
}

/// Whether a daemon could listen there at this moment. Nobody can connect meanwhile.
pub fn can_listen(addresses: &[SocketAddr]) -> Result<(), Error> {
    reserve(addresses).map(drop)
}

/// Sockets that have the addresses and do not listen yet.
fn reserve(addresses: &[SocketAddr]) -> Result<(Vec<socket2::Socket>, Beside), Error> {
    let (mut sockets, mut beside) = (Vec::with_capacity(addresses.len()), Beside(Vec::new()));
    for &address in addresses {
        let failed = |source| Error::Listen { address, source };
        let socket = bind_one(address).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
        if let Some(other) = other_family(&socket, bound).filter(|other| !addresses.contains(other))
        {
            let held =
                hold(other).map_err(|source| Error::ListenBeside { bound, other, source })?;
            beside.0.extend(held);
        }
        sockets.push(socket);
    }
    Ok((sockets, beside))
}

fn bind_one(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart take the port while old connections linger; two listeners are still refused.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// All addresses of the family that this socket leaves out, at its port, where it has all of its
/// own.
fn other_family(socket: &socket2::Socket, bound: SocketAddr) -> Option<SocketAddr> {
    let other: IpAddr = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED.into(),
        // Otherwise it has both.
        IpAddr::V6(ip) if ip.is_unspecified() && socket.only_v6().unwrap_or(true) => {
            Ipv4Addr::UNSPECIFIED.into()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    Some(SocketAddr::new(other, bound.port()))
}

/// Shared with nobody. `None`: the machine has no such family, so nobody can come by it.
fn hold(address: SocketAddr) -> io::Result<Option<socket2::Socket>> {
    let domain = Domain::for_address(address);
    let socket = match socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(Some(socket))
}
