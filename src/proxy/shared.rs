//! What all workers share, and what one config decides: snapshots are swapped whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::handshakes::Handshakes;
use super::live;
use super::share::Holder;
use super::step_ups::StepUps;
use crate::ca::Authority;
use crate::client::attribution::Attribution;
use crate::http1::Patience;
use crate::net::dial::Dialer;
use crate::net::roots::Roots;
use crate::net::shares::Shares;
use crate::passage::{Passage, Terms};
use crate::store::logins::Logins;

/// From the first byte of a request's head to its last; also for a CONNECT and a ClientHello.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole TLS handshake with a client or an upstream.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A kept connection without a request, either side.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// An upload whose answer is there already.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A tunnel through which nothing went in either direction.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a client's connection over HTTP/1 may take. How long its requests may is the config's.
pub(super) const PATIENCE: Patience =
    Patience { head: HEAD_TIMEOUT, idle: IDLE_TIMEOUT, drain: DRAIN_TIMEOUT };
/// The same of one in the clear, whose requests may be anybody's.
pub(super) const PLAIN_PATIENCE: Patience = Patience { drain: Duration::from_secs(5), ..PATIENCE };

/// Everything that a config decides, as one immutable snapshot.
pub struct World {
    /// What it decides of requests.
    pub terms: Terms,
    /// Where its credentials keep logins. Carried over, so that the end can wait for what is being
    /// stored.
    pub logins: Arc<Logins>,
    pub authority: Arc<Authority>,
    pub dialer: Arc<Dialer>,
    pub roots: Arc<Roots>,
}

/// Whether the daemon stops, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
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
    pub passage: Passage,
    /// Finds the process of a client.
    pub attribution: Attribution,
    pub stop: watch::Receiver<Stop>,
    pub connections: AtomicUsize,
    /// Connections that may be open at once.
    pub max_connections: usize,
    pub shares: Arc<Shares<Holder>>,
    /// Told when one of them has closed.
    pub freed: Notify,
    pub live: Arc<live::Live>,
    /// Which programs trust our certificates.
    pub handshakes: Handshakes,
    /// What upstreams want of people.
    pub step_ups: StepUps,
    /// Requests and tunnels judged since the start.
    pub requests: AtomicU64,
}

impl Proxy {
    /// By what a request is judged again now, in `world`.
    pub fn judge<'a>(&'a self, world: &'a World) -> live::Judge<'a> {
        let (gate, now) = (&self.passage.gate, self.passage.clock.now());
        live::Judge { gate, now, terms: &world.terms }
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
