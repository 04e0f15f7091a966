//! Samples and what is said of them: percentiles by nearest rank, a histogram with logarithmic
//! bins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// What one road answered in one mode.
#[derive(Debug, Default)]
pub(super) struct Samples {
    latencies: Vec<Duration>,
    /// How often each status came.
    pub(super) statuses: BTreeMap<u16, u64>,
}

/// In microseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) requests: usize,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) statuses: BTreeMap<u16, u64>,
}

impl Samples {
    pub(super) fn add(&mut self, latency: Duration, status: u16) {
        self.latencies.push(latency);
        *self.statuses.entry(status).or_default() += 1;
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.latencies.len()
    }

    /// In rising order, in microseconds.
    pub(super) fn sorted_us(&self) -> Vec<f64> {
        let mut sorted: Vec<f64> = self.latencies.iter().map(|l| l.as_secs_f64() * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// What is said of them; `None` where there are none.
    pub(super) fn summary(&self) -> Option<Spread> {
        let sorted = self.sorted_us();
        // A tenth of a microsecond is below what the clock and the kernel can tell.
        let at = |share| percentile(&sorted, share).map(|us| (us * 10.0).round() / 10.0);
        Some(Spread {
            requests: sorted.len(),
            p50_us: at(0.5)?,
            p90_us: at(0.9)?,
            p99_us: at(0.99)?,
            statuses: self.statuses.clone(),
        })
    }
}

/// The smallest value that at least `share` of all are not above.
pub(super) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// Upper ends of `bins` bins, each as much wider than the one before, that hold all values of
/// `sorted` lists up to their 99th percentile; the last one holds the rest too.
pub(super) fn bins(lists: &[&[f64]], bins: usize) -> Vec<f64> {
    let low = lists.iter().filter_map(|list| list.first()).copied().fold(f64::INFINITY, f64::min);
    let high = lists.iter().filter_map(|list| percentile(list, 0.99)).fold(0.0, f64::max);
    if high <= 0.0 || bins == 0 {
        return Vec::new();
    }
    let low = low.max(0.1).min(high);
    let ratio = (high / low).max(1.001).powf(1.0 / bins as f64);
    (1..=bins).map(|n| low * ratio.powi(n as i32)).collect()
}

/// How many of `sorted` are in each bin.
pub(super) fn count(sorted: &[f64], ends: &[f64]) -> Vec<usize> {
    let mut counts = vec![0; ends.len()];
    for value in sorted {
        // The last bin holds the rest.
        let bin = ends.partition_point(|end| end < value).min(ends.len().saturating_sub(1));
        if let Some(count) = counts.get_mut(bin) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut samples = Samples::default();
        for us in (1..=100).rev() {
            samples.add(Duration::from_micros(us), 200);
        }
        let summary = samples.summary().unwrap();
        assert_eq!((summary.p50_us, summary.p90_us, summary.p99_us), (50.0, 90.0, 99.0));
        assert_eq!(summary.statuses, BTreeMap::from([(200, 100)]));
        assert_eq!(Samples::default().summary(), None);
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
    }

    #[test]
    fn every_value_is_in_one_bin() {
        let (a, b): (Vec<f64>, Vec<f64>) =
            ((1..=200).map(f64::from).collect(), (150..900).map(f64::from).collect());
        let ends = bins(&[&a, &b], 12);
        assert_eq!(ends.len(), 12);
        assert_eq!(count(&a, &ends).iter().sum::<usize>(), a.len());
        assert_eq!(count(&b, &ends).iter().sum::<usize>(), b.len());
        assert_eq!(count(&[1.0, 2.0, 3.0], &[1.5, 2.5]), [1, 2]);
        assert!(bins(&[&[]], 12).is_empty());
        assert_eq!(bins(&[&[5.0]], 3).len(), 3);
    }
}
