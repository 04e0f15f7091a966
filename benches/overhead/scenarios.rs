//! What is measured of each row. Every answer is checked: the API gives 200 to the real key alone.

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::kernel;
use super::kit::client::{self, Client, Road};
use super::kit::{BLOBS, HOST, KEY, valetkey};
use super::peers::{Kind, Peer};

/// Figures by name.
pub type Figures = BTreeMap<&'static str, f64>;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scenario {
    /// Kept connections, so many, each asking for so many bytes again and again.
    Kept { connections: usize, size: usize },
    /// The same of answers that Valetkey does not search for the token (`redact = false`): what the search costs.
    Unsearched { connections: usize, size: usize },
    /// A connection for each request, eight at a time.
    Fresh { resumed: bool },
    /// CONNECT and handshake with hosts that the proxy never saw.
    NewHost,
    /// One HTTP/2 connection with so many requests under way.
    Http2 { streams: usize },
    /// So many open connections, each of which had one request.
    Idle { connections: usize },
    /// The first request of a fresh process, and its hundredth.
    First,
}

impl Scenario {
    pub fn title(self) -> String {
        match self {
            Self::Kept { connections: 1, size: 200 } => "one request at a time".to_owned(),
            Self::Kept { connections, size: 200 } => format!("{connections} concurrent"),
            Self::Kept { connections, size } => {
                format!("{size} byte bodies, {connections} at a time")
            }
            Self::Unsearched { connections, size } => {
                format!("{size} byte bodies, {connections} at a time, with `redact = false`")
            }
            Self::Fresh { resumed: false } => "fresh connections, full handshake".to_owned(),
            Self::Fresh { resumed: true } => "fresh connections, resumed".to_owned(),
            Self::NewHost => "a host never seen before: CONNECT, leaf, handshake".to_owned(),
            Self::Http2 { streams } => format!("HTTP/2, {streams} streams"),
            Self::Idle { connections } => format!("{connections} idle connections"),
            Self::First => "first and hundredth request".to_owned(),
        }
    }

    /// One round of one row, and the latencies in it.
    pub async fn measure(
        self,
        peer: &Peer,
        length: Duration,
        round: usize,
    ) -> Result<(Figures, Vec<Duration>)> {
        match self {
            Self::Kept { connections, size } => kept(peer, HOST, connections, size, length).await,
            Self::Unsearched { connections, size } => {
                kept(peer, BLOBS, connections, size, length).await
            }
            Self::Fresh { resumed } => fresh(peer, resumed, length).await,
            Self::NewHost => new_hosts(peer, round).await,
            Self::Http2 { streams } => http2(peer, streams, length).await,
            Self::Idle { connections } => Ok((idle(peer, connections).await?, Vec::new())),
            Self::First => Ok((first(peer).await?, Vec::new())),
        }
    }
}

/// From here on it counts: what was opened before is the same in every row, and not what is asked.
struct Watch {
    begun: Instant,
    process: Option<(u32, Duration)>,
}

impl Watch {
    fn start(peer: &Peer) -> Self {
        let process = peer.pid().map(|pid| (pid, kernel::cpu(pid)));
        Self { begun: Instant::now(), process }
    }

    fn stop(self, latencies: Vec<Duration>) -> (Figures, Vec<Duration>) {
        let mut figures = figures(&latencies, self.begun.elapsed().as_secs_f64());
        if let Some((pid, before)) = self.process {
            let spent = kernel::cpu(pid).saturating_sub(before).as_secs_f64() * 1e6;
            figures.insert("CPU µs", spent / latencies.len().max(1) as f64);
        }
        (figures, latencies)
    }
}

fn figures(latencies: &[Duration], took: f64) -> Figures {
    let mut sorted: Vec<f64> = latencies.iter().map(|l| l.as_secs_f64() * 1e6).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
    };
    Figures::from([
        ("p50 µs", at(0.5)),
        ("p99 µs", at(0.99)),
        ("per second", sorted.len() as f64 / took),
    ])
}

async fn kept(
    peer: &Peer,
    host: &str,
    connections: usize,
    size: usize,
    length: Duration,
) -> Result<(Figures, Vec<Duration>)> {
    let road = peer.road(&["http/1.1"], true);
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(Client::connect(&road, host, size).await?);
    }
    // All at once, so that each has its upstream connection, and a token, before it counts.
    let mut warming = JoinSet::new();
    for mut client in clients {
        warming.spawn(async move {
            client.get().await?;
            Ok::<_, Error>(client)
        });
    }
    let clients: Result<Vec<Client>> = warming.join_all().await.into_iter().collect();
    let (mut tasks, watch) = (JoinSet::new(), Watch::start(peer));
    let end = watch.begun + length;
    for mut client in clients? {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let begun = Instant::now();
                client.get().await?;
                latencies.push(begun.elapsed());
            }
            Ok::<_, Error>(latencies)
        });
    }
    Ok(watch.stop(gather(tasks).await?))
}

async fn fresh(peer: &Peer, resumed: bool, length: Duration) -> Result<(Figures, Vec<Duration>)> {
    let (mut tasks, watch) = (JoinSet::new(), Watch::start(peer));
    for _ in 0..8 {
        // Each has a ticket store of its own.
        let road = peer.road(&["http/1.1"], resumed);
        tasks.spawn(async move {
            let (mut latencies, end) = (Vec::new(), Instant::now() + length);
            while Instant::now() < end {
                let begun = Instant::now();
                Client::connect(&road, HOST, 200).await?.get().await?;
                latencies.push(begun.elapsed());
            }
            Ok::<_, Error>(latencies)
        });
    }
    Ok(watch.stop(gather(tasks).await?))
}

async fn gather(mut tasks: JoinSet<Result<Vec<Duration>>>) -> Result<Vec<Duration>> {
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done.map_err(Error::other)??);
    }
    Ok(all)
}

/// Hosts that no proxy has seen before this round.
pub fn new_names(round: usize) -> impl Iterator<Item = String> {
    (0..50).map(move |n| format!("h{round}-{n}.{HOST}"))
}

async fn new_hosts(peer: &Peer, round: usize) -> Result<(Figures, Vec<Duration>)> {
    let road = peer.road(&["http/1.1"], false);
    let (mut latencies, watch) = (Vec::new(), Watch::start(peer));
    for host in new_names(round) {
        let begun = Instant::now();
        client::open(&road, &host).await?;
        latencies.push(begun.elapsed());
    }
    Ok(watch.stop(latencies))
}

async fn http2(peer: &Peer, streams: usize, length: Duration) -> Result<(Figures, Vec<Duration>)> {
    let road = peer.road(&["h2"], true);
    let stream = client::open(&road, HOST).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Error::other("it speaks no HTTP/2 with clients"));
    }
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(Error::other)?;
    tokio::spawn(connection);
    let (mut tasks, watch) = (JoinSet::new(), Watch::start(peer));
    for _ in 0..streams {
        let (mut sender, own_key) = (sender.clone(), road.own_key);
        tasks.spawn(async move {
            let (mut latencies, end) = (Vec::new(), Instant::now() + length);
            while Instant::now() < end {
                let begun = Instant::now();
                let mut request = Request::get(format!("https://{HOST}/v1/bytes/200"))
                    .header("x-api-key", "placeholder");
                if own_key {
                    request = request.header("authorization", format!("Bearer {KEY}"));
                }
                let request = request.body(Empty::<Bytes>::new()).map_err(Error::other)?;
                let answer = sender.send_request(request).await.map_err(Error::other)?;
                if answer.status() != 200 {
                    return Err(Error::other(format!("a wrong answer: {}", answer.status())));
                }
                answer.into_body().collect().await.map_err(Error::other)?;
                latencies.push(begun.elapsed());
            }
            Ok::<_, Error>(latencies)
        });
    }
    Ok(watch.stop(gather(tasks).await?))
}

/// Connections that a fresh process has before its memory is looked at: what only the first ones cost.
const WARM: usize = 20;

async fn idle(peer: &Peer, connections: usize) -> Result<Figures> {
    let pid = peer.pid().ok_or_else(|| Error::other("no process"))?;
    let road = peer.road(&["http/1.1"], true);
    // To Valetkey these are several clients: one alone is held to its share of what the process may open.
    let clients = match peer.kind {
        Kind::Valetkey => valetkey::credentials().into_iter().map(Some).collect(),
        _ => vec![None],
    };
    let mut clients = clients.iter().map(Option::as_deref).cycle();
    let (mut open, mut before) = (Vec::new(), 0);
    for n in 0..WARM + connections {
        if n == WARM {
            before = kernel::rss(pid);
        }
        let opened = async {
            let who = clients.next().flatten();
            let mut client = Client::connect_as(&road, HOST, 200, who).await?;
            client.get().await?;
            Ok::<_, Error>(client)
        };
        let number = |error| Error::other(format!("connection {}: {error}", n + 1));
        open.push(opened.await.map_err(number)?);
    }
    let grown = kernel::rss(pid).saturating_sub(before) as f64;
    Ok(Figures::from([("KiB each", grown / connections as f64)]))
}

async fn first(peer: &Peer) -> Result<Figures> {
    let road: Road = peer.road(&["http/1.1"], true);
    let mut took = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        Client::connect(&road, HOST, 200).await?.get().await?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Figures::from([("first ms", took[0]), ("hundredth ms", took[99])]))
}
