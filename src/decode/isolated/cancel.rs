//! Stopping a decoding from another thread, whether it still waits for its turn or is in the works.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Stops what it was given to. Clones stop the same.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_cancelled: AtomicBool,
    /// Ends what the decoding waits for at the moment.
    interrupt: Mutex<Option<Interrupt>>,
}

type Interrupt = Box<dyn Fn() + Send>;

impl Cancel {
    /// Stops the decoding within a moment, or as soon as it begins. Does not block.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::SeqCst);
        if let Some(interrupt) = &*self.interrupt() {
            interrupt();
        }
    }

    /// Whether it is to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::SeqCst)
    }

    /// Whether both stop the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Does what blocks, and has `interrupt` called if it is cancelled meanwhile or was before.
    pub(super) fn during<T>(&self, interrupt: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> T {
        *self.interrupt() = Some(Box::new(interrupt));
        // Cancelled before that, nobody has called it.
        if self.is_cancelled() {
            self.cancel();
        }
        let done = work();
        *self.interrupt() = None;
        done
    }

    /// No interrupt panics, so a poisoned lock is as good as any.
    fn interrupt(&self) -> MutexGuard<'_, Option<Interrupt>> {
        self.0.interrupt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
