//! The room's owner ([`Watcher`]) and its control ([`WatchHandle`]): start, roots at run time, stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use notify::Watcher as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::disk::{Costs, DiskCosts, Kind, look};
use super::events::{Signal, translate};
use super::gone::{Verdict, judge};
use super::listen::{EndListening, MountListener};
use super::live::LiveThread;
use super::root::RootThread;
use super::rules::{GlobalRules, RootRules};
use super::scan::known_below;
use super::settle::{Quiet, Settle};
use super::state::{RootEntry, Shared, lock};
use super::status::{Activity, RootStatus};
use super::volume::FileSystem;
use super::walk::Absence;
use super::watches::Watches;
use super::{Change, Known, Root, Sink, WatchConfig, WatchError};
use crate::photo::{FileId, RelativePath, RootId};

/// A thread ended: its name, the root it served, and how; no result where it panicked.
type Ended = (String, Option<Arc<RootEntry>>, Option<Result<(), WatchError>>);

/// The room. Owns its threads; dropping it stops and joins them.
pub struct Watcher {
    handle: WatchHandle,
    ended: mpsc::UnboundedReceiver<Ended>,
}

/// Controls the room. Clones control the same.
#[derive(Clone)]
pub struct WatchHandle {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ended: mpsc::UnboundedSender<Ended>,
}

/// Tells that its thread ended, also where that panicked.
struct Alive {
    name: String,
    entry: Option<Arc<RootEntry>>,
    result: Option<Result<(), WatchError>>,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Nobody listens any more once the room is dropped.
        let _ = self.ended.send((std::mem::take(&mut self.name), self.entry.take(), self.result.take()));
    }
}

/// Tells the live thread when the event source ends.
struct EventSource {
    shared: Arc<std::sync::OnceLock<std::sync::Weak<Shared>>>,
    inbox: crossbeam_channel::Sender<Signal>,
}

impl notify::EventHandler for EventSource {
    fn handle_event(&mut self, event: notify::Result<notify::Event>) {
        let Some(shared) = self.shared.get().and_then(std::sync::Weak::upgrade) else { return };
        let Some(signal) = translate(event, |name| shared.is_worth_an_event(name)) else { return };
        if self.inbox.try_send(signal).is_err() {
            // The live thread sees it when it has made room; it is not asleep, or there would be room.
            shared.overflowed.store(true, Ordering::Release);
        }
    }
}

impl Drop for EventSource {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.get().and_then(std::sync::Weak::upgrade)
            && !shared.is_stopping()
        {
            let _ = self.inbox.send(Signal::Ended);
        }
    }
}

impl Watcher {
    /// Starts watching `roots`. Returns at once; each root is watched and then compared by its own thread.
    ///
    /// # Errors
    /// No inotify instance, a pattern that is not valid, roots in one another, no thread.
    pub fn start(
        config: WatchConfig,
        roots: Vec<Root>,
        known: Arc<dyn Known>,
        sink: Arc<dyn Sink>,
    ) -> Result<(Self, WatchHandle), WatchError> {
        let global_rules = Arc::new(GlobalRules::new(&config.ignore, config.include_hidden)?);
        let (inbox, signals) = crossbeam_channel::bounded(config.event_capacity);
        let late = Arc::new(std::sync::OnceLock::new());
        let handler = EventSource { shared: Arc::clone(&late), inbox: inbox.clone() };
        let source =
            notify::INotifyWatcher::new(handler, notify::Config::default().with_follow_symlinks(false))
                .map_err(WatchError::NoEvents)?;
        let quiet = Quiet {
            default: config.quiet,
            after_close: config.quiet_after_close,
            while_open: config.quiet_while_open,
        };
        let shared = Arc::new(Shared {
            settle: Mutex::new(Settle::new(quiet, config.settle_capacity)),
            config,
            known,
            sink,
            global_rules: RwLock::new(global_rules),
            roots: RwLock::new(BTreeMap::new()),
            watches: Mutex::new(Watches::new(source)),
            inbox,
            overflowed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            activity: watch::Sender::new(Activity::default()),
            costs: Costs::default(),
            losses: AtomicU64::new(0),
            end_listening: EndListening::new()?,
        });
        // Set once, here, before the first watch is added and thus before the first event.
        let _ = late.set(Arc::downgrade(&shared));
        let (ended, ends) = mpsc::unbounded_channel();
        let inner = Inner { shared: Arc::clone(&shared), threads: Mutex::new(Vec::new()), ended };
        let handle = WatchHandle { inner: Arc::new(inner) };
        let watcher = Self { handle: handle.clone(), ended: ends };
        // Listened to before the first root is looked at, so that no change falls in between.
        let (listener, listening) = (MountListener::new(), Arc::clone(&shared));
        handle.inner.spawn("watch-mounts".into(), None, move || listener.run(&listening))?;
        let live = LiveThread::new(shared, signals);
        handle.inner.spawn("watch-live".into(), None, move || live.run())?;
        for root in roots {
            handle.add_root(root)?;
        }
        Ok((watcher, handle))
    }

    /// Runs until `stop`, then stops the threads and waits for them. A thread that waits for the sink's backlog
    /// goes on until that lets it.
    ///
    /// # Errors
    /// A thread ended before it was asked to.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), WatchError> {
        let failure = loop {
            tokio::select! {
                () = stop.cancelled() => break None,
                Some((name, entry, result)) = self.ended.recv() => {
                    let was_asked = entry.is_some_and(|entry| entry.is_removed());
                    match result {
                        Some(Ok(())) if was_asked => {}
                        Some(Ok(())) | None => break Some(WatchError::ThreadEnded { name, source: None }),
                        Some(Err(error)) => {
                            break Some(WatchError::ThreadEnded { name, source: Some(Box::new(error)) });
                        }
                    }
                }
            }
        };
        let joined = tokio::task::spawn_blocking(move || drop(self)).await;
        match (failure, joined) {
            (Some(failure), _) => Err(failure),
            (None, Ok(())) => Ok(()),
            (None, Err(_)) => Err(WatchError::ThreadEnded { name: "watch-stop".into(), source: None }),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.handle.inner.stop();
    }
}

impl Inner {
    #[expect(clippy::disallowed_methods, reason = "the handle is kept, and `stop` joins it")]
    fn spawn(
        &self,
        name: String,
        entry: Option<Arc<RootEntry>>,
        body: impl FnOnce() -> Result<(), WatchError> + Send + 'static,
    ) -> Result<(), WatchError> {
        let alive = Alive { name: name.clone(), entry, result: None, ended: self.ended.clone() };
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || {
                // As a whole: a closure that names a field only would leave the rest, and its drop, outside.
                let mut alive = alive;
                alive.result = Some(body());
            })
            .map_err(WatchError::Thread)?;
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake_live();
        self.shared.end_listening.end();
        for entry in self.shared.all_roots() {
            entry.wake();
        }
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic was told by `Alive`.
            let _ = thread.join();
        }
    }
}

impl WatchHandle {
    /// Adds a root, which is watched and compared in the background, whether or not it is there.
    ///
    /// # Errors
    /// The path is relative, the number is in use, or the root and another one lie in one another.
    pub fn add_root(&self, root: Root) -> Result<(), WatchError> {
        let shared = &self.inner.shared;
        if !root.path.is_absolute() {
            return Err(WatchError::NotAbsolute { path: root.path });
        }
        let global = Arc::clone(&shared.global_rules.read().unwrap_or_else(PoisonError::into_inner));
        let id = root.id;
        let path = root.path.clone();
        let entry = Arc::new(RootEntry::new(root, RootRules::new(global), shared.config.confirm_after));
        {
            let mut roots = shared.roots.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(other) = roots.values().find(|other| overlap(&other.path(), &path)) {
                return Err(WatchError::Nested { path, other: other.path().to_path_buf() });
            }
            if roots.contains_key(&id) {
                return Err(WatchError::SameNumber { id });
            }
            roots.insert(id, Arc::clone(&entry));
        }
        shared.publish();
        let thread = RootThread::new(Arc::clone(shared), Arc::clone(&entry));
        self.inner.spawn(format!("watch-root-{}", id.0), Some(entry), move || thread.run())
    }

    /// Ends the watching of a root. What is known of it is left to the caller. False: there is no such root.
    pub fn remove_root(&self, id: RootId) -> bool {
        let shared = &self.inner.shared;
        let removed = shared.roots.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some(entry) = removed else { return false };
        entry.remove();
        if entry.is_online() {
            let path = entry.path();
            lock(&shared.watches).unwatch_below(&path);
            lock(&shared.settle).forget_below(&path);
        }
        shared.publish();
        true
    }

    /// Says whether a file that was given up is still gone at this moment: not there on a root that is, or left out by the
    /// rules. One of a root that is not watched is.
    pub fn is_gone(&self, file: &FileId) -> bool {
        let shared = &self.inner.shared;
        let Some(entry) = shared.root(file.root) else { return true };
        judge(shared, &entry, file, &mut Absence::default()) == Verdict::Gone
    }

    /// Returns the change that reads a file again, as it stands on the disk now; none where it does not, or is left out.
    pub fn read_again(&self, file: &FileId) -> Option<Change> {
        let shared = &self.inner.shared;
        let entry = shared.root(file.root).filter(|entry| entry.is_online())?;
        if judge(shared, &entry, file, &mut Absence::default()) != Verdict::There {
            return None;
        }
        let path = file.path.under(&entry.path());
        let seen = look(&path, &entry.file_system(&file.path), &shared.costs).ok()??;
        Some(Change::Read { file: file.clone(), path, fingerprint: seen.fingerprint })
    }

    /// Finds the watched folder, or the volume mounted in one, whose path this is: the one that was configured, or the
    /// one where it is. Returns the root, and the place from there.
    pub fn place(&self, path: &Path) -> Option<(RootId, RelativePath)> {
        let roots = self.roots();
        let is_root = |root: &&RootStatus| root.path == path || root.configured == path;
        if let Some(root) = roots.iter().find(is_root) {
            return Some((root.id, RelativePath::default()));
        }
        roots.iter().find_map(|root| {
            let mount = root.mounts.iter().find(|mount| mount.at.under(&root.path) == path)?;
            Some((root.id, mount.at.clone()))
        })
    }

    /// Returns how many files are known at a place, and how many of those are not there now: what [`Self::accept`] gives
    /// up. Asks the disk for each, and calls `beat` after each.
    ///
    /// # Errors
    /// The disk does not tell, or the store does not.
    pub fn missing_at(
        &self,
        root: RootId,
        at: &RelativePath,
        beat: &dyn Fn(),
    ) -> Result<Missing, WatchError> {
        let shared = &self.inner.shared;
        let mut missing = Missing::default();
        let Some(entry) = shared.root(root) else { return Ok(missing) };
        // What is accepted is what the path leads to, wherever the root was last.
        let configured = || shared.config.volumes.resolve(&entry.configured);
        let top = if entry.is_online() { entry.path() } else { configured().map_or(entry.path(), Arc::from) };
        let mut failure = None;
        known_below(&*shared.known, root, at.clone(), |file| {
            missing.known += 1;
            match look(&file.path.under(&top), &FileSystem::Local, &shared.costs) {
                Ok(seen) => missing.missing += u64::from(seen.is_none_or(|seen| seen.kind != Kind::File)),
                Err(error) => failure = Some((file, error)),
            }
            beat();
            failure.is_none() && !shared.is_stopping()
        })?;
        match failure {
            Some((file, source)) => Err(WatchError::Look { path: file.path.under(&top), source }),
            None => Ok(missing),
        }
    }

    /// Takes what is at a place now for what should be there, whatever was there before: soon, what is known of it and
    /// missing is given up. False: there is no such root.
    pub fn accept(&self, root: RootId, at: RelativePath) -> bool {
        let Some(entry) = self.inner.shared.root(root) else { return false };
        entry.request(|requests| {
            requests.accept.insert(at);
        });
        self.inner.shared.publish();
        true
    }

    /// Compares a root, or all of them, as a whole, and soon. False: there is no such root.
    pub fn rescan(&self, root: Option<RootId>) -> bool {
        let shared = &self.inner.shared;
        let roots = match root {
            Some(id) => shared.root(id).into_iter().collect(),
            None => shared.all_roots(),
        };
        for entry in &roots {
            entry.request(|requests| requests.full = true);
        }
        shared.publish();
        root.is_none() || !roots.is_empty()
    }

    /// Replaces the patterns that hold for every root. What they leave out goes, what they let in is read.
    ///
    /// # Errors
    /// A pattern is not valid; the old ones then hold on.
    pub fn reload_rules(&self, ignore: &[String], include_hidden: bool) -> Result<(), WatchError> {
        let shared = &self.inner.shared;
        let rules = Arc::new(GlobalRules::new(ignore, include_hidden)?);
        *shared.global_rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&rules);
        for entry in shared.all_roots() {
            entry.rules.write().unwrap_or_else(PoisonError::into_inner).set_global(Arc::clone(&rules));
            entry.request(|requests| requests.full = true);
        }
        // Where the queue is full, the walks that were just asked for do the same a little later.
        let _ = shared.inbox.try_send(Signal::Rules);
        Ok(())
    }

    /// Returns the states of all roots, by number.
    pub fn roots(&self) -> Vec<RootStatus> {
        self.inner.shared.all_roots().iter().map(|entry| entry.status()).collect()
    }

    /// Returns what the room is doing, now and whenever it changes.
    pub fn activity(&self) -> watch::Receiver<Activity> {
        self.inner.shared.activity.subscribe()
    }

    /// Returns how many directories are watched by inotify.
    pub fn watch_count(&self) -> u64 {
        lock(&self.inner.shared.watches).len()
    }

    /// Returns how often events were lost since the start, and everything was compared instead.
    pub fn losses(&self) -> u64 {
        self.inner.shared.losses.load(Ordering::Relaxed)
    }

    /// Plays an event that no test can bring about everywhere.
    #[cfg(test)]
    pub(super) fn pretend(&self, signal: Signal) {
        self.inner.shared.inbox.send(signal).unwrap();
    }

    /// Returns what was asked of the disk since the start.
    pub fn costs(&self) -> DiskCosts {
        self.inner.shared.costs.so_far()
    }
}

/// What is known at a place and not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Files that are known.
    pub known: u64,
    /// Of those: not there now.
    pub missing: u64,
}

/// Says whether one of both lies in the other, as written or as the disk resolves them.
fn overlap(one: &Path, other: &Path) -> bool {
    let nested = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
    if nested(one, other) {
        return true;
    }
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => nested(&one, &other),
        _ => false,
    }
}
