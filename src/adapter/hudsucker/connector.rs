//! The way upstream: our dialer with its guard and pins, our roots. hudsucker's own connector would
//! trust what it trusts and dial what it is told.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::Parts;
use crate::model::reason::Reason;
use crate::model::target::{Scheme, Target};
use crate::model::tls_fault::TlsFault;
use crate::net::anchors::RootsUnread;
use crate::net::guard::Reach;
use crate::net::stream::Stream as Dialed;
use crate::net::tls::Tls;
use crate::net::tls_fault;

/// For a whole TLS handshake.
const UPSTREAM_HANDSHAKE: Duration = Duration::from_secs(10);

/// hudsucker's `with_http_connector` takes it.
#[derive(Clone)]
pub struct Connector {
    parts: Arc<Parts>,
    tls: Tls,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{}", .reason.detail())]
pub struct ConnectError {
    /// What a client is told.
    pub reason: Reason,
}

impl From<Reason> for ConnectError {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}

/// A connection to an upstream.
pub enum Stream {
    /// In the clear; it never carries a token.
    Plain(TokioIo<Dialed>),
    /// TLS, verified.
    Tls(Box<TokioIo<TlsStream<Dialed>>>),
}

impl Connector {
    /// One for all clients: hudsucker pools its connections by origin.
    pub fn new(parts: Arc<Parts>) -> Self {
        let tls = parts.roots.tls(&[b"h2", b"http/1.1"]);
        Self { parts, tls }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            _ => return Err(Reason::MalformedRequest.into()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let target = Target::parse(authority, Some(scheme.default_port()))
            .map_err(|_| Reason::MalformedRequest)?;
        // For no client: the pool shares it among all.
        let stream = self.parts.dialer.dial(&target, Reach::Public, None).await;
        let stream = stream.map_err(|error| error.reason())?;
        if scheme == Scheme::Http {
            return Ok(Stream::Plain(TokioIo::new(stream)));
        }
        let name = target.host.name().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = name.ok_or(Reason::UpstreamTlsInvalid(TlsFault::Name))?;
        let connector = self.tls.ready().await.map_err(|RootsUnread| Reason::RootsUnread)?;
        let handshake = connector.connect(name, stream);
        match tokio::time::timeout(UPSTREAM_HANDSHAKE, handshake).await {
            Err(_) => Err(Reason::UpstreamTimeout.into()),
            Ok(Err(error)) => {
                tracing::debug!(%target, %error, "the upstream's TLS is not acceptable");
                Err(Reason::UpstreamTlsInvalid(tls_fault(&error).unwrap_or_default()).into())
            }
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(TokioIo::new(stream)))),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Self::Plain(_) | Self::Tls(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
