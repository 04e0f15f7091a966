//! What becomes of a connection: who it is, what it wants, and whether that is tunnelled,
//! intercepted or refused.

use std::sync::Arc;

use bytes::BytesMut;
use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::head::{self, Head};
use super::socket::Socket;
use super::{intercept, plain};
use crate::audit::{Event, Recorder, RequestFacts};
use crate::client::{Admitted, Peer};
use crate::model::client::Client;
use crate::model::id::RequestId;
use crate::model::reason::Reason;
use crate::model::target::Target;
use crate::net::guard::Reach;
use crate::net::prefixed::Prefixed;
use crate::net::shares::Share;
use crate::passage::{Refused, raw, record_tunnel};
use crate::policy::{AtConnect, Policy};
use crate::proxy::back::tunnel;
use crate::proxy::live::{Facts, LiveKind};
use crate::proxy::request::serve::ClientConnection;
use crate::proxy::share::{self, Holder};
use crate::proxy::shared::{HEAD_TIMEOUT, World};
use crate::proxy::worker::Worker;

/// Refusals on one connection before it is closed: a challenge or two is what clients need.
const MAX_REFUSALS: usize = 8;
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// A fatal `access_denied` alert in a plaintext record (RFC 8446 section 6).
const ACCESS_DENIED: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x31];

/// How a connection to a target began, which says how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Connect,
    /// By a ClientHello that was meant for the target itself.
    Tls,
    /// By anything else that was, or by nothing yet.
    Bare,
}

impl Opening {
    /// What a client waits for before it goes on.
    fn established(self) -> &'static [u8] {
        if self == Self::Connect { ESTABLISHED } else { b"" }
    }

    /// How a refusal is said in what the client speaks.
    fn refused(self, recorder: Recorder, refused: impl Into<Refused>) -> Vec<u8> {
        let refused = refused.into();
        match self {
            Self::Connect => denied(recorder, refused, true),
            Self::Tls | Self::Bare => {
                recorder.refuse(refused.reason, None);
                if self == Self::Tls { ACCESS_DENIED.to_vec() } else { Vec::new() }
            }
        }
    }
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(
    worker: Arc<Worker>,
    mut stream: Socket,
    peer: Box<Peer>,
    share: Share<Holder>,
) {
    let mut buffer = BytesMut::with_capacity(1024);
    for left in (0..MAX_REFUSALS).rev() {
        let read = tokio::select! {
            read = timeout(HEAD_TIMEOUT, head::read(&mut stream, &mut buffer)) => read,
            // Nothing was asked yet: whoever waits here may as well try the next daemon.
            () = worker.proxy.draining() => return,
        };
        let connect = match read.unwrap_or(Err(Reason::ClientTimeout)) {
            Ok(Head::Connect(connect)) => connect,
            Ok(Head::End) | Err(Reason::ClientGone) => return,
            Ok(Head::Other) => {
                let stream = Prefixed::new(buffer, stream);
                return Box::pin(plain::serve(worker, stream, peer, share)).await;
            }
            Err(reason) => {
                return Box::pin(malformed(&worker, stream, peer.uid, reason)).await;
            }
        };
        let world = worker.proxy.world.load_full();
        let now = worker.proxy.passage.clock.now();
        let sent = connect.credentials.as_deref();
        match worker.proxy.passage.gate.admit(&world.terms.rules, sent, Peer::clone(&peer), now) {
            Ok(admitted) if !share::pass(&share, &admitted) => return turn_away(&worker, &stream),
            Ok(admitted) => {
                worker.proxy.attribution.ask(&peer, &admitted);
                // Nothing reads that field but this: a tool that names us there means the target.
                let agree = connect.host.is_none_or(|host| stream.is_at(&host));
                let stream = Prefixed::new(buffer, stream);
                let (opening, target, via) = (Opening::Connect, connect.target, connect.via);
                if !agree {
                    let (client, why) = (admitted.client, (&target, Reason::AuthorityMismatch));
                    let refused = refuse(&worker, &world, stream, opening, client, why);
                    return Box::pin(refused).await;
                }
                let admitted =
                    self::admitted(worker, world, stream, opening, admitted, target, via);
                return Box::pin(admitted).await;
            }
            // Kept open: git and others ask without credentials first and come back with them.
            Err(reason) => {
                let answer = if reason == Reason::ProxyAuthThrottled {
                    // No record: whoever guesses must not be able to rotate the audit away.
                    worker.proxy.passage.audit.metrics().turned_away(reason);
                    tracing::warn!(uid = ?peer.uid, "wrong proxy credentials, too many of them");
                    raw(&reason.into(), RequestId::new(), true)
                } else {
                    let client = Arc::new(Client { uid: peer.uid, ..Client::default() });
                    let recorder = start(&worker, &world, client, &connect.target);
                    denied(recorder, reason.into(), left == 0)
                };
                let done = stream.write_all(&answer).await.is_err()
                    || reason == Reason::ProxyAuthThrottled;
                if done {
                    return;
                }
            }
        }
    }
}

fn start(worker: &Worker, world: &World, client: Arc<Client>, target: &Target) -> Recorder {
    let request = RequestId::new();
    let facts =
        RequestFacts::new(request, client, Method::CONNECT, target.host.clone(), target.port, None);
    Recorder::start(&worker.proxy.passage.audit, facts, world.terms.policy.hash().clone())
}

/// Writes the refusal down and gives its answer.
fn denied(recorder: Recorder, refused: Refused, close: bool) -> Vec<u8> {
    let request = recorder.request();
    recorder.refuse(refused.reason, Some(refused.status().as_u16()));
    raw(&refused, request, close)
}

/// No target can be named in the audit: the record says who, when and why.
async fn malformed(worker: &Worker, mut stream: Socket, uid: Option<u32>, reason: Reason) {
    let request = RequestId::new();
    tracing::debug!(%request, ?uid, code = reason.code(), "a connection was refused before it named a target");
    let answer = raw(&reason.into(), request, true);
    let client = Client { uid, ..Client::default() };
    worker.proxy.passage.audit.event(Event::malformed(request, &client, reason)).ok();
    stream.write_all(&answer).await.ok();
    linger(stream).await;
}

/// One connection more than the proxy or its client may hold: told so, if it takes no waiting.
pub(super) fn turn_away(worker: &Worker, stream: &Socket) {
    // No record: whoever floods must not be able to rotate the audit away.
    worker.proxy.passage.audit.metrics().turned_away(Reason::TooManyConnections);
    let answer = raw(&Reason::TooManyConnections.into(), RequestId::new(), true);
    let _ = stream.try_write(&answer);
}

/// Lets the client read the answer before unread bytes of its own reset the connection.
async fn linger(mut stream: Socket) {
    stream.shutdown().await.ok();
    let drain = async {
        tokio::io::copy(
            &mut tokio::io::AsyncReadExt::take(&mut stream, 1 << 20),
            &mut tokio::io::sink(),
        )
        .await
    };
    timeout(std::time::Duration::from_secs(1), drain).await.ok();
}

/// Writes a refusal down, says it and closes. `refused`: what was asked for, and why not.
pub(super) async fn refuse(
    worker: &Worker,
    world: &World,
    mut stream: Prefixed<Socket>,
    opening: Opening,
    client: Arc<Client>,
    refused: (&Target, Reason),
) {
    let (target, reason) = refused;
    let answer = opening.refused(start(worker, world, client, target), reason);
    stream.write_all(&answer).await.ok();
    stream.shutdown().await.ok();
}

/// Tunnels, intercepts or refuses the connection of a client that was let in. `via`: the proxies it
/// came through.
pub(super) async fn admitted(
    worker: Arc<Worker>,
    world: Arc<World>,
    mut stream: Prefixed<Socket>,
    opening: Opening,
    admitted: Admitted,
    target: Target,
    via: Option<Box<str>>,
) {
    let client = Arc::clone(&admitted.client);
    if via.as_ref().is_some_and(|via| world.dialer.pseudonym().is_in(via.as_bytes())) {
        let refused = (&target, Reason::ProxyLoop);
        return refuse(&worker, &world, stream, opening, client, refused).await;
    }
    match world.terms.policy.at_connect(&target) {
        AtConnect::Refuse(reason) => {
            refuse(&worker, &world, stream, opening, client, (&target, reason)).await;
        }
        AtConnect::Tunnel => {
            Box::pin(open_tunnel(&worker, &world, stream, opening, admitted, (&target, via))).await
        }
        AtConnect::Intercept => {
            if stream.write_all(opening.established()).await.is_err() {
                return;
            }
            // A connection outlives many worlds.
            drop(world);
            let taken = Arc::clone(stream.get_ref().taken());
            let connection = ClientConnection::new(Arc::clone(&worker), admitted, target, taken);
            if let Err(reason) = intercept::intercept(&connection, stream).await {
                let world = worker.proxy.world.load_full();
                // It ended without an HTTP answer.
                start(&worker, &world, client, &connection.target).refuse(reason, None);
            }
        }
    }
}

async fn open_tunnel(
    worker: &Arc<Worker>,
    world: &World,
    mut stream: Prefixed<Socket>,
    opening: Opening,
    admitted: Admitted,
    (target, via): (&Target, Option<Box<str>>),
) {
    let connection = worker.proxy.live.connection();
    let live = connection.enter(Facts {
        admitted: admitted.clone(),
        target: target.clone(),
        kind: LiveKind::Tunnel,
        route: None,
        credential: None,
        wants: None,
        bound: None,
        generation: world.terms.generation,
    });
    let mut recorder = start(worker, world, Arc::clone(&admitted.client), target);
    // After it can be found: whatever is revoked from now on ends it.
    if let Err(refused) = worker.proxy.passage.may_tunnel(&world.terms, &admitted) {
        refused.pause().await;
        let answer = opening.refused(recorder, refused);
        stream.write_all(&answer).await.ok();
        stream.shutdown().await.ok();
        return;
    }
    worker.proxy.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let reach = reach(&world.terms.policy, admitted.foreign, target);
    let client = admitted.client.key();
    let dialled = world.dialer.dial_onward(via.as_deref(), target, reach, Some(&client)).await;
    let dialled = dialled.map_err(|error| {
        tracing::debug!(%target, %error, "dialling failed");
        error.reason()
    });
    let mut upstream = match dialled {
        Ok(upstream) => upstream,
        Err(reason) => {
            let answer = opening.refused(recorder, reason);
            stream.write_all(&answer).await.ok();
            stream.shutdown().await.ok();
            return;
        }
    };
    if let Err(reason) = record_tunnel(&mut recorder) {
        let answer = opening.refused(recorder, reason);
        stream.write_all(&answer).await.ok();
        return;
    }
    if stream.write_all(opening.established()).await.is_err() {
        return;
    }
    let outcome = tunnel::copy(&worker.proxy, &live, &mut stream, &mut upstream).await;
    match outcome.code {
        // A clean end would say that all has come.
        Some(Reason::UpstreamUnreachable) => stream.into_parts().1.reset_on_close(),
        Some(Reason::ClientGone) => upstream.reset_on_close(),
        _ => {}
    }
    recorder.finish(outcome);
}

/// How far a tunnel goes: on another port a routed host is the same host.
fn reach(policy: &Policy, foreign: bool, target: &Target) -> Reach {
    let public = foreign || policy.is_routed(&target.host);
    if public { Reach::Public } else { Reach::Private }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::net::guard::Guard;

    fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// What every connection holds, in bytes: a stage that grows belongs into a box.
    #[test]
    fn a_connection_is_small() {
        let size = size(serve);
        assert!(size <= 1024, "{size}");
    }

    #[test]
    fn a_tunnel_to_a_routed_host_reaches_no_further_than_its_own_port() {
        let text = "config_version = 1\n[proxy]\ntunnel_ports = [22]\n\
                    [[routes]]\nname = \"r\"\nhost = \"api.example\"\n";
        let path = Path::new("/nowhere/valetkey.toml");
        let (config, _) = config::parse(path, text.as_bytes(), "/nowhere".into()).unwrap();
        let policy = Policy::compile(&config).unwrap().0;
        for (target, foreign, private) in [
            ("api.example:22", false, false),
            ("other.example:22", false, true),
            ("other.example:22", true, false),
        ] {
            let target = Target::parse(target, None).unwrap();
            assert_eq!(policy.at_connect(&target), AtConnect::Tunnel);
            let reach = reach(&policy, foreign, &target);
            for (address, reached) in
                [("1.1.1.1:22", true), ("10.0.0.1:22", private), ("127.0.0.1:22", false)]
            {
                let checked = Guard::default().check(address.parse().unwrap(), reach);
                assert_eq!(checked.is_ok(), reached, "{target} at {address}: {checked:?}");
            }
        }
    }
}
