//! The room's owner ([`Watcher`]) and its control ([`WatchHandle`]): start, roots at run time, stop.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::asking::{Asking, Watched};
use super::disk::{Costs, DiskCosts, Kind, look};
use super::event_source::{self, LateShared};
use super::events::Signal;
use super::gone::{Verdict, judge};
use super::listen::{EndListening, MountListener};
use super::live::LiveThread;
use super::omissions::OmissionKind;
use super::overseer::Overseer;
use super::root::RootThread;
use super::root_entry::RootEntry;
use super::rules::{GlobalRules, RootRules};
use super::scan::known_below;
use super::settle::{Debounce, Settle};
use super::state::{Shared, lock};
use super::status::{Activity, RootStatus};
use super::volume::FileSystem;
use super::walk::Absence;
use super::watches::Watches;
use super::{Change, Known, Omission, Root, Sink, WatchConfig, WatchError};
use crate::deadline;
use crate::photo::{FileId, RelativePath, RootId};
use crate::threads::{self, Ended, Ends, Panicked, Starter};

/// How long threads may take to end. One that waits for a disk longer is left behind.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// What a thread of the room returns: whether it was to end.
type WasAsked = Result<bool, WatchError>;

/// The room. Owns its threads; dropping it stops and joins them.
pub struct Watcher {
    handle: WatchHandle,
    ends: Ends<WasAsked>,
}

/// Controls the room. Clones control the same.
#[derive(Clone)]
pub struct WatchHandle {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    threads: Starter<WasAsked>,
    /// What the live thread hears; kept for the one that may have to take its place.
    signals: crossbeam_channel::Receiver<Signal>,
    /// Dropped when the room stops.
    overseen: Mutex<Option<crossbeam_channel::Sender<()>>>,
}

impl Watcher {
    /// Starts watching `roots`. Returns at once; each root is watched and then compared by its own thread.
    ///
    /// # Errors
    /// A pattern that is not valid, roots in one another, no thread.
    pub fn start(
        mut config: WatchConfig,
        roots: Vec<Root>,
        known: Arc<dyn Known>,
        sink: Arc<dyn Sink>,
    ) -> Result<(Self, WatchHandle), WatchError> {
        let global_rules = Arc::new(GlobalRules::new(&config.ignore, config.include_hidden)?);
        let (inbox, signals) = crossbeam_channel::bounded(config.event_capacity);
        let late = LateShared::default();
        let make = event_source::maker(Arc::clone(&late), inbox.clone());
        config.volumes = Arc::new(Watched(config.volumes));
        let debounce = Debounce {
            default: config.debounce,
            after_close: config.debounce_after_close,
            while_open: config.debounce_while_open,
        };
        let shared = Arc::new(Shared {
            settle: Mutex::new(Settle::new(debounce, config.settle_capacity)),
            config,
            known,
            sink,
            global_rules: RwLock::new(global_rules),
            roots: RwLock::new(BTreeMap::new()),
            watches: Mutex::new(Watches::new(make)),
            inbox,
            overflowed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            live: Mutex::new(Asking::new()),
            activity: watch::Sender::new(Activity::default()),
            costs: Costs::default(),
            losses: AtomicU64::new(0),
            end_listening: EndListening::new()?,
        });
        // Once, here, before the first watch is added.
        let _ = late.set(Arc::downgrade(&shared));
        if let Err(why) = lock(&shared.watches).open() {
            tracing::warn!("no folder can be watched, so all are looked at from time to time: {why}");
        }
        let (threads, ends) = threads::threads();
        let (overseen, stop) = crossbeam_channel::bounded(0);
        let inner = Arc::new(Inner { shared, threads, signals, overseen: Mutex::new(Some(overseen)) });
        let overseer = Overseer { inner: Arc::downgrade(&inner), stop };
        let handle = WatchHandle { inner };
        let watcher = Self { handle: handle.clone(), ends };
        // Listened to before the first root is looked at, so that no change falls in between.
        let (listener, listening) = (MountListener::new(), Arc::clone(&handle.inner.shared));
        handle.inner.spawn("watch-mounts".into(), || false, move || listener.run(&listening))?;
        handle.inner.start_live()?;
        handle.inner.spawn("watch-overseer".into(), || false, move || overseer.run())?;
        for root in roots {
            handle.start_root(root, None)?;
        }
        Ok((watcher, handle))
    }

    /// Runs until `stop`, then stops the threads and waits for them, but a few seconds at the most: who waits for a disk
    /// that does not answer, or for the sink's backlog, is left behind.
    ///
    /// # Errors
    /// A thread ended before it was asked to.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), WatchError> {
        let failure = loop {
            tokio::select! {
                () = stop.cancelled() => break None,
                Some(Ended { name, result }) = self.ends.next() => match result {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) | Err(Panicked) => break Some(WatchError::ThreadEnded { name, source: None }),
                    Ok(Err(error)) => break Some(WatchError::ThreadEnded { name, source: Some(Box::new(error)) }),
                },
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
        for name in self.ends.join_all(STOP_PATIENCE) {
            tracing::warn!("left behind: {name} waits for a disk that does not answer");
        }
    }
}

impl Inner {
    /// Starts a live thread; from now on it is the one that counts.
    pub(super) fn start_live(&self) -> Result<(), WatchError> {
        let asking = Asking::new();
        *lock(&self.shared.live) = Arc::clone(&asking);
        let live = LiveThread::new(Arc::clone(&self.shared), self.signals.clone(), Arc::clone(&asking));
        self.spawn("watch-live".into(), move || asking.is_given_up(), move || live.run())
    }

    /// Starts a thread. Whether it was to end is asked of `was_asked` once it has.
    fn spawn(
        &self,
        name: String,
        was_asked: impl Fn() -> bool + Send + 'static,
        body: impl FnOnce() -> Result<(), WatchError> + Send + 'static,
    ) -> Result<(), WatchError> {
        self.threads.start(name, move || body().map(|()| was_asked())).map_err(WatchError::Thread)
    }

    /// Asks all threads to end.
    fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake_live();
        self.shared.end_listening.end();
        lock(&self.overseen).take();
        for entry in self.shared.all_roots() {
            entry.wake();
        }
    }
}

impl WatchHandle {
    /// Adds a root, which is watched and compared in the background, whether or not it is there. Blocks for a disk that
    /// does not answer, but not for ever.
    ///
    /// # Errors
    /// The path is relative, the number is in use, or the root and another one lie in one another.
    pub fn add_root(&self, root: Root) -> Result<(), WatchError> {
        let path = root.path.clone();
        let patience = self.inner.shared.config.patience;
        let real = deadline::ask_blocking(&root.path, patience, move |_| path.canonicalize());
        self.start_root(root, real.ok().and_then(Result::ok))
    }

    /// Adds a root without asking its disk; `real` is where its path leads, if that is known.
    fn start_root(&self, root: Root, real: Option<PathBuf>) -> Result<(), WatchError> {
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
            let overlaps = |other: &RootEntry| {
                other.overlaps(&path) || real.as_deref().is_some_and(|real| other.overlaps(real))
            };
            if let Some(other) = roots.values().find(|other| overlaps(other)) {
                return Err(WatchError::Nested { path, other: other.path().to_path_buf() });
            }
            if roots.contains_key(&id) {
                return Err(WatchError::SameNumber { id });
            }
            roots.insert(id, Arc::clone(&entry));
        }
        shared.publish();
        let thread = RootThread::new(Arc::clone(shared), Arc::clone(&entry));
        self.inner.spawn(format!("watch-root-{}", id.0), move || entry.is_removed(), move || thread.run())
    }

    /// Ends the watching of a root. What is known of it is left to the caller. False: there is no such root.
    pub fn remove_root(&self, id: RootId) -> bool {
        let shared = &self.inner.shared;
        let removed = shared.roots.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some(entry) = removed else { return false };
        entry.remove();
        if entry.is_online() {
            shared.unwatch(id, &entry.path());
        }
        shared.publish();
        true
    }

    /// Says whether a file that was given up is still gone at this moment: not there on a root that is, or left out by the
    /// rules. One of a root that is not watched is; of a disk that does not answer nothing is. Blocks on that, but not for
    /// ever.
    pub fn is_gone(&self, file: &FileId) -> bool {
        let Some(entry) = self.inner.shared.root(file.root) else { return true };
        let is_gone = self.ask(&entry, file, |shared, entry, file| {
            judge(shared, entry, file, &mut Absence::default()) == Verdict::Gone
        });
        is_gone.unwrap_or(false)
    }

    /// Asks the disk of a root about a file, for a thread that is not of the room.
    fn ask<T: Send + 'static>(
        &self,
        entry: &Arc<RootEntry>,
        file: &FileId,
        call: impl FnOnce(&Shared, &RootEntry, &FileId) -> T + Send + 'static,
    ) -> Option<T> {
        if entry.is_silent() {
            return None;
        }
        let shared = Arc::clone(&self.inner.shared);
        let (patience, path) = (shared.config.patience, file.path.under(&entry.path()));
        let (entry, file) = (Arc::clone(entry), file.clone());
        deadline::ask_blocking(&path, patience, move |_| call(&shared, &entry, &file)).ok()
    }

    /// Returns the change that reads a file again, as it stands on the disk now; none where it does not, or is left out.
    pub fn read_again(&self, file: &FileId) -> Option<Change> {
        let entry = self.inner.shared.root(file.root).filter(|entry| entry.is_online())?;
        self.ask(&entry, file, |shared, entry, file| {
            if judge(shared, entry, file, &mut Absence::default()) != Verdict::There {
                return None;
            }
            let path = file.path.under(&entry.path());
            let seen = look(&path, &entry.file_system(&file.path), &shared.costs).ok()??;
            Some(Change::Read { file: file.clone(), path, fingerprint: seen.fingerprint })
        })?
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

    /// Returns what is left out of all roots, or of one, as far as it is kept by name, by path. None: there is no such
    /// root. A root that is not there leaves nothing out.
    pub fn omissions(&self, root: Option<RootId>) -> Option<Vec<Omission>> {
        let shared = &self.inner.shared;
        let roots = match root {
            Some(id) => vec![shared.root(id)?],
            None => shared.all_roots(),
        };
        let mut omissions = Vec::new();
        for entry in roots {
            let root = entry.path();
            let is_holding_back = entry.status().held_back.is_some();
            let listed = lock(&entry.omissions);
            let listed =
                listed.list().filter(|(_, kind, _)| is_holding_back || *kind != OmissionKind::HeldBack);
            omissions.extend(listed.map(|(path, kind, reason)| Omission {
                path: path.under(&root),
                kind,
                reason,
            }));
        }
        omissions.sort_unstable_by(|one, other| (&one.path, one.kind).cmp(&(&other.path, other.kind)));
        Some(omissions)
    }

    /// Returns the root in which `path` lies, as written, where its disk does not answer: whoever must not wait does not
    /// ask it.
    pub fn silent_root_of(&self, path: &Path) -> Option<PathBuf> {
        let roots = self.inner.shared.all_roots();
        let silent = roots.iter().find(|entry| entry.is_silent() && entry.contains(path));
        silent.map(|entry| entry.path().to_path_buf())
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
