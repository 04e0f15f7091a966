//! Telling issuers that tokens are over: off the request path, bounded in number, tries and time.
//!
//! A token that is not revoked still ends by itself, minutes later: nobody waits for a revocation,
//! and one that fails is reported and forgotten.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::{Shared, SlotKey, schedule};
use crate::mint::{MintError, Minter, Revocation};
use crate::model::reason::Reason;
use crate::model::token::Token;

/// Called when a revocation is over: for audit and metrics. Not called where there was nobody to
/// tell.
pub type OnRevoke = Arc<dyn Fn(&RevokeReport<'_>) + Send + Sync>;

/// One revocation, as told to [`OnRevoke`].
#[derive(Debug)]
pub struct RevokeReport<'a> {
    pub key: &'a SlotKey,
    pub token: &'a Token,
    /// Why it is not revoked, where it is not.
    pub result: Result<(), &'a MintError>,
    /// How often the issuer was asked.
    pub attempts: u32,
}

/// How many there were, for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevokeCounts {
    /// Tokens that the issuer says are revoked.
    pub done: u64,
    /// It did not, or could not be asked.
    pub failed: u64,
    /// Those that wait for their turn or for an answer.
    pub pending: usize,
}

/// All revocations of a broker.
pub(super) struct Revocations {
    pub(super) on_revoke: OnceLock<OnRevoke>,
    pending: watch::Sender<usize>,
    permits: Semaphore,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            on_revoke: OnceLock::new(),
            pending: watch::Sender::new(0),
            permits: Semaphore::new(AT_ONCE),
            done: AtomicU64::default(),
            failed: AtomicU64::default(),
        }
    }
}

impl Revocations {
    pub(super) fn counts(&self) -> RevokeCounts {
        RevokeCounts {
            done: self.done.load(Relaxed),
            failed: self.failed.load(Relaxed),
            pending: *self.pending.borrow(),
        }
    }

    /// Resolves when none is under way.
    pub(super) async fn settled(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }
}

/// Starts one, unless too many are under way.
pub(super) fn start(
    shared: &Arc<Shared>,
    key: SlotKey,
    minter: Arc<dyn Minter>,
    token: Arc<Token>,
) {
    let all = &shared.revocations;
    let room = all.pending.send_if_modified(|pending| {
        let room = *pending < MAX_PENDING;
        *pending += usize::from(room);
        room
    });
    if !room {
        all.failed.fetch_add(1, Relaxed);
        let credential = &key.credential;
        tracing::warn!(%credential, "too many revocations under way: a token ends by itself");
        return;
    }
    let under_way = UnderWay(Arc::clone(shared));
    shared.runtime.spawn(async move {
        under_way.0.revoke(&key, &*minter, &token).await;
    });
}

/// Counted until it is dropped, by a panic or the runtime's end as well.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.revocations.pending.send_modify(|pending| *pending -= 1);
    }
}

impl Shared {
    async fn revoke(&self, key: &SlotKey, minter: &dyn Minter, token: &Token) {
        let all = &self.revocations;
        // Never closed.
        let _permit = all.permits.acquire().await;
        let mut attempts = 0;
        let result = loop {
            attempts += 1;
            let attempt = tokio::time::timeout(ATTEMPT, minter.revoke(token)).await;
            let error = match attempt.unwrap_or(Err(MintError::Deadline)) {
                Ok(Revocation::Unsupported) => return,
                Ok(Revocation::Done) => break Ok(()),
                Err(error) => error,
            };
            let again = error.reason() == Reason::IssuerUnreachable && attempts < MAX_ATTEMPTS;
            let wait = schedule::delay(attempts, error.retry_after(), schedule::jitter());
            // What has ended by then needs no revocation.
            if !again || wait >= token.end().remaining(self.clock.now()) || wait > MAX_WAIT {
                break Err(error);
            }
            tokio::time::sleep(wait).await;
        };
        let count = if result.is_ok() { &all.done } else { &all.failed };
        count.fetch_add(1, Relaxed);
        if let Some(on_revoke) = all.on_revoke.get() {
            let result = result.as_ref().copied();
            on_revoke(&RevokeReport { key, token, result, attempts });
        }
    }
}

/// Calls under way at the same time.
const AT_ONCE: usize = 16;
/// The most that wait or are under way; further tokens are given up.
const MAX_PENDING: usize = 4096;
const MAX_ATTEMPTS: u32 = 4;
/// How long one try may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// An issuer that wants more time than this is not asked again.
const MAX_WAIT: Duration = Duration::from_secs(60);
