//! The demo's tool where there is no curl: one HTTP/1.1 request over TLS, straight or through the
//! proxy of the session's environment. It knows of tokens as little as curl does.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::pki::{self, HOST};
use super::road::{DemoRoad, ToolAnswer};
use super::world::World;

const DEMO_PATIENCE: Duration = Duration::from_secs(20);

/// Sends one request; complaints are for people.
pub(super) async fn send(
    world: &World,
    road: DemoRoad,
    method: &str,
    path: &str,
    key: &str,
) -> ToolAnswer {
    timeout(DEMO_PATIENCE, exchange(world, road, method, path, key))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {DEMO_PATIENCE:?}")))
}

async fn exchange(
    world: &World,
    road: DemoRoad,
    method: &str,
    path: &str,
    key: &str,
) -> ToolAnswer {
    let variable = |name: &str| world.session.environment.set.get(name);
    let (stream, roots) = match road {
        DemoRoad::Straight => {
            (TcpStream::connect(world.api.address).await.map_err(text)?, world.api_ca.clone())
        }
        DemoRoad::Proxied => {
            let proxy = variable("HTTPS_PROXY").and_then(|url| url.to_str());
            let roots = variable("SSL_CERT_FILE").ok_or("SSL_CERT_FILE is not set")?;
            (connect(proxy.ok_or("HTTPS_PROXY is not set")?).await?, roots.into())
        }
    };
    let roots = fs::read(roots).map_err(text)?;
    let tls = TlsConnector::from(pki::client(&roots).map_err(|failure| failure.message)?);
    let name = ServerName::try_from(HOST).map_err(text)?;
    let stream = tls.connect(name, stream).await.map_err(text)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(text)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", HOST)
        .header("x-api-key", key)
        .body(Empty::<Bytes>::new())
        .map_err(text)?;
    let answer = sender.send_request(request).await.map_err(text)?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(text)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// A tunnel through the proxy (RFC 9110 section 9.3.6).
async fn connect(proxy: &str) -> Result<TcpStream, String> {
    let rest = proxy.strip_prefix("http://").unwrap_or(proxy);
    let (userinfo, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    let mut stream = TcpStream::connect(address).await.map_err(text)?;
    let head = format!(
        "CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\nProxy-Authorization: Basic {}\r\n\r\n",
        STANDARD.encode(userinfo)
    );
    stream.write_all(head.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < 16 * 1024 {
        // Byte by byte: what follows belongs to TLS.
        answer.push(stream.read_u8().await.map_err(text)?);
    }
    let line = String::from_utf8_lossy(&answer);
    if line.split(' ').nth(1) == Some("200") {
        Ok(stream)
    } else {
        Err(format!("the proxy answered: {}", line.lines().next().unwrap_or_default()))
    }
}

fn text(error: impl std::error::Error) -> String {
    crate::cli::failure::chain(&error)
}
