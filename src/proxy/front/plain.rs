//! Absolute-form requests in the clear (RFC 9112 section 3.2.2): carried to hosts that no route
//! names, never with a token, and each admitted on its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::request::Parts;
use http::{Response, header};

use super::intercept::until_ended;
use super::socket::Socket;
use crate::audit::{Recorder, RequestFacts};
use crate::client::{Admitted, Peer};
use crate::http1::{self, Arrived, Buffered, HeadError, Patience, Service};
use crate::model::client::Client;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::net::guard::Reach;
use crate::net::prefixed::Prefixed;
use crate::net::shares::Share;
use crate::passage::{Arrival, Way, agree};
use crate::proxy::back::upload::RequestBody;
use crate::proxy::live::{Facts, LiveConnection, LiveKind};
use crate::proxy::request::body::Body;
use crate::proxy::request::exchange::{self, Exchange, Kept};
use crate::proxy::share::{self, Holder};
use crate::proxy::shared::{PLAIN_PATIENCE, World};
use crate::proxy::worker::Worker;

/// Serves requests until the client is done.
pub(super) async fn serve(
    worker: Arc<Worker>,
    stream: Prefixed<Socket>,
    peer: Box<Peer>,
    share: Share<Holder>,
) {
    let (ahead, io) = stream.into_parts();
    let (live, taken) = (worker.proxy.live.connection(), Arc::clone(io.taken()));
    let plain = Plain { worker, peer, share, live, taken, kept: Kept::default() };
    // Upgrades are refused, so nothing comes back.
    until_ended(None, &plain.live, http1::serve(Buffered::new(io, ahead), &plain)).await;
}

/// One client connection in the clear.
struct Plain {
    worker: Arc<Worker>,
    peer: Box<Peer>,
    share: Share<Holder>,
    live: LiveConnection,
    taken: Arc<AtomicU64>,
    kept: Kept,
}

impl Service for Plain {
    type Body = Body;
    const PATIENCE: Patience = PLAIN_PATIENCE;

    fn answer(&self, arrived: Arrived) -> impl Future<Output = Response<Body>> {
        self.exchange(RequestId::new(), arrived)
    }

    fn refuse(&self, error: HeadError) -> Response<Body> {
        let (proxy, reason) = (&self.worker.proxy, error.into());
        exchange::malformed(proxy, &self.nobody(), RequestId::new(), reason, None)
    }

    fn failed(&self) -> Response<Body> {
        Body::refusal(&Reason::InternalError.into(), RequestId::new(), true)
    }

    fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    async fn stopping(&self) {
        self.worker.proxy.draining().await;
    }
}

impl Plain {
    /// Who asks, before anybody was admitted.
    fn nobody(&self) -> Client {
        Client { uid: self.peer.uid, ..Client::default() }
    }

    async fn exchange(&self, id: RequestId, arrived: Arrived) -> Response<Body> {
        let worker = &self.worker;
        let proxy = &worker.proxy;
        let world = proxy.world.load_full();
        let Arrived { mut parts, body, inbound, spelling } = arrived;
        let target = match agree::absolute(&parts) {
            Ok(target) => target,
            Err(reason) => return exchange::malformed(proxy, &self.nobody(), id, reason, None),
        };
        proxy.requests.fetch_add(1, Relaxed);
        let admitted = match admit(worker, &world, &parts, &self.peer) {
            Ok(admitted) => admitted,
            Err(reason) => {
                let recorder = self.stranger(&world, id, &target, &parts);
                return exchange::refuse(recorder, reason.into());
            }
        };
        proxy.attribution.ask(&self.peer, &admitted);
        let pseudonym = world.dialer.pseudonym();
        let mut via = parts.headers.get_all(header::VIA).iter();
        let circles = via.any(|via| pseudonym.is_in(via.as_bytes()));
        parts.headers.remove(header::PROXY_AUTHORIZATION);
        let (way, admitted, target) = (Way::Clear, &admitted, &target);
        let mut incoming =
            proxy.passage.arrive(&world.terms, Arrival { id, way, admitted, target, parts });
        let refuse = |incoming: crate::passage::Incoming<'_>, reason: Reason| {
            exchange::refuse(incoming.into_recorder(), reason.into())
        };
        if !share::pass(&self.share, admitted) {
            return refuse(incoming, Reason::TooManyConnections);
        }
        if circles {
            return refuse(incoming, Reason::ProxyLoop);
        }
        let attended = incoming.attend(&world.terms).await;
        let judged = match incoming.judge(&world.terms, attended) {
            Ok(judged) => judged,
            Err(refused) => {
                refused.pause().await;
                return exchange::refuse(incoming.into_recorder(), refused);
            }
        };
        let live = self.live.enter(Facts {
            admitted: admitted.clone(),
            target: target.clone(),
            kind: LiveKind::Plain,
            route: None,
            credential: None,
            wants: None,
            bound: None,
            generation: world.terms.generation,
        });
        let supplied = match incoming.supply(&world.terms, judged, &self.kept.known).await {
            Ok(supplied) => supplied,
            Err(refused) => return exchange::refuse(incoming.into_recorder(), refused),
        };
        let reach = if admitted.foreign { Reach::Public } else { Reach::Private };
        let (passed, request, recorder) = incoming.pass(supplied);
        let (world, kept, inbound) = (&*world, &self.kept, Some(inbound));
        let exchange = Exchange { worker, world, reach, kept, inbound, spelling };
        exchange.forward(passed, request, recorder, live, RequestBody::http1(body)).await
    }

    /// The record of a request of somebody who was not admitted.
    fn stranger(&self, world: &World, id: RequestId, target: &Target, parts: &Parts) -> Recorder {
        let policy = &world.terms.policy;
        let facts = RequestFacts::new(
            id,
            Arc::new(self.nobody()),
            parts.method.clone(),
            target.host.clone(),
            target.port,
            Some(&policy.recorded_path(target, parts.uri.path())),
        );
        Recorder::start(&self.worker.proxy.passage.audit, facts, policy.hash().clone())
    }
}

fn admit(worker: &Worker, world: &World, parts: &Parts, peer: &Peer) -> Result<Admitted, Reason> {
    let mut sent = parts.headers.get_all(header::PROXY_AUTHORIZATION).iter();
    let first = sent.next().map(http::HeaderValue::as_bytes);
    if sent.next().is_some() {
        return Err(Reason::MalformedRequest);
    }
    let passage = &worker.proxy.passage;
    passage.gate.admit(&world.terms.rules, first, Peer::clone(peer), passage.clock.now())
}
