//! Which process is at the other end of a connection: found out beside it, on a thread of its own.
//!
//! Nothing waits for the answer: what is written down before it is there does without, and what comes after
//! has it. A search costs some milliseconds where the processes seen before, and the session's own tree, do
//! not hold the socket; while many are asked for, some are not searched.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Admitted, End, Peer, platform};
use crate::model::client::{ClientKey, Found, Process};

/// Connections that wait to be looked at; one more goes without.
const MAX_WAITING: usize = 256;
/// Clients whose processes are remembered.
const MAX_CLIENTS: usize = 1024;
/// Of each.
const MAX_PROCESSES: usize = 8;

/// Asks the thread.
#[derive(Clone, Debug)]
pub struct Attribution(SyncSender<Wanted>);

/// One connection.
#[derive(Debug)]
struct Wanted {
    end: End,
    uid: u32,
    /// Who it was admitted as: its processes are looked at first.
    client: ClientKey,
    /// The process that the session was opened for: those below it come next.
    root: Option<u32>,
    found: Found,
}

impl Attribution {
    /// Starts the thread; it ends with the last of these. `mask`: takes out of a word of a command line what
    /// must not be written down.
    pub fn start(mask: fn(&str) -> String) -> std::io::Result<Self> {
        let (sender, wanted) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("processes".into()).spawn(move || look(&wanted, mask))?;
        Ok(Self(sender))
    }

    /// Looks for the process of a connection that was admitted, once, unless too many wait.
    pub fn ask(&self, peer: &Peer, admitted: &Admitted) {
        let (Some(end), Some(uid)) = (peer.end, peer.uid) else { return };
        if !peer.found.claim() {
            return;
        }
        let wanted = Wanted {
            end,
            uid,
            client: admitted.client.key(),
            root: admitted.session.as_deref().and_then(|session| session.pid()),
            found: peer.found.clone(),
        };
        // It goes without: a process is for people's eyes, and decides nothing.
        self.0.try_send(wanted).ok();
    }
}

fn look(wanted: &Receiver<Wanted>, mask: fn(&str) -> String) {
    let mut known = HashMap::<ClientKey, Vec<u32>>::new();
    while let Ok(Wanted { end, uid, client, root, found }) = wanted.recv() {
        if known.len() >= MAX_CLIENTS {
            known.clear();
        }
        let likely = known.entry(client).or_default();
        let process = match end {
            End::Inode(inode) => platform::holder_of(inode, uid, likely, root),
            End::Process(pid) => Some(platform::describe(pid)),
        };
        let Some(process) = process else { continue };
        likely.retain(|pid| *pid != process.pid);
        likely.truncate(MAX_PROCESSES - 1);
        likely.insert(0, process.pid);
        let Process { pid, exe, command, parent } = process;
        let command = command.iter().map(|word| mask(word).into()).collect();
        found.set(Process { pid, exe, command, parent });
    }
}
