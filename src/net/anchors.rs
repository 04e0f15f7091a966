//! [`Anchors`]: the roots that a thread reads while we start, and the wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use tokio::sync::SetOnce;
use tokio::time::timeout;

use crate::model::reason::Reason;

/// Judges by roots: none where there are none.
type ByRoots = Option<Arc<WebPkiServerVerifier>>;

/// The roots, as soon as somebody has read them.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    read: SetOnce<ByRoots>,
    /// Where they are read from, as the log has it.
    from: String,
    said: AtomicBool,
}

impl Anchors {
    /// `from`: where they will be read from.
    pub(super) fn of(from: String) -> Self {
        Self { from, ..Self::default() }
    }

    pub(super) fn set(&self, roots: ByRoots) {
        // Read once for each of us.
        self.read.set(roots).ok();
    }

    pub(super) fn get(&self) -> Option<&ByRoots> {
        self.read.get()
    }

    /// Returns as soon as they are read. A file of theirs that never ends, or a file system that
    /// hangs, holds up the requests that need them, and no thread.
    pub(super) async fn ready(&self) -> Result<(), RootsUnread> {
        if self.get().is_some() || timeout(ROOTS_WAIT, self.read.wait()).await.is_ok() {
            return Ok(());
        }
        // The log says once what they wait for.
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                code = Reason::RootsUnread.code(),
                hint = Reason::RootsUnread.hint(),
                "the roots that this machine trusts cannot be read to their end: {}",
                self.from
            );
        }
        Err(RootsUnread)
    }
}

/// The platform's roots are not read yet, so nobody's certificate can be judged.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the roots that this machine trusts are still being read after {} s", ROOTS_WAIT.as_secs())]
pub struct RootsUnread;

/// Less than a handshake or an issuer may take, so that the reason is told and not the time-out.
const ROOTS_WAIT: Duration = Duration::from_secs(5);
