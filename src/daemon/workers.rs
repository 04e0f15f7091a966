//! Worker threads: one for each core, each with a runtime and a pool of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Type};
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

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 1024;
/// Who asks for a thread's pulse at once; a thread with more of them waiting does not answer.
const WAITING: usize = 32;
/// Descriptors kept for the audit, the admin socket, scrapers and the rest of the process, at the
/// least.
const FIXED: u64 = 32;
/// As many as all of those ever need: 64 for the admin socket, 64 for scrapers.
const FIXED_AMPLE: u64 = 192;
/// Those of one worker: its runtime, its copies of the listeners, a question to the kernel.
const PER_WORKER: u64 = 6;

pub(super) struct Listeners {
    bound: Vec<TcpListener>,
    beside: Beside,
}

/// The same ports of the other family, where we listen on all addresses of one: held and not
/// listened on, for a socket of another user that takes both families there could get what is meant
/// for us (ipv6(7), `IPV6_V6ONLY`).
pub(super) struct Beside(Vec<socket2::Socket>);

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
