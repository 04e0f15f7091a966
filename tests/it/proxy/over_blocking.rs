//! What must keep working: honest requests that an over-strict proxy refuses. And slow ones, which must not
//! be waited for.

use std::time::Instant;

use tokio::io::AsyncWriteExt;

use crate::harness::api::Answer;
use crate::harness::client::{connect, dial};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage};

#[tokio::test]
async fn honest_requests_pass_unchanged() {
    let stage = Stage::valetkey().await;
    for target in [
        "/v1/projects/group%2Fname/files/a%2fb.txt?ref=main",
        "/v1/@scope%2fpackage",
        "/v1/a;version=2/b",
        "/v1/x?q=a+b%20c&empty=&flag&u=%C3%A4",
        "/v1/~user/(x)/a,b'c*d!$&+=:@",
    ] {
        let before = stage.orders.requests().len();
        let answer = stage.get(ORDERS, target, "User-Agent: t\u{f6}\u{f6}l/1\r\n").await.unwrap();
        assert_eq!(answer.status(), 200, "{target}: {}", answer.everything());
        let seen = stage.orders.request(before).await;
        assert_eq!(seen.target, target);
        assert_eq!(seen.all("user-agent"), ["t\u{f6}\u{f6}l/1"], "obs-text passes");
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    }
}

#[tokio::test]
async fn uploads_with_expect_and_in_chunks() {
    let stage = Stage::valetkey().await;
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let head = format!(
        "POST /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    );
    tunnel.stream.write_all(head.as_bytes()).await.unwrap();
    let interim = soon("100 Continue", tunnel.head()).await.unwrap();
    assert_eq!(interim.status(), 100, "{}", interim.everything());
    tunnel.stream.write_all(b"hello").await.unwrap();
    let answer = soon("the answer", tunnel.response()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert_eq!(stage.orders.request(0).await.body, b"hello");
    let chunked = format!(
        "POST /v1/y HTTP/1.1\r\nHost: {ORDERS}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    );
    tunnel.stream.write_all(chunked.as_bytes()).await.unwrap();
    let answer = soon("the answer", tunnel.response()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.everything());
    assert_eq!(stage.orders.request(1).await.body, b"abcde");
    for seen in stage.orders.requests() {
        stage.injected(&seen, &stage.orders_issuer.token()).unwrap();
    }
}

#[tokio::test]
async fn answers_keep_their_status_and_fields() {
    let stage = Stage::valetkey().await;
    for status in [201, 204, 206, 304, 404, 418, 500] {
        stage.orders.answer(move |_| {
            Answer::ok("")
                .status(status)
                .header("X-Request", "7")
                .header("Vary", "a")
                .header("Vary", "b")
        });
        let answer = stage.get(ORDERS, "/v1/x", "").await.unwrap();
        assert_eq!(answer.status(), status, "{}", answer.everything());
        assert_eq!(answer.all("x-request"), ["7"]);
        assert_eq!(answer.all("vary"), ["a", "b"]);
        assert!(answer.all("proxy-status").is_empty(), "not an answer of ours");
    }
}

/// Who says nothing is let go, before CONNECT and in the handshake.
#[tokio::test]
async fn the_slow_are_let_go() {
    let stage = Stage::valetkey().await;
    let begun = Instant::now();
    let mut silent = dial(stage.proxy_addr()).await;
    let mut half = dial(stage.proxy_addr()).await;
    half.stream.write_all(b"CONNECT api.orders").await.unwrap();
    let (_, mut no_hello) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let (_, mut half_hello) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    half_hello.stream.write_all(&[0x16, 3, 1, 2]).await.unwrap();
    tokio::join!(
        soon("a silent client to be let go", silent.rest()),
        soon("half a CONNECT to be let go", half.rest()),
        soon("a tunnel without a handshake to be let go", no_hello.rest()),
        soon("half a ClientHello to be let go", half_hello.rest()),
    );
    assert!(begun.elapsed().as_secs() <= 15, "{:?}", begun.elapsed());
    assert_eq!(stage.orders.connections(), 0);
    stage.control().await.unwrap();
}

/// The same in the middle of a header, inside the tunnel.
#[tokio::test]
async fn half_a_header_is_let_go() {
    let stage = Stage::valetkey().await;
    let begun = Instant::now();
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    tunnel.stream.write_all(b"GET /v1/x HTTP/1.1\r\nHo").await.unwrap();
    soon("half a header to be let go", tunnel.rest()).await;
    assert!(begun.elapsed().as_secs() <= 15, "{:?}", begun.elapsed());
    stage.control().await.unwrap();
}
