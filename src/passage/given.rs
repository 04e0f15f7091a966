//! Which tokens an upstream was given by a client, until each has ended: it may say any of them in
//! any answer.
//!
//! A request notes its token before it leaves, and an answer is searched for all that are noted by
//! then. What is noted later moves the epoch on; a body under way sees that and is searched for the
//! new ones too. Nothing can come back before it was sent, so nothing is missed in between.

use std::sync::atomic::{AtomicU64, Ordering};
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

/// Clients times hosts whose tokens have not ended; more are refused, as with slots.
const MOST: usize = 20_000;
/// Tokens of one client and host. Beyond, those that end first are forgotten.
const MOST_TOKENS: usize = 128;

/// What all clients gave to all hosts. By host, not by origin: two ports of a host may be one
/// server.
#[derive(Default)]
pub struct AllGiven(DashMap<(ClientKey, Host), Arc<Given>>);

/// The tokens of one client that one host has seen.
pub struct Given {
    now: ArcSwap<State>,
    /// That of `now`, for a look without a count.
    epoch: AtomicU64,
    /// Held by whoever changes it.
    changing: Mutex<()>,
}

#[derive(Default)]
struct State {
    tokens: Vec<Noted>,
    /// What masks them; `None`: there are none.
    redactor: Option<Arc<Redactor>>,
}

#[derive(Clone)]
struct Noted {
    fingerprint: Fingerprint,
    value: Arc<Secret>,
    credential: CredentialName,
    end: Deadline,
    /// As long as a request carries it, it is masked past its end.
    token: Weak<Token>,
}

impl AllGiven {
    /// The place of a client and host. `None`: there are too many.
    pub fn of(&self, client: &ClientKey, host: &Host) -> Option<Arc<Given>> {
        if let Some(given) = self.find(client, host) {
            return Some(given);
        }
        let room = self.0.len() < MOST;
        room.then(|| Arc::clone(&self.0.entry((client.clone(), host.clone())).or_default()))
    }

    /// The same, where there is one.
    pub fn find(&self, client: &ClientKey, host: &Host) -> Option<Arc<Given>> {
        self.0.get(&(client.clone(), host.clone())).map(|given| Arc::clone(&given))
    }

    /// Forgets what was revoked: it leaves the memory, too.
    pub(super) fn forget(&self, revoked: impl Fn(&ClientKey, &CredentialName) -> bool) {
        for entry in &self.0 {
            let client = &entry.key().0;
            entry.value().forget_where(|noted| revoked(client, &noted.credential));
        }
    }

    /// Forgets what has ended; call it now and then.
    pub fn sweep(&self, now: Moment) {
        self.0.retain(|_, given| {
            given.forget_ended(now);
            // Asked under the lock that is also needed to hand it out.
            Arc::strong_count(given) > 1 || !given.now.load().tokens.is_empty()
        });
    }
}

impl Default for Given {
    fn default() -> Self {
        let (now, epoch) = (ArcSwap::default(), AtomicU64::new(0));
        Self { now, epoch, changing: Mutex::default() }
    }
}

impl Given {
    /// Notes a token that is about to be sent. Takes no lock where it is known.
    pub fn note(&self, credential: &CredentialName, token: &Arc<Token>) {
        let known = |noted: &Noted| {
            noted.fingerprint == *token.fingerprint() && noted.end.wall() >= token.expires()
        };
        if !self.now.load().tokens.iter().any(known) {
            self.add(credential, token);
        }
    }

    /// What masks all of them; `None`: there are none.
    pub fn redactor(&self) -> Option<Arc<Redactor>> {
        self.now.load().redactor.clone()
    }

    /// Changes when there is another redactor.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn add(&self, credential: &CredentialName, token: &Arc<Token>) {
        self.change(|tokens| {
            let known = tokens.iter().position(|noted| noted.fingerprint == *token.fingerprint());
            let noted = Noted {
                fingerprint: token.fingerprint().clone(),
                value: token.shared_value(),
                credential: credential.clone(),
                end: token.end(),
                token: Arc::downgrade(token),
            };
            match known {
                // Some issuers, and all static keys, give the same value again with a later end.
                Some(at) => tokens[at] = noted,
                None => {
                    if tokens.len() >= MOST_TOKENS {
                        let first = tokens.iter().enumerate().min_by_key(|(_, t)| t.end.wall());
                        first.map(|(at, _)| at).map(|at| tokens.remove(at));
                    }
                    tokens.push(noted);
                }
            }
            known.is_none()
        });
    }

    fn forget_ended(&self, now: Moment) {
        self.forget_where(|noted| noted.end.passed(now) && noted.token.strong_count() == 0);
    }

    fn forget_where(&self, over: impl Fn(&Noted) -> bool) {
        if self.now.load().tokens.iter().any(&over) {
            self.change(|tokens| {
                tokens.retain(|noted| !over(noted));
                true
            });
        }
    }

    /// `change` says whether there are other values than before.
    fn change(&self, change: impl FnOnce(&mut Vec<Noted>) -> bool) {
        let _changing = lock(&self.changing);
        let before = self.now.load();
        let mut tokens = before.tokens.clone();
        let others = change(&mut tokens);
        let redactor = match others {
            false => before.redactor.clone(),
            true => (!tokens.is_empty())
                .then(|| Arc::new(inject::redactor_of(tokens.iter().map(|noted| &*noted.value)))),
        };
        self.now.store(Arc::new(State { tokens, redactor }));
        if others {
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }
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

    fn note(given: &Given, token: &Arc<Token>) {
        given.note(&CredentialName::new("orders"), token);
    }

    fn after(seconds: u64) -> Moment {
        let (now, later) = (SystemClock.now(), Duration::from_secs(seconds));
        Moment { wall: now.wall + later, mono: now.mono + later }
    }

    fn masks(given: &Given, text: &str) -> bool {
        given.redactor().is_some_and(|redactor| redactor.is_in(text.as_bytes()))
    }

    #[test]
    fn what_was_given_is_masked_until_its_end() {
        let all = AllGiven::default();
        let (client, host) = (ClientKey::Uid(7), Host::parse("api.example").unwrap());
        let given = all.of(&client, &host).unwrap();
        assert!(given.redactor().is_none());
        let (one, two) = (token("canary-0123456789", 60), token("canary-9876543210", 600));
        note(&given, &one);
        let epoch = given.epoch();
        note(&given, &one);
        assert_eq!(given.epoch(), epoch, "nothing new");
        note(&given, &two);
        assert_ne!(given.epoch(), epoch);
        assert!(masks(&given, "canary-0123456789") && masks(&given, "canary-9876543210"));
        let later = after(61);
        all.sweep(later);
        assert!(masks(&given, "canary-0123456789"), "a request carries it yet");
        drop(one);
        all.sweep(later);
        assert!(!masks(&given, "canary-0123456789") && masks(&given, "canary-9876543210"));
        all.forget(|client, credential| {
            *client == ClientKey::Uid(7) && credential.as_str() == "billing"
        });
        assert!(masks(&given, "canary-9876543210"));
        all.forget(|_, credential| credential.as_str() == "orders");
        assert!(given.redactor().is_none(), "revoked");
        note(&given, &two);
        drop((two, given));
        all.sweep(after(601));
        assert!(all.find(&client, &host).is_none());
    }

    #[test]
    fn the_same_value_again_lives_as_long_as_the_later_one() {
        let given = Given::default();
        note(&given, &token("canary-0123456789", 60));
        let epoch = given.epoch();
        note(&given, &token("canary-0123456789", 600));
        assert_eq!(given.epoch(), epoch, "it is masked already");
        given.forget_ended(after(61));
        assert!(masks(&given, "canary-0123456789"));
    }

    #[test]
    fn there_are_not_more_than_so_many() {
        let given = Given::default();
        for n in 0..=MOST_TOKENS {
            note(&given, &token(&format!("{n:012}-canary"), 60 + n as u64));
        }
        assert_eq!(given.now.load().tokens.len(), MOST_TOKENS);
        assert!(!masks(&given, &format!("{:012}-canary", 0)));
        assert!(masks(&given, &format!("{MOST_TOKENS:012}-canary")));
    }
}
