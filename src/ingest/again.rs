//! When a file is tried again whose failure was not its own: the machine ran short, a decoder was stopped from outside,
//! the disk stumbled, a right was missing.
//!
//! Which files these are stands in the store, so that a restart forgets none; how often each failed in a row is known
//! here alone, so that a restart tries all of them soon.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::photo::FileId;
use crate::store::FailureKind;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(3600);

/// Files whose failures are counted. Any further one waits longest, as if it had failed often.
const COUNTED: usize = 10_000;

/// How often files have failed in a row.
#[derive(Debug, Default)]
pub struct Again {
    failures: Mutex<HashMap<FileId, u32>>,
    at_once: AtomicBool,
    news: Notify,
}

impl Again {
    /// The file failed, and not through its own fault.
    pub(super) fn failed(&self, file: &FileId) {
        let mut failures = self.failures();
        if let Some(count) = failures.get_mut(file) {
            *count = count.saturating_add(1);
        } else if failures.len() < COUNTED {
            failures.insert(file.clone(), 1);
        }
        drop(failures);
        self.news.notify_one();
    }

    /// The file was read, or is gone.
    pub(super) fn settled(&self, file: &FileId) {
        self.failures().remove(file);
    }

    /// Tries all of them at once.
    pub fn try_all_now(&self) {
        self.at_once.store(true, Ordering::Release);
        self.news.notify_one();
    }

    /// Returns, once for each time, whether all are to be tried at once.
    pub fn take_at_once(&self) -> bool {
        self.at_once.swap(false, Ordering::AcqRel)
    }

    /// Waits until another file has failed, or all are to be tried at once.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Returns how long after its last failure a file is tried again: four times as long each time. `None` where the
    /// bytes are at fault, so that only a change of them is worth a try.
    pub fn wait_of(&self, file: &FileId, kind: FailureKind) -> Option<Duration> {
        let first = first_wait(kind)?;
        let failures = self.failures();
        let unknown = if failures.len() < COUNTED { 1 } else { u32::MAX };
        let count = failures.get(file).copied().unwrap_or(unknown);
        let factor = 4u32.checked_pow(count.saturating_sub(1));
        Some(factor.and_then(|factor| first.checked_mul(factor)).map_or(LONGEST, |wait| wait.min(LONGEST)))
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn failures(&self) -> MutexGuard<'_, HashMap<FileId, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first wait after a failure of this kind.
pub fn first_wait(kind: FailureKind) -> Option<Duration> {
    match kind {
        FailureKind::Passing => Some(Duration::from_secs(10)),
        FailureKind::Unreadable => Some(Duration::from_secs(60)),
        FailureKind::Corrupt
        | FailureKind::Unsupported
        | FailureKind::TooLarge
        | FailureKind::NotAPhoto
        | FailureKind::TimedOut
        | FailureKind::Internal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{RelativePath, RootId};

    fn file(number: usize) -> FileId {
        FileId { root: RootId(1), path: RelativePath::from_bytes(number.to_string().into_bytes()) }
    }

    #[test]
    fn waits_grow_up_to_an_hour_and_begin_anew_after_a_success() {
        let again = Again::default();
        let wait = |again: &Again| again.wait_of(&file(1), FailureKind::Passing).unwrap().as_secs();
        assert_eq!(wait(&again), 10, "after a restart");
        let waits = [(); 7].map(|()| {
            again.failed(&file(1));
            wait(&again)
        });
        assert_eq!(waits, [10, 40, 160, 640, 2560, 3600, 3600]);
        again.settled(&file(1));
        assert_eq!(wait(&again), 10);
        assert_eq!(again.wait_of(&file(1), FailureKind::Corrupt), None);
    }

    #[test]
    fn where_very_many_fail_the_last_wait_longest() {
        let again = Again::default();
        (0..COUNTED).for_each(|number| again.failed(&file(number)));
        assert_eq!(again.wait_of(&file(0), FailureKind::Unreadable), Some(Duration::from_secs(60)));
        again.failed(&file(COUNTED));
        assert_eq!(again.wait_of(&file(COUNTED), FailureKind::Unreadable), Some(LONGEST));
    }
}
