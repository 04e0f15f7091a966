//! A histogram that many threads write without a lock: fixed bounds, relaxed atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in nanoseconds: from what the proxy itself takes to what an upstream may.
pub(super) const BOUNDS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One for each bound, and one for what is over all of them.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// In nanoseconds; wraps after 584 years of latency.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        self.counts[place].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanos, Relaxed);
    }

    /// Sum in seconds, number, and what each bucket holds by its bound in seconds.
    pub(super) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (self.sum.load(Relaxed) as f64 / 1e9, count, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for nanos in [0, 50_000, 50_001, 10_000_000_000, 10_000_000_001] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let (sum, count, buckets) = histogram.read();
        let counts: Vec<_> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((count, counts[0], counts[1], counts[16], counts[17]), (5, 2, 1, 1, 1));
        assert!((sum - 20.000_100_002).abs() < 1e-9, "{sum}");
        assert_eq!(buckets[17].0, f64::INFINITY);
    }
}
