//! Tokens are minted once for all who wait, and one who leaves takes nobody with him.

use bytes::Bytes;
use http_body_util::Full;

use crate::harness::client::{connect, http2, http2_send, tls, tls_config};
use crate::harness::issuer::Reply;
use crate::harness::stage::{ORDERS, Stage};

/// 1,000 requests on 25 connections, while the issuer holds its answer back.
#[tokio::test]
async fn a_thousand_first_requests_are_one_token_call() {
    let stage = Stage::valetkey().await;
    let gate = stage.orders_issuer.hold();
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..25 {
        let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
        let stream = tls(reader.stream, ORDERS, tls_config(stage.trust(), &["h2"])).await.unwrap();
        let sender = http2(stream).await;
        for n in 0..40 {
            let mut sender = sender.clone();
            streams.spawn(async move {
                let request = http::Request::get(format!("https://{ORDERS}/v1/{n}"));
                let request = request.body(Full::new(Bytes::new())).unwrap();
                http2_send(&mut sender, request).await.map(|a| a.status()).unwrap_or_default()
            });
        }
    }
    stage.orders_issuer.call(0).await;
    gate.open();
    let statuses = streams.join_all().await;
    let good = statuses.iter().filter(|s| **s == 200).count();
    assert_eq!((good, statuses.len()), (1000, 1000));
    assert_eq!(stage.orders_issuer.calls().len(), 1, "one token call");
    let token = stage.orders_issuer.token();
    let seen = stage.orders.requests();
    assert_eq!(seen.len(), 1000);
    for request in seen {
        stage.injected(&request, &token).unwrap();
    }
}

#[tokio::test]
async fn one_who_leaves_does_not_cancel_the_others() {
    let stage = Stage::valetkey().await;
    let gate = stage.orders_issuer.hold();
    let mut leaves = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/leaves HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut leaves.stream, request.as_bytes()).await.unwrap();
    stage.orders_issuer.call(0).await;
    drop(leaves);
    let (answer, ()) = tokio::join!(stage.get(ORDERS, "/v1/stays", ""), async { gate.open() });
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(stage.orders_issuer.calls().len(), 1);
    let seen = stage.orders.requests();
    let stays = seen.iter().find(|s| s.target == "/v1/stays").unwrap();
    stage.injected(stays, &stage.orders_issuer.token()).unwrap();
}

#[tokio::test]
async fn a_failure_is_shared_and_then_waited_out() {
    let stage = Stage::valetkey().await;
    stage.orders_issuer.reply(Reply::json(400, "{\"error\":\"invalid_client\"}"));
    for _ in 0..50 {
        let answer = stage.get(ORDERS, "/v1/x", "").await.unwrap();
        assert!(answer.status() >= 500, "{}", answer.everything());
    }
    let calls = stage.orders_issuer.calls().len();
    assert!(calls <= 5, "no hot loop: {calls} calls for 50 requests");
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

#[tokio::test]
async fn it_recovers_when_the_issuer_does() {
    let stage = Stage::valetkey().await;
    stage.orders_issuer.reply(Reply::Gone);
    let answer = stage.get(ORDERS, "/v1/x", "").await.unwrap();
    assert_eq!(answer.status(), 503, "{}", answer.everything());
    stage.orders_issuer.reply(Reply::Token { life: Some(300) });
    crate::harness::soon("a success after the next allowed attempt", async {
        loop {
            let answer = stage.get(ORDERS, "/v1/x", "").await.unwrap();
            if answer.status() == 200 {
                break;
            }
            assert!(!answer.all("retry-after").is_empty(), "{}", answer.everything());
        }
    })
    .await;
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
}
