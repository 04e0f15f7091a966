//! Worker threads: one for each core, each with a runtime and a pool of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::doors::Doors;
use super::error::Error;
use super::platform;
use crate::net::budget::Budget;
use crate::proxy::front::Bound;
use crate::proxy::front::accept;
use crate::proxy::{Pool, Proxy, Worker};

/// Who asks for a thread's pulse at once; a thread with more of them waiting does not answer.
const WAITING: usize = 32;
/// Descriptors kept for the audit, the admin socket, scrapers and the rest of the process, at the
/// least.
const FIXED: u64 = 32;
/// As many as all of those ever need: 64 for the admin socket, 64 for scrapers.
const FIXED_AMPLE: u64 = 192;
/// Those of one worker: its runtime, its copies of the listeners, a question to the kernel.
const PER_WORKER: u64 = 6;

/// How long a worker may take to say that it is there.
const PULSE: Duration = Duration::from_secs(2);

pub(super) struct Threads(Vec<JoinHandle<()>>);

/// Asks threads whether they still turn. Asked, not told: an idle machine is not woken for it.
pub(super) struct Pulse(Vec<(String, mpsc::Sender<PulseAsked>)>);

/// Answered by whoever gets it.
type PulseAsked = oneshot::Sender<()>;

impl Pulse {
    /// The names of those that do not answer in time. `stopping`: who is gone is done, not stuck.
    pub(super) async fn silent(&self, stopping: bool) -> Vec<String> {
        let deadline = Instant::now() + PULSE;
        let mut asked = Vec::with_capacity(self.0.len());
        for (name, thread) in &self.0 {
            let (answer, answered) = oneshot::channel();
            match thread.try_send(answer) {
                Ok(()) => asked.push((name, Some(answered))),
                Err(TrySendError::Closed(_)) if stopping => {}
                Err(TrySendError::Closed(_) | TrySendError::Full(_)) => asked.push((name, None)),
            }
        }
        let mut silent = Vec::new();
        for (name, answered) in asked {
            let beats = match answered {
                Some(answered) => matches!(timeout_at(deadline, answered).await, Ok(Ok(()))),
                None => false,
            };
            if !beats {
                silent.push(name.clone());
            }
        }
        silent
    }
}

/// Answers as long as the runtime that it is spawned on turns.
async fn beat(mut asked: mpsc::Receiver<PulseAsked>) {
    while let Some(answer) = asked.recv().await {
        // Whoever asked may have given up.
        answer.send(()).ok();
    }
}

/// Starts one worker for each core. The pulse asks them, and the thread that calls.
pub(super) fn start(proxy: &Arc<Proxy>, doors: &Doors) -> Result<(Threads, Pulse), Error> {
    let cores = cores();
    let mut threads = Vec::with_capacity(cores);
    let (ask, asked) = mpsc::channel(WAITING);
    tokio::spawn(beat(asked));
    let mut pulse = vec![("main".to_owned(), ask)];
    for number in 0..cores {
        let shared = doors.for_worker().map_err(Error::Runtime)?;
        let proxy = Arc::clone(proxy);
        let (ask, asked) = mpsc::channel(WAITING);
        pulse.push((format!("worker-{number}"), ask));
        let work = move || work(proxy, shared, asked);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(work)
            .map_err(Error::Runtime)?;
        threads.push(thread);
    }
    Ok((Threads(threads), Pulse(pulse)))
}

fn work(proxy: Arc<Proxy>, listeners: Vec<Bound>, asked: mpsc::Receiver<PulseAsked>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a worker has no runtime");
            return;
        }
    };
    let pool = Arc::new(Pool::new(Arc::clone(proxy.passage.audit.metrics())));
    let worker = Arc::new(Worker { proxy, pool });
    let serving = async {
        tokio::spawn(beat(asked));
        accept::run(worker, listeners).await
    };
    if let Err(error) = runtime.block_on(serving) {
        tracing::error!(%error, "a worker cannot listen");
    }
}

impl Threads {
    /// Waits until all have drained.
    pub(super) async fn join(self) {
        let joined = tokio::task::spawn_blocking(|| {
            for thread in self.0 {
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        });
        joined.await.ok();
    }
}

/// Takes as many descriptors as the system gives.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!(%error, "the descriptor limit stays");
    }
}

/// Memory that is needed without any connection.
const MEMORY_FIXED: u64 = 32 << 20;
/// Of a connection of a client and one to an upstream, with what is on its way between them.
const MEMORY_EACH: u64 = 256 << 10;

/// What the process may open, by purpose: together never more than the system gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    pub(super) clients: usize,
    upstreams: usize,
    issuers: usize,
}

impl Descriptors {
    /// Of what the system gives now.
    pub(super) fn split() -> Self {
        let all = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20);
        let split = Self::of(all, cores() as u64);
        platform::memory_limit().map_or(split, |limit| split.within(limit))
    }

    /// Under a limit of memory no more connections than it has room for: refusing some is better
    /// than being killed.
    fn within(self, limit: u64) -> Self {
        let room = limit.saturating_sub(MEMORY_FIXED) / MEMORY_EACH;
        let most = usize::try_from(room).unwrap_or(usize::MAX).max(8);
        Self { clients: self.clients.min(most), upstreams: self.upstreams.min(most), ..self }
    }

    /// Issuers get a sixteenth; clients and upstreams half each of what is left.
    fn of(all: u64, workers: u64) -> Self {
        let fixed = (all / 16).clamp(FIXED, FIXED_AMPLE);
        let free = all.saturating_sub(fixed + PER_WORKER * workers);
        let issuers = (free / 16).clamp(4, 256);
        let each = (free.saturating_sub(issuers) / 2).max(1);
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self { clients: count(each), upstreams: count(each), issuers: count(issuers) }
    }

    pub(super) fn budget(self) -> Budget {
        Budget::new(self.upstreams, self.issuers)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_memory_has_room_for_some() {
        let split = Descriptors::of(1 << 20, 2);
        let clients = |mib: u64| split.within(mib << 20).clients;
        assert_eq!((clients(1), clients(64), clients(128)), (8, 128, 384));
        assert_eq!(split.within(u64::MAX), split);
    }

    #[test]
    fn descriptors_are_never_given_out_twice() {
        for (all, workers) in [(64, 2), (128, 2), (256, 8), (1024, 64), (1 << 20, 2)] {
            let split = Descriptors::of(all, workers);
            let given = split.clients + split.upstreams + split.issuers;
            let fixed = (FIXED + PER_WORKER * workers) as usize;
            assert!(given + fixed <= all as usize, "{all}: {split:?}");
            assert!(split.clients >= 8, "{all}: {split:?}");
        }
        assert_eq!(Descriptors::of(8, 2).clients, 1, "too few to keep the rest: still tried");
    }
}
