//! The quiet comparison: a watched root is compared with what is known a directory now and then, so that it is not felt.
//! Part of the root's thread.
//!
//! Some changes cause no event: bytes that are written through a hard link outside of all roots, by another kernel, or
//! through a mapping; and an event may be lost without a sign. Whatever differs is handed out as any walk would.

use std::time::{Duration, Instant};

use super::error::WatchError;
use super::root::RootThread;
use super::step::{End, Tally};
use crate::photo::RelativePath;

/// The comparison may take this share of the time: one part in so many.
const SHARE: u32 = 50;

/// The part of a root that is still to be compared, and when.
pub(super) struct Comparison {
    /// Directories to enter; empty between two comparisons.
    waiting: Vec<RelativePath>,
    tally: Tally,
    /// When the next step is due; none where the root is polled, or is not to be compared.
    next: Option<Instant>,
}

impl Comparison {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), tally: Tally::default(), next: None }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Begins anew after a walk over the whole root, which leaves nothing to compare for a while.
    pub(super) fn put_off(&mut self, every: Option<Duration>) {
        *self = Self { next: every.map(|every| Instant::now() + every), ..Self::new() };
    }
}

impl RootThread {
    /// Compares one directory, if it is time.
    pub(super) fn compare_a_little(&mut self) -> Result<(), WatchError> {
        let begun = Instant::now();
        if self.comparison.next.is_none_or(|next| next > begun) {
            return Ok(());
        }
        let every = self.shared.config.compare_every;
        if self.comparison.waiting.is_empty() {
            self.comparison.waiting.push(RelativePath::default());
        }
        let mut tally = std::mem::take(&mut self.comparison.tally);
        let mut waiting = std::mem::take(&mut self.comparison.waiting);
        let Some(directory) = waiting.pop() else { return Ok(()) };
        if self.walk_one(directory, &mut waiting, &mut tally)? != End::Complete {
            // The next look at the root decides; a walk over all of it follows.
            self.comparison.put_off(every);
            self.entry.request(|requests| requests.check = true);
            return Ok(());
        }
        if waiting.is_empty() {
            self.comparison.put_off(every);
            self.judge_part(&mut tally, false);
            self.unsettled.extend(tally.unsettled);
            return Ok(());
        }
        let pause = begun.elapsed() * SHARE;
        self.comparison = Comparison { waiting, tally, next: Some(Instant::now() + pause) };
        Ok(())
    }
}
