//! slowhttptest with a thousand connections, in its three modes, while somebody else works: the neighbour does
//! not notice, and who never finishes a head is closed in its time.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::vitals::{self, is_release, mib};
use crate::harness::accept_loop;
use crate::harness::api::{Answer, Api};
use crate::harness::client::connect;
use crate::harness::stage::{BILLING, Stage};

const CONNECTIONS: &str = "1000";

/// Runs slowhttptest for `seconds`, with a legitimate client beside it; gives its last words.
///
/// slowhttptest keeps one processor busy by itself, so a second daemon that nobody attacks is asked in turn
/// with the first: what it loses, the machine took.
async fn attack(stage: &Stage, name: &str, seconds: u32, arguments: &[&str]) -> String {
    let apart = Stage::valetkey().await;
    let before = vitals::of(stage);
    let base = legitimate([stage, &apart], Until::Times(300)).await.p99[0];
    let seconds = seconds.to_string();
    let child = Command::new("slowhttptest")
        .args(["-c", CONNECTIONS, "-r", "400", "-l", &seconds, "-v", "1"])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("slowhttptest is installed: run tests/run");
    let (done, ended) = oneshot::channel();
    let watch = async {
        let output = child.wait_with_output().await.unwrap();
        let _ = done.send(());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (honest, said) = tokio::join!(legitimate([stage, &apart], Until::Event(ended)), watch);
    let ([during, elsewhere], most) = (honest.p99, honest.most);
    let grown = mib(most.rss.saturating_sub(before.rss));
    println!(
        "{name}: p99 {base:?} before, {during:?} during, {elsewhere:?} elsewhere, of {} requests; \
         {} files, {grown:.1} MiB more; {}",
        honest.count,
        most.files,
        last_words(&said)
    );
    assert!(most.files > before.files + 50, "{name}: the attack arrived: {most:?} {said}");
    let usual = base.max(elsewhere);
    let bound = if is_release() {
        2 * usual + Duration::from_millis(5)
    } else {
        10 * usual + Duration::from_secs(4)
    };
    assert!(
        during <= bound,
        "{name}: p99 {base:?} before, {during:?} during, {elsewhere:?} elsewhere"
    );
    let most_memory = if is_release() { 64.0 } else { 128.0 };
    assert!(grown <= most_memory, "{name}: {grown:.1} MiB more");
    said
}

enum Until {
    Times(usize),
    Event(oneshot::Receiver<()>),
}

/// What honest requests saw.
struct Honest {
    /// The p99 of each daemon.
    p99: [Duration; 2],
    /// Requests to each.
    count: usize,
    /// The first daemon at its largest.
    most: vitals::Vitals,
}

/// Requests of an honest client, each on a tunnel of its own, to two daemons in turn.
async fn legitimate(stages: [&Stage; 2], mut until: Until) -> Honest {
    let (mut times, mut most) = ([Vec::new(), Vec::new()], vitals::of(stages[0]));
    loop {
        let enough = match &mut until {
            Until::Times(wanted) => times[1].len() >= *wanted,
            Until::Event(event) => event.try_recv() != Err(TryRecvError::Empty),
        };
        if enough && times[1].len() >= 100 {
            break;
        }
        for (stage, times) in stages.into_iter().zip(&mut times) {
            let since = Instant::now();
            let answer = stage.get(BILLING, "/v1/x", "").await.unwrap();
            times.push(since.elapsed());
            assert_eq!(answer.status(), 200, "{}", answer.everything());
        }
        let now = vitals::of(stages[0]);
        most.rss = most.rss.max(now.rss);
        most.files = most.files.max(now.files);
    }
    let count = times[0].len();
    let p99 = times.map(|mut times| {
        times.sort();
        times[(times.len() - 1) * 99 / 100]
    });
    Honest { p99, count, most }
}

/// Its last table, on one line.
fn last_words(said: &str) -> String {
    let tail = said.rsplit("slow HTTP test status").next().unwrap_or_default();
    let plain: String = strip_colours(tail);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn strip_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            for c in characters.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Opens a tunnel of the proxy for each connection: for a tool that knows no CONNECT.
async fn forwarder(
    proxy: SocketAddr,
    authority: &'static str,
) -> (SocketAddr, crate::harness::Background) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = accept_loop(listener, move |mut stream: TcpStream| async move {
        let (answer, mut tunnel) = connect(proxy, authority).await;
        if answer.status() == 200 {
            let _ = copy_bidirectional(&mut stream, &mut tunnel.stream).await;
        }
    });
    (addr, task)
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn slow_headers_cost_the_neighbour_nothing() {
    let stage = Stage::valetkey().await;
    let url = format!("http://{}/", stage.proxy_addr());
    let said = attack(&stage, "slow headers", 60, &["-H", "-i", "3", "-u", &url]).await;
    assert!(said.contains("No open connections left"), "closed in 10 s: {}", last_words(&said));
    stage.control().await.unwrap();
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn slow_headers_inside_a_tunnel_cost_the_neighbour_nothing() {
    let stage = Stage::valetkey().await;
    let (addr, _task) = forwarder(stage.proxy_addr(), "api.orders.example:443").await;
    let url = format!("https://{addr}/");
    let said = attack(&stage, "slow headers in TLS", 60, &["-H", "-i", "3", "-u", &url]).await;
    assert!(said.contains("No open connections left"), "closed in 10 s: {}", last_words(&said));
    assert!(stage.orders.requests().is_empty());
    stage.control().await.unwrap();
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn slow_bodies_cost_the_neighbour_nothing() {
    let plain = Api::plain().await;
    let addr = plain.addr();
    let stage = Stage::valetkey_with(|v| v.reaching("plain.example:80", addr)).await;
    let proxy = stage.proxy_addr().to_string();
    let url = "http://plain.example/";
    attack(&stage, "slow bodies", 5, &["-B", "-i", "2", "-s", "8192", "-u", url, "-d", &proxy])
        .await;
    stage.control().await.unwrap();
}

#[tokio::test]
#[ignore = "needs real peers: run tests/run"]
async fn slow_readers_cost_the_neighbour_nothing() {
    let plain = Api::plain().await;
    plain.answer(|_| Answer::ok(vec![b'x'; 256 << 10]));
    let addr = plain.addr();
    let stage = Stage::valetkey_with(|v| v.reaching("plain.example:80", addr)).await;
    let proxy = stage.proxy_addr().to_string();
    let read = [
        "-X",
        "-n",
        "2",
        "-w",
        "1",
        "-y",
        "64",
        "-z",
        "5",
        "-u",
        "http://plain.example/",
        "-d",
        &proxy,
    ];
    attack(&stage, "slow readers", 5, &read).await;
    assert!(plain.requests().len() > 100, "they asked: {}", plain.requests().len());
    stage.control().await.unwrap();
}
