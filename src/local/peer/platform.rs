//! Linux: whose the other end of a connection on this machine is, asked by `sock_diag(7)` with the exact pair of
//! addresses: one small message each way, whatever else runs.

use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use crate::local::uid::Uid;

/// Who holds a socket.
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
            interface_id: 0,
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
