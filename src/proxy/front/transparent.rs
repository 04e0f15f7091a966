//! Connections that the kernel redirected to us (netfilter's REDIRECT): their tools know of no
//! proxy.
//!
//! What CONNECT says of other connections is put together here from three witnesses: the address
//! that the client dialled, the name in its ClientHello, and what we resolve that name to
//! (invariant I1). Where they agree the name is the target, and the connection goes on as if
//! CONNECT had named it. Where they don't, a routed name is refused, and anything else is judged as
//! the address that it was meant for.
//!
//! Nobody can send proxy credentials here: the owner of the client's socket decides, and one that
//! this machine doesn't know is refused.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::connect::{self, Opening};
use super::socket::Socket;
use crate::client::Peer;
use crate::http1::MAX_HEAD;
use crate::model::client::Client;
use crate::model::host::Host;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::net::prefixed::Prefixed;
use crate::net::shares::Share;
use crate::policy::AtConnect;
use crate::proxy::share::{self, Holder};
use crate::proxy::shared::{HEAD_TIMEOUT, World};
use crate::proxy::worker::Worker;

/// Who waits for the server to speak first (SSH, SMTP) waits so long.
const SILENCE: Duration = Duration::from_millis(500);

/// Serves one redirected connection to its end.
pub(super) async fn serve(
    worker: Arc<Worker>,
    mut stream: Socket,
    original: SocketAddr,
    peer: Box<Peer>,
    share: Share<Holder>,
) {
    let uid = peer.uid;
    let (mut buffer, by_address) = (BytesMut::with_capacity(1024), Target::from(original));
    let opened = tokio::select! {
        opened = open(&mut stream, &mut buffer) => opened,
        () = worker.proxy.draining() => return,
    };
    let (opening, sni) = match opened {
        Ok(Some(Hello::Tls(sni))) => (Opening::Tls, sni),
        Ok(Some(Hello::Other)) => (Opening::Bare, None),
        // Opened ahead and never used.
        Ok(None) | Err(_) => return,
    };
    let stream = Prefixed::new(buffer, stream);
    let world = worker.proxy.world.load_full();
    let now = worker.proxy.passage.clock.now();
    let Some(uid) = uid else {
        let client = Arc::default();
        let refused = (&by_address, Reason::OwnerUnknown);
        return connect::refuse(&worker, &world, stream, opening, client, refused).await;
    };
    let admitted =
        match worker.proxy.passage.gate.admit(&world.terms.rules, None, Peer::clone(&peer), now) {
            Ok(admitted) if !share::pass(&share, &admitted) => return,
            Ok(admitted) => {
                worker.proxy.attribution.ask(&peer, &admitted);
                admitted
            }
            Err(reason) => {
                let client = Arc::new(Client { uid: Some(uid), ..Client::default() });
                return connect::refuse(
                    &worker,
                    &world,
                    stream,
                    opening,
                    client,
                    (&by_address, reason),
                )
                .await;
            }
        };
    match target(&world, sni, original).await {
        Ok(target) => {
            Box::pin(connect::admitted(worker, world, stream, opening, admitted, target, None))
                .await;
        }
        Err((target, reason)) => {
            let client = Arc::clone(&admitted.client);
            connect::refuse(&worker, &world, stream, opening, client, (&target, reason)).await;
        }
    }
}

/// What the witnesses agree on.
async fn target(
    world: &World,
    sni: Option<Host>,
    original: SocketAddr,
) -> Result<Target, (Target, Reason)> {
    let by_address = Target::from(original);
    let Some(host) = sni else { return Ok(by_address) };
    let by_name = Target { host, port: original.port() };
    if world.dialer.resolves_to(&by_name, original).await {
        return Ok(by_name);
    }
    match world.terms.policy.at_connect(&by_name) {
        // No name that we could vouch for: what is left is the address.
        AtConnect::Tunnel | AtConnect::Refuse(Reason::NoRoute) => Ok(by_address),
        AtConnect::Intercept | AtConnect::Refuse(_) => Err((by_name, Reason::AddressMismatch)),
    }
}

/// What a client said first.
#[derive(Debug, PartialEq, Eq)]
enum Hello {
    /// A ClientHello, and the name in it.
    Tls(Option<Host>),
    /// Something else, or nothing within [`SILENCE`].
    Other,
}

/// Reads as much as it takes to know what is spoken, and keeps it. `None`: closed without a word.
async fn open(stream: &mut Socket, buffer: &mut BytesMut) -> io::Result<Option<Hello>> {
    let Ok(first) = timeout(SILENCE, stream.read_buf(buffer)).await else {
        return Ok(Some(Hello::Other));
    };
    if first? == 0 {
        return Ok(None);
    }
    let rest = async {
        loop {
            match hello(buffer) {
                Some(hello) => return Ok(Some(hello)),
                None if buffer.len() >= MAX_HEAD => return Ok(Some(Hello::Other)),
                None if stream.read_buf(buffer).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        }
    };
    timeout(HEAD_TIMEOUT, rest).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

/// `None`: there is more to come. A name that is none is no name: see [`target`].
fn hello(bytes: &[u8]) -> Option<Hello> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return Some(Hello::Other),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let name =
                    accepted.client_hello().server_name().and_then(|name| Host::parse(name).ok());
                return Some(Hello::Tls(name));
            }
            Ok(None) => {}
            Err(_) => return Some(Hello::Other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// What a client with this server name sends first.
    fn client_hello(name: &str) -> Vec<u8> {
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes.flush().unwrap();
        bytes
    }

    #[test]
    fn a_hello_is_known_when_it_is_whole_and_not_before() {
        let bytes = client_hello("api.orders.example");
        for end in 0..bytes.len() {
            assert_eq!(hello(&bytes[..end]), None, "{end} of {}", bytes.len());
        }
        let name = Host::parse("api.orders.example").unwrap();
        assert_eq!(hello(&bytes), Some(Hello::Tls(Some(name.clone()))));
        let more = [bytes, vec![0x17, 3, 3, 0, 1]].concat();
        assert_eq!(hello(&more), Some(Hello::Tls(Some(name))));
    }

    #[test]
    fn without_a_name_there_is_none() {
        assert_eq!(hello(&client_hello("10.1.2.3")), Some(Hello::Tls(None)));
    }

    #[test]
    fn what_is_no_hello_is_something_else() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"SSH-2.0-OpenSSH_9\r\n",
            b"\x16\x03\x01\x00\x05\x02abcd",
        ] {
            assert_eq!(hello(bytes), Some(Hello::Other), "{bytes:?}");
        }
    }
}
