//! The page that a scraper gets: Prometheus text format 0.0.4, one family after the other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
    prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use super::{Metrics, Requests};
use crate::model::id::{CredentialName, PolicyHash};

/// The media type of the page.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Facts that are looked up when somebody asks.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// Connections of clients that are open at this moment.
    pub connections: usize,
    /// How many there may be.
    pub max_connections: usize,
    /// Sessions that are open at this moment.
    pub sessions: usize,
    /// The least life that a token of each credential has left, for those that hold one.
    pub tokens: Vec<(CredentialName, Duration)>,
    /// Until each login ends, where that is known.
    pub logins: Vec<(CredentialName, Duration)>,
    /// Whether the last record could not be written.
    pub audit_failing: bool,
    /// Attempts to write that failed.
    pub audit_failures: u64,
    /// Audit records that were not written since the start.
    pub audit_lost: u64,
    /// The hash of the policy that holds.
    pub policy: PolicyHash,
    /// How many policies held before it.
    pub generation: u64,
    /// Until the CA that signs now ends.
    pub ca: Duration,
}

impl Metrics {
    /// The page. `now`: `None` while the daemon starts, and no facts are to be had.
    pub fn text(self: &Arc<Self>, now: Option<Gauges>) -> String {
        let mut registry = Registry::with_prefix("valetkey");
        registry.register_collector(Box::new(Page { metrics: Arc::clone(self), now }));
        let mut text = String::new();
        // Writing into a string does not fail; half a page would say less than none.
        match prometheus_text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
        }
    }
}

#[derive(Debug)]
struct Page {
    metrics: Arc<Metrics>,
    now: Option<Gauges>,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = TextWriter(encoder);
        self.requests(&mut page)?;
        self.tokens(&mut page)?;
        self.connections(&mut page)?;
        self.audit(&mut page)?;
        self.config(&mut page)
    }
}

impl Page {
    fn requests(&self, page: &mut TextWriter<'_>) -> fmt::Result {
        let help = "Requests and tunnels that ended, by route, decision and code.";
        let mut family = page.family("requests", help, MetricType::Counter)?;
        let mut count = |route: &str, requests: &Requests| {
            requests.each().try_for_each(|(decision, code, count)| {
                let labels = [("route", route), ("decision", decision.as_str()), ("code", code)];
                family.counter(&labels, count)
            })
        };
        let routes = self.metrics.routes.load();
        let mut sorted: Vec<_> = routes.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        for (name, requests) in sorted {
            count(name.as_str(), requests)?;
        }
        count(NO_ROUTE, &self.metrics.unrouted)?;
        count(REMOVED_ROUTE, &self.metrics.removed)?;
        let help = "Time until the head of the answer: in the proxy itself, waiting for a mint, waiting for the upstream.";
        let mut family = page.family("request_seconds", help, MetricType::Histogram)?;
        family.histogram(&[("part", "proxy")], &self.metrics.proxy)?;
        family.histogram(&[("part", "mint")], &self.metrics.mint)?;
        family.histogram(&[("part", "upstream")], &self.metrics.upstream)
    }

    fn tokens(&self, page: &mut TextWriter<'_>) -> fmt::Result {
        let help = "Attempts to mint a token, by credential and code.";
        let mut family = page.family("mints", help, MetricType::Counter)?;
        for (name, codes) in self.metrics.mints().iter() {
            for (code, count) in codes {
                family.counter(&[("credential", name.as_str()), ("code", *code)], *count)?;
            }
        }
        let help = "The least life that a held token of the credential has left.";
        let mut family = page.family("token_remaining_seconds", help, MetricType::Gauge)?;
        for (name, left) in self.now.iter().flat_map(|now| &now.tokens) {
            family.gauge(&[("credential", name.as_str())], left.as_secs_f64())?;
        }
        let help = "Until the login for the credential ends, where its issuer says when.";
        let mut family = page.family("login_expires_seconds", help, MetricType::Gauge)?;
        for (name, left) in self.now.iter().flat_map(|now| &now.logins) {
            family.gauge(&[("credential", name.as_str())], left.as_secs_f64())?;
        }
        page.gauge("sessions", "Sessions open now.", self.now.as_ref().map(|n| n.sessions))
    }

    fn connections(&self, page: &mut TextWriter<'_>) -> fmt::Result {
        let now = self.now.as_ref();
        let help = "Client connections open now.";
        page.gauge("connections", help, now.map(|now| now.connections))?;
        let help = "Client connections that may be open at once.";
        page.gauge("connections_max", help, now.map(|now| now.max_connections))?;
        let help = "Opaque tunnels open now.";
        page.gauge("tunnels", help, Some(self.metrics.tunnels.read()))?;
        let help = "Connections to upstreams open now, idle ones among them.";
        page.gauge("upstream_connections", help, Some(self.metrics.upstream_open.read()))?;
        let help = "Connections to upstreams that wait for the next request.";
        page.gauge("upstream_connections_idle", help, Some(self.metrics.upstream_idle.read()))
    }

    fn audit(&self, page: &mut TextWriter<'_>) -> fmt::Result {
        let now = self.now.as_ref();
        let help = "1 while audit records cannot be written.";
        page.gauge("audit_failing", help, now.map(|now| u64::from(now.audit_failing)))?;
        let help = "Attempts to write the audit that failed.";
        page.counter("audit_failures", help, now.map(|now| now.audit_failures))?;
        let help = "Audit records that were lost.";
        page.counter("audit_lost", help, now.map(|now| now.audit_lost))
    }

    fn config(&self, page: &mut TextWriter<'_>) -> fmt::Result {
        let now = self.now.as_ref();
        let help = "Configs read, the one of the start included, by result.";
        let mut family = page.family("reloads", help, MetricType::Counter)?;
        for (result, count) in ["loaded", "refused"].iter().zip(&self.metrics.reloads) {
            family.counter(&[("result", *result)], count.load(Relaxed))?;
        }
        let help = "The policy that holds, by its hash.";
        let mut family = page.family("policy", help, MetricType::Info)?;
        if let Some(now) = now {
            family.0.encode_info(&[("hash", now.policy.as_str())])?;
        }
        let help = "How many policies have held before this one.";
        page.gauge("policy_generation", help, now.map(|now| now.generation))?;
        let help = "When the policy that holds was loaded, in seconds since 1970.";
        let loaded = self.metrics.loaded.load(Relaxed);
        page.gauge("policy_loaded_timestamp_seconds", help, now.map(|_| loaded))?;
        let help =
            "Until the local CA's certificate ends; a successor is made at a third of its life.";
        page.gauge("ca_remaining_seconds", help, now.map(|now| now.ca.as_secs()))?;
        let mut family = page.family("build", "What is running.", MetricType::Info)?;
        family.0.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

/// The label of what no route matched. No route can have this name.
const NO_ROUTE: &str = "(none)";
/// The label of what a route matched that a reload has taken away since.
const REMOVED_ROUTE: &str = "(removed)";

/// Writes families; a family stands there even while it has no sample.
struct TextWriter<'a>(DescriptorEncoder<'a>);

impl TextWriter<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<Family<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind).map(Family)
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| family.0.encode_gauge(&value))
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        value.map_or(Ok(()), |value| count(&mut family.0, value))
    }
}

struct Family<'a>(MetricEncoder<'a>);

impl Family<'_> {
    fn counter<const N: usize>(&mut self, labels: &[(&str, &str); N], value: u64) -> fmt::Result {
        count(&mut self.0.encode_family(labels)?, value)
    }

    fn gauge<const N: usize>(
        &mut self,
        labels: &[(&str, &str); N],
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }

    fn histogram<const N: usize>(
        &mut self,
        labels: &[(&str, &str); N],
        histogram: &Histogram,
    ) -> fmt::Result {
        let (sum, count, buckets) = histogram.read();
        self.0.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

fn count(encoder: &mut MetricEncoder<'_>, value: impl EncodeCounterValue) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
}
