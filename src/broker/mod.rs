//! Floor 4: holding tokens.
//!
//! The [`Broker`] has a [`Slot`] for each client and credential, and never shares one across either
//! (I7), nor across two definitions of a credential: a slot belongs to the minter that the asking
//! request's own snapshot of the config names. A connection asks for its slot once and keeps it;
//! the slot mints when needed, once for all who wait, ahead of the end, with back-off after
//! failures. What a client may use was decided before anybody comes here.

mod flight;
mod retired;
mod revoke;
mod schedule;
mod slot;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use foldhash::HashMap;
use tokio::runtime::Handle;

use crate::mint::{MintError, Minter};
use crate::model::ask::Ask;
use crate::model::client::ClientKey;
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::model::reason::Reason;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;
use retired::{Replaced, Retired};
use revoke::Revocations;

pub use flight::MINT_DEADLINE;
pub use revoke::{OnRevoke, RevokeCounts, RevokeReport};
pub use slot::Slot;

/// Minters by the credential they mint. Two snapshots of the config share the minter (the same
/// `Arc`) of a credential that is defined alike in both, and with it its tokens.
pub type Minters = HashMap<CredentialName, Arc<dyn Minter>>;

/// Called after each mint, before its token serves: for audit and metrics. Must not block long.
pub type OnMint = Arc<dyn Fn(&MintReport<'_>) + Send + Sync>;

/// Why nothing may be minted for a client and credential any more, if so. Asked when a slot is
/// made.
pub type Bars = Arc<dyn Fn(&SlotKey) -> Option<Reason> + Send + Sync>;

/// What a slot holds a token for: a client, a credential and what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotKey {
    pub client: ClientKey,
    pub credential: CredentialName,
    /// What a route asks of it: scope, audience, resource, claims.
    pub ask: Arc<Ask>,
}

/// One mint, as told to [`OnMint`].
#[derive(Debug)]
pub struct MintReport<'a> {
    pub key: &'a SlotKey,
    /// The token or why there is none.
    pub result: Result<&'a Token, &'a MintError>,
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
    /// Without a finer word, or a time for another try.
    pub fn of(reason: Reason) -> Self {
        Self { reason, code: reason.code(), retry_after: None, backing_off: false }
    }
}

/// Why a slot gives nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    ClientEnded,
    /// The client was revoked: ask the broker for the new slot, should that be taken back.
    ClientRevoked,
    /// A reload changed the credential. It keeps nothing any more, but mints for requests that were
    /// judged before.
    Replaced,
    /// The credential was revoked: ask the broker for the new slot, should that be taken back.
    Revoked,
}

impl Closed {
    /// What a bar closes a slot as.
    fn by(reason: Reason) -> Self {
        match reason {
            Reason::ClientRevoked => Self::ClientRevoked,
            Reason::CredentialRevoked => Self::Revoked,
            _ => Self::ClientEnded,
        }
    }
}

/// One slot, for `valetkey status`.
#[derive(Clone, Debug)]
pub struct SlotStatus {
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
    pub minted: SystemTime,
    pub expires: SystemTime,
    /// The scope that the issuer granted; `None`: it did not say.
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

/// Holds the slots, one for each [`SlotKey`], and mints into them.
pub struct Broker {
    slots: DashMap<Place, Arc<Slot>>,
    replaced: Replaced,
    shared: Arc<Shared>,
    bars: Option<Bars>,
    most: usize,
}

/// Where a slot is found.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    key: SlotKey,
    /// The address of its minter, which the slot keeps alive: nobody else's meanwhile.
    minter: usize,
}

impl Place {
    fn of(key: &SlotKey, minter: &Arc<dyn Minter>) -> Self {
        Self { key: key.clone(), minter: Arc::as_ptr(minter).addr() }
    }
}

struct Shared {
    clock: Arc<dyn Clock>,
    runtime: Handle,
    on_mint: OnMint,
    revocations: Revocations,
    retired: Retired,
}

impl Broker {
    /// Mints run on `runtime`, so that a client that goes away takes no mint with it that others
    /// wait for. It needs its timer.
    pub fn new(clock: Arc<dyn Clock>, runtime: Handle, on_mint: OnMint) -> Self {
        Self {
            slots: DashMap::new(),
            replaced: Replaced::default(),
            shared: Arc::new(Shared {
                clock,
                runtime,
                on_mint,
                revocations: Revocations::default(),
                retired: Retired::default(),
            }),
            bars: None,
            most: MAX_SLOTS,
        }
    }

    /// Who is asked before a slot is given to somebody new.
    #[must_use]
    pub fn heeding(self, bars: Bars) -> Self {
        Self { bars: Some(bars), ..self }
    }

    /// Who is told of revocations; the first that is named.
    #[must_use]
    pub fn telling(self, on_revoke: OnRevoke) -> Self {
        self.shared.revocations.on_revoke.get_or_init(|| on_revoke);
        self
    }

    /// The slot of a client and credential, filled by this minter and no other. Refused where
    /// [`MAX_SLOTS`] are all in use, and where a revocation says so.
    pub fn slot(&self, key: &SlotKey, minter: &Arc<dyn Minter>) -> Result<Arc<Slot>, Failure> {
        let place = Place::of(key, minter);
        if let Some(slot) = self.slots.get(&place) {
            return Ok(Arc::clone(&slot));
        }
        if self.slots.len() >= self.most {
            self.make_room()?;
        }
        let slot = || Slot::new(key.clone(), Arc::clone(minter), Arc::clone(&self.shared));
        let slot = Arc::clone(&self.slots.entry(place).or_insert_with(|| Arc::new(slot())));
        // After it is there to be found: a revocation closes it, or is seen here.
        match self.bars.as_ref().and_then(|bars| bars(key)) {
            Some(reason) => {
                self.close_where(Closed::by(reason), |other| other == key);
                Err(Failure::of(reason))
            }
            None => Ok(slot),
        }
    }

    /// The slot that takes the place of this one, should it have been closed since.
    pub fn again(&self, slot: &Slot) -> Result<Arc<Slot>, Failure> {
        self.slot(slot.key(), slot.minter())
    }

    /// A token from a slot that was asked for earlier; asks for it again first where a revocation has
    /// closed it, by the same minter. [`Slot::current`] is the quick way to a hit.
    pub async fn token(&self, slot: &mut Arc<Slot>) -> Result<Arc<Token>, Failure> {
        // Twice, for a revocation between the two lines.
        for _ in 0..2 {
            if matches!(slot.closed(), Some(Closed::ClientRevoked | Closed::Revoked)) {
                *slot = self.slot(slot.key(), slot.minter())?;
            }
        }
        slot.token().await
    }

    /// Closes the slots of all other minters, and those that nothing is `asked` of any more. Call
    /// it after a new snapshot of the config holds, and now and then: a request that was judged by
    /// the old one may still ask for a slot of it. Their tokens are revoked once no request uses
    /// them.
    pub fn keep_only(&self, minters: &Minters, asked: impl Fn(&SlotKey) -> bool) {
        self.slots.retain(|place, slot| {
            let minter = minters.get(&place.key.credential);
            let same = minter.is_some_and(|minter| slot.is_of(minter)) && asked(&place.key);
            if !same {
                for token in slot.close(Closed::Replaced) {
                    slot.retire(token);
                }
                self.replaced.put(slot);
            }
            same
        });
    }

    /// Drops all tokens of a client, those of slots handed out earlier too, and revokes them at
    /// their issuers. Call it after the client is no longer admitted, or it may ask for a new slot.
    pub fn end_client(&self, client: &ClientKey) -> usize {
        self.close_where(Closed::ClientEnded, |key| key.client == *client)
    }

    /// As [`Broker::end_client`], for whoever is revoked.
    pub fn revoke_clients(&self, revoked: impl Fn(&ClientKey) -> bool) -> usize {
        self.close_where(Closed::ClientRevoked, |key| revoked(&key.client))
    }

    /// Drops all tokens of a credential and revokes them at its issuer; says how many there were.
    /// Call it after the credential is barred, or a request after that mints anew.
    pub fn revoke(&self, credential: &CredentialName) -> usize {
        self.close_where(Closed::Revoked, |key| key.credential == *credential)
    }

    /// Drops and revokes everything, at the end: no daemon after this one knows these tokens.
    pub fn revoke_all(&self) -> usize {
        self.close_where(Closed::ClientEnded, |_| true)
    }

    /// Resolves when no revocation is under way.
    pub async fn settled(&self) {
        self.shared.revocations.settled().await;
    }

    /// How many revocations there were.
    pub fn revocations(&self) -> RevokeCounts {
        self.shared.revocations.counts()
    }

    fn close_where(&self, why: Closed, chosen: impl Fn(&SlotKey) -> bool) -> usize {
        let mut over = Vec::new();
        self.slots.retain(|place, slot| {
            let chosen = chosen(&place.key);
            if chosen {
                let tokens = slot.close(why).into_iter();
                over.extend(tokens.map(|token| (Arc::clone(slot), token)));
            }
            !chosen
        });
        // And what a reload took away before: whoever waits there is refused, and what comes is
        // revoked.
        for slot in self.replaced.used().into_iter().filter(|slot| chosen(slot.key())) {
            slot.close(why);
        }
        over.extend(self.shared.retired.take(|slot| chosen(slot.key())));
        // Some issuers give the same token to everybody who asks: another client may hold it yet.
        let shared = |token: &Token| self.slots.iter().any(|slot| slot.holds(token.fingerprint()));
        over.retain(|(_, token)| !shared(token));
        for (slot, token) in &over {
            slot.revoke(Arc::clone(token));
        }
        over.len()
    }

    /// Wipes tokens that have ended, forgets slots that nobody uses, and revokes what a reload
    /// replaced once nobody uses that either; call it now and then.
    pub fn sweep(&self) {
        let now = self.shared.clock.now();
        self.slots.retain(|_, slot| {
            slot.drop_ended(now);
            is_used(slot) || slot.is_full(now) || slot.is_backing_off(now)
        });
        self.replaced.used();
        for (slot, token) in self.shared.retired.unused(now) {
            // As in `close_where`.
            if !self.slots.iter().any(|slot| slot.holds(token.fingerprint())) {
                slot.revoke(token);
            }
        }
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
