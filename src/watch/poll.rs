//! How often a root that cannot be watched is walked. Pure.

use std::time::{Duration, Instant};

/// A walk may take this share of the time at most: one part in so many.
const SHARE: u32 = 50;

/// The time between two walks: short after a change, doubling while nothing happens, and never so short that
/// walking a large or slow root becomes all we do.
#[derive(Debug)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    current: Duration,
}

/// A walk that is due at some time.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) due: Instant,
    pub(super) backoff: Backoff,
}

impl Backoff {
    pub(super) fn new((shortest, longest): (Duration, Duration)) -> Self {
        Self { shortest, longest, current: shortest }
    }

    /// Returns how long to wait after a walk that took `took`.
    pub(super) fn after(&mut self, found_changes: bool, took: Duration) -> Duration {
        self.current = if found_changes { self.shortest } else { self.current.saturating_mul(2) };
        self.current = self.current.clamp(self.shortest, self.longest);
        self.current.max(took.saturating_mul(SHARE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_slows_down_while_nothing_happens_and_hurries_after_a_change() {
        let second = Duration::from_secs;
        let mut backoff = Backoff::new((second(30), second(100)));
        let waits: Vec<Duration> =
            [true, false, false, false, true].map(|changed| backoff.after(changed, second(0))).to_vec();
        assert_eq!(waits, [second(30), second(60), second(100), second(100), second(30)]);
    }

    #[test]
    fn a_walk_that_takes_long_is_made_rarely() {
        let second = Duration::from_secs;
        assert_eq!(Backoff::new((second(30), second(100))).after(true, second(10)), second(500));
    }
}
