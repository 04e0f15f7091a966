//! [`Budget`]: how many descriptors connections to upstreams and issuers may take, so that what clients
//! ask for never leaves the audit or a mint without one (invariant I11).
//!
//! The budget is the process's, not a config's: it outlives reloads. Who finds it empty says so, pools let
//! go of what they keep idle, and whoever still gets none is refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::guard::Reach;

/// What pools may take to let go of idle connections before a dial is refused.
const PATIENCE: Duration = Duration::from_millis(250);

/// Descriptors of one process, by purpose.
#[derive(Debug)]
pub struct Budget {
    upstreams: Arc<Semaphore>,
    issuers: Arc<Semaphore>,
    /// How often none was left.
    shortages: watch::Sender<u64>,
}

/// One descriptor; given back when dropped.
#[derive(Debug)]
pub struct Spent {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// At most this many at once of each.
    pub fn new(upstreams: usize, issuers: usize) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits));
        Self {
            upstreams: semaphore(upstreams),
            issuers: semaphore(issuers),
            shortages: watch::Sender::new(0),
        }
    }

    /// One for a connection that goes so far: what config names waits its turn (its caller has a deadline), what a
    /// client asks for waits until pools have let go. `None`: all are taken.
    pub(super) async fn spend(&self, reach: Reach) -> Option<Spent> {
        if reach == Reach::Anywhere {
            let permit = Arc::clone(&self.issuers).acquire_owned().await;
            return permit.ok().map(|permit| Spent { _permit: permit });
        }
        if let Some(spent) = self.spare(reach) {
            return Some(spent);
        }
        self.shortages.send_modify(|count| *count = count.wrapping_add(1));
        let permit = timeout(PATIENCE, Arc::clone(&self.upstreams).acquire_owned()).await;
        permit.ok()?.ok().map(|permit| Spent { _permit: permit })
    }

    /// One more, only if it is free now.
    pub(super) fn spare(&self, reach: Reach) -> Option<Spent> {
        let semaphore = if reach == Reach::Anywhere { &self.issuers } else { &self.upstreams };
        let permit = Arc::clone(semaphore).try_acquire_owned().ok()?;
        Some(Spent { _permit: permit })
    }

    /// Changes whenever none was left.
    pub fn shortages(&self) -> watch::Receiver<u64> {
        self.shortages.subscribe()
    }
}

/// As good as unbounded: for a dialler that no client reaches.
impl Default for Budget {
    fn default() -> Self {
        Self::new(Semaphore::MAX_PERMITS, Semaphore::MAX_PERMITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_empty_budget_asks_pools_first_and_refuses_then() {
        let budget = Budget::new(1, 1);
        let mut shortages = budget.shortages();
        let first = budget.spend(Reach::Public).await.unwrap();
        assert!(!shortages.has_changed().unwrap());
        assert!(budget.spend(Reach::Private).await.is_none());
        assert!(shortages.has_changed().unwrap());
        shortages.mark_unchanged();
        let second = budget.spend(Reach::Public);
        let lets_go = async {
            shortages.changed().await.unwrap();
            drop(first);
        };
        let (second, ()) = tokio::join!(second, lets_go);
        assert!(second.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_take_nothing_from_issuers() {
        let budget = Budget::new(1, 1);
        let _all = budget.spend(Reach::Public).await.unwrap();
        assert!(budget.spend(Reach::Anywhere).await.is_some());
    }
}
