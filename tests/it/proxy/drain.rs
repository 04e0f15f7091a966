//! The end of a daemon: what is idle is closed at once, what is under way comes to its end, and who cannot
//! wait says so twice.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::api::Answer;
use crate::harness::caller::Caller;
use crate::harness::client::connect;
use crate::harness::pair::{ALL, Pair};
use crate::harness::stage::{EVIL, ORDERS, Stage, Tunnel};
use crate::harness::upstream::Protocol;
use crate::harness::{Gate, figure, soon};

/// Far less than a drain may take.
const AT_ONCE: Duration = Duration::from_secs(8);

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
        let told = Instant::now();
        assert_eq!(stage.running_mut().ended().await, Some(0), "{protocol:?}");
        // The shortest time that any of them is waited for otherwise is 10 s.
        assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
        figure("ended", format!("idle ones: after {:.1?}", told.elapsed()));
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

/// A tunnel in which an answer has begun that never ends.
async fn unfinished(stage: &Stage) -> Tunnel {
    let never = Gate::closed();
    stage.orders.answer(move |_| Answer::ok("first ").then(&never, "second"));
    let mut tunnel = stage.tunnel(ORDERS).await.unwrap();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
    tunnel.stream.write_all(request.as_bytes()).await.unwrap();
    soon("the first half", tunnel.until(b"first ")).await.unwrap();
    tunnel
}

/// Who is impatient says so twice: what is open is cut, and each request still has its outcome.
#[tokio::test]
async fn a_second_signal_cuts() {
    let mut stage = Stage::valetkey().await;
    let mut tunnel = unfinished(&stage).await;
    let (answer, mut opaque) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
    assert_eq!(answer.status(), 200);
    stage.control().await.unwrap();
    let since = Instant::now();
    stage.running().unwrap().sigterm();
    stage.running().unwrap().says("stopping").await.unwrap();
    let quiet = Duration::from_millis(500);
    assert!(tokio::time::timeout(quiet, tunnel.more()).await.is_err(), "one signal waits");
    stage.running().unwrap().sigterm();
    soon("the end of the answer", tunnel.rest()).await;
    soon("the end of the tunnel", opaque.rest()).await;
    assert_eq!(stage.running_mut().ended().await, Some(0));
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let audit = stage.running().unwrap().audit();
    let count = |event: &str| audit.iter().filter(|r| r["event"] == event).count();
    assert_eq!(count("decision"), count("outcome"), "{audit:#?}");
    assert_eq!(codes_of_outcomes(&audit), ["none", "shutting-down", "shutting-down"]);
    let verified = stage.running().unwrap().home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// One signal: tunnels end with the drain, and so does an answer that never would.
#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn the_drain_ends() {
    let mut stage = Stage::valetkey().await;
    let mut tunnel = unfinished(&stage).await;
    let (answer, mut opaque) = connect(stage.proxy_addr(), &format!("{EVIL}:443")).await;
    assert_eq!(answer.status(), 200);
    let since = Instant::now();
    stage.running().unwrap().sigterm();
    let most = Duration::from_secs(32);
    let ended = async {
        opaque.rest().await;
        let first = since.elapsed();
        tunnel.rest().await;
        (first, since.elapsed())
    };
    let (tunnel, answer) = tokio::time::timeout(most, ended).await.expect("the end of the drain");
    assert_eq!(stage.running_mut().ended().await, Some(0));
    figure(
        "ended",
        format!("a tunnel without an end ended after {tunnel:.1?}, an answer after {answer:.1?}"),
    );
    assert!(tunnel > Duration::from_secs(20) && since.elapsed() < Duration::from_secs(30));
    let audit = stage.running().unwrap().audit();
    assert_eq!(codes_of_outcomes(&audit), ["shutting-down", "shutting-down"]);
}

/// What each request and tunnel ended with.
fn codes_of_outcomes(audit: &[serde_json::Value]) -> Vec<&str> {
    let outcomes = audit.iter().filter(|record| record["event"] == "outcome");
    let mut codes: Vec<_> =
        outcomes.map(|record| record["code"].as_str().unwrap_or("none")).collect();
    codes.sort_unstable();
    codes
}
