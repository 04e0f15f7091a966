//! The end of a daemon: what is idle is closed at once, what is under way comes to its end, and who cannot
//! wait says so twice.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::caller::Caller;
use crate::harness::client::connect;
use crate::harness::pair::{ALL, Pair};
use crate::harness::soon;
use crate::harness::stage::{ORDERS, Stage};
use crate::harness::upstream::Protocol;

/// The daemon would wait longer for them than the test waits for the daemon.
#[tokio::test]
async fn idle_connections_do_not_hold_it_up() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut stage = Stage::valetkey().await;
        let mut idle = Vec::new();
        for _ in 0..3 {
            let mut call = Caller::open(&stage, ORDERS, protocol).await.get("/v1/x").await;
            assert_eq!(call.head().await.status, 200);
            call.body().await;
            idle.push(call.again());
            // Without a first request; and without a handshake.
            idle.push(Caller::open(&stage, ORDERS, protocol).await);
        }
        let silent = TcpStream::connect(stage.proxy_addr()).await.unwrap();
        let (_, tunnel) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
        stage.running().unwrap().sigterm();
        let told = std::time::Instant::now();
        assert_eq!(stage.running_mut().ended().await, Some(0), "{protocol:?}");
        // The shortest time that any of them is waited for otherwise is 10 s.
        assert!(told.elapsed() < std::time::Duration::from_secs(8), "{:?}", told.elapsed());
        drop((idle, silent, tunnel));
    }
}

#[tokio::test]
async fn what_is_under_way_comes_to_its_end() {
    for (client, upstream) in ALL {
        let mut pair = Pair::between(client, upstream).await;
        let caller = pair.caller().await;
        let other = (client == Protocol::Http2).then(|| caller.beside());
        let mut call = caller.get("/slow").await;
        let mut up = pair.upstream.next().await;
        up.head(200, &[("content-length", "10")]).await;
        up.send(b"first").await;
        assert_eq!(call.head().await.status, 200);
        assert_eq!(call.exactly(5).await, b"first");
        pair.stage.running().unwrap().sigterm();
        let proxy = pair.stage.proxy_addr();
        soon("the listener to close", async { while TcpStream::connect(proxy).await.is_ok() {} })
            .await;
        up.send(b"later").await;
        up.end().await;
        assert_eq!(call.body().await.0, b"later", "{client:?} {upstream:?}");
        assert_eq!(pair.stage.running_mut().ended().await, Some(0), "{client:?} {upstream:?}");
        assert!(pair.upstream.waiting().is_none());
        drop(other);
    }
}

/// An answer without an end gets its time, unless the signal comes again.
#[tokio::test]
async fn a_second_signal_cuts_it_short() {
    let mut stage = Stage::valetkey().await;
    let gate = crate::harness::Gate::closed();
    let inner = gate.clone();
    stage.orders.answer(move |_| crate::harness::api::Answer::ok("first ").then(&inner, "second"));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    let running = stage.running().unwrap();
    running.sigterm();
    running.says("open ones are drained").await;
    running.sigterm();
    running.says("stopping at once").await;
    assert_eq!(stage.running_mut().ended().await, Some(0));
    drop(gate);
}
