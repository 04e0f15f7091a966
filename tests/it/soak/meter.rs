//! What is read once a second, and the slopes of that with their errors.

use std::fmt;
use std::time::{Duration, Instant};

use super::{MAY_FAULT_IN, MAY_GROW};
use crate::harness::valetkey::Running;
use crate::torture::vitals;

/// One reading: seconds since the start, and MiB of its own and in all, descriptors, threads.
type Sample = (f64, [f64; 4]);

/// Blocks that a run is cut into: neighbours in time are alike, so seconds are no independent readings.
const BLOCKS: usize = 25;

pub struct Meter {
    start: Instant,
    warm: Duration,
    samples: Vec<Sample>,
}

/// Of a straight line through the readings, per hour.
pub struct Slope {
    what: &'static str,
    per_hour: f64,
    /// Its standard error.
    error: f64,
    first: f64,
    last: f64,
    pub allowed: f64,
}

impl Meter {
    /// The first fifth of a run, or five minutes, is left out: caches and pools fill.
    pub fn new(length: Duration) -> Self {
        let warm = (length / 5).min(Duration::from_secs(300));
        Self { start: Instant::now(), warm, samples: Vec::new() }
    }

    pub fn since(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn read(&mut self, running: &Running) {
        let vitals = vitals::read(running);
        let (own, rss) = (vitals::mib(vitals.own), vitals::mib(vitals.rss));
        let readings = [own, rss, vitals.files as f64, vitals::threads(running) as f64];
        self.samples.push((self.start.elapsed().as_secs_f64(), readings));
    }

    pub fn now(&self) -> String {
        let (at, [own, rss, files, threads]) = self.samples.last().copied().unwrap_or_default();
        format!("{at:.0} s: {rss:.1} MiB, {own:.1} its own, {files} descriptors, {threads} threads")
    }

    pub fn slopes(&self) -> Vec<Slope> {
        let warm = |sample: &&Sample| sample.0 >= self.warm.as_secs_f64();
        let samples: Vec<Sample> = self.samples.iter().filter(warm).copied().collect();
        // A descriptor or thread an hour is none: a leak is one for each request or so. Pages of the program come in by
        // dozens at the first run of what is seldom run (how many is the kernel's choice), and end with the program.
        let (own, all) = (("MiB of its own", MAY_GROW), ("MiB resident", MAY_FAULT_IN));
        [own, all, ("descriptors", 1.0), ("threads", 1.0)]
            .into_iter()
            .enumerate()
            .map(|(which, (what, allowed))| Slope::of(what, allowed, &samples, which))
            .collect()
    }
}

impl Slope {
    fn of(what: &'static str, allowed: f64, samples: &[Sample], which: usize) -> Self {
        let size = samples.len().div_ceil(BLOCKS).max(1);
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let all: Vec<f64> = values.collect();
            all.iter().sum::<f64>() / all.len().max(1) as f64
        };
        let blocks: Vec<(f64, f64)> = samples
            .chunks(size)
            .map(|block| {
                let hours = mean(&mut block.iter().map(|(at, _)| at / 3600.0));
                (hours, mean(&mut block.iter().map(|(_, readings)| readings[which])))
            })
            .collect();
        let (per_hour, error) = line(&blocks);
        let end = |block: Option<&(f64, f64)>| block.map_or(0.0, |block| block.1);
        Self {
            what,
            per_hour,
            error,
            first: end(blocks.first()),
            last: end(blocks.last()),
            allowed,
        }
    }

    /// What the slope is at least, as far as a run of this length can tell.
    pub fn least(&self) -> f64 {
        self.per_hour - 2.0 * self.error
    }
}

impl fmt::Display for Slope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, per_hour, error, first, last, allowed } = self;
        write!(
            f,
            "{what}: slope {per_hour:+.2} ± {:.2} an hour (allowed {allowed}), from {first:.1} to {last:.1}",
            2.0 * error
        )
    }
}

/// Least squares, and the slope's standard error, widened for what neighbours still share.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    if n < 3.0 {
        return (0.0, f64::INFINITY);
    }
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    let rest: Vec<f64> = points.iter().map(|p| p.1 - y - slope * (p.0 - x)).collect();
    let squares: f64 = rest.iter().map(|r| r * r).sum();
    let alike = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / squares.max(1e-12);
    let alike = alike.clamp(0.0, 0.9);
    let error = (squares / (n - 2.0) / spread).sqrt() * ((1.0 + alike) / (1.0 - alike)).sqrt();
    (slope, error)
}

#[test]
fn a_leak_is_seen_and_a_wave_is_none() {
    let line_of = |leak: f64| {
        let samples: Vec<Sample> = (0..1500)
            .map(|s| {
                let at = f64::from(s);
                let wave = (at / 40.0).sin() * 3.0;
                (at, [50.0 + leak * at / 3600.0 + wave, 60.0, 100.0, 5.0])
            })
            .collect();
        Slope::of("MiB", 1.0, &samples, 0)
    };
    let (leaking, flat) = (line_of(20.0), line_of(0.0));
    assert!(leaking.least() > 1.0 && leaking.least() < 20.0, "{leaking}");
    assert!(flat.least() <= 1.0 && flat.least() > -20.0, "{flat}");
}
