//! The network between proxy and upstream is gone for a while: packets are dropped, nobody is told.
//! Needs root; `VALETKEY_TEST_LARGE=1` gives it its full minute.

use std::time::{Duration, Instant};

use crate::harness::Gate;
use crate::harness::api::Answer;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use crate::harness::client::{connect, http2, tls, tls_config};
use crate::harness::figure;
use crate::harness::namespace::{entered, sh};
use crate::harness::stage::{BILLING, ORDERS, Stage};

const SELF: &str = "faults::partition::a_partition_is_told_and_soon_over";

fn length() -> Duration {
    Duration::from_secs(if std::env::var_os("VALETKEY_TEST_LARGE").is_some() { 60 } else { 45 })
}

/// A request over HTTP/2 on a connection of its own, for as long as it takes.
async fn ask(stage: &Stage, path: &str) -> JoinHandle<hyper::Result<http::Response<Incoming>>> {
    let (_, reader) = connect(stage.proxy_addr(), &format!("{ORDERS}:443")).await;
    let config = tls_config(stage.trust(), &["h2"]);
    let mut sender = http2(tls(reader.stream, ORDERS, config).await.unwrap()).await;
    let uri = format!("https://{ORDERS}{path}");
    let request = http::Request::get(uri).body(Full::<Bytes>::default()).unwrap();
    tokio::spawn(async move { sender.send_request(request).await })
}

async fn get(stage: &Stage) -> (u16, Duration) {
    let asked = Instant::now();
    let answer = ask(stage, "/v1/x").await.await.unwrap().expect("an answer");
    (answer.status().as_u16(), asked.elapsed())
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn a_partition_is_told_and_soon_over() {
    if !entered(SELF).await {
        return;
    }
    sh("ip link set lo up").await;
    let stage = Stage::valetkey().await;
    let never = Gate::closed();
    let hold = never.clone();
    stage.orders.answer(move |seen| match seen.target.ends_with("/held") {
        true => Answer::ok("late").after(&hold),
        false => Answer::ok("{}"),
    });
    // Connections that wait for the next request, and over HTTP/2 one with a request under way.
    assert_eq!(get(&stage).await.0, 200);
    let held = ask(&stage, "/v1/held").await;
    stage.orders.request(1).await;
    let port = stage.orders.addr().port();
    let rule = format!("INPUT -p tcp -m multiport --ports {port} -j DROP");
    sh(&format!("iptables -A {rule}")).await;
    let gone = Instant::now();
    let in_flight = async {
        let status = held.await.unwrap().map(|answer| answer.status().as_u16());
        (status.expect("an answer"), gone.elapsed())
    };
    let new = async {
        let mut told = Vec::new();
        while gone.elapsed() < length() {
            let (status, took) = get(&stage).await;
            // Others go on.
            assert_eq!(stage.get(BILLING, "/v1/x", "").await.unwrap().status(), 200);
            told.push((status, took));
        }
        sh(&format!("iptables -D {rule}")).await;
        let healed = Instant::now();
        loop {
            let (status, _) = get(&stage).await;
            if status == 200 {
                return (told, healed.elapsed());
            }
        }
    };
    let both = async { tokio::join!(in_flight, new) };
    let most = length() + Duration::from_secs(90);
    let ((status, after), (told, recovered)) =
        tokio::time::timeout(most, both).await.expect("an end of it");
    let slowest = told.iter().map(|(_, took)| *took).max().unwrap();
    assert!(told.iter().all(|(status, _)| matches!(status, 502 | 504)), "{told:?}");
    assert!(matches!(status, 502 | 504), "{status}");
    let text = format!(
        "{:?} without the network: in flight {status} after {after:.1?}; {} new ones 502 or 504, slowest {slowest:.1?}; \
         first 200 {recovered:.1?} after it is back",
        length(),
        told.len()
    );
    println!("{text}");
    assert!(recovered <= Duration::from_secs(5), "{text}");
    stage.control().await.unwrap();
    figure("partition", text);
}
