//! One client that takes all that it can get, and another who works beside it.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::harness::client::{connect_with, tls, tls_config};
use crate::harness::http1::Reader;
use crate::harness::pair::Pair;
use crate::harness::soon;
use crate::harness::stage::{BILLING, Stage, own_answer};
use crate::harness::upstream::Protocol;
use crate::harness::valetkey::Valetkey;

const SECRET: &str = "session-secret-0123456789-abcdefghijkl";
/// What the daemon may open; some thirty connections of clients, and as many to upstreams.
const DESCRIPTORS: u32 = 128;
const REQUESTS: usize = 50;

fn small(valetkey: Valetkey) -> Valetkey {
    valetkey
        .with_descriptors(DESCRIPTORS)
        .file("ci.key", SECRET)
        .toml("[[sessions]]\nname = \"ci\"\nsecret = { file = \"ci.key\" }\n")
}

fn credentials() -> String {
    use base64::Engine as _;
    let login = base64::engine::general_purpose::STANDARD.encode(format!("ci:{SECRET}"));
    format!("Proxy-Authorization: Basic {login}\r\n")
}

/// The 99th percentile of requests in tunnels of their own; each is answered, with a token.
async fn p99(stage: &Stage) -> Duration {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let since = Instant::now();
        stage.control().await.unwrap();
        times.push(since.elapsed());
    }
    times.sort();
    times[(REQUESTS - 1) * 99 / 100]
}

/// A neighbour that notices nothing. What a busy machine does to a p99 of milliseconds is more than a factor of two.
fn unaffected(what: &str, before: Duration, during: Duration) {
    println!("{what}: p99 {before:?} before, {during:?} beside it");
    assert!(during <= 4 * before + Duration::from_secs(1), "{what}: {before:?}, {during:?}");
}

/// A session opens tunnels until it is refused; a user without one of the same uid still gets in.
#[tokio::test]
async fn all_connections_are_nobodys() {
    let stage = Stage::valetkey_with(small).await;
    let before = p99(&stage).await;
    let authority = format!("{BILLING}:443");
    let mut held = Vec::new();
    let refused = loop {
        let (answer, reader) = connect_with(stage.proxy_addr(), &authority, &credentials()).await;
        if answer.status() != 200 {
            break answer;
        }
        held.push(reader);
        assert!(held.len() < DESCRIPTORS as usize, "refused in the end");
    };
    own_answer(&refused, &[503], &["too-many-connections"]).unwrap();
    println!("{} tunnels", held.len());
    assert!(held.len() >= 8, "half of all at least: {}", held.len());
    unaffected("a session with all tunnels it can get", before, p99(&stage).await);

    // What is given back is its own again.
    drop(held);
    soon("a tunnel of the session", async {
        loop {
            let (answer, _) = connect_with(stage.proxy_addr(), &authority, &credentials()).await;
            if answer.status() == 200 {
                return;
            }
        }
    })
    .await;
}

/// Streams of one connection take as many upstream connections as they can get; another client still gets its own.
#[tokio::test]
async fn all_upstream_connections_are_nobodys() {
    let pair = Pair::between_with(Protocol::Http2, Protocol::Http1, small, "").await;
    let caller = pair.caller().await;
    let mut heads = JoinSet::new();
    for _ in 0..DESCRIPTORS {
        let mut call = caller.beside().get("/v1/x").await;
        heads.spawn(async move { (call.head().await, call) });
    }
    for _ in 0..DESCRIPTORS * 2 / 3 {
        let (head, _) = soon("a refusal", heads.join_next()).await.unwrap().unwrap();
        assert_eq!((head.status, &*head.code()), (503, "too-many-connections"));
    }
    let authority = format!("{BILLING}:443");
    for _ in 0..REQUESTS {
        let (answer, reader) =
            connect_with(pair.stage.proxy_addr(), &authority, &credentials()).await;
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        let config = tls_config(pair.stage.trust(), &["http/1.1"]);
        let mut tunnel = Reader::new(tls(reader.stream, BILLING, config).await.unwrap());
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {BILLING}\r\nConnection: close\r\n\r\n");
        let answer = crate::harness::client::exchange(&mut tunnel, request.as_bytes()).await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
}
