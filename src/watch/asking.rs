//! Who asks the disk right now, about which root, and since when: how a disk that does not answer is noticed.
//!
//! The threads of the room do not ask on threads of their own ([`crate::deadline`]), which would cost each of a million
//! looks. Instead each has an [`Asking`] in which it notes every call of the file system ([`ask`]), and the overseer
//! looks from time to time whether one has not come back. Whoever asks outside of such a thread notes nothing.

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::volume::{Anchor, MountId, Mounted, Volume, Volumes};
use crate::photo::RootId;

thread_local! {
    static MINE: OnceCell<Arc<Asking>> = const { OnceCell::new() };
}

/// What one thread asks the disk.
#[derive(Debug)]
pub(super) struct Asking {
    made: Instant,
    /// When the call that is on its way began, in milliseconds from `made`, and one more; 0 where there is none.
    since: AtomicU64,
    /// The root whose disk is asked, and one more; 0 before the first.
    root: AtomicU64,
    was_overdue: AtomicBool,
}

impl Asking {
    pub(super) fn new() -> Arc<Self> {
        let (since, root, was_overdue) = Default::default();
        Arc::new(Self { made: Instant::now(), since, root, was_overdue })
    }

    /// Makes this the one of the calling thread, for good.
    pub(super) fn adopt(self: &Arc<Self>) {
        MINE.with(|mine| {
            let is_first = mine.set(Arc::clone(self)).is_ok();
            debug_assert!(is_first, "a thread has one");
        });
    }

    /// Returns the root whose disk has owed an answer for `patience`.
    pub(super) fn overdue(&self, patience: Duration) -> Option<RootId> {
        let since = self.since.load(Ordering::Acquire).checked_sub(1)?;
        let root = self.root.load(Ordering::Acquire).checked_sub(1)?;
        let is_overdue = self.made.elapsed() >= Duration::from_millis(since) + patience;
        is_overdue.then(|| RootId(u32::try_from(root).unwrap_or(u32::MAX)))
    }

    /// The overseer's word that the thread is not counted on any more until it says [`Self::begin_anew`].
    pub(super) fn give_up(&self) {
        self.was_overdue.store(true, Ordering::Release);
    }

    /// Says whether the thread was given up: what it did when that happened is void.
    pub(super) fn is_given_up(&self) -> bool {
        self.was_overdue.load(Ordering::Acquire)
    }

    pub(super) fn begin_anew(&self) {
        self.was_overdue.store(false, Ordering::Release);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }
}

/// Notes that the calling thread's next calls are about this root.
pub(super) fn about(root: RootId) {
    MINE.with(|mine| {
        if let Some(mine) = mine.get() {
            mine.root.store(u64::from(root.0) + 1, Ordering::Release);
        }
    });
}

/// Asks the disk, and notes that it is being asked. A call within a call counts as a sign of life of the outer one.
pub(super) fn ask<T>(call: impl FnOnce() -> T) -> T {
    /// Also where the call panics.
    struct OnItsWay<'a>(&'a Asking, bool);
    impl Drop for OnItsWay<'_> {
        fn drop(&mut self) {
            self.0.since.store(if self.1 { self.0.now() } else { 0 }, Ordering::Release);
        }
    }
    MINE.with(|mine| {
        let _on_its_way = mine.get().map(|mine| {
            let is_inner = mine.since.swap(mine.now(), Ordering::AcqRel) != 0;
            OnItsWay(mine, is_inner)
        });
        call()
    })
}

/// Notes what is asked of volumes.
pub(super) struct Watched(pub(super) Arc<dyn Volumes>);

impl Volumes for Watched {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        ask(|| self.0.resolve(path))
    }

    fn anchor(&self, path: &Path) -> io::Result<Anchor> {
        ask(|| self.0.anchor(path))
    }

    fn at(&self, path: &Path) -> io::Result<Mounted> {
        ask(|| self.0.at(path))
    }

    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>> {
        ask(|| self.0.find(volume))
    }

    fn below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        ask(|| self.0.below(path))
    }

    fn mount_of(&self, path: &Path) -> io::Result<(MountId, bool)> {
        ask(|| self.0.mount_of(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_has_not_come_back_is_overdue_and_one_that_has_is_not() {
        let asking = Asking::new();
        asking.adopt();
        about(RootId(7));
        assert_eq!(asking.overdue(Duration::ZERO), None);
        ask(|| {
            assert_eq!(asking.overdue(Duration::ZERO), Some(RootId(7)));
            assert_eq!(asking.overdue(Duration::from_secs(3600)), None);
            ask(|| ());
            assert_eq!(asking.overdue(Duration::ZERO), Some(RootId(7)), "the outer call goes on");
        });
        assert_eq!(asking.overdue(Duration::ZERO), None);
    }
}
