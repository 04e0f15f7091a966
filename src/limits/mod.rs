//! Floor 4: rates: how many requests a client, a route's client, a session and a credential may
//! have.
//!
//! Each is a bucket that holds as many requests as its rate names and refills evenly over the
//! rate's time (the generic cell rate algorithm: one number and one compare-and-swap for each
//! bucket). Ours, not the `governor` crate's: its limiter has one quota for all of its keys, so
//! every rate would need a limiter and a map of its own, with no bound on their keys, and what that
//! saves are the ten lines of arithmetic in `one`. A config without limits costs a request nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::config::{Limits, Rate};
use crate::model::client::{Client, ClientKey};
use crate::model::id::{CredentialName, RouteName, SessionName};

/// Buckets at once; beyond, newcomers of a kind share one, which only makes them slower.
const MAX_BUCKETS: usize = 50_000;

/// The rates of one config.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    per_client: Option<Rate>,
    sessions: HashMap<SessionName, Rate>,
    credentials: HashMap<CredentialName, Rate>,
    body: Option<u64>,
}

impl Rates {
    /// So much a request's body may have, in bytes.
    pub fn body(&self) -> u64 {
        self.body.unwrap_or(u64::MAX)
    }
}

impl From<&Limits> for Rates {
    fn from(limits: &Limits) -> Self {
        Self {
            per_client: limits.per_client,
            sessions: limits.sessions.iter().map(|(name, rate)| (name.clone(), *rate)).collect(),
            credentials: (limits.credentials.iter())
                .map(|(name, rate)| (name.clone(), *rate))
                .collect(),
            body: limits.body,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bucket {
    Client(ClientKey),
    Credential(CredentialName),
    /// Of one client at one route.
    Route(RouteName, ClientKey),
    /// All who came when there were too many.
    Rest,
}

/// All buckets. They outlive a reload.
pub struct Buckets {
    /// When each is full again, in nanoseconds since `start`.
    full_at: DashMap<Bucket, Arc<AtomicU64>>,
    start: Instant,
    most: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { full_at: DashMap::new(), start: Instant::now(), most: MAX_BUCKETS }
    }
}

impl Buckets {
    /// Takes one request out of all buckets that it counts into. `Err`: one is empty, and for how
    /// long. `route`: the one that matched, with its own rate.
    pub fn take(
        &self,
        rates: &Rates,
        client: &Client,
        route: Option<(&RouteName, Option<Rate>)>,
        credential: Option<&CredentialName>,
        now: Instant,
    ) -> Result<(), Duration> {
        let of_session = client.session.as_ref().and_then(|name| rates.sessions.get(name)).copied();
        let key = || client.key();
        if let Some(rate) = of_session.or(rates.per_client) {
            self.one(Bucket::Client(key()), rate, now)?;
        }
        if let Some((name, Some(rate))) = route {
            self.one(Bucket::Route(name.clone(), key()), rate, now)?;
        }
        // Last: who is over a limit of its own takes nothing from what is everybody's.
        match credential.and_then(|name| Some((name, rates.credentials.get(name)?))) {
            Some((name, rate)) => self.one(Bucket::Credential(name.clone()), *rate, now),
            None => Ok(()),
        }
    }

    /// Forgets buckets that are full: a new one is. Call it now and then.
    pub fn sweep(&self, now: Instant) {
        let now = self.nanos(now);
        self.full_at.retain(|_, full_at| full_at.load(Ordering::Relaxed) > now);
    }

    fn one(&self, bucket: Bucket, rate: Rate, now: Instant) -> Result<(), Duration> {
        let now = self.nanos(now);
        let per = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        let each = (per / u64::from(rate.count)).max(1);
        let full_at = self.bucket(bucket);
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now).saturating_add(each);
            (next - now <= per).then_some(next)
        });
        taken.map(drop).map_err(|full_at| {
            let next = full_at.max(now).saturating_add(each);
            Duration::from_nanos(next - now - per)
        })
    }

    fn bucket(&self, bucket: Bucket) -> Arc<AtomicU64> {
        if let Some(found) = self.full_at.get(&bucket) {
            return Arc::clone(&found);
        }
        let bucket = if self.full_at.len() < self.most { bucket } else { Bucket::Rest };
        Arc::clone(&self.full_at.entry(bucket).or_default())
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate { count, per: Duration::from_secs(seconds) }
    }

    fn client(session: &str) -> Client {
        Client { session: Some(SessionName::new(session)), ..Client::default() }
    }

    fn per_client(rate: Rate) -> Rates {
        Rates { per_client: Some(rate), ..Rates::default() }
    }

    #[test]
    fn holds_a_burst_and_refills_evenly() {
        let buckets = Buckets::default();
        let rates = per_client(rate(10, 5));
        let take = |ms| {
            let now = buckets.start + Duration::from_millis(ms);
            buckets.take(&rates, &client("a"), None, None, now)
        };
        for _ in 0..10 {
            assert_eq!(take(0), Ok(()));
        }
        assert_eq!(take(0), Err(Duration::from_millis(500)));
        assert_eq!(take(400), Err(Duration::from_millis(100)));
        assert_eq!(take(500), Ok(()));
        assert_eq!(take(500), Err(Duration::from_millis(500)), "one at a time");
        // A long rest gives a burst again, and no more than one.
        assert_eq!((0..20).filter(|_| take(100_000).is_ok()).count(), 10);
    }

    #[test]
    fn each_client_and_route_has_its_own_and_a_credential_is_everybodys() {
        let buckets = Buckets::default();
        let now = buckets.start;
        let (orders, other) = (RouteName::new("orders"), RouteName::new("other"));
        let take = |session, route| {
            let one = Some(rate(1, 1));
            buckets.take(&Rates::default(), &client(session), Some((route, one)), None, now).is_ok()
        };
        assert!(take("a", &orders) && !take("a", &orders));
        assert!(take("a", &other) && take("b", &orders));
        let name = CredentialName::new("c");
        let credentials = HashMap::from([(name.clone(), rate(2, 1))]);
        let rates = Rates { credentials, ..Rates::default() };
        let take = |s| buckets.take(&rates, &client(s), None, Some(&name), now).is_ok();
        assert!(take("a") && take("b") && !take("c"));
    }

    #[test]
    fn a_session_named_in_config_has_its_own_rate() {
        let buckets = Buckets::default();
        let sessions = HashMap::from([(SessionName::new("ci"), rate(3, 1))]);
        let rates = Rates { sessions, ..per_client(rate(1, 1)) };
        let count = |session| {
            let take = || buckets.take(&rates, &client(session), None, None, buckets.start);
            (0..10).filter(|_| take().is_ok()).count()
        };
        assert_eq!((count("ci"), count("x")), (3, 1));
    }

    #[test]
    fn there_is_an_end_to_buckets_and_full_ones_go() {
        let buckets = Buckets { most: 2, ..Buckets::default() };
        let rates = per_client(rate(1, 1));
        let take = |s| buckets.take(&rates, &client(s), None, None, buckets.start).is_ok();
        assert!(take("a") && take("b") && take("c") && !take("d"), "d shares with c");
        buckets.sweep(buckets.start);
        assert_eq!(buckets.full_at.len(), 3);
        buckets.sweep(buckets.start + Duration::from_secs(1));
        assert!(buckets.full_at.is_empty());
    }
}
