//! [`Slot`]: one credential's token for one client.
//!
//! A connection keeps its `Arc<Slot>`, so a hit is a pointer load without a lock; the lock below
//! is taken to start, join or land a mint. An ended token is never given, a token that still
//! lives is given while its renewal fails.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use super::flight::{self, Flight, Landed};
use super::{Closed, Failure, Shared, SlotKey, SlotStatus, TokenStatus};
use super::{revoke, schedule};
use crate::mint::{AnswerError, MintError, Minter};
use crate::model::clock::{Deadline, Moment};
use crate::model::lock::lock;
use crate::model::reason::Reason;
use crate::model::secret::Fingerprint;
use crate::model::token::Token;

/// The place of one token, empty or full.
pub struct Slot {
    key: SlotKey,
    minter: Arc<dyn Minter>,
    shared: Arc<Shared>,
    held: ArcSwapOption<Held>,
    state: Mutex<State>,
}

struct Held {
    token: Arc<Token>,
    /// From here on, use starts a mint in the background.
    refresh: Deadline,
    /// Whether it has: only one of those who use it takes the lock.
    refreshed: AtomicBool,
}

#[derive(Default)]
struct State {
    closed: Option<Closed>,
    flight: Option<Flight>,
    failures: u32,
    back_off: Option<BackOff>,
    /// Tokens that a younger one took the place of, while their issuer still takes them.
    past: Vec<Arc<Token>>,
}

/// What a mint is started for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// A token that has not ended.
    Any,
    /// One that is not late in its life.
    Younger,
}

struct BackOff {
    until: Deadline,
    failure: Failure,
    at: SystemTime,
}

impl State {
    /// Keeps a token in mind for its revocation. The few youngest will do: older ones end by
    /// themselves.
    fn retire(&mut self, token: Arc<Token>, now: Moment) {
        self.past.retain(|past| past.is_valid(now));
        if self.past.len() >= MAX_PAST {
            self.past.remove(0);
        }
        self.past.push(token);
    }
}

impl Slot {
    pub(super) fn new(key: SlotKey, minter: Arc<dyn Minter>, shared: Arc<Shared>) -> Self {
        let (held, state) = (ArcSwapOption::empty(), Mutex::default());
        Self { key, minter, shared, held, state }
    }

    /// Whose token of what it holds.
    pub fn key(&self) -> &SlotKey {
        &self.key
    }

    /// Whether it is this minter that fills it.
    pub fn is_of(&self, minter: &Arc<dyn Minter>) -> bool {
        Arc::ptr_eq(&self.minter, minter)
    }

    /// Whether and why it keeps nothing any more.
    pub fn closed(&self) -> Option<Closed> {
        self.lock().closed
    }

    /// The token, if there is one that has not ended by either clock. Takes no lock and allocates
    /// nothing, but for the first use late in a token's life, which starts its renewal.
    pub fn current(self: &Arc<Self>, now: Moment) -> Option<Arc<Token>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| held.token.is_valid(now))?;
        let late = held.refresh.passed(now) && !held.refreshed.load(Ordering::Relaxed);
        if late && !held.refreshed.swap(true, Ordering::Relaxed) {
            // Refused while one is under way or has just failed: as good.
            let _ = self.start(now, Need::Younger);
        }
        Some(Arc::clone(&held.token))
    }

    /// The token: at once, or with all others who wait from one mint, within its deadline. During
    /// back-off the last failure, at once.
    pub async fn token(self: &Arc<Self>) -> Landed {
        let now = self.shared.clock.now();
        match self.current(now) {
            Some(token) => Ok(token),
            None => self.start(now, Need::Any)?.landed().await,
        }
    }

    /// Drops the token with this fingerprint, because an upstream said 401 to it. Says whether
    /// another token is worth a try: not where this one is younger than 10 s, for then the 401 is
    /// about permission, and an upstream could make us mint without end.
    pub fn invalidate(&self, fingerprint: &Fingerprint) -> bool {
        let now = self.shared.clock.now();
        let mut state = self.lock();
        if state.closed.is_some() {
            return false;
        }
        match &*self.held.load() {
            Some(held) if held.token.fingerprint() == fingerprint => {
                let old = Deadline::after(held.token.minted(), MIN_AGE).passed(now);
                if old {
                    state.retire(Arc::clone(&held.token), now);
                    self.held.store(None);
                }
                old
            }
            _ => true,
        }
    }

    pub(super) fn minter(&self) -> &Arc<dyn Minter> {
        &self.minter
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether it holds a token that has not ended.
    pub(super) fn is_full(&self, now: Moment) -> bool {
        self.held.load().as_ref().is_some_and(|held| held.token.is_valid(now))
    }

    /// Wipes a token that has ended, should nobody else hold it.
    pub(super) fn drop_ended(&self, now: Moment) {
        let mut state = self.lock();
        state.past.retain(|token| token.is_valid(now));
        if !self.is_full(now) {
            self.held.store(None);
        }
    }

    /// Whether the issuer must not be asked yet: forgetting this slot would forget that.
    pub(super) fn is_backing_off(&self, now: Moment) -> bool {
        self.lock().back_off.as_ref().is_some_and(|back_off| !back_off.until.passed(now))
    }

    /// Whether it holds this very token.
    pub(super) fn holds(&self, fingerprint: &Fingerprint) -> bool {
        self.held.load().as_ref().is_some_and(|held| held.token.fingerprint() == fingerprint)
    }

    /// Drops the token for good, and gives back what its issuer would still take. Who waits for a
    /// mint is told at once where the client's time is over; after a reload a mint is still theirs
    /// who were judged before it.
    pub(super) fn close(&self, why: Closed) -> Vec<Arc<Token>> {
        let now = self.shared.clock.now();
        let mut state = self.lock();
        state.closed = Some(why);
        let held = self.held.swap(None);
        if why != Closed::Replaced
            && let Some(flight) = state.flight.take()
        {
            flight.land(Err(closed_failure(why)));
        }
        let mut tokens = std::mem::take(&mut state.past);
        tokens.extend(held.map(|held| Arc::clone(&held.token)));
        tokens.retain(|token| token.is_valid(now));
        tokens
    }

    /// Has a token of this slot revoked once nobody uses it.
    pub(super) fn retire(self: &Arc<Self>, token: Arc<Token>) {
        self.shared.retired.put(Arc::clone(self), token);
    }

    /// Tells the issuer that a token of this slot is over.
    pub(super) fn revoke(&self, token: Arc<Token>) {
        revoke::start(&self.shared, self.key.clone(), Arc::clone(&self.minter), token);
    }

    pub(super) fn status(&self) -> SlotStatus {
        let now = self.shared.clock.now();
        let state = self.lock();
        let held = self.held.load_full().filter(|held| held.token.is_valid(now));
        SlotStatus {
            key: self.key.clone(),
            token: held.map(|held| TokenStatus::from(&*held.token)),
            minting: state.flight.is_some(),
            last_error: state.back_off.as_ref().map(|b| (b.failure.code, b.at)),
            next_attempt: state.back_off.as_ref().map(|b| b.until.wall()),
        }
    }

    /// The mint under way, or a new one where that is needed and may be.
    fn start(self: &Arc<Self>, now: Moment, need: Need) -> Result<Flight, Failure> {
        let mut state = self.lock();
        match state.closed {
            // Nothing is held that could be renewed.
            Some(Closed::Replaced) | None => {}
            Some(why) => return Err(closed_failure(why)),
        }
        if let Some(flight) = &state.flight {
            return Ok(flight.clone());
        }
        // A mint may have landed since the caller looked.
        if let Some(held) = &*self.held.load()
            && held.token.is_valid(now)
            && (need == Need::Any || !held.refresh.passed(now))
        {
            let landed = Flight::new();
            landed.land(Ok(Arc::clone(&held.token)));
            return Ok(landed);
        }
        if let Some(back_off) = &state.back_off
            && !back_off.until.passed(now)
        {
            let retry_after = Some(back_off.until.remaining(now));
            return Err(Failure { retry_after, backing_off: true, ..back_off.failure });
        }
        let flight = Flight::new();
        state.flight = Some(flight.clone());
        drop(state);
        // Without the lock: where the runtime is gone, the flight lands in here.
        flight::launch(Arc::clone(self), flight.clone());
        Ok(flight)
    }

    /// Takes what a flight brought, and tells all who wait.
    pub(super) fn land(self: &Arc<Self>, flight: &Flight, result: Result<Token, MintError>) {
        let now = self.shared.clock.now();
        let result = result.and_then(|token| {
            if token.is_valid(now) { Ok(token) } else { Err(AnswerError::ExpiresIn.into()) }
        });
        let mut state = self.lock();
        if state.flight.as_ref() == Some(flight) {
            state.flight = None;
        }
        let landed = match result {
            Ok(token) => self.keep(&mut state, token, now),
            Err(error) => Err(self.back_off(&mut state, &error, now)),
        };
        drop(state);
        flight.land(landed);
    }

    /// Ends a flight that brought nothing because its runtime went down.
    pub(super) fn abandon(&self, flight: &Flight) {
        let mut state = self.lock();
        if state.flight.as_ref() == Some(flight) {
            state.flight = None;
        }
        drop(state);
        flight.land(Err(Failure::of(Reason::ShuttingDown)));
    }

    fn keep(self: &Arc<Self>, state: &mut State, token: Token, now: Moment) -> Landed {
        state.failures = 0;
        state.back_off = None;
        let token = Arc::new(token);
        match state.closed {
            Some(Closed::Replaced) => self.retire(Arc::clone(&token)),
            // Minted for nobody: it must not outlive those it was meant for.
            Some(why) => {
                self.revoke(token);
                return Err(closed_failure(why));
            }
            None => {
                let refresh = schedule::refresh_at(&token, now, schedule::jitter());
                if let Some(old) = self.held.load_full()
                    && old.token.fingerprint() != token.fingerprint()
                {
                    state.retire(Arc::clone(&old.token), now);
                }
                self.hold(Arc::clone(&token), refresh);
            }
        }
        Ok(token)
    }

    fn back_off(&self, state: &mut State, error: &MintError, now: Moment) -> Failure {
        state.failures = state.failures.saturating_add(1);
        let wait = match error.is_local() {
            true => Duration::ZERO,
            false => schedule::delay(state.failures, error.retry_after(), schedule::jitter()),
        };
        let (reason, code) = (error.reason(), error.code());
        let retry_after = Some(wait).filter(|wait| !wait.is_zero());
        let failure = Failure { reason, code, retry_after, backing_off: false };
        let until = Deadline::after(now, wait);
        state.back_off = Some(BackOff { until, failure, at: now.wall });
        // What still lives goes on serving, and is tried again when that may be.
        if let Some(held) = self.held.load_full()
            && held.token.is_valid(now)
        {
            self.hold(Arc::clone(&held.token), until);
        }
        failure
    }

    fn hold(&self, token: Arc<Token>, refresh: Deadline) {
        let held = Held { token, refresh, refreshed: AtomicBool::new(false) };
        self.held.store(Some(Arc::new(held)));
    }

    /// Nothing under this lock can leave it half done; a poisoned one is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Whose it is, and nothing of what it holds.
impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What those are told who wait for a slot that gives nothing any more.
fn closed_failure(why: Closed) -> Failure {
    match why {
        Closed::ClientEnded => Failure::of(Reason::SessionEnded),
        Closed::ClientRevoked => Failure::of(Reason::ClientRevoked),
        Closed::Replaced => {
            Failure { retry_after: Some(MOMENT), ..Failure::of(Reason::ShuttingDown) }
        }
        Closed::Revoked => Failure::of(Reason::CredentialRevoked),
    }
}

/// A 401 for a token younger than this is about permission.
const MIN_AGE: Duration = Duration::from_secs(10);
/// Superseded tokens that a slot keeps in mind.
const MAX_PAST: usize = 4;
/// The next request finds the new slot.
const MOMENT: Duration = Duration::from_secs(1);
