//! Absolute-form requests in the clear (RFC 9112 section 3.2.2): carried to hosts that no route
//! names, never with a token, and each admitted on its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{Response, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::agree;
use super::body::Body;
use super::exchange::{self, Exchange, Kept};
use super::intercept::until_ended;
use super::live::{Facts, Kind, LiveConnection};
use super::peek::Prefixed;
use super::respond::{self, Refused};
use super::share::{self, Holder};
use super::standing_key;
use super::upload::RequestBody;
use super::{Worker, World};
use crate::audit::{Recorder, RequestFacts};
use crate::client::{Admitted, Peer};
use crate::http1::{self, Arrived, Buffered, HeadError, Patience, Service};
use crate::inject;
use crate::model::client::Client;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};
use crate::net::guard::Reach;
use crate::net::shares::Share;

/// Serves requests until the client is done.
pub(super) async fn serve<T>(
    worker: Arc<Worker>,
    stream: Prefixed<T>,
    peer: Box<Peer>,
    share: Share<Holder>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ahead, io) = stream.into_parts();
    let live = worker.proxy.live.connection();
    let plain = Plain { worker, peer, share, live, kept: Arc::default() };
    // Upgrades are refused, so nothing comes back.
    until_ended(None, &plain.live, http1::serve(Buffered::new(io, ahead), &plain)).await;
}

/// One client connection in the clear.
struct Plain {
    worker: Arc<Worker>,
    peer: Box<Peer>,
    share: Share<Holder>,
    live: LiveConnection,
    kept: Arc<Kept>,
}

impl Service for Plain {
    type Body = Body;
    const PATIENCE: Patience = super::PATIENCE;

    async fn answer(&self, arrived: Arrived) -> Response<Body> {
        self.exchange(RequestId::new(), arrived).await
    }

    fn refuse(&self, error: HeadError) -> Response<Body> {
        let (proxy, reason) = (&self.worker.proxy, error.into());
        exchange::malformed(proxy, &self.nobody(), RequestId::new(), reason, None)
    }

    fn failed(&self) -> Response<Body> {
        respond::response(Reason::InternalError.into(), RequestId::new(), true)
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
        let world = worker.proxy.world.load_full();
        let Arrived { mut parts, body, inbound } = arrived;
        let target = match target(&parts) {
            Ok(target) => target,
            Err(reason) => {
                return exchange::malformed(&worker.proxy, &self.nobody(), id, reason, None);
            }
        };
        let admitted = admit(worker, &world, &parts, &self.peer);
        let client = match &admitted {
            Ok(admitted) => {
                worker.proxy.attribution.ask(&self.peer, admitted);
                Arc::clone(&admitted.client)
            }
            Err(_) => Arc::new(self.nobody()),
        };
        worker.proxy.requests.fetch_add(1, Relaxed);
        let facts = RequestFacts::new(
            id,
            client,
            parts.method.clone(),
            target.host.clone(),
            target.port,
            Some(&world.policy.recorded_path(&target, parts.uri.path())),
        );
        let mut recorder = Recorder::start(&worker.proxy.audit, facts, world.policy.hash().clone());
        let refuse = |recorder, reason| exchange::refuse(recorder, Refused::from(reason), false);
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(reason) => return refuse(recorder, reason),
        };
        if !share::pass(&self.share, &admitted) {
            return refuse(recorder, Reason::TooManyConnections);
        }
        let pseudonym = world.dialer.pseudonym();
        if parts.headers.get_all(header::VIA).iter().any(|via| pseudonym.is_in(via.as_bytes())) {
            return refuse(recorder, Reason::ProxyLoop);
        }
        let permit = match world.policy.decide_plain(&target) {
            Ok(permit) => permit,
            Err(refusal) => return refuse(recorder, refusal.reason),
        };
        parts.headers.remove(header::PROXY_AUTHORIZATION);
        if inject::holds_placeholder(&parts) {
            return refuse(recorder, Reason::ForeignPlaceholder);
        }
        if let Err(reason) = standing_key::note(&worker.proxy, &permit, &parts, &mut recorder) {
            return refuse(recorder, reason);
        }
        let live = self.live.enter(Facts {
            admitted: admitted.clone(),
            target,
            kind: Kind::Plain,
            route: None,
            credential: None,
            wants: None,
            bound: None,
            generation: world.generation,
        });
        if let Some(refused) = worker.proxy.objection(&world, &admitted).await {
            return exchange::refuse(recorder, refused, false);
        }
        let exchange = Exchange {
            worker,
            world: &world,
            reach: if admitted.foreign { Reach::Public } else { Reach::Private },
            client: &admitted.client,
            kept: &self.kept,
            inbound: Some(inbound),
        };
        exchange.forward(permit, None, recorder, live, parts, RequestBody::http1(body)).await
    }
}

/// What an absolute-form request is for, if it is one and nothing in it disagrees.
pub(super) fn target(parts: &http::request::Parts) -> Result<Target, Reason> {
    let (Some(scheme), Some(authority)) = (parts.uri.scheme_str(), parts.uri.authority()) else {
        return Err(Reason::NotAProxyRequest);
    };
    if agree::is_too_long(&parts.uri) {
        return Err(Reason::UriTooLong);
    }
    match scheme {
        "http" => {}
        "https" => return Err(Reason::HttpsOverPlainProxy),
        _ => return Err(Reason::MalformedRequest),
    }
    let default = Some(Scheme::Http.default_port());
    let parse = |text: &str| Target::parse(text, default).map_err(|_| Reason::MalformedRequest);
    let target = parse(authority.as_str())?;
    match agree::host(&parts.headers)?.map(parse).transpose()? {
        Some(host) if host != target => Err(Reason::MalformedRequest),
        _ => Ok(target),
    }
}

fn admit(
    worker: &Worker,
    world: &World,
    parts: &http::request::Parts,
    peer: &Peer,
) -> Result<Admitted, Reason> {
    let mut sent = parts.headers.get_all(header::PROXY_AUTHORIZATION).iter();
    let first = sent.next().map(http::HeaderValue::as_bytes);
    if sent.next().is_some() {
        return Err(Reason::MalformedRequest);
    }
    worker.proxy.gate.admit(&world.rules, first, Peer::clone(peer), worker.proxy.clock.now())
}
