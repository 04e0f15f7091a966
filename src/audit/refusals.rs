//! [`Refusals`]: whoever is refused again and again must not be able to turn the audit over.
//!
//! Rotation deletes the oldest records, so records that anybody can have written at will delete
//! those of others. Each client's refusals with one code have records of their own up to a burst,
//! and one each [`RECORD_EVERY`] after that. What is beyond is counted, and one record says how
//! many there were. What was let through, injections above all, is never counted together
//! (invariant I9).

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::model::client::{Client, ClientKey};
use crate::model::lock::lock;
use crate::model::reason::Reason;

#[derive(Debug)]
pub(crate) struct Refusals {
    ledgers: Mutex<HashMap<(ClientKey, Reason), Ledger>>,
    /// Refusals of one client and code that have records of their own, at once.
    burst: u32,
}

/// One client's refusals with one code.
#[derive(Debug)]
struct Ledger {
    /// As the first of them was seen.
    client: Client,
    /// When it may have its whole burst again.
    full_at: Instant,
    counted: u64,
    /// Of the first that was counted.
    since: Instant,
}

/// Refusals that have no records of their own.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) client: Client,
    pub(crate) reason: Reason,
    pub(crate) count: u64,
}

impl Refusals {
    /// For an audit that keeps so many bytes: a burst takes a fiftieth of them, as a rule.
    pub(crate) fn within(kept: u64) -> Self {
        let burst = u32::try_from(kept / (50 * RECORD)).unwrap_or(u32::MAX);
        Self { ledgers: Mutex::default(), burst: burst.clamp(LEAST_RECORDED, MOST_RECORDED) }
    }

    /// Whether a refusal has records of its own. Where not, it is counted here.
    pub(crate) fn is_recorded(&self, client: &Client, reason: Reason, now: Instant) -> bool {
        let mut ledgers = lock(&self.ledgers);
        let mut key = (client.key(), reason);
        let shared = ledgers.len() >= MOST_LEDGERS && !ledgers.contains_key(&key);
        if shared {
            key.0 = ClientKey::Anyone;
        }
        let ledger = ledgers.entry(key).or_insert_with(|| Ledger {
            client: match shared {
                true => Client::default(),
                false => Client { process: Default::default(), ..client.clone() },
            },
            full_at: now,
            counted: 0,
            since: now,
        });
        let next = ledger.full_at.max(now) + RECORD_EVERY;
        if next.saturating_duration_since(now) <= RECORD_EVERY * self.burst {
            ledger.full_at = next;
            return true;
        }
        if ledger.counted == 0 {
            ledger.since = now;
        }
        ledger.counted += 1;
        false
    }

    /// What is to be written down now: after [`EVERY`], or all of it.
    pub(crate) fn due(&self, now: Instant, all: bool) -> Vec<Counted> {
        let mut ledgers = lock(&self.ledgers);
        ledgers.retain(|_, ledger| ledger.counted > 0 || ledger.full_at > now);
        let due = ledgers.iter_mut().filter(|(_, ledger)| {
            ledger.counted > 0 && (all || now.saturating_duration_since(ledger.since) >= EVERY)
        });
        due.map(|((_, reason), ledger)| Counted {
            client: ledger.client.clone(),
            reason: *reason,
            count: std::mem::take(&mut ledger.counted),
        })
        .collect()
    }

    /// Takes back what could not be written down.
    pub(crate) fn again(&self, counted: &Counted) {
        let mut ledgers = lock(&self.ledgers);
        // Its ledger is as full as can be: nobody has removed it.
        if let Some(ledger) = ledgers.get_mut(&(counted.client.key(), counted.reason)) {
            ledger.counted += counted.count;
        }
    }
}

/// What a refusal takes of the audit, both records, in bytes: rather more.
const RECORD: u64 = 2048;
/// A burst of one client and code, however small the audit is.
const LEAST_RECORDED: u32 = 1_000;
/// The same, however large the audit is.
const MOST_RECORDED: u32 = 10_000;
/// One more in this time, for ever: about 8 MB a day.
const RECORD_EVERY: Duration = Duration::from_secs(10);
/// How long refusals are counted before a record says so; SIGKILL loses no more than that.
const EVERY: Duration = Duration::from_secs(10);
/// Ledgers at most; further clients share one for each code.
const MOST_LEDGERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::SessionName;

    const DENIED: Reason = Reason::RouteDenied;

    fn client(session: &str) -> Client {
        Client { session: Some(SessionName::new(session)), ..Client::default() }
    }

    fn counts(refusals: &Refusals, now: Instant, all: bool) -> Vec<(String, Reason, u64)> {
        let due = refusals.due(now, all).into_iter();
        let mut due: Vec<_> =
            due.map(|due| (due.client.key().to_string(), due.reason, due.count)).collect();
        due.sort();
        due
    }

    #[test]
    fn beyond_a_burst_they_are_counted_and_none_is_forgotten() {
        let (refusals, start) = (Refusals::within(1 << 20), Instant::now());
        let recorded =
            (0..1500).filter(|_| refusals.is_recorded(&client("a"), DENIED, start)).count();
        assert_eq!(recorded, 1000);
        // Others, and other codes of the same client, have their own.
        assert!(refusals.is_recorded(&client("b"), DENIED, start));
        assert!(refusals.is_recorded(&client("a"), Reason::NoRoute, start));
        assert_eq!(counts(&refusals, start + EVERY / 2, false), []);
        let one = ("session:a".to_owned(), DENIED, 500);
        let due = refusals.due(start + EVERY, false);
        refusals.again(&due[0]);
        assert_eq!(counts(&refusals, start + EVERY, false), [one]);
        assert_eq!(counts(&refusals, start + EVERY, true), []);
        // One has come back meanwhile.
        assert!(refusals.is_recorded(&client("a"), DENIED, start + EVERY));
        assert!(!refusals.is_recorded(&client("a"), DENIED, start + EVERY));
        assert_eq!(counts(&refusals, start + EVERY, true).len(), 1);
        let later = start + RECORD_EVERY * 2000;
        assert_eq!(counts(&refusals, later, true), []);
        assert!(refusals.ledgers.lock().unwrap().is_empty());
    }

    #[test]
    fn a_large_audit_has_room_for_more_of_them() {
        assert_eq!(Refusals::within(17 * (64 << 20)).burst, 10_000);
        assert_eq!(Refusals::within(500 << 20).burst, 5_120);
        assert_eq!(Refusals::within(0).burst, 1_000);
    }

    #[test]
    fn clients_without_an_end_share_one_ledger() {
        let (refusals, now) = (Refusals::within(1 << 20), Instant::now());
        for n in 0..MOST_LEDGERS + 1500 {
            refusals.is_recorded(&client(&n.to_string()), DENIED, now);
        }
        assert_eq!(refusals.ledgers.lock().unwrap().len(), MOST_LEDGERS + 1);
        assert_eq!(counts(&refusals, now, true).iter().map(|one| one.2).sum::<u64>(), 500);
    }
}
