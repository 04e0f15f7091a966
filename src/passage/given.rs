//! Which tokens a host was given by a client, until each has ended or is revoked: it may say any of
//! them in any answer.
//!
//! A request notes its token before it leaves, and an answer is searched for all that are noted by
//! then. What is noted later moves the epoch on; a body under way sees that and is searched for the
//! new ones too. Nothing can come back before it was sent, so nothing is missed in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use crate::inject;
use crate::masking::Redactor;
use crate::model::client::ClientKey;
use crate::model::clock::{Deadline, Moment};
use crate::model::host::Host;
use crate::model::id::CredentialName;
use crate::model::lock::lock;
use crate::model::secret::{Fingerprint, Secret};
use crate::model::token::Token;

/// Clients times hosts whose tokens have not ended. Beyond, those that no connection uses are
/// forgotten, as with slots: rather that than to refuse a newcomer.
const MOST: usize = 20_000;
/// Tokens of one client and host. Beyond, those are forgotten that no request carries, and of these
/// the one that ends first.
const MOST_TOKENS: usize = 128;

/// What all clients gave to all hosts. By host, not by origin: two ports of a host may be one
/// server.
#[derive(Default)]
pub(super) struct AllGiven {
    by_whom: DashMap<(ClientKey, Host), Arc<Given>>,
    redactors: Arc<Redactors>,
}

/// Redactors in use: many hosts are given the same tokens.
type Redactors = Mutex<HashMap<Vec<Fingerprint>, Weak<Redactor>>>;

/// The tokens of one client that one host has seen.
pub struct Given {
    now: ArcSwap<Now>,
    /// Held by whoever changes it.
    changing: Mutex<()>,
    redactors: Arc<Redactors>,
}

#[derive(Default)]
struct Now {
    tokens: Vec<Noted>,
    /// What masks them; `None`: there are none.
    redactor: Option<Arc<Redactor>>,
    /// Counts redactors.
    epoch: u64,
}

#[derive(Clone)]
struct Noted {
    fingerprint: Fingerprint,
    value: Arc<Secret>,
    credential: CredentialName,
    end: Deadline,
    revoked: bool,
    /// As long as a request carries one of this value, it is masked, whatever became of it.
    users: Vec<Weak<Token>>,
}

impl Noted {
    fn is(&self, credential: &CredentialName, token: &Token) -> bool {
        self.fingerprint == *token.fingerprint() && self.credential == *credential
    }

    /// Whether there is nothing to add for this one.
    fn has(&self, token: &Arc<Token>) -> bool {
        !self.revoked && self.users.iter().any(|user| user.as_ptr() == Arc::as_ptr(token))
    }

    fn is_used(&self) -> bool {
        self.users.iter().any(|user| user.strong_count() > 0)
    }
}

impl AllGiven {
    /// The place of a client and host. `None`: there are too many that are in use.
    pub(super) fn of(&self, client: &ClientKey, host: &Host) -> Option<Arc<Given>> {
        if let Some(given) = self.find(client, host) {
            return Some(given);
        }
        if self.by_whom.len() >= MOST {
            self.by_whom.retain(|_, given| Arc::strong_count(given) > 1);
        }
        let place = || (client.clone(), host.clone());
        let new = || Arc::new(Given::new(Arc::clone(&self.redactors)));
        let room = self.by_whom.len() < MOST;
        room.then(|| Arc::clone(&self.by_whom.entry(place()).or_insert_with(new)))
    }

    /// The same, where there is one.
    pub(super) fn find(&self, client: &ClientKey, host: &Host) -> Option<Arc<Given>> {
        self.by_whom.get(&(client.clone(), host.clone())).map(|given| Arc::clone(&given))
    }

    /// Forgets what was revoked, which leaves the memory, too: at once, or when the last request
    /// that carries it is over.
    pub(super) fn forget(&self, revoked: impl Fn(&ClientKey, &CredentialName) -> bool) {
        for entry in &self.by_whom {
            let client = &entry.key().0;
            entry.value().revoke(|noted| revoked(client, &noted.credential));
        }
    }

    /// Forgets what is over; call it now and then.
    pub(super) fn sweep(&self, now: Moment) {
        // Not under the map's locks: a redactor may have to be made.
        let all: Vec<_> = self.by_whom.iter().map(|entry| Arc::clone(entry.value())).collect();
        all.into_iter().for_each(|given| given.forget_over(now));
        // Asked under the lock that is also needed to hand one out.
        self.by_whom
            .retain(|_, given| Arc::strong_count(given) > 1 || !given.now.load().tokens.is_empty());
        lock(&self.redactors).retain(|_, redactor| redactor.strong_count() > 0);
    }
}

impl Given {
    fn new(redactors: Arc<Redactors>) -> Self {
        Self { now: ArcSwap::default(), changing: Mutex::default(), redactors }
    }

    /// Notes a token that is about to be sent. Takes no lock where it is known.
    pub(super) fn note(&self, credential: &CredentialName, token: &Arc<Token>) {
        let known = |noted: &Noted| noted.is(credential, token) && noted.has(token);
        if !self.now.load().tokens.iter().any(known) {
            self.change(|tokens| add(tokens, credential, token));
        }
    }

    /// What masks all of them, and its number; `None`: there are none.
    pub(super) fn redactor(&self) -> (Option<Arc<Redactor>>, u64) {
        let now = self.now.load();
        (now.redactor.clone(), now.epoch)
    }

    /// That of [`Self::redactor`], for a quick look.
    pub(super) fn epoch(&self) -> u64 {
        self.now.load().epoch
    }

    fn revoke(&self, revoked: impl Fn(&Noted) -> bool) {
        let over = |noted: &Noted| revoked(noted) && !noted.revoked;
        if self.now.load().tokens.iter().any(over) {
            self.change(|tokens| {
                for noted in tokens.iter_mut().filter(|noted| over(noted)) {
                    noted.revoked = true;
                }
                tokens.retain(|noted| !noted.revoked || noted.is_used());
            });
        }
    }

    fn forget_over(&self, now: Moment) {
        let over = |noted: &Noted| (noted.revoked || noted.end.passed(now)) && !noted.is_used();
        if self.now.load().tokens.iter().any(over) {
            self.change(|tokens| tokens.retain(|noted| !over(noted)));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Noted>)) {
        let _changing = lock(&self.changing);
        let before = self.now.load();
        let mut tokens = before.tokens.clone();
        change(&mut tokens);
        let values = |tokens: &[Noted]| {
            let mut values: Vec<_> = tokens.iter().map(|noted| noted.fingerprint.clone()).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let all = values(&tokens);
        let (redactor, epoch) = match all == values(&before.tokens) {
            true => (before.redactor.clone(), before.epoch),
            false => (self.made(all, &tokens), before.epoch + 1),
        };
        self.now.store(Arc::new(Now { tokens, redactor, epoch }));
    }

    fn made(&self, values: Vec<Fingerprint>, tokens: &[Noted]) -> Option<Arc<Redactor>> {
        if values.is_empty() {
            return None;
        }
        let mut known = lock(&self.redactors);
        if let Some(redactor) = known.get(&values).and_then(Weak::upgrade) {
            return Some(redactor);
        }
        let redactor = inject::redactor_of(tokens.iter().map(|noted| &*noted.value));
        let redactor = Arc::new(redactor);
        known.insert(values, Arc::downgrade(&redactor));
        Some(redactor)
    }
}

fn add(tokens: &mut Vec<Noted>, credential: &CredentialName, token: &Arc<Token>) {
    // Some issuers, and all static keys, give the same value again, as another token.
    if let Some(noted) = tokens.iter_mut().find(|noted| noted.is(credential, token)) {
        noted.revoked = false;
        if token.expires() > noted.end.wall() {
            noted.end = token.end();
        }
        noted.users.retain(|user| user.strong_count() > 0);
        noted.users.push(Arc::downgrade(token));
        return;
    }
    if tokens.len() >= MOST_TOKENS {
        let first = tokens.iter().enumerate().min_by_key(|(_, t)| (t.is_used(), t.end.wall()));
        first.map(|(at, _)| at).map(|at| tokens.remove(at));
    }
    tokens.push(Noted {
        fingerprint: token.fingerprint().clone(),
        value: token.shared_value(),
        credential: credential.clone(),
        end: token.end(),
        revoked: false,
        users: vec![Arc::downgrade(token)],
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::clock::{Clock as _, SystemClock};

    fn token(text: &str, lives: u64) -> Arc<Token> {
        let now = SystemClock.now();
        let end = Deadline::after(now, Duration::from_secs(lives));
        Arc::new(Token::new(Secret::new(text), now, end, None).unwrap())
    }

    fn after(seconds: u64) -> Moment {
        let (now, later) = (SystemClock.now(), Duration::from_secs(seconds));
        Moment { wall: now.wall + later, mono: now.mono + later }
    }

    fn note(given: &Given, token: &Arc<Token>) {
        given.note(&CredentialName::new("orders"), token);
    }

    fn masks(given: &Given, text: &str) -> bool {
        given.redactor().0.is_some_and(|redactor| redactor.is_in(text.as_bytes()))
    }

    fn place() -> (AllGiven, Arc<Given>) {
        let all = AllGiven::default();
        let given = all.of(&ClientKey::Uid(7), &Host::parse("api.example").unwrap()).unwrap();
        (all, given)
    }

    const ONE: &str = "canary-0123456789";
    const TWO: &str = "canary-9876543210";

    #[test]
    fn what_was_given_is_masked_until_its_end() {
        let (all, given) = place();
        assert!(given.redactor().0.is_none());
        let (one, two) = (token(ONE, 60), token(TWO, 600));
        note(&given, &one);
        let epoch = given.epoch();
        note(&given, &one);
        assert_eq!(given.epoch(), epoch, "nothing new");
        note(&given, &two);
        assert_ne!(given.epoch(), epoch);
        assert!(masks(&given, ONE) && masks(&given, TWO));
        all.sweep(after(61));
        assert!(masks(&given, ONE), "a request carries it yet");
        drop(one);
        all.sweep(after(61));
        assert!(!masks(&given, ONE) && masks(&given, TWO));
        drop((two, given));
        all.sweep(after(601));
        assert!(all.by_whom.is_empty());
    }

    #[test]
    fn what_was_revoked_is_masked_as_long_as_a_request_carries_it() {
        let (all, given) = place();
        let (one, two) = (token(ONE, 60), token(TWO, 60));
        note(&given, &one);
        given.note(&CredentialName::new("billing"), &two);
        drop(two);
        all.forget(|client, credential| {
            *client == ClientKey::Uid(7) && credential.as_str() == "billing"
        });
        assert!(masks(&given, ONE) && !masks(&given, TWO), "it is gone at once");
        all.forget(|_, credential| credential.as_str() == "orders");
        all.sweep(after(0));
        assert!(masks(&given, ONE), "a request carries it yet");
        drop(one);
        all.sweep(after(0));
        assert!(given.redactor().0.is_none());
    }

    #[test]
    fn the_same_value_again_is_masked_as_long_as_any_of_it() {
        let (all, given) = place();
        let first = token(ONE, 60);
        note(&given, &first);
        let epoch = given.epoch();
        note(&given, &token(ONE, 600));
        assert_eq!(given.epoch(), epoch, "it is masked already");
        all.sweep(after(601));
        assert!(masks(&given, ONE), "the first is carried yet");
        drop(first);
        all.sweep(after(599));
        assert!(masks(&given, ONE));
        all.sweep(after(601));
        assert!(!masks(&given, ONE));
        // Of two credentials with one value, one is revoked.
        note(&given, &token(ONE, 60));
        given.note(&CredentialName::new("billing"), &token(ONE, 60));
        all.forget(|_, credential| credential.as_str() == "billing");
        assert!(masks(&given, ONE));
    }

    #[test]
    fn there_are_not_more_than_so_many_and_what_is_carried_stays() {
        let (_, given) = place();
        let value = |n: usize| format!("{n:012}-canary");
        let carried = token(&value(0), 1);
        note(&given, &carried);
        for n in 1..=MOST_TOKENS {
            note(&given, &token(&value(n), 60 + n as u64));
        }
        assert_eq!(given.now.load().tokens.len(), MOST_TOKENS);
        assert!(masks(&given, &value(0)) && !masks(&given, &value(1)));
        assert!(masks(&given, &value(MOST_TOKENS)));
    }

    #[test]
    fn hosts_with_the_same_tokens_share_what_masks_them() {
        let (all, given) = place();
        let other = all.of(&ClientKey::Uid(7), &Host::parse("b.example").unwrap()).unwrap();
        let one = token(ONE, 60);
        note(&given, &one);
        note(&other, &one);
        let (a, b) = (given.redactor().0.unwrap(), other.redactor().0.unwrap());
        assert!(Arc::ptr_eq(&a, &b));
    }
}
