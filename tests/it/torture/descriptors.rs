//! A process with few descriptors and many clients: it refuses or waits, does not spin, and is back at once.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::vitals;
use crate::harness::client::{connect_answer, exchange, finish};
use crate::harness::http1::Reader;
use crate::harness::pair::Pair;
use crate::harness::stage::{BILLING, ORDERS, Stage, own_answer};
use crate::harness::upstream::Protocol;
use crate::harness::valetkey::Valetkey;
use crate::harness::{figure, soon};

const CLIENTS: usize = 500;
/// What the process may open.
const MOST: u32 = 128;
/// Over which processor time is measured: nothing is waited for, the daemon should do nothing.
const WINDOW: Duration = Duration::from_secs(2);

async fn crowd(stage: &Stage) -> Vec<TcpStream> {
    let mut crowd = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let stream = soon("a place in the queue", TcpStream::connect(stage.proxy_addr())).await;
        crowd.push(stream.unwrap());
    }
    crowd
}

/// The daemon's share of one processor over the window.
async fn load(stage: &Stage) -> f64 {
    let (before, since) = (vitals::of(stage), Instant::now());
    tokio::time::timeout(WINDOW, std::future::pending::<()>()).await.unwrap_err();
    let cpu = vitals::of(stage).cpu - before.cpu;
    cpu.as_secs_f64() / since.elapsed().as_secs_f64()
}

/// Everybody leaves; then a mint, its record and an answer. How long it took is a figure: it says more of the tests
/// beside this one.
async fn is_back(stage: &Stage, crowd: Vec<TcpStream>) {
    drop(crowd);
    let since = Instant::now();
    soon("the service", async { while stage.control().await.is_err() {} }).await;
    figure("descriptors", format!("back after {:.1?}", since.elapsed()));
}

/// Five hundred clients of a process that may open few files: who is in stays in, tokens are minted for it, who is
/// not is told so, nothing spins.
#[tokio::test]
async fn few_descriptors_are_divided_beforehand() {
    for most in [64, MOST, 256] {
        divided(most).await;
    }
}

async fn divided(most: u32) {
    let stage = Stage::valetkey_with(|v| v.with_descriptors(most)).await;
    let mut kept = stage.tunnel(ORDERS).await.unwrap();
    let mut crowd = crowd(&stage).await;
    let load = load(&stage).await;
    let files = vitals::of(&stage).files;
    figure("descriptors", format!("{:.1} % of a processor, {files} of {most} open", load * 100.0));
    assert!(load < 0.05, "{load}");
    assert!(files < most as usize, "{files}");
    for _ in 0..20 {
        let request = format!("GET /v1/x HTTP/1.1\r\nHost: {ORDERS}\r\n\r\n");
        let answer = exchange(&mut kept, request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.everything());
    }
    stage.injected(&stage.orders.request(19).await, &stage.orders_issuer.token()).unwrap();
    let mut last = Reader::new(crowd.pop().unwrap());
    let answer = connect_answer(&mut last).await;
    own_answer(&answer, &[503], &["too-many-connections"]).unwrap();
    is_back(&stage, crowd).await;
}

/// Requests that take all connections to upstreams: those beyond are told so, and a mint still has its own.
#[tokio::test]
async fn upstreams_take_no_more_than_their_part() {
    let few = |v: Valetkey| v.with_descriptors(MOST);
    let pair = Pair::between_with(Protocol::Http2, Protocol::Http1, few, "").await;
    let caller = pair.caller().await;
    let mut heads = JoinSet::new();
    for _ in 0..MOST {
        let mut call = caller.beside().get("/v1/x").await;
        heads.spawn(async move { (call.head().await, call) });
    }
    // A third of what there is at most is held at the upstream, unanswered.
    for _ in 0..MOST * 2 / 3 {
        let (head, _) = soon("a refusal", heads.join_next()).await.unwrap().unwrap();
        assert_eq!((head.status, &*head.code()), (503, "too-many-connections"));
    }
    let files = vitals::of(&pair.stage).files;
    assert!(files < MOST as usize, "{files}");
    let _ = pair.stage.get(BILLING, "/v1/x", "").await.unwrap();
    assert_eq!(pair.stage.billing_issuer.minted().len(), 1, "minted beside a full house");
    drop((heads, caller));
    soon("the service", async { while pair.stage.control().await.is_err() {} }).await;
}

/// The limit shrinks under a running process: accepting fails, waits without spinning, and is back at once.
#[tokio::test]
async fn a_limit_that_shrinks_is_survived() {
    let stage = Stage::valetkey().await;
    let running = stage.running().unwrap();
    let pid = running.pid().unwrap().to_string();
    let most = vitals::of(&stage).files + 8;
    let mut command = tokio::process::Command::new("prlimit");
    let done = finish(command.args(["--pid", &pid, &format!("--nofile={most}:")])).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let crowd = crowd(&stage).await;
    running.says("cannot accept connections for now").await.unwrap();
    let load = load(&stage).await;
    figure("descriptors", format!("{:.1} % of a processor after the limit shrank", load * 100.0));
    assert!(load < 0.05, "{load}");
    is_back(&stage, crowd).await;
}
