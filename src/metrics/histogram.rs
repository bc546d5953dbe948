//! Times, counted by how long they were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the classes, in milliseconds; what takes longer than the last is in a class of its own.
const BOUNDS_MS: [u64; 15] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// How often something took how long, since the daemon started. Any thread may add to it.
#[derive(Debug, Default)]
pub struct Histogram {
    classes: [AtomicU64; BOUNDS_MS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Adds a time.
    pub fn record(&self, time: Duration) {
        let class = BOUNDS_MS.partition_point(|&bound| Duration::from_millis(bound) < time);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns all times together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed))
    }

    /// Returns how many times there are of at most each bound, which is in seconds; the last one is infinite.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_MS.iter().map(|&bound| bound as f64 / 1_000.0).chain([f64::INFINITY]);
        let mut count = 0;
        let counts = self.classes.iter().map(|class| {
            count += class.load(Ordering::Relaxed);
            count
        });
        bounds.zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_from_the_first_bound_that_it_does_not_exceed() {
        let histogram = Histogram::default();
        [0, 1_000, 1_001, 60_000_000, 60_000_001]
            .into_iter()
            .for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[0], (0.001, 2));
        assert_eq!(cumulative[1], (0.002, 3));
        assert_eq!(cumulative[14], (60.0, 4));
        assert_eq!(cumulative[15], (f64::INFINITY, 5));
        assert_eq!(histogram.sum(), Duration::from_micros(120_002_002));
    }
}
