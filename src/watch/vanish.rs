//! Whether to believe that files are gone. Pure: time is passed in.
//!
//! A volume may be present and yet lack its files for a while: a network share that answers with nothing, a
//! mount below the root that went away, a sync client at work. So when half of a root disappears at once, that
//! must be seen twice, some time apart, before it is believed.

use std::time::{Duration, Instant};

/// Fewer missing files than this are believed at once.
const MASS_FILES: u64 = 20;

/// Whether missing files are to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeletionVerdict {
    /// They are gone.
    Believed,
    /// Look again then; until then they stay.
    Held { until: Instant },
}

/// What was seen of mass disappearances of one root.
#[derive(Debug)]
pub(super) struct Disappearance {
    confirm_after: Duration,
    first_seen: Option<Instant>,
    /// Believed lately, file by file: since when, and how many.
    recent: Option<(Instant, u64)>,
}

impl Disappearance {
    pub(super) fn new(confirm_after: Duration) -> Self {
        Self { confirm_after, first_seen: None, recent: None }
    }

    /// Judges a walk over the whole root that missed `missing` files and found `present`.
    pub(super) fn judge_walk(&mut self, missing: u64, present: u64, now: Instant) -> DeletionVerdict {
        if !is_mass(missing, missing + present) {
            self.first_seen = None;
            return DeletionVerdict::Believed;
        }
        let first = *self.first_seen.get_or_insert(now);
        let until = first + self.confirm_after;
        if now < until {
            return DeletionVerdict::Held { until };
        }
        self.first_seen = None;
        DeletionVerdict::Believed
    }

    /// Believes whatever is missing: our user said so.
    pub(super) fn accept(&mut self) -> DeletionVerdict {
        (self.first_seen, self.recent) = (None, None);
        DeletionVerdict::Believed
    }

    /// Judges `missing` files found missing where an event, or a walk over a part, led. `known` is how many
    /// files the root is known to have; none before its first walk.
    pub(super) fn judge_part(&mut self, missing: u64, known: Option<u64>, now: Instant) -> DeletionVerdict {
        let (since, earlier) = match self.recent {
            Some((since, earlier)) if now.duration_since(since) < self.confirm_after => (since, earlier),
            _ => (now, 0),
        };
        // Many small disappearances in a row are one large one.
        let total = earlier + missing;
        if is_mass(total, known.unwrap_or(total)) {
            let first = *self.first_seen.get_or_insert(now);
            return DeletionVerdict::Held { until: first + self.confirm_after };
        }
        self.recent = Some((since, total));
        DeletionVerdict::Believed
    }
}

fn is_mass(missing: u64, known: u64) -> bool {
    missing >= MASS_FILES && missing * 2 >= known
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRM: Duration = Duration::from_secs(30);

    #[test]
    fn a_mass_disappearance_is_believed_when_it_is_seen_twice_some_time_apart() {
        let start = Instant::now();
        let mut seen = Disappearance::new(CONFIRM);
        let held = DeletionVerdict::Held { until: start + CONFIRM };
        assert_eq!(seen.judge_walk(100, 0, start), held);
        assert_eq!(seen.judge_walk(100, 0, start + CONFIRM / 2), held);
        assert_eq!(seen.judge_walk(100, 0, start + CONFIRM), DeletionVerdict::Believed);
    }

    #[test]
    fn files_that_come_back_in_between_start_the_count_anew() {
        let start = Instant::now();
        let mut seen = Disappearance::new(CONFIRM);
        assert!(matches!(seen.judge_walk(100, 0, start), DeletionVerdict::Held { .. }));
        assert_eq!(seen.judge_walk(0, 100, start + CONFIRM), DeletionVerdict::Believed);
        assert!(matches!(seen.judge_walk(100, 0, start + CONFIRM * 2), DeletionVerdict::Held { .. }));
    }

    #[test]
    fn a_few_files_and_a_small_share_are_believed_at_once() {
        let start = Instant::now();
        let mut seen = Disappearance::new(CONFIRM);
        assert_eq!(seen.judge_walk(MASS_FILES - 1, 0, start), DeletionVerdict::Believed);
        assert_eq!(seen.judge_walk(100, 101, start), DeletionVerdict::Believed);
    }

    #[test]
    fn as_many_as_a_mass_and_half_of_all_are_held() {
        let start = Instant::now();
        let held = DeletionVerdict::Held { until: start + CONFIRM };
        assert_eq!(Disappearance::new(CONFIRM).judge_walk(MASS_FILES, 0, start), held);
        assert_eq!(Disappearance::new(CONFIRM).judge_walk(100, 100, start), held);
        assert_eq!(Disappearance::new(CONFIRM).judge_part(100, Some(200), start), held);
        // At the end of the wait, not after it.
        let mut seen = Disappearance::new(CONFIRM);
        assert_eq!(seen.judge_walk(MASS_FILES, 0, start), held);
        assert_eq!(seen.judge_walk(MASS_FILES, 0, start + CONFIRM), DeletionVerdict::Believed);
    }

    #[test]
    fn a_mass_disappearance_in_small_steps_is_one() {
        let start = Instant::now();
        let mut seen = Disappearance::new(CONFIRM);
        assert_eq!(seen.judge_part(30, Some(100), start), DeletionVerdict::Believed);
        assert!(matches!(seen.judge_part(30, Some(100), start + CONFIRM / 2), DeletionVerdict::Held { .. }));
        // Long after, the first step does not count any more.
        assert_eq!(seen.judge_part(30, Some(100), start + CONFIRM * 2), DeletionVerdict::Believed);
    }
}
