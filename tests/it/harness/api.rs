//! The fake API: a server on loopback that keeps every request it saw and answers by script.
//!
//! HTTP/1.1 is read by hand, so that field names keep their spelling and order; HTTP/2 by hyper.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::http1::{Message, Reader, values};
use super::pki::Identity;
use super::{Background, Gate, Log, accept_loop, lock};

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// The request target of HTTP/1.1, or `:path`.
    pub target: String,
    /// `Host` or `:authority`.
    pub authority: String,
    /// In order; as spelled in HTTP/1.1.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    pub http2: bool,
    /// Which connection it came on, from 1.
    pub connection: usize,
}

impl Seen {
    pub fn all(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    /// The only value of a field.
    pub fn one(&self, name: &str) -> String {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "`{name}` once in {self:#?}");
        all[0].clone()
    }

    /// How often `needle` stands anywhere in the request.
    pub fn count(&self, needle: &str) -> usize {
        let mut all = format!("{} {} {}", self.method, self.target, self.authority);
        for (name, value) in &self.headers {
            all.push_str(&format!("\n{name}: {}", String::from_utf8_lossy(value)));
        }
        all.push_str(&String::from_utf8_lossy(&self.body));
        all.matches(needle).count()
    }
}

/// What the script says to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Nothing is sent before it opens.
    pub after: Option<Gate>,
    /// The rest of the body, sent once the gate opens.
    pub rest: Option<(Gate, Vec<u8>)>,
    /// The connection is cut in the middle of the body.
    pub cut: bool,
    /// Sent after the body; HTTP/2 only.
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![],
            body: body.into(),
            after: None,
            rest: None,
            cut: false,
            trailers: vec![],
        }
    }

    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn after(mut self, gate: &Gate) -> Self {
        self.after = Some(gate.clone());
        self
    }

    pub fn then(mut self, gate: &Gate, rest: impl Into<Vec<u8>>) -> Self {
        self.rest = Some((gate.clone(), rest.into()));
        self
    }

    pub fn trailer(mut self, name: &str, value: impl Into<String>) -> Self {
        self.trailers.push((name.to_owned(), value.into()));
        self
    }

    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }
}

type Script = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

struct Shared {
    seen: Arc<Log<Seen>>,
    opened: Arc<Log<()>>,
    raw: Arc<Log<Vec<u8>>>,
    script: Mutex<Script>,
}

/// A server that stops when dropped.
pub struct Api {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _task: Background,
}

impl Api {
    /// Over TLS, both protocols.
    pub async fn tls(identity: &Identity) -> Self {
        Self::start(Some((identity, &["h2", "http/1.1"]))).await
    }

    /// Over TLS, offering only what `alpn` names.
    pub async fn tls_with(identity: &Identity, alpn: &[&str]) -> Self {
        Self::start(Some((identity, alpn))).await
    }

    /// Plain HTTP/1.1.
    pub async fn plain() -> Self {
        Self::start(None).await
    }

    async fn start(tls: Option<(&Identity, &[&str])>) -> Self {
        let (shared, listener) = Self::prepare().await;
        let addr = listener.local_addr().unwrap();
        let acceptor = tls.map(|(identity, alpn)| TlsAcceptor::from(identity.server_config(alpn)));
        let inner = Arc::clone(&shared);
        let task = accept_loop(listener, move |stream| {
            serve(stream, acceptor.clone(), Arc::clone(&inner))
        });
        Self { addr, shared, _task: task }
    }

    /// Reads bytes, answers nothing; see [`Api::raw`].
    pub async fn capture() -> Self {
        let (shared, listener) = Self::prepare().await;
        let addr = listener.local_addr().unwrap();
        let inner = Arc::clone(&shared);
        let task = accept_loop(listener, move |stream| {
            let shared = Arc::clone(&inner);
            async move {
                shared.opened.push(());
                let mut reader = Reader::new(stream);
                let all = reader.rest().await;
                shared.raw.push(all);
            }
        });
        Self { addr, shared, _task: task }
    }

    async fn prepare() -> (Arc<Shared>, TcpListener) {
        let script: Script = Arc::new(|_| Answer::ok("{\"ok\":true}"));
        let shared = Shared {
            seen: Log::new(),
            opened: Log::new(),
            raw: Log::new(),
            script: Mutex::new(script),
        };
        (Arc::new(shared), TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on every request is answered by `script`.
    pub fn answer(&self, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen.all()
    }

    /// All requests since the last time, which are forgotten.
    pub fn taken(&self) -> Vec<Seen> {
        self.shared.seen.take()
    }

    /// The request at `index`, from 0, as soon as it has come.
    pub async fn request(&self, index: usize) -> Seen {
        self.shared.seen.at("a request at the api", index).await
    }

    /// How many TCP connections were opened to it.
    pub fn connections(&self) -> usize {
        self.shared.opened.len()
    }

    /// What came on each finished connection of a capturing server.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.shared.raw.all()
    }
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    shared.opened.push(());
    let connection = shared.opened.len();
    let Some(acceptor) = acceptor else {
        return http1(stream, None, connection, &shared).await;
    };
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let sni = stream.get_ref().1.server_name().map(str::to_owned);
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream, sni, connection, shared).await;
    } else {
        http1(stream, sni, connection, &shared).await;
    }
}

async fn http1<S>(stream: S, sni: Option<String>, connection: usize, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut reader = Reader::new(stream);
    while let Some(message) = reader.request().await {
        let seen = seen_http1(message, sni.clone(), connection);
        shared.seen.push(seen.clone());
        let script = Arc::clone(&*lock(&shared.script));
        if !write_http1(&mut reader.stream, &seen, script(&seen)).await {
            return;
        }
    }
}

fn seen_http1(message: Message, sni: Option<String>, connection: usize) -> Seen {
    let mut first = message.first_line.split(' ');
    Seen {
        method: first.next().unwrap_or_default().to_owned(),
        target: first.next().unwrap_or_default().to_owned(),
        authority: message.all("host").join(" | "),
        headers: message.headers,
        body: message.body,
        sni,
        http2: false,
        connection,
    }
}

/// Whether the connection may be used again.
async fn write_http1<S: AsyncWrite + Unpin>(stream: &mut S, seen: &Seen, answer: Answer) -> bool {
    if let Some(gate) = &answer.after {
        gate.passed().await;
    }
    let rest = answer.rest.as_ref().map_or(0, |(_, rest)| rest.len());
    let extra = if answer.cut { 1000 } else { 0 };
    let length = answer.body.len() + rest + extra;
    let mut head = format!("HTTP/1.1 {} Scripted\r\ncontent-length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut first = head.into_bytes();
    if seen.method != "HEAD" {
        first.extend_from_slice(&answer.body);
    }
    if stream.write_all(&first).await.is_err() || stream.flush().await.is_err() || answer.cut {
        return false;
    }
    if let Some((gate, rest)) = answer.rest {
        gate.passed().await;
        if stream.write_all(&rest).await.is_err() || stream.flush().await.is_err() {
            return false;
        }
    }
    !seen.all("connection").iter().any(|v| v.eq_ignore_ascii_case("close"))
}

async fn http2<S>(stream: S, sni: Option<String>, connection: usize, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let shared = Arc::clone(&shared);
        let sni = sni.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|b| b.to_bytes().to_vec()).unwrap_or_default();
            let headers = parts.headers.iter();
            let seen = Seen {
                method: parts.method.to_string(),
                target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                authority: parts.uri.authority().map(ToString::to_string).unwrap_or_default(),
                headers: headers.map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect(),
                body,
                sni,
                http2: true,
                connection,
            };
            shared.seen.push(seen.clone());
            let script = Arc::clone(&*lock(&shared.script));
            let answer = script(&seen);
            if let Some(gate) = &answer.after {
                gate.passed().await;
            }
            Ok::<_, Infallible>(response_http2(answer))
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn response_http2(answer: Answer) -> http::Response<Scripted> {
    let mut response = http::Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    let rest = answer.rest.map(|(gate, rest)| {
        let wait: Wait = Box::pin(async move { gate.passed().await });
        (wait, rest)
    });
    let trailers = answer.trailers.iter().map(|(name, value)| {
        (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
    });
    let trailers = Some(trailers.collect()).filter(|t: &http::HeaderMap| !t.is_empty());
    response.body(Scripted { first: Some(answer.body), rest, cut: answer.cut, trailers }).unwrap()
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body in one or two parts, or cut off.
struct Scripted {
    first: Option<Vec<u8>>,
    rest: Option<(Wait, Vec<u8>)>,
    cut: bool,
    trailers: Option<http::HeaderMap>,
}

impl hyper::body::Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first.into()))));
        }
        if self.cut {
            return Poll::Ready(Some(Err(std::io::Error::other("cut by script"))));
        }
        let Some((wait, _)) = self.rest.as_mut() else {
            return Poll::Ready(self.trailers.take().map(|t| Ok(Frame::trailers(t))));
        };
        if wait.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let rest = self.rest.take().map(|(_, rest)| rest).unwrap_or_default();
        Poll::Ready(Some(Ok(Frame::data(rest.into()))))
    }
}
