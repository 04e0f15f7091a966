//! Hours of everything at once: 200 requests a second of all kinds, mixed with faults, and afterwards the daemon is
//! as large as after its first minutes, holds as many descriptors, and has written down each token that left.
//!
//! `tests/soak [MINUTES]` runs it against the release build. Without `VALETKEY_SOAK_MINUTES` it is a smoke test of a
//! few seconds, in which slopes mean nothing.

mod faults;
mod live;
mod load;
mod meter;
mod trail;

use std::sync::Arc;
use std::time::Duration;

use crate::harness::figure;
use load::Load;
use meter::Meter;
use trail::Trail;

/// Without a number of minutes.
const SMOKE: Duration = Duration::from_secs(15);
/// How often the trail is compared with what came upstream.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What a daemon may grow by, in MiB an hour.
const MAY_GROW: f64 = 1.0;
/// The same with the pages of its program, of which it has 15 MiB.
const MAY_FAULT_IN: f64 = 4.0;

fn length() -> Option<Duration> {
    let minutes = std::env::var("VALETKEY_SOAK_MINUTES").ok()?;
    let minutes: f64 = minutes.parse().expect("VALETKEY_SOAK_MINUTES is a number");
    Some(Duration::from_secs_f64(minutes * 60.0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half an hour of load: run tests/soak"]
async fn mixed_load_and_faults() {
    let asked = length();
    let length = asked.unwrap_or(SMOKE);
    let scene = load::Scene::set().await;
    let load = Arc::new(Load::new(scene));
    let mut meter = Meter::new(length);
    let mut trail = Trail::new(&load.running().home.state);
    let mut lanes = load::start(&load);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let end = tokio::time::Instant::now() + length;
    let mut next_look = tokio::time::Instant::now() + LOOK_EVERY;
    let mut next_word = Duration::from_secs(60);
    while tokio::time::Instant::now() < end {
        second.tick().await;
        meter.read(load.running());
        if let Some(ended) = lanes.try_join_next() {
            panic!("a lane has ended: {ended:?}");
        }
        if tokio::time::Instant::now() >= next_look {
            trail.compare(&load.seen());
            next_look += LOOK_EVERY;
        }
        if meter.since() > next_word {
            println!("{}; {}", meter.now(), trail.so_far());
            next_word += Duration::from_secs(60);
        }
    }
    drop(lanes);
    load.calm().await;
    trail.compare(&load.seen());
    println!("{}", load.told());
    println!("{}", trail.so_far());
    assert!(trail.checked > 0, "no token was sent");
    assert_eq!(load.unexpected(), Vec::<String>::new());
    let verified = load.running().home.run(&["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    for slope in meter.slopes() {
        let length = asked.map_or("a smoke test alone, run tests/soak: ", |_| "");
        figure("soak", format!("{length}{slope}"));
        if asked.is_some() {
            assert!(slope.least() <= slope.allowed, "{slope}");
        }
    }
    load.stage().control().await.unwrap();
}
