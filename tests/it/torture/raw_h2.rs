//! HTTP/2 by hand (RFC 9113): a client that writes any frame it likes, in any order.

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::client::{connect, tls, tls_config};
use crate::harness::stage::Stage;
use crate::harness::{Background, Log, soon};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A field as HPACK's literal without indexing, no Huffman (RFC 7541 section 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "a short field: {text}");
        bytes.push(length);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The header block of a request.
pub fn block(method: &str, host: &str, path: &str) -> Vec<u8> {
    [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// A whole GET in one frame.
pub fn get(stream: u32, host: &str, path: &str) -> Frame {
    Frame::new(HEADERS, END_STREAM | END_HEADERS, stream, block("GET", host, path))
}

/// The head of a POST whose body is still to come.
pub fn post(stream: u32, host: &str, path: &str) -> Frame {
    Frame::new(HEADERS, END_HEADERS, stream, block("POST", host, path))
}

/// One connection of a client that plays by no rules.
pub struct Raw {
    write: WriteHalf<TlsStream<TcpStream>>,
    /// Every frame that came back.
    pub seen: std::sync::Arc<Log<Frame>>,
    closed: tokio::sync::watch::Receiver<bool>,
    _reader: Background,
}

impl Raw {
    /// A tunnel to `host` with the preface and `settings` (identifier, value) sent.
    pub async fn open(stage: &Stage, host: &str, settings: &[(u16, u32)]) -> Self {
        let (answer, reader) = connect(stage.proxy_addr(), &format!("{host}:443")).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let stream = tls(reader.stream, host, tls_config(stage.trust(), &["h2"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (read, write) = tokio::io::split(stream);
        let seen = Log::new();
        let (done, closed) = tokio::sync::watch::channel(false);
        let log = std::sync::Arc::clone(&seen);
        let reader = Background::run(async move {
            read_all(read, &log).await;
            done.send_replace(true);
        });
        let mut raw = Self { write, seen, closed, _reader: reader };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        first.extend(Frame::new(SETTINGS, 0, 0, payload).bytes());
        raw.write.write_all(&first).await.unwrap();
        raw.write.flush().await.unwrap();
        raw
    }

    /// Sends bytes; `false` when the peer has closed.
    pub async fn bytes(&mut self, bytes: &[u8]) -> bool {
        let sent = async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        };
        soon("room for frames", sent).await.is_ok()
    }

    pub async fn send(&mut self, frames: &[Frame]) -> bool {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.bytes(&bytes).await
    }

    /// Whether the peer has closed.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits for GOAWAY or the end; `false` when neither comes within `patience`.
    pub async fn ends(&self, patience: std::time::Duration) -> bool {
        let mut closed = self.closed.clone();
        let gone = async {
            let _ = closed.wait_for(|closed| *closed).await;
        };
        // After GOAWAY the server may wait for us to close: it has said what was asked.
        let told = async {
            let mut index = 0;
            loop {
                let frame = self.seen.at("a frame", index).await;
                if frame.kind == GOAWAY && frame.payload.get(4..8) != Some(&[0; 4]) {
                    return;
                }
                index += 1;
            }
        };
        tokio::select! {
            () = gone => true,
            () = told => true,
            () = tokio::time::sleep(patience) => false,
        }
    }

    /// The first frame of a kind for a stream, past or future.
    pub async fn frame(&self, kind: u8, stream: u32) -> Frame {
        self.frame_after(0, kind, stream).await
    }

    /// As [`Raw::frame`], among those from `index` on.
    pub async fn frame_after(&self, mut index: usize, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.seen.at(&format!("frame {kind} of stream {stream}"), index).await;
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
            index += 1;
        }
    }
}

async fn read_all(mut read: ReadHalf<TlsStream<TcpStream>>, seen: &Log<Frame>) {
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if read.read_exact(&mut payload).await.is_err() {
            return;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        seen.push(Frame { kind: head[3], flags: head[4], stream, payload });
    }
}
