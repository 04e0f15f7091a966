//! The end of a request or a connection, as a word that is said once.

use std::sync::{Mutex, OnceLock};
use std::task::Waker;
use std::time::Instant;

use crate::model::lock::lock;
use crate::model::reason::Reason;

/// Said once, and heard by all who watch.
#[derive(Default)]
pub(super) struct Cut {
    why: OnceLock<(Reason, Instant)>,
    wakers: Mutex<Wakers>,
}

/// Each with how many asked for it. Nearly always there is one, of the task that carries all.
#[derive(Default)]
struct Wakers {
    first: Option<(Waker, u32)>,
    more: Vec<(Waker, u32)>,
}

impl Wakers {
    fn find(&mut self, waker: &Waker) -> Option<&mut (Waker, u32)> {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        all.find(|(known, _)| known.will_wake(waker))
    }

    fn add(&mut self, waker: &Waker) {
        if let Some((_, times)) = self.find(waker) {
            *times = times.saturating_add(1);
        } else if self.first.is_none() {
            self.first = Some((waker.clone(), 1));
        } else {
            self.more.push((waker.clone(), 1));
        }
    }

    fn remove(&mut self, waker: &Waker) {
        if let Some((_, times)) = self.find(waker) {
            *times -= 1;
            self.first.take_if(|(_, times)| *times == 0);
            self.more.retain(|(_, times)| *times > 0);
        }
    }
}

impl Cut {
    pub(super) fn get(&self) -> Option<(Reason, Instant)> {
        self.why.get().copied()
    }

    /// Whether it was not cut before.
    pub(super) fn cut(&self, why: Reason) -> bool {
        let first = self.why.set((why, Instant::now())).is_ok();
        if first {
            let Wakers { first, more } = std::mem::take(&mut *lock(&self.wakers));
            first.into_iter().chain(more).for_each(|(waker, _)| waker.wake());
        }
        first
    }

    /// Wakes this one too, and no longer the one that it comes `instead_of`.
    pub(super) fn wakes(&self, waker: &Waker, instead_of: Option<&Waker>) {
        let mut wakers = lock(&self.wakers);
        if let Some(old) = instead_of {
            wakers.remove(old);
        }
        wakers.add(waker);
    }
}
