//! The source of the kernel's events, and its handler, which puts them into the queue of the live thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crossbeam_channel::Sender;
use notify::{EventHandler, INotifyWatcher, Watcher};

use super::events::{Signal, translate};
use super::state::Shared;

/// What the threads share, which the source is made a part of: set before the first watch is added, hence before the first
/// event.
pub(super) type LateShared = Arc<OnceLock<Weak<Shared>>>;

/// Returns what makes a source of events, each time it is called.
pub(super) fn maker(
    shared: LateShared,
    inbox: Sender<Signal>,
) -> impl Fn() -> notify::Result<INotifyWatcher> + Send {
    move || {
        let has_begun = Arc::new(AtomicBool::new(false));
        let (shared, inbox) = (Arc::clone(&shared), inbox.clone());
        let handler = Handler { has_begun: Arc::clone(&has_begun), shared, inbox };
        let settings = notify::Config::default().with_follow_symlinks(false);
        let source = INotifyWatcher::new(handler, settings)?;
        has_begun.store(true, Ordering::Release);
        Ok(source)
    }
}

/// Tells the live thread when the event source ends, once it has begun.
struct Handler {
    has_begun: Arc<AtomicBool>,
    shared: LateShared,
    inbox: Sender<Signal>,
}

impl EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
        let Some(signal) = translate(event, |name| shared.is_worth_an_event(name)) else { return };
        if self.inbox.try_send(signal).is_err() {
            // The live thread sees it when it has made room; it is not asleep, or there would be room.
            shared.overflowed.store(true, Ordering::Release);
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.get().and_then(Weak::upgrade)
            && self.has_begun.load(Ordering::Acquire)
            && !shared.is_stopping()
        {
            let _ = self.inbox.send(Signal::Ended);
        }
    }
}
