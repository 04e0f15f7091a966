//! What Valetkey adds: the same requests direct and through the proxy, in interleaved rounds.
//!
//! Everything is on loopback and in two processes: client and API here, the proxy as it ships. Strip, inject
//! and audit are on. `cargo bench --bench overhead`; `-- --seconds 5 --rounds 5` for a longer run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOST: &str = "api.bench.example";
const KEY: &str = "bench-key-0123456789abcdef0123456789abcdef";
const ANSWER: [u8; 200] = [b'a'; 200];

/// Where the requests go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Direct,
    Valetkey,
}

/// What one round measured.
struct Round {
    latencies: Vec<Duration>,
    took: Duration,
    cpu: Duration,
}

fn main() {
    let argument = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|a| a != name).skip(1);
        arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (seconds, rounds) = (argument("--seconds", 2), argument("--rounds", 3));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(bench(Duration::from_secs(seconds), rounds));
}

async fn bench(length: Duration, rounds: u64) {
    let home = tempfile::tempdir().unwrap();
    let (api, api_root) = start_api().await;
    std::fs::write(home.path().join("root.pem"), &api_root).unwrap();
    let (mut proxy, address, ca) = start_proxy(home.path(), api);
    let direct = connector(&api_root);
    let through = connector(&ca);
    println!(
        "| connections | road | p50 µs | p99 µs | req/s | proxy CPU µs/req |\n|---|---|---|---|---|---|"
    );
    for connections in [1, 64] {
        let mut found: Vec<(Road, Vec<Round>)> =
            vec![(Road::Direct, Vec::new()), (Road::Valetkey, Vec::new())];
        for _ in 0..rounds {
            for (road, list) in &mut found {
                let (to, tls) = match road {
                    Road::Direct => (api, &direct),
                    Road::Valetkey => (address, &through),
                };
                let before = cpu(proxy.id());
                let begun = Instant::now();
                let latencies = load(*road, to, tls, connections, length).await;
                list.push(Round {
                    latencies,
                    took: begun.elapsed(),
                    cpu: cpu(proxy.id()) - before,
                });
            }
        }
        for (road, list) in &mut found {
            report(connections, *road, list);
        }
    }
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}

/// Medians of the rounds.
fn report(connections: usize, road: Road, rounds: &mut [Round]) {
    let mut columns = [const { Vec::new() }; 4];
    for round in rounds {
        round.latencies.sort();
        let at = |share: f64| {
            round.latencies[(round.latencies.len() as f64 * share) as usize].as_nanos() as f64 / 1e3
        };
        let requests = round.latencies.len() as f64;
        columns[0].push(at(0.5));
        columns[1].push(at(0.99));
        columns[2].push(requests / round.took.as_secs_f64());
        columns[3].push(round.cpu.as_micros() as f64 / requests);
    }
    let median = |column: &mut Vec<f64>| {
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    };
    let [p50, p99, rate, cpu] = columns.each_mut().map(median);
    println!("| {connections} | {road:?} | {p50:.0} | {p99:.0} | {rate:.0} | {cpu:.1} |");
}

async fn load(
    road: Road,
    to: SocketAddr,
    tls: &TlsConnector,
    connections: usize,
    length: Duration,
) -> Vec<Duration> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut sender = connect(road, to, tls).await;
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            let end = Instant::now() + length;
            while Instant::now() < end {
                let begun = Instant::now();
                let request = Request::get("/v1/orders")
                    .header("host", HOST)
                    .header("x-api-key", "placeholder");
                // Direct, the client sends the real key itself: the API checks it on both roads.
                let request = match road {
                    Road::Direct => request.header("authorization", format!("Bearer {KEY}")),
                    Road::Valetkey => request,
                };
                sender.ready().await.unwrap();
                let answer = sender
                    .send_request(request.body(Empty::<Bytes>::new()).unwrap())
                    .await
                    .unwrap();
                assert_eq!(answer.status(), 200);
                answer.into_body().collect().await.unwrap();
                latencies.push(begun.elapsed());
            }
            latencies
        });
    }
    tasks.join_all().await.concat()
}

async fn connect(road: Road, to: SocketAddr, tls: &TlsConnector) -> SendRequest<Empty<Bytes>> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if road == Road::Valetkey {
        stream
            .write_all(
                format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n").as_bytes(),
            )
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    }
    let stream = tls.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn connector(roots: &str) -> TlsConnector {
    let mut store = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(store).with_no_client_auth()))
}

/// An API over TLS that answers 200 bytes, and only to the real key.
async fn start_api() -> (SocketAddr, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let leaf = rcgen::CertificateParams::new(vec![HOST.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                    let wanted = format!("Bearer {KEY}");
                    let good = request
                        .headers()
                        .get("authorization")
                        .is_some_and(|v| v == wanted.as_str());
                    let mut answer = Response::new(Full::new(Bytes::from_static(&ANSWER)));
                    *answer.status_mut() =
                        if good { http::StatusCode::OK } else { http::StatusCode::UNAUTHORIZED };
                    Ok::<_, Infallible>(answer)
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                serving.await.ok();
            });
        }
    });
    (address, root.pem())
}

fn start_proxy(home: &Path, api: SocketAddr) -> (Child, SocketAddr, String) {
    let config = format!(
        "config_version = 1\n[proxy]\nlisten = \"127.0.0.1:0\"\n[upstream]\nextra_roots = [\"root.pem\"]\n\
         [upstream.resolve]\n\"{HOST}:443\" = \"{api}\"\n[credentials.key]\ngrant = \"static-key\"\n\
         secret = {{ file = \"key\" }}\nttl = \"1h\"\n[[routes]]\nname = \"bench\"\nhost = \"{HOST}\"\n\
         methods = [\"GET\"]\npath = [\"/v1/**\"]\ncredential = \"key\"\nstrip = [\"header:x-api-key\"]\n"
    );
    let file = home.join("valetkey.toml");
    std::fs::File::create(&file).unwrap().write_all(config.as_bytes()).unwrap();
    std::fs::write(home.join("key"), KEY).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_valetkey"));
        command
            .args(arguments)
            .arg("--config")
            .arg(&file)
            .env("VALETKEY_STATE_DIR", home.join("state"));
        command
    };
    let mut proxy = command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(proxy.stderr.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| {
        let address = line.split("listening on ").nth(1)?;
        address.split_whitespace().next()?.parse().ok()
    });
    let shown = command(&["ca", "show", "--pem"]).output().unwrap();
    (proxy, address.expect("the proxy listens"), String::from_utf8(shown.stdout).unwrap())
}

/// User and system time of a process, from `proc(5)`, in ticks of 10 ms.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
