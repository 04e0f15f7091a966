//! What scrapers and probes see of the daemon. A thread of its own answers them: neither a scraper
//! that asks too often nor a start that takes long is felt by, or hidden from, the other.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::error::Error;
use super::workers::Pulse;
use crate::admin::observe::{self, Probe};
use crate::broker::Broker;
use crate::model::clock::Clock;
use crate::model::id::CredentialName;
use crate::proxy::{Proxy, Stop};
use crate::telemetry::metrics::{Gauges, Metrics};

/// Answers for the daemon, from before it is ready to its end.
pub(super) struct Observer {
    metrics: Arc<Metrics>,
    running: OnceLock<Running>,
}

struct Running {
    proxy: Arc<Proxy>,
    pulse: Pulse,
}

impl Observer {
    /// Starts to answer where there is a listener, and says so: where others can reach it, loudly.
    pub(super) fn start(
        listener: Option<(TcpListener, SocketAddr)>,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, Error> {
        let observer = Arc::new(Self { metrics: Arc::clone(metrics), running: OnceLock::new() });
        let Some((listener, address)) = listener else { return Ok(observer) };
        tracing::info!("metrics on http://{address}/metrics");
        if !address.ip().is_loopback() {
            tracing::warn!(
                "other machines can read the metrics: names of routes and credentials stand there"
            );
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        let probe = Arc::clone(&observer);
        let work = move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => observe::serve(listener, probe).await,
                    Err(error) => tracing::error!(%error, "metrics cannot be served"),
                }
            });
        };
        std::thread::Builder::new().name("metrics".into()).spawn(work).map_err(Error::Runtime)?;
        Ok(observer)
    }

    /// From now on there is something to tell.
    pub(super) fn running(&self, proxy: &Arc<Proxy>, pulse: Pulse) {
        // Called once; a second caller would tell the same.
        self.running.set(Running { proxy: Arc::clone(proxy), pulse }).ok();
    }
}

impl Probe for Observer {
    fn metrics(&self) -> String {
        self.metrics.text(self.running.get().map(|running| gauges(&running.proxy)))
    }

    fn unready(&self) -> Vec<&'static str> {
        let Some(Running { proxy, .. }) = self.running.get() else { return vec!["starting"] };
        let mut failing = Vec::new();
        if proxy.passage.audit.health().failing.is_some() {
            failing.push("audit");
        }
        let authority = &proxy.world.load().authority;
        if authority.ends() <= proxy.passage.clock.now().wall {
            failing.push("ca");
        }
        if *proxy.stop.borrow() != Stop::No {
            failing.push("stopping");
        }
        failing
    }

    async fn silent(&self) -> Vec<String> {
        let Some(Running { proxy, pulse }) = self.running.get() else { return Vec::new() };
        let stopping = *proxy.stop.borrow() != Stop::No;
        pulse.silent(stopping).await
    }
}

fn gauges(proxy: &Proxy) -> Gauges {
    let world = proxy.world.load();
    let health = proxy.passage.audit.health();
    let ends = world.authority.ends();
    let now = proxy.passage.clock.now().wall;
    let left = |until: SystemTime| until.duration_since(now).unwrap_or_default();
    let logins = world.logins.ends().into_iter();
    Gauges {
        connections: proxy.connections.load(Relaxed),
        max_connections: proxy.max_connections,
        sessions: proxy.passage.gate.sessions().len(),
        tokens: remaining(&proxy.passage.broker, &*proxy.passage.clock).into_iter().collect(),
        logins: logins.map(|(name, until)| (name, left(until))).collect(),
        audit_failing: health.failing.is_some(),
        audit_failures: health.failures,
        audit_lost: health.lost,
        policy: world.terms.policy.hash().clone(),
        generation: world.terms.generation,
        ca: ends.duration_since(proxy.passage.clock.now().wall).unwrap_or_default(),
    }
}

/// The least life that a held token of each credential has left.
pub(super) fn remaining(broker: &Broker, clock: &dyn Clock) -> BTreeMap<CredentialName, Duration> {
    let now = clock.now().wall;
    let mut least = BTreeMap::new();
    for slot in broker.status() {
        let Some(token) = slot.token else { continue };
        let left = token.expires.duration_since(now).unwrap_or_default();
        let known = least.entry(slot.key.credential).or_insert(left);
        *known = left.min(*known);
    }
    least
}
