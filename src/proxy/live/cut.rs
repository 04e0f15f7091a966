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

/// Nearly always there is one.
#[derive(Default)]
struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
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
            first.into_iter().chain(more).for_each(Waker::wake);
        }
        first
    }

    /// Wakes this one too, and no longer the one that it comes `instead_of`.
    pub(super) fn wakes(&self, waker: Waker, instead_of: Option<&Waker>) {
        let Wakers { first, more } = &mut *lock(&self.wakers);
        let is_old = |waker: &&mut Waker| instead_of.is_some_and(|old| waker.will_wake(old));
        if let Some(old) = first.iter_mut().chain(&mut *more).find(is_old) {
            *old = waker;
        } else if first.is_none() {
            *first = Some(waker);
        } else {
            more.push(waker);
        }
    }
}
