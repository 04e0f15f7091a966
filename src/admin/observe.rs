//! `[admin] metrics`: `/metrics`, `/healthz` and `/readyz` over plain HTTP, for scrapers and
//! probes.
//!
//! Every process of the machine can ask, a page in a browser among them. So there is nothing but
//! GET, no name but `localhost` in `Host` (one that was rebound to us is not ours), nothing for a
//! page of another origin, and one short request for each of a few connections. Whoever keeps some
//! open and says nothing has his share of them and no more, so that probes of others are answered.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::{AdminError, json};
use crate::local::peer::{canonical, is_here, owner_of};
use crate::local::uid::Uid;
use crate::net::shares::Shares;
use crate::telemetry::metrics::CONTENT_TYPE;

/// Connections at once; of each user of this machine, and of all others together, a share of them.
const OBSERVERS: usize = 64;
/// For a whole connection: one request and its answer.
const LIFE: Duration = Duration::from_secs(10);
/// For the head of the request.
const OBSERVER_TIMEOUT: Duration = Duration::from_secs(3);
/// A request's head, in bytes: the least that hyper takes.
const MAX_HEAD: usize = 8 * 1024;

/// What the daemon lets anyone know. No secret, no name that a client chose.
pub trait Probe: Send + Sync + 'static {
    /// All metrics, in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// What keeps the proxy from serving; nothing: it serves.
    fn unready(&self) -> Vec<&'static str>;
    /// The threads that do not answer when they are asked.
    fn silent(&self) -> impl Future<Output = Vec<String>> + Send;
}

/// Serves until the task is dropped.
pub async fn serve<P: Probe>(listener: TcpListener, probe: Arc<P>) {
    let shares = Shares::new(OBSERVERS);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept scrapers for now");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Closed at once rather than kept waiting: whoever waits here would hold up all others.
        let Some(share) = shares.take(&Scraper::of(&stream, peer)) else { continue };
        let probe = Arc::clone(&probe);
        tokio::spawn(async move {
            let _share = share;
            if timeout(LIFE, connection(stream, probe)).await.is_err() {
                tracing::debug!("a scraper took too long");
            }
        });
    }
}

/// Whose share a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scraper {
    Address(IpAddr),
    User(Uid),
}

impl Scraper {
    fn of(stream: &TcpStream, peer: SocketAddr) -> Self {
        // All of this machine that have no name are one.
        let unnamed = Self::Address(Ipv4Addr::LOCALHOST.into());
        let Ok(local) = stream.local_addr() else { return unnamed };
        let [peer, local] = [peer, local].map(canonical);
        match owner_of(peer, local).and_then(|owner| owner.uid) {
            Some(uid) => Self::User(uid),
            None if is_here(peer, local) => unnamed,
            None => Self::Address(peer.ip()),
        }
    }
}

async fn connection<P: Probe>(stream: TcpStream, probe: Arc<P>) {
    let service = service_fn(|request| {
        let probe = Arc::clone(&probe);
        async move { Ok::<_, Infallible>(guarded(&*probe, &request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(OBSERVER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a scraper's connection ended");
    }
}

async fn guarded<P: Probe>(probe: &P, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = match refusal(request) {
        Some(error) => problem(&error),
        None => answer(probe, request.uri().path()).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// What `/healthz` answers.
#[derive(Serialize)]
struct Alive {
    alive: bool,
    /// What has not moved for too long.
    silent: Vec<String>,
}

/// What `/readyz` answers.
#[derive(Serialize)]
struct Ready {
    /// What keeps it from serving.
    failing: Vec<&'static str>,
    ready: bool,
}

fn health(is_well: bool, facts: &impl Serialize) -> Response<Full<Bytes>> {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, "application/json", serde_json::to_vec(facts).unwrap_or_default())
}

async fn answer<P: Probe>(probe: &P, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => json(StatusCode::OK, CONTENT_TYPE, probe.metrics().into_bytes()),
        "/healthz" => {
            let silent = probe.silent().await;
            let alive = silent.is_empty();
            health(alive, &Alive { alive, silent })
        }
        "/readyz" => {
            let failing = probe.unready();
            let ready = failing.is_empty();
            health(ready, &Ready { failing, ready })
        }
        _ => problem(&AdminError {
            status: 404,
            code: "unknown-path".into(),
            detail: "there is nothing here".into(),
            hint: "ask for /metrics, /healthz or /readyz".into(),
        }),
    }
}

/// Why a request gets nothing, if so.
fn refusal(request: &Request<Incoming>) -> Option<AdminError> {
    let authority = request.uri().authority();
    if !is_called_by_address(request.headers(), authority) || is_from_a_page(request.headers()) {
        return Some(AdminError {
            status: 403,
            code: "foreign-origin".into(),
            detail: "this is asked by address, and not by a page of another origin".into(),
            hint: "ask for the address itself, or for localhost".into(),
        });
    }
    (request.method() != Method::GET).then(|| AdminError {
        status: 405,
        code: "method-not-allowed".into(),
        detail: "there is nothing here but to GET".into(),
        hint: "ask for /metrics, /healthz or /readyz".into(),
    })
}

/// One `Host` that is an address or `localhost`: a page can only rebind names (DNS rebinding).
fn is_called_by_address(headers: &HeaderMap, authority: Option<&Authority>) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let named = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    named.as_ref().is_some_and(is_address) && authority.is_none_or(is_address)
}

fn is_address(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let plain = !authority.as_str().contains('@');
    plain && (host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok())
}

/// Browsers say so: `Origin` and, on images and scripts too, `Sec-Fetch-Site`.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN) || !matches!(site, None | Some(b"none" | b"same-origin"))
}

fn problem(error: &AdminError) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, "application/problem+json", serde_json::to_vec(error).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        is_called_by_address(&headers, None)
    }

    #[test]
    fn only_addresses_and_localhost_are_ours() {
        for host in ["127.0.0.1", "127.0.0.1:9383", "[::1]:9383", "localhost", "LocalHost:1"] {
            assert!(asked(&[host]), "{host}");
        }
        for host in ["rebind.evil", "127.evil.com", "127.0.0.1.evil", "a@127.0.0.1", "", "x:y:z"] {
            assert!(!asked(&[host]), "{host}");
        }
        assert!(!asked(&[]), "none");
        assert!(!asked(&["127.0.0.1", "127.0.0.1"]), "two");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1"));
        let evil = Authority::from_static("rebind.evil");
        assert!(!is_called_by_address(&headers, Some(&evil)), "absolute-form");
    }
}
