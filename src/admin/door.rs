//! The way in: however many knock, whoever is held to a session leaves room for others. What ends a
//! session or a daemon must work while a tool does its worst.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::{Caller, Control, Hold};
use crate::model::lock::lock;
use crate::net::shares::{Share, Shares};

/// Connections at once; of one process a share of them.
const DOOR_CONNECTIONS: usize = 64;
/// Of them those of callers that are held, together.
const MAX_HELD: usize = 16;
/// Callers that are judged at once. Those behind them wait in the kernel, in the order in which
/// they came.
const MAX_JUDGED: usize = 4;
/// So long it is remembered of a process that it was held, so that more of its connections cost
/// next to nothing.
const MEMORY: Duration = Duration::from_secs(1);
/// At most so many processes are remembered.
const MAX_REMEMBERED: usize = 1024;

/// A process; `None`: all that the kernel has no number of.
type Process = Option<u32>;

/// What is open, and whose it is.
pub(super) struct Door {
    all: Arc<Shares<Process>>,
    held: Arc<Shares<Process>>,
    judging: Arc<Semaphore>,
    remembered: Mutex<HashMap<Process, Instant>>,
}

/// A place for one connection, free again when dropped.
pub(super) struct Seat {
    caller: Caller,
    _one: Share<Process>,
    held: Option<Share<Process>>,
    /// Given back when it is judged.
    turn: Option<OwnedSemaphorePermit>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            all: Shares::new(DOOR_CONNECTIONS),
            held: Shares::new(MAX_HELD),
            judging: Arc::new(Semaphore::new(MAX_JUDGED)),
            remembered: Mutex::default(),
        }
    }
}

impl Door {
    /// A place, and the turn to be judged; `None`: it has more than its share.
    pub(super) async fn seat(&self, caller: Caller) -> Option<Seat> {
        let one = self.all.take(&caller.pid)?;
        let held =
            if self.remembers(caller.pid) { Some(self.held.take(&caller.pid)?) } else { None };
        let turn = Arc::clone(&self.judging).acquire_owned().await.ok();
        Some(Seat { caller, _one: one, held, turn })
    }

    /// Who it is; `None`: one more of those that are held than there is room for.
    pub(super) async fn judge(
        &self,
        seat: &mut Seat,
        control: &Arc<dyn Control>,
    ) -> Option<Option<Hold>> {
        let (caller, control) = (seat.caller, Arc::clone(control));
        // Where nobody is held up: it reads a file for each process above it.
        let judged = spawn_blocking(move || control.hold(caller)).await;
        seat.turn = None;
        let hold = judged.unwrap_or(Some(Hold::Unknown));
        if hold.is_none() {
            seat.held = None;
            return Some(None);
        }
        self.remember(caller.pid);
        if seat.held.is_none() {
            seat.held = Some(self.held.take(&caller.pid)?);
        }
        Some(hold)
    }

    fn remembers(&self, process: Process) -> bool {
        let remembered = lock(&self.remembered);
        remembered.get(&process).is_some_and(|since| since.elapsed() < MEMORY)
    }

    fn remember(&self, process: Process) {
        let mut remembered = lock(&self.remembered);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, since| since.elapsed() < MEMORY);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(process, Instant::now());
        }
    }
}
