//! [`Budget`]: how many descriptors connections to upstreams and issuers may take, so that what
//! clients ask for never leaves the audit or a mint without one (invariant I11).
//!
//! The budget is the process's, not a config's: it outlives reloads. Who finds it empty says so,
//! pools let go of what they keep idle, and whoever still gets none is refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::shares::{Share, Shares};
use crate::model::client::ClientKey;

/// What pools may take to let go of idle connections before a dial is refused.
const ROOM_PATIENCE: Duration = Duration::from_millis(250);

/// Descriptors of one process, by purpose.
#[derive(Debug)]
pub struct Budget {
    upstreams: Arc<Shares<ClientKey>>,
    issuers: Arc<Semaphore>,
    /// How often none was left.
    shortages: watch::Sender<u64>,
}

/// One descriptor; given back when dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held, never looked at")]
pub struct Spent(SpentOf);

#[derive(Debug)]
#[expect(dead_code, reason = "held, never looked at")]
enum SpentOf {
    Issuer(OwnedSemaphorePermit),
    Upstream(Share<ClientKey>),
}

impl Budget {
    /// At most this many at once of each; of the first, each client has its share.
    pub fn new(upstreams: usize, issuers: usize) -> Self {
        Self {
            upstreams: Shares::new(upstreams),
            issuers: Arc::new(Semaphore::new(issuers)),
            shortages: watch::Sender::new(0),
        }
    }

    /// One for a connection: what config names (`None`) waits its turn, for its caller has a
    /// deadline; what a client asks for waits until pools have let go. `None`: its share is taken.
    pub(super) async fn spend(&self, client: Option<&ClientKey>) -> Option<Spent> {
        let Some(client) = client else {
            let permit = Arc::clone(&self.issuers).acquire_owned().await;
            return permit.ok().map(|permit| Spent(SpentOf::Issuer(permit)));
        };
        if let Some(share) = self.upstreams.take(client) {
            return Some(Spent(SpentOf::Upstream(share)));
        }
        self.shortages.send_modify(|count| *count = count.wrapping_add(1));
        let share = self.upstreams.take_within(ROOM_PATIENCE, client).await?;
        Some(Spent(SpentOf::Upstream(share)))
    }

    /// One more, only if it is free now.
    pub(super) fn spare(&self, client: Option<&ClientKey>) -> Option<Spent> {
        let kind = match client {
            None => SpentOf::Issuer(Arc::clone(&self.issuers).try_acquire_owned().ok()?),
            Some(client) => SpentOf::Upstream(self.upstreams.take(client)?),
        };
        Some(Spent(kind))
    }

    /// Changes whenever none was left.
    pub fn shortages(&self) -> watch::Receiver<u64> {
        self.shortages.subscribe()
    }
}

/// As good as unbounded: for a dialler that no client reaches.
impl Default for Budget {
    fn default() -> Self {
        Self::new(usize::MAX, Semaphore::MAX_PERMITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_empty_budget_asks_pools_first_and_refuses_then() {
        let budget = Budget::new(1, 1);
        let mut shortages = budget.shortages();
        let first = budget.spend(Some(&ClientKey::Anyone)).await.unwrap();
        assert!(!shortages.has_changed().unwrap());
        assert!(budget.spend(Some(&ClientKey::Anyone)).await.is_none());
        assert!(shortages.has_changed().unwrap());
        shortages.mark_unchanged();
        let second = budget.spend(Some(&ClientKey::Anyone));
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
        let _all = budget.spend(Some(&ClientKey::Anyone)).await.unwrap();
        assert!(budget.spend(None).await.is_some());
    }
}
