//! A body in a content coding passes as it came, to the byte and with all that its head says of it, unless a token
//! is in it: then it comes masked, or does not come whole.

use std::io::Write as _;

use crate::harness::caller::Head;
use crate::harness::caller::{Call, Sending};
use crate::harness::pair::{ALL, Pair};
use crate::harness::until;
use crate::harness::upstream::{Exchange, Piece, Protocol};

async fn asked(pair: &mut Pair, asks: &[(&str, &str)]) -> (Call, Exchange) {
    let call = pair.caller().await.call("GET", "/x", asks, Sending::Nothing).await;
    let up = pair.upstream.next().await;
    let token = pair.token();
    assert_eq!(up.parts.all("authorization"), [format!("Bearer {token}")], "{:?}", up.parts);
    (call, up)
}

/// An answer that may break off: over HTTP/2 the reset may overtake its head.
async fn received(call: &mut Call) -> Option<(Head, (Vec<u8>, Piece))> {
    let head = call.try_head().await.ok()?;
    Some((head, call.body().await))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Text that is not much shorter in any coding.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        33 + (state % 90) as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// The fields of a stored object, with the checksums that stores say of its bytes as they are stored.
fn stored(length: &str) -> Vec<(&str, &str)> {
    vec![
        ("content-encoding", "gzip"),
        ("content-length", length),
        ("etag", "\"strong\""),
        ("accept-ranges", "bytes"),
        ("x-goog-hash", "crc32c=AAAAAA==,md5=x"),
        ("x-amz-checksum-crc32c", "AAAAAA=="),
        ("x-ms-blob-content-md5", "x"),
        ("docker-content-digest", "sha256:x"),
        ("content-md5", "x"),
        ("digest", "md5=x"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
    ]
}

#[tokio::test]
async fn a_coded_body_comes_as_it_came() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        for asks in [&[][..], &[("accept-encoding", "gzip")], &[("accept-encoding", "identity")]] {
            for length in [0, 20, 400_000] {
                let what = format!("{client:?} {upstream:?} {asks:?} {length}");
                let (mut call, mut up) = asked(&mut pair, asks).await;
                let body = gzip(&noise(length));
                let length = body.len().to_string();
                let fields = stored(&length);
                up.head(200, &fields).await;
                let sending = async {
                    for piece in body.chunks(50_000) {
                        assert!(up.send(piece).await, "{what}");
                    }
                    up.end().await;
                };
                let (_, head) = tokio::join!(sending, async {
                    let head = call.head().await;
                    let (came, end) = call.body().await;
                    assert_eq!(end, Piece::End(vec![]), "{what}");
                    assert!(came == body, "{what}: {} of {}", came.len(), body.len());
                    head
                });
                for (name, value) in fields {
                    assert_eq!(head.all(name), [value], "{what}: {head:?}");
                }
            }
        }
        pair.stage.control().await.unwrap();
    }
}

/// What goes on for long is with the client as it comes, and so is a head whose body takes its time.
#[tokio::test]
async fn coded_pieces_pass_at_once() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let (mut call, mut up) = asked(&mut pair, &[("accept-encoding", "gzip")]).await;
        up.head(200, &[("content-encoding", "gzip"), ("content-type", "application/json")]).await;
        assert_eq!(call.head().await.status, 200, "{what}");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for at in 0..5 {
            encoder.write_all(format!("{{\"line\": {at}}}\n").as_bytes()).unwrap();
            encoder.flush().unwrap();
            let sent = std::mem::take(encoder.get_mut());
            up.send(&sent).await;
            let mut got = Vec::new();
            while got.len() < sent.len() {
                got.extend(call.receive().await.data());
            }
            assert_eq!(got, sent, "{what}");
        }
    }
}

/// Near its beginning it is masked (`redact`); far in, what came before it is as it was, and it ends there.
#[tokio::test]
async fn a_token_far_in_ends_the_answer() {
    for (client, upstream) in ALL {
        let what = format!("{client:?} {upstream:?}");
        let mut pair = Pair::between(client, upstream).await;
        let (mut call, mut up) = asked(&mut pair, &[]).await;
        let token = pair.token();
        let body = gzip(&[&noise(300_000)[..], token.as_bytes()].concat());
        let length = body.len().to_string();
        up.head(200, &[("content-encoding", "gzip"), ("content-length", &length)]).await;
        let sending = async {
            for piece in body.chunks(50_000) {
                up.send(piece).await;
            }
            up.end().await;
        };
        let (_, received) = tokio::join!(sending, received(&mut call));
        let Some((head, (came, end))) = received else {
            assert_eq!(client, Protocol::Http2, "{what}");
            continue;
        };
        assert_eq!(head.all("content-encoding"), ["gzip"], "{what}: {head:?}");
        assert!(end.is_broken(), "{what}: {end:?}");
        assert!(came.len() > 60_000 && body.starts_with(&came), "{what}: {}", came.len());
        let mut told = Vec::new();
        let mut decoder = flate2::write::GzDecoder::new(&mut told);
        decoder.write_all(&came).unwrap();
        decoder.try_finish().ok();
        drop(decoder);
        assert!(told.len() > 60_000 && noise(300_000).starts_with(&told), "{what}: {}", told.len());
        until("an outcome", || {
            let told = |record: &serde_json::Value| record["code"] == "token-echoed";
            pair.stage.running().unwrap().audit().iter().any(told)
        })
        .await;
        pair.stage.control().await.unwrap();
    }
}

/// Whatever stands behind the content, or no check sum; but not with a wrong one, or a part of one.
#[tokio::test]
async fn what_is_whole_ends_well() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let body = gzip(b"some text");
        let content = &body[..body.len() - 8];
        for (sent, fine) in [
            ([&body[..], b"garbage"].concat(), true),
            ([&body[..], &[0; 600]].concat(), true),
            (content.to_vec(), true),
            ([content, &[0; 8]].concat(), false),
            (body[..body.len() - 3].to_vec(), false),
            (content[..content.len() - 1].to_vec(), false),
        ] {
            let what = format!("{client:?} {upstream:?} {sent:?}");
            let (mut call, mut up) = asked(&mut pair, &[]).await;
            up.head(200, &[("content-encoding", "gzip")]).await;
            up.send(&sent).await;
            up.end().await;
            let head = call.head().await;
            if fine {
                assert_eq!(head.status, 200, "{what}: {head:?}");
                assert_eq!(call.body().await, (sent, Piece::End(vec![])), "{what}");
            } else if head.status == 200 {
                assert!(call.body().await.1.is_broken(), "{what}");
            } else {
                let refused = (head.status, &*head.code());
                assert_eq!(refused, (502, "upstream-encoding-invalid"), "{what}: {head:?}");
            }
        }
        // What hides a token behind the content hides nothing.
        let (mut call, mut up) = asked(&mut pair, &[]).await;
        up.head(200, &[("content-encoding", "gzip")]).await;
        up.send(&[&body[..], &[0; 600], pair.token().as_bytes()].concat()).await;
        up.end().await;
        call.head().await;
        assert_eq!(call.body().await, (b"some text".to_vec(), Piece::End(vec![])));
        pair.stage.control().await.unwrap();
    }
}

/// Servers write more there than codings; it is searched as it is.
#[tokio::test]
async fn what_is_no_coding_changes_nothing() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        for name in ["aws-chunked", "UTF-8", "none", "binary", "8bit", "x-own", "aws-chunked,gzip"]
        {
            let what = format!("{client:?} {upstream:?} {name}");
            let (mut call, mut up) = asked(&mut pair, &[]).await;
            let text = format!("an echo: {}.", pair.token());
            let stars = format!("an echo: {}.", "*".repeat(pair.token().len()));
            let coded = name.ends_with("gzip");
            up.head(200, &[("content-encoding", name)]).await;
            up.send(&if coded { gzip(text.as_bytes()) } else { text.into_bytes() }).await;
            up.end().await;
            let kept: &[&str] = if coded { &[] } else { &[name] };
            assert_eq!(call.head().await.all("content-encoding"), kept, "{what}");
            assert_eq!(call.body().await, (stars.into_bytes(), Piece::End(vec![])), "{what}");
        }
        for name in ["compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip", "aes128gcm"] {
            let (mut call, mut up) = asked(&mut pair, &[]).await;
            up.head(200, &[("content-encoding", name)]).await;
            up.send(b"whatever it is").await;
            let head = call.head().await;
            let refused = (head.status, &*head.code());
            assert_eq!(refused, (502, "upstream-encoding-refused"), "{name}: {head:?}");
        }
        pair.stage.control().await.unwrap();
    }
}

/// Several parts of a coded body at once are in no whole that could be searched: the whole comes, which is what a
/// server that knows of no parts would send.
#[tokio::test]
async fn several_parts_come_as_the_whole() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let whole = gzip(&noise(20_000));
        let (mut call, mut up) = asked(&mut pair, &[("range", "bytes=0-9,20-29")]).await;
        let fields =
            [("content-type", "multipart/byteranges; boundary=x"), ("content-encoding", "gzip")];
        up.head(206, &fields).await;
        let mut up = pair.upstream.next().await;
        assert!(up.parts.all("range").is_empty());
        let length = whole.len().to_string();
        up.head(200, &[("content-encoding", "gzip"), ("content-length", &*length)]).await;
        let sending = async {
            up.send(&whole).await;
            up.end().await;
        };
        let ((), received) = tokio::join!(sending, received(&mut call));
        let (head, (came, end)) = received.unwrap();
        assert_eq!(head.status, 200, "{client:?} {upstream:?} {head:?}");
        assert!(came == whole && end == Piece::End(vec![]), "{client:?} {upstream:?} {end:?}");
    }
}

/// A part of a coded body passes once all before it was searched, which takes the whole; of no other whole, and
/// of none with a token in it.
#[tokio::test]
async fn a_part_comes_out_of_its_whole() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let plain = noise(200_000);
        let (mut call, up) = asked(&mut pair, &[]).await;
        up.answer(200, "with a token").await;
        assert_eq!(call.head().await.status, 200);
        let told = [&plain[..150_000], pair.token().as_bytes()].concat();
        for (whole, etag, range) in [
            (gzip(&plain), "\"1\"", (100, 149_999)),
            (gzip(&plain), "\"1\"", (0, 0)),
            (gzip(&plain), "\"2\"", (100, 199)),
            (gzip(&told), "\"1\"", (100, usize::MAX)),
        ] {
            let (first, last) = (range.0, range.1.min(whole.len() - 1));
            let what = format!("{client:?} {upstream:?} {etag} {range:?} of {}", whole.len());
            let asks = [("range", &*format!("bytes={first}-{last}")), ("if-range", "\"1\"")];
            let (mut call, mut up) = asked(&mut pair, &asks).await;
            let length = (last + 1 - first).to_string();
            let said = format!("bytes {first}-{last}/{}", whole.len());
            let fields = [
                ("content-encoding", "gzip"),
                ("content-range", &*said),
                ("content-length", &*length),
                ("etag", "\"1\""),
            ];
            up.head(206, &fields).await;
            let mut up = pair.upstream.next().await;
            assert!(up.parts.all("range").is_empty() && up.parts.all("if-range").is_empty());
            assert_eq!(up.parts.all("accept-encoding"), ["identity"]);
            let length = whole.len().to_string();
            let fields =
                [("content-encoding", "gzip"), ("content-length", &*length), ("etag", etag)];
            up.head(200, &fields).await;
            let sending = async {
                for piece in whole.chunks(50_000) {
                    up.send(piece).await;
                }
            };
            let part = &whole[first..=last];
            let ((), received) = tokio::join!(sending, received(&mut call));
            let Some((head, (came, end))) = received else {
                assert!(range.1 == usize::MAX && client == Protocol::Http2, "{what}");
                continue;
            };
            if etag == "\"2\"" {
                let refused = (head.status, &*head.code());
                assert_eq!(refused, (502, "upstream-encoding-refused"), "{what}: {head:?}");
                continue;
            }
            assert_eq!(head.status, 206, "{what}: {head:?}");
            assert_eq!(head.all("content-range"), [said], "{what}: {head:?}");
            if range.1 == usize::MAX {
                assert!(end.is_broken() && part.starts_with(&came), "{what}: {end:?}");
                assert!(came.len() + 100 < part.len(), "{what}: {}", came.len());
            } else {
                assert!(came == part && end == Piece::End(vec![]), "{what}: {end:?}");
            }
        }
        pair.stage.control().await.unwrap();
    }
}
