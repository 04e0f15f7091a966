//! An upstream that the test plays by hand: each request comes out as an [`Exchange`], over HTTP/1.1 or
//! HTTP/2 alike, and the test says what is answered, piece by piece.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::http1::{Message, Reader};
use super::pki::Identity;
use super::{Background, accept_loop, soon};

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// What came of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Data(Vec<u8>),
    /// Its clean end, with trailers.
    End(Vec<(String, String)>),
    /// It will not end cleanly, and why.
    Broken(String),
}

impl Piece {
    pub fn data(self) -> Vec<u8> {
        match self {
            Self::Data(data) => data,
            other => panic!("data, not {other:?}"),
        }
    }

    pub fn trailers(self) -> Vec<(String, String)> {
        match self {
            Self::End(trailers) => trailers,
            other => panic!("the end, not {other:?}"),
        }
    }

    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken(_))
    }
}

/// Fields as text, in order.
pub fn texts(fields: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// Fields for a library.
pub fn fields(pairs: &[(&str, &str)]) -> http::HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
    });
    pairs.collect()
}

/// Fields for the wire of HTTP/1.1.
pub fn lines(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// The server; it stops when dropped.
pub struct Upstream {
    addr: SocketAddr,
    exchanges: mpsc::UnboundedReceiver<Exchange>,
    opened: Arc<AtomicUsize>,
    _task: Background,
}

impl Upstream {
    pub async fn start(identity: &Identity, protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity.server_config(&[protocol.alpn()]));
        let (sender, exchanges) = mpsc::unbounded_channel();
        let opened = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&opened);
        let task = accept_loop(listener, move |stream| {
            let connection = counter.fetch_add(1, Ordering::Relaxed) + 1;
            serve(stream, acceptor.clone(), protocol, connection, sender.clone())
        });
        Self { addr, exchanges, opened, _task: task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next request, as soon as its head is here.
    pub async fn next(&mut self) -> Exchange {
        soon("a request at the upstream", self.exchanges.recv()).await.unwrap()
    }

    /// A request that has come already.
    pub fn waiting(&mut self) -> Option<Exchange> {
        self.exchanges.try_recv().ok()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    protocol: Protocol,
    connection: usize,
    sender: mpsc::UnboundedSender<Exchange>,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    match protocol {
        Protocol::Http1 => next_http1(Reader::new(stream), connection, sender).await,
        Protocol::Http2 => {
            let Ok(mut server) = h2::server::handshake(stream).await else { return };
            let (kill, mut killed) = mpsc::channel(1);
            loop {
                tokio::select! {
                    accepted = server.accept() => {
                        let Some(Ok((request, respond))) = accepted else { return };
                        let (parts, body) = request.into_parts();
                        let kill = kill.clone();
                        let inner = Inner::Http2(Box::new(Http2 { body, respond, out: None, kill }));
                        let _ = sender.send(Exchange { parts: Parts::of(parts), connection, inner });
                    }
                    _ = killed.recv() => return,
                }
            }
        }
    }
}

async fn next_http1(
    mut reader: Reader<TlsStream<TcpStream>>,
    connection: usize,
    sender: mpsc::UnboundedSender<Exchange>,
) {
    let Some(message) = reader.head().await else { return };
    let chunked = message.all("transfer-encoding").iter().any(|v| v.contains("chunked"));
    let length = message.all("content-length").first().and_then(|v| v.parse().ok());
    let left = if chunked { Left::Chunked } else { Left::Bytes(length.unwrap_or(0)) };
    let parts = Parts::from_message(&message);
    let inner = Http1 { reader, left, chunked: false, again: sender.clone() };
    let _ = sender.send(Exchange { parts, connection, inner: Inner::Http1(Box::new(inner)) });
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Parts {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// The names as they came, over HTTP/1.
    pub spelt: Vec<String>,
}

impl Parts {
    fn of(parts: http::request::Parts) -> Self {
        Self {
            method: parts.method.to_string(),
            target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: texts(&parts.headers),
            spelt: vec![],
        }
    }

    fn from_message(message: &Message) -> Self {
        let mut first = message.first_line.split(' ').map(str::to_owned);
        let text = |(n, v): &(String, Vec<u8>)| {
            (n.to_ascii_lowercase(), String::from_utf8_lossy(v).into_owned())
        };
        Self {
            method: first.next().unwrap_or_default(),
            target: first.next().unwrap_or_default(),
            headers: message.headers.iter().map(text).collect(),
            spelt: message.headers.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }
}

/// One request and what the test makes of it.
pub struct Exchange {
    pub parts: Parts,
    /// Which connection it came on, from 1.
    pub connection: usize,
    inner: Inner,
}

enum Inner {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

struct Http1 {
    reader: Reader<TlsStream<TcpStream>>,
    left: Left,
    /// Whether the answer is.
    chunked: bool,
    again: mpsc::UnboundedSender<Exchange>,
}

/// What is still to come of a body.
pub enum Left {
    Bytes(usize),
    Chunked,
}

/// The next piece of an HTTP/1.1 body, whatever has come of it.
pub async fn http1_piece<S: tokio::io::AsyncRead + Unpin>(
    reader: &mut Reader<S>,
    left: &mut Left,
) -> Piece {
    match left {
        Left::Bytes(0) => Piece::End(vec![]),
        Left::Bytes(left) => {
            if reader.left.is_empty() && !reader.more().await {
                return Piece::Broken(format!("closed with {left} bytes to come"));
            }
            let rest = reader.left.split_off((*left).min(reader.left.len()));
            let data = std::mem::replace(&mut reader.left, rest);
            *left -= data.len();
            Piece::Data(data)
        }
        Left::Chunked => chunk(reader).await.unwrap_or_else(|| Piece::Broken("closed".into())),
    }
}

async fn chunk<S: tokio::io::AsyncRead + Unpin>(reader: &mut Reader<S>) -> Option<Piece> {
    let line = reader.until(b"\r\n").await?;
    let line = String::from_utf8_lossy(&line).into_owned();
    let size = line.trim().split(';').next().unwrap_or_default();
    let size = usize::from_str_radix(size, 16).ok()?;
    if size > 0 {
        let mut data = reader.exactly(size + 2).await?;
        data.truncate(size);
        return Some(Piece::Data(data));
    }
    let mut trailers = Vec::new();
    loop {
        let line = reader.until(b"\r\n").await?;
        if line == b"\r\n" {
            return Some(Piece::End(trailers));
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let (name, value) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
        trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// The next piece of an HTTP/2 body.
pub async fn http2_piece(body: &mut h2::RecvStream) -> Piece {
    loop {
        match body.data().await {
            Some(Ok(data)) => {
                let _ = body.flow_control().release_capacity(data.len());
                if !data.is_empty() {
                    return Piece::Data(data.to_vec());
                }
            }
            Some(Err(error)) => return Piece::Broken(error.to_string()),
            None => {
                return match body.trailers().await {
                    Ok(trailers) => Piece::End(trailers.as_ref().map(texts).unwrap_or_default()),
                    Err(error) => Piece::Broken(error.to_string()),
                };
            }
        }
    }
}

/// Sends within the window of the stream; `false` when the stream is gone.
pub async fn http2_send(out: &mut h2::SendStream<Bytes>, data: &[u8]) -> bool {
    let mut data = Bytes::copy_from_slice(data);
    while !data.is_empty() {
        out.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return false };
        if room > 0 && out.send_data(data.split_to(room.min(data.len())), false).is_err() {
            return false;
        }
    }
    true
}

struct Http2 {
    body: h2::RecvStream,
    respond: h2::server::SendResponse<Bytes>,
    out: Option<h2::SendStream<Bytes>>,
    kill: mpsc::Sender<()>,
}

impl Exchange {
    pub fn is_http1(&self) -> bool {
        matches!(self.inner, Inner::Http1(_))
    }

    /// The next piece of the request's body.
    pub async fn receive(&mut self) -> Piece {
        soon("a piece of the request", async {
            match &mut self.inner {
                Inner::Http1(http1) => http1_piece(&mut http1.reader, &mut http1.left).await,
                Inner::Http2(http2) => http2_piece(&mut http2.body).await,
            }
        })
        .await
    }

    /// The whole body.
    pub async fn body(&mut self) -> (Vec<u8>, Piece) {
        let mut all = Vec::new();
        loop {
            match self.receive().await {
                Piece::Data(data) => all.extend(data),
                end => return (all, end),
            }
        }
    }

    /// Bytes as they are, on HTTP/1.1; `false` when the connection is gone.
    pub async fn raw(&mut self, bytes: &[u8]) -> bool {
        let Inner::Http1(http1) = &mut self.inner else { panic!("raw bytes are for HTTP/1.1") };
        let stream = &mut http1.reader.stream;
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        soon("room for an answer", sent).await.is_ok()
    }

    /// The raw connection of HTTP/1.1, after an upgrade.
    pub fn into_raw(self) -> Reader<TlsStream<TcpStream>> {
        match self.inner {
            Inner::Http1(http1) => http1.reader,
            Inner::Http2(_) => panic!("raw bytes are for HTTP/1.1"),
        }
    }

    /// An interim answer; `false` when the request is gone.
    pub async fn interim(&mut self, status: u16, pairs: &[(&str, &str)]) -> bool {
        if let Inner::Http2(http2) = &mut self.inner {
            let mut response = http::Response::builder().status(status).body(()).unwrap();
            *response.headers_mut() = fields(pairs);
            return http2.respond.send_informational(response).is_ok();
        }
        let head = format!("HTTP/1.1 {status} Interim\r\n{}\r\n", lines(pairs));
        self.raw(head.as_bytes()).await
    }

    /// The head of the answer. Without `content-length` its body is chunked in HTTP/1.1.
    pub async fn head(&mut self, status: u16, pairs: &[(&str, &str)]) {
        if let Inner::Http2(http2) = &mut self.inner {
            let mut response = http::Response::builder().status(status).body(()).unwrap();
            *response.headers_mut() = fields(pairs);
            http2.out = http2.respond.send_response(response, false).ok();
            return;
        }
        let sized = pairs.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let bodyless = matches!(status, 204 | 304) || self.parts.method == "HEAD";
        let chunked = !sized && !bodyless;
        let mut head = format!("HTTP/1.1 {status} By Hand\r\n{}", lines(pairs));
        if chunked {
            head.push_str("transfer-encoding: chunked\r\n");
        }
        head.push_str("\r\n");
        if let Inner::Http1(http1) = &mut self.inner {
            http1.chunked = chunked;
        }
        self.raw(head.as_bytes()).await;
    }

    /// A piece of the answer; `false` when nobody wants it any more.
    pub async fn send(&mut self, data: &[u8]) -> bool {
        match &mut self.inner {
            Inner::Http2(http2) => {
                let Some(out) = http2.out.as_mut() else { return false };
                soon("room for an answer", http2_send(out, data)).await
            }
            Inner::Http1(http1) if http1.chunked => {
                let chunk = [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
                self.raw(&chunk).await
            }
            Inner::Http1(_) => self.raw(data).await,
        }
    }

    /// The clean end of the answer. The connection goes on.
    pub async fn end(self) {
        self.end_with(&[]).await;
    }

    /// The clean end of an HTTP/2 answer, whose connection is then the test's to close.
    pub async fn end_and_keep(mut self) -> Option<Self> {
        if let Inner::Http2(http2) = &mut self.inner {
            let _ = http2.out.as_mut()?.send_data(Bytes::new(), true);
        }
        Some(self)
    }

    pub async fn end_with(mut self, trailers: &[(&str, &str)]) {
        if let Inner::Http1(http1) = &self.inner
            && http1.chunked
        {
            self.raw(format!("0\r\n{}\r\n", lines(trailers)).as_bytes()).await;
        }
        match self.inner {
            Inner::Http1(http1) => {
                tokio::spawn(next_http1(http1.reader, self.connection, http1.again));
            }
            Inner::Http2(mut http2) => {
                let Some(out) = http2.out.as_mut() else { return };
                let _ = match trailers {
                    [] => out.send_data(Bytes::new(), true),
                    _ => out.send_trailers(fields(trailers)),
                };
            }
        }
    }

    /// A whole answer.
    pub async fn answer(mut self, status: u16, body: &str) {
        self.head(status, &[("content-length", &body.len().to_string())]).await;
        self.send(body.as_bytes()).await;
        self.end().await;
    }

    /// Breaks the answer off: RST_STREAM, or the connection is reset.
    pub fn reset(self, reason: h2::Reason) {
        match self.inner {
            Inner::Http1(http1) => {
                let tcp = http1.reader.stream.get_ref().0;
                let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
            }
            Inner::Http2(mut http2) => match http2.out.as_mut() {
                Some(out) => out.send_reset(reason),
                None => http2.respond.send_reset(reason),
            },
        }
    }

    /// Closes the connection, politely where TLS can; it takes no other request from then on.
    pub async fn close(self) {
        match self.inner {
            Inner::Http1(mut http1) => {
                let _ = http1.reader.stream.shutdown().await;
            }
            Inner::Http2(http2) => {
                let _ = http2.kill.send(()).await;
                http2.kill.closed().await;
            }
        }
    }

    /// Waits until the other side has given the request up.
    pub async fn given_up(self) {
        match self.inner {
            Inner::Http1(mut http1) => {
                soon("the end of the connection", async { while http1.reader.more().await {} })
                    .await;
            }
            Inner::Http2(mut http2) => {
                let reset = std::future::poll_fn(|cx| match http2.out.as_mut() {
                    Some(out) => out.poll_reset(cx),
                    None => http2.respond.poll_reset(cx),
                });
                let _ = soon("a reset of the stream", reset).await;
            }
        }
    }
}
