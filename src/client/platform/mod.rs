//! Linux: when a process ends, and which process holds the other end of a connection.

mod process;

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

pub(super) use process::{SearchOrder, began, describe, holders_of};

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
    use crate::local::peer::owner_of;
    use crate::local::uid::Uid;
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;

    fn own_pid() -> u32 {
        std::process::id()
    }

    fn holders(
        inodes: &[u64],
        places: &SearchOrder,
    ) -> Vec<(crate::model::client::Process, Vec<u64>)> {
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
            let own = Uid::own().unwrap();
            assert_eq!(owner.uid, Some(own), "{address}");
            // And whose process that is: ours, whatever is looked at first.
            let uids = || [own.raw()].into();
            for places in [
                SearchOrder { uids: uids(), ..SearchOrder::default() },
                SearchOrder { likely: vec![1, 2], uids: uids(), ..SearchOrder::default() },
                SearchOrder { roots: vec![own_pid()], ..SearchOrder::default() },
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
            let gone = holders(
                &[owner.inode],
                &SearchOrder { likely: vec![own_pid()], ..SearchOrder::default() },
            );
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
        let places = SearchOrder { likely: vec![own_pid(), own_pid()], ..SearchOrder::default() };
        let found = holders(&inodes, &places);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1, inodes);
    }
}
