//! A token in a body does not come back: in any framing and any pieces, in every encoding, and without holding
//! back what cannot be part of one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;

use super::upgrade::{AGREES, ASKS};
use crate::harness::caller::{Call, Sending};
use crate::harness::pair::{ALL, Pair};
use crate::harness::soon;
use crate::harness::upstream::{Exchange, Piece, Protocol, lines};

async fn asked(pair: &mut Pair, asks: &[(&str, &str)]) -> (Call, Exchange, String) {
    let call = pair.caller().await.call("GET", "/x", asks, Sending::Nothing).await;
    let up = pair.upstream.next().await;
    let token = pair.token();
    assert_eq!(up.parts.all("authorization"), [format!("Bearer {token}")], "{:?}", up.parts);
    (call, up, token)
}

fn stars(text: &str) -> String {
    "*".repeat(text.len())
}

/// Every way of cutting it in two, in one body; the length stays right.
#[tokio::test]
async fn a_token_in_any_pieces_is_masked() {
    for (client, upstream) in ALL {
        for sized in [false, true] {
            let what = format!("{client:?} {upstream:?} sized: {sized}");
            let mut pair = Pair::between(client, upstream).await;
            let (mut call, mut up, token) = asked(&mut pair, &[]).await;
            let line = format!("{{\"key\":\"{token}\"}}\n");
            let length = (line.len() * (line.len() + 1)).to_string();
            let sized = if sized { vec![("content-length", &*length)] } else { vec![] };
            up.head(200, &sized).await;
            let sending = async {
                for cut in 0..=line.len() {
                    let (one, two) = line.as_bytes().split_at(cut);
                    for part in [one, two].iter().filter(|part| !part.is_empty()) {
                        assert!(up.send(part).await, "{what}");
                    }
                }
                up.end().await;
            };
            let head = call.head().await;
            if !sized.is_empty() {
                assert_eq!(head.all("content-length"), [&*length], "{what}: {head:?}");
            }
            let (_, (body, end)) = tokio::join!(sending, call.body());
            assert_eq!(end, Piece::End(vec![]), "{what}");
            let wanted = line.replace(&token, &stars(&token)).repeat(line.len() + 1);
            assert_eq!(String::from_utf8_lossy(&body), wanted, "{what}");
        }
    }
}

/// What is missing could be guessed.
#[tokio::test]
async fn a_token_cut_short_is_masked() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let (mut call, mut up, token) = asked(&mut pair, &[]).await;
        let part = &token[..token.len() - 3];
        up.head(200, &[("x-echo", &format!("{part}..."))]).await;
        let head = call.head().await;
        assert_eq!(head.all("x-echo"), [format!("{}...", stars(part))], "{what}");
        for sent in [format!("{{\"token\": \"{part}…\"}}"), part.to_owned()] {
            up.send(sent.as_bytes()).await;
        }
        up.end().await;
        let (body, end) = call.body().await;
        assert_eq!(end, Piece::End(vec![]), "{what}");
        let wanted = format!("{{\"token\": \"{0}…\"}}{0}", stars(part));
        assert_eq!(String::from_utf8_lossy(&body), wanted, "{what}");
    }
}

/// An event that holds nothing of a token is with the client before the next is written, and so is one
/// that ends as a token begins.
#[tokio::test]
async fn events_pass_at_once() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let (mut call, mut up, token) = asked(&mut pair, &[]).await;
        up.head(200, &[("content-type", "text/event-stream")]).await;
        assert_eq!(call.head().await.status, 200, "{what}");
        let half = &token[..token.len() / 2];
        for sent in
            ["data: one\n\n", &format!("data: {half}\n\n"), &format!("ends in {}", &token[..3])]
        {
            up.send(sent.as_bytes()).await;
            let mut got = Vec::new();
            while got.len() < sent.len() {
                got.extend(call.receive().await.data());
            }
            assert_eq!(String::from_utf8_lossy(&got), sent, "{what}");
        }
        // The rest of what began there is masked all the same.
        up.send(format!("{} and {token}", &token[3..]).as_bytes()).await;
        up.end().await;
        let (body, end) = call.body().await;
        assert_eq!(end, Piece::End(vec![]), "{what}");
        let wanted = format!("{} and {}", stars(&token[3..]), stars(&token));
        assert_eq!(String::from_utf8_lossy(&body), wanted, "{what}");
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A body in a coding, with the token in it, comes decoded and without what its header said of the coded bytes; a
/// part of one whose whole cannot be had, or one in a coding that nobody reads, does not come at all.
#[tokio::test]
async fn coded_bodies_come_decoded_or_not_at_all() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let accepts = [("accept-encoding", "gzip, zstd, compress;q=0.5")];
        let (mut call, mut up, token) = asked(&mut pair, &accepts).await;
        assert_eq!(up.parts.all("accept-encoding"), ["gzip"], "{what}");
        let text = format!("basic {} and {token}", STANDARD.encode(format!("x:{token}")));
        let body = gzip(text.as_bytes());
        let length = body.len().to_string();
        let coded = [
            ("content-encoding", "gzip"),
            ("content-length", &length),
            ("etag", "\"strong\""),
            ("content-digest", "sha-256=:x:"),
            ("accept-ranges", "bytes"),
            ("vary", "accept-encoding"),
        ];
        up.head(200, &coded).await;
        up.send(&body[..9]).await;
        up.send(&body[9..]).await;
        up.end().await;
        let head = call.head().await;
        for (name, value) in coded {
            let kept: &[&str] = if name == "vary" { &[value] } else { &[] };
            assert_eq!(head.all(name), kept, "{what}: {head:?}");
        }
        let (body, end) = call.body().await;
        assert_eq!(end, Piece::End(vec![]), "{what}");
        assert_eq!(body.len(), text.len(), "{what}");
        pair.stage.silent("the body", &String::from_utf8_lossy(&body)).unwrap();

        for (status, coding) in [(200, "compress"), (200, "gzip, exi"), (206, "gzip")] {
            let (mut call, mut up, _) = asked(&mut pair, &[("range", "bytes=0-9")]).await;
            assert_eq!(up.parts.all("accept-encoding"), ["identity"], "{what}");
            up.head(status, &[("content-encoding", coding)]).await;
            up.send(b"whatever it is").await;
            let head = call.head().await;
            let refused = (head.status, &*head.code());
            assert_eq!(refused, (502, "upstream-encoding-refused"), "{what} {coding}: {head:?}");
        }
        // Broken off, not ended.
        let (mut call, mut up, _) = asked(&mut pair, &[]).await;
        up.head(200, &[("content-encoding", "gzip")]).await;
        assert_eq!(call.head().await.status, 200, "{what}");
        up.send(&gzip(b"some text")[..12]).await;
        up.end().await;
        let (_, end) = call.body().await;
        assert!(end.is_broken(), "{what}: {end:?}");
        pair.stage.control().await.unwrap();
    }
}

/// What has no body says of one what the upstream says; an uncoded part passes, masked.
#[tokio::test]
async fn heads_alone_and_parts_stay_as_they_are() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        for (method, status) in [("HEAD", 200), ("GET", 304)] {
            let caller = pair.caller().await;
            let mut call = caller.call(method, "/x", &[], Sending::Nothing).await;
            let mut up = pair.upstream.next().await;
            let fields =
                [("content-encoding", "gzip"), ("content-length", "99"), ("etag", "\"strong\"")];
            up.head(status, &fields).await;
            up.end().await;
            let head = call.head().await;
            assert_eq!(head.status, status, "{what}: {head:?}");
            // Over HTTP/2 some clients take it for a body that is too short.
            let kept: &[&str] =
                if status == 304 && client == Protocol::Http2 { &[] } else { &["99"] };
            assert_eq!(head.all("content-length"), kept, "{what}: {head:?}");
            assert_eq!(head.all("content-encoding"), ["gzip"], "{what}: {head:?}");
            assert_eq!(head.all("etag"), ["\"strong\""], "{what}: {head:?}");
        }
        // A body that is none has no length (RFC 9110 section 8.6). Over HTTP/2 it would be an error.
        if upstream == Protocol::Http1 {
            let mut call = pair.caller().await.get("/x").await;
            pair.upstream.next().await.raw(b"HTTP/1.1 204 None\r\ncontent-length: 5\r\n\r\n").await;
            let head = call.head().await;
            assert_eq!(head.status, 204, "{what}: {head:?}");
            assert!(head.all("content-length").is_empty(), "{what}: {head:?}");
        }
        let (mut call, mut up, token) = asked(&mut pair, &[("range", "bytes=5-")]).await;
        let text = format!("part {token}");
        let length = text.len().to_string();
        let fields = [("content-length", &*length), ("content-range", "bytes 5-50/51")];
        up.head(206, &fields).await;
        up.send(text.as_bytes()).await;
        up.end().await;
        let head = call.head().await;
        assert_eq!(head.all("content-range"), ["bytes 5-50/51"], "{what}: {head:?}");
        let body = call.body().await.0;
        assert_eq!(String::from_utf8_lossy(&body), format!("part {}", stars(&token)), "{what}");
    }
}

/// `redact = false`: header fields are masked, bodies and what is asked of them are nobody's business.
#[tokio::test]
async fn a_route_that_says_so_passes_bodies_as_they_are() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between_with(client, upstream, |v| v, "redact = false").await;
        let (mut call, mut up, token) = asked(&mut pair, &[("accept-encoding", "zstd, x")]).await;
        assert_eq!(up.parts.all("accept-encoding"), ["zstd, x"], "{what}");
        up.head(200, &[("content-encoding", "x"), ("x-echo", &token)]).await;
        up.send(token.as_bytes()).await;
        up.end().await;
        let head = call.head().await;
        assert_eq!(head.all("x-echo"), [stars(&token)], "{what}: {head:?}");
        assert_eq!(head.all("content-encoding"), ["x"], "{what}: {head:?}");
        assert_eq!(call.body().await.0, token.as_bytes(), "{what}");
    }
}

/// Messages of a WebSocket are masked across their frames, and pass at once where they hold nothing. Nothing
/// is packed, so that they can be searched.
#[tokio::test]
async fn a_websocket_is_masked() {
    let keys = "upgrade = [\"websocket\"]";
    let mut pair = Pair::between_with(Protocol::Http1, Protocol::Http1, |v| v, keys).await;
    let mut call = pair.caller().await.call("GET", "/socket", &ASKS, Sending::Nothing).await;
    let mut up = pair.upstream.next().await;
    assert!(up.parts.all("sec-websocket-extensions").is_empty(), "{:?}", up.parts);
    let token = pair.token();
    let head = lines(&AGREES[..4]);
    up.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\n").as_bytes()).await;
    assert_eq!(call.head().await.status, 101);
    let client = call.raw();
    let mut server = up.into_raw();
    let frame = |flags: u8, text: &str| {
        [&[flags, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    let (one, two) = token.split_at(token.len() / 2);
    for (sent, wanted) in [
        (frame(0x81, "hello"), frame(0x81, "hello")),
        (frame(0x81, &token), frame(0x81, &stars(&token))),
        (
            [frame(1, one), frame(0x89, "ping"), frame(0x80, two)].concat(),
            [frame(1, &stars(one)), frame(0x89, "ping"), frame(0x80, &stars(two))].concat(),
        ),
    ] {
        server.stream.write_all(&sent).await.unwrap();
        server.stream.flush().await.unwrap();
        let got = soon("a message", client.exactly(wanted.len())).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
    }
    // Nobody asked for it.
    let mut call = pair.caller().await.call("GET", "/socket", &ASKS, Sending::Nothing).await;
    let mut up = pair.upstream.next().await;
    up.raw(format!("HTTP/1.1 101 Switching Protocols\r\n{}\r\n", lines(&AGREES)).as_bytes()).await;
    let head = call.head().await;
    assert_eq!((head.status, &*head.code()), (502, "upstream-encoding-refused"), "{head:?}");
}
