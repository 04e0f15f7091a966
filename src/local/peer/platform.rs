//! Linux: whose the other end of a connection on this machine is, asked by `sock_diag(7)` with the
//! exact pair of addresses: one small message each way, whatever else runs. A socket that is bound
//! to a device answers to that device's number alone, so whoever of this machine has no name at
//! first is asked for by each device.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::net::netdevice::name_to_index;

use crate::local::uid::Uid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose process it is; `None`: of a user that this namespace does not know.
    pub uid: Option<Uid>,
    /// The socket's number, by which its process can be found.
    pub inode: u64,
}

/// The kernel's word for "any cookie".
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// The owner of the socket whose own address is `peer` and whose other end is `local`. `None` where
/// the kernel knows none (the socket is gone, or lives in another network namespace).
pub(super) fn owner_of(peer: SocketAddr, local: SocketAddr) -> Option<Owner> {
    let socket = Socket::new(NETLINK_SOCK_DIAG).ok()?;
    socket.connect(&NetlinkAddr::new(0, 0)).ok()?;
    let by = |device| ask(&socket, peer, local, device);
    by(0).or_else(|| if is_here(peer, local) { devices().find_map(by) } else { None })
}

/// Whether the connection of `peer` to `local` begins on this machine. On doubt, yes.
pub(super) fn is_here(peer: SocketAddr, local: SocketAddr) -> bool {
    let ip = peer.ip();
    if ip == local.ip() || ip.is_loopback() || local.ip().is_loopback() {
        return true;
    }
    let mut any_port = peer;
    any_port.set_port(0);
    match UdpSocket::bind(any_port) {
        // Where everything may be bound to, that proves nothing.
        Ok(_) => !binds_to_anything(ip) || is_reached_from_itself(peer),
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

/// Whether the machine lets sockets have addresses that are not its own (ip-sysctl:
/// `ip_nonlocal_bind`).
fn binds_to_anything(ip: IpAddr) -> bool {
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let said = std::fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    said.is_ok_and(|said| said.trim() != "0")
}

/// Whether the kernel would go to it from the same address, as it does to its own. Nothing is sent.
fn is_reached_from_itself(peer: SocketAddr) -> bool {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(peer)?;
        socket.local_addr()
    };
    from().is_ok_and(|from| from.ip() == peer.ip())
}

/// The numbers of the devices of our network namespace.
fn devices() -> impl Iterator<Item = u32> {
    let table = std::fs::read("/proc/self/net/dev").unwrap_or_default();
    let names = devices_in(&String::from_utf8_lossy(&table));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok();
    names.into_iter().filter_map(move |name| name_to_index(socket.as_ref()?, &name).ok())
}

/// Two lines of headings, and then one for each: its name, a colon, figures.
fn devices_in(table: &str) -> Vec<String> {
    let name = |line: &str| Some(line.rsplit_once(':')?.0.trim().to_owned());
    table.lines().skip(2).filter_map(name).collect()
}

/// The same of one that is bound to this device; 0: of one that is bound to none.
fn ask(socket: &Socket, peer: SocketAddr, local: SocketAddr, device: u32) -> Option<Owner> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let request = InetRequest {
        family: if peer.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: peer.port(),
            destination_port: local.port(),
            source_address: peer.ip(),
            destination_address: local.ip(),
            interface_id: device,
            cookie: NO_COOKIE,
        },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).ok()?;

    let mut answer = vec![0; 4096];
    let size = socket.recv(&mut &mut answer[..], 0).ok()?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer[..size]).ok()?;
    let NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) = answer.payload
    else {
        return None;
    };
    let id = &response.header.socket_id;
    // A socket without an owner (TIME_WAIT) answers with uid 0 and inode 0: nobody holds it.
    let exact = id.source_port == peer.port()
        && id.destination_port == local.port()
        && response.header.inode != 0;
    let inode = u64::from(response.header.inode);
    exact.then_some(Owner { uid: Uid::known(response.header.uid), inode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_be_called_anything() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n  eth0: 3 4\nv:1: 5 6\n";
        assert_eq!(devices_in(table), ["lo", "eth0", "v:1"]);
        assert!(devices().count() >= 1);
    }

    #[test]
    fn whose_address_it_is() {
        let [one, two] = ["127.0.0.1:1", "127.0.0.2:2"].map(|text| text.parse().unwrap());
        assert!(is_here(one, two));
        // Reserved for documents (RFC 5737, RFC 3849): nobody has them.
        let [far, there] = ["203.0.113.9:1", "198.51.100.9:2"].map(|text| text.parse().unwrap());
        assert!(!is_here(far, there) && !is_reached_from_itself(far));
        assert!(is_here(far, far), "from where it goes to");
        let [far, there] = ["[2001:db8::9]:1", "[2001:db8::8]:2"].map(|text| text.parse().unwrap());
        assert!(!is_here(far, there));
        assert!(is_reached_from_itself(one) && !binds_to_anything(one.ip()));
    }
}
