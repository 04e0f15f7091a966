//! One request, start to end: the file to read first.
//!
//! ```text
//! facts ─ agree ─ decide ─ token ─ record ─ clear ─ send ─ clean ─ stream back
//! ```
//!
//! Whatever happens, the request has exactly one decision and one outcome in the audit: the
//! [`Recorder`] writes what is missing when it is dropped.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::agree;
use super::body::Body;
use super::exchange::{Exchange, Kept, closes, malformed, refuse};
use super::live::{Facts, Kind, LiveConnection, LiveRequest};
use super::panic::Caught;
use super::respond::{self, Refused, Word};
use super::standing_key;
use super::upload::RequestBody;
use super::{Worker, World, enough};
use crate::audit::{Recorder, RequestFacts};
use crate::broker::{Failure, Slot, SlotKey};
use crate::client::Admitted;
use crate::http1::{Arrived, HeadError, Inbound, Patience, Service};
use crate::inject;
use crate::model::id::{RequestId, RouteName};
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::model::token::Token;
use crate::net::guard::Reach;
use crate::policy::{self, Action, Permit};

/// One client connection, as far as its requests care.
pub(super) struct Connection {
    pub(super) worker: Arc<Worker>,
    pub(super) admitted: Admitted,
    /// What CONNECT named.
    pub(super) target: Target,
    pub(super) live: LiveConnection,
    /// Token slots used on this connection: the broker's map is asked once for each. One or two, as a rule.
    slots: Mutex<Vec<Arc<Slot>>>,
    kept: Arc<Kept>,
}

/// Who asks in one request.
struct Asking<'a> {
    admitted: Cow<'a, Admitted>,
    /// The routes whose placeholder came with it, where a bound one did.
    bound: Option<Arc<[RouteName]>>,
}

impl<'a> Asking<'a> {
    fn unbound(admitted: &'a Admitted) -> Self {
        Self { admitted: Cow::Borrowed(admitted), bound: None }
    }

    /// The refusal of it, with what only its session can mend.
    fn refused(&self, reason: Reason) -> Refused {
        let session =
            self.admitted.session.as_ref().filter(|_| reason == Reason::RouteNotInSession);
        let named = session.map(|session| (Word::Session, format!("`{}`", session.name())));
        Refused { named, ..reason.into() }
    }
}

/// HTTP/1: a panic costs the connection, which has one request at a time.
impl Service for Connection {
    type Body = Body;
    const PATIENCE: Patience = super::PATIENCE;

    async fn answer(&self, arrived: Arrived) -> Response<Body> {
        let Arrived { parts, body, inbound } = arrived;
        self.exchange(RequestId::new(), parts, RequestBody::http1(body), Some(inbound)).await
    }

    fn refuse(&self, error: HeadError) -> Response<Body> {
        let (proxy, client) = (&self.worker.proxy, &self.admitted.client);
        malformed(proxy, client, RequestId::new(), error.into(), Some(&self.target))
    }

    fn failed(&self) -> Response<Body> {
        respond::response(Reason::InternalError.into(), RequestId::new(), true)
    }

    async fn stopping(&self) {
        self.worker.proxy.draining().await;
    }
}

impl Connection {
    pub(super) fn new(worker: Arc<Worker>, admitted: Admitted, target: Target) -> Arc<Self> {
        let (slots, kept) = (Mutex::default(), Arc::default());
        let live = worker.proxy.live.connection();
        Arc::new(Self { worker, admitted, target, live, slots, kept })
    }

    /// Serves one HTTP/2 request of an intercepted connection. A panic costs this request only.
    pub(super) async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let id = RequestId::new();
        let (parts, body) = request.into_parts();
        let body = RequestBody::http2(body);
        match Caught(Box::pin(self.exchange(id, parts, body, None))).await {
            Some(mut response) => {
                // Allowed (RFC 9110 section 8.6), and refused by some HTTP/2 clients as a body too short.
                if response.status() == StatusCode::NOT_MODIFIED {
                    response.headers_mut().remove(CONTENT_LENGTH);
                }
                response
            }
            None => respond::response(Reason::InternalError.into(), id, true),
        }
    }

    async fn exchange(
        &self,
        id: RequestId,
        parts: Parts,
        body: RequestBody,
        inbound: Option<Arc<dyn Inbound>>,
    ) -> Response<Body> {
        let proxy = &self.worker.proxy;
        let mut world = proxy.world.load_full();
        proxy.requests.fetch_add(1, Relaxed);
        let asking = self.asking(&world, &parts);
        let refused = asking.as_ref().err().copied();
        let asking = asking.unwrap_or_else(|_| Asking::unbound(&self.admitted));
        let facts = self.facts(&world, &asking, id, &parts);
        let mut recorder = Recorder::start(&proxy.audit, facts, world.policy.hash().clone());
        if let Some(reason) = refused {
            return refuse(recorder, reason.into(), false);
        }
        let (permit, token, live) = loop {
            let permit = match self.judge(&world, &asking, &parts, &mut recorder) {
                Ok(permit) => permit,
                Err(reason) => {
                    standing_key::note_refused(proxy, &parts, &mut recorder);
                    return refuse(recorder, asking.refused(reason), closes(reason));
                }
            };
            if let Err(reason) = standing_key::note(proxy, &permit, &parts, &mut recorder) {
                return refuse(recorder, reason.into(), false);
            }
            if let Err(wait) = self.within_limits(&world, &asking, &permit) {
                return refuse(recorder, enough(wait).await, false);
            }
            let live = self.enter(&world, &asking, &permit, &parts);
            let token = self.token(&world, &asking, &permit, &mut recorder);
            match live.watch().unless_cut(token).await {
                Ok(Ok(token)) => break (permit, token, live),
                Ok(Err(refused)) => return refuse(recorder, refused, false),
                // Nothing was written down or sent yet: the new world may permit it in its own way.
                Err(Reason::NoLongerPermitted) => {
                    world = proxy.world.load_full();
                    let facts = self.facts(&world, &asking, id, &parts);
                    recorder.begin_anew(facts, world.policy.hash().clone());
                }
                Err(reason) => return refuse(recorder, reason.into(), closes(reason)),
            }
        };
        let exchange = Exchange {
            worker: &self.worker,
            world: &world,
            reach: Reach::Public,
            client: &asking.admitted.client,
            kept: &self.kept,
            inbound,
        };
        exchange.forward(permit, token, recorder, live, parts, body).await
    }

    /// The connection's client, or the session whose placeholder came.
    fn asking(&self, world: &World, parts: &Parts) -> Result<Asking<'_>, Reason> {
        let marks = inject::placeholder_marks(parts).map_err(|_| Reason::PlaceholderRefused)?;
        let Some(mark) = marks.first() else { return Ok(Asking::unbound(&self.admitted)) };
        let proxy = &self.worker.proxy;
        let now = proxy.clock.now();
        let found = |mark| proxy.gate.by_placeholder(&world.rules, &self.admitted, mark, now);
        let (admitted, mut routes) = found(mark)?;
        // Several are as good as one where one route takes them all: a tool may read two of its variables.
        for mark in marks.others() {
            let (other, theirs) = found(mark)?;
            routes = routes.iter().filter(|name| theirs.contains(name)).cloned().collect();
            if routes.is_empty() || other.client.session != admitted.client.session {
                return Err(Reason::PlaceholderRefused);
            }
        }
        Ok(Asking { admitted: Cow::Owned(admitted), bound: Some(routes) })
    }

    fn facts(
        &self,
        world: &World,
        asking: &Asking<'_>,
        id: RequestId,
        parts: &Parts,
    ) -> RequestFacts {
        RequestFacts::new(
            id,
            Arc::clone(&asking.admitted.client),
            parts.method.clone(),
            self.target.host.clone(),
            self.target.port,
            Some(&world.policy.recorded_path(&self.target, parts.uri.path())),
        )
    }

    fn within_limits(
        &self,
        world: &World,
        asking: &Asking<'_>,
        permit: &Permit,
    ) -> Result<(), Duration> {
        let (proxy, client) = (&self.worker.proxy, &asking.admitted.client);
        let route = permit.route().map(|route| (&route.name, route.rate));
        let now = proxy.clock.mono();
        proxy.buckets.take(&world.rates, client, route, permit.credential(), now)
    }

    fn enter(
        &self,
        world: &World,
        asking: &Asking<'_>,
        permit: &Permit,
        parts: &Parts,
    ) -> LiveRequest {
        let path = parts.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        // One that could not be an upgrade is refused a little later.
        let upgrade = parts.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
        let upgrade = upgrade.map(|protocol| protocol.trim().to_ascii_lowercase().into());
        self.live.enter(Facts {
            admitted: Admitted::clone(&asking.admitted),
            target: self.target.clone(),
            kind: Kind::Intercepted(parts.method.clone(), path, upgrade),
            route: permit.route().map(|route| route.name.clone()),
            credential: permit.credential().cloned(),
            wants: permit.wants().cloned(),
            bound: asking.bound.clone(),
            generation: world.generation,
        })
    }

    fn judge(
        &self,
        world: &World,
        asking: &Asking<'_>,
        parts: &Parts,
        recorder: &mut Recorder,
    ) -> Result<Permit, Reason> {
        let now = self.worker.proxy.clock.now();
        if let Some(reason) = self.worker.proxy.gate.objection(&world.rules, &asking.admitted, now)
        {
            return Err(reason);
        }
        let visible =
            |target: &PathAndQuery| target.as_str().bytes().all(|b| (0x21..0x7f).contains(&b));
        if !parts.uri.path_and_query().is_none_or(visible) {
            return Err(Reason::MalformedRequest);
        }
        if agree::is_too_long(&parts.uri) {
            return Err(Reason::UriTooLong);
        }
        if agree::are_too_large(&parts.headers) {
            return Err(Reason::HeadersTooLarge);
        }
        if !agree::is_sayable(&parts.headers) {
            return Err(Reason::MalformedRequest);
        }
        agree::agree(&self.target, parts)?;
        if parts.method == Method::CONNECT {
            return Err(Reason::ConnectInTunnel);
        }
        let facts = policy::PolicyFacts {
            client: &asking.admitted.client,
            allowed: asking.admitted.session.as_deref().and_then(|session| session.routes()),
            method: &parts.method,
            target: &self.target,
            path: parts.uri.path(),
            bound: asking.bound.as_deref(),
        };
        world.policy.decide(facts).map_err(|refusal| {
            if let Some(route) = refusal.route {
                recorder.route(route);
            }
            refusal.reason
        })
    }

    /// The token that the permit asks for: from its slot, or minted now.
    async fn token(
        &self,
        world: &World,
        asking: &Asking<'_>,
        permit: &Permit,
        recorder: &mut Recorder,
    ) -> Result<Option<Arc<Token>>, Refused> {
        let Some(route) = permit.route() else { return Ok(None) };
        recorder.route(route.name.clone());
        let Action::Inject(credential, _) = &route.action else { return Ok(None) };
        recorder.credential(credential.clone());
        let key = SlotKey {
            client: asking.admitted.client.key(),
            credential: credential.clone(),
            ask: route.ask.of(&asking.admitted.client),
        };
        self.mint(world, key, recorder).await.map(Some).map_err(|failure| Refused {
            reason: failure.reason,
            retry_after: failure.retry_after,
            backing_off: failure.backing_off,
            named: Some((
                Word::Credential,
                format!("{credential}{}", self.worker.proxy.config_flag),
            )),
        })
    }

    async fn mint(
        &self,
        world: &World,
        key: SlotKey,
        recorder: &mut Recorder,
    ) -> Result<Arc<Token>, Failure> {
        let proxy = &self.worker.proxy;
        // Every credential that a policy names has one in its world.
        let minter =
            world.minters.get(&key.credential).ok_or(Failure::of(Reason::InternalError))?;
        let known = self.slots().iter().find(|slot| *slot.key() == key).cloned();
        let known = known.filter(|slot| slot.is_of(minter));
        let mut slot = match known {
            Some(slot) => slot,
            None => {
                let slot = proxy.broker.slot(&key, minter)?;
                self.keep(&slot);
                slot
            }
        };
        if let Some(token) = slot.current(proxy.clock.now()) {
            return Ok(token);
        }
        let asked = Arc::clone(&slot);
        let asked_at = proxy.clock.mono();
        // In a box: a request that finds its token does not carry room for a mint around.
        let token = Box::pin(proxy.broker.token(&mut slot)).await;
        recorder.minted(proxy.clock.mono().saturating_duration_since(asked_at));
        if !Arc::ptr_eq(&asked, &slot) {
            self.keep(&slot);
        }
        token
    }

    /// In place of an older one of the same key.
    fn keep(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots();
        slots.retain(|old| old.key() != slot.key());
        slots.push(Arc::clone(slot));
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
