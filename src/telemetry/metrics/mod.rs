//! What is counted while requests go by, and its Prometheus text.
//!
//! A request's own part is a map look-up by the name of its route and a few relaxed atomics: no
//! lock, no text, no allocation but for the first request of a route with a decision. Labels are
//! names from the config, decisions and codes; nothing that a client chose is one. What can be
//! asked for when somebody scrapes is not counted here: see [`Gauges`].

mod histogram;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use foldhash::HashMap;

use crate::model::decision::Decision;
use crate::model::id::{CredentialName, RouteName};
use crate::model::lock::lock;
use crate::model::reason::Reason;
use histogram::Histogram;

pub use text::{CONTENT_TYPE, Gauges};

/// All counters, gauges and histograms of this process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Of routes in the config; a reload keeps what stays.
    routes: ArcSwap<HashMap<RouteName, Arc<Requests>>>,
    /// That no route matched, and that no route's name is known of.
    unrouted: Requests,
    /// Of a route that a reload took away in the meantime.
    removed: Requests,
    mints: Mutex<Mints>,
    proxy: Histogram,
    mint: Histogram,
    upstream: Histogram,
    /// Tunnels that are open now and not looked into.
    pub tunnels: Arc<Gauge>,
    /// Connections to upstreams open now, idle ones among them.
    pub upstream_open: Arc<Gauge>,
    /// Connections to upstreams that wait for the next request.
    pub upstream_idle: Arc<Gauge>,
    reloads: [AtomicU64; 2],
    /// Of the policy that holds, in seconds since 1970.
    loaded: AtomicU64,
}

/// How long a request took, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// In our own code, the audit's write included.
    pub proxy: Duration,
    /// Waiting for a token; `None`: one was at hand, or none was needed.
    pub mint: Option<Duration>,
    /// From dialling or writing to the head of the answer; `None`: nothing went upstream.
    pub upstream: Option<Duration>,
}

impl Metrics {
    /// A policy holds from now on: counts of its routes and credentials go on, all others end.
    pub fn loaded<'a>(
        &self,
        routes: impl IntoIterator<Item = &'a RouteName>,
        credentials: impl IntoIterator<Item = &'a CredentialName>,
    ) {
        let before = self.routes.load();
        let kept = |name: &RouteName| before.get(name).cloned().unwrap_or_default();
        let routes = routes.into_iter().map(|name| (name.clone(), kept(name))).collect();
        self.routes.store(Arc::new(routes));
        let mut mints = self.mints();
        let mut before = std::mem::take(&mut *mints);
        for name in credentials {
            mints.insert(name.clone(), before.remove(name).unwrap_or_default());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.loaded.store(now.as_secs(), Relaxed);
        self.reloads[0].fetch_add(1, Relaxed);
    }

    /// A config could not be taken up; what held before still does.
    pub fn not_loaded(&self) {
        self.reloads[1].fetch_add(1, Relaxed);
    }

    /// A request or tunnel has ended.
    pub fn request(&self, route: Option<&RouteName>, decision: Decision, code: Option<Reason>) {
        let Some(route) = route else { return self.unrouted.count(decision, code) };
        match self.routes.load().get(route) {
            Some(requests) => requests.count(decision, code),
            None => self.removed.count(decision, code),
        }
    }

    /// Someone was turned away before there was a request that could be recorded.
    pub fn turned_away(&self, reason: Reason) {
        self.unrouted.count(Decision::Deny, Some(reason));
    }

    /// How long a request took.
    pub fn took(&self, parts: Parts) {
        self.proxy.observe(parts.proxy);
        if let Some(mint) = parts.mint {
            self.mint.observe(mint);
        }
        if let Some(upstream) = parts.upstream {
            self.upstream.observe(upstream);
        }
    }

    /// A mint has ended; `code`: why there is no token.
    pub fn minted(&self, credential: &CredentialName, code: Option<&'static str>) {
        if let Some(codes) = self.mints().get_mut(credential) {
            *codes.entry(code.unwrap_or(OK)).or_default() += 1;
        }
    }

    fn mints(&self) -> MutexGuard<'_, Mints> {
        lock(&self.mints)
    }
}

/// What is asked of one credential is rare: a lock will do. Codes are words of ours.
type Mints = BTreeMap<CredentialName, BTreeMap<&'static str, u64>>;

/// The label of what went well.
const OK: &str = "ok";
/// A place for each reason, and the first for none.
const CODES: usize = Reason::ALL.len() + 1;

/// Requests by decision and code. Of 100,000 routes few see a request, fewer each decision: its
/// counts come into being with the first.
#[derive(Debug, Default)]
struct Requests([OnceLock<Box<[AtomicU64; CODES]>>; Decision::ALL.len()]);

impl Requests {
    fn count(&self, decision: Decision, code: Option<Reason>) {
        let counts = self.0[decision as usize]
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; CODES]));
        counts[code.map_or(0, |code| code.ordinal() + 1)].fetch_add(1, Relaxed);
    }

    fn each(&self) -> impl Iterator<Item = (Decision, &'static str, u64)> {
        Decision::ALL.into_iter().flat_map(|decision| {
            let counts = self.0[decision as usize].get().into_iter().flat_map(|c| c.iter());
            let codes = [OK].into_iter().chain(Reason::ALL.iter().map(|reason| reason.code()));
            codes
                .zip(counts)
                .map(move |(code, count)| (decision, code, count.load(Relaxed)))
                .filter(|(_, _, count)| *count > 0)
        })
    }
}

/// How many of something there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more, until the value is dropped.
    pub fn hold(self: &Arc<Self>) -> Held {
        self.0.fetch_add(1, Relaxed);
        Held(Arc::clone(self))
    }

    /// How many are held at this moment.
    pub fn read(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held(Arc<Gauge>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
