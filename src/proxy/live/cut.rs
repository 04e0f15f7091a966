//! The end of a request or a connection, as a word that is said once.

use std::sync::{Mutex, MutexGuard, OnceLock};
use std::task::Waker;
use std::time::Instant;

use crate::model::lock::lock;
use crate::model::reason::Reason;

/// Said once, and heard by all who watch.
#[derive(Default)]
pub(super) struct Cut {
    why: OnceLock<(Reason, Instant)>,
    wakers: Mutex<Vec<Waker>>,
}

impl Cut {
    pub(super) fn get(&self) -> Option<(Reason, Instant)> {
        self.why.get().copied()
    }

    /// Whether it was not cut before.
    pub(super) fn cut(&self, why: Reason) -> bool {
        let first = self.why.set((why, Instant::now())).is_ok();
        if first {
            let wakers = std::mem::take(&mut *self.wakers());
            wakers.into_iter().for_each(Waker::wake);
        }
        first
    }

    pub(super) fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        lock(&self.wakers)
    }
}
