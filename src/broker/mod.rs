//! Floor 4: holding tokens.
//!
//! The [`Broker`] has a [`Slot`] for each client and credential, and never shares one across
//! either (I7). A connection asks for its slot once and keeps it; the slot mints when needed,
//! once for all who wait, ahead of the end, with back-off after failures. What a client may use
//! was decided before anybody comes here.

mod flight;
mod schedule;
mod slot;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use dashmap::{DashMap, Entry};
use tokio::runtime::Handle;

use crate::mint::{MintError, Minter};
use crate::model::client::ClientKey;
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::reason::Reason;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;

pub use flight::MINT_DEADLINE;
pub use slot::Slot;

/// Minters by the credential they mint.
pub type Minters = HashMap<CredentialName, Arc<dyn Minter>>;

/// Called after each mint, before its token serves: for audit and metrics. Must not block long.
pub type OnMint = Arc<dyn Fn(&MintReport<'_>) + Send + Sync>;

/// Whose token of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotKey {
    /// The identity.
    pub client: ClientKey,
    /// The credential.
    pub credential: CredentialName,
}

/// One mint, as told to [`OnMint`].
#[derive(Debug)]
pub struct MintReport<'a> {
    /// Whose token of what.
    pub key: &'a SlotKey,
    /// The token or why there is none.
    pub result: Result<&'a Token, &'a MintError>,
    /// How long it took.
    pub took: Duration,
}

/// Why there is no token, as all who waited for it are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client is told.
    pub reason: Reason,
    /// The finer word for audit and `status`: a [`MintError::code`] or the reason's.
    pub code: &'static str,
    /// When the next attempt may be.
    pub retry_after: Option<Duration>,
    /// Whether nobody was asked, because the last failure is too recent.
    pub backing_off: bool,
}

impl Failure {
    fn of(reason: Reason) -> Self {
        Self { reason, code: reason.code(), retry_after: None, backing_off: false }
    }
}

/// Why a slot gives nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client's session ended, or it was revoked.
    ClientEnded,
    /// A reload changed the credential: ask the broker for the new slot.
    Replaced,
}

/// One slot, for `valetkey status`.
#[derive(Clone, Debug)]
pub struct SlotStatus {
    /// Whose token of what.
    pub key: SlotKey,
    /// The token that serves now.
    pub token: Option<TokenStatus>,
    /// Whether a mint is under way.
    pub minting: bool,
    /// The code of the last failure and its time, until a mint succeeds.
    pub last_error: Option<(&'static str, SystemTime)>,
    /// Before which no mint is tried.
    pub next_attempt: Option<SystemTime>,
}

/// A token without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStatus {
    /// Its name in audit records.
    pub fingerprint: Fingerprint,
    /// When it was minted.
    pub minted: SystemTime,
    /// Its end.
    pub expires: SystemTime,
    /// What the issuer granted.
    pub scope: Option<String>,
    /// Whether it is a static key in disguise.
    pub standing: bool,
}

impl From<&Token> for TokenStatus {
    fn from(token: &Token) -> Self {
        Self {
            fingerprint: token.fingerprint().clone(),
            minted: token.minted().wall,
            expires: token.expires(),
            scope: token.scope().map(str::to_owned),
            standing: token.is_standing(),
        }
    }
}

/// Holds the slots.
pub struct Broker {
    slots: DashMap<SlotKey, Arc<Slot>>,
    minters: ArcSwap<Minters>,
    shared: Arc<Shared>,
    most: usize,
}

/// What every slot needs.
struct Shared {
    clock: Arc<dyn Clock>,
    runtime: Handle,
    on_mint: OnMint,
}

impl Broker {
    /// Mints run on `runtime`, so that a client that goes away takes no mint with it that others
    /// wait for. It needs its timer.
    pub fn new(minters: Minters, clock: Arc<dyn Clock>, runtime: Handle, on_mint: OnMint) -> Self {
        Self {
            slots: DashMap::new(),
            minters: ArcSwap::from_pointee(minters),
            shared: Arc::new(Shared { clock, runtime, on_mint }),
            most: MAX_SLOTS,
        }
    }

    /// The slot of a client and credential. Refused for a credential that no longer exists, and
    /// where [`MAX_SLOTS`] are all in use.
    pub fn slot(&self, key: &SlotKey) -> Result<Arc<Slot>, Failure> {
        if let Some(slot) = self.slots.get(key) {
            return Ok(Arc::clone(&slot));
        }
        if self.slots.len() >= self.most {
            self.make_room()?;
        }
        match self.slots.entry(key.clone()) {
            Entry::Occupied(slot) => Ok(Arc::clone(slot.get())),
            Entry::Vacant(place) => {
                // Under the shard's lock: `replace` stores the minters before it looks here, so
                // no slot of an old minter slips in behind its back.
                let minters = self.minters.load();
                let minter = minters.get(&key.credential);
                let minter = minter.ok_or(Failure::of(Reason::SecretUnavailable))?;
                let (minter, shared) = (Arc::clone(minter), Arc::clone(&self.shared));
                Ok(Arc::clone(&place.insert(Arc::new(Slot::new(key.clone(), minter, shared)))))
            }
        }
    }

    /// The token that is held for a client and credential, if any; mints nothing.
    pub fn held(&self, key: &SlotKey) -> Option<Arc<Token>> {
        self.slots.get(key)?.current(self.shared.clock.now())
    }

    /// A token from a slot that was asked for earlier; asks for it again first where a reload has
    /// closed it. [`Slot::current`] is the quick way to a hit.
    pub async fn token(&self, slot: &mut Arc<Slot>) -> Result<Arc<Token>, Failure> {
        // Twice, for a reload between the two lines.
        for _ in 0..2 {
            if slot.closed() == Some(Closed::Replaced) {
                *slot = self.slot(slot.key())?;
            }
        }
        slot.token().await
    }

    /// The minter of a credential, to be carried over to [`Broker::replace`] where a reload left
    /// the credential as it was.
    pub fn minter(&self, credential: &CredentialName) -> Option<Arc<dyn Minter>> {
        self.minters.load().get(credential).cloned()
    }

    /// New minters after a reload. Slots whose minter is the same one (the same `Arc`) keep their
    /// tokens, all others are closed.
    pub fn replace(&self, minters: Minters) {
        let minters = Arc::new(minters);
        self.minters.store(Arc::clone(&minters));
        self.slots.retain(|key, slot| {
            let minter = minters.get(&key.credential);
            let same = minter.is_some_and(|minter| Arc::ptr_eq(minter, slot.minter()));
            if !same {
                slot.close(Closed::Replaced);
            }
            same
        });
    }

    /// Drops all tokens of a client, those of slots handed out earlier too. Call it after the
    /// client is no longer admitted, or it may ask for a new slot.
    pub fn end_client(&self, client: &ClientKey) {
        self.slots.retain(|key, slot| {
            let ended = key.client == *client;
            if ended {
                slot.close(Closed::ClientEnded);
            }
            !ended
        });
    }

    /// Wipes tokens that have ended and forgets slots that nobody uses; call it now and then.
    pub fn sweep(&self) {
        let now = self.shared.clock.now();
        self.slots.retain(|_, slot| {
            slot.drop_ended(now);
            is_used(slot) || slot.is_full(now) || slot.is_backing_off(now)
        });
    }

    /// All slots, by client and credential.
    pub fn status(&self) -> Vec<SlotStatus> {
        let mut all: Vec<_> = self.slots.iter().map(|slot| slot.status()).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Rather lose tokens that nobody holds a slot for than refuse a newcomer.
    fn make_room(&self) -> Result<(), Failure> {
        self.sweep();
        if self.slots.len() >= self.most {
            self.slots.retain(|_, slot| is_used(slot));
        }
        let full = self.slots.len() >= self.most;
        if full { Err(Failure::of(Reason::TooManyConnections)) } else { Ok(()) }
    }
}

/// Whether a connection or a mint holds it as well. Asked under the lock of the map's shard,
/// which is also needed to hand it out.
fn is_used(slot: &Arc<Slot>) -> bool {
    Arc::strong_count(slot) > 1
}

/// Clients times credentials that are held at once.
pub const MAX_SLOTS: usize = 10_000;

#[cfg(test)]
mod tests;
