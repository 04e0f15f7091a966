//! An issuer that takes its time: who has a token feels nothing of it, who needs one is told in time.

use std::time::{Duration, Instant};

use crate::harness::client::exchange;
use crate::harness::figure;
use crate::harness::stage::{BILLING, ORDERS, Stage, Tunnel, own_answer};

const REQUESTS: usize = 500;
/// The mint's deadline, and a moment for the answer.
const DEADLINE: Duration = Duration::from_secs(12);

/// The slowest hundredth.
async fn p99(tunnel: &mut Tunnel) -> Duration {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {BILLING}\r\n\r\n");
        let asked = Instant::now();
        let answer = exchange(tunnel, request.as_bytes()).await.expect("an answer");
        times.push(asked.elapsed());
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
    times.sort_unstable();
    times[REQUESTS * 99 / 100]
}

#[tokio::test]
async fn a_slow_issuer_slows_only_those_who_need_it() {
    let stage = Stage::valetkey().await;
    let mut cached = stage.tunnel(BILLING).await.unwrap();
    p99(&mut cached).await;
    let before = p99(&mut cached).await;
    let _never = stage.orders_issuer.hold();
    let asked = Instant::now();
    let waiting = async {
        let answer = stage.get(ORDERS, "/v1/x", "").await.unwrap();
        (answer, asked.elapsed())
    };
    let beside = async {
        stage.orders_issuer.call(0).await;
        p99(&mut cached).await
    };
    let ((answer, took), during) = tokio::join!(waiting, beside);
    own_answer(&answer, &[503], &["issuer-unreachable"]).unwrap();
    assert!(took < DEADLINE, "{took:?}");
    stage.bare("the API", &stage.orders).unwrap();
    let more = during.saturating_sub(before);
    // The issuer never answers, so who waits for it waits for seconds. Less says more of the tests beside this one.
    assert!(more <= Duration::from_millis(250), "{before:?} before, {during:?} during");
    figure(
        "issuer-slow",
        format!("cached p99 {before:?} before, {during:?} during; 503 after {took:.1?}"),
    );
}
