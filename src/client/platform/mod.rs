//! Linux: when a process ends, and whose process holds the other end of a loopback connection, asked by
//! `sock_diag(7)` with the exact pair of addresses: one small message each way, whatever else runs.

mod process;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub(super) use process::{Places, describe, holders_of};

/// The kernel's word for "any cookie".
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// Our own effective uid.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) inode: u64,
}

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
    exact.then_some(Owner { uid: response.header.uid, inode })
}

/// A hold on one process that a pid used again cannot fool (`pidfd_open(2)`).
#[derive(Debug)]
pub(super) struct Process(OwnedFd);

impl Process {
    /// `None` where there is no such process.
    pub(super) fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pidfd_open(pid, PidfdFlags::NONBLOCK).ok().map(Self)
    }

    /// Whether it has ended: its descriptor is readable then.
    pub(super) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;

    fn own_pid() -> u32 {
        std::process::id()
    }

    fn holders(inodes: &[u64], places: &Places) -> Vec<(crate::model::client::Process, Vec<u64>)> {
        let mut found = Vec::new();
        holders_of(inodes.iter().copied().collect(), places, |process, mut held| {
            held.sort_unstable();
            found.push((process, held));
        });
        found
    }

    #[test]
    fn finds_the_owner_of_a_loopback_peer() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let owner = owner_of(peer, server.local_addr().unwrap()).unwrap();
            assert_eq!(owner.uid, own_uid(), "{address}");
            // And whose process that is: ours, whatever is looked at first.
            let uids = || [owner.uid].into();
            for places in [
                Places { uids: uids(), ..Places::default() },
                Places { likely: vec![1, 2], uids: uids(), ..Places::default() },
                Places { roots: vec![own_pid()], ..Places::default() },
            ] {
                let found = holders(&[owner.inode], &places);
                let [(found, held)] = &found[..] else { panic!("{places:?}: {found:?}") };
                assert_eq!((found.pid, held.as_slice()), (own_pid(), [owner.inode].as_slice()));
                assert_eq!(
                    found.exe.as_deref().map(Path::new),
                    std::env::current_exe().ok().as_deref()
                );
                assert!(!found.command.is_empty() && found.parent.is_some(), "{found:?}");
            }
            drop(client);
            drop(server);
            let gone =
                holders(&[owner.inode], &Places { likely: vec![own_pid()], ..Places::default() });
            assert_eq!(gone, [], "it is gone");
        }
    }

    #[test]
    fn many_sockets_are_found_in_one_walk() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pairs: Vec<_> = (0..20)
            .map(|_| {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (server, peer) = listener.accept().unwrap();
                (client, owner_of(peer, server.local_addr().unwrap()).unwrap(), server)
            })
            .collect();
        let mut inodes: Vec<u64> = pairs.iter().map(|(_, owner, _)| owner.inode).collect();
        inodes.sort_unstable();
        let places = Places { likely: vec![own_pid(), own_pid()], ..Places::default() };
        let found = holders(&inodes, &places);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1, inodes);
    }

    #[test]
    fn nobody_owns_what_does_not_exist() {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(owner_of(nowhere, SocketAddr::from(([127, 0, 0, 1], 2))), None);
    }
}
