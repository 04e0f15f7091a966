//! Floor 5: the data plane. Read `serve` first: one request, start to end.
//!
//! A connection comes in by `listen`, is judged by `connect`, and is tunnelled, refused or
//! intercepted. Every task of a connection stays on the worker that accepted it; what workers share
//! is [`Proxy`], and the config's part of that is one [`World`], swapped whole.

mod agree;
mod body;
mod bound;
mod cleaning;
mod connect;
mod exchange;
mod flood_guard;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod head;
mod intercept;
pub mod listen;
pub mod live;
mod panic;
mod peek;
mod plain;
mod pool;
mod rejected;
mod respond;
mod serve;
pub mod share;
mod standing_key;
pub mod step_up;
mod tunnel;
mod upgrade;
mod upload;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::audit::Audit;
use crate::broker::{Broker, Minters};
use crate::ca::Authority;
use crate::client::attribution::Attribution;
use crate::client::{Admitted, Gate, Rules};
use crate::http1::Patience;
use crate::inject::Redactors;
use crate::limits::{Buckets, Rates};
use crate::model::clock::Clock;
use crate::model::reason::Reason;
use crate::net::dial::Dialer;
use crate::net::roots::Roots;
use crate::net::shares::Shares;
use crate::policy::Policy;
use crate::store::logins::Logins;

pub use pool::Pool;
pub use respond::{name_config, status};

use respond::Refused;

/// From the first byte of a request's head to its last; also for a CONNECT and a ClientHello.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole TLS handshake with a client or an upstream.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A kept connection without a request, either side.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// A tunnel through which nothing went in either direction.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// From the end of a request to the head of its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// A body or an answer of which nothing moves because the client takes or sends nothing.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(120);
/// An answer of which the upstream sends nothing more: event streams may be silent for long.
pub const STREAM_TIMEOUT: Duration = TUNNEL_IDLE_TIMEOUT;
/// How long the two sides of a request over HTTP/1 may take.
const PATIENCE: Patience = Patience {
    head: HEAD_TIMEOUT,
    idle: IDLE_TIMEOUT,
    stall: STALL_TIMEOUT,
    stream: STREAM_TIMEOUT,
};

/// Everything that a config decides, as one immutable snapshot.
pub struct World {
    /// What is allowed.
    pub policy: Policy,
    /// Who is admitted.
    pub rules: Rules,
    /// Make the tokens of its credentials. They are part of the snapshot, so that a request never gets
    /// the token of a credential as another policy defines it.
    pub minters: Minters,
    /// Where they keep logins. Carried over, so that the end can wait for what is being stored.
    pub logins: Arc<Logins>,
    /// How much of it anybody may have.
    pub rates: Rates,
    /// Signs leaves.
    pub authority: Arc<Authority>,
    /// Finds and judges addresses.
    pub dialer: Arc<Dialer>,
    /// Verifies upstreams.
    pub roots: Arc<Roots>,
    /// Counts worlds: connections of an older one are not used again.
    pub generation: u64,
}

/// Whether the daemon stops, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It runs.
    No,
    /// Nothing new is taken; what is open may end.
    Drain,
    /// What is open is cut.
    Now,
}

/// What all workers share.
pub struct Proxy {
    /// The current snapshot; a request loads it once.
    pub world: ArcSwap<World>,
    /// Lets clients in.
    pub gate: Arc<Gate>,
    /// Finds the process of a client.
    pub attribution: Attribution,
    /// Holds tokens.
    pub broker: Arc<Broker>,
    /// Writes down who did what.
    pub audit: Arc<Audit>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Whether the daemon stops.
    pub stop: watch::Receiver<Stop>,
    /// Connections open now.
    pub connections: AtomicUsize,
    /// Connections that may be open at once.
    pub max_connections: usize,
    /// Who holds them.
    pub shares: Arc<Shares<share::Holder>>,
    /// Told when one of them has closed.
    pub freed: Notify,
    /// What is alive now.
    pub live: Arc<live::Live>,
    /// What upstreams want of people.
    pub step_ups: step_up::StepUps,
    /// What `valetkey login` needs beside the credential to find this config, with a space before; empty: nothing.
    pub config_flag: String,
    /// What was had of it lately.
    pub buckets: Buckets,
    /// Requests and tunnels judged since the start.
    pub requests: AtomicU64,
}

impl Proxy {
    /// By what a request is judged again now, in `world`.
    pub fn judge<'a>(&'a self, world: &'a World) -> live::Judge<'a> {
        let World { policy, rules, generation, .. } = world;
        let (gate, now) = (&self.gate, self.clock.now());
        live::Judge { gate, now, rules, policy, generation: *generation }
    }

    /// Why nothing of a client's is carried to hosts without a route, if so: it was revoked, or has had enough.
    async fn objection(&self, world: &World, admitted: &Admitted) -> Option<Refused> {
        let now = self.clock.now();
        if let Some(reason) = self.gate.objection(&world.rules, admitted, now) {
            return Some(reason.into());
        }
        let taken = self.buckets.take(&world.rates, &admitted.client, None, None, now.mono);
        match taken {
            Ok(()) => None,
            Err(wait) => Some(enough(wait).await),
        }
    }

    /// Resolves when the daemon stops.
    pub async fn draining(&self) {
        self.stopping(Stop::Drain).await;
    }

    /// Resolves when nothing more is waited for.
    pub async fn cut(&self) {
        self.stopping(Stop::Now).await;
    }

    async fn stopping(&self, stop: Stop) {
        let mut now = self.stop.clone();
        // A sender that is gone means that the daemon is gone as well.
        let _ = now.wait_for(|now| *now >= stop).await;
    }
}

/// The answer to a client that has had enough, a moment late: one that asks again at once would otherwise take as
/// much of its worker, and write as much into the audit, as if it had no limit.
async fn enough(wait: Duration) -> Refused {
    // In a box, so that only those who are refused have room for it.
    Box::pin(tokio::time::sleep(wait.min(PAUSE))).await;
    Refused::until(Reason::RateLimited, wait)
}

/// Of each refusal beyond a rate.
const PAUSE: Duration = Duration::from_millis(100);

/// One worker's own: nothing in it is shared with other threads.
pub struct Worker {
    /// What all workers share.
    pub proxy: Arc<Proxy>,
    /// Upstream connections of clients on this worker.
    pub pool: Arc<Pool>,
    /// What its connections mask.
    pub redactors: Redactors,
}
