//! What a reload took out of service while requests still use it: tokens, revoked as soon as none
//! does, and slots, which still mint for requests that were judged before.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::Slot;
use crate::model::clock::Moment;
use crate::model::lock::lock;
use crate::model::token::Token;

/// More than this are forgotten, the oldest first: they end by themselves.
const MOST_RETIRED: usize = 4096;

#[derive(Default)]
pub(super) struct Retired(Mutex<Vec<(Arc<Slot>, Arc<Token>)>>);

impl Retired {
    pub(super) fn put(&self, slot: Arc<Slot>, token: Arc<Token>) {
        let mut all = self.lock();
        if all.len() >= MOST_RETIRED {
            all.remove(0);
        }
        all.push((slot, token));
    }

    /// Takes out those that only this list holds; forgets those that have ended.
    pub(super) fn unused(&self, now: Moment) -> Vec<(Arc<Slot>, Arc<Token>)> {
        let mut all = self.lock();
        all.retain(|(_, token)| token.is_valid(now));
        all.extract_if(.., |(_, token)| Arc::strong_count(token) == 1).collect()
    }

    /// Takes out those of these slots.
    pub(super) fn take(&self, of: impl Fn(&Slot) -> bool) -> Vec<(Arc<Slot>, Arc<Token>)> {
        self.lock().extract_if(.., |(slot, _)| of(slot)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Slot>, Arc<Token>)>> {
        lock(&self.0)
    }
}

/// Slots that the broker hands out no more. A later revocation must find them, for what they still
/// mint.
#[derive(Default)]
pub(super) struct Replaced(Mutex<Vec<Weak<Slot>>>);

impl Replaced {
    pub(super) fn put(&self, slot: &Arc<Slot>) {
        self.lock().push(Arc::downgrade(slot));
    }

    /// Those that somebody still has; the others are forgotten.
    pub(super) fn used(&self) -> Vec<Arc<Slot>> {
        let mut used = Vec::new();
        self.lock().retain(|slot| {
            let slot = slot.upgrade();
            used.extend(slot.clone());
            slot.is_some()
        });
        used
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Slot>>> {
        lock(&self.0)
    }
}
