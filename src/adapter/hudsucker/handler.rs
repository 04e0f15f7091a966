//! hudsucker's `HttpHandler` over [`crate::passage`]: one request, start to end, as the data plane
//! serves it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use ::hudsucker::{Body, HttpContext, HttpHandler, RequestOrResponse};
use bytes::Bytes;
use http::request::Parts as Head;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version, header};
use http_body::Body as _;
use hyper::ext::ReasonPhrase;
use hyper_util::client::legacy;

use super::recorded::{self, Answering};
use super::{ConnectError, Parts, answer};
use crate::audit::{Recorder, RequestFacts};
use crate::client::Admitted;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};
use crate::passage::{
    Arrival, Incoming, Judged, Known, Passed, Refused, Supplied, Unclean, Way, agree,
};
use crate::policy::AtConnect;

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
    known: Arc<Known>,
}

/// A request that is on its way.
struct Pending {
    passed: Passed,
    recorder: Recorder,
    /// Its answer has no body, whatever it says.
    bare: bool,
}

/// Why a request goes no further, and what is answered.
type No = Box<Response<Body>>;

impl Handler {
    /// `local`: where the proxy listens; the owner of a client's socket is asked for by both its
    /// ends.
    pub fn new(parts: Arc<Parts>, local: SocketAddr) -> Self {
        Self { parts, local, tunnel: None, pending: None }
    }

    fn admit(&self, client: SocketAddr, head: &Head) -> Result<Admitted, Reason> {
        let Parts { passage, terms, .. } = &*self.parts;
        let peer = passage.gate.peer_of(client, self.local);
        let sent = head.headers.get(header::PROXY_AUTHORIZATION).map(|value| value.as_bytes());
        passage.gate.admit(&terms.rules, sent, peer, passage.clock.now())
    }

    /// CONNECT: who asks, for what. Only hosts that routes name are let through.
    fn connect(&mut self, client: SocketAddr, head: &Head) -> Result<(), No> {
        let id = RequestId::new();
        let no = |reason: Reason| Box::new(answer::of(&reason.into(), id));
        let authority = head.uri.authority().map_or("", |authority| authority.as_str());
        let target = Target::parse(authority, None).map_err(|_| no(Reason::MalformedRequest))?;
        let admitted = self.admit(client, head).map_err(no)?;
        let refused = match self.parts.terms.policy.at_connect(&target) {
            AtConnect::Intercept => None,
            AtConnect::Refuse(reason) => Some(reason),
            AtConnect::Tunnel => Some(Reason::NoRoute),
        };
        if let Some(reason) = refused {
            let client = Arc::clone(&admitted.client);
            let (host, method) = (target.host.clone(), head.method.clone());
            let facts = RequestFacts::new(id, client, method, host, target.port, None);
            let Parts { passage, terms, .. } = &*self.parts;
            let recorder = Recorder::start(&passage.audit, facts, terms.policy.hash().clone());
            return Err(refuse(recorder, &reason.into()));
        }
        self.tunnel = Some(Tunnel { admitted, target, known: Arc::default() });
        Ok(())
    }

    /// Everything else: judged, filled, and on its way; or answered.
    async fn request(
        &mut self,
        client: SocketAddr,
        request: Request<Body>,
    ) -> Result<Request<Body>, No> {
        let id = RequestId::new();
        let (mut parts, body) = request.into_parts();
        let no = |reason: Reason| Box::new(answer::of(&reason.into(), id));
        let (tunnel, way) = match self.tunnel.clone() {
            Some(tunnel) => {
                as_it_came(&mut parts, &tunnel.target);
                (tunnel, Way::Intercepted)
            }
            None => {
                let admitted = self.admit(client, &parts).map_err(no)?;
                parts.headers.remove(header::PROXY_AUTHORIZATION);
                let target = agree::absolute(&parts).map_err(no)?;
                (Tunnel { admitted, target, known: Arc::default() }, Way::Clear)
            }
        };
        let Tunnel { admitted, target, known } = &tunnel;
        let Parts { passage, terms, .. } = &*self.parts;
        let arrival = Arrival { id, way, admitted, target, parts };
        let mut incoming = passage.arrive(terms, arrival);
        let supplied = match self.supplied(&mut incoming, way, &body, known).await {
            Ok(supplied) => supplied,
            Err(refused) => {
                refused.pause().await;
                return Err(refuse(incoming.into_recorder(), &refused));
            }
        };
        let (passed, mut request, mut recorder) = incoming.pass(supplied);
        let written = match passed.record(&mut recorder) {
            Ok(written) => written,
            Err(reason) => return Err(refuse(recorder, &reason.into())),
        };
        let bare = request.parts().method == Method::HEAD;
        // The client library writes the one that fits the body.
        request.set_length(None);
        let cleared = passed.clear(written, request).ok();
        let outgoing = cleared.and_then(|cleared| {
            let (origin, method, path, headers) = cleared.into_filled().into_parts();
            let uri = absolute(origin.scheme, &origin.target, path)?;
            Some((method, uri, headers))
        });
        let Some((method, uri, headers)) = outgoing else {
            recorded::finish(recorder, Reason::MalformedRequest);
            return Err(no(Reason::MalformedRequest));
        };
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = headers;
        recorder.sent();
        self.pending = Some(Pending { passed, recorder, bare });
        Ok(outgoing)
    }

    async fn supplied(
        &self,
        incoming: &mut Incoming<'_>,
        way: Way,
        body: &Body,
        known: &Known,
    ) -> Result<Supplied, Refused> {
        let terms = &self.parts.terms;
        let parts = incoming.parts();
        // hudsucker's guess at a first byte that begins no TLS.
        if way == Way::Intercepted && parts.uri.scheme_str() == Some("http") {
            return Err(Reason::TlsRequired.into());
        }
        let upgrades = agree::asks_for_websocket(&parts.headers);
        let attended = incoming.attend(terms).await;
        let judged: Judged = incoming.judge(terms, attended)?;
        if upgrades {
            return Err(Reason::UpgradeRefused.into());
        }
        // As far as it says beforehand how long it is.
        if body.size_hint().lower() > terms.rates.body() {
            return Err(Reason::BodyTooLarge.into());
        }
        incoming.supply(terms, judged, known).await
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
        let Some(Pending { passed, mut recorder, bare }) = self.pending.take() else {
            return response;
        };
        recorder.answered();
        let (passage, status) = (&self.parts.passage, response.status());
        let done = response.body().is_end_stream();
        let words = response.extensions_mut().remove::<ReasonPhrase>();
        let mut words = words.map(Bytes::from);
        let headers = response.headers_mut();
        let unclean = Unclean { status, headers, reason: &mut words, bare, done, part: None };
        let cleaned = passed.clean(passage, unclean);
        if let Some(words) = words.and_then(|words| ReasonPhrase::try_from(words).ok()) {
            response.extensions_mut().insert(words);
        }
        let cleaned = match cleaned {
            Ok(mut clean) => {
                let (mut head, mut body) = response.into_parts();
                let next = |cx: &mut Context<'_>| Pin::new(&mut body).poll_frame(cx);
                let looked = clean.look(&mut head.headers, next).await;
                response = Response::from_parts(head, body);
                looked.map(|()| clean).map_err(|error| recorded::why(&error))
            }
            Err(reason) => Err(reason),
        };
        match cleaned {
            Ok(clean) => Answering::pass(response, clean, recorder),
            Err(reason) => {
                let id = recorder.request();
                recorded::finish(recorder, reason);
                answer::of(&reason.into(), id)
            }
        }
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
                recorded::finish(recorder, reason);
                id
            }
            None => RequestId::new(),
        };
        answer::of(&reason.into(), id)
    }
}

/// Refused before anything went upstream.
fn refuse(recorder: Recorder, refused: &Refused) -> No {
    let id = recorder.request();
    recorder.refuse(refused.reason, Some(refused.status().as_u16()));
    Box::new(answer::of(refused, id))
}

/// Takes out the authority of the tunnel, which hudsucker puts into the URI of each request over
/// HTTP/1.
fn as_it_came(parts: &mut Head, tunnel: &Target) {
    let https = parts.uri.scheme_str() == Some("https") && parts.version < Version::HTTP_2;
    let authority = parts.uri.authority().filter(|_| https);
    let named = authority.and_then(|authority| Target::parse(authority.as_str(), Some(443)).ok());
    if named.as_ref() == Some(tunnel)
        && let Some(path) = parts.uri.path_and_query()
    {
        parts.uri = Uri::from(path.clone());
    }
}

fn absolute(scheme: Scheme, target: &Target, path: PathAndQuery) -> Option<Uri> {
    let authority = target.to_string();
    Uri::builder().scheme(scheme.as_str()).authority(authority).path_and_query(path).build().ok()
}
