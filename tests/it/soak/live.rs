//! An upstream that goes on: an event a second, or a WebSocket message for whatever comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::trail::number;
use crate::harness::http1::Reader;
use crate::harness::pki::Identity;
use crate::harness::{Background, accept_loop, lock};

pub const EVENT: &str = "data: tick\n\n";
/// A text frame of two bytes.
pub const FRAME: &[u8] = b"\x81\x02hi";
/// The same from a client, whose frames are masked: by zeroes.
pub const ASK: &[u8] = b"\x81\x82\0\0\0\0hi";
pub const EVENTS: usize = 10;

pub struct Live {
    addr: SocketAddr,
    seen: Arc<std::sync::Mutex<Vec<u64>>>,
    _task: Background,
}

impl Live {
    pub async fn start(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity.server_config(&["http/1.1"]));
        let seen = Arc::default();
        let all = Arc::clone(&seen);
        let task = accept_loop(listener, move |stream| {
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&all));
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, &seen).await;
                }
            }
        });
        Self { addr, seen, _task: task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The numbers of those that came with a token since the last time.
    pub fn seen(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.seen))
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &std::sync::Mutex<Vec<u64>>,
) -> Option<()> {
    let mut reader = Reader::new(stream);
    loop {
        let request = reader.request().await?;
        let path = request.first_line.split(' ').nth(1)?.to_owned();
        if request.all("authorization").concat().starts_with("Bearer ") {
            lock(seen).extend(number(&path));
        }
        if path.contains("/socket/") {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            reader.stream.write_all(head.as_bytes()).await.ok()?;
            reader.stream.flush().await.ok()?;
            loop {
                reader.exactly(ASK.len()).await?;
                reader.stream.write_all(FRAME).await.ok()?;
                reader.stream.flush().await.ok()?;
            }
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        reader.stream.write_all(head.as_bytes()).await.ok()?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..EVENTS {
            second.tick().await;
            let chunk = format!("{:x}\r\n{EVENT}\r\n", EVENT.len());
            reader.stream.write_all(chunk.as_bytes()).await.ok()?;
            reader.stream.flush().await.ok()?;
        }
        reader.stream.write_all(b"0\r\n\r\n").await.ok()?;
        reader.stream.flush().await.ok()?;
    }
}
