//! What happens now and then: the audit's head, sessions that end by time or with their process,
//! tokens that ended, the CA's successor, the idle exit.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::control::Daemon;

/// The audit's head is at most twice this old.
const FLUSH: Duration = Duration::from_millis(450);
/// The CA looks after its successor.
const CA: Duration = Duration::from_secs(3600);

/// Ticks until the daemon has been idle for `idle_exit`; forever without one.
pub(super) async fn run(daemon: Arc<Daemon>, idle_exit: Option<Duration>) {
    let mut tick = interval(FLUSH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut busy = Instant::now();
    let mut ca = Instant::now();
    let mut last = 0;
    loop {
        tick.tick().await;
        let audit = Arc::clone(&daemon.proxy().passage.audit);
        // It syncs the disk: not on the thread that mints.
        let flushed = tokio::task::spawn_blocking(move || audit.flush()).await;
        if let Ok(Err(error)) = flushed {
            tracing::error!(%error, "the audit cannot be written");
        }
        daemon.sweep();
        if ca.elapsed() >= CA {
            ca = Instant::now();
            daemon.maintain_ca();
        }
        let requests = daemon.proxy().requests.load(Relaxed);
        if daemon.is_busy() || requests != last {
            busy = Instant::now();
            last = requests;
        }
        if idle_exit.is_some_and(|idle| busy.elapsed() >= idle) {
            return;
        }
    }
}
