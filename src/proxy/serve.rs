//! One request, start to end: the file to read first.
//!
//! ```text
//! facts ─ agree ─ decide ─ token ─ record ─ clear ─ send ─ clean ─ stream back
//! ```
//!
//! Whatever happens, the request has exactly one decision and one outcome in the audit: the
//! [`Recorder`] writes what is missing when it is dropped.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::agree;
use super::body::{Body, Clean, Sent, Upload};
use super::panic::Caught;
use super::respond::{self, Refused};
use super::upstream::Key;
use super::{MAX_FIELDS, Proxy, Worker, World};
use crate::audit::{Decision, Event, Outcome, Recorder, RequestFacts, Written};
use crate::broker::{Failure, Slot, SlotKey};
use crate::client::Admitted;
use crate::inject::{self, LastRedactor, Redactor};
use crate::model::client::{Client, ClientKey};
use crate::model::id::{CredentialName, RequestId};
use crate::model::reason::Reason;
use crate::model::target::{Origin, Target};
use crate::model::token::Token;
use crate::net::guard::Reach;
use crate::policy::{self, Action, Permit};

/// One client connection, as far as its requests care.
pub(super) struct Connection {
    pub(super) worker: Arc<Worker>,
    pub(super) admitted: Admitted,
    /// What CONNECT named.
    pub(super) target: Target,
    /// Token slots used on this connection: the broker's map is asked once for each.
    slots: Mutex<HashMap<CredentialName, Arc<Slot>>>,
    redactor: LastRedactor,
}

impl Connection {
    pub(super) fn new(worker: Arc<Worker>, admitted: Admitted, target: Target) -> Arc<Self> {
        let (slots, redactor) = (Mutex::default(), LastRedactor::default());
        Arc::new(Self { worker, admitted, target, slots, redactor })
    }

    /// Serves one request of an intercepted connection; `refused`: what stood in its place had two
    /// readings. A panic costs this request only.
    pub(super) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        refused: Option<Reason>,
    ) -> Response<Body> {
        let id = RequestId::new();
        if let Some(reason) = refused {
            return malformed(&self.worker.proxy, &self.admitted.client, id, reason);
        }
        match Caught(Box::pin(self.exchange(id, request))).await {
            Some(response) => response,
            None => respond::response(Reason::InternalError.into(), id, true),
        }
    }

    async fn exchange(
        self: Arc<Self>,
        id: RequestId,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let world = self.worker.proxy.world.load_full();
        let (parts, body) = request.into_parts();
        let facts = RequestFacts::new(
            id,
            Arc::clone(&self.admitted.client),
            parts.method.clone(),
            self.target.host.clone(),
            self.target.port,
            Some(parts.uri.path()),
        );
        self.worker.proxy.requests.fetch_add(1, Relaxed);
        let mut recorder =
            Recorder::start(&self.worker.proxy.audit, facts, world.policy.hash().clone());
        let permit = match self.judge(&world, &parts, &mut recorder) {
            Ok(permit) => permit,
            Err(reason) => return refuse(recorder, reason.into(), closes(reason)),
        };
        let token = match self.token(&permit, &mut recorder).await {
            Ok(token) => token,
            Err(refused) => return refuse(recorder, refused, false),
        };
        let exchange = Exchange {
            worker: &self.worker,
            world: &world,
            reach: Reach::Public,
            client: self.admitted.client.key(),
            redactor: &self.redactor,
        };
        exchange.forward(permit, token, recorder, parts, body).await
    }

    fn judge(
        &self,
        world: &World,
        parts: &Parts,
        recorder: &mut Recorder,
    ) -> Result<Permit, Reason> {
        let now = self.worker.proxy.clock.now();
        if !self.worker.proxy.gate.still_admits(&world.rules, &self.admitted, now) {
            return Err(Reason::SessionEnded);
        }
        let visible =
            |target: &PathAndQuery| target.as_str().bytes().all(|b| (0x21..0x7f).contains(&b));
        if !parts.uri.path_and_query().is_none_or(visible) {
            return Err(Reason::MalformedRequest);
        }
        if agree::is_too_long(&parts.uri) {
            return Err(Reason::UriTooLong);
        }
        // HTTP/2 bounds bytes only.
        if parts.headers.len() > MAX_FIELDS {
            return Err(Reason::HeadersTooLarge);
        }
        agree::agree(&self.target, parts)?;
        if parts.method == Method::CONNECT {
            return Err(Reason::ConnectInTunnel);
        }
        if parts.headers.contains_key(header::UPGRADE) {
            return Err(Reason::UpgradeRefused);
        }
        let facts = policy::RequestFacts {
            client: &self.admitted.client,
            allowed: self.admitted.session.as_deref().and_then(|session| session.routes()),
            method: &parts.method,
            target: &self.target,
            path: parts.uri.path(),
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
        permit: &Permit,
        recorder: &mut Recorder,
    ) -> Result<Option<Arc<Token>>, Refused> {
        let Some(route) = permit.route() else { return Ok(None) };
        recorder.route(route.name.clone());
        let Action::Inject(credential, _) = &route.action else { return Ok(None) };
        recorder.credential(credential.clone());
        self.mint(credential).await.map(Some).map_err(|failure| Refused {
            reason: failure.reason,
            retry_after: failure.retry_after,
            backing_off: failure.backing_off,
        })
    }

    async fn mint(&self, credential: &CredentialName) -> Result<Arc<Token>, Failure> {
        let broker = &self.worker.proxy.broker;
        let known = self.slots().get(credential).cloned();
        let mut slot = match known {
            Some(slot) => slot,
            None => {
                let key =
                    SlotKey { client: self.admitted.client.key(), credential: credential.clone() };
                let slot = broker.slot(&key)?;
                self.slots().insert(credential.clone(), Arc::clone(&slot));
                slot
            }
        };
        if let Some(token) = slot.current(self.worker.proxy.clock.now()) {
            return Ok(token);
        }
        let asked = Arc::clone(&slot);
        let token = broker.token(&mut slot).await?;
        if !Arc::ptr_eq(&asked, &slot) {
            self.slots().insert(credential.clone(), slot);
        }
        Ok(token)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<CredentialName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The second half of a request, the same for intercepted and plain ones: record, clear, send, stream.
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Arc<Worker>,
    pub(super) world: &'a World,
    pub(super) reach: Reach,
    pub(super) client: ClientKey,
    pub(super) redactor: &'a LastRedactor,
}

impl Exchange<'_> {
    pub(super) async fn forward(
        self,
        permit: Permit,
        token: Option<Arc<Token>>,
        mut recorder: Recorder,
        parts: Parts,
        body: Incoming,
    ) -> Response<Body> {
        let token = token.as_deref();
        let decision = if permit.injects() { Decision::Inject } else { Decision::Pass };
        let written = match record(&mut recorder, decision, token) {
            Ok(written) => written,
            Err(reason) => return refuse(recorder, reason.into(), false),
        };
        let mut parts = parts;
        set_length(&mut parts.headers, &body);
        let cleared = match inject::clear(&permit, token, written, parts) {
            Ok(cleared) => cleared,
            Err(_) => return fail(recorder, Reason::MalformedRequest),
        };
        let origin = permit.origin().clone();
        let key = Key {
            client: self.client.clone(),
            credential: credential(&permit).cloned(),
            origin: origin.clone(),
            generation: self.world.generation,
            reach: self.reach,
        };
        let sent = Arc::new(Sent::default());
        let upload = Upload::new(body, Arc::clone(&sent));
        let pool = &self.worker.pool;
        let (answer, lease) = match pool.send(self.world, key, cleared, upload).await {
            Ok(answer) => answer,
            // The upstream saw a body break off because the client's did.
            Err(_) if sent.broke() => return fail(recorder, Reason::MalformedRequest),
            Err(reason) => return fail(recorder, reason),
        };
        let (head, body) = answer.into_parts();
        // Nobody asked for another protocol: after this the bytes would mean something else.
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return fail(recorder, Reason::UpstreamAnswerInvalid);
        }
        let redactor = match token {
            Some(token) => Some(self.redactor.of(token)),
            None => self.redact_held(&origin),
        };
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let injected = token.is_some();
        inject::clean_answer(injected, redactor.as_deref(), response.headers_mut());
        let clean = Clean { injected, redactor };
        response.map(|()| Body::streamed(body, head.status, recorder, clean, lease, sent))
    }

    /// A request without a token may still be answered with one: the upstream has seen those of others.
    fn redact_held(&self, origin: &Origin) -> Option<Arc<Redactor>> {
        let broker = &self.worker.proxy.broker;
        let held: Vec<_> = (self.world.policy.credentials_of(&origin.target.host))
            .filter_map(|name| {
                let key = SlotKey { client: self.client.clone(), credential: name.clone() };
                broker.held(&key)
            })
            .collect();
        (!held.is_empty()).then(|| Arc::new(Redactor::of_all(held.iter().map(Arc::as_ref))))
    }
}

/// One length, the body's own: HTTP/2 lets several, or odd spellings, through to us.
fn set_length(headers: &mut HeaderMap, body: &Incoming) {
    if headers.remove(header::CONTENT_LENGTH).is_some()
        && let Some(length) = http_body::Body::size_hint(body).exact()
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
}

fn credential(permit: &Permit) -> Option<&CredentialName> {
    match &permit.route()?.action {
        Action::Inject(credential, _) => Some(credential),
        Action::Deny | Action::Pass => None,
    }
}

/// The decision, in the kernel's hands before anything goes upstream (invariant I9).
pub(super) fn record(
    recorder: &mut Recorder,
    decision: Decision,
    token: Option<&Token>,
) -> Result<Written, Reason> {
    recorder.decide(decision, token).or_else(|error| recorder.waive(error)).map_err(|error| {
        tracing::error!(%error, "the audit record could not be written");
        Reason::AuditUnavailable
    })
}

/// Refused by us, before anything went upstream.
pub(super) fn refuse(recorder: Recorder, refused: Refused, close: bool) -> Response<Body> {
    let request = recorder.request();
    recorder.refuse(refused.reason, Some(refused.status().as_u16()));
    respond::response(refused, request, close)
}

/// Failed after the decision.
fn fail(recorder: Recorder, reason: Reason) -> Response<Body> {
    let request = recorder.request();
    let status = Some(respond::status(reason).as_u16());
    recorder.finish(Outcome { status, code: Some(reason), ..Outcome::default() });
    respond::response(reason.into(), request, closes(reason))
}

/// Refused before it could be parsed: nothing of it is written down but that.
pub(super) fn malformed(
    proxy: &Proxy,
    client: &Client,
    id: RequestId,
    reason: Reason,
) -> Response<Body> {
    proxy.audit.event(Event::malformed(id, client, reason)).ok();
    respond::response(reason.into(), id, true)
}

/// Refusals after which the connection ends: whoever disagrees about the authority or the framing once
/// gets no second try on the same connection.
fn closes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AuthorityMismatch
            | Reason::ConnectInTunnel
            | Reason::MalformedRequest
            | Reason::SessionEnded
    )
}
