//! Clients: raw pieces of one (CONNECT, TLS, HTTP/1.1 by hand, HTTP/2), and the real curl.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::http1::{Message, Reader};
use super::pki::provider;
use super::{lock, soon};

/// A connection to the proxy.
pub async fn dial(proxy: SocketAddr) -> Reader<TcpStream> {
    let stream = soon("a connection to the proxy", TcpStream::connect(proxy)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Reader::new(stream)
}

/// Opens a tunnel: the answer to CONNECT, and the connection.
pub async fn connect(proxy: SocketAddr, authority: &str) -> (Message, Reader<TcpStream>) {
    connect_with(proxy, authority, &format!("Host: {authority}\r\n")).await
}

/// As [`connect`], with header lines of one's own.
pub async fn connect_with(
    proxy: SocketAddr,
    authority: &str,
    lines: &str,
) -> (Message, Reader<TcpStream>) {
    let mut reader = dial(proxy).await;
    let request = format!("CONNECT {authority} HTTP/1.1\r\n{lines}\r\n");
    reader.stream.write_all(request.as_bytes()).await.unwrap();
    let answer = connect_answer(&mut reader).await;
    (answer, reader)
}

/// The answer to a CONNECT: a 2xx has no body, anything else may have one.
pub async fn connect_answer(reader: &mut Reader<TcpStream>) -> Message {
    soon("an answer to CONNECT", async {
        let mut answer = reader.head().await.unwrap_or_default();
        if answer.status() / 100 != 2 {
            let length = answer.all("content-length").first().and_then(|v| v.parse().ok());
            answer.body = reader.exactly(length.unwrap_or(0)).await.unwrap_or_default();
        }
        answer
    })
    .await
}

/// Whom a client believes.
#[derive(Clone)]
pub enum Trust<'a> {
    /// The roots in a PEM text.
    Roots(&'a str),
    /// Anybody; the chain is kept in the given place.
    Anyone(Arc<Mutex<Vec<CertificateDer<'static>>>>),
}

/// The client side of TLS.
pub fn tls_config(trust: Trust<'_>, alpn: &[&str]) -> ClientConfig {
    tls_config_by(provider(), trust, alpn)
}

/// As [`tls_config`], with crypto of one's own.
pub fn tls_config_by(
    provider: Arc<CryptoProvider>,
    trust: Trust<'_>,
    alpn: &[&str],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = match trust {
        Trust::Roots(pem) => {
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(root.unwrap()).unwrap();
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anyone(chain) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Recording { chain }))
            .with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

/// TLS over any stream, naming `host` as SNI.
pub async fn tls<S>(stream: S, host: &str, config: ClientConfig) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    soon("a TLS handshake", connector.connect(name, stream)).await
}

/// The fatal alert that ended a handshake, if one did.
pub fn alert(error: &io::Error) -> Option<rustls::AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Accepts every certificate and remembers the chain.
#[derive(Debug)]
struct Recording {
    chain: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl ServerCertVerifier for Recording {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut chain = vec![end_entity.clone().into_owned()];
        chain.extend(intermediates.iter().map(|c| c.clone().into_owned()));
        *lock(&self.chain) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Sends raw bytes of one HTTP/1.1 request and reads the answer; `None` when the peer closed.
pub async fn exchange<S>(reader: &mut Reader<S>, request: &[u8]) -> Option<Message>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _ = reader.stream.write_all(request).await;
    let _ = reader.stream.flush().await;
    soon("an answer", reader.response()).await
}

/// Writes one byte at a time, each in a segment of its own, and lets others run between two.
pub struct Dribble<S> {
    stream: S,
    turns: u8,
}

impl<S> Dribble<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, turns: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Dribble<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Dribble<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        self.turns = (self.turns + 1) % 8;
        if self.turns != 0 {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let end = buf.len().min(1);
        std::pin::Pin::new(&mut self.stream).poll_write(cx, &buf[..end])
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An HTTP/2 client on one connection.
pub type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// Speaks HTTP/2 over an established stream.
pub async fn http2<S>(stream: S) -> Http2
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = soon("an HTTP/2 handshake", handshake).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends one request over HTTP/2: the answer, or the stream's error.
pub async fn http2_send(
    sender: &mut Http2,
    request: http::Request<Full<Bytes>>,
) -> hyper::Result<Message> {
    let response = soon("an HTTP/2 answer", sender.send_request(request)).await?;
    let (parts, body) = response.into_parts();
    let body = soon("an HTTP/2 body", body.collect()).await;
    let text =
        |(n, v): (&http::HeaderName, &http::HeaderValue)| (n.to_string(), v.as_bytes().to_vec());
    let mut headers: Vec<_> = parts.headers.iter().map(text).collect();
    if let Some(trailers) = body.as_ref().ok().and_then(|b| b.trailers()) {
        headers.extend(trailers.iter().map(text).map(|(n, v)| (format!("trailer:{n}"), v)));
    }
    Ok(Message {
        first_line: format!("HTTP/2 {}", parts.status.as_u16()),
        headers,
        complete: body.is_ok(),
        body: body.map(|b| b.to_bytes().to_vec()).unwrap_or_default(),
    })
}

/// What a child printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub async fn finish(command: &mut tokio::process::Command) -> Finished {
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = soon("a command to end", command.output()).await.unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The real curl, with nothing in its environment but the proxy and the CA.
pub async fn curl(proxy: SocketAddr, ca: &Path, arguments: &[&str]) -> Finished {
    finish(curl_command(proxy, ca).args(arguments)).await
}

/// As [`curl`], not yet started.
pub fn curl_command(proxy: SocketAddr, ca: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("curl");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HTTPS_PROXY", format!("http://{proxy}"))
        .env("http_proxy", format!("http://{proxy}"))
        .env("CURL_CA_BUNDLE", ca)
        .args(["--silent", "--show-error", "--max-time", "20"]);
    command
}
