//! The naive proxy: what a first attempt at an injecting proxy looks like.
//!
//! It believes the `Host` field, sets `Authorization`, and checks nothing else: it looks at what it may do when a tunnel
//! is opened, keeps one token for each host behind one lock, and writes down what it sent, if it can. Every invariant
//! check must fail against it; a check that it passes proves nothing (`mutant.rs`).

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::client::{Trust, exchange, tls, tls_config};
use super::http1::{Message, Reader, values};
use super::pki::Pki;
use super::{Background, accept_loop, lock};

/// What it knows: where names are, and which host gets a token from where.
pub struct Knowledge {
    pub addresses: HashMap<String, SocketAddr>,
    /// Host name to token endpoint.
    pub issuers: Mutex<HashMap<String, SocketAddr>>,
    pub pki: Pki,
    /// The lock is held while one is minted.
    tokens: tokio::sync::Mutex<HashMap<String, String>>,
    /// What it writes its audit to.
    audit: tempfile::TempDir,
}

/// The running proxy.
pub struct Naive {
    addr: SocketAddr,
    knowledge: Arc<Knowledge>,
    _task: Background,
}

impl Naive {
    pub async fn start(
        addresses: HashMap<String, SocketAddr>,
        issuers: HashMap<String, SocketAddr>,
    ) -> Self {
        let (issuers, tokens) = (Mutex::new(issuers), tokio::sync::Mutex::default());
        let audit = tempfile::tempdir().unwrap();
        let knowledge = Arc::new(Knowledge { addresses, issuers, pki: Pki::new(), tokens, audit });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let inner = Arc::clone(&knowledge);
        let task = accept_loop(listener, move |stream| {
            let knowledge = Arc::clone(&inner);
            async move {
                let _ = client(stream, &knowledge).await;
            }
        });
        Self { addr, knowledge, _task: task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn ca_pem(&self) -> String {
        self.knowledge.pki.pem().to_owned()
    }

    pub fn audit_file(&self) -> PathBuf {
        self.knowledge.audit_file()
    }

    /// From now on this host is to get no token.
    pub fn withdraw(&self, host: &str) {
        lock(&self.knowledge.issuers).remove(host);
    }
}

impl Knowledge {
    fn audit_file(&self) -> PathBuf {
        self.audit.path().join("audit.log")
    }

    fn issuer(&self, host: &str) -> Option<SocketAddr> {
        lock(&self.issuers).get(host).copied()
    }

    /// Whether that works is nobody's concern.
    fn write_down(&self, request: &[u8]) {
        let file = OpenOptions::new().create(true).append(true).open(self.audit_file());
        let _ = file.and_then(|mut file| file.write_all(request));
    }
}

async fn client(stream: TcpStream, knowledge: &Knowledge) -> Option<()> {
    let mut reader = Reader::new(stream);
    loop {
        let request = reader.request().await?;
        let target = request.first_line.split(' ').nth(1)?.to_owned();
        if request.first_line.starts_with("CONNECT ") {
            reader.stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            return tunnel(reader.stream, &target, knowledge).await;
        }
        // Absolute form: to whatever address is known, in the clear.
        let authority = target.split("://").nth(1)?.split('/').next()?.to_owned();
        let authority = if authority.contains(':') { authority } else { format!("{authority}:80") };
        let upstream = TcpStream::connect(knowledge.addresses.get(&authority)?).await.ok()?;
        forward(&mut reader.stream, &mut Reader::new(upstream), request, knowledge).await?;
    }
}

async fn tunnel(mut stream: TcpStream, authority: &str, knowledge: &Knowledge) -> Option<()> {
    // One look: what is not a whole record header by now is taken for something else.
    let mut first = [0; 5];
    let length = stream.peek(&mut first).await.ok()?;
    let addr = knowledge.addresses.get(&authority.to_ascii_lowercase())?;
    let upstream = TcpStream::connect(addr).await.ok()?;
    let host = authority.split(':').next()?.to_owned();
    if length < first.len() || first[0] != 0x16 || knowledge.issuer(&host).is_none() {
        // "Not TLS, so not ours": the raw tunnel.
        let mut upstream = upstream;
        tokio::io::copy_bidirectional(&mut stream, &mut upstream).await.ok()?;
        return None;
    }
    let leaf = knowledge.pki.server(&[&host]).server_config(&["http/1.1"]);
    let stream = TlsAcceptor::from(leaf).accept(stream).await.ok()?;
    let chain = Arc::default();
    let config = tls_config(Trust::Anyone(chain), &["http/1.1"]);
    let upstream = tls(upstream, &host, config).await.ok()?;
    let mut reader = Reader::new(stream);
    let mut upstream = Reader::new(upstream);
    loop {
        let request = reader.request().await?;
        forward(&mut reader.stream, &mut upstream, request, knowledge).await?;
    }
}

/// Sends the request on with a token for whatever `Host` says.
async fn forward<C, U>(
    client: &mut C,
    upstream: &mut Reader<U>,
    mut request: Message,
    knowledge: &Knowledge,
) -> Option<()>
where
    C: AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let host = values(&request.headers, "host").first().cloned().unwrap_or_default();
    let host = host.split(':').next()?.to_owned();
    if let Some(token) = token(&host, knowledge).await {
        let value = format!("Bearer {token}").into_bytes();
        let field = request.headers.iter_mut().find(|(name, _)| name == "Authorization");
        match field {
            Some((_, old)) => *old = value,
            None => request.headers.push(("Authorization".to_owned(), value)),
        }
    }
    let mut bytes = request.first_line.into_bytes();
    for (name, value) in &mut request.headers {
        // The body was read whole; trailers join the header, as they do in careless code.
        if name.eq_ignore_ascii_case("transfer-encoding") {
            *name = "Content-Length".to_owned();
            *value = request.body.len().to_string().into_bytes();
        }
        let trailer = name.strip_prefix("trailer:").and_then(|line| line.split_once(": "));
        if let Some((trailer, text)) = trailer {
            *value = text.as_bytes().to_vec();
            *name = trailer.to_owned();
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    knowledge.write_down(&bytes);
    bytes.extend_from_slice(&request.body);
    let answer = exchange(upstream, &bytes).await?;
    let mut bytes = answer.first_line.into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend_from_slice(format!("\r\n{name}: ").as_bytes());
        bytes.extend_from_slice(value);
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&answer.body);
    client.write_all(&bytes).await.ok()
}

/// Cached for ever; `None` when minting fails, and then the request goes out as it is.
async fn token(host: &str, knowledge: &Knowledge) -> Option<String> {
    let mut tokens = knowledge.tokens.lock().await;
    if let Some(token) = tokens.get(host) {
        return Some(token.clone());
    }
    let stream = TcpStream::connect(knowledge.issuer(host)?).await.ok()?;
    let call = b"POST /token HTTP/1.1\r\nhost: issuer\r\ncontent-length: 0\r\n\r\n";
    let answer = exchange(&mut Reader::new(stream), call).await?;
    let json: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let token = json["access_token"].as_str()?.to_owned();
    tokens.insert(host.to_owned(), token.clone());
    Some(token)
}
