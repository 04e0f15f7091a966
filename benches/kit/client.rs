//! The load generator: HTTP/1.1 by hand over tokio-rustls, the same for every road, so that what it costs
//! is the same in every row.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{HOST, KEY};

/// How requests reach the API.
#[derive(Clone)]
pub struct Road {
    /// The API itself, or a proxy.
    pub to: SocketAddr,
    /// The port to ask a proxy for by CONNECT; `None`: it is no proxy.
    pub connect: Option<u16>,
    /// Whether the client sends the real key itself, because nothing on the road puts it in.
    pub own_key: bool,
    /// Trusts whoever ends the TLS.
    pub tls: TlsConnector,
}

/// A connector that trusts these roots and offers these protocols.
pub fn connector(roots: &str, alpn: &[&str], resume: bool) -> TlsConnector {
    let mut store = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    if !resume {
        config.resumption = rustls::client::Resumption::disabled();
    }
    TlsConnector::from(Arc::new(config))
}

/// TCP, CONNECT where the road is a proxy, and TLS to `host`.
pub async fn open(road: &Road, host: &str) -> Result<TlsStream<TcpStream>> {
    open_as(road, host, None).await
}

/// The same, with credentials for the proxy: a value of `Proxy-Authorization`.
pub async fn open_as(
    road: &Road,
    host: &str,
    credentials: Option<&str>,
) -> Result<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(road.to).await?;
    stream.set_nodelay(true)?;
    if let Some(port) = road.connect {
        let who = credentials.map_or_else(String::new, |c| format!("Proxy-Authorization: {c}\r\n"));
        let ask = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{who}\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut head = Vec::with_capacity(1024);
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(Error::other("the proxy closed on CONNECT"));
            }
        }
        if head.get(9..12) != Some(b"200") {
            return Err(Error::other(format!("CONNECT: {}", String::from_utf8_lossy(&head))));
        }
    }
    let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
    road.tls.connect(name, stream).await
}

/// One keep-alive connection that sends the same request again and again.
pub struct Client {
    stream: TlsStream<TcpStream>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects; each request will ask for `size` bytes.
    pub async fn connect(road: &Road, host: &str, size: usize) -> Result<Self> {
        Self::connect_as(road, host, size, None).await
    }

    /// The same, with credentials for the proxy.
    pub async fn connect_as(
        road: &Road,
        host: &str,
        size: usize,
        credentials: Option<&str>,
    ) -> Result<Self> {
        let stream = open_as(road, host, credentials).await?;
        let own =
            if road.own_key { format!("authorization: Bearer {KEY}\r\n") } else { String::new() };
        // Who asked for another port says so here too; squid goes where this says.
        let port = match road.connect {
            None | Some(443) => String::new(),
            Some(port) => format!(":{port}"),
        };
        let request = format!(
            "GET /v1/bytes/{size} HTTP/1.1\r\nhost: {host}{port}\r\nuser-agent: bench\r\naccept: */*\r\n\
             x-api-key: placeholder\r\n{own}\r\n"
        );
        debug_assert!(host.ends_with(HOST));
        Ok(Self { stream, request: request.into_bytes(), buffer: vec![0; 64 << 10] })
    }

    /// One request and its whole answer, which must be a 200.
    pub async fn get(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        let (body_at, length) = loop {
            filled += self.read(filled).await?;
            if let Some(found) = head(&self.buffer[..filled])? {
                break found;
            }
        };
        let mut missing = (body_at + length).saturating_sub(filled);
        while missing > 0 {
            missing = missing.saturating_sub(self.read(0).await?);
        }
        Ok(())
    }

    async fn read(&mut self, at: usize) -> Result<usize> {
        match self.stream.read(&mut self.buffer[at..]).await? {
            0 => Err(Error::other("the connection ended inside an answer")),
            read => Ok(read),
        }
    }
}

/// Where the body begins and how long it is, once the head is there.
fn head(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(Error::other)?;
    let wrong = || Error::other(format!("a wrong answer: {}", text.replace("\r\n", " | ")));
    if text.get(9..12) != Some("200") {
        return Err(wrong());
    }
    let length = text
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    length.map(|length| Some((end + 4, length))).ok_or_else(wrong)
}
