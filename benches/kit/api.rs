//! The API: HTTP/1.1 by hand, HTTP/2 by hyper, `GET /v1/bytes/N` gives N bytes, and only to the real key.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, mpsc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{BLOBS, HOST, KEY};

/// The largest body that is asked for.
const LARGEST: usize = 1 << 20;
static BODY: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(super::orders("orders", LARGEST)));

/// A running API.
#[derive(Clone)]
pub struct Api {
    pub address: SocketAddr,
    /// PEM of the root that its certificate chains to.
    pub root: String,
}

/// Starts it on a thread of its own, which lives as long as the process.
pub fn start() -> Api {
    speaking(&[b"h2", b"http/1.1"])
}

/// The same, which agrees only to these protocols (ALPN).
pub fn speaking(protocols: &[&[u8]]) -> Api {
    let (acceptor, root) = identity(protocols);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, acceptor.clone()));
            }
        });
    });
    Api { address: told.recv().unwrap(), root }
}

fn identity(protocols: &[&[u8]]) -> (TlsAcceptor, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // Not the leaf's default: OpenSSL takes a certificate whose issuer has its own name for a self-signed one.
    ca.distinguished_name.push(rcgen::DnType::CommonName, "bench root of the API");
    let root = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    // The wildcard serves the hosts that no proxy has seen before.
    let names = vec![HOST.to_owned(), format!("*.{HOST}"), BLOBS.to_owned()];
    let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), root.pem())
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
    } else {
        http1(stream).await.ok();
    }
}

async fn http1(mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(4096);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let mut keys = lines
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
        let good =
            keys.next().is_some_and(|(_, value)| is_key(value.trim())) && keys.next().is_none();
        let (status, body) =
            if good { ("200 OK", body(path)) } else { ("401 Unauthorized", body("0")) };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        stream.write_all(&answer).await?;
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut keys = request.headers().get_all("authorization").iter();
    let good =
        keys.next().is_some_and(|value| value.to_str().is_ok_and(is_key)) && keys.next().is_none();
    let mut response =
        Response::new(Full::new(if good { body(request.uri().path()) } else { Bytes::new() }));
    if !good {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

fn is_key(value: &str) -> bool {
    value.strip_prefix("Bearer ") == Some(KEY)
}

/// As many bytes as the last segment of the path says.
fn body(path: &str) -> Bytes {
    let size = path.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    BODY.slice(..LARGEST.min(size))
}
