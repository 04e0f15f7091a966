//! hudsucker's `HttpHandler` over our decisions: one request, start to end, as `proxy::serve` does it.

use std::net::SocketAddr;
use std::sync::Arc;

use ::hudsucker::{Body, HttpContext, HttpHandler, RequestOrResponse};
use http::request::Parts as Head;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, header};
use hyper_util::client::legacy;

use super::recorded;
use super::{ConnectError, Parts, answer};
use crate::audit::{Decision, Outcome, Recorder, RequestFacts};
use crate::broker::{Failure, SlotKey};
use crate::client::Admitted;
use crate::inject;
use crate::masking::Redactor;
use crate::model::client::Client;
use crate::model::host::Host;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};
use crate::model::token::Token;
use crate::policy::{self, Action, AtConnect, Permit};

/// Header fields of a request; more are refused.
const MAX_FIELDS: usize = 128;
/// A request's URI, in bytes.
const MAX_URI: usize = 8 * 1024;

/// Judges and fills requests. hudsucker clones it for each connection, and again for each request.
pub struct Handler {
    parts: Arc<Parts>,
    local: SocketAddr,
    tunnel: Option<Tunnel>,
    pending: Option<Pending>,
}

/// What CONNECT named, and by whom.
#[derive(Clone)]
struct Tunnel {
    admitted: Admitted,
    target: Target,
}

/// A request that is on its way.
struct Pending {
    recorder: Recorder,
    token: Option<Arc<Token>>,
    /// Of whom, to where: what else may come back.
    client: Arc<Client>,
    host: Host,
    /// Whether the answer's body is searched.
    redacts: bool,
    /// Whether its cookies stay behind.
    bought: bool,
}

/// Why a request goes no further, and what is answered.
type No = Box<Response<Body>>;

impl Handler {
    /// `local`: where the proxy listens; the owner of a client's socket is asked for by both its ends.
    pub fn new(parts: Arc<Parts>, local: SocketAddr) -> Self {
        Self { parts, local, tunnel: None, pending: None }
    }

    fn admit(&self, client: SocketAddr, head: &Head) -> Result<Admitted, Reason> {
        let peer = self.parts.gate.peer_of(client, self.local);
        let sent = head.headers.get(header::PROXY_AUTHORIZATION).map(|value| value.as_bytes());
        self.parts.gate.admit(&self.parts.rules, sent, peer, self.parts.clock.now())
    }

    /// CONNECT: who asks, for what. Only hosts that routes name are let through.
    fn connect(&mut self, client: SocketAddr, head: &Head) -> Result<(), No> {
        let id = RequestId::new();
        let no = |reason| Box::new(answer::of(reason, id));
        let authority = head.uri.authority().map_or("", |authority| authority.as_str());
        let target = Target::parse(authority, None).map_err(|_| no(Reason::MalformedRequest))?;
        let admitted = self.admit(client, head).map_err(no)?;
        let refused = match self.parts.policy.at_connect(&target) {
            AtConnect::Intercept => None,
            AtConnect::Refuse(reason) => Some(reason),
            AtConnect::Tunnel => Some(Reason::NoRoute),
        };
        if let Some(reason) = refused {
            let recorder = self.recorder(id, &admitted, head.method.clone(), &target, None);
            recorder.refuse(reason, Some(answer::status(reason).as_u16()));
            return Err(no(reason));
        }
        self.tunnel = Some(Tunnel { admitted, target });
        Ok(())
    }

    /// Everything else: judged, filled, and on its way; or answered.
    async fn request(
        &mut self,
        client: SocketAddr,
        request: Request<Body>,
    ) -> Result<Request<Body>, No> {
        let id = RequestId::new();
        let (mut head, body) = request.into_parts();
        let no = |reason| Box::new(answer::of(reason, id));
        let Tunnel { admitted, target } = match self.tunnel.clone() {
            Some(tunnel) => tunnel,
            None => Tunnel {
                admitted: self.admit(client, &head).map_err(no)?,
                target: plain_target(&head.uri).map_err(no)?,
            },
        };
        let path = self.parts.policy.recorded_path(&target, head.uri.path());
        let method = head.method.clone();
        let mut recorder = self.recorder(id, &admitted, method, &target, Some(&path));
        let judged = self.judge(&admitted, &target, &head, &mut recorder);
        let judged = judged.and_then(|permit| {
            self.note_standing_key(&permit, &head, &mut recorder).map(|()| permit)
        });
        let permit = match judged {
            Ok(permit) => permit,
            Err(reason) => {
                recorder.refuse(reason, Some(answer::status(reason).as_u16()));
                return Err(no(reason));
            }
        };
        let token = match self.token(&admitted, &permit, &mut recorder).await {
            Ok(token) => token,
            Err(failure) => {
                let status = answer::status(failure.reason).as_u16();
                recorder.refuse(failure.reason, Some(status));
                return Err(Box::new(answer::of_failure(&failure, id)));
            }
        };
        let decision = if permit.injects() { Decision::Inject } else { Decision::Pass };
        let written = recorder.decide(decision, token.as_deref());
        let written = match written.or_else(|error| recorder.waive(error)) {
            Ok(written) => written,
            Err(_) => {
                let reason = Reason::AuditUnavailable;
                recorder.refuse(reason, Some(answer::status(reason).as_u16()));
                return Err(no(reason));
            }
        };
        // The client library writes the one that fits the body.
        head.headers.remove(header::CONTENT_LENGTH);
        let cleared = inject::clear(&permit, token.as_deref(), written, head);
        let outgoing = cleared.ok().and_then(|cleared| {
            let (origin, method, path, headers) = cleared.into_parts();
            let uri = absolute(origin.scheme, &origin.target, path)?;
            Some((method, uri, headers))
        });
        let Some((method, uri, headers)) = outgoing else {
            finish(recorder, Reason::MalformedRequest);
            return Err(no(Reason::MalformedRequest));
        };
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = headers;
        recorder.sent();
        let (client, host) = (Arc::clone(&admitted.client), target.host);
        let redacts = token.is_some() && permit.redacts();
        let bought = token.is_some() && permit.strips_cookies();
        self.pending = Some(Pending { recorder, token, client, host, redacts, bought });
        Ok(outgoing)
    }

    fn judge(
        &self,
        admitted: &Admitted,
        target: &Target,
        head: &Head,
        recorder: &mut Recorder,
    ) -> Result<Permit, Reason> {
        let now = self.parts.clock.now();
        if let Some(reason) = self.parts.gate.objection(&self.parts.rules, admitted, now) {
            return Err(reason);
        }
        agree(target, head)?;
        if head.method == Method::CONNECT {
            return Err(Reason::ConnectInTunnel);
        }
        if head.headers.contains_key(header::UPGRADE) {
            return Err(Reason::UpgradeRefused);
        }
        let policy = &self.parts.policy;
        if self.tunnel.is_none() {
            return policy.decide_plain(target).map_err(|refusal| refusal.reason);
        }
        if head.uri.scheme_str() == Some("http") {
            return Err(Reason::TlsRequired);
        }
        let facts = policy::PolicyFacts {
            client: &admitted.client,
            allowed: admitted.session.as_deref().and_then(|session| session.routes()),
            method: &head.method,
            target,
            path: head.uri.path(),
            bound: None,
        };
        policy.decide(facts).map_err(|refusal| {
            if let Some(route) = refusal.route {
                recorder.route(route);
            }
            refusal.reason
        })
    }

    /// A real key where a placeholder should be, as the data plane notes it.
    fn note_standing_key(
        &self,
        permit: &Permit,
        head: &Head,
        recorder: &mut Recorder,
    ) -> Result<(), Reason> {
        let Some(found) = inject::standing_key(permit, head) else { return Ok(()) };
        recorder.static_key(self.parts.audit.keyed_fingerprint(&found.key), found.kind);
        match permit.refuses_keys() {
            true => Err(Reason::StaticKeyRefused),
            false => Ok(()),
        }
    }

    async fn token(
        &self,
        admitted: &Admitted,
        permit: &Permit,
        recorder: &mut Recorder,
    ) -> Result<Option<Arc<Token>>, Failure> {
        let Some(route) = permit.route() else { return Ok(None) };
        recorder.route(route.name.clone());
        let Action::Inject(credential, _) = &route.action else { return Ok(None) };
        recorder.credential(credential.clone());
        let key = SlotKey {
            client: admitted.client.key(),
            credential: credential.clone(),
            ask: route.ask.of(&admitted.client),
        };
        // Every credential that a policy names has one.
        let minter = self.parts.minters.get(credential);
        let minter = minter.ok_or(Failure::of(Reason::InternalError))?;
        let mut slot = self.parts.broker.slot(&key, minter)?;
        let asked_at = self.parts.clock.mono();
        let token = match slot.current(self.parts.clock.now()) {
            Some(token) => return Ok(Some(token)),
            None => self.parts.broker.token(&mut slot).await,
        };
        recorder.minted(self.parts.clock.mono().saturating_duration_since(asked_at));
        token.map(Some)
    }

    /// A request without a token may still be answered with one: the upstream has seen those of others.
    fn redactor(&self, pending: &Pending) -> Option<Redactor> {
        if let Some(token) = &pending.token {
            return Some(inject::redactor_of(std::iter::once(&**token)));
        }
        let Parts { policy, broker, minters, .. } = &*self.parts;
        let held: Vec<_> = (policy.credentials_of(&pending.host))
            .filter_map(|(name, ask)| {
                let (client, ask) = (pending.client.key(), ask.of(&pending.client));
                let key = SlotKey { client, credential: name.clone(), ask };
                broker.held(&key, minters.get(name)?)
            })
            .collect();
        (!held.is_empty()).then(|| inject::redactor_of(held.iter().map(Arc::as_ref)))
    }

    fn recorder(
        &self,
        id: RequestId,
        admitted: &Admitted,
        method: Method,
        target: &Target,
        path: Option<&str>,
    ) -> Recorder {
        let client = Arc::clone(&admitted.client);
        let facts = RequestFacts::new(id, client, method, target.host.clone(), target.port, path);
        Recorder::start(&self.parts.audit, facts, self.parts.policy.hash().clone())
    }
}

/// A request that is on its way belongs to one instance.
impl Clone for Handler {
    fn clone(&self) -> Self {
        let (parts, tunnel) = (Arc::clone(&self.parts), self.tunnel.clone());
        Self { parts, local: self.local, tunnel, pending: None }
    }
}

impl HttpHandler for Handler {
    async fn handle_request(
        &mut self,
        context: &HttpContext,
        request: Request<Body>,
    ) -> RequestOrResponse {
        if request.method() == Method::CONNECT && self.tunnel.is_none() {
            let (head, body) = request.into_parts();
            return match self.connect(context.client_addr, &head) {
                Ok(()) => Request::from_parts(head, body).into(),
                Err(no) => (*no).into(),
            };
        }
        match self.request(context.client_addr, request).await {
            Ok(request) => request.into(),
            Err(no) => (*no).into(),
        }
    }

    async fn handle_response(
        &mut self,
        _: &HttpContext,
        mut response: Response<Body>,
    ) -> Response<Body> {
        // Only requests that were judged are sent.
        let Some(mut pending) = self.pending.take() else { return response };
        pending.recorder.answered();
        let redactor = self.redactor(&pending).map(Arc::new);
        let Pending { recorder, redacts, bought, .. } = pending;
        inject::clean_answer(bought, redactor.as_deref(), response.headers_mut());
        recorded::pass(response, redactor.filter(|_| redacts), recorder)
    }

    async fn handle_error(&mut self, _: &HttpContext, error: legacy::Error) -> Response<Body> {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut reason = Reason::UpstreamAnswerInvalid;
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<ConnectError>() {
                reason = error.reason;
            }
            source = error.source();
        }
        let id = match self.pending.take() {
            Some(Pending { recorder, .. }) => {
                let id = recorder.request();
                finish(recorder, reason);
                id
            }
            None => RequestId::new(),
        };
        answer::of(reason, id)
    }
}

/// Failed after the decision.
pub(super) fn finish(recorder: Recorder, reason: Reason) {
    let status = Some(answer::status(reason).as_u16());
    recorder.finish(Outcome { status, code: Some(reason), ..Outcome::default() });
}

/// What an absolute-form request in the clear names.
fn plain_target(uri: &Uri) -> Result<Target, Reason> {
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(Reason::HttpsOverPlainProxy),
        _ => return Err(Reason::NotAProxyRequest),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Target::parse(authority, Some(80)).map_err(|_| Reason::MalformedRequest)
}

/// Whether everything in the request that names a host names the tunnel's (invariant I1), and it is of a
/// size and spelling that we take.
fn agree(target: &Target, head: &Head) -> Result<(), Reason> {
    let plain = head.uri.scheme_str() == Some("http");
    let default = Some(if plain { 80 } else { 443 });
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Reason::MalformedRequest);
    }
    let host =
        host.map(|value| value.to_str()).transpose().map_err(|_| Reason::MalformedRequest)?;
    let authority = head.uri.authority().map(|authority| authority.as_str());
    for named in authority.into_iter().chain(host) {
        // A tunnel's "http" is hudsucker's guess at a first byte; its authority has the port.
        let named = Target::parse(named, default).map_err(|_| Reason::MalformedRequest)?;
        if named != *target {
            return Err(Reason::AuthorityMismatch);
        }
    }
    let rest = head.uri.path_and_query().map_or("", |rest| rest.as_str());
    if rest.len() > MAX_URI {
        return Err(Reason::UriTooLong);
    }
    if head.headers.len() > MAX_FIELDS {
        return Err(Reason::HeadersTooLarge);
    }
    match rest.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        true => Ok(()),
        false => Err(Reason::MalformedRequest),
    }
}

fn absolute(scheme: Scheme, target: &Target, path: PathAndQuery) -> Option<Uri> {
    let authority = target.to_string();
    Uri::builder().scheme(scheme.as_str()).authority(authority).path_and_query(path).build().ok()
}
