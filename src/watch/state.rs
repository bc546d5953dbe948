//! What the threads of the room share: the roots and their states, the watches, the paths that settle.
//!
//! Locks are held for a moment, never while the disk, the store or the sink is asked, and never two at once,
//! except that `watches` is held while a watch is added, which asks the disk.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use jiff::Timestamp;
use tokio::sync::watch;

use super::asking::Asking;
use super::disk::Costs;
use super::events::Signal;
use super::listen::EndListening;
use super::root_entry::RootEntry;
use super::rules::{GlobalRules, IGNORE_FILE, is_temporary};
use super::scan::Allowed;
use super::settle::{Settle, Touch};
use super::status::Activity;
use super::watches::Watches;
use super::{Known, Sink, WatchConfig};
use crate::photo::{Fingerprint, RelativePath, RootId, overlap};

/// Locks, also where another thread died with the lock: its death ends the room anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) config: WatchConfig,
    pub(super) known: Arc<dyn Known>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) global_rules: RwLock<Arc<GlobalRules>>,
    pub(super) roots: RwLock<BTreeMap<RootId, Arc<RootEntry>>>,
    pub(super) watches: Mutex<Watches>,
    pub(super) settle: Mutex<Settle>,
    pub(super) inbox: Sender<Signal>,
    /// Our queue of events was full.
    pub(super) overflowed: AtomicBool,
    pub(super) stopping: AtomicBool,
    /// What the live thread asks the disk.
    pub(super) live: Mutex<Arc<Asking>>,
    pub(super) activity: watch::Sender<Activity>,
    pub(super) costs: Costs,
    /// How often events were lost.
    pub(super) losses: AtomicU64,
    pub(super) end_listening: EndListening,
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Judges the name of a file: may it be a photo, and is it whole by its name?
    pub(super) fn is_wanted(&self, name: &OsStr) -> bool {
        (self.config.is_candidate)(name) && !is_temporary(name)
    }

    /// The same, and ignore files.
    pub(super) fn is_worth_an_event(&self, name: &OsStr) -> bool {
        name == IGNORE_FILE || self.is_wanted(name)
    }

    /// Returns the root above `path`, and the path below it. Of two that were last seen at the same place, as when two
    /// drives have changed their mount points, it is the one that is there.
    pub(super) fn root_of(&self, path: &Path) -> Option<(Arc<RootEntry>, RelativePath)> {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        let above = roots.values().filter_map(|entry| {
            let below = RelativePath::strip(&entry.path(), path)?;
            Some((Arc::clone(entry), below))
        });
        above.max_by_key(|(entry, _)| entry.is_online())
    }

    pub(super) fn root(&self, id: RootId) -> Option<Arc<RootEntry>> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(super) fn all_roots(&self) -> Vec<Arc<RootEntry>> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Puts a path among those that settle. Where there is no room, its root will be compared as a whole.
    pub(super) fn touch(&self, entry: &RootEntry, path: &Path, touch: Touch) {
        let has_room = lock(&self.settle).touch(path, touch, Instant::now());
        if !has_room {
            entry.request(|requests| requests.full = true);
        }
    }

    /// Takes back every watch of a root below `path`, and forgets what settles there.
    pub(super) fn unwatch(&self, root: RootId, path: &Path) {
        lock(&self.watches).unwatch_below(path);
        lock(&self.settle).forget_below(path);
        // Another root may be there by now, when two drives have changed their mount points. What was taken back was its.
        for other in self.all_roots() {
            if other.id != root && other.is_online() && overlap(&other.path(), path) {
                other.request(|requests| {
                    requests.full = true;
                    requests.lost_watches = true;
                });
            }
        }
    }

    /// Makes the live thread look at the settling paths, if it is asleep.
    pub(super) fn wake_live(&self) {
        // Where the queue is full it is not asleep.
        let _ = self.inbox.try_send(Signal::Wake);
    }

    /// Tells whoever waits what the room is doing now.
    pub(super) fn publish(&self) {
        let busy_roots = self.all_roots().iter().filter(|entry| entry.is_busy()).count();
        let unsettled: usize = self.all_roots().iter().map(|entry| entry.unsettled()).sum();
        let settling = lock(&self.settle).len() + self.inbox.len() + unsettled;
        let now = Activity { busy_roots, settling };
        self.activity.send_if_modified(|activity| std::mem::replace(activity, now) != now);
    }

    /// Returns how long ago `fingerprint` last changed; none where its change time is in the future.
    pub(super) fn unchanged_for(fingerprint: &Fingerprint) -> Option<Duration> {
        let age = Timestamp::now().as_nanosecond().checked_sub(fingerprint.changed_ns)?;
        u64::try_from(age).ok().map(Duration::from_nanos)
    }
}

/// The rules of a root, asked about the entries of one directory.
pub(super) struct InDirectory<'a> {
    pub(super) shared: &'a Shared,
    pub(super) entry: &'a RootEntry,
    pub(super) directory: &'a RelativePath,
}

impl Allowed for InDirectory<'_> {
    fn is_wanted(&self, name: &OsStr) -> bool {
        self.shared.is_wanted(name)
    }

    fn is_left_out(&self, name: &OsStr, is_directory: bool) -> bool {
        let rules = self.entry.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.leaves_out(&self.directory.join(name), is_directory)
    }

    fn why_left_out(&self, name: &OsStr, is_directory: bool) -> Option<String> {
        let rules = self.entry.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.why_left_out(&self.directory.join(name), is_directory)
    }
}
