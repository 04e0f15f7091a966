//! Ends that break: a client that vanishes is not worked for any longer, an answer that breaks off is seen to,
//! and an upstream that does not speak HTTP gets a 502 for it.

use crate::harness::caller::Sending;
use crate::harness::pair::{ALL, Pair};
use crate::harness::upstream::Protocol;

/// One record for each request, whoever left first.
#[tokio::test]
async fn a_client_that_vanishes_is_written_down() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let call = pair.caller().await.get("/x").await;
        let up = pair.upstream.next().await;
        call.vanish();
        up.given_up().await;
        let outcome = crate::harness::found("an outcome", || {
            let audit = pair.stage.running().unwrap().audit();
            audit.into_iter().find(|r| r["event"] == "outcome")
        })
        .await;
        assert_eq!(outcome["code"], "client-gone", "{outcome}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_clean_end() {
    for (client, upstream) in ALL {
        for way in ["reset", "close"] {
            let what = format!("{client:?} {upstream:?} {way}");
            let mut pair = Pair::between(client, upstream).await;
            let mut call = pair.caller().await.get("/x").await;
            let mut up = pair.upstream.next().await;
            up.head(200, &[]).await;
            up.send(b"the first half").await;
            assert_eq!(call.head().await.status, 200, "{what}");
            assert_eq!(call.exactly(14).await, b"the first half", "{what}");
            match way {
                "reset" => up.reset(h2::Reason::INTERNAL_ERROR),
                _ => up.close().await,
            }
            let end = call.receive().await;
            assert!(end.is_broken(), "{what}: a clean end: {end:?}");
            pair.stage.control().await.unwrap();
        }
    }
}

/// An answer without a length that ends with the connection, and TLS does not say that it ends.
#[tokio::test]
async fn an_end_that_tls_does_not_vouch_for_is_one_where_the_route_says_so() {
    for client in [Protocol::Http1, Protocol::Http2] {
        for passes in [false, true] {
            let what = format!("{client:?} {passes}");
            let keys = if passes { "truncation = \"pass\"" } else { "" };
            let mut pair = Pair::between_with(client, Protocol::Http1, |v| v, keys).await;
            let mut call = pair.caller().await.get("/x").await;
            let mut up = pair.upstream.next().await;
            up.raw(b"HTTP/1.1 200 OK\r\n\r\nall there is").await;
            assert_eq!(call.head().await.status, 200, "{what}");
            assert_eq!(call.exactly(12).await, b"all there is", "{what}");
            drop(up);
            let end = call.receive().await;
            assert_eq!(end.is_broken(), !passes, "{what}: {end:?}");
            pair.stage.control().await.unwrap();
            let audit = pair.stage.running().unwrap().audit();
            let codes = audit.iter().filter(|record| record["event"] == "outcome");
            let cut = codes.filter(|record| record["code"] == "upstream-cut-short").count();
            assert_eq!(cut, usize::from(!passes), "{what}: {audit:#?}");
        }
    }
}

/// A length that is not kept, where the connection is closed politely.
#[tokio::test]
async fn a_truncated_answer_has_no_clean_end() {
    for client in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(client, Protocol::Http1).await;
        let mut call = pair.caller().await.get("/x").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[("content-length", "1000")]).await;
        up.send(b"ten bytes.").await;
        up.close().await;
        // Over HTTP/2 the reset may overtake the head: an error as well.
        if let Ok(head) = call.try_head().await {
            assert_eq!(head.status, 200);
            let (_, end) = call.body().await;
            assert!(end.is_broken(), "{client:?}: a clean end: {end:?}");
        }
    }
}

/// A body that only the end of the connection ends (RFC 9112 section 6.3) is whole where TLS says so.
#[tokio::test]
async fn an_answer_that_the_connection_ends_is_whole() {
    for client in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(client, Protocol::Http1).await;
        let mut call = pair.caller().await.get("/x").await;
        let mut up = pair.upstream.next().await;
        up.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of ").await;
        up.raw(b"it").await;
        up.close().await;
        assert_eq!(call.head().await.status, 200);
        let (body, end) = call.body().await;
        assert_eq!(body, b"all of it");
        assert!(!end.is_broken(), "{client:?}: {end:?}");
    }
}

/// Dies before it has said anything: a 502 for what may not be sent again.
#[tokio::test]
async fn an_upstream_that_dies_without_a_word_is_a_502() {
    for (client, upstream) in ALL {
        for way in ["reset", "close"] {
            let what = format!("{client:?} {upstream:?} {way}");
            let mut pair = Pair::between(client, upstream).await;
            let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Sized(4)).await;
            call.send(b"body").await;
            call.end().await;
            let mut up = pair.upstream.next().await;
            up.body().await;
            match way {
                "reset" => up.reset(h2::Reason::INTERNAL_ERROR),
                _ => up.close().await,
            }
            let head = call.head().await;
            assert_eq!(head.status, 502, "{what}: {head:?}");
            let codes = ["upstream-unreachable", "upstream-answer-invalid"];
            assert!(codes.contains(&&*head.code()), "{what}: {head:?}");
            pair.stage.control().await.unwrap();
            assert!(pair.upstream.waiting().is_none(), "{what}: the POST was sent again");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_502() {
    let long = format!("HTTP/1.1 200 {}\r\n\r\n", "y".repeat(1 << 20));
    let answers: &[(&str, &[u8])] = &[
        ("garbage", b"\x16\x03\x01\x00\xff garbage \r\n\r\n"),
        ("no version", b"200 OK\r\n\r\n"),
        ("status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n"),
        ("status of letters", b"HTTP/1.1 abc OK\r\n\r\n"),
        ("HTTP/2 preface", b"HTTP/2.0 200 OK\r\n\r\n"),
        ("endless reason", long.as_bytes()),
        ("CR in a value", b"HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c\r\nContent-Length: 0\r\n\r\n"),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n"),
        ("space in a name", b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n"),
        ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("length with a sign", b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na"),
        ("a 101 nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    ];
    for client in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(client, Protocol::Http1).await;
        for (name, answer) in answers {
            let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Nothing).await;
            let mut up = pair.upstream.next().await;
            up.raw(answer).await;
            up.close().await;
            let head = call.head().await;
            assert_eq!(head.status, 502, "{client:?}, {name}: {head:?}");
            assert_eq!(head.code(), "upstream-answer-invalid", "{client:?}, {name}: {head:?}");
            assert!(head.all("set-cookie").is_empty(), "{client:?}, {name}: {head:?}");
        }
        pair.stage.control().await.unwrap();
    }
}

/// Both framings in one answer: whichever is believed, nothing is left for the next request (RFC 9112 section 6.3).
#[tokio::test]
async fn an_answer_with_two_framings_is_read_once() {
    for client in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(client, Protocol::Http1).await;
        let mut call = pair.caller().await.get("/x").await;
        let mut up = pair.upstream.next().await;
        up.raw(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        )
        .await;
        let head = call.head().await;
        assert!([200, 502].contains(&head.status), "{client:?}: {head:?}");
        let (body, _) = call.body().await;
        assert!(!String::from_utf8_lossy(&body).contains("smuggled"));
        let mut next = pair.caller().await.get("/next").await;
        let up = pair.upstream.next().await;
        assert_eq!(up.connection, 2, "{client:?}: an ambiguous connection was used again");
        up.answer(200, "mine").await;
        assert_eq!(next.head().await.status, 200);
        assert_eq!(next.body().await.0, b"mine", "{client:?}");
    }
}

#[tokio::test]
async fn fields_without_an_end_are_a_502() {
    for client in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(client, Protocol::Http1).await;
        let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Nothing).await;
        let mut up = pair.upstream.next().await;
        up.raw(b"HTTP/1.1 200 OK\r\n").await;
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            // Until it is cut off, or far beyond any limit.
            while sent < 16 << 20
                && up.raw(b"x-more: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n").await
            {
                sent += 46;
            }
            sent
        });
        let head = call.head().await;
        assert_eq!(head.status, 502, "{client:?}: {head:?}");
        assert_eq!(head.code(), "upstream-answer-invalid", "{client:?}: {head:?}");
        let sent = flood.await.unwrap();
        assert!(sent < 16 << 20, "{client:?}: it was never cut off");
    }
}

/// Ten thousand fields, and a field of 1 MiB, over HTTP/2. (HTTP/1.1: `proxy/upstream.rs`.)
#[tokio::test]
async fn a_header_beyond_every_limit_is_a_502_over_http2() {
    let names: Vec<String> = (0..10_000).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "y")).collect();
    let large = "b".repeat(1 << 20);
    for client in [Protocol::Http1, Protocol::Http2] {
        for pairs in [&many[..], &[("x-big", large.as_str())]] {
            let mut pair = Pair::between(client, Protocol::Http2).await;
            let mut call = pair.caller().await.call("POST", "/x", &[], Sending::Nothing).await;
            let mut up = pair.upstream.next().await;
            up.head(200, pairs).await;
            let head = call.head().await;
            assert_eq!(head.status, 502, "{client:?}: {head:?}");
            assert_eq!(head.code(), "upstream-answer-invalid", "{client:?}: {head:?}");
            pair.stage.control().await.unwrap();
        }
    }
}
