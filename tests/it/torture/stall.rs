//! Clients that open no window (HOSTILE.md 85): what they asked for waits at the upstream, not in our memory.

use super::raw_h2::{Frame, HEADERS, Raw, get};
use super::vitals::{self, mib};
use crate::harness::api::Answer;
use crate::harness::stage::{ORDERS, Stage};

/// A connection that asks for a hundred answers of 1 MiB and takes none: 16 MiB at most.
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
    assert!(mib(after.rss - before.rss) <= 16.0, "{before:?} {after:?}");
    drop(raw);
    stage.control().await.unwrap();
}
