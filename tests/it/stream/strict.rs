//! Where a library is more forgiving than the contract: what it reads as an end, a length or a coding.

use crate::harness::caller::Sending;
use crate::harness::pair::Pair;
use crate::harness::upstream::{Piece, Protocol};

/// To clients of HTTP/1.1.
const TO_HTTP1: [(Protocol, Protocol); 2] =
    [(Protocol::Http1, Protocol::Http1), (Protocol::Http1, Protocol::Http2)];

/// Untouched, as a HEAD is (PRODUCT: settled questions).
#[tokio::test]
async fn a_304_keeps_its_length() {
    for (client, upstream) in TO_HTTP1 {
        let mut pair = Pair::between(client, upstream).await;
        let mut call = pair.caller().await.get("/none").await;
        let mut up = pair.upstream.next().await;
        up.head(304, &[("content-length", "99"), ("etag", "\"a\"")]).await;
        up.end().await;
        let head = call.head().await;
        assert_eq!((head.status, head.all("etag")), (304, vec!["\"a\""]), "{head:?}");
        assert_eq!(head.all("content-length"), ["99"], "{client:?} {upstream:?}");
        assert_eq!(call.receive().await, Piece::End(vec![]));
    }
}

/// A coding that nobody here can undo, whose name must not be passed on (it is hop by hop), is no answer.
#[tokio::test]
async fn an_answer_in_an_unknown_transfer_coding_is_a_502() {
    for client in [Protocol::Http1, Protocol::Http2] {
        for coding in ["xchunked", "chunked, gzip", "gzip, chunked"] {
            let mut pair = Pair::between(client, Protocol::Http1).await;
            let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Nothing).await;
            let mut up = pair.upstream.next().await;
            let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
            up.raw(head.as_bytes()).await;
            up.close().await;
            let head = call.head().await;
            assert_eq!(head.status, 502, "{client:?}, {coding}: {head:?}");
            assert_eq!(head.code(), "upstream-answer-invalid", "{client:?}, {coding}: {head:?}");
        }
    }
}

/// A client that has said all it will say still gets its answer.
#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    use tokio::io::AsyncWriteExt as _;
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(Protocol::Http1, upstream).await;
        let mut call = pair.caller().await.get("/half").await;
        call.raw().stream.shutdown().await.unwrap();
        let up = pair.upstream.next().await;
        // The proxy has every chance to see the end first.
        pair.stage.control().await.unwrap();
        up.answer(200, "the whole answer").await;
        let head = call.try_head().await.unwrap_or_else(|e| panic!("{upstream:?}: {e}"));
        assert_eq!(head.status, 200, "{upstream:?}: {head:?}");
        assert_eq!(call.body().await.0, b"the whole answer", "{upstream:?}");
    }
}
