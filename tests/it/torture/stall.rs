//! Who takes nothing: clients that open no window (HOSTILE.md 85), whose answers wait at the upstream and not in
//! our memory, and whoever should read our log.

use super::raw_h2::{Frame, HEADERS, Raw, get};
use super::vitals::{self, mib};
use crate::harness::api::Answer;
use crate::harness::client::{connect, http2, http2_send, tls, tls_config};
use crate::harness::stage::{ORDERS, Stage};

/// A connection that asks for a hundred answers of 1 MiB and takes none: no more than an upstream may send ahead,
/// which is 5 MiB for a near one. On a busy machine it looks far, and may send 24, in blocks that are not full.
#[tokio::test]
async fn zero_window_stall_is_bounded() {
    let stage = Stage::valetkey().await;
    stage.orders.answer(|_| Answer::ok(vec![b'x'; 1 << 20]));
    stage.control().await.unwrap();
    let before = vitals::of(&stage);
    let mut raw = Raw::open(&stage, ORDERS, &[(4, 0)]).await;
    let frames: Vec<Frame> = (0..100).map(|n| get(2 * n + 1, ORDERS, "/v1/x")).collect();
    assert!(raw.send(&frames).await);
    for n in 0..100 {
        raw.frame(HEADERS, 2 * n + 1).await;
    }
    // Neighbours first, so that whatever comes has come.
    for _ in 0..10 {
        stage.control().await.unwrap();
    }
    let after = vitals::of(&stage);
    println!(
        "100 stalled answers of 1 MiB: RSS {:.1} -> {:.1} MiB",
        mib(before.rss),
        mib(after.rss)
    );
    assert!(mib(after.rss - before.rss) <= 40.0, "{before:?} {after:?}");
    drop(raw);
    stage.control().await.unwrap();
}

/// A terminal that was stopped with Ctrl-S, a pager: lines are lost rather than requests.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let stage = Stage::valetkey_with(|v| v.verbose()).await;
    let running = stage.running().unwrap();
    let gate = running.deaf();
    // A pipe holds 64 KiB; the libraries of HTTP/2 log a few lines for each frame.
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let stream = tls(reader.stream, ORDERS, tls_config(stage.trust(), &["h2"])).await.unwrap();
    let mut line = http2(stream).await;
    for n in 0..200 {
        let request = http::Request::get(format!("https://{ORDERS}/v1/{n}"));
        let request = request.body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
        assert_eq!(http2_send(&mut line, request).await.unwrap().status(), 200);
    }
    let before = running.stderr_text().len();
    gate.open();
    running.says_more_than(before + (64 << 10)).await;
}
