//! One mint for all who wait: started once, run on the broker's runtime whoever goes away, and
//! landed exactly once, even when the minter panics or the runtime goes down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::slot::Slot;
use super::{Failure, MintReport};
use crate::mint::{MintError, MintRequest};
use crate::model::reason::Reason;
use crate::model::token::Token;

/// For one mint, all of its calls included.
pub const MINT_DEADLINE: Duration = Duration::from_secs(10);

/// What all who wait are told.
pub(super) type Landed = Result<Arc<Token>, Failure>;

/// A mint under way. Its value is `None` until it has landed.
#[derive(Clone)]
pub(super) struct Flight(Arc<watch::Sender<Option<Landed>>>);

impl Flight {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Tells all who wait; the first to do so is believed.
    pub(super) fn land(&self, landed: Landed) {
        self.0.send_if_modified(|value| {
            let first = value.is_none();
            if first {
                *value = Some(landed);
            }
            first
        });
    }

    pub(super) async fn landed(&self) -> Landed {
        let mut receiver = self.0.subscribe();
        let value = receiver.wait_for(Option::is_some).await;
        // Neither can fail: the sender lives as long as `self`, and `Some` was waited for.
        value.ok().and_then(|value| value.clone()).unwrap_or(Err(Failure::of(Reason::ShuttingDown)))
    }
}

/// Mints for a slot, in a task of its own, and lands the flight there.
pub(super) fn launch(slot: Arc<Slot>, flight: Flight) {
    let runtime = slot.shared().runtime.clone();
    let attempt = runtime.clone();
    // Made here: a runtime that is gone drops the task without running it.
    let landing = Landing { slot, flight };
    runtime.spawn(async move {
        let slot = &landing.slot;
        let started = slot.shared().clock.now();
        // A task again, so that a panic ends it and not the landing.
        let minting = attempt.spawn(mint(Arc::clone(slot)));
        let mut result = match minting.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => Err(MintError::Panicked),
            // The runtime is going down: `landing` says so.
            Err(_) => return,
        };
        let took = slot.shared().clock.now().mono.saturating_duration_since(started.mono);
        let report = MintReport { key: slot.key(), result: result.as_ref(), took };
        if catch_unwind(AssertUnwindSafe(|| (slot.shared().on_mint)(&report))).is_err() {
            result = Err(MintError::Panicked);
        }
        slot.land(&landing.flight, result);
    });
}

async fn mint(slot: Arc<Slot>) -> Result<Token, MintError> {
    let key = slot.key().clone();
    let request = MintRequest { credential: key.credential, client: key.client, ask: key.ask };
    let minting = slot.minter().mint(request);
    tokio::time::timeout(MINT_DEADLINE, minting).await.unwrap_or(Err(MintError::Deadline))
}

/// Lands what has not landed when the task goes.
struct Landing {
    slot: Arc<Slot>,
    flight: Flight,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.slot.abandon(&self.flight);
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
