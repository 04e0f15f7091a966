//! The second half of a request, the same for intercepted and plain ones: record, clear, send, clean, stream.

use std::pin::pin;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use super::body::{Body, Reply};
use super::live::LiveRequest;
use super::pool::{Key, Pinned, Spoken};
use super::rejected;
use super::respond::{self, Refused};
use super::upgrade::{Asked, Upgraded};
use super::upload::{RequestBody, Sent, Upload};
use super::upstream::{Answered, Ask};
use super::{Proxy, Worker, World};
use crate::audit::{Decision, Event, Outcome, Recorder, Written};
use crate::broker::{Slot, SlotKey};
use crate::http1::Inbound;
use crate::inject::{self, Cleared, LastRedactor};
use crate::model::client::Client;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::model::token::Token;
use crate::net::guard::Reach;
use crate::policy::Permit;

/// What the exchanges of one client connection share.
#[derive(Default)]
pub(super) struct Kept {
    /// The redactor used last.
    pub(super) redactor: LastRedactor,
    /// An upstream connection that authenticated itself and belongs to this client connection.
    pinned: Pinned,
}

/// Who asks, from where, under which world.
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Arc<Worker>,
    pub(super) world: &'a World,
    pub(super) reach: Reach,
    pub(super) client: &'a Client,
    pub(super) kept: &'a Arc<Kept>,
    /// The way back for 1xx; HTTP/2 has none.
    pub(super) inbound: Option<Arc<dyn Inbound>>,
}

/// One sending of a request.
struct Attempt<'a> {
    permit: &'a Permit,
    token: Option<&'a Token>,
    upgrade: Option<Asked>,
}

impl Exchange<'_> {
    pub(super) async fn forward(
        self,
        permit: Permit,
        token: Option<Arc<Token>>,
        mut recorder: Recorder,
        mut live: LiveRequest,
        mut parts: Parts,
        body: RequestBody,
    ) -> Response<Body> {
        let mut token = token;
        let most = self.world.rates.body();
        let upgrade = match self.upgrade(&permit, &parts, &body) {
            // As far as it says beforehand how long it is.
            Ok(_) if body.size_hint().lower() > most => {
                return refuse(recorder, Reason::BodyTooLarge.into(), true);
            }
            Ok(upgrade) => upgrade,
            Err(reason) => return refuse(recorder, reason.into(), false),
        };
        let decision = if permit.injects() { Decision::Inject } else { Decision::Pass };
        let written = match record(&mut recorder, decision, token.as_deref()) {
            Ok(written) => written,
            Err(reason) => return refuse(recorder, reason.into(), false),
        };
        let pins = token.is_none()
            && parts.headers.get(header::AUTHORIZATION).is_some_and(is_of_connections);
        set_length(&mut parts.headers, &body);
        let bare = parts.method == Method::HEAD;
        let spare = token.as_ref().and_then(|_| rejected::spare(&parts, &body));
        let cleared = match inject::clear(&permit, token.as_deref(), written, parts) {
            Ok(cleared) => cleared,
            Err(_) => return fail(recorder, Reason::MalformedRequest),
        };
        let upload = Upload::new(body, live.watch(), most);
        let sent = Arc::clone(upload.sent());
        recorder.sent();
        let attempt =
            Attempt { permit: &permit, token: token.as_deref(), upgrade: upgrade.clone() };
        let answered = {
            // Pinned where it is made: it is large to move.
            let sending = pin!(self.send(attempt, &mut recorder, cleared, upload));
            live.watch().unless_cut(sending).await
        };
        let answered = match answered {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) if sent.exceeded() => return fail(recorder, Reason::BodyTooLarge),
            // The upstream saw a body break off because the client's did.
            Ok(Err(_)) if sent.broke() => return fail(recorder, Reason::MalformedRequest),
            Ok(Err(reason)) | Err(reason) => return fail(recorder, reason),
        };
        let old = token.clone();
        let bound = token.as_deref().is_some_and(|token| token.proof_key().is_some());
        let rejected = token.is_some() && rejected::is(answered.status, &answered.headers);
        let answered = if bound || rejected {
            let again = self.once_more(&permit, &mut token, spare, answered, &sent, &mut recorder);
            match live.watch().unless_cut(Box::pin(again)).await {
                Ok(answered) => answered,
                Err(reason) => return fail(recorder, reason),
            }
        } else {
            answered
        };
        recorder.answered();
        live.carries(token.clone());
        let token = token.as_deref();
        let Answered { status, mut headers, reply, mut home } = answered;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(&permit, token, upgrade, headers, reply, (recorder, live));
        }
        if pins || headers.get_all(header::WWW_AUTHENTICATE).iter().any(is_of_connections) {
            home.pin(&self.kept.pinned);
        }
        let rejected = old.as_ref().filter(|old| token.is_none_or(|new| !old.is(new)));
        let answer = (status, &mut headers, &reply);
        let clean = match self.clean(&permit, rejected, token, bare, answer) {
            Ok(clean) => clean,
            Err(reason) => return fail(recorder, reason),
        };
        self.step_up(&permit, token, status, &mut headers);
        let mut response =
            Response::new(Body::streamed(reply, status, recorder, live, clean, home, sent));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Sends a cleared request; each further attempt is recorded as another decision (I9).
    async fn send(
        &self,
        attempt: Attempt<'_>,
        recorder: &mut Recorder,
        cleared: Cleared,
        upload: Upload,
    ) -> Result<Answered, Reason> {
        let Attempt { permit, token, upgrade } = attempt;
        let decision = if permit.injects() { Decision::Inject } else { Decision::Pass };
        let ask = Ask {
            world: self.world,
            key: self.key(permit),
            pinned: &self.kept.pinned,
            upgrade,
            again: || record(recorder, decision, token),
            inform: |status, headers| self.inform(permit, token, status, headers),
        };
        self.worker.pool.send(ask, cleared, upload).await
    }

    /// After a rejection: the token is dropped unless it is young, and a request that may be sent twice
    /// (`spare`) is sent once more with a new one. Where that comes to nothing the first answer stands.
    async fn once_more(
        &self,
        permit: &Permit,
        token: &mut Option<Arc<Token>>,
        spare: Option<Parts>,
        answered: Answered,
        sent: &Arc<Sent>,
        recorder: &mut Recorder,
    ) -> Answered {
        let Some(old) = &*token else { return answered };
        let answered = self.with_nonce(permit, old, spare.as_ref(), answered, sent, recorder).await;
        if !rejected::is(answered.status, &answered.headers) {
            return answered;
        }
        let Some(slot) = self.slot(permit) else { return answered };
        if !slot.invalidate(old.fingerprint()) {
            return answered;
        }
        let Some(parts) = spare else { return answered };
        let Ok(new) = slot.token().await else { return answered };
        if new.fingerprint() == old.fingerprint() {
            return answered;
        }
        match self.resend(permit, &new, parts, sent, recorder).await {
            Some(second) => {
                *token = Some(new);
                second
            }
            None => answered,
        }
    }

    /// Sends a request without a body once more. `None`: that came to nothing.
    pub(super) async fn resend(
        &self,
        permit: &Permit,
        token: &Token,
        parts: Parts,
        sent: &Arc<Sent>,
        recorder: &mut Recorder,
    ) -> Option<Answered> {
        let written = record(recorder, Decision::Inject, Some(token)).ok()?;
        let cleared = inject::clear(permit, Some(token), written, parts).ok()?;
        let attempt = Attempt { permit, token: Some(token), upgrade: None };
        let upload = Upload::empty(Arc::clone(sent));
        self.send(attempt, recorder, cleared, upload).await.ok()
    }

    /// Where the token of this request came from.
    fn slot(&self, permit: &Permit) -> Option<Arc<Slot>> {
        let (credential, route) = (permit.credential()?.clone(), permit.route()?);
        let minter = self.world.minters.get(&credential)?;
        let (client, ask) = (self.client.key(), route.ask.of(self.client));
        self.worker.proxy.broker.slot(&SlotKey { client, credential, ask }, minter).ok()
    }

    fn key(&self, permit: &Permit) -> Key {
        Key {
            client: self.client.key(),
            credential: permit.credential().cloned(),
            ask: permit
                .credential()
                .and_then(|_| permit.route())
                .map(|route| route.ask.of(self.client)),
            origin: permit.origin().clone(),
            generation: self.world.generation,
            reach: self.reach,
            spoken: if self.inbound.is_some() { Spoken::Http1 } else { Spoken::Http2 },
        }
    }

    /// The upgrade that the request asks for and the route allows.
    fn upgrade(
        &self,
        permit: &Permit,
        parts: &Parts,
        body: &RequestBody,
    ) -> Result<Option<Asked>, Reason> {
        let Some(asked) = Asked::of(parts, !body.is_end_stream())? else { return Ok(None) };
        let allowed = permit.allows_upgrade(&asked.0);
        // Without a way back for the 101 there is no upgrade.
        if allowed && self.inbound.is_some() {
            Ok(Some(asked))
        } else {
            Err(Reason::UpgradeRefused)
        }
    }

    fn inform(
        &self,
        permit: &Permit,
        token: Option<&Token>,
        status: StatusCode,
        mut headers: HeaderMap,
    ) {
        let Some(inbound) = &self.inbound else { return };
        self.clean_head(permit, token, &mut headers);
        inbound.inform(status, &headers);
    }

    fn switch(
        &self,
        permit: &Permit,
        token: Option<&Token>,
        upgrade: Option<Asked>,
        mut headers: HeaderMap,
        reply: Reply,
        (recorder, live): (Recorder, LiveRequest),
    ) -> Response<Body> {
        // Nobody asked for this protocol: after this the bytes would mean something else.
        let (Some(asked), Reply::Http1(Some(exchange))) = (upgrade, reply) else {
            return fail(recorder, Reason::UpstreamAnswerInvalid);
        };
        if !asked.agreed(&headers) {
            return fail(recorder, Reason::UpstreamAnswerInvalid);
        }
        let redactor = self.clean_head(permit, token, &mut headers);
        // We asked for none, and what one packs cannot be searched.
        if redactor.is_some() && headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return fail(recorder, Reason::UpstreamEncodingRefused);
        }
        asked.confirm(&mut headers);
        let upgraded = Upgraded::new(*exchange, asked, redactor, recorder, live);
        let mut response = Response::new(Body::Upgraded(Box::new(upgraded)));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        response
    }
}

/// NTLM and Negotiate (RFC 4559) authenticate the connection, not the request.
fn is_of_connections(value: &HeaderValue) -> bool {
    let scheme = value.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
}

/// One length, the body's own: HTTP/2 lets several, or odd spellings, through to us.
fn set_length(headers: &mut HeaderMap, body: &RequestBody) {
    if headers.remove(header::CONTENT_LENGTH).is_some()
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
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

/// Refused before it could be parsed: nothing of it is written down but that, and the tunnel that it came in.
pub(super) fn malformed(
    proxy: &Proxy,
    client: &Client,
    id: RequestId,
    reason: Reason,
    tunnel: Option<&Target>,
) -> Response<Body> {
    let world = proxy.world.load();
    let event = Event::malformed(id, client, reason);
    let event = match tunnel {
        Some(tunnel) => event.within(tunnel, world.policy.hash()),
        None => event,
    };
    proxy.audit.event(event).ok();
    respond::response(reason.into(), id, true)
}

/// Refusals after which the connection ends: whoever disagrees about the authority or the framing once
/// gets no second try on the same connection.
pub(super) fn closes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AuthorityMismatch
            | Reason::BodyTooLarge
            | Reason::ClientRevoked
            | Reason::ConnectInTunnel
            | Reason::MalformedRequest
            | Reason::SessionEnded
    )
}
