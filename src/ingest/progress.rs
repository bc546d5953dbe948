//! How far indexing is, in numbers that any thread may add to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters since the daemon started.
#[derive(Debug, Default)]
pub struct Progress {
    files_indexed: AtomicU64,
    photos_encoded: AtomicU64,
    files_failed: AtomicU64,
    step_ns: [AtomicU64; 4],
}

/// Steps of indexing whose time is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Disk to bytes, and their hash.
    Read,
    /// Bytes to the pixels that the network looks at.
    Decode,
    /// The network, waiting for its turn included.
    Encode,
    /// Transactions.
    Store,
}

impl Progress {
    /// Adds the time that a step took.
    pub fn spent(&self, step: Step, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.step_ns[step as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the time that a step took over all threads.
    pub fn time(&self, step: Step) -> Duration {
        Duration::from_nanos(self.step_ns[step as usize].load(Ordering::Relaxed))
    }

    /// Adds files that were committed, failures not counted.
    pub fn add_files(&self, count: u64) {
        self.files_indexed.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the files committed.
    pub fn files_indexed(&self) -> u64 {
        self.files_indexed.load(Ordering::Relaxed)
    }

    /// Adds a file that was committed as one that cannot be read.
    pub fn add_failed(&self) {
        self.files_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the files that could not be read.
    pub fn files_failed(&self) -> u64 {
        self.files_failed.load(Ordering::Relaxed)
    }

    /// Adds one photo that went through the network.
    pub fn add_encoded(&self) {
        self.photos_encoded.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the photos that went through the network.
    pub fn photos_encoded(&self) -> u64 {
        self.photos_encoded.load(Ordering::Relaxed)
    }
}
