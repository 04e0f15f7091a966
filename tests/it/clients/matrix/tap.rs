//! A wire between a client and the proxy that hears what the client says before TLS hides it:
//! whether it sent proxy credentials, for which host, and which protocols its ClientHello offers.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Background, accept_loop, lock};

/// More than any CONNECT and ClientHello, post-quantum key share included.
const ENOUGH: usize = 16 * 1024;

/// What was said on one connection so far.
type Said = Arc<Mutex<Vec<u8>>>;

/// The wire; cut when dropped.
pub struct Tap {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Said>>>,
    _task: Background,
}

/// The start of one connection.
pub struct Opening {
    /// The CONNECT target's host.
    pub host: String,
    /// Whether it came with proxy credentials.
    pub authenticated: bool,
    /// The protocols offered; `None`: no ALPN at all.
    pub alpn: Option<Vec<String>>,
}

impl Tap {
    /// Before the proxy at `proxy`.
    pub async fn before(proxy: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let task = accept_loop(listener, move |client| {
            let said = Said::default();
            lock(&log).push(Arc::clone(&said));
            relay(client, proxy, said)
        });
        Self { addr, heard, _task: task }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections were opened.
    pub fn count(&self) -> usize {
        lock(&self.heard).len()
    }

    /// What was heard on the connections from the `first` on that got as far as TLS.
    pub fn openings(&self, first: usize) -> Vec<Opening> {
        lock(&self.heard)[first..].iter().filter_map(|said| opening(&lock(said))).collect()
    }
}

async fn relay(client: TcpStream, proxy: SocketAddr, said: Said) {
    let Ok(upstream) = TcpStream::connect(proxy).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_proxy, mut to_proxy) = upstream.into_split();
    let up = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            {
                let mut said = lock(&said);
                let room = ENOUGH.saturating_sub(said.len());
                said.extend_from_slice(&buffer[..n.min(room)]);
            }
            if to_proxy.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
        let _ = to_proxy.shutdown().await;
    };
    let down = async move {
        let _ = tokio::io::copy(&mut from_proxy, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(up, down);
}

/// Of a connection on which a CONNECT was followed by a ClientHello. One that was asked for its
/// credentials says CONNECT twice: the last counts.
fn opening(said: &[u8]) -> Option<Opening> {
    let mut rest = said;
    let mut head = String::new();
    while rest.starts_with(b"CONNECT ") {
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
        rest = &rest[end..];
    }
    let host = head.split(' ').nth(1)?.rsplit_once(':')?.0.to_owned();
    let mut acceptor = rustls::server::Acceptor::default();
    let mut hello = Cursor::new(rest);
    while acceptor.read_tls(&mut hello).ok()? > 0 {
        if let Ok(Some(accepted)) = acceptor.accept() {
            let alpn = accepted.client_hello().alpn().map(|offered| {
                offered.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
            });
            let authenticated = head.contains("\r\nproxy-authorization: basic ");
            return Some(Opening { host, authenticated, alpn });
        }
    }
    None
}
