//! What was measured, for a person, a script and a picture.

use std::fmt::Write as _;

use serde::Serialize;

use super::stats::{self, Samples, Spread};
use super::svg::{Chart, Line};

const BINS: usize = 14;
const BAR: usize = 28;

/// The samples of one mode on both roads.
#[derive(Default)]
pub(super) struct Pair {
    pub(super) direct: Samples,
    pub(super) proxied: Samples,
}

#[derive(Default)]
pub(super) struct Results {
    /// Kept connections.
    pub(super) warm: Pair,
    /// A fresh connection for each request.
    pub(super) cold: Pair,
    /// Rounds that were done, of those asked for.
    pub(super) rounds: (u32, u32),
    /// How many requests were under way at once.
    pub(super) connections: u32,
}

/// One mode in the JSON document.
#[derive(Serialize)]
pub(super) struct Mode {
    direct: Spread,
    proxied: Spread,
    added_p50_us: f64,
    added_p90_us: f64,
    added_p99_us: f64,
}

#[derive(Serialize)]
pub(super) struct BenchReport {
    url: String,
    rounds: u32,
    connections: u32,
    warm: Option<Mode>,
    /// TCP, CONNECT and a full TLS handshake with each request.
    cold: Option<Mode>,
    /// What a reader of the figures should know.
    notes: Vec<String>,
}

impl Mode {
    fn of(pair: &Pair) -> Option<Self> {
        let (direct, proxied) = (pair.direct.summary()?, pair.proxied.summary()?);
        let added = |a: f64, b: f64| ((a - b) * 10.0).round() / 10.0;
        Some(Self {
            added_p50_us: added(proxied.p50_us, direct.p50_us),
            added_p90_us: added(proxied.p90_us, direct.p90_us),
            added_p99_us: added(proxied.p99_us, direct.p99_us),
            direct,
            proxied,
        })
    }
}

impl Results {
    pub(super) fn report(&self, url: String) -> BenchReport {
        BenchReport {
            url,
            rounds: self.rounds.0,
            connections: self.connections,
            warm: Mode::of(&self.warm),
            cold: Mode::of(&self.cold),
            notes: self.notes(),
        }
    }

    /// What a reader of the figures should know.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let (done, wanted) = self.rounds;
        if done < wanted {
            notes.push(format!("the time was over after {done} of {wanted} rounds (--time)"));
        }
        let statuses = |samples: &Samples| samples.statuses.keys().copied().collect::<Vec<_>>();
        let (direct, proxied) = (statuses(&self.warm.direct), statuses(&self.warm.proxied));
        if direct != proxied {
            notes.push(format!(
                "the API answered {direct:?} directly and {proxied:?} through the proxy: the direct request has no \
                 token, so the API may have had less to do for it"
            ));
        }
        notes
    }

    /// Table and histogram.
    pub(super) fn text(&self, url: &str) -> String {
        let mut out = format!(
            "GET {url}: {} rounds, {} at a time\n\n{:<16}{:>10}{:>10}{:>10}{:>10}\n",
            self.rounds.0, self.connections, "µs", "p50", "p90", "p99", "requests"
        );
        for (name, pair) in [("warm", &self.warm), ("cold", &self.cold)] {
            let Some(mode) = Mode::of(pair) else { continue };
            for (road, s) in [("direct", &mode.direct), ("proxied", &mode.proxied)] {
                let _ = writeln!(
                    out,
                    "{:<16}{:>10.0}{:>10.0}{:>10.0}{:>10}",
                    format!("{name} {road}"),
                    s.p50_us,
                    s.p90_us,
                    s.p99_us,
                    s.requests
                );
            }
            let _ = writeln!(
                out,
                "{:<16}{:>+10.0}{:>+10.0}{:>+10.0}",
                "     added", mode.added_p50_us, mode.added_p90_us, mode.added_p99_us
            );
        }
        out.push_str("\nwarm: one kept connection each; cold: TCP and a full TLS handshake with each request\n");
        out.push_str(&histogram(&self.warm));
        for note in self.notes() {
            let _ = writeln!(out, "note: {note}");
        }
        out.trim_end().to_owned()
    }

    /// How large a share of the requests was answered within a time.
    pub(super) fn svg(&self, url: &str) -> String {
        let line = |name: &str, samples: &Samples, dashed: bool| {
            let sorted = samples.sorted_us();
            let shares = (1..=200).map(|n| f64::from(n) / 200.0);
            let points = shares
                .filter_map(|share| Some((stats::percentile(&sorted, share)?, share * 100.0)))
                .collect();
            Line { name: name.to_owned(), points, dashed }
        };
        let lines = vec![
            line("warm direct", &self.warm.direct, false),
            line("warm proxied", &self.warm.proxied, false),
            line("cold direct", &self.cold.direct, true),
            line("cold proxied", &self.cold.proxied, true),
        ];
        Chart {
            title: format!("GET {url}: direct against proxied"),
            x: "latency, µs".to_owned(),
            y: "% of requests".to_owned(),
            log_x: true,
            log_y: false,
            lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
        }
        .svg()
    }
}

/// Both roads, bin by bin; the last bin holds all that took longer.
fn histogram(pair: &Pair) -> String {
    let (direct, proxied) = (pair.direct.sorted_us(), pair.proxied.sorted_us());
    let ends = stats::bins(&[&direct, &proxied], BINS);
    let (a, b) = (stats::count(&direct, &ends), stats::count(&proxied, &ends));
    let most = a.iter().chain(&b).copied().max().unwrap_or(0).max(1);
    let bar = |count: usize| "#".repeat((count * BAR).div_ceil(most));
    let mut out = format!("\n{:>12}  {:<BAR$}  proxied\n", "warm, ≤ µs", "direct");
    for (i, end) in ends.iter().enumerate() {
        let last = if i + 1 == ends.len() { "+" } else { "" };
        let row = format!("{:>12}  {:<BAR$}  {}", format!("{end:.0}{last}"), bar(a[i]), bar(b[i]));
        let _ = writeln!(out, "{}", row.trim_end());
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn results() -> Results {
        let mut results = Results { rounds: (3, 5), connections: 1, ..Results::default() };
        for us in 100..200 {
            results.warm.direct.add(Duration::from_micros(us), 401);
            results.warm.proxied.add(Duration::from_micros(us + 40), 200);
        }
        results
    }

    #[test]
    fn says_what_was_added_and_what_to_know() {
        let text = results().text("https://api.example/");
        assert!(text.contains("added") && text.contains("+40"), "{text}");
        assert!(text.contains("3 of 5 rounds") && text.contains("[401] directly"), "{text}");
        let report = serde_json::to_value(results().report("u".into())).unwrap();
        assert_eq!(report["warm"]["added_p50_us"], 40.0);
        assert!(report["cold"].is_null());
    }

    #[test]
    fn every_request_is_in_the_picture() {
        assert!(results().svg("u").matches("<polyline").count() == 2);
        assert!(histogram(&results().warm).contains('#'));
    }
}
