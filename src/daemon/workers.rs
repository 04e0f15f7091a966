//! Worker threads: one for each core, each with a runtime and a pool of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::error::Error;
use crate::proxy::{Pool, Proxy, Worker, listen};

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 1024;
/// Descriptors kept for the audit, the admin socket, issuers and the rest.
const RESERVED: u64 = 64;

/// Bound listeners.
pub(super) struct Listeners(Vec<TcpListener>);

/// Running workers.
pub(super) struct Threads(Vec<JoinHandle<()>>);

/// Binds all of them, or none.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Listeners, Error> {
    let bind = |address: &SocketAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
        // Lets a restart take the port while old connections linger; two listeners are still refused.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&(*address).into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let bound = addresses
        .iter()
        .map(|address| bind(address).map_err(|source| Error::Listen { address: *address, source }));
    bound.collect::<Result<_, _>>().map(Listeners)
}

impl Listeners {
    /// The addresses really bound, ports filled in.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        self.0.iter().map(|listener| listener.local_addr().map_err(Error::Runtime)).collect()
    }
}

/// Starts one worker for each core.
pub(super) fn start(proxy: &Arc<Proxy>, listeners: &Listeners) -> Result<Threads, Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut threads = Vec::with_capacity(cores);
    for number in 0..cores {
        let shared = listeners
            .0
            .iter()
            .map(TcpListener::try_clone)
            .collect::<io::Result<_>>()
            .map_err(Error::Runtime)?;
        let proxy = Arc::clone(proxy);
        let work = move || work(proxy, shared);
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(work)
            .map_err(Error::Runtime)?;
        threads.push(thread);
    }
    Ok(Threads(threads))
}

fn work(proxy: Arc<Proxy>, listeners: Vec<TcpListener>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "a worker has no runtime");
            return;
        }
    };
    let pool = Arc::new(Pool::new(Arc::clone(proxy.audit.metrics())));
    let worker = Arc::new(Worker { proxy, pool });
    if let Err(error) = runtime.block_on(listen::forward::run(worker, listeners)) {
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

/// Two descriptors a connection, and what is reserved.
pub(super) fn max_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20).min(1 << 20);
    usize::try_from(descriptors.saturating_sub(RESERVED) / 2).unwrap_or(1).max(1)
}
