//! HTTP/2 floods (HOSTILE.md 84 and 85): over within 1,000 frames, at no cost to anybody else; and clients
//! that are merely busy, which must not be taken for one.

use std::time::{Duration, Instant};

use super::raw_h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PRIORITY, RST_STREAM,
    Raw, SETTINGS, WINDOW_UPDATE, block, field, get, post,
};
use super::vitals::{self, mib};
use crate::harness::api::Answer;
use crate::harness::pair::{HOST, Pair};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::upstream::Protocol;

/// The bound of the contract.
const BOUND: usize = 1_000;
/// Connections that flood one after the other.
const ROUNDS: usize = 10;
/// Far above what closing takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// `ROUNDS` connections send `BOUND` frames each, first those of `open`; each must be over then.
async fn flood(stage: &Stage, name: &str, open: &[Frame], frame: impl Fn(u32) -> Vec<Frame>) {
    stage.control().await.unwrap();
    let (before, since) = (vitals::of(stage), Instant::now());
    for round in 0..ROUNDS {
        let mut raw = Raw::open(stage, ORDERS, &[]).await;
        let flood = (0..).flat_map(&frame);
        let frames: Vec<Frame> = open.iter().cloned().chain(flood).take(BOUND).collect();
        // In several writes: a server that reads all at once may count otherwise than one that does not.
        for part in frames.chunks(100) {
            if !raw.send(part).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        let ended = raw.ends(PATIENCE).await;
        let last = raw.seen.all().split_off(raw.seen.len().saturating_sub(6));
        assert!(ended, "{name}: round {round}: open after {BOUND} frames, the last back: {last:?}");
        if round % 5 == 0 {
            stage.control().await.unwrap();
        }
    }
    let after = vitals::of(stage);
    let cpu = after.cpu.saturating_sub(before.cpu);
    println!(
        "{name}: RSS {:.1} -> {:.1} MiB, {} ms of processor time for {ROUNDS} x {BOUND} frames",
        mib(before.rss),
        mib(after.rss),
        cpu.as_millis()
    );
    assert!(mib(after.rss.saturating_sub(before.rss)) <= 16.0, "{name}: {before:?} {after:?}");
    assert!(cpu <= since.elapsed() + Duration::from_millis(100), "{name}: above one core");
    stage.control().await.unwrap();
}

/// Stream numbers of a client.
fn id(n: u32) -> u32 {
    2 * n + 1
}

#[tokio::test]
async fn rapid_reset_is_closed() {
    let stage = Stage::valetkey().await;
    flood(&stage, "rapid reset", &[], |n| {
        vec![get(id(n), ORDERS, "/v1/x"), Frame::new(RST_STREAM, 0, id(n), 8u32.to_be_bytes())]
    })
    .await;
}

/// Each request is on its way at the API when its reset comes, so that no queue is there to overflow.
#[tokio::test]
async fn patient_rapid_reset_is_closed() {
    for upstream in [Protocol::Http1, Protocol::Http2] {
        let mut pair = Pair::between(Protocol::Http2, upstream).await;
        let mut raw = Raw::open(&pair.stage, HOST, &[]).await;
        let (mut frames, mut given_up) = (0, Vec::new());
        for n in 0..u32::try_from(BOUND / 2).unwrap() {
            if !raw.send(&[get(id(n), HOST, "/v1/x")]).await {
                break;
            }
            tokio::select! {
                exchange = pair.upstream.next() => given_up.push(exchange),
                _ = raw.ends(PATIENCE) => break,
            }
            if !raw.send(&[Frame::new(RST_STREAM, 0, id(n), 8u32.to_be_bytes())]).await {
                break;
            }
            frames += 2;
        }
        assert!(raw.ends(PATIENCE).await, "{upstream:?}: open after {frames} frames");
        println!("patient rapid reset to {upstream:?}: over after {frames} frames");
        for exchange in given_up {
            exchange.given_up().await;
        }
        pair.stage.control().await.unwrap();
    }
}

/// MadeYouReset (CVE-2025-8671): frames that make the server reset the stream itself.
#[tokio::test]
async fn made_you_reset_is_closed() {
    let stage = Stage::valetkey().await;
    let zero = |n| Frame::new(WINDOW_UPDATE, 0, id(n), 0u32.to_be_bytes());
    let overflow = |n| Frame::new(WINDOW_UPDATE, 0, id(n), 0x7fff_ffffu32.to_be_bytes());
    let late = |n| Frame::new(DATA, 0, id(n), b"late".to_vec());
    let odd = |n| Frame::new(PRIORITY, 0, id(n), vec![0; 4]);
    let itself = |n| {
        let depends = id(n).to_be_bytes();
        Frame::new(PRIORITY, 0, id(n), [&depends[..], &[16]].concat())
    };
    let kinds: [(&str, &(dyn Fn(u32) -> Frame + Sync)); 5] = [
        ("an increment of zero", &zero),
        ("an overflowing increment", &overflow),
        ("data after the end", &late),
        ("a short PRIORITY", &odd),
        ("a stream that depends on itself", &itself),
    ];
    for (name, bad) in kinds {
        flood(&stage, name, &[], |n| vec![get(id(n), ORDERS, "/v1/x"), bad(n)]).await;
    }
    let long = |n| {
        let mut block = block("POST", ORDERS, "/v1/x");
        block.extend(field("content-length", "1"));
        let body = Frame::new(DATA, END_STREAM, id(n), b"more".to_vec());
        vec![Frame::new(HEADERS, END_HEADERS, id(n), block), body]
    };
    flood(&stage, "a body beyond its length", &[], long).await;
}

#[tokio::test]
async fn continuation_flood_is_closed() {
    let stage = Stage::valetkey().await;
    let open = [Frame::new(HEADERS, END_STREAM, 1, block("GET", ORDERS, "/v1/x"))];
    flood(&stage, "empty CONTINUATION", &open, |_| vec![Frame::new(CONTINUATION, 0, 1, vec![])])
        .await;
    flood(&stage, "full CONTINUATION", &open, |_| {
        vec![Frame::new(CONTINUATION, 0, 1, field("x-more", &"y".repeat(100)))]
    })
    .await;
    assert!(stage.orders.requests().is_empty());
}

#[tokio::test]
async fn control_frame_floods_are_closed() {
    let stage = Stage::valetkey().await;
    flood(&stage, "PING", &[], |n| vec![Frame::new(PING, 0, 0, u64::from(n).to_be_bytes())]).await;
    flood(&stage, "PING answers", &[], |_| vec![Frame::new(PING, ACK, 0, [0; 8])]).await;
    flood(&stage, "empty SETTINGS", &[], |_| vec![Frame::new(SETTINGS, 0, 0, vec![])]).await;
    flood(&stage, "SETTINGS", &[], |n| {
        let window = [&[0, 4][..], &(60_000 + n).to_be_bytes()].concat();
        vec![Frame::new(SETTINGS, 0, 0, window)]
    })
    .await;
    flood(&stage, "PRIORITY", &[], |n| vec![Frame::new(PRIORITY, 0, id(n), [0, 0, 0, 0, 16])])
        .await;
    flood(&stage, "WINDOW_UPDATE", &[], |_| {
        vec![Frame::new(WINDOW_UPDATE, 0, 0, 1u32.to_be_bytes())]
    })
    .await;
    flood(&stage, "unknown frames", &[], |_| vec![Frame::new(0x42, 0, 0, b"x".to_vec())]).await;
    let open = [get(1, ORDERS, "/v1/x"), Frame::new(RST_STREAM, 0, 1, 8u32.to_be_bytes())];
    flood(&stage, "RST_STREAM", &open, |_| vec![Frame::new(RST_STREAM, 0, 1, 8u32.to_be_bytes())])
        .await;
}

#[tokio::test]
async fn empty_data_flood_is_closed() {
    let stage = Stage::valetkey().await;
    flood(&stage, "empty DATA", &[post(1, ORDERS, "/v1/x")], |_| {
        vec![Frame::new(DATA, 0, 1, vec![])]
    })
    .await;
    // Padding makes a frame long and says no more (RFC 9113 section 6.1).
    flood(&stage, "padded empty DATA", &[post(1, ORDERS, "/v1/x")], |_| {
        vec![Frame::new(DATA, 8, 1, [3, 0, 0, 0])]
    })
    .await;
}

/// Small on the wire, large when decoded: an entry of the dynamic table, named again and again.
#[tokio::test]
async fn hpack_bomb_is_refused() {
    let stage = Stage::valetkey().await;
    stage.control().await.unwrap();
    let before = vitals::of(&stage);
    let mut raw = Raw::open(&stage, ORDERS, &[]).await;
    // A literal that is indexed (RFC 7541 section 6.2.1), 3,000 bytes long, then 16,000 times entry 62.
    let mut bomb = block("GET", ORDERS, "/v1/x");
    bomb.extend([0x40, 6]);
    bomb.extend(b"x-bomb");
    bomb.extend([0x7f, 0xb9, 0x16]);
    bomb.extend(vec![b'y'; 3_000]);
    bomb.extend(vec![0xbe; 12_000]);
    raw.send(&[Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, bomb)]).await;
    let refused = async {
        tokio::select! {
            frame = raw.frame(HEADERS, 1) => format!("{frame:?}"),
            frame = raw.frame(RST_STREAM, 1) => format!("{frame:?}"),
            true = raw.ends(PATIENCE) => "gone".to_owned(),
        }
    };
    let answer = soon("a refusal", refused).await;
    assert!(stage.orders.requests().is_empty(), "{answer}");
    let after = vitals::of(&stage);
    assert!(mib(after.rss.saturating_sub(before.rss)) <= 16.0, "{before:?} {after:?}");
    stage.control().await.unwrap();
}

/// 431 on the stream, and the connection goes on.
#[tokio::test]
async fn too_many_fields_are_a_431() {
    let stage = Stage::valetkey().await;
    let mut raw = Raw::open(&stage, ORDERS, &[]).await;
    let mut many = block("GET", ORDERS, "/v1/x");
    for n in 0..200 {
        many.extend(field(&format!("x-{n}"), "y"));
    }
    raw.send(&[Frame::new(HEADERS, END_STREAM | END_HEADERS, 1, many)]).await;
    let head = raw.frame(HEADERS, 1).await;
    // `:status` as a literal with the static table's name 8, Huffman-coded or not: 431 is no table entry.
    assert!(head.payload.len() > 2, "{head:?}");
    raw.send(&[get(3, ORDERS, "/v1/x")]).await;
    raw.frame(HEADERS, 3).await;
    assert_eq!(stage.orders.requests().len(), 1, "the refused one went upstream");
}

/// What busy clients do: windows moved after each frame of data, pings beside answers, requests given up.
#[tokio::test]
async fn busy_clients_are_no_flood() {
    let stage = Stage::valetkey().await;
    stage.orders.answer(|_| Answer::ok(vec![b'x'; 64 * 1024]));
    let mut raw = Raw::open(&stage, ORDERS, &[]).await;
    for n in 0..100 {
        assert!(raw.send(&[get(id(n), ORDERS, "/v1/x")]).await, "closed at request {n}");
        let (mut index, mut got) = (raw.seen.len(), 0);
        while got < 64 * 1024 {
            assert!(!raw.is_closed(), "taken for a flood after {n} requests");
            let frame = raw.seen.at("data", index).await;
            index += 1;
            if frame.kind != DATA || frame.stream != id(n) || frame.payload.is_empty() {
                continue;
            }
            got += frame.payload.len();
            let more = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
            let moves =
                [Frame::new(WINDOW_UPDATE, 0, 0, more), Frame::new(WINDOW_UPDATE, 0, id(n), more)];
            assert!(raw.send(&moves).await, "closed at request {n}");
        }
        assert!(raw.send(&[Frame::new(PING, 0, 0, [7; 8])]).await);
    }
    // Given up after their answer has begun, at the pace of a person who types.
    for n in 100..250 {
        let seen = raw.seen.len();
        assert!(raw.send(&[get(id(n), ORDERS, "/v1/x")]).await, "closed at cancelled request {n}");
        raw.frame_after(seen, HEADERS, id(n)).await;
        assert!(raw.send(&[Frame::new(RST_STREAM, 0, id(n), 8u32.to_be_bytes())]).await);
    }
    assert!(raw.send(&[get(id(300), ORDERS, "/v1/x")]).await);
    raw.frame(HEADERS, id(300)).await;
    assert!(!raw.is_closed());
}
