//! Slows down whoever guesses proxy credentials, without locking out who knows them: right
//! credentials are never throttled.

use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::model::clock::Moment;
use crate::model::reason::Reason;

/// Wrong guesses that are answered at once.
const BURST: u32 = 20;
/// Then one in this time.
const GUESS_EVERY: Duration = Duration::from_secs(1);
/// Peers remembered; beyond, all of them share one bucket.
const MAX_PEERS: usize = 1024;

/// One bucket of guesses for each uid; all peers without one share a bucket.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    buckets: DashMap<Option<u32>, (u32, Instant)>,
}

impl Throttle {
    /// Counts one wrong guess and says what to answer.
    pub(super) fn failure(&self, uid: Option<u32>, now: Moment) -> Reason {
        let known = self.buckets.contains_key(&uid) || self.buckets.len() < MAX_PEERS;
        let mut bucket =
            self.buckets.entry(if known { uid } else { None }).or_insert((BURST, now.mono));
        let (left, since) = *bucket;
        let refilled = now.mono.saturating_duration_since(since).as_secs() / GUESS_EVERY.as_secs();
        let left = u64::from(left).saturating_add(refilled).min(u64::from(BURST)) as u32;
        let since = if refilled > 0 { now.mono } else { since };
        *bucket = (left.saturating_sub(1), since);
        if left > 0 { Reason::ProxyAuthFailed } else { Reason::ProxyAuthThrottled }
    }
}
