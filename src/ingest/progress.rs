//! How far indexing is, in numbers that any thread may add to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::Histogram;

/// Counters since the daemon started.
#[derive(Debug, Default)]
pub struct Progress {
    files_indexed: AtomicU64,
    photos_encoded: AtomicU64,
    files_failed: AtomicU64,
    steps: [Histogram; 4],
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

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Read, Self::Decode, Self::Encode, Self::Store];

    /// Returns its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Store => "store",
        }
    }
}

impl Progress {
    /// Adds the time that a step took.
    pub fn spent(&self, step: Step, time: Duration) {
        self.times(step).record(time);
    }

    /// Returns the time that a step took over all threads.
    pub fn time(&self, step: Step) -> Duration {
        self.times(step).sum()
    }

    /// Returns how often a step took how long.
    pub fn times(&self, step: Step) -> &Histogram {
        &self.steps[step as usize]
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
