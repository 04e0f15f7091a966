//! `bench [URL]`: what the proxy adds to a request, in a person's own setup: the same GET directly
//! and through the proxy, in turns, on kept connections (warm) and on fresh ones (cold).
//!
//! Bounded in number, time and connections; asks no other machine unless told so.

mod report;
mod road;
mod scene;
mod stats;
mod svg;
mod target;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::args::Bench;
use super::child::Signals;
use super::failure::{Exit, Failure, chain};
use super::{context, printer};
use report::Results;
use road::Road;
use scene::Scene;
use stats::Samples;
use target::BenchTarget;

/// A cold request for so many warm ones: it costs both ends a handshake.
const WARM_PER_COLD: u32 = 10;
/// Before anything is counted: the first request mints, signs a leaf and connects upstream.
const WARM_UP: u32 = 5;

pub(super) fn run(args: &Bench, explicit: Option<&Path>) -> Result<(), Failure> {
    context::runtime()?.block_on(async {
        let mut signals = Signals::catch()?;
        // Ctrl-C drops the scene, and with it a daemon of our own.
        tokio::select! {
            result = bench(args, explicit) => result,
            signal = signals.next() => Err(Failure::silent(Exit::Child(
                u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX),
            ))),
        }
    })
}

async fn bench(args: &Bench, explicit: Option<&Path>) -> Result<(), Failure> {
    let scene = match &args.url {
        None => Scene::built_in().await?,
        Some(url) => Scene::of_user(url, args, explicit).await?,
    };
    let measured = measure(&scene, args).await;
    let url = scene.place.to_string();
    // Whatever came of it, nothing stays behind.
    let ended = scene.end().await;
    let results = measured?;
    ended?;
    if let Some(file) = &args.svg {
        std::fs::write(file, results.svg(&url)).map_err(|error| {
            Failure::failed(
                "output-unwritable",
                format!("cannot write {}: {}", file.display(), chain(&error)),
                "--svg names a file in a directory that exists",
            )
        })?;
    }
    match args.json {
        true => printer::json(&results.report(url)),
        false => printer::line(results.text(&url)),
    }
}

/// Round by round, the roads in turns, so that what disturbs the machine disturbs both.
async fn measure(scene: &Scene, args: &Bench) -> Result<Results, Failure> {
    let end = Instant::now() + args.time;
    let mut results =
        Results { rounds: (0, args.rounds), connections: args.connections, ..Results::default() };
    for road in [&scene.direct, &scene.proxied] {
        warm(road, &scene.place, WARM_UP, 1, end).await?;
    }
    let cold_requests = (args.requests / WARM_PER_COLD).max(1);
    for round in 1..=args.rounds {
        if Instant::now() >= end {
            break;
        }
        printer::note(&format!("round {round} of {}", args.rounds));
        let (place, connections) = (&scene.place, args.connections);
        let direct = warm(&scene.direct, place, args.requests, connections, end).await?;
        let proxied = warm(&scene.proxied, place, args.requests, connections, end).await?;
        results.warm.direct.extend(direct);
        results.warm.proxied.extend(proxied);
        results.cold.direct.extend(cold(&scene.direct, place, cold_requests, end).await?);
        results.cold.proxied.extend(cold(&scene.proxied, place, cold_requests, end).await?);
        results.rounds.0 = round;
    }
    Ok(results)
}

/// `requests` GETs over kept connections, or as many as there is time for.
async fn warm(
    road: &Arc<Road>,
    place: &Arc<BenchTarget>,
    requests: u32,
    connections: u32,
    end: Instant,
) -> Result<Samples, Failure> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(road.connect(place).await?);
    }
    let each = requests.div_ceil(connections);
    let mut workers = JoinSet::new();
    for mut connection in open {
        let (road, place) = (Arc::clone(road), Arc::clone(place));
        workers.spawn(async move {
            let mut samples = Samples::default();
            for _ in 0..each {
                // Servers close connections now and then; what a new one costs is cold's to say.
                if !connection.is_ready().await {
                    connection = road.connect(&place).await?;
                }
                let begun = Instant::now();
                // One at least, however late it is.
                if begun >= end && samples.len() > 0 {
                    break;
                }
                let status = road.get(&mut connection, &place).await?;
                samples.add(begun.elapsed(), status);
            }
            Ok::<_, Failure>(samples)
        });
    }
    let mut all = Samples::default();
    while let Some(samples) = workers.join_next().await {
        all.extend(samples.map_err(|error| {
            Failure::failed(
                "bench-broken-off",
                chain(&error),
                "this is a mistake of ours: please report it",
            )
        })??);
    }
    Ok(all)
}

/// One after the other, each on a connection of its own.
async fn cold(
    road: &Road,
    place: &BenchTarget,
    requests: u32,
    end: Instant,
) -> Result<Samples, Failure> {
    let mut samples = Samples::default();
    for _ in 0..requests {
        let begun = Instant::now();
        if begun >= end && samples.len() > 0 {
            break;
        }
        let mut connection = road.connect(place).await?;
        let status = road.get(&mut connection, place).await?;
        samples.add(begun.elapsed(), status);
    }
    Ok(samples)
}
