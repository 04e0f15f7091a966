//! User instructions of a request and of each hot step in it, and a request's allocations, counted and held to a
//! baseline: what does not depend on the machine's mood.
//!
//! `cargo bench --bench instructions` counts, and times the steps; `-- --only request` counts the whole request alone;
//! `-- --check` fails where a count is more than 3 % (allocations: 10 %) over `benches/instructions.json`;
//! `-- --update` writes that file; `-- --profile DIR` keeps callgrind's profiles of the daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "a bench that cannot go on panics and says why"
)]

mod kit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use kit::client::{Client, Road, connector};
use kit::steps::STEPS;
use kit::valetkey::Home;
use kit::{HOST, api, count};

/// How much more than the baseline is let pass, in percent.
const TOLERANCE: f64 = 3.0;
/// The same for allocations: they are few, and a busy machine cuts what arrives into more pieces.
const ALLOCATIONS: (&str, f64) = (", allocations", 10.0);
/// The whole request, by what the API agrees to speak, and what its profile is called.
const REQUESTS: &[(&str, &str, &[&[u8]])] =
    &[("request", "h2", &[b"h2"]), ("request, HTTP/1.1 upstream", "http1", &[b"http/1.1"])];
const NOT_COMPARABLE: &str = "NOT HELD TO THE BASELINE: it was counted on x86-64 with AVX2, and this CPU is another: libraries \
     choose other code for it";
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|a| a == name);
    let value = |name: &str| arguments.iter().skip_while(|a| *a != name).nth(1);
    if let Some(name) = value("--step") {
        STEPS.iter().find(|step| step.name == name).unwrap().batch();
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| value("--only").is_none_or(|only| name.contains(only.as_str()));
    let profile = value("--profile").map(PathBuf::from);
    if let Some(folder) = &profile {
        std::fs::create_dir_all(folder).unwrap();
    }
    if !count::available() {
        eprintln!("valgrind is missing: install the package `valgrind`");
        return ExitCode::FAILURE;
    }
    let mut counts = BTreeMap::new();
    let mut times = BTreeMap::new();
    for step in STEPS.iter().filter(|step| wanted(step.name)) {
        let instructions = count::inside(&["--step", step.name]) / step.times as u64;
        counts.insert(step.name.to_owned(), instructions);
        times.insert(step.name, step.time());
    }
    for (name, file, protocols) in REQUESTS {
        if wanted(name) {
            let profile = profile.as_ref().map(|folder| folder.join(file));
            let [instructions, allocations] = request(profile.as_deref(), protocols);
            counts.insert((*name).to_owned(), instructions);
            counts.insert(format!("{name}{}", ALLOCATIONS.0), allocations);
        }
    }
    let text = std::fs::read_to_string(BASELINE).unwrap_or_else(|_| "{}".to_owned());
    let baseline: BTreeMap<String, u64> = serde_json::from_str(&text).unwrap();
    let over = report(&counts, &times, &baseline);
    if has("--update") {
        let merged: BTreeMap<_, _> = baseline.into_iter().chain(counts).collect();
        std::fs::write(BASELINE, serde_json::to_string_pretty(&merged).unwrap() + "\n").unwrap();
    } else if has("--check") && !count::is_comparable() {
        println!("{NOT_COMPARABLE}");
    } else if has("--check") && !over.is_empty() {
        eprintln!(
            "more than {TOLERANCE} % (allocations: {} %) over benches/instructions.json: {}. If it is worth it, run \
             `cargo bench --bench instructions -- --update` and say why in the commit.",
            ALLOCATIONS.1,
            over.join(", ")
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints the counts beside the baseline, and names those that are over it (or have none).
fn report(
    counts: &BTreeMap<String, u64>,
    times: &BTreeMap<&str, Duration>,
    baseline: &BTreeMap<String, u64>,
) -> Vec<String> {
    println!(
        "| step | user instructions, or allocations | baseline | change | µs |\n|---|---|---|---|---|"
    );
    let mut over = Vec::new();
    for (name, count) in counts {
        let time = times
            .get(name.as_str())
            .map_or_else(String::new, |time| format!("{:.2}", time.as_secs_f64() * 1e6));
        let Some(base) = baseline.get(name) else {
            println!("| {name} | {count} | – | – | {time} |");
            over.push(name.clone());
            continue;
        };
        let change = (*count as f64 / *base as f64 - 1.0) * 100.0;
        println!("| {name} | {count} | {base} | {change:+.1} % | {time} |");
        let allocations = name.ends_with(ALLOCATIONS.0);
        if change > if allocations { ALLOCATIONS.1 } else { TOLERANCE } {
            over.push(name.clone());
        }
    }
    // A policy that grows must not slow down its decisions (one look-up by host, whatever the number of routes).
    if let (Some(few), Some(many)) =
        (counts.get("decide, 10 routes"), counts.get("decide, 100,000 routes"))
        && *many > 2 * few
    {
        over.push("100,000 routes cost more than twice what 10 do".to_owned());
    }
    over
}

/// The daemon, end to end: small GETs on one keep-alive connection, TLS on both sides, policy, strip, inject, audit.
/// `profile`: how its two profiles' names begin. Gives its instructions and its allocations.
fn request(profile: Option<&Path>, protocols: &[&[u8]]) -> [u64; 2] {
    const FEW: u64 = 200;
    const MANY: u64 = 1_200;
    let api = api::speaking(protocols);
    let home = Home::new(&api);
    // Its CA is made outside the count.
    let (mut first, _) = home.serve(&[]);
    let roots = home.ca();
    first.kill().unwrap();
    first.wait().unwrap();
    let run = |requests: u64| {
        let log = home.path().join("valgrind.log");
        let file = profile.map_or_else(|| home.path().join("callgrind"), Path::to_owned);
        let file = file.with_extension(requests.to_string());
        let wrapper = count::wrapper(&log, &file);
        let (child, to) = home.serve(&wrapper);
        let tls = connector(&roots, &[], false);
        let road = Road { to, connect: Some(443), own_key: false, tls };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = Client::connect(&road, HOST, 200).await.unwrap();
            for _ in 0..requests {
                client.get().await.unwrap();
            }
        });
        [count::finish(child, &log), count::allocations(&file)]
    };
    let (few, many) = (run(FEW), run(MANY));
    [0, 1].map(|at| (many[at] - few[at]) / (MANY - FEW))
}
