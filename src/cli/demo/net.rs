//! What the demo's two servers share: a free port of loopback, HTTP/1.1 with or without TLS.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cli::failure::{Failure, chain};

pub(super) type DemoAnswer = Response<Full<Bytes>>;

/// A listener on a free port of loopback.
pub(super) async fn listen() -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(|error| broken("listen on loopback", &error))?;
    let address = listener.local_addr().map_err(|error| broken("listen on loopback", &error))?;
    Ok((listener, address))
}

/// Answers until the runtime ends. What goes wrong with one connection is its client's to tell.
pub(super) fn serve<F, R>(listener: TcpListener, tls: Option<Arc<ServerConfig>>, answer: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = DemoAnswer> + Send + 'static,
{
    let acceptor = tls.map(TlsAcceptor::from);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, acceptor) = (answer.clone(), acceptor.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let http = http1::Builder::new();
                match acceptor {
                    None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            drop(http.serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                }
            });
        }
    });
}

/// User and password of Basic (RFC 7617).
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get("authorization")?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The demo itself could not do something.
pub(super) fn broken(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::failed(
        "demo-broken",
        format!("the demo cannot {what}: {}", chain(error)),
        "it needs loopback and a writable temporary directory (TMPDIR)",
    )
}
