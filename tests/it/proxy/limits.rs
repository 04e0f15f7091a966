//! Rates: 429 with Retry-After beyond them, for whoever is over and nobody else.

use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::harness::client::{connect, connect_with, exchange, tls, tls_config};
use crate::harness::http1::{Message, Reader};
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, Tunnel, own_answer};

const SECRET: &str = "a-session-secret-of-32-bytes-or-more";

/// Rates by the hour, so that none is made up for while the test runs.
async fn stage() -> Stage {
    Stage::valetkey_with(|v| {
        let session = |name: &str| {
            format!("[[sessions]]\nname = {name:?}\nsecret = {{ file = \"session.key\" }}\n")
        };
        v.file("session.key", SECRET)
            .toml(&(session("busy") + &session("calm") + &session("narrow")))
            .toml(
                "[limits]\nper_client = \"30/h\"\nsessions = { narrow = \"2/h\" }\n\
                 credentials = { billing = \"8/h\" }",
            )
            .route(
                "name = \"limited\"\nhost = \"limited.example\"\ncredential = \"orders\"\nrate_limit = \"5/h\"",
            )
            .reaching("limited.example:443", std::net::SocketAddr::from(([127, 0, 0, 1], 9)))
    })
    .await
}

async fn tunnel(stage: &Stage, host: &str, session: &str) -> Tunnel {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{session}:{SECRET}"));
    let lines = format!("Proxy-Authorization: Basic {pair}\r\n");
    let (answer, reader) = connect_with(stage.proxy_addr(), &format!("{host}:443"), &lines).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let config = tls_config(stage.trust(), &["http/1.1"]);
    Reader::new(tls(reader.stream, host, config).await.unwrap())
}

async fn get(tunnel: &mut Tunnel, host: &str) -> Message {
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    exchange(tunnel, request.as_bytes()).await.expect("an answer")
}

/// How many pass before the first 429, which says when the next one may: one flows in every `each` seconds.
async fn until_limited(tunnel: &mut Tunnel, host: &str, each: u64) -> usize {
    for passed in 0..100 {
        let answer = get(tunnel, host).await;
        if answer.status() == 429 {
            own_answer(&answer, &[429], &["rate-limited"]).unwrap();
            let wait: u64 = answer.all("retry-after")[0].parse().expect("seconds");
            assert!((each / 4..=each).contains(&wait), "{}", answer.everything());
            return passed;
        }
    }
    panic!("never limited");
}

#[tokio::test]
async fn each_has_its_own_and_the_rest_goes_on() {
    let stage = stage().await;
    let mut busy = tunnel(&stage, ORDERS, "busy").await;
    assert_eq!(until_limited(&mut busy, ORDERS, 3600 / 30).await, 30, "each client");
    assert_eq!(stage.orders.requests().len(), 30, "nothing of the others went out");
    // Over everything that it sends, opaque tunnels too, and not over what others send.
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("busy:{SECRET}"));
    let lines = format!("Proxy-Authorization: Basic {pair}\r\n");
    let (answer, _) = connect_with(stage.proxy_addr(), &format!("{EVIL}:443"), &lines).await;
    own_answer(&answer, &[429], &["rate-limited"]).unwrap();
    let mut calm = tunnel(&stage, ORDERS, "calm").await;
    assert_eq!(get(&mut calm, ORDERS).await.status(), 200);
    let (answer, _) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
    assert_eq!(answer.status(), 200, "whoever has no session has a rate too");

    let mut narrow = tunnel(&stage, ORDERS, "narrow").await;
    assert_eq!(until_limited(&mut narrow, ORDERS, 3600 / 2).await, 2, "a session's own");

    let mut limited = tunnel(&stage, "limited.example", "calm").await;
    assert_eq!(
        until_limited(&mut limited, "limited.example", 3600 / 5).await,
        5,
        "each client's of a route"
    );
    assert_eq!(get(&mut calm, ORDERS).await.status(), 200, "other routes go on");

    // All clients together: eight, whoever they are.
    let mut billing = tunnel(&stage, BILLING, "calm").await;
    for _ in 0..4 {
        assert_eq!(get(&mut billing, BILLING).await.status(), 200);
    }
    let mut own = stage.tunnel(BILLING).await.unwrap();
    assert_eq!(until_limited(&mut own, BILLING, 3600 / 8).await, 4);
    own_answer(&get(&mut billing, BILLING).await, &[429], &["rate-limited"]).unwrap();

    let audit = stage.running().unwrap().audit();
    let denied: Vec<_> = audit.iter().filter(|r| r["code"] == "rate-limited").collect();
    assert!(denied.iter().filter(|r| r["event"] == "decision").all(|r| r["decision"] == "deny"));
    assert!(denied.iter().any(|r| r["client"]["session"] == "busy"));
}

/// A client that asks again at once, whatever it is told, is answered ten times a second on each connection, and
/// others are served as ever.
#[tokio::test]
async fn whoever_does_not_wait_is_made_to() {
    let stage = stage().await;
    let mut narrow = tunnel(&stage, ORDERS, "narrow").await;
    until_limited(&mut narrow, ORDERS, 3600 / 2).await;
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(get(&mut narrow, ORDERS).await.status(), 429);
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    let mut calm = tunnel(&stage, ORDERS, "calm").await;
    assert_eq!(get(&mut calm, ORDERS).await.status(), 200);
}

#[tokio::test]
async fn what_is_no_limit_is_said() {
    let home = crate::harness::valetkey::Valetkey::new()
        .route("name = \"a\"\nhost = \"a.example\"\nrate_limit = \"lots\"")
        .toml("[limits]\nbody = \"much\"\nper_client = \"0/s\"\nsessions = { nobody = \"1/s\" }\ncredentials = { none = \"1/d\" }")
        .written();
    let done = home.run(&["check"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert_eq!(done.stdout.matches("error[bad-rate]").count(), 3, "{done:?}");
    assert_eq!(done.stdout.matches("error[bad-size]").count(), 1, "{done:?}");
    assert_eq!(done.stdout.matches("error[unknown-limit]").count(), 2, "{done:?}");
}

/// What says beforehand that it is too long is refused before anything goes upstream; the rest is cut off.
#[tokio::test]
async fn a_body_has_a_limit() {
    let stage = Stage::valetkey_with(|v| v.toml("[limits]\nbody = \"1KiB\"")).await;
    let post = |framing: &str, body: &str| {
        format!("POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n{framing}\r\n\r\n{body}")
    };
    let (fits, long) = ("x".repeat(1024), "x".repeat(1025));
    let answer = stage.send(ORDERS, &post("Content-Length: 1025", &long)).await.unwrap();
    own_answer(&answer, &[413], &["body-too-large"]).unwrap();
    // Nobody has to send it to learn that.
    let expects = "Content-Length: 4000000000\r\nExpect: 100-continue";
    let answer = stage.send(ORDERS, &post(expects, "")).await.unwrap();
    own_answer(&answer, &[413], &["body-too-large"]).unwrap();
    assert!(stage.orders.requests().is_empty(), "{:#?}", stage.orders.requests());
    let chunked = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let answer = stage.send(ORDERS, &post("Transfer-Encoding: chunked", &chunked(&long))).await;
    own_answer(&answer.unwrap(), &[413], &["body-too-large"]).unwrap();
    assert!(stage.orders.requests().iter().all(|seen| seen.body.len() <= 1024));
    stage.audited("body-too-large", 2).await;
    // Outcomes are written together.
    crate::harness::until("the outcome of what was cut off", || {
        let cut = |r: &serde_json::Value| {
            r["event"] == "outcome"
                && r["code"] == "body-too-large"
                && r["outcome"]["status"] == 413
        };
        stage.running().unwrap().audit().iter().any(cut)
    })
    .await;
    for (framing, body) in
        [("Content-Length: 1024", fits.clone()), ("Transfer-Encoding: chunked", chunked(&fits))]
    {
        let answer = stage.send(ORDERS, &post(framing, &body)).await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        assert_eq!(stage.orders.requests().pop().unwrap().body, fits.as_bytes());
    }
    stage.control().await.unwrap();
}
