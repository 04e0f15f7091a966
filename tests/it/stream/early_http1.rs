//! Answers that come before their request is whole: ours and the upstream's. The client gets them, and is told
//! what becomes of its connection.

use tokio::io::AsyncWriteExt as _;

use super::unbegun::Scene;
use crate::harness::caller::{Caller, Sending};
use crate::harness::pair::{HOST, Pair};
use crate::harness::soon;
use crate::harness::upstream::Protocol;
use crate::torture::raw_h2::{DATA, Frame, PING, WINDOW_UPDATE};

async fn pair() -> Pair {
    Pair::between(Protocol::Http1, Protocol::Http1).await
}

/// The body comes in a later write, and the upstream answers on the head alone: the next request of the pool
/// finds the connection as it was promised.
#[tokio::test]
async fn what_is_small_is_read_and_the_connection_goes_on() {
    let mut pair = pair().await;
    let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Sized(100)).await;
    pair.upstream.next().await.answer(409, "no").await;
    let head = call.head().await;
    assert_eq!(head.status, 409, "{head:?}");
    assert!(head.all("connection").is_empty(), "{head:?}");
    assert_eq!(call.body().await.0, b"no");
    call.raw().stream.write_all(&[b'G'; 100]).await.unwrap();
    call.raw().stream.flush().await.unwrap();
    let mut call = call.again().get("/next").await;
    let up = pair.upstream.next().await;
    assert_eq!(up.parts.target, "/next");
    up.answer(200, "yes").await;
    assert_eq!(call.head().await.status, 200);
}

/// Over HTTP/2 the upload has a task of its own, which may wait for the upstream's window when the answer comes: what
/// it would read then is the next request's.
#[tokio::test]
async fn an_upload_that_waits_takes_nothing_of_the_next_request() {
    const WINDOW: usize = 65_535;
    let mut scene = Scene::new().await;
    let caller = Caller::open(&scene.stage, HOST, Protocol::Http1).await;
    let mut call = caller.call("POST", "/early", &[], Sending::Sized(WINDOW + 10)).await;
    let early = scene.upstream.request().await;
    call.send(&[1; WINDOW]).await;
    let mut seen = 0;
    while seen < WINDOW {
        seen += scene.upstream.next(DATA).await.frame.payload.len();
    }
    early.ok().await;
    assert_eq!(call.head().await.status, 200);
    call.body().await;
    call.send(&[1; 10]).await;
    let mut call = call.again().call("POST", "/next", &[], Sending::Sized(10)).await;
    let next = scene.upstream.request().await;
    let more = |stream| Frame::new(WINDOW_UPDATE, 0, stream, 1000u32.to_be_bytes());
    next.reply(&[more(early.frame.stream), more(0), Frame::new(PING, 0, 0, [0; 8])]).await;
    scene.upstream.next(PING).await;
    call.send(&[2; 10]).await;
    assert_eq!(scene.upstream.body(&next).await, [2; 10]);
    next.ok().await;
    assert_eq!(call.head().await.status, 200);
}

/// The same for a refusal of our own.
#[tokio::test]
async fn a_refused_body_that_is_small_is_read() {
    let mut pair = pair().await;
    let asks = [("upgrade", "websocket"), ("connection", "upgrade")];
    let mut call = pair.caller().await.call("POST", "/x", &asks, Sending::Sized(100)).await;
    let head = call.head().await;
    assert_eq!(&*head.code(), "upgrade-refused", "{head:?}");
    call.body().await;
    call.raw().stream.write_all(&[b'G'; 100]).await.unwrap();
    call.raw().stream.flush().await.unwrap();
    let mut call = call.again().get("/next").await;
    pair.upstream.next().await.answer(200, "yes").await;
    assert_eq!(call.head().await.status, 200);
}

/// What is large, or of no known length, or waits for a word that never came, is the connection's last.
#[tokio::test]
async fn the_end_of_the_connection_is_said_beforehand() {
    for (sending, expects) in [
        (Sending::Sized(3_000_000), false),
        (Sending::Streamed, false),
        (Sending::Sized(100), true),
    ] {
        let mut pair = pair().await;
        let expect = [("expect", "100-continue")];
        let asks = if expects { &expect[..] } else { &[] };
        let mut call = pair.caller().await.call("POST", "/x", asks, sending).await;
        pair.upstream.next().await.answer(413, "too much").await;
        let head = call.head().await;
        assert_eq!(head.status, 413, "{sending:?}: {head:?}");
        assert_eq!(head.all("connection"), ["close"], "{sending:?}: {head:?}");
    }
}

/// A body that waits for its word is not asked for any more, and no word of ours stands in the answer.
#[tokio::test]
async fn no_100_comes_in_the_middle_of_an_answer() {
    let mut pair = pair().await;
    let expect = [("expect", "100-continue")];
    let mut call = pair.caller().await.call("POST", "/x", &expect, Sending::Sized(5)).await;
    let mut up = pair.upstream.next().await;
    up.raw(b"HTTP/1.1 409 Conflict\r\nContent-Length: 10\r\n\r\nhello").await;
    assert_eq!(call.head().await.status, 409);
    assert_eq!(call.exactly(5).await, b"hello");
    // A silent upstream is given a second before the body is asked for all the same.
    let more = tokio::time::timeout(std::time::Duration::from_millis(1500), call.receive()).await;
    assert!(more.is_err(), "{more:?}");
    up.raw(b"world").await;
    assert_eq!(call.exactly(5).await, b"world");
}

/// Clients that send all before they read: what they send is taken, and only then is the connection closed.
#[tokio::test]
async fn an_upload_of_60_mib_is_taken_to_its_end() {
    const LENGTH: usize = 60 * 1024 * 1024;
    let mut pair = pair().await;
    let mut call = pair.caller().await.call("PUT", "/x", &[], Sending::Sized(LENGTH)).await;
    pair.upstream.next().await.answer(413, "too much").await;
    let piece = vec![7; 1024 * 1024];
    for sent in 0..60 {
        let stream = &mut call.raw().stream;
        let write = async { stream.write_all(&piece).await.and(stream.flush().await) };
        soon("an upload that is taken", write).await.unwrap_or_else(|e| panic!("{sent}: {e}"));
    }
    let head = call.head().await;
    assert_eq!(head.status, 413, "{head:?}");
    assert_eq!(call.body().await.0, b"too much");
    assert!(soon("a clean end", call.raw().rest()).await.is_empty());
}
