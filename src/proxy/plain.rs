//! Absolute-form requests in the clear (RFC 9112 section 3.2.2): carried to hosts that no route
//! names, never with a token, and each admitted on its own.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::agree;
use super::body::Body;
use super::framing::Framed;
use super::intercept::{http1_server, until_drained};
use super::panic::Caught;
use super::peek::Prefixed;
use super::respond::{self, Refused};
use super::serve::{self, Exchange};
use super::{Worker, World};
use crate::audit::{Recorder, RequestFacts};
use crate::client::Admitted;
use crate::inject::{self, LastRedactor};
use crate::model::client::Client;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};
use crate::net::guard::Reach;

/// Serves requests until the client is done.
pub(super) async fn serve(worker: Arc<Worker>, stream: Prefixed<TcpStream>, uid: Option<u32>) {
    let stream = Framed::new(stream);
    let verdict = stream.verdict();
    let service = service_fn(|request| {
        let (worker, refused) = (Arc::clone(&worker), verdict.take());
        async move {
            let id = RequestId::new();
            if let Some(reason) = refused {
                let client = Client { uid, ..Client::default() };
                return Ok(serve::malformed(&worker.proxy, &client, id, reason));
            }
            let answer = Caught(Box::pin(exchange(worker, uid, id, request))).await;
            Ok::<_, Infallible>(
                answer.unwrap_or_else(|| respond::response(Reason::InternalError.into(), id, true)),
            )
        }
    });
    let serving = http1_server().serve_connection(TokioIo::new(stream), service);
    until_drained(&worker.proxy, None, serving, |serving| serving.graceful_shutdown()).await;
}

async fn exchange(
    worker: Arc<Worker>,
    uid: Option<u32>,
    id: RequestId,
    request: Request<Incoming>,
) -> Response<Body> {
    let world = worker.proxy.world.load_full();
    let (mut parts, body) = request.into_parts();
    let target = match target(&parts) {
        Ok(target) => target,
        Err(reason) => {
            let client = Client { uid, ..Client::default() };
            return serve::malformed(&worker.proxy, &client, id, reason);
        }
    };
    let admitted = admit(&worker, &world, &parts, uid);
    let client = match &admitted {
        Ok(admitted) => Arc::clone(&admitted.client),
        Err(_) => Arc::new(Client { uid, ..Client::default() }),
    };
    worker.proxy.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let method = parts.method.clone();
    let facts = RequestFacts::new(
        id,
        client,
        method,
        target.host.clone(),
        target.port,
        Some(parts.uri.path()),
    );
    let recorder = Recorder::start(&worker.proxy.audit, facts, world.policy.hash().clone());
    let refuse = |recorder, reason| serve::refuse(recorder, Refused::from(reason), false);
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(reason) => return refuse(recorder, reason),
    };
    let permit = match world.policy.decide_plain(&target) {
        Ok(permit) => permit,
        Err(refusal) => return refuse(recorder, refusal.reason),
    };
    parts.headers.remove(header::PROXY_AUTHORIZATION);
    if parts.headers.contains_key(header::UPGRADE) {
        return refuse(recorder, Reason::UpgradeRefused);
    }
    if inject::holds_placeholder(&parts) {
        return refuse(recorder, Reason::ForeignPlaceholder);
    }
    let reach = if admitted.foreign { Reach::Public } else { Reach::Private };
    let exchange = Exchange {
        worker: &worker,
        world: &world,
        reach,
        client: admitted.client.key(),
        redactor: &LastRedactor::default(),
    };
    exchange.forward(permit, None, recorder, parts, body).await
}

/// What an absolute-form request is for, if it is one and nothing in it disagrees.
fn target(parts: &http::request::Parts) -> Result<Target, Reason> {
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
    uid: Option<u32>,
) -> Result<Admitted, Reason> {
    let mut sent = parts.headers.get_all(header::PROXY_AUTHORIZATION).iter();
    let first = sent.next().map(http::HeaderValue::as_bytes);
    if sent.next().is_some() {
        return Err(Reason::MalformedRequest);
    }
    worker.proxy.gate.admit(&world.rules, first, uid, worker.proxy.clock.now())
}
