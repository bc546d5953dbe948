//! What the daemon is doing, in a word and two numbers. Asks neither disk nor store.

use super::Api;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Comparing folders with the index.
    Scanning,
    /// Reading and encoding photos.
    Indexing,
    /// The index equals the disk.
    Idle,
    /// Changes wait.
    Paused,
    /// On the way out.
    Stopping,
}

/// What the daemon is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What goes on.
    pub phase: Phase,
    /// Searchable photos.
    pub photos: usize,
    /// Files found and not yet done.
    pub pending: usize,
    /// Why the index takes no writes, if it does not; for a person.
    pub problem: Option<String>,
}

impl Api {
    /// Sums up what goes on.
    pub fn summary(&self) -> Summary {
        // In this order: what leaves one of them enters the next, so that nothing is overlooked.
        let watching = *self.watch.activity().borrow();
        let pending = self.queue.pending() + watching.settling;
        let phase = if self.stop.is_cancelled() {
            Phase::Stopping
        } else if !self.queue.holds().is_empty() {
            Phase::Paused
        } else if watching.busy_roots > 0 {
            Phase::Scanning
        } else if pending > 0 {
            Phase::Indexing
        } else {
            Phase::Idle
        };
        let photos = self.networks.answering().index.len();
        let problem = self.store.check_writable().err().map(|error| error.to_string());
        Summary { phase, photos, pending, problem }
    }
}
