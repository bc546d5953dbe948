//! Settling: events in, paths worth looking at out, once each, after they have been quiet.
//!
//! A camera import touches each file many times within a second. There is no clock and no disk in here: the
//! caller passes `now` and what it saw, so every timing case is a plain unit test. A file that its writer
//! closed needs to be quiet only shortly; one that is still open for writing must be quiet longer, and must
//! look the same twice unless its change time proves that it was still.
//!
//! Invariant: a path that was touched comes out, or [`Settle::touch`] says that it did not fit.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::photo::Fingerprint;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// A name was created: a new file that is about to be written, or a hard link that is not.
    Created,
    /// Bytes were written.
    Written,
    /// A file that was open for writing was closed.
    Closed,
    /// Something was moved to this name.
    Appeared,
    /// Permissions, times, links.
    Attributes,
    /// Deleted, or moved away.
    Vanished,
    /// Seen while reading a directory, different from what is known; nobody knows whether it is being written.
    Found,
    /// The same, in a directory that was not watched until now: it may have been changed in there unseen.
    FoundUnwatched,
    /// Seen while reading a directory: the name is known, and what stands there is not what is known of it.
    FoundChanged,
    /// Changed under another name: a hard link of it was written to, which is announced under that name only.
    Linked,
}

/// How long a path must be quiet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Debounce {
    pub(super) default: Duration,
    pub(super) after_close: Duration,
    pub(super) while_open: Duration,
}

/// A path that was quiet long enough to be looked at.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) path: Arc<Path>,
    /// What happened last.
    pub(super) last: Touch,
    is_open: bool,
    was_written: bool,
    may_adopt: bool,
    seen: Option<Fingerprint>,
    failed_looks: u32,
}

impl Due {
    /// Says whether it may take over what is known of the same inode under another name: all that happened to it
    /// since it was last read has been heard of, and it was only renamed.
    pub(super) fn may_adopt(&self) -> bool {
        self.may_adopt && !self.was_written
    }

    /// Says whether bytes were written to it since it was last read, as far as events told.
    pub(super) fn was_written(&self) -> bool {
        self.was_written
    }
}

/// What to do with a file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is whole.
    Settled,
    /// It was put back and will be due again.
    Wait,
}

struct Waiting {
    due: (Instant, u64),
    touched: Instant,
    last: Touch,
    is_open: bool,
    was_written: bool,
    may_adopt: bool,
    seen: Option<Fingerprint>,
    /// Looks in a row that the disk refused.
    failed_looks: u32,
}

/// The set of paths that wait to become quiet.
pub(super) struct Settle {
    debounce: Debounce,
    capacity: usize,
    waiting: HashMap<Arc<Path>, Waiting>,
    by_time: BTreeMap<(Instant, u64), Arc<Path>>,
    next: u64,
    /// What vanished lately does not come out before then.
    hold_vanished: Option<Instant>,
}

/// What vanished waits for what is found elsewhere this many quiet periods at most.
const HOLD_PERIODS: u32 = 10;

/// So many times is a path looked at again where the disk refuses; a minute in all.
const MAX_FAILED_LOOKS: u32 = 5;

impl Settle {
    pub(super) fn new(debounce: Debounce, capacity: usize) -> Self {
        Self {
            debounce,
            capacity,
            waiting: HashMap::new(),
            by_time: BTreeMap::new(),
            next: 0,
            hold_vanished: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Records that something happened to `path`. False: there is no room, and nothing was recorded.
    #[must_use]
    pub(super) fn touch(&mut self, path: &Path, touch: Touch, now: Instant) -> bool {
        let (was_open, was_written, could_adopt) = match self.waiting.get(path) {
            Some(waiting) => (waiting.is_open, waiting.was_written, waiting.may_adopt),
            None if self.waiting.len() >= self.capacity => return false,
            None => (false, false, true),
        };
        let is_open = match touch {
            Touch::Written => true,
            Touch::Closed | Touch::Appeared | Touch::Vanished => false,
            _ => was_open,
        };
        let delay = match touch {
            _ if is_open => self.debounce.while_open,
            Touch::Written | Touch::Closed | Touch::Appeared => self.debounce.after_close,
            // What vanished here may have appeared there, and be still known by its old name when that is read.
            _ => self.debounce.default,
        };
        if matches!(touch, Touch::Found | Touch::FoundUnwatched | Touch::FoundChanged) {
            self.hold_vanished = Some(now + delay);
        }
        let was_written = match touch {
            // Another file stands at this name now.
            Touch::Appeared => false,
            Touch::Written | Touch::Closed | Touch::FoundChanged | Touch::Linked => true,
            // What vanished was perhaps moved, and whoever finds it elsewhere must know that it was written to.
            Touch::Created | Touch::Attributes | Touch::Found | Touch::FoundUnwatched | Touch::Vanished => {
                was_written
            }
        };
        let may_adopt = match touch {
            // Until it is heard where it came from.
            Touch::Appeared | Touch::FoundUnwatched | Touch::Created => false,
            _ => could_adopt,
        };
        let path: Arc<Path> = Arc::from(path);
        self.put(
            path,
            now + delay,
            Waiting {
                due: (now, 0),
                touched: now,
                last: touch,
                is_open,
                was_written,
                may_adopt,
                seen: None,
                failed_looks: 0,
            },
        );
        true
    }

    /// Records that what stands at `to`, a file or a directory, stood at `from` before. Both have been touched already.
    /// What is below a directory takes along what was heard of it only where `was_watched` says so of its directory
    /// at its old place.
    pub(super) fn renamed(&mut self, from: &Path, to: &Path, was_watched: impl Fn(&Path) -> bool) {
        if self.waiting.contains_key(to) {
            return self.inherit(from, to);
        }
        let below: Vec<Arc<Path>> =
            self.waiting.keys().filter(|path| path.starts_with(to)).map(Arc::clone).collect();
        for path in below {
            let Ok(rest) = path.strip_prefix(to) else { continue };
            let before = from.join(rest);
            if before.parent().is_some_and(&was_watched) {
                self.inherit(&before, &path);
            }
        }
    }

    /// Lets `to` know what was heard of it while it was `from`.
    fn inherit(&mut self, from: &Path, to: &Path) {
        let (was_written, may_adopt) =
            self.waiting.get(from).map_or((false, true), |waiting| (waiting.was_written, waiting.may_adopt));
        if let Some(waiting) = self.waiting.get_mut(to) {
            waiting.was_written |= was_written;
            waiting.may_adopt = may_adopt;
        }
    }

    /// Says whether bytes were written to `path`, as far as events told, and it has not come out since.
    pub(super) fn is_written(&self, path: &Path) -> bool {
        self.waiting.get(path).is_some_and(|waiting| waiting.was_written)
    }

    /// Returns when the next path becomes due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_time.keys().next().map(|&(due, _)| due)
    }

    /// Takes out at most `limit` of the paths that are due, in the order in which they became so.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<Due> {
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(entry) = self.by_time.first_entry() else { break };
            if entry.key().0 > now {
                break;
            }
            let path = entry.remove();
            let Some(waiting) = self.waiting.remove(&path) else { continue };
            if let Some(until) = self.hold_for(&waiting, now) {
                self.put(path, until, waiting);
                continue;
            }
            let Waiting { last, is_open, was_written, may_adopt, seen, failed_looks, .. } = waiting;
            due.push(Due { path, last, is_open, was_written, may_adopt, seen, failed_looks });
        }
        due
    }

    /// Judges a file that was due by what the disk says of it; `unchanged_for` is the age of its change time
    /// where that can be told.
    pub(super) fn judge(
        &mut self,
        due: &Due,
        seen: Fingerprint,
        unchanged_for: Option<Duration>,
        now: Instant,
    ) -> Verdict {
        let is_certain =
            !due.is_open && matches!(due.last, Touch::Closed | Touch::Appeared | Touch::Vanished);
        // A new file without a byte waits for its first.
        let is_awaited = due.last == Touch::Created && seen.len == 0;
        let needed = if due.is_open || is_awaited { self.debounce.while_open } else { self.debounce.default };
        let is_still = due.seen == Some(seen) || unchanged_for.is_some_and(|age| age >= needed);
        if is_certain || is_still {
            return Verdict::Settled;
        }
        // A touch since it was taken out would have given it a newer time; that one wins.
        if !self.waiting.contains_key(&due.path) {
            self.put_back(due, Some(seen), 0, now + needed, now);
        }
        Verdict::Wait
    }

    /// Puts a path back at which the disk refused a look: a passing fault, perhaps, so it is looked at again, later each
    /// time. False: that has been tried often enough, and nothing was put back.
    #[must_use]
    pub(super) fn look_again(&mut self, due: &Due, now: Instant) -> bool {
        if due.failed_looks >= MAX_FAILED_LOOKS {
            return false;
        }
        if !self.waiting.contains_key(&due.path) {
            let delay = self.debounce.while_open * 2_u32.pow(due.failed_looks);
            self.put_back(due, due.seen, due.failed_looks + 1, now + delay, now);
        }
        true
    }

    fn put_back(
        &mut self,
        due: &Due,
        seen: Option<Fingerprint>,
        failed_looks: u32,
        until: Instant,
        now: Instant,
    ) {
        let Due { last, is_open, was_written, may_adopt, .. } = *due;
        let waiting = Waiting {
            due: (now, 0),
            touched: now,
            last,
            is_open,
            was_written,
            may_adopt,
            seen,
            failed_looks,
        };
        self.put(Arc::clone(&due.path), until, waiting);
    }

    /// A folder that was moved is found file by file, and reading it may take longer than its old name waits.
    fn hold_for(&self, waiting: &Waiting, now: Instant) -> Option<Instant> {
        let is_recent = now < waiting.touched + self.debounce.default * HOLD_PERIODS;
        // As late as the last that was found, and after it.
        let until = self.hold_vanished.map(|until| until + Duration::from_nanos(1))?;
        (waiting.last == Touch::Vanished && is_recent && until > now).then_some(until)
    }

    /// Forgets every path below `directory`, and the directory itself.
    pub(super) fn forget_below(&mut self, directory: &Path) {
        let below: Vec<Arc<Path>> =
            self.waiting.keys().filter(|path| path.starts_with(directory)).map(Arc::clone).collect();
        for path in below {
            if let Some(waiting) = self.waiting.remove(&path) {
                self.by_time.remove(&waiting.due);
            }
        }
    }

    fn put(&mut self, path: Arc<Path>, due: Instant, mut waiting: Waiting) {
        self.next += 1;
        waiting.due = (due, self.next);
        self.by_time.insert(waiting.due, Arc::clone(&path));
        if let Some(earlier) = self.waiting.insert(path, waiting) {
            self.by_time.remove(&earlier.due);
        }
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
