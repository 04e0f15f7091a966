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
use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use hyper::body::Incoming;

use super::body::{Body, Sent, Upload};
use super::panic::Caught;
use super::respond::{self, Refused};
use super::upstream::Key;
use super::{MAX_FIELDS, MAX_URI, Proxy, Worker, World};
use crate::audit::{Decision, Event, Outcome, Recorder, RequestFacts, Written};
use crate::broker::{Failure, Slot, SlotKey};
use crate::client::Admitted;
use crate::inject::{self, LastRedactor};
use crate::model::client::{Client, ClientKey};
use crate::model::id::{CredentialName, RequestId};
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};
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
        if let Some(session) = &self.admitted.session
            && session.has_ended(self.worker.proxy.clock.now())
        {
            return Err(Reason::SessionEnded);
        }
        if is_too_long(&parts.uri) {
            return Err(Reason::UriTooLong);
        }
        // HTTP/2 bounds bytes only.
        if parts.headers.len() > MAX_FIELDS {
            return Err(Reason::HeadersTooLarge);
        }
        agree(&self.target, parts)?;
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
        let cleared = match inject::clear(&permit, token, written, parts) {
            Ok(cleared) => cleared,
            Err(_) => return fail(recorder, Reason::MalformedRequest),
        };
        let key = Key {
            client: self.client,
            credential: credential(&permit).cloned(),
            origin: permit.origin().clone(),
            generation: self.world.generation,
        };
        let sent = Arc::new(Sent::default());
        let upload = Upload::new(body, Arc::clone(&sent));
        let pool = &self.worker.pool;
        let (answer, lease) = match pool.send(self.world, key, self.reach, cleared, upload).await {
            Ok(answer) => answer,
            // The upstream saw a body break off because the client's did.
            Err(_) if sent.broke() => return fail(recorder, Reason::MalformedRequest),
            Err(reason) => return fail(recorder, reason),
        };
        let redactor = token.map(|token| self.redactor.of(token));
        let (head, body) = answer.into_parts();
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        inject::clean_answer(redactor.as_deref(), response.headers_mut());
        response.map(|()| Body::streamed(body, head.status, recorder, redactor, lease, sent))
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

/// Whether everything in the request that names a host names the tunnel's (invariant I1).
fn agree(tunnel: &Target, parts: &Parts) -> Result<(), Reason> {
    let default = Some(Scheme::Https.default_port());
    let mut named = None;
    if let Some(authority) = parts.uri.authority() {
        if parts.uri.scheme_str().is_some_and(|scheme| scheme != "https") {
            return Err(Reason::MalformedRequest);
        }
        named =
            Some(Target::parse(authority.as_str(), default).map_err(|_| Reason::MalformedRequest)?);
    }
    let host = host(&parts.headers)?;
    let host = host
        .map(|text| Target::parse(text, default))
        .transpose()
        .map_err(|_| Reason::MalformedRequest)?;
    match (&named, &host) {
        (Some(named), Some(host)) if named != host => return Err(Reason::MalformedRequest),
        // RFC 9112 section 3.2: HTTP/1.1 must have Host. HTTP/1.0 may do without, the tunnel names it.
        (_, None) if parts.version == Version::HTTP_11 => return Err(Reason::MalformedRequest),
        (None, None) if parts.version == Version::HTTP_2 => return Err(Reason::MalformedRequest),
        _ => {}
    }
    match named.as_ref().or(host.as_ref()) {
        Some(target) if target != tunnel => Err(Reason::AuthorityMismatch),
        _ => Ok(()),
    }
}

/// Whether the URI, as the client sent it, is over the limit.
pub(super) fn is_too_long(uri: &Uri) -> bool {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let rest = uri.path_and_query().map_or(0, |rest| rest.as_str().len());
    scheme + authority + rest > MAX_URI
}

/// The one `Host` field, if any.
pub(super) fn host(headers: &HeaderMap) -> Result<Option<&str>, Reason> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Reason::MalformedRequest);
    }
    first.map(|value| value.to_str().map_err(|_| Reason::MalformedRequest)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, hosts: &[&str], version: Version) -> Result<(), Reason> {
        let tunnel = Target::parse("good.example:443", None).unwrap();
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        agree(&tunnel, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn one_authority() {
        let h1 = Version::HTTP_11;
        for host in ["good.example", "GOOD.example.", "good.example:443", "good.example.:443"] {
            assert_eq!(check("/", &[host], h1), Ok(()), "{host}");
        }
        for host in ["evil.example", "good.example:80", "good.example:8443", "a.good.example"] {
            assert_eq!(check("/", &[host], h1), Err(Reason::AuthorityMismatch), "{host}");
        }
        for host in [
            "good@evil",
            "evil#good",
            "good:443:80",
            "good.example,evil.example",
            "",
            "good.example:0443",
        ] {
            assert_eq!(check("/", &[host], h1), Err(Reason::MalformedRequest), "{host}");
        }
        assert_eq!(
            check("/", &["good.example", "good.example"], h1),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(check("/", &[], h1), Err(Reason::MalformedRequest));
        assert_eq!(check("/", &[], Version::HTTP_10), Ok(()));
    }

    #[test]
    fn absolute_form_and_http2() {
        assert_eq!(check("https://good.example/", &["good.example"], Version::HTTP_11), Ok(()));
        assert_eq!(
            check("https://evil.example/", &["good.example"], Version::HTTP_11),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(
            check("http://good.example:443/", &["good.example"], Version::HTTP_11),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(check("https://good.example/", &[], Version::HTTP_2), Ok(()));
        assert_eq!(
            check("https://evil.example/", &[], Version::HTTP_2),
            Err(Reason::AuthorityMismatch)
        );
        assert_eq!(
            check("https://good.example/", &["evil.example"], Version::HTTP_2),
            Err(Reason::MalformedRequest)
        );
        assert_eq!(check("/", &[], Version::HTTP_2), Err(Reason::MalformedRequest));
    }
}
