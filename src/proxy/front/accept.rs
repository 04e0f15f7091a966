//! All listeners: every worker accepts from the same sockets, so whoever is idle takes
//! the next connection, and it never moves afterwards.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::connect;
use super::socket::{Accepted, Bound, Listener, Way};
use super::transparent;
use crate::model::reason::Reason;
use crate::proxy::live::Selector;
use crate::proxy::share::Holder;
use crate::proxy::worker::Worker;

/// What an accept that failed for want of descriptors waits at most before the next try.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How often idle upstream connections are looked at.
const PRUNE: Duration = Duration::from_secs(5);
/// What open connections may take when the daemon stops.
const CONNECTIONS_DRAIN: Duration = Duration::from_secs(28);
/// What those may take after that to tell their clients and the audit why they end.
const LAST_CONNECTIONS: Duration = Duration::from_millis(500);

/// Accepts until the daemon stops, then waits for what is open. Runs on a current-thread runtime.
pub async fn run(worker: Arc<Worker>, listeners: Vec<Bound>) -> io::Result<()> {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = Listener::on_this_runtime(listener)?;
        accepting.spawn(accept(Arc::clone(&worker), listener));
    }
    let pruner = Arc::clone(&worker);
    let pruning = tokio::spawn(prune(pruner));
    worker.proxy.draining().await;
    while accepting.join_next().await.is_some() {}
    pruning.abort();
    Ok(())
}

async fn prune(worker: Arc<Worker>) {
    // One budget for all worlds.
    let mut shortages = worker.proxy.world.load().dialer.budget().shortages();
    let mut turns = interval(PRUNE);
    loop {
        tokio::select! {
            _ = turns.tick() => worker.pool.prune(worker.proxy.world.load().terms.generation),
            short = shortages.changed() => match short {
                Ok(()) => worker.pool.let_go(),
                Err(_) => return,
            },
        }
    }
}

async fn accept(worker: Arc<Worker>, listener: Listener) {
    let mut open = JoinSet::new();
    // Said once for each time of need.
    let mut short = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
            () = worker.proxy.draining() => break,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                // Out of descriptors or memory: the connection waits in the kernel's queue, and so
                // do we.
                if !std::mem::replace(&mut short, true) {
                    tracing::warn!(%error, "cannot accept connections for now");
                }
                tokio::select! {
                    () = worker.proxy.freed.notified() => {}
                    () = sleep(BACK_OFF) => {}
                    () = worker.proxy.draining() => break,
                }
                continue;
            }
        };
        short = false;
        let end = Box::new(accepted.end(&worker.proxy.passage.gate));
        let Accepted { stream, peer, way } = accepted;
        let Some(share) = worker.proxy.shares.take(&Holder::before(&end, peer)) else {
            if way == Way::Straight {
                connect::turn_away(&worker, &stream);
            }
            continue;
        };
        let counted = Counted::new(Arc::clone(&worker));
        match way {
            Way::Straight => open.spawn(async move {
                connect::serve(Arc::clone(&counted.0), stream, end, share).await;
            }),
            Way::Redirected(original) => open.spawn(async move {
                let worker = Arc::clone(&counted.0);
                Box::pin(transparent::serve(worker, stream, original, end, share)).await;
            }),
            Way::Astray => {
                tracing::debug!(?peer, "a connection that nobody redirected");
                continue;
            }
        };
    }
    drop(listener);
    let drained = tokio::select! {
        drained = timeout(CONNECTIONS_DRAIN, all_of(&mut open)) => drained.is_ok(),
        () = worker.proxy.cut() => false,
    };
    if !drained {
        tracing::warn!("connections were still open at the end of the drain");
        worker.proxy.live.end(&Selector::All, Reason::ShuttingDown);
        let _ = timeout(LAST_CONNECTIONS, all_of(&mut open)).await;
    }
}

async fn all_of(open: &mut JoinSet<()>) {
    while open.join_next().await.is_some() {}
}

/// Errors of one connection that died before it was accepted (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::Interrupted)
}

/// One open connection in the count.
struct Counted(Arc<Worker>);

impl Counted {
    fn new(worker: Arc<Worker>) -> Self {
        worker.proxy.connections.fetch_add(1, Relaxed);
        Self(worker)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.proxy.connections.fetch_sub(1, Relaxed);
        self.0.proxy.freed.notify_one();
    }
}
