//! An upstream that looks at each handshake before it takes part in it: what was offered, what was resumed, and
//! whether anybody showed a certificate. It speaks HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::hello::Hello;
use super::http1::{Message, Reader};
use super::{Background, Log, accept_loop};

/// How a connection is answered.
#[derive(Clone)]
pub enum Way {
    /// By TLS with this, one request a connection.
    Tls(Arc<ServerConfig>),
    /// By these bytes.
    Raw(Vec<u8>),
}

/// A finished handshake.
#[derive(Clone, Debug)]
pub struct Finished {
    pub hello: Hello,
    pub resumed: bool,
    /// The group of the key exchange.
    pub group: Option<u16>,
    /// The client showed a certificate.
    pub certified: bool,
    pub request: Message,
}

pub struct Tap {
    addr: SocketAddr,
    hellos: Arc<Log<Hello>>,
    finished: Arc<Log<Finished>>,
    _task: Background,
}

impl Tap {
    pub async fn start(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (hellos, finished) = (Log::new(), Log::new());
        let (heard, done) = (Arc::clone(&hellos), Arc::clone(&finished));
        let task = accept_loop(listener, move |stream| {
            let (way, heard, done) = (way.clone(), Arc::clone(&heard), Arc::clone(&done));
            async move {
                let _ = serve(stream, way, &heard, &done).await;
            }
        });
        Self { addr, hellos, finished, _task: task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What was offered so far, finished or not.
    pub fn hellos(&self) -> Vec<Hello> {
        self.hellos.all()
    }

    /// The handshakes that a request followed.
    pub fn finished(&self) -> Vec<Finished> {
        self.finished.all()
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    way: Way,
    heard: &Log<Hello>,
    done: &Log<Finished>,
) -> Option<()> {
    let mut reader = Reader::new(stream);
    let mut first = reader.exactly(5).await?;
    let length = u16::from_be_bytes([first[3], first[4]]);
    first.extend(reader.exactly(length.into()).await?);
    let hello = Hello::parse(&first);
    heard.push(hello.clone());
    first.append(&mut reader.left);
    let (read, mut write) = reader.stream.into_split();
    let config = match way {
        Way::Tls(config) => config,
        Way::Raw(bytes) => {
            write.write_all(&bytes).await.ok()?;
            let mut rest = Reader::new(read);
            rest.rest().await;
            return None;
        }
    };
    let stream = tokio::io::join(std::io::Cursor::new(first).chain(read), write);
    let stream = TlsAcceptor::from(config).accept(stream).await.ok()?;
    let (resumed, group, certified) = {
        let tls = stream.get_ref().1;
        let group = tls.negotiated_key_exchange_group().map(|group| group.name().into());
        let resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        (resumed, group, tls.peer_certificates().is_some())
    };
    let mut reader = Reader::new(stream);
    let request = reader.request().await?;
    done.push(Finished { hello, resumed, group, certified, request });
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    reader.stream.write_all(answer).await.ok()?;
    reader.stream.shutdown().await.ok()
}
