//! Bad upstreams: no token over TLS that does not verify, and no clean end of a broken answer.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::harness::api::{Answer, Api};
use crate::harness::client::{connect, http2, http2_send, tls, tls_config};
use crate::harness::pki::{Pki, flaws};
use crate::harness::stage::{BILLING, ORDERS, Stage, own_answer};
use crate::harness::{Log, accept_loop, figure};

/// Every bad profile of `certs/`, and a good one below the same kind of root, so that the flaw alone decides.
#[tokio::test]
async fn bad_certificates_get_nothing() {
    let host = |name: &str| format!("{name}.example");
    let mut names = flaws();
    names.push("leaf".to_owned());
    let mut apis = Vec::new();
    for name in &names {
        let (identity, root) = Pki::flawed(&host(name), name);
        apis.push((name.clone(), Api::tls(&identity).await, root));
    }
    let stage = Stage::valetkey_with(|mut v| {
        for (name, api, root) in &apis {
            let (file, host) = (format!("{name}.pem"), host(name));
            v = v.file(&file, root).also_trusting(&file);
            v = v
                .reaching(&format!("{host}:443"), api.addr())
                .route(&format!("name = \"{name}\"\nhost = \"{host}\"\ncredential = \"orders\""));
        }
        v
    })
    .await;
    for (name, api, _) in &apis {
        let answer = stage.get(&host(name), "/v1/x", "").await.unwrap();
        if name == "leaf" {
            assert_eq!(answer.status(), 200, "the good one: {}", answer.everything());
            continue;
        }
        own_answer(&answer, &[502], &["upstream-tls-invalid"])
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(api.requests().is_empty(), "{name} got a request");
    }
    stage.control().await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_gone_or_no_tls_is_a_502() {
    // Bound, so that no other test gets its port, and never listened on.
    let gone = TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let gone_addr = gone.local_addr().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_addr = plain.local_addr().unwrap();
    let got = Log::new();
    let inner = Arc::clone(&got);
    // A web server without TLS: whatever comes, it says no.
    let _task = accept_loop(plain, move |mut stream| {
        let got = Arc::clone(&inner);
        async move {
            let mut bytes = vec![0; 4096];
            let length = stream.read(&mut bytes).await.unwrap_or_default();
            got.push(bytes[..length].to_vec());
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let stage = Stage::valetkey_with(|v| {
        v.reaching("gone.example:443", gone_addr)
            .reaching("plain.example:443", plain_addr)
            .route("name = \"gone\"\nhost = \"gone.example\"\ncredential = \"orders\"")
            .route("name = \"plain\"\nhost = \"plain.example\"\ncredential = \"orders\"")
    })
    .await;
    let asked = std::time::Instant::now();
    let answer = stage.get("gone.example", "/v1/x", "").await.unwrap();
    figure("upstream-gone", format!("refused: 502 after {:.0?}", asked.elapsed()));
    own_answer(&answer, &[502], &["upstream-unreachable"]).unwrap();
    stage.silent("the error page", &answer.everything()).unwrap();
    let answer = stage.get("plain.example", "/v1/x", "").await.unwrap();
    own_answer(&answer, &[502], &["upstream-tls-invalid", "upstream-unreachable"]).unwrap();
    stage.silent("the error page", &answer.everything()).unwrap();
    for bytes in got.all() {
        stage.silent("what the server got", &String::from_utf8_lossy(&bytes)).unwrap();
    }
    stage.control().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_502() {
    let fakes = Stage::naive().await;
    let host = "rubbish.example";
    let tls = fakes.pki.server(&[host]).server_config(&["http/1.1"]);
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let _task = accept_loop(listener, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut reader = crate::harness::http1::Reader::new(stream);
            let token = reader.request().await.map(|r| r.all("authorization").join(","));
            let text = format!("SMTP ready {}\r\n\r\n", token.unwrap_or_default());
            let _ = reader.stream.write_all(text.as_bytes()).await;
        }
    });
    let pem = fakes.pki.pem().to_owned();
    let stage = Stage::valetkey_with(|v| {
        v.file("rubbish.pem", &pem)
            .also_trusting("rubbish.pem")
            .reaching("rubbish.example:443", addr)
            .route("name = \"rubbish\"\nhost = \"rubbish.example\"\ncredential = \"orders\"")
    })
    .await;
    let answer = stage.get(host, "/v1/x", "").await.unwrap();
    own_answer(&answer, &[502], &["upstream-answer-invalid", "upstream-unreachable"]).unwrap();
    stage.silent("the error page", &answer.everything()).unwrap();
    stage.control().await.unwrap();
}

#[tokio::test]
async fn a_cut_answer_is_no_clean_end() {
    let stage = Stage::valetkey().await;
    stage.orders.answer(|_| Answer::ok("the first half").cut());
    if let Ok(answer) = stage.get(ORDERS, "/v1/x", "").await {
        assert!(!answer.complete || answer.status() == 502, "{}", answer.everything());
    }
    stage.control().await.unwrap();
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let stage = Stage::valetkey().await;
    let gate = crate::harness::Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| Answer::ok("first ").then(&inner, "second"));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/stream HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    // The first half is here while the API still holds the second back.
    let head = crate::harness::soon("the head", tunnel.until(b"first ")).await.unwrap();
    assert!(String::from_utf8_lossy(&head).contains("200"));
    gate.open();
    crate::harness::soon("the rest", tunnel.until(b"second")).await.unwrap();
    stage.control().await.unwrap();
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let stage = Stage::valetkey().await;
    let big: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
    let back = big.clone();
    stage.orders.answer(move |_| Answer::ok(back.clone()));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let head =
        format!("POST /v1/big HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Length: {}\r\n\r\n", big.len());
    tunnel.stream.write_all(head.as_bytes()).await.unwrap();
    tunnel.stream.write_all(&big).await.unwrap();
    tunnel.stream.flush().await.unwrap();
    let answer = crate::harness::soon("the answer", tunnel.response()).await.unwrap();
    assert!(answer.complete && answer.body == big, "{} bytes back", answer.body.len());
    assert!(stage.orders.request(0).await.body == big, "the upload differs");
}

/// The upstream connection is used again by the same client.
#[tokio::test]
async fn connections_are_pooled() {
    let stage = Stage::valetkey().await;
    for n in 0..20 {
        let answer = stage.get(BILLING, &format!("/v1/{n}"), "").await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    // A pool for each core's worker.
    let workers = std::thread::available_parallelism().unwrap().get();
    let opened = stage.billing.connections();
    assert!(opened <= workers, "{opened} connections by {workers} workers");
}

/// An upstream that speaks both is spoken to as the client speaks.
#[tokio::test]
async fn the_upstream_hears_what_the_client_speaks() {
    let stage = Stage::valetkey().await;
    stage.get(ORDERS, "/v1/one", "").await.unwrap();
    assert!(!stage.orders.request(0).await.http2);
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let stream = tls(reader.stream, ORDERS, tls_config(stage.trust(), &["h2"])).await.unwrap();
    let request = http::Request::get(format!("https://{ORDERS}/v1/two"));
    let request = request.body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
    http2_send(&mut http2(stream).await, request).await.unwrap();
    assert!(stage.orders.request(1).await.http2);
}

/// One that speaks HTTP/2 alone says so once, not each time.
#[tokio::test]
async fn an_upstream_of_http2_alone_is_remembered() {
    let pki = Pki::new();
    let api = Api::tls_with(&pki.server(&["h2.example"]), &["h2"]).await;
    let stage = Stage::valetkey_with(|v| {
        v.trusting(&pki)
            .reaching("h2.example:443", api.addr())
            .route("name = \"h2\"\nhost = \"h2.example\"\ncredential = \"orders\"")
    })
    .await;
    let workers = std::thread::available_parallelism().unwrap().get();
    for n in 0..8 {
        let answer = stage.get("h2.example", &format!("/{n}"), "").await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.everything());
        assert!(api.request(n).await.http2);
    }
    // Each worker learns it by itself: one refused handshake and one connection that is kept.
    assert!(api.connections() <= 2 * workers, "{} by {workers} workers", api.connections());
}

/// Answers that break HTTP's limits, with the token inside: a plain 502, and nothing of it.
#[tokio::test]
async fn hostile_answers_are_a_502() {
    let stage = Stage::valetkey().await;
    let answers: [fn() -> Answer; 4] = [
        || Answer::ok("").header("X-Big", "b".repeat(1024 * 1024)),
        || (0..10_000).fold(Answer::ok(""), |a, n| a.header(&format!("X-{n}"), "y")),
        || Answer::ok("").header("Content-Length", "5"),
        || Answer::ok("").header("Bad name", "x"),
    ];
    for answer in answers {
        // HTTP/1.1 alone lets the API write such things.
        let api = Api::tls_with(&stage.pki.server(&["h1.example"]), &["http/1.1"]).await;
        api.answer(move |_| answer());
        let addr = api.addr();
        let pem = stage.pki.pem().to_owned();
        let own = Stage::valetkey_with(|v| {
            v.file("h1.pem", &pem)
                .also_trusting("h1.pem")
                .reaching("h1.example:443", addr)
                .route("name = \"h1\"\nhost = \"h1.example\"\ncredential = \"orders\"")
        })
        .await;
        let got = own.get("h1.example", "/v1/x", "").await.unwrap();
        own_answer(&got, &[502], &["upstream-answer-invalid"]).unwrap();
        own.silent("the error page", &got.everything()).unwrap();
        own.control().await.unwrap();
    }
}

/// Upgrades that no route allows are refused, or go on as plain requests; the tunnel never turns opaque.
#[tokio::test]
async fn upgrades_are_not_passed_on() {
    let stage = Stage::valetkey().await;
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    ] {
        let answer = stage.get(ORDERS, "/v1/x", lines).await.unwrap();
        assert_ne!(answer.status(), 101, "{}", answer.everything());
        for seen in stage.orders.requests() {
            assert!(seen.all("upgrade").is_empty(), "{seen:#?}");
            assert!(seen.all("http2-settings").is_empty(), "{seen:#?}");
        }
    }
    stage.control().await.unwrap();
}
