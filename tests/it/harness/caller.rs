//! A client that the test plays by hand, over HTTP/1.1 or HTTP/2 alike: head, pieces, trailers, and every
//! way of going away in between.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::client::{connect, tls, tls_config};
use super::http1::Reader;
use super::stage::{Stage, Tunnel};
use super::upstream::{
    Left, Piece, Protocol, fields, http1_piece, http2_piece, http2_send, lines, texts,
};
use super::{Background, soon};

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub enum Sending {
    Nothing,
    Sized(usize),
    /// Chunked in HTTP/1.1.
    Streamed,
}

/// A connection to the API through the proxy, without a request.
pub struct Caller {
    host: String,
    line: Line,
}

enum Line {
    Http1(Box<Tunnel>),
    Http2(h2::client::SendRequest<Bytes>, std::sync::Arc<Background>),
}

impl Caller {
    pub async fn open(stage: &Stage, host: &str, protocol: Protocol) -> Self {
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{host}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(stage.trust(), &[protocol.alpn()]);
        let stream = tls(reader.stream, host, config).await.unwrap();
        let line = match protocol {
            Protocol::Http1 => Line::Http1(Box::new(Reader::new(stream))),
            Protocol::Http2 => {
                let (sender, driver) =
                    soon("an HTTP/2 handshake", h2::client::handshake(stream)).await.unwrap();
                let driver = Background::run(async move {
                    let _ = driver.await;
                });
                Line::Http2(sender, std::sync::Arc::new(driver))
            }
        };
        Self { host: host.to_owned(), line }
    }

    /// Another call beside this one, on the same connection of HTTP/2.
    pub fn beside(&self) -> Self {
        match &self.line {
            Line::Http1(_) => panic!("one call at a time"),
            Line::Http2(sender, driver) => {
                let line = Line::Http2(sender.clone(), std::sync::Arc::clone(driver));
                Self { host: self.host.clone(), line }
            }
        }
    }

    pub async fn get(self, path: &str) -> Call {
        self.call("GET", path, &[], Sending::Nothing).await
    }

    /// Sends the head of a request.
    pub async fn call(
        self,
        method: &str,
        path: &str,
        pairs: &[(&str, &str)],
        sending: Sending,
    ) -> Call {
        let host = self.host;
        let inner = match self.line {
            Line::Http1(mut tunnel) => {
                let framing = match sending {
                    Sending::Nothing => String::new(),
                    Sending::Sized(length) => format!("content-length: {length}\r\n"),
                    Sending::Streamed => "transfer-encoding: chunked\r\n".to_owned(),
                };
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{}{framing}\r\n",
                    lines(pairs)
                );
                tunnel.stream.write_all(head.as_bytes()).await.unwrap();
                tunnel.stream.flush().await.unwrap();
                let chunked = matches!(sending, Sending::Streamed);
                let head_only = method == "HEAD";
                Inner::Http1(Box::new(Http1 { tunnel, chunked, head_only, left: None }))
            }
            Line::Http2(sender, driver) => {
                let mut request = http::Request::builder()
                    .method(method)
                    .uri(format!("https://{host}{path}"))
                    .version(http::Version::HTTP_2)
                    .body(())
                    .unwrap();
                *request.headers_mut() = fields(pairs);
                if let Sending::Sized(length) = sending {
                    request.headers_mut().insert("content-length", length.into());
                }
                let mut sender = soon("room for a stream", sender.ready()).await.unwrap();
                let ends = matches!(sending, Sending::Nothing);
                let (response, out) = sender.send_request(request, ends).unwrap();
                let body = None;
                Inner::Http2(Box::new(Http2 { sender, driver, response, out, body, done: false }))
            }
        };
        Call { host, inner }
    }
}

/// A request on its way.
pub struct Call {
    host: String,
    inner: Inner,
}

enum Inner {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

struct Http1 {
    tunnel: Box<Tunnel>,
    chunked: bool,
    head_only: bool,
    /// What is to come of the answer; `None`: until the connection ends.
    left: Option<Left>,
}

struct Http2 {
    sender: h2::client::SendRequest<Bytes>,
    driver: std::sync::Arc<Background>,
    response: h2::client::ResponseFuture,
    out: h2::SendStream<Bytes>,
    body: Option<h2::RecvStream>,
    done: bool,
}

/// The head of an answer, interim or final.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The code of an answer of Valetkey's own.
    pub fn code(&self) -> String {
        let status = self.all("proxy-status").join(", ");
        let code = status.split("details=\"").nth(1).and_then(|rest| rest.split('"').next());
        code.unwrap_or_default().to_owned()
    }
}

impl Call {
    /// A piece of the request; `false` when it is no longer wanted.
    pub async fn send(&mut self, data: &[u8]) -> bool {
        soon("room for a request", async {
            match &mut self.inner {
                Inner::Http1(http1) => {
                    let bytes = match http1.chunked {
                        true => {
                            [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
                        }
                        false => data.to_vec(),
                    };
                    let stream = &mut http1.tunnel.stream;
                    stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok()
                }
                Inner::Http2(http2) => http2_send(&mut http2.out, data).await,
            }
        })
        .await
    }

    pub async fn end(&mut self) {
        self.end_with(&[]).await;
    }

    /// The end of the request's body.
    pub async fn end_with(&mut self, trailers: &[(&str, &str)]) {
        match &mut self.inner {
            Inner::Http1(http1) if http1.chunked => {
                let last = format!("0\r\n{}\r\n", lines(trailers));
                let _ = http1.tunnel.stream.write_all(last.as_bytes()).await;
                let _ = http1.tunnel.stream.flush().await;
            }
            Inner::Http1(_) => {}
            Inner::Http2(http2) => {
                let _ = match trailers {
                    [] => http2.out.send_data(Bytes::new(), true),
                    _ => http2.out.send_trailers(fields(trailers)),
                };
            }
        }
    }

    /// The next head of an answer: interim ones first.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.unwrap_or_else(|error| panic!("a head, not {error}"))
    }

    pub async fn try_head(&mut self) -> Result<Head, String> {
        soon("the head of an answer", async {
            match &mut self.inner {
                Inner::Http1(http1) => http1.head().await,
                Inner::Http2(http2) => http2.head().await,
            }
        })
        .await
    }

    /// The final head.
    pub async fn final_head(&mut self) -> Head {
        loop {
            let head = self.head().await;
            if head.status >= 200 || head.status == 101 {
                return head;
            }
        }
    }

    /// The next piece of the answer.
    pub async fn receive(&mut self) -> Piece {
        soon("a piece of the answer", async {
            match &mut self.inner {
                Inner::Http1(http1) => match http1.left.as_mut() {
                    Some(left) => http1_piece(&mut http1.tunnel, left).await,
                    None => http1.until_the_end().await,
                },
                Inner::Http2(http2) => http2_piece(http2.body.as_mut().expect("a head")).await,
            }
        })
        .await
    }

    /// So many bytes of the answer.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            all.extend(self.receive().await.data());
        }
        assert_eq!(all.len(), length, "more than was asked for");
        all
    }

    /// The whole body and how it ended.
    pub async fn body(&mut self) -> (Vec<u8>, Piece) {
        let mut all = Vec::new();
        loop {
            match self.receive().await {
                Piece::Data(data) => all.extend(data),
                end => return (all, end),
            }
        }
    }

    /// The connection, for another call.
    pub fn again(self) -> Caller {
        let line = match self.inner {
            Inner::Http1(http1) => Line::Http1(http1.tunnel),
            Inner::Http2(http2) => Line::Http2(http2.sender, http2.driver),
        };
        Caller { host: self.host, line }
    }

    /// The raw connection of HTTP/1.1.
    pub fn raw(&mut self) -> &mut Tunnel {
        match &mut self.inner {
            Inner::Http1(http1) => &mut http1.tunnel,
            Inner::Http2(_) => panic!("raw bytes are for HTTP/1.1"),
        }
    }

    /// Gives the call up: RST_STREAM, or the connection is closed.
    pub fn give_up(self) -> Option<Caller> {
        match self.inner {
            Inner::Http1(_) => None,
            Inner::Http2(mut http2) => {
                http2.out.send_reset(h2::Reason::CANCEL);
                let line = Line::Http2(http2.sender, http2.driver);
                Some(Caller { host: self.host, line })
            }
        }
    }

    /// The client's machine is gone: so is its connection.
    pub fn vanish(self) {
        drop(self);
    }
}

impl Http1 {
    async fn head(&mut self) -> Result<Head, String> {
        let message = self.tunnel.head().await.ok_or("the end of the connection")?;
        let text = |(n, v): &(String, Vec<u8>)| {
            (n.to_ascii_lowercase(), String::from_utf8_lossy(v).into_owned())
        };
        let headers = message.headers.iter().map(text).collect();
        let head = Head { status: message.status(), headers };
        let chunked = head.all("transfer-encoding").iter().any(|v| v.contains("chunked"));
        let length = head.all("content-length").first().and_then(|v| v.parse().ok());
        self.left = match head.status {
            100..200 | 204 | 304 => Some(Left::Bytes(0)),
            _ if self.head_only => Some(Left::Bytes(0)),
            _ if chunked => Some(Left::Chunked),
            _ => length.map(Left::Bytes),
        };
        Ok(head)
    }

    /// A body that the end of the connection ends: a clean one of TLS, or it is cut.
    async fn until_the_end(&mut self) -> Piece {
        use tokio::io::AsyncReadExt as _;
        if !self.tunnel.left.is_empty() {
            return Piece::Data(std::mem::take(&mut self.tunnel.left));
        }
        let mut buffer = vec![0; 16 * 1024];
        match self.tunnel.stream.read(&mut buffer).await {
            Ok(0) => Piece::End(vec![]),
            Ok(n) => Piece::Data(buffer[..n].to_vec()),
            Err(error) => Piece::Broken(error.to_string()),
        }
    }
}

impl Http2 {
    async fn head(&mut self) -> Result<Head, String> {
        assert!(!self.done, "one final head");
        let next = std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
                return Poll::Ready(Ok((interim.into_parts().0, None)));
            }
            let response = std::task::ready!(Pin::new(&mut self.response).poll(cx));
            Poll::Ready(response.map(|response| {
                let (parts, body) = response.into_parts();
                (parts, Some(body))
            }))
        });
        let (parts, body) = next.await.map_err(|error| error.to_string())?;
        self.done = body.is_some();
        self.body = body;
        Ok(Head { status: parts.status.as_u16(), headers: texts(&parts.headers) })
    }
}
