//! The two roads to one API: direct, and through the proxy. HTTP/1.1 over TLS, GET only.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::BenchTarget;
use crate::cli::failure::{Exit, Failure, chain};

/// For a connection, and for an answer.
const ROAD_PATIENCE: Duration = Duration::from_secs(20);
/// Of an answer to CONNECT.
const MAX_HEAD: usize = 16 * 1024;

/// Where the TCP connection goes.
pub(super) enum Way {
    /// To the API's own addresses.
    Direct(Vec<SocketAddr>),
    /// To the proxy, with these credentials (`NAME:SECRET`).
    Proxied { proxy: String, credentials: String },
}

pub(super) struct Road {
    pub(super) way: Way,
    /// Trusts whoever ends the TLS on it.
    pub(super) tls: TlsConnector,
    /// Sent along, as the tool would.
    pub(super) headers: HeaderMap,
}

pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
}

impl Connection {
    /// Whether it takes another request; not where the other end closed it.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

impl Road {
    /// `HTTPS_PROXY` as a session's environment has it.
    pub(super) fn proxied(url: &str) -> Way {
        let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let (credentials, proxy) = rest.rsplit_once('@').unwrap_or(("", rest));
        Way::Proxied { proxy: proxy.to_owned(), credentials: credentials.to_owned() }
    }

    /// TCP, CONNECT, TLS.
    pub(super) async fn connect(&self, place: &BenchTarget) -> Result<Connection, Failure> {
        let opening = async {
            let stream = match &self.way {
                Way::Direct(addresses) => TcpStream::connect(&addresses[..]).await?,
                Way::Proxied { proxy, credentials } => {
                    let mut stream = TcpStream::connect(proxy.as_str()).await?;
                    stream.set_nodelay(true)?;
                    if let Some(refusal) = tunnel(&mut stream, place, credentials).await? {
                        return Ok(Err(refusal));
                    }
                    stream
                }
            };
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
            let stream = self.tls.connect(name, stream).await?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Ok::<_, io::Error>(Ok(Connection { sender }))
        };
        match timeout(ROAD_PATIENCE, opening).await {
            Err(_) => Err(self.unreachable(place, &format!("nothing within {ROAD_PATIENCE:?}"))),
            Ok(Err(error)) => Err(self.unreachable(place, &chain(&error))),
            Ok(Ok(opened)) => opened,
        }
    }

    /// One GET and its whole answer; its status.
    pub(super) async fn get(
        &self,
        connection: &mut Connection,
        place: &BenchTarget,
    ) -> Result<u16, Failure> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = place.path.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            connection.sender.ready().await?;
            let answer = connection.sender.send_request(request).await?;
            let (head, mut body) = answer.into_parts();
            // Thrown away as it comes: an endless one ends by the patience.
            while let Some(frame) = body.frame().await {
                frame?;
            }
            Ok::<_, hyper::Error>(head)
        };
        let head = match timeout(ROAD_PATIENCE, exchange).await {
            Err(_) => {
                return Err(self.unreachable(place, &format!("no answer in {ROAD_PATIENCE:?}")));
            }
            Ok(Err(error)) => return Err(self.unreachable(place, &chain(&error))),
            Ok(Ok(head)) => head,
        };
        let said = head.headers.get("proxy-status").and_then(|value| value.to_str().ok());
        match said.filter(|said| said.starts_with("valetkey;")) {
            Some(said) => Err(refused(place, said)),
            None => Ok(head.status.as_u16()),
        }
    }

    fn unreachable(&self, place: &BenchTarget, why: &str) -> Failure {
        match self.way {
            Way::Direct(_) => Failure::failed(
                "bench-unreachable",
                format!("{place} does not answer directly: {why}"),
                "the bench compares with the direct way: it must be reachable without the proxy, over TLS that \
                 this machine's roots or upstream.extra_roots verify",
            ),
            Way::Proxied { .. } => Failure::failed(
                "bench-broken-off",
                format!("{place} does not answer through the proxy: {why}"),
                "`valetkey audit tail` and the daemon's log say more",
            ),
        }
    }
}

/// Opens a tunnel (RFC 9110 section 9.3.6); what the proxy said instead, where it did not.
async fn tunnel(
    stream: &mut TcpStream,
    place: &BenchTarget,
    credentials: &str,
) -> io::Result<Option<Failure>> {
    let authority = place.authority();
    let mut ask = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if !credentials.is_empty() {
        ask += &format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(credentials));
    }
    stream.write_all((ask + "\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        // Byte by byte: what follows belongs to TLS.
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    if head.split(' ').nth(1) == Some("200") {
        return Ok(None);
    }
    let said = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-status").then(|| value.trim())
    });
    Ok(Some(refused(place, said.unwrap_or_else(|| head.lines().next().unwrap_or_default()))))
}

/// Valetkey's own answer is no measurement.
fn refused(place: &BenchTarget, said: &str) -> Failure {
    let code = said.split("details=").nth(1).map_or(said, |code| code.trim_matches('"'));
    Failure::failed(
        "bench-refused",
        format!("valetkey refused the request: {code}"),
        format!("`valetkey explain GET {place}` says why"),
    )
    .exiting(Exit::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_proxy_of_a_session() {
        let Way::Proxied { proxy, credentials } = Road::proxied("http://a:b@127.0.0.1:8383") else {
            unreachable!("a proxy");
        };
        assert_eq!((proxy.as_str(), credentials.as_str()), ("127.0.0.1:8383", "a:b"));
    }

    #[test]
    fn a_refusal_names_its_code() {
        let place = BenchTarget::parse("https://api.example/v1").unwrap();
        let failure = refused(&place, "valetkey; error=http_request_denied; details=\"no-route\"");
        assert!(failure.message.ends_with(": no-route"), "{}", failure.message);
        assert_eq!(failure.exit, Exit::Refused);
    }
}
