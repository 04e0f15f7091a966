//! What it costs to be there: at start, for each idle connection, and while bodies of any size pass. The
//! figures of the contract hold for the release build; a debug build has looser ones, which fail as well.

use super::vitals::{self, is_release, mib};
use crate::harness::caller::{Caller, Sending};
use crate::harness::pair::{ALL, Pair};
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::upstream::{Piece, Protocol};
use crate::stream::is_large;

/// Of memory of its own. How many pages of a program's file Linux maps at once is its own affair: they belong to its
/// file cache, whoever runs the program.
#[tokio::test]
async fn an_idle_start_is_small() {
    let stage = Stage::valetkey().await;
    let (now, peak) = (vitals::of(&stage), mib(vitals::peak(&stage)));
    let (rss, own) = (mib(now.rss), mib(now.own));
    println!("idle start: {rss:.1} MiB resident, {own:.1} its own, {peak:.1} at its peak");
    assert!(own <= 4.0, "{own:.1} MiB");
}

/// Each has had its TLS handshake and a request, and waits for the next.
#[tokio::test]
async fn idle_connections_are_small() {
    let connections = 1_000;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let stage = Stage::valetkey().await;
        // What the first ones cost once: leaf, pool, buffers of both workers.
        let mut held = open(&stage, protocol, 20).await;
        let before = vitals::of(&stage);
        held.extend(open(&stage, protocol, connections).await);
        let after = vitals::of(&stage);
        let each = (after.rss.saturating_sub(before.rss)) as f64 / 1024.0 / connections as f64;
        println!("{connections} idle intercepted {protocol:?} connections: {each:.1} KiB each");
        assert!(after.files >= before.files + connections, "they are open: {after:?}");
        // The HTTP/2 library alone holds 28 KiB: 16 to write, 8 to read, 4 to decode heads.
        let limit = match (is_release(), protocol) {
            (true, Protocol::Http1) => 30.0,
            (true, Protocol::Http2) => 46.0,
            (false, _) => 90.0,
        };
        assert!(each <= limit, "{protocol:?}: {each:.1} KiB each, {before:?} {after:?}");
        drop(held);
    }
}

async fn open(stage: &Stage, protocol: Protocol, count: usize) -> Vec<Caller> {
    let mut held = Vec::new();
    while held.len() < count {
        let some = (0..20).map(|_| async {
            let mut call = Caller::open(stage, ORDERS, protocol).await.get("/v1/x").await;
            assert_eq!(call.head().await.status, 200);
            call.body().await;
            call.again()
        });
        held.extend(join(some).await);
    }
    held
}

/// Runs futures side by side.
async fn join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in running.iter_mut().zip(&mut done) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// 2 GiB each way where `VALETKEY_TEST_LARGE=1`: memory does not grow with what passes.
#[tokio::test]
async fn bodies_of_any_size_pass_in_constant_memory() {
    let size: usize = match (is_large(), is_release()) {
        (true, _) => 2 << 30,
        (false, true) => 256 << 20,
        (false, false) => 48 << 20,
    };
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        // Buffers that are allocated once, whatever passes.
        transfer(&mut pair, 4 << 20).await;
        let before = vitals::of(&pair.stage);
        transfer(&mut pair, size).await;
        let peak = vitals::peak(&pair.stage);
        let grown = mib(peak.saturating_sub(before.rss));
        println!(
            "{client:?} to {upstream:?}: {:.0} MiB up and down, RSS {:.1} MiB and {grown:.1} MiB more at its peak",
            mib(size as u64),
            mib(before.rss)
        );
        assert!(grown < 16.0, "{client:?} {upstream:?}: grown by {grown:.1} MiB");
    }
}

async fn transfer(pair: &mut Pair, size: usize) {
    let block = vec![0x5a; 256 << 10];
    let mut call = pair.caller().await.call("POST", "/big", &[], Sending::Sized(size)).await;
    let mut up = pair.upstream.next().await;
    let sending = async {
        for _ in 0..size / block.len() {
            assert!(call.send(&block).await);
        }
        call.end().await;
    };
    let receiving = async {
        let mut got = 0;
        loop {
            match up.receive().await {
                Piece::Data(data) => got += data.len(),
                end => return (got, end),
            }
        }
    };
    let ((), (got, end)) = tokio::join!(sending, receiving);
    assert_eq!((got, end), (size, Piece::End(vec![])), "up");
    up.head(200, &[("content-length", &size.to_string())]).await;
    assert_eq!(call.head().await.status, 200);
    let sending = async {
        for _ in 0..size / block.len() {
            assert!(up.send(&block).await);
        }
        up.end().await;
    };
    let receiving = async {
        let mut got = 0;
        loop {
            match call.receive().await {
                Piece::Data(data) => got += data.len(),
                end => return (got, end),
            }
        }
    };
    let ((), (got, end)) = tokio::join!(sending, receiving);
    assert_eq!((got, end), (size, Piece::End(vec![])), "down");
}

/// A reader that stops stops the sender: what is in between is bounded, however large the answer.
#[tokio::test]
async fn a_reader_that_stops_is_not_buffered_for() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        transfer(&mut pair, 1 << 20).await;
        let before = vitals::of(&pair.stage);
        let mut call = pair.caller().await.get("/big").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[]).await;
        assert_eq!(call.head().await.status, 200);
        let block = vec![0x5a; 64 << 10];
        let mut sent = 0;
        // Until nothing more is taken: a second without room, on a machine that moves megabytes in one.
        while sent < 256 << 20
            && tokio::time::timeout(std::time::Duration::from_secs(1), up.send(&block))
                .await
                .is_ok()
        {
            sent += block.len();
        }
        let grown = mib(vitals::of(&pair.stage).rss.saturating_sub(before.rss));
        println!(
            "{client:?} to {upstream:?}: {sent} bytes taken for a reader that stopped, {grown:.1} MiB"
        );
        // The sockets on both sides hold most of it, outside of the daemon.
        assert!(sent < 64 << 20, "{client:?} {upstream:?}: {sent} bytes were taken");
        assert!(grown <= 8.0, "{client:?} {upstream:?}: {grown:.1} MiB");
    }
}
