//! The TLS server side of a tunnel to a routed host: our leaf for exactly the host that CONNECT
//! named.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::flood_guard::FloodGuard;
use super::peek::{Speaks, speaks};
use super::pulse::{Patient, Pulse};
use crate::ca::Alpn;
use crate::client::session::Session;
use crate::http1::{self, Buffered, MAX_HEAD};
use crate::model::host::Host;
use crate::model::reason::Reason;
use crate::net::prefixed::Prefixed;
use crate::proxy::live::LiveConnection;
use crate::proxy::request::body::Body;
use crate::proxy::request::serve::ClientConnection;
use crate::proxy::shared::{HANDSHAKE_TIMEOUT, Proxy};

/// More than the limit, which we hold ourselves: the library answers what is over its own with a
/// bare 431, of which nobody hears.
const MAX_HEADER_LIST: u32 = 4 * MAX_HEAD as u32;

/// A fatal `unrecognized_name` alert in a plaintext record (RFC 8446 section 6, RFC 6066 section
/// 3).
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];
/// From a session's end to the end of its streams; within it, requests get their 403.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// Streams of one client connection at once.
const CLIENT_STREAMS: u32 = 256;

/// Ends TLS here and serves what comes. `Err`: no request was read, and why.
pub(super) async fn intercept<T>(
    connection: &Arc<ClientConnection>,
    mut io: Prefixed<T>,
) -> Result<(), Reason>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let speaks = tokio::select! {
        speaks = timeout(HANDSHAKE_TIMEOUT, speaks(&mut io)) => speaks,
        () = connection.worker.proxy.draining() => return Ok(()),
    };
    match speaks {
        Ok(Ok(Speaks::Tls)) => {}
        Ok(Ok(Speaks::Other)) => return Err(Reason::TlsRequired),
        // Connections opened ahead and never used are no incident.
        Ok(Ok(Speaks::Nothing)) | Ok(Err(_)) => return Ok(()),
        Err(_) => return Err(Reason::ClientTimeout),
    }
    // Each stage in a box of its own: a connection then holds what it is in, not the largest of
    // all.
    let stream = timeout(HANDSHAKE_TIMEOUT, Box::pin(handshake(connection, io)))
        .await
        .map_err(|_| Reason::ClientTimeout)??;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(serve_http2(connection, stream)).await;
    } else {
        Box::pin(serve_http1(connection, stream)).await;
    }
    Ok(())
}

async fn handshake<T>(
    connection: &ClientConnection,
    io: Prefixed<T>,
) -> Result<TlsStream<Prefixed<T>>, Reason>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io)
        .await
        .map_err(|error| {
            tracing::debug!(%error, "no ClientHello");
            Reason::ClientTlsFailed
        })?;
    let host = &connection.target.host;
    let sni = start.client_hello().server_name().map(Host::parse);
    // Without SNI the tunnel's host is all there is; IP literals are never routed.
    if sni.is_some_and(|sni| sni.as_ref() != Ok(host)) {
        start.io.write_all(&UNRECOGNIZED_NAME).await.ok();
        start.io.shutdown().await.ok();
        return Err(Reason::SniMismatch);
    }
    let world = connection.worker.proxy.world.load_full();
    let config = world
        .authority
        .server_config(host.name().unwrap_or_default(), Alpn::Both)
        .map_err(|error| {
            tracing::error!(%host, %error, "no leaf certificate");
            Reason::InternalError
        })?;
    let Proxy { handshakes, passage, .. } = &*connection.worker.proxy;
    let process = &connection.admitted.client.process;
    match start.into_stream(config).await {
        Ok(stream) => {
            handshakes.ended(process);
            Ok(stream)
        }
        Err(error) => {
            tracing::debug!(%host, %error, "the TLS handshake with a client failed");
            let name = host.name().unwrap_or_default().into();
            handshakes.broken(process, name, passage.clock.now().wall);
            Err(Reason::ClientTlsFailed)
        }
    }
}

async fn serve_http1<T>(connection: &Arc<ClientConnection>, stream: TlsStream<Prefixed<T>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let session = connection.admitted.session.as_deref();
    let io = Buffered::new(stream, BytesMut::new());
    let switched =
        until_ended(session, &connection.live, http1::serve(io, &**connection)).await.flatten();
    if let Some((io, ahead, Body::Upgraded(upgraded))) = switched {
        Box::pin(upgraded.carry(&connection.worker.proxy, (io, ahead))).await;
    }
}

async fn serve_http2<T>(connection: &Arc<ClientConnection>, stream: TlsStream<Prefixed<T>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let connection = Arc::clone(connection);
        async move { Ok::<_, Infallible>(connection.serve(request).await) }
    });
    let stalling = Arc::clone(connection);
    let give_up = move || stalling.live.give_up(Reason::ClientTimeout);
    let stall = connection.worker.proxy.world.load().terms.policy.timeouts().stall;
    let pulse = Pulse::new(stall, Arc::clone(&connection.taken), give_up);
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(Patient(Arc::clone(&pulse)))
        .max_concurrent_streams(CLIENT_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .auto_date_header(false)
        .serve_connection(TokioIo::new(FloodGuard::new(stream, pulse)), service);
    // Boxed, as each move into another future would otherwise keep the room of the last one.
    let serving =
        until_drained(&connection.worker.proxy, Box::pin(serving), |s| s.graceful_shutdown());
    until_ended(connection.admitted.session.as_deref(), &connection.live, Box::pin(serving)).await;
}

/// Serves to the end, or until the session's: then new requests are told so for a while, and
/// whatever still streams after that is cut.
pub(super) async fn until_ended<F: Future>(
    session: Option<&Session>,
    live: &LiveConnection,
    serving: F,
) -> Option<F::Output> {
    let ended = async {
        match session {
            Some(session) => session.ended().await,
            None => std::future::pending().await,
        }
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        biased;
        done = serving => Some(done),
        () = ended => None,
        () = live.ended() => None,
    }
}

/// Serves an HTTP/2 connection to its end; when the daemon stops, to the end of the requests it has
/// begun.
async fn until_drained<C>(
    proxy: &Proxy,
    mut serving: Pin<Box<C>>,
    shut_down: impl FnOnce(Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let done = tokio::select! {
        done = serving.as_mut() => done,
        () = proxy.draining() => {
            shut_down(serving.as_mut());
            serving.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a client connection ended");
    }
}
