//! Which process is at the other end of a connection: found out beside it, on a thread of its own.
//!
//! Nothing waits for the answer: what is written down before it is there does without, and what
//! comes after has it. A search costs from some tenths of a millisecond (the processes seen before)
//! to some milliseconds (everybody's). One walk looks for all that wait, and the thread keeps to a
//! part of one core, so that whoever opens connections by the thousand makes nobody else slow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{Admitted, End, Peer, platform};
use crate::model::client::{ClientKey, Found, Process};

/// Connections that wait to be looked at; one more goes without.
const MAX_WAITING: usize = 256;
/// Clients whose processes are remembered.
const MAX_CLIENTS: usize = 1024;
/// Processes that are remembered of each client.
const MAX_PROCESSES: usize = 8;
/// The part of one core that searches may take for long: one in so many.
const PART: u32 = 16;
/// What they may take at once: tools that come now and then are looked for without delay, as some
/// live no longer than one request.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The way to the thread that looks for processes.
#[derive(Clone, Debug)]
pub struct Attribution(SyncSender<Lookup>);

/// A connection whose process is wanted.
#[derive(Debug)]
struct Lookup {
    end: End,
    uid: u32,
    /// Who it was admitted as: its processes are looked at first.
    client: ClientKey,
    /// The process that the session was opened for: those below it come next.
    root: Option<u32>,
    found: Found,
}

impl Attribution {
    /// Starts the thread; it ends with the last of these. `mask`: takes out of a word of a command
    /// line what must not be written down.
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
        let wanted = Lookup {
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

#[expect(
    clippy::disallowed_methods,
    reason = "it rests by the clock: this thread alone, and nobody waits for it"
)]
fn look(wanted: &Receiver<Lookup>, mask: fn(&str) -> String) {
    let mut known = HashMap::<ClientKey, Vec<u32>>::new();
    let mut budget = Budget::new();
    while let Ok(first) = wanted.recv() {
        let asked: Vec<_> =
            std::iter::once(first).chain(wanted.try_iter().take(MAX_WAITING)).collect();
        let began = Instant::now();
        search(asked, &mut known, mask);
        std::thread::sleep(budget.spend(began, Instant::now()));
    }
}

/// One walk for all of them.
fn search(asked: Vec<Lookup>, known: &mut HashMap<ClientKey, Vec<u32>>, mask: fn(&str) -> String) {
    if known.len() >= MAX_CLIENTS {
        known.clear();
    }
    let masked = |process: Process| {
        let command = process.command.iter().map(|word| mask(word).into()).collect();
        Arc::new(Process { command, ..process })
    };
    let mut places = platform::SearchOrder::default();
    let mut sockets = HashMap::<u64, Vec<(ClientKey, Found)>>::new();
    let mut direct = HashMap::<u32, Arc<Process>>::new();
    for Lookup { end, uid, client, root, found } in asked {
        match end {
            End::Process(pid) => {
                let process = direct.entry(pid);
                let process = process.or_insert_with(|| masked(platform::describe(pid)));
                found.set(Arc::clone(process));
            }
            End::Inode(inode) => {
                places.likely.extend(known.get(&client).into_iter().flatten());
                places.roots.extend(root);
                places.uids.insert(uid);
                sockets.entry(inode).or_default().push((client, found));
            }
        }
    }
    let inodes: HashSet<u64> = sockets.keys().copied().collect();
    platform::holders_of(inodes, &places, |process, held| {
        let process = masked(process);
        for (client, found) in held.iter().filter_map(|inode| sockets.remove(inode)).flatten() {
            let likely = known.entry(client).or_default();
            if likely.first() != Some(&process.pid) {
                likely.retain(|pid| *pid != process.pid);
                likely.truncate(MAX_PROCESSES - 1);
                likely.insert(0, process.pid);
            }
            found.set(Arc::clone(&process));
        }
    });
}

/// How much searching there may be.
#[derive(Debug)]
struct Budget {
    left: Duration,
    at: Instant,
}

impl Budget {
    fn new() -> Self {
        Self { left: AT_ONCE, at: Instant::now() }
    }

    /// Takes a search from it, and tells how long to rest before the next.
    fn spend(&mut self, began: Instant, ended: Instant) -> Duration {
        let earned = began.saturating_duration_since(self.at) / PART;
        let had = self.left.saturating_add(earned).min(AT_ONCE);
        let spent = ended.saturating_duration_since(began);
        self.left = had.saturating_sub(spent);
        let rest = spent.saturating_sub(had).saturating_mul(PART);
        // The rest pays for what is spent already.
        self.at = ended + rest;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_take_their_part_and_no_more() {
        let mut budget = Budget::new();
        let start = budget.at;
        let one = Duration::from_millis(10);
        // Now and then: never a rest.
        let mut now = start;
        for _ in 0..20 {
            now += one * PART;
            assert_eq!(budget.spend(now, now + one), Duration::ZERO);
            now += one;
        }
        // One after the other: some at once, and then a sixteenth of the time.
        let began = now;
        let (mut searched, mut rested) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..1000 {
            let rest = budget.spend(now, now + one);
            searched += one;
            rested += rest;
            now += one + rest;
        }
        assert!(searched * PART <= (now - began) + AT_ONCE * PART, "{searched:?} of {rested:?}");
        assert!(rested > Duration::from_secs(100), "{rested:?}");
    }
}
