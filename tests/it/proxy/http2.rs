//! The same promises over HTTP/2: authority, owned slots, many streams on one connection.

use bytes::Bytes;
use http_body_util::Full;

use crate::harness::client::{Http2, connect, http2, http2_send, tls, tls_config};
use crate::harness::http1::Message;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, own_answer};

async fn tunnel(stage: &Stage, host: &str) -> Http2 {
    let (answer, reader) = connect(stage.proxy_addr(), &format!("{host}:443")).await;
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    let stream = tls(reader.stream, host, tls_config(stage.trust(), &["h2"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    http2(stream).await
}

fn get(uri: &str) -> http::request::Builder {
    http::Request::get(uri)
}

async fn send(sender: &mut Http2, request: http::request::Builder) -> hyper::Result<Message> {
    http2_send(sender, request.body(Full::new(Bytes::new())).unwrap()).await
}

/// As over HTTP/1.1, and with a record: the library would say a bare 431 by itself.
#[tokio::test]
async fn too_large_a_header_is_431() {
    let stage = Stage::valetkey().await;
    let mut sender = tunnel(&stage, ORDERS).await;
    let mut large = get(&format!("https://{ORDERS}/v1/x"));
    for n in 0..90 {
        large = large.header(format!("x-{n}"), "y".repeat(1000));
    }
    let answer = send(&mut sender, large).await.unwrap();
    own_answer(&answer, &[431], &["headers-too-large"]).unwrap();
    stage.audited("headers-too-large", 1).await;
    assert!(stage.orders.requests().is_empty());
    let answer = send(&mut sender, get(&format!("https://{ORDERS}/v1/x"))).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
}

#[tokio::test]
async fn another_authority_is_misdirected() {
    let stage = Stage::valetkey().await;
    let mut sender = tunnel(&stage, ORDERS).await;
    for host in [EVIL, BILLING, "api.orders.example:8443"] {
        let answer = send(&mut sender, get(&format!("https://{host}/v1/x"))).await.unwrap();
        own_answer(&answer, &[421], &["authority-mismatch"]).unwrap();
    }
    assert!(stage.orders.requests().is_empty());
    // The connection lives on, as RFC 9110 wants: a coalescing client opens another for the other host.
    let answer = send(&mut sender, get(&format!("https://{ORDERS}/v1/x"))).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
}

#[tokio::test]
async fn authority_and_host_must_agree() {
    let stage = Stage::valetkey().await;
    for (authority, host) in
        [(ORDERS, EVIL), (EVIL, ORDERS), (ORDERS, "api.orders.example@evil.example")]
    {
        let mut sender = tunnel(&stage, ORDERS).await;
        let request = get(&format!("https://{authority}/v1/x")).header("host", host);
        match send(&mut sender, request).await {
            Ok(answer) => own_answer(&answer, &[400], &["malformed-request"]).unwrap(),
            Err(error) => println!("a stream error: {error}"),
        }
    }
    assert!(stage.orders.requests().is_empty());
    let mut sender = tunnel(&stage, ORDERS).await;
    let request = get(&format!("https://{ORDERS}/v1/x")).header("host", ORDERS);
    assert_eq!(send(&mut sender, request).await.unwrap().status(), 200);
    let seen = stage.orders.request(0).await;
    stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    assert_eq!(seen.authority, ORDERS);
}

#[tokio::test]
async fn owned_slots_are_replaced() {
    let stage = Stage::valetkey().await;
    let key = stage.standing_key.clone();
    let mut sender = tunnel(&stage, ORDERS).await;
    for (at, count) in [1, 2, 90].into_iter().enumerate() {
        let mut request = get(&format!("https://{ORDERS}/v1/x?api%5Fkey={key}"));
        for n in 0..count {
            request = request.header("authorization", format!("Bearer {key}-{n}"));
        }
        let request = request.header("x-api-key", &key).header("x_api_key", &key);
        let answer = send(&mut sender, request).await.unwrap();
        assert_eq!(answer.status(), 200, "{count}: {}", answer.everything());
        let seen = stage.orders.request(at).await;
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
        assert_eq!(seen.target, "/v1/x");
    }
    stage.control().await.unwrap();
}

#[tokio::test]
async fn nothing_comes_back() {
    use crate::harness::api::Answer;
    let stage = Stage::valetkey().await;
    stage.orders.answer(|seen| {
        let sent = seen.all("authorization").join(",");
        Answer::ok("{}").header("x-echo", sent).header("set-cookie", "a=b").header("alt-svc", "h3")
    });
    let mut sender = tunnel(&stage, ORDERS).await;
    let answer = send(&mut sender, get(&format!("https://{ORDERS}/v1/x"))).await.unwrap();
    stage.silent("the answer", &answer.everything()).unwrap();
    assert!(answer.all("set-cookie").is_empty() && answer.all("alt-svc").is_empty());
    stage.injected(&stage.orders.request(0).await, &stage.orders_issuer.token()).unwrap();
}

#[tokio::test]
async fn many_streams_share_one_token() {
    let stage = Stage::valetkey().await;
    let sender = tunnel(&stage, ORDERS).await;
    let mut streams = tokio::task::JoinSet::new();
    for n in 0..50 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            send(&mut sender, get(&format!("https://{ORDERS}/v1/{n}"))).await.unwrap().status()
        });
    }
    assert_eq!(streams.join_all().await, vec![200; 50]);
    let token = stage.orders_issuer.token();
    for seen in stage.orders.requests() {
        stage.injected(&seen, &token).unwrap();
    }
    assert_eq!(stage.orders_issuer.calls().len(), 1);
}

#[tokio::test]
async fn trace_is_refused() {
    let stage = Stage::valetkey().await;
    let mut sender = tunnel(&stage, ORDERS).await;
    let request = http::Request::builder().method("TRACE").uri(format!("https://{ORDERS}/v1/x"));
    let answer = send(&mut sender, request).await.unwrap();
    own_answer(&answer, &[403, 405], &["method-refused"]).unwrap();
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

/// gRPC ends in trailers; a token in them is masked like anywhere else.
#[tokio::test]
async fn trailers_pass_without_the_token() {
    use crate::harness::api::Answer;
    let stage = Stage::valetkey().await;
    stage.orders.answer(|seen| {
        let sent = seen.all("authorization").join(",");
        Answer::ok("data").trailer("grpc-status", "0").trailer("grpc-message", sent)
    });
    let mut sender = tunnel(&stage, ORDERS).await;
    let request = get(&format!("https://{ORDERS}/v1/x")).header("te", "trailers");
    let answer = send(&mut sender, request).await.unwrap();
    stage.silent("the answer", &answer.everything()).unwrap();
    assert_eq!(answer.all("trailer:grpc-status"), ["0"], "{}", answer.everything());
    let seen = stage.orders.request(0).await;
    stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    assert!(seen.http2, "the upstream speaks HTTP/2");
}
