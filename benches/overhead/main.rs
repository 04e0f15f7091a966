//! What Valetkey adds, beside everything else that a user could put in its place.
//!
//! `cargo bench --features bench-peers --bench overhead`; `benches/README.md` says what the figures mean.
//! Everything is on loopback. `-- --help` lists the options.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::too_many_lines,
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "a bench that cannot go on panics and says why"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "programs that are not ours tell their start and end by no event"
)]

mod commands;
mod kernel;
#[path = "../kit/mod.rs"]
mod kit;
mod peers;
mod report;
mod scenarios;
#[path = "../../src/cli/bench/svg.rs"]
mod svg;

use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::client::Client;
use kit::{HOST, api, count};
use peers::{Kind, Peer, Stage};
use report::{Cell, Mode, Results, Row};
use scenarios::Scenario;

/// Between a start and a look at what the peer holds when nothing is asked of it.
const REST: Duration = Duration::from_secs(1);

const HELP: &str = "\
overhead: Valetkey beside its peers, on loopback
  --seconds N       of each measurement (2)
  --rounds N        interleaved; medians are reported (5)
  --only LIST       rows: direct,tunnel,hyper,hudsucker,hudsucker-adapter,valetkey,mitmproxy,squid,envoy
  --like TEXT       scenarios with this in their title
  --quick           a look: 0.3 s, 2 rounds, fewer scenarios
  --no-instructions do not count instructions with valgrind
  --install-peers   install mitmproxy and Envoy (PyPI) and squid-openssl (apt) first
  --out DIR         tables, JSON and pictures (target/overhead/last)";

struct Options {
    length: Duration,
    rounds: usize,
    kinds: Vec<Kind>,
    like: Option<String>,
    quick: bool,
    instructions: bool,
    install: bool,
    out: PathBuf,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--peer") {
        let [name, api, folder] = &arguments[at + 1..at + 4] else { panic!("--peer NAME API DIR") };
        return peers::serve(name, api, Path::new(folder));
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--help") {
        println!("{HELP}");
        return;
    }
    let value = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1);
    let quick = has("--quick");
    let seconds: f64 = value("--seconds")
        .map_or(if quick { 0.3 } else { 2.0 }, |v| v.parse().expect("--seconds N"));
    let rounds =
        value("--rounds").map_or(if quick { 2 } else { 5 }, |v| v.parse().expect("--rounds N"));
    let only = value("--only").map(|list| list.split(',').collect::<Vec<_>>());
    let named = |kind: &Kind| only.as_ref().is_none_or(|list| list.contains(&kind.name()));
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/overhead");
    let options = Options {
        length: Duration::from_secs_f64(seconds.clamp(0.05, 60.0)),
        rounds,
        kinds: peers::ALL.into_iter().filter(named).collect(),
        like: value("--like").cloned(),
        quick,
        instructions: !has("--no-instructions"),
        install: has("--install-peers"),
        out: value("--out").map_or_else(|| target.join("last"), PathBuf::from),
    };
    bench(&options, &target.join("peers"));
}

fn bench(options: &Options, installed: &Path) {
    // Before anything is started: whatever is has the same limit.
    let files = kernel::raise_files();
    let mut results = Results {
        machine: kernel::machine(),
        options: format!(
            "medians of {} interleaved rounds of {:?} each; answers of 200 bytes unless said otherwise; \
             every process may open {files} files",
            options.rounds, options.length
        ),
        ..Results::default()
    };
    if options.install {
        peers::foreign::install(installed);
    }
    for mode in [Mode::OneCpu, Mode::Free, Mode::Http2] {
        let before = (mode == Mode::OneCpu).then(kernel::pin);
        // Made after pinning: threads and processes inherit it.
        let api = match mode {
            Mode::OneCpu | Mode::Free => api::speaking(&[b"http/1.1"]),
            Mode::Http2 => api::start(),
        };
        let stage = Stage::new(api, installed, options.rounds);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        rounds(&runtime, mode, options, files, &stage, &mut results);
        if let Some(before) = before {
            kernel::unpin(&before);
        }
        if mode == Mode::Free {
            if options.instructions {
                instructions(&runtime, options, &stage, &mut results);
            }
            if options.kinds.contains(&Kind::Valetkey) {
                results.commands = commands::measure(&stage.api, options.rounds);
            }
        }
    }
    std::fs::create_dir_all(&options.out).unwrap();
    let text = results.markdown();
    let json = serde_json::to_string_pretty(&results.json()).unwrap();
    std::fs::write(options.out.join("overhead.md"), &text).unwrap();
    std::fs::write(options.out.join("overhead.json"), json + "\n").unwrap();
    results.draw(&options.out).unwrap();
    println!("{text}\nwritten to {}", options.out.display());
}

/// Those that are compared with each other take turns.
fn scenarios(mode: Mode, options: &Options) -> Vec<Vec<Scenario>> {
    let kept = |connections, size| Scenario::Kept { connections, size };
    let searched_or_not = |connections, size| {
        vec![kept(connections, size), Scenario::Unsearched { connections, size }]
    };
    let mut alone = match mode {
        Mode::OneCpu | Mode::Free => {
            vec![kept(1, 200), kept(64, 200), Scenario::Fresh { resumed: false }]
        }
        Mode::Http2 => vec![kept(64, 200), Scenario::Http2 { streams: 64 }],
    };
    let mut together = Vec::new();
    if mode == Mode::OneCpu && !options.quick {
        alone.extend([kept(1, 4 << 10), kept(1, 64 << 10)]);
        together.push(searched_or_not(1, 1 << 20));
    }
    if mode == Mode::Free {
        if !options.quick {
            alone.extend([kept(4, 200), kept(16, 200), kept(256, 200)]);
        }
        together.push(searched_or_not(4, 1 << 20));
        alone.extend([Scenario::Fresh { resumed: true }, Scenario::NewHost]);
        let idle = if options.quick { vec![100] } else { vec![1_000, 5_000] };
        alone.extend(idle.into_iter().map(|connections| Scenario::Idle { connections }));
        alone.push(Scenario::First);
    }
    let like = |scenario: &Scenario| {
        options.like.as_ref().is_none_or(|text| scenario.title().contains(text))
    };
    let mut all: Vec<_> = alone.into_iter().map(|scenario| vec![scenario]).collect();
    all.extend(together);
    all.iter_mut().for_each(|group| group.retain(like));
    all
}

/// Whether it answers, and only to the real key.
fn check(runtime: &tokio::runtime::Runtime, peer: &Peer) -> Result<(), String> {
    runtime.block_on(async {
        let road = peer.road(&["http/1.1"], false);
        let once = async {
            Client::connect(&road, HOST, 200)
                .await
                .map_err(|error| error.to_string())?
                .get()
                .await
                .map_err(|e| e.to_string())
        };
        let patience = Duration::from_secs(15);
        tokio::time::timeout(patience, once).await.map_err(|_| "no answer in 15 s".to_owned())?
    })
}

fn rounds(
    runtime: &tokio::runtime::Runtime,
    mode: Mode,
    options: &Options,
    files: u64,
    stage: &Stage,
    results: &mut Results,
) {
    let mut running: Vec<(Kind, Result<Peer, String>)> = Vec::new();
    for kind in &options.kinds {
        eprintln!("overhead: {}: starting {}", mode.title(), kind.name());
        let peer = Peer::start(*kind, stage, &[]);
        // Idle, not starting: for all of them.
        std::thread::sleep(REST);
        let idle_kib = peer.as_ref().ok().and_then(Peer::pid).map(kernel::rss);
        let started =
            peer.as_ref().ok().filter(|peer| peer.pid().is_some()).map(|peer| peer.started);
        let peer = peer.and_then(|peer| {
            check(runtime, &peer).map_err(|why| format!("answers wrongly: {why}"))?;
            Ok(peer)
        });
        if let Err(why) = &peer {
            eprintln!("overhead: {}: {why}", kind.name());
        }
        results.rows.push(Row { mode, kind: *kind, started, idle_kib });
        running.push((*kind, peer));
    }
    for group in scenarios(mode, options) {
        let mut cells: Vec<(Scenario, Vec<Cell>)> = Vec::new();
        for scenario in group {
            eprintln!("overhead: {}: {}", mode.title(), scenario.title());
            let cell = |(kind, peer): &(Kind, Result<Peer, String>)| Cell {
                mode,
                scenario,
                kind: *kind,
                rounds: Vec::new(),
                latencies: Vec::new(),
                problem: beyond(scenario, *kind, files).or_else(|| peer.as_ref().err().cloned()),
            };
            cells.push((scenario, running.iter().map(cell).collect()));
        }
        for round in 0..options.rounds {
            for (scenario, cells) in &mut cells {
                // Memory does not come back: once is what can be measured.
                if round > 0 && matches!(scenario, Scenario::Idle { .. }) {
                    continue;
                }
                for ((_, peer), cell) in running.iter().zip(cells) {
                    if let Ok(peer) = peer
                        && cell.problem.is_none()
                    {
                        measure(runtime, options, stage, (peer, cell), round);
                    }
                }
            }
        }
        results.cells.extend(cells.into_iter().flat_map(|(_, cells)| cells));
    }
}

/// One round of one row.
fn measure(
    runtime: &tokio::runtime::Runtime,
    options: &Options,
    stage: &Stage,
    (peer, cell): (&Peer, &mut Cell),
    round: usize,
) {
    let again = match cell.scenario {
        Scenario::First | Scenario::Idle { .. } if cell.kind != Kind::Direct => {
            Some(again(cell.kind, stage))
        }
        _ => None,
    };
    let measured = match &again {
        Some(Err(why)) => Err(std::io::Error::other(why.clone())),
        Some(Ok((fresh, _))) => {
            runtime.block_on(in_time(cell.scenario, fresh, options.length, round))
        }
        None => runtime.block_on(in_time(cell.scenario, peer, options.length, round)),
    };
    match measured {
        Ok((figures, latencies)) => {
            cell.rounds.push(figures);
            cell.latencies.extend(latencies);
        }
        Err(error) => cell.problem = Some(format!("failed: {error}")),
    }
}

/// Why this is not measured of this row.
fn beyond(scenario: Scenario, kind: Kind, files: u64) -> Option<String> {
    let applies = match scenario {
        Scenario::Idle { .. } => kind != Kind::Direct,
        // Beside direct, which is what it is compared with.
        Scenario::Unsearched { .. } => matches!(kind, Kind::Direct | Kind::Valetkey),
        _ => true,
    };
    if !applies {
        return Some("does not apply".to_owned());
    }
    // Two ends of each are in this process; a proxy has two as well, and keeps some files for the rest.
    let wanted = match scenario {
        Scenario::Idle { connections } => 3 * connections as u64 + 500,
        _ => 0,
    };
    (files < wanted).then(|| format!("needs `ulimit -n {wanted}`, and {files} are allowed here"))
}

/// A process that had no request yet, and whose memory no scenario before has grown: what an allocator got back,
/// it uses again. Valetkey's state directory takes one daemon at a time: it gets a home of its own.
fn again(kind: Kind, stage: &Stage) -> Result<(Peer, Stage), String> {
    let fresh = stage.again();
    let peer = Peer::start(kind, &fresh, &[])?;
    Ok((peer, fresh))
}

/// A peer that hangs is reported as such, and holds the others up no longer than this.
async fn in_time(
    scenario: Scenario,
    peer: &Peer,
    length: Duration,
    round: usize,
) -> std::io::Result<(scenarios::Figures, Vec<Duration>)> {
    let opening = match scenario {
        Scenario::Idle { connections } => Duration::from_millis(40) * connections as u32,
        _ => Duration::ZERO,
    };
    let most = length + Duration::from_secs(60) + opening;
    tokio::time::timeout(most, scenario.measure(peer, length, round))
        .await
        .unwrap_or_else(|_| Err(std::io::Error::other(format!("nothing for {} s", most.as_secs()))))
}

/// User instructions for each small request, by valgrind, of what we can start under it.
fn instructions(
    runtime: &tokio::runtime::Runtime,
    options: &Options,
    stage: &Stage,
    results: &mut Results,
) {
    if !count::available() {
        eprintln!("overhead: valgrind is not installed: no instructions are counted");
        return;
    }
    for kind in &options.kinds {
        if matches!(kind, Kind::Direct | Kind::Mitmproxy | Kind::Squid | Kind::Envoy) {
            continue;
        }
        eprintln!("overhead: counting instructions of {}", kind.name());
        let run = |requests: u64| -> Result<u64, String> {
            let fresh = stage.again();
            let log = fresh.home.path().join("valgrind.log");
            let wrapper = count::wrapper(&log, &fresh.home.path().join("callgrind.out"));
            let peer = Peer::start(*kind, &fresh, &wrapper)?;
            let road = peer.road(&["http/1.1"], false);
            runtime
                .block_on(async {
                    let mut client = Client::connect(&road, HOST, 200).await?;
                    for _ in 0..requests {
                        client.get().await?;
                    }
                    Ok::<_, std::io::Error>(())
                })
                .map_err(|error| error.to_string())?;
            let child = peer.into_child().ok_or("no process")?;
            Ok(count::finish(child, &log))
        };
        let counted = run(100).and_then(|few| Ok(run(1_100)?.saturating_sub(few) / 1_000));
        results.instructions.insert(kind.name(), counted);
    }
}
