//! The fake parent proxy: CONNECT with Basic, to fakes that it knows by name, or a script of bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::http1::{Message, Reader};
use super::pki::Identity;
use super::{Background, Log, accept_loop};

/// What it does with a CONNECT.
#[derive(Clone)]
pub enum Manner {
    /// Carries it, if these credentials came (`Basic …`); else 407. `None`: asks for none.
    Honest(Option<String>),
    /// Sends these bytes and closes.
    Says(Vec<u8>),
    /// Sends these bytes and waits for ever.
    Stalls(Vec<u8>),
}

/// A proxy that stops when dropped.
pub struct Parent {
    addr: SocketAddr,
    seen: Arc<Log<Message>>,
    _task: Background,
}

struct Shared {
    manner: Manner,
    names: HashMap<String, SocketAddr>,
    seen: Arc<Log<Message>>,
}

impl Parent {
    pub async fn start(manner: Manner, names: &[(&str, SocketAddr)]) -> Self {
        Self::start_with(manner, names, None).await
    }

    /// With TLS to the proxy itself.
    pub async fn tls(manner: Manner, names: &[(&str, SocketAddr)], identity: &Identity) -> Self {
        Self::start_with(manner, names, Some(identity)).await
    }

    async fn start_with(
        manner: Manner,
        names: &[(&str, SocketAddr)],
        identity: Option<&Identity>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Log::new();
        let names = names.iter().map(|(name, to)| ((*name).to_owned(), *to)).collect();
        let shared = Arc::new(Shared { manner, names, seen: Arc::clone(&seen) });
        let acceptor =
            identity.map(|identity| TlsAcceptor::from(identity.server_config(&["http/1.1"])));
        let task = accept_loop(listener, move |stream| {
            let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
            async move {
                match acceptor {
                    None => serve(stream, &shared).await,
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => serve(stream, &shared).await,
                        Err(_) => None,
                    },
                };
            }
        });
        Self { addr, seen, _task: task }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The CONNECTs so far.
    pub fn asked(&self) -> Vec<Message> {
        self.seen.all()
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> Option<()> {
    let mut reader = Reader::new(stream);
    let request = reader.head().await?;
    shared.seen.push(request.clone());
    let login = match &shared.manner {
        Manner::Honest(login) => login,
        Manner::Says(bytes) => {
            reader.stream.write_all(bytes).await.ok()?;
            return reader.stream.shutdown().await.ok();
        }
        Manner::Stalls(bytes) => {
            reader.stream.write_all(bytes).await.ok()?;
            reader.stream.flush().await.ok()?;
            return std::future::pending().await;
        }
    };
    let target = request.first_line.split(' ').nth(1)?.to_owned();
    let admitted = login.as_ref().is_none_or(|l| request.all("proxy-authorization") == [l.clone()]);
    let answer: &[u8] = match shared.names.get(&target) {
        _ if !admitted => {
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"leaked-realm\"\r\n\r\n"
        }
        None => b"HTTP/1.1 502 leaked-reason\r\nContent-Length: 11\r\n\r\nleaked-body",
        Some(to) => {
            let mut upstream = TcpStream::connect(to).await.ok()?;
            // Fields as some proxies send them, though a 2xx to CONNECT has no body.
            let head = b"HTTP/1.0 200 OK\r\nProxy-Agent: fake\r\nContent-Length: 0\r\n\r\n";
            reader.stream.write_all(head).await.ok()?;
            let _ = upstream.write_all(&reader.left).await;
            let _ = copy_bidirectional(&mut reader.stream, &mut upstream).await;
            return Some(());
        }
    };
    reader.stream.write_all(answer).await.ok()?;
    reader.stream.shutdown().await.ok()
}
