//! The load: lanes that ask at a pace of their own, about 200 requests a second together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};

use super::live::{self, Live};
use super::trail::number;
use crate::harness::api::Answer;
use crate::harness::client::{
    Http2, Trust, connect, dial, exchange, http2, http2_send, tls, tls_config,
};
use crate::harness::http1::{Message, Reader};
use crate::harness::issuer::Reply;
use crate::harness::lock;
use crate::harness::pki::Pki;
use crate::harness::stage::{BILLING, EVIL, ORDERS, Stage, Tunnel};
use crate::harness::valetkey::Running;

const LIVE: &str = "live.example";
/// Of a token, so that many are minted.
pub(super) const LIFE: u64 = 20;

pub struct Scene {
    stage: Stage,
    live: Live,
}

impl Scene {
    pub async fn set() -> Self {
        let pki = Pki::new();
        let live = Live::start(&pki.server(&[LIVE])).await;
        let stage = Stage::valetkey_with(|v| {
            v.trusting(&pki)
                .reaching(&format!("{LIVE}:443"), live.addr())
                .toml("[audit]\nmax_size = \"16MiB\"\nkeep = 8")
                .route(&format!(
                    "name = \"live\"\nhost = {LIVE:?}\ncredential = \"orders\"\nupgrade = [\"websocket\"]"
                ))
                .route(&format!(
                    "name = \"never\"\nhost = {BILLING:?}\npath = [\"/never/**\"]\ndeny = true"
                ))
                .route("name = \"wild\"\nhost = \"*.wild.example\"\ncredential = \"orders\"")
        })
        .await;
        stage.orders_issuer.reply(Reply::Token { life: Some(LIFE) });
        stage.orders.answer(|seen| match seen.target.contains("/cut/") {
            true => Answer::ok("half").cut(),
            false => Answer::ok("{\"orders\":[1,2,3]}".repeat(20)),
        });
        Self { stage, live }
    }
}

pub struct Load {
    scene: Scene,
    next: AtomicU64,
    tally: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
    /// Until when an issuer may be the reason.
    pub(super) outage: Mutex<Instant>,
}

/// Runs a lane so many times, each at this pace.
macro_rules! lanes {
    ($set:ident, $load:ident, $($times:literal of $lane:ident every $ms:literal ms),+ $(,)?) => {
        $(for _ in 0..$times {
            let load = Arc::clone($load);
            $set.spawn(async move { load.$lane(pace($ms)).await });
        })+
    };
}

/// All lanes; they end when this is dropped.
pub fn start(load: &Arc<Load>) -> JoinSet<()> {
    let mut set = JoinSet::new();
    lanes!(set, load,
        8 of kept every 100 ms,
        6 of multiplexed every 100 ms,
        2 of fresh every 100 ms,
        2 of refused every 100 ms,
        1 of invented every 200 ms,
        1 of vanishing every 100 ms,
        1 of cut every 200 ms,
        4 of events every 100 ms,
        4 of socket every 1000 ms,
        4 of opaque every 1000 ms,
        1 of faults every 5000 ms,
    );
    set
}

fn pace(ms: u64) -> Interval {
    let mut pace = tokio::time::interval(Duration::from_millis(ms));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

impl Load {
    pub fn new(scene: Scene) -> Self {
        Self {
            scene,
            next: AtomicU64::new(1),
            tally: Mutex::default(),
            wrong: Mutex::default(),
            outage: Mutex::new(Instant::now()),
        }
    }

    pub fn stage(&self) -> &Stage {
        &self.scene.stage
    }

    pub fn running(&self) -> &Running {
        self.stage().running().unwrap()
    }

    /// The numbers of requests that came upstream with a token since the last time.
    pub fn seen(&self) -> Vec<u64> {
        let stage = self.stage();
        // What has none is forgotten here: hours of it are too much.
        stage.evil.taken();
        let mut seen = self.scene.live.seen();
        for api in [&stage.orders, &stage.billing] {
            let injected = |seen: &crate::harness::api::Seen| {
                seen.all("authorization").concat().starts_with("Bearer vkt-")
            };
            seen.extend(
                api.taken().iter().filter(|s| injected(s)).filter_map(|s| number(&s.target)),
            );
        }
        seen
    }

    /// After the last request.
    pub async fn calm(&self) {
        let second = Duration::from_secs(1);
        let _ = tokio::time::timeout(second, std::future::pending::<()>()).await;
    }

    pub fn told(&self) -> String {
        let tally = lock(&self.tally);
        let lines: Vec<_> = tally.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        lines.join("\n")
    }

    /// Answers that nothing explains.
    pub fn unexpected(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn count(&self, what: &str) {
        *lock(&self.tally).entry(what.to_owned()).or_default() += 1;
    }

    /// One answer; an issuer that is away explains the lack of a token.
    pub(super) fn note(&self, lane: &str, wanted: &[u16], answer: &Message) {
        let status = answer.status();
        self.count(&format!("{lane} {status}"));
        let away = Instant::now() < *lock(&self.outage);
        let explained = away && matches!(status, 502 | 503) && answer.text().contains("issuer-");
        if !wanted.contains(&status) && !explained {
            let mut wrong = lock(&self.wrong);
            if wrong.len() < 20 {
                wrong.push(format!("{lane}: {}", answer.everything()));
            }
        }
    }

    async fn tunnel(&self, host: &str) -> Option<Tunnel> {
        match self.stage().tunnel(host).await {
            Ok(tunnel) => Some(tunnel),
            Err(error) => {
                lock(&self.wrong).push(error);
                None
            }
        }
    }

    /// One connection for ever, a request at a time, every fourth with a body.
    async fn kept(&self, mut pace: Interval) {
        let mut line: Option<Tunnel> = None;
        loop {
            pace.tick().await;
            let mut open = match line.take() {
                Some(open) => open,
                None => match self.tunnel(ORDERS).await {
                    Some(open) => open,
                    None => continue,
                },
            };
            let n = self.number();
            let request = match n % 4 {
                0 => format!(
                    "POST /v1/kept/{n} HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Length: 4096\r\n\r\n{}",
                    "b".repeat(4096)
                ),
                _ => get(ORDERS, &format!("/v1/kept/{n}")),
            };
            match exchange(&mut open, request.as_bytes()).await {
                Some(answer) => {
                    self.note("kept", &[200], &answer);
                    line = Some(open);
                }
                None => self.count("kept closed"),
            }
        }
    }

    async fn multiplexed(&self, mut pace: Interval) {
        let mut line: Option<Http2> = None;
        loop {
            pace.tick().await;
            let mut open = match line.take() {
                Some(open) => open,
                None => {
                    let (_, reader) = connect(self.stage().proxy_addr(), &to(ORDERS)).await;
                    let config = tls_config(self.stage().trust(), &["h2"]);
                    http2(tls(reader.stream, ORDERS, config).await.unwrap()).await
                }
            };
            let uri = format!("https://{ORDERS}/v1/many/{}", self.number());
            let request = http::Request::get(uri).body(Full::<Bytes>::default()).unwrap();
            match http2_send(&mut open, request).await {
                Ok(answer) => {
                    self.note("multiplexed", &[200], &answer);
                    line = Some(open);
                }
                Err(_) => self.count("multiplexed closed"),
            }
        }
    }

    /// A connection for each.
    async fn fresh(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let Some(mut tunnel) = self.tunnel(ORDERS).await else { continue };
            let request = get(ORDERS, &format!("/v1/fresh/{}", self.number()));
            match exchange(&mut tunnel, request.as_bytes()).await {
                Some(answer) => self.note("fresh", &[200], &answer),
                None => self.count("fresh closed"),
            }
        }
    }

    async fn refused(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let (answer, _) = connect(self.stage().proxy_addr(), "169.254.169.254:80").await;
            self.note("refused by the guard", &[403], &answer);
            pace.tick().await;
            let Some(mut tunnel) = self.tunnel(BILLING).await else { continue };
            let request = get(BILLING, "/never/x");
            if let Some(answer) = exchange(&mut tunnel, request.as_bytes()).await {
                self.note("refused by a route", &[403], &answer);
            }
        }
    }

    /// Hosts without an end, each with its leaf.
    async fn invented(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let host = format!("h{}.wild.example", self.number());
            let (answer, reader) = connect(self.stage().proxy_addr(), &to(&host)).await;
            self.note("invented", &[200], &answer);
            let config = tls_config(self.stage().trust(), &["http/1.1"]);
            let _ = tls(reader.stream, &host, config).await;
        }
    }

    /// Clients that go away in the middle of whatever it is.
    async fn vanishing(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let n = self.number();
            self.count("vanished");
            if n.is_multiple_of(3) {
                let mut reader = dial(self.stage().proxy_addr()).await;
                let _ = reader.stream.write_all(b"CONNECT api.orders.exam").await;
                continue;
            }
            let (_, mut reader) = connect(self.stage().proxy_addr(), &to(ORDERS)).await;
            if n % 3 == 1 {
                let _ = reader.stream.write_all(b"\x16\x03\x01\x02\x00\x01").await;
                continue;
            }
            let config = tls_config(self.stage().trust(), &["http/1.1"]);
            let Ok(mut stream) = tls(reader.stream, ORDERS, config).await else { continue };
            let head = format!(
                "POST /v1/gone/{n} HTTP/1.1\r\nHost: {ORDERS}\r\nContent-Length: 9\r\n\r\nha"
            );
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.flush().await;
        }
    }

    /// The upstream breaks off.
    async fn cut(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let Some(mut tunnel) = self.tunnel(ORDERS).await else { continue };
            let request = get(ORDERS, &format!("/v1/cut/{}", self.number()));
            let answer = exchange(&mut tunnel, request.as_bytes()).await;
            let whole = answer.as_ref().is_some_and(|a| a.status() == 200 && a.complete);
            self.count(if whole { "cut AND WHOLE" } else { "cut" });
            if whole {
                lock(&self.wrong).push("a cut answer with a clean end".to_owned());
            }
        }
    }

    async fn events(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let Some(mut tunnel) = self.tunnel(LIVE).await else { continue };
            let request = get(LIVE, &format!("/v1/events/{}", self.number()));
            match exchange(&mut tunnel, request.as_bytes()).await {
                Some(answer) => {
                    self.note("events", &[200], &answer);
                    let all = answer.text() == live::EVENT.repeat(live::EVENTS);
                    self.count(if all { "events all" } else { "events cut short" });
                }
                None => self.count("events closed"),
            }
        }
    }

    async fn socket(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let Some(mut tunnel) = self.tunnel(LIVE).await else { continue };
            let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            let n = self.number();
            let request = format!("GET /v1/socket/{n} HTTP/1.1\r\nHost: {LIVE}\r\n{asks}\r\n");
            let Some(answer) = exchange(&mut tunnel, request.as_bytes()).await else { continue };
            self.note("socket", &[101], &answer);
            if answer.status() == 101 {
                for _ in 0..20 {
                    pace.tick().await;
                    if !frame(&mut tunnel).await {
                        self.count("socket closed");
                        break;
                    }
                    self.count("socket frames");
                }
            }
        }
    }

    /// A host that no route names, in a tunnel that stays for a while.
    async fn opaque(&self, mut pace: Interval) {
        loop {
            pace.tick().await;
            let (answer, reader) = connect(self.stage().proxy_addr(), &to(EVIL)).await;
            self.note("opaque", &[200], &answer);
            let config = tls_config(Trust::Roots(self.stage().pki.pem()), &["http/1.1"]);
            let Ok(stream) = tls(reader.stream, EVIL, config).await else { continue };
            let mut tunnel = Reader::new(stream);
            for _ in 0..20 {
                pace.tick().await;
                match exchange(&mut tunnel, get(EVIL, "/x").as_bytes()).await {
                    Some(answer) => self.note("opaque requests", &[200], &answer),
                    None => {
                        self.count("opaque closed");
                        break;
                    }
                }
            }
        }
    }
}

pub(super) fn to(host: &str) -> String {
    format!("{host}:443")
}

pub(super) fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

async fn frame(tunnel: &mut Tunnel) -> bool {
    let sent =
        tunnel.stream.write_all(live::ASK).await.is_ok() && tunnel.stream.flush().await.is_ok();
    sent && tunnel.exactly(live::FRAME.len()).await.as_deref() == Some(live::FRAME)
}
