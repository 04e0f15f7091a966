//! [`Shares`]: how much of what is scarce one holder may have, so that none takes it all (invariant
//! I11).
//!
//! Up to half of the limit is anybody's. Beyond it a holder may have at most its fair share: the
//! limit over the number of those who hold any, and one more who may come.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::model::lock::lock;

/// What is held now, by whom.
#[derive(Debug)]
pub struct Shares<K> {
    limit: usize,
    held: Mutex<Taken<K>>,
    /// Told when one was given back.
    freed: Notify,
}

#[derive(Debug)]
struct Taken<K> {
    total: usize,
    by: HashMap<K, usize>,
}

/// One, of one holder; given back when dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    holder: Mutex<K>,
}

impl<K: Clone + Debug + Eq + Hash> Shares<K> {
    /// At most `limit` in all.
    pub fn new(limit: usize) -> Arc<Self> {
        let held = Mutex::new(Taken { total: 0, by: HashMap::new() });
        Arc::new(Self { limit, held, freed: Notify::new() })
    }

    /// One more for this holder; `None`: it has its share, or all are taken.
    pub fn take(self: &Arc<Self>, holder: &K) -> Option<Share<K>> {
        let taken = self.held().take(self.limit, holder);
        taken.then(|| Share { shares: Arc::clone(self), holder: Mutex::new(holder.clone()) })
    }

    /// The same, and waits so long for others to give one back.
    pub async fn take_within(self: &Arc<Self>, patience: Duration, holder: &K) -> Option<Share<K>> {
        let taking = async {
            loop {
                let freed = self.freed.notified();
                let mut freed = std::pin::pin!(freed);
                // Before the look, so that nothing is missed between the two.
                freed.as_mut().enable();
                if let Some(share) = self.take(holder) {
                    return share;
                }
                freed.await;
            }
        };
        timeout(patience, taking).await.ok()
    }
}

impl<K: Eq + Hash> Shares<K> {
    fn held(&self) -> MutexGuard<'_, Taken<K>> {
        lock(&self.held)
    }
}

impl<K: Clone + Eq + Hash> Share<K> {
    /// Counts it as another's from now on; `false`: that one has its share, and nothing changes.
    pub fn pass_to(&self, holder: &K) -> bool {
        let mut own = lock(&self.holder);
        if *own == *holder {
            return true;
        }
        let mut held = self.shares.held();
        held.give_back(&own);
        if held.take(self.shares.limit, holder) {
            own.clone_from(holder);
            drop(held);
            self.shares.freed.notify_waiters();
            return true;
        }
        held.put(&own);
        false
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shares.held().give_back(holder);
        self.shares.freed.notify_waiters();
    }
}

impl<K: Eq + Hash> Taken<K> {
    fn give_back(&mut self, holder: &K) {
        self.total -= 1;
        if let Some(own) = self.by.get_mut(holder) {
            *own -= 1;
            if *own == 0 {
                self.by.remove(holder);
            }
        }
    }
}

impl<K: Clone + Eq + Hash> Taken<K> {
    fn take(&mut self, limit: usize, holder: &K) -> bool {
        let own = self.by.get(holder).copied().unwrap_or(0);
        let holders = self.by.len() + usize::from(own == 0);
        let admitted = admits(limit, self.total, holders, own);
        if admitted {
            self.put(holder);
        }
        admitted
    }

    fn put(&mut self, holder: &K) {
        self.total += 1;
        *self.by.entry(holder.clone()).or_default() += 1;
    }
}

/// Whether a holder that has `own` of `total` may have one more; `holders` have any, it included.
fn admits(limit: usize, total: usize, holders: usize, own: usize) -> bool {
    total < limit && (total < limit / 2 || own < (limit / (holders + 1)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(shares: &Arc<Shares<u32>>, holder: u32) -> Vec<Share<u32>> {
        std::iter::from_fn(|| shares.take(&holder)).collect()
    }

    #[test]
    fn one_holder_cannot_take_all() {
        let shares = Shares::new(100);
        let first = fill(&shares, 1);
        let second = fill(&shares, 2);
        let third = fill(&shares, 3);
        assert_eq!((first.len(), second.len(), third.len()), (50, 33, 17));
        assert!(shares.take(&4).is_none(), "all are taken");
        drop(first);
        assert_eq!(fill(&shares, 4).len(), 25);
    }

    #[test]
    fn what_is_given_back_is_free_again() {
        let shares = Shares::new(8);
        for _ in 0..100 {
            assert_eq!(fill(&shares, 1).len(), 4);
        }
        assert!(shares.held().by.is_empty() && shares.held().total == 0);
    }

    #[test]
    fn a_small_limit_still_serves() {
        let shares = Shares::new(1);
        assert_eq!(fill(&shares, 1).len(), 1);
    }

    #[test]
    fn one_that_is_passed_on_counts_for_the_other() {
        let shares = Shares::new(8);
        let all: Vec<_> = (0..4).filter_map(|_| shares.take(&1)).collect();
        let third = fill(&shares, 3);
        assert!(all[..2].iter().all(|share| share.pass_to(&2)));
        assert!(!all[2].pass_to(&2), "2 of 8 for each of three, and one who may come");
        assert_eq!(shares.held().by, HashMap::from([(1, 2), (2, 2), (3, 2)]));
        drop((all, third));
        assert_eq!(shares.held().total, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_what_is_given_back() {
        let shares = Shares::new(2);
        let first = shares.take(&1).unwrap();
        let patience = Duration::from_secs(1);
        assert!(shares.take_within(patience, &1).await.is_none());
        let (second, ()) = tokio::join!(shares.take_within(patience, &1), async { drop(first) });
        assert!(second.is_some());
    }
}
