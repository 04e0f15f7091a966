//! One request up to its token: the file to read first. The second half, from its record on, is
//! `exchange`, the same for intercepted and plain ones.
//!
//! ```text
//! arrive ─ judge ─ enter ─ supply ─ pass ─ record ─ clear ─ send ─ clean ─ stream back
//! ```
//!
//! Whatever happens, the request has exactly one decision and one outcome in the audit: the
//! [`Recorder`](crate::audit::Recorder) writes what is missing when it is dropped.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming as IncomingBody;

use super::body::Body;
use super::exchange::{Exchange, Kept, malformed, refuse};
use super::panic::Caught;
use crate::client::Admitted;
use crate::http1::{Arrived, HeadError, Inbound, Patience, Service, Spelling};
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::net::guard::Reach;
use crate::passage::{Arrival, Incoming, Judged, Way};
use crate::proxy::back::upload::RequestBody;
use crate::proxy::live::{Facts, LiveConnection, LiveKind, LiveRequest};
use crate::proxy::shared::{PATIENCE, World};
use crate::proxy::worker::Worker;

/// One client connection, as far as its requests care.
pub struct ClientConnection {
    pub worker: Arc<Worker>,
    pub admitted: Admitted,
    pub target: Target,
    pub live: LiveConnection,
    /// Bytes that the kernel took of what was written to it.
    pub taken: Arc<AtomicU64>,
    kept: Kept,
}

/// HTTP/1: a panic costs the connection, which has one request at a time.
impl Service for ClientConnection {
    type Body = Body;
    const PATIENCE: Patience = PATIENCE;

    fn answer(&self, arrived: Arrived) -> impl Future<Output = Response<Body>> {
        let Arrived { parts, body, inbound, spelling } = arrived;
        let back = (Some(inbound), spelling);
        self.exchange(RequestId::new(), parts, RequestBody::http1(body), back)
    }

    fn refuse(&self, error: HeadError) -> Response<Body> {
        let (proxy, client) = (&self.worker.proxy, &self.admitted.client);
        malformed(proxy, client, RequestId::new(), error.into(), Some(&self.target))
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

impl ClientConnection {
    /// `taken`: bytes that the kernel took of what was written to it.
    pub fn new(
        worker: Arc<Worker>,
        admitted: Admitted,
        target: Target,
        taken: Arc<AtomicU64>,
    ) -> Arc<Self> {
        let live = worker.proxy.live.connection();
        Arc::new(Self { worker, admitted, target, live, taken, kept: Kept::default() })
    }

    /// Serves one HTTP/2 request of an intercepted connection. A panic costs this request only.
    pub async fn serve(self: Arc<Self>, request: Request<IncomingBody>) -> Response<Body> {
        let id = RequestId::new();
        let (parts, body) = request.into_parts();
        let body = RequestBody::http2(body);
        match Caught(Box::pin(self.exchange(id, parts, body, Default::default()))).await {
            Some(mut response) => {
                // Allowed (RFC 9110 section 8.6), and refused by some HTTP/2 clients as a body too
                // short.
                if response.status() == StatusCode::NOT_MODIFIED {
                    response.headers_mut().remove(CONTENT_LENGTH);
                }
                response
            }
            None => Body::refusal(&Reason::InternalError.into(), id, true),
        }
    }

    /// No `async fn`: that would hold what it is given twice. Nothing is done before it is polled,
    /// where a panic is caught.
    #[expect(clippy::manual_async_fn, reason = "see above")]
    fn exchange(
        &self,
        id: RequestId,
        parts: Parts,
        body: RequestBody,
        (inbound, spelling): (Option<Arc<dyn Inbound>>, Spelling),
    ) -> impl Future<Output = Response<Body>> {
        async move {
            let proxy = &self.worker.proxy;
            let mut world = proxy.world.load_full();
            proxy.requests.fetch_add(1, Relaxed);
            let (admitted, target) = (&self.admitted, &self.target);
            let arrival = Arrival { id, way: Way::Intercepted, admitted, target, parts };
            let mut incoming = proxy.passage.arrive(&world.terms, arrival);
            let (supplied, live) = loop {
                let attended = incoming.attend(&world.terms).await;
                let judged = match incoming.judge(&world.terms, attended) {
                    Ok(judged) => judged,
                    Err(refused) => {
                        refused.pause().await;
                        return refuse(incoming.into_recorder(), refused);
                    }
                };
                let live = self.enter(&world, &incoming, &judged);
                let supplied = {
                    // Pinned where it is made: what waits for a mint is large to move.
                    let supplying = pin!(incoming.supply(&world.terms, judged, &self.kept.known));
                    live.watch().unless_cut(supplying).await
                };
                match supplied {
                    Ok(Ok(supplied)) => break (supplied, live),
                    Ok(Err(refused)) => return refuse(incoming.into_recorder(), refused),
                    // Nothing was written down or sent yet: the new world may permit it in its own way.
                    Err(Reason::NoLongerPermitted) => {
                        world = proxy.world.load_full();
                        incoming.begin_anew(&world.terms);
                    }
                    Err(reason) => return refuse(incoming.into_recorder(), reason.into()),
                }
            };
            let (passed, request, recorder) = incoming.pass(supplied);
            let (worker, world, kept) = (&self.worker, &*world, &self.kept);
            let exchange =
                Exchange { worker, world, reach: Reach::Public, kept, inbound, spelling };
            // In a box of its own: what is moved into the box of each request stays small.
            Box::pin(exchange.forward(passed, request, recorder, live, body)).await
        }
    }

    fn enter(&self, world: &World, incoming: &Incoming<'_>, judged: &Judged) -> LiveRequest {
        let (parts, permit) = (incoming.parts(), judged.permit());
        let path = parts.uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        // One that is not allowed is ignored, or refused a little later.
        let upgrade = parts.headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
        let upgrade = upgrade.map(|protocol| protocol.trim().to_ascii_lowercase());
        let upgrade = upgrade.filter(|protocol| permit.allows_upgrade(protocol)).map(Into::into);
        self.live.enter(Facts {
            admitted: Admitted::clone(incoming.admitted()),
            target: self.target.clone(),
            kind: LiveKind::Intercepted(parts.method.clone(), path, upgrade),
            route: permit.route().map(|route| route.name.clone()),
            credential: permit.credential().cloned(),
            wants: permit.wants().cloned(),
            bound: incoming.bound().cloned(),
            generation: world.terms.generation,
        })
    }
}
