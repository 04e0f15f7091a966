//! Sending a cleared request to its origin, and nowhere else.
//!
//! `send` takes only [`Cleared`]. Connections are kept by client identity, credential and origin
//! (invariant I7), together with the TLS sessions that may resume them, and used again only in the
//! world that made them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::{Sent, Upload};
use super::{ANSWER_TIMEOUT, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, World};
use crate::inject::Cleared;
use crate::model::client::ClientKey;
use crate::model::id::CredentialName;
use crate::model::reason::Reason;
use crate::model::target::{Origin, Scheme};
use crate::net::guard::Reach;

/// Idle connections kept for one key.
const MAX_IDLE: usize = 32;
/// Keys remembered; the one unused for longest goes first.
const MAX_KEYS: usize = 1024;
/// Kept a little shorter than most servers do, so that fewer die under a request.
const KEEP: std::time::Duration = std::time::Duration::from_secs(55);

/// What a connection may be shared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: ClientKey,
    pub(super) credential: Option<CredentialName>,
    pub(super) origin: Origin,
    pub(super) generation: u64,
    /// How far it was dialled: a connection into a private network is not everybody's.
    pub(super) reach: Reach,
}

/// Upstream connections of one worker. The lock is never contended: all users are on one thread.
#[derive(Default)]
pub struct Pool {
    shelves: Mutex<HashMap<Key, Shelf>>,
}

struct Shelf {
    tls: Arc<ClientConfig>,
    http1: Vec<(http1::SendRequest<Upload>, Instant)>,
    http2: Option<http2::SendRequest<Upload>>,
    used: Instant,
}

/// A connection in use; HTTP/1 goes back to its shelf after the answer.
pub(super) struct Lease {
    pool: std::sync::Weak<Pool>,
    key: Key,
    http1: Option<http1::SendRequest<Upload>>,
}

impl Lease {
    /// Puts the connection back, for the next request of the same key.
    pub(super) fn give_back(mut self) {
        let (Some(pool), Some(sender)) = (self.pool.upgrade(), self.http1.take()) else { return };
        if !sender.is_closed() {
            pool.put(&self.key, sender);
        }
    }
}

enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>),
}

impl Pool {
    /// Sends one request. What could not be sent at all on a kept connection is sent on a new one; what
    /// was sent is never sent again.
    pub(super) async fn send(
        self: &Arc<Self>,
        world: &World,
        key: Key,
        cleared: Cleared,
        body: Upload,
    ) -> Result<(Response<Incoming>, Lease), Reason> {
        // The origin of the request and that of the connection are one value: nothing can differ.
        if *cleared.origin() != key.origin {
            return Err(Reason::InternalError);
        }
        let mut request = request(cleared, body)?;
        while let Some(sender) = self.take(&key) {
            match self.exchange(&key, sender, request).await {
                Ok(answer) => return Ok(answer),
                Err((reason, None)) => return Err(reason),
                Err((_, Some(unsent))) => request = *unsent,
            }
        }
        let sender = self.connect(world, &key).await?;
        self.exchange(&key, sender, request).await.map_err(|(reason, _)| reason)
    }

    async fn exchange(
        self: &Arc<Self>,
        key: &Key,
        sender: Sender,
        request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Lease), (Reason, Option<Box<Request<Upload>>>)> {
        let pool = Arc::downgrade(self);
        let lease = |http1| Lease { pool, key: key.clone(), http1 };
        let upload = request.body().sent();
        let (sent, lease) = match sender {
            Sender::Http1(mut sender) => {
                let sent = patiently(&upload, sender.try_send_request(as_http1(request))).await;
                (sent, lease(Some(sender)))
            }
            Sender::Http2(mut sender) => {
                let sent = patiently(&upload, sender.try_send_request(request)).await;
                (sent, lease(None))
            }
        };
        match sent {
            Some(Ok(response)) => Ok((response, lease)),
            Some(Err(mut error)) => {
                self.forget_http2(key);
                let unsent = error.take_message().map(Box::new);
                Err((reason(error.error()), unsent))
            }
            None => {
                self.forget_http2(key);
                Err((Reason::UpstreamTimeout, None))
            }
        }
    }

    /// An HTTP/2 connection that takes no more or says no more is not asked again; HTTP/1 is off its shelf.
    fn forget_http2(&self, key: &Key) {
        if let Some(shelf) = self.shelves().get_mut(key) {
            shelf.http2 = None;
        }
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<Key, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, key: &Key) -> Option<Sender> {
        let mut shelves = self.shelves();
        let shelf = shelves.get_mut(key)?;
        shelf.used = Instant::now();
        if let Some(sender) = shelf.http2.as_ref().filter(|sender| !sender.is_closed()) {
            return Some(Sender::Http2(sender.clone()));
        }
        shelf.http2 = None;
        shelf.http1.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < KEEP);
        // The one used last: the others may go idle and be closed.
        let ready = shelf.http1.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(Sender::Http1(shelf.http1.remove(ready).0))
    }

    fn put(&self, key: &Key, sender: http1::SendRequest<Upload>) {
        if let Some(shelf) = self.shelves().get_mut(key)
            && shelf.http1.len() < MAX_IDLE
        {
            shelf.http1.push((sender, Instant::now()));
        }
    }

    /// The TLS config of a key; makes room for it first.
    fn tls(&self, world: &World, key: &Key) -> Arc<ClientConfig> {
        let mut shelves = self.shelves();
        if shelves.len() >= MAX_KEYS && !shelves.contains_key(key) {
            let oldest =
                shelves.iter().min_by_key(|(_, shelf)| shelf.used).map(|(key, _)| key.clone());
            oldest.map(|oldest| shelves.remove(&oldest));
        }
        let shelf = shelves.entry(key.clone()).or_insert_with(|| Shelf {
            tls: world.roots.client_config(&[b"h2", b"http/1.1"]),
            http1: Vec::new(),
            http2: None,
            used: Instant::now(),
        });
        Arc::clone(&shelf.tls)
    }

    async fn connect(&self, world: &World, key: &Key) -> Result<Sender, Reason> {
        let tls = self.tls(world, key);
        let target = &key.origin.target;
        let stream = world.dialer.dial(target, key.reach).await.map_err(|error| {
            tracing::debug!(%target, %error, "dialling failed");
            error.reason()
        })?;
        if key.origin.scheme == Scheme::Http {
            return http1(TokioIo::new(stream)).await;
        }
        let stream = handshake(tls, &key.origin, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return http1(TokioIo::new(stream)).await;
        }
        let sender = http2(TokioIo::new(stream)).await?;
        if let Some(shelf) = self.shelves().get_mut(key) {
            shelf.http2 = Some(sender.clone());
        }
        Ok(Sender::Http2(sender))
    }

    /// Drops connections that are closed or were idle for too long, and shelves of older worlds.
    pub(super) fn prune(&self, generation: u64) {
        self.shelves().retain(|key, shelf| {
            shelf.http1.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < KEEP);
            if shelf.http2.as_ref().is_some_and(http2::SendRequest::is_closed) {
                shelf.http2 = None;
            }
            key.generation == generation && shelf.used.elapsed() < IDLE_TIMEOUT
        });
    }
}

/// Waits for an answer; the time for it begins anew as long as the upload moves.
async fn patiently<F: Future>(upload: &Sent, answer: F) -> Option<F::Output> {
    let mut answer = std::pin::pin!(answer);
    let mut before = upload.bytes();
    loop {
        if let Ok(answer) = timeout(ANSWER_TIMEOUT, answer.as_mut()).await {
            return Some(answer);
        }
        let now = upload.bytes();
        if now == before {
            return None;
        }
        before = now;
    }
}

async fn handshake(
    tls: Arc<ClientConfig>,
    origin: &Origin,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Reason> {
    let name = match &origin.target.host {
        crate::model::host::Host::Ip(ip) => ServerName::from(*ip),
        crate::model::host::Host::Name(name) => {
            ServerName::try_from(name.to_string()).map_err(|_| Reason::UpstreamTlsInvalid)?
        }
    };
    match timeout(HANDSHAKE_TIMEOUT, TlsConnector::from(tls).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            tracing::debug!(%origin, %error, "TLS with the upstream failed");
            let tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            Err(if tls { Reason::UpstreamTlsInvalid } else { Reason::UpstreamUnreachable })
        }
        Err(_) => Err(Reason::UpstreamTimeout),
    }
}

async fn http1<T>(io: TokioIo<T>) -> Result<Sender, Reason>
where
    TokioIo<T>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(io).await.map_err(|_| Reason::UpstreamUnreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}

async fn http2(io: TokioIo<TlsStream<TcpStream>>) -> Result<http2::SendRequest<Upload>, Reason> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(super::MAX_HEAD as u32)
        .handshake(io)
        .await
        .map_err(|_| Reason::UpstreamUnreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    });
    Ok(sender)
}

/// The request as it leaves, with an absolute URI: HTTP/2 makes `:scheme` and `:authority` of it.
fn request(cleared: Cleared, body: Upload) -> Result<Request<Upload>, Reason> {
    let (origin, method, path_and_query, headers) = cleared.into_parts();
    let uri = Uri::builder()
        .scheme(origin.scheme.as_str())
        .authority(origin.authority())
        .path_and_query(path_and_query)
        .build()
        .map_err(|_| Reason::MalformedRequest)?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Origin-form and a `Host` field (RFC 9112 section 3.2).
fn as_http1(mut request: Request<Upload>) -> Request<Upload> {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    join_cookies(request.headers_mut());
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    *request.version_mut() = http::Version::HTTP_11;
    request
}

/// HTTP/2 splits `Cookie` into crumbs; HTTP/1 has one field (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Field values joined by field characters are a field value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

fn reason(error: &hyper::Error) -> Reason {
    tracing::debug!(%error, "an exchange with the upstream failed");
    let io = std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>());
    if error.is_parse() || error.is_parse_too_large() {
        Reason::UpstreamAnswerInvalid
    } else if error.is_timeout() {
        Reason::UpstreamTimeout
    } else if io || error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
        Reason::UpstreamUnreachable
    } else {
        Reason::UpstreamAnswerInvalid
    }
}
