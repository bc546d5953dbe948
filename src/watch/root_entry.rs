//! A root as all threads of the room know it: where it is, how it is, what its thread is asked to do.
//!
//! Its thread says how it is, others ask for a look. Locks are held as `state` says.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::asking::Asking;
use super::mounts::{self, Mount, MountState, Mounts, covering};
use super::omissions::{OmissionCounts, Omissions};
use super::rules::RootRules;
use super::state::lock;
use super::status::{HeldBack, OfflineReason, RootState, RootStatus, Watching};
use super::vanish::Disappearance;
use super::volume::{Anchor, FileSystem};
use super::{Root, Sink};
use crate::photo::{FileId, RelativePath, RootId};

/// What a root's thread is asked to do.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Compare the whole root.
    pub(super) full: bool,
    /// And add every watch again, since any may have been lost.
    pub(super) lost_watches: bool,
    /// Compare these directories and all below them.
    pub(super) below: BTreeSet<RelativePath>,
    /// Take what is at these places now for what should be there: the root itself, or what is mounted below it.
    pub(super) accept: BTreeSet<RelativePath>,
    /// Find out whether the root, and whatever is mounted below it, is there.
    pub(super) check: bool,
    /// Something was unmounted and mounted again, which an anchor without a lasting number does not show.
    pub(super) remounted: bool,
}

/// So many single directories are compared; past this, the root is.
const MAX_PARTS: usize = 64;

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        let asks = self.full || self.lost_watches || self.check || self.remounted;
        !asks && self.accept.is_empty() && self.below.is_empty()
    }

    pub(super) fn add_below(&mut self, directory: RelativePath) {
        self.below.insert(directory);
        if self.below.len() > MAX_PARTS {
            self.below.clear();
            self.full = true;
        }
    }
}

/// One root, as its own thread and the live thread see it.
pub(super) struct RootEntry {
    pub(super) id: RootId,
    /// The path that was configured or added, which never changes.
    pub(super) configured: Arc<Path>,
    status: Mutex<RootStatus>,
    path: RwLock<Arc<Path>>,
    /// What the root's own thread asks the disk.
    pub(super) asking: Arc<Asking>,
    pub(super) rules: RwLock<RootRules>,
    anchor: Mutex<Option<Anchor>>,
    file_system: Mutex<FileSystem>,
    pub(super) disappearance: Mutex<Disappearance>,
    /// What is left out.
    pub(super) omissions: Mutex<Omissions>,
    /// Other volumes below the root; changed by its thread alone.
    mounts: RwLock<Mounts>,
    /// When a mass disappearance is to be looked at again.
    pub(super) confirm_at: Mutex<Option<Instant>>,
    requests: Mutex<(Requests, bool)>,
    wake: Condvar,
    /// Candidate files, as far as known: counted by a walk, kept up by live changes.
    files: AtomicU64,
    /// Files of a polled root that are looked at again before they are read.
    unsettled: AtomicUsize,
    is_online: AtomicBool,
    /// Our user said that its end, or its being empty, is right: whatever is missing is gone.
    is_given_up: AtomicBool,
    is_silent: AtomicBool,
    is_removed: AtomicBool,
}

impl RootEntry {
    pub(super) fn new(root: Root, rules: RootRules, confirm_after: Duration) -> Self {
        let mounts = mounts::of_root(&root);
        let status = RootStatus {
            id: root.id,
            configured: root.path.clone(),
            path: root.seen_at.unwrap_or_else(|| root.path.clone()),
            state: RootState::Waiting,
            watching: Watching::Inotify,
            volume: root.volume,
            mounts: mounts.iter().map(Mount::status).collect(),
            directories: 0,
            files: 0,
            unreadable: 0,
            held_back: None,
            omissions: OmissionCounts::default(),
        };
        let requests = Requests { full: true, ..Requests::default() };
        Self {
            id: root.id,
            path: RwLock::new(root.path.as_path().into()),
            configured: root.path.into(),
            status: Mutex::new(status),
            asking: Asking::new(),
            rules: RwLock::new(rules),
            anchor: Mutex::new(None),
            file_system: Mutex::new(FileSystem::Local),
            disappearance: Mutex::new(Disappearance::new(confirm_after)),
            omissions: Mutex::default(),
            mounts: RwLock::new(mounts),
            confirm_at: Mutex::new(None),
            requests: Mutex::new((requests, true)),
            wake: Condvar::new(),
            files: AtomicU64::new(0),
            unsettled: AtomicUsize::new(0),
            is_online: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self) -> Arc<Path> {
        Arc::clone(&self.path.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_path(&self, path: &Path) {
        *self.path.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(path);
    }

    pub(super) fn file(&self, path: RelativePath) -> FileId {
        FileId { root: self.id, path }
    }

    pub(super) fn status(&self) -> RootStatus {
        let omissions = lock(&self.omissions).counts();
        RootStatus { files: self.files.load(Ordering::Relaxed), omissions, ..lock(&self.status).clone() }
    }

    /// Says whether the kernel tells of changes in a directory of the root.
    pub(super) fn is_watched(&self, directory: &RelativePath) -> bool {
        match covering(&self.mounts(), directory) {
            Some(mount) => mount.is_watched(),
            None => lock(&self.status).watching == Watching::Inotify,
        }
    }

    /// Returns how many files the root has, as far as known; none before the first walk over it.
    pub(super) fn known_files(&self) -> Option<u64> {
        (lock(&self.status).directories > 0).then(|| self.files.load(Ordering::Relaxed))
    }

    pub(super) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    pub(super) fn set_files(&self, files: u64) {
        self.files.store(files, Ordering::Relaxed);
    }

    pub(super) fn one_file_more(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn one_file_less(&self) {
        let less = |files: u64| Some(files.saturating_sub(1));
        // Never fails: the closure always returns a value.
        let _ = self.files.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Changes the status, and tells the sink where that made a difference.
    pub(super) fn update_status(&self, sink: &dyn Sink, change: impl FnOnce(&mut RootStatus)) {
        let changed = {
            let mut status = lock(&self.status);
            let before = status.clone();
            change(&mut status);
            self.is_online
                .store(matches!(status.state, RootState::Online | RootState::Scanning), Ordering::Release);
            let silent = RootState::Offline(OfflineReason::NotAnswering);
            self.is_silent.store(status.state == silent, Ordering::Release);
            (*status != before)
                .then(|| RootStatus { files: self.files.load(Ordering::Relaxed), ..status.clone() })
        };
        if let Some(status) = changed {
            sink.root_changed(&status);
        }
    }

    /// Says that so many of the root's `known` files seem to be gone and are kept for now: some of them are `files`.
    pub(super) fn hold_back<'a>(
        &self,
        sink: &dyn Sink,
        files: impl IntoIterator<Item = &'a FileId>,
        missing: u64,
        known: u64,
    ) {
        lock(&self.omissions).hold_back(files.into_iter().map(|file| &file.path));
        self.update_status(sink, |status| status.held_back = Some(HeldBack { missing, known }));
    }

    /// Says whether the root was there when it was last looked for.
    pub(super) fn is_online(&self) -> bool {
        self.is_online.load(Ordering::Acquire)
    }

    /// Says whether the root's disk owes an answer, as far as that was noticed.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    /// Says whether `path` is the root or in it, as it was configured or where it was found.
    pub(super) fn contains(&self, path: &Path) -> bool {
        path.starts_with(self.path()) || path.starts_with(&self.configured)
    }

    /// Says whether `path` is the root, in it or above it, as it was configured or where it was found.
    pub(super) fn overlaps(&self, path: &Path) -> bool {
        self.contains(path) || self.path().starts_with(path) || self.configured.starts_with(path)
    }

    /// Returns how many files of a root that is there wait for another look.
    pub(super) fn unsettled(&self) -> usize {
        if self.is_online() { self.unsettled.load(Ordering::Relaxed) } else { 0 }
    }

    pub(super) fn set_unsettled(&self, files: usize) {
        self.unsettled.store(files, Ordering::Relaxed);
    }

    pub(super) fn anchor(&self) -> Option<Anchor> {
        *lock(&self.anchor)
    }

    pub(super) fn set_anchor(&self, anchor: Option<Anchor>) {
        *lock(&self.anchor) = anchor;
    }

    /// Returns the file system that an entry of the root is on.
    pub(super) fn file_system(&self, path: &RelativePath) -> FileSystem {
        match covering(&self.mounts(), path) {
            Some(Mount { state: MountState::Online { file_system, .. }, .. }) => *file_system,
            _ => *lock(&self.file_system),
        }
    }

    /// Returns the mount that an entry of the root is on, where that is there: its place, and its anchor.
    pub(super) fn anchor_above(&self, path: &RelativePath) -> Option<(RelativePath, Anchor)> {
        match covering(&self.mounts(), path) {
            Some(Mount { at, state: MountState::Online { anchor, .. }, .. }) => Some((at.clone(), *anchor)),
            Some(_) => None,
            None => self.anchor().map(|anchor| (RelativePath::default(), anchor)),
        }
    }

    /// Says whether an entry of the root was on a volume that is away.
    pub(super) fn is_away(&self, path: &RelativePath) -> bool {
        covering(&self.mounts(), path).is_some_and(|mount| !mount.is_online())
    }

    pub(super) fn set_file_system(&self, file_system: FileSystem) {
        *lock(&self.file_system) = file_system;
    }

    /// Returns the other volumes below the root.
    pub(super) fn mounts(&self) -> Mounts {
        Arc::clone(&self.mounts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says what is mounted below the root now.
    pub(super) fn set_mounts(&self, sink: &dyn Sink, mounts: Mounts) {
        let statuses = mounts.iter().map(Mount::status).collect();
        *self.mounts.write().unwrap_or_else(PoisonError::into_inner) = mounts;
        self.update_status(sink, |status| status.mounts = statuses);
    }

    /// Says whether all that is missing of the root is gone, whether or not the root is there.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    pub(super) fn set_given_up(&self, is_given_up: bool) {
        self.is_given_up.store(is_given_up, Ordering::Release);
    }

    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks the root's thread for something.
    pub(super) fn request(&self, ask: impl FnOnce(&mut Requests)) {
        let mut requests = lock(&self.requests);
        ask(&mut requests.0);
        requests.1 |= !requests.0.is_empty();
        drop(requests);
        self.wake.notify_all();
    }

    pub(super) fn wake(&self) {
        // Taking the lock makes sure that the thread is either before its check or already waiting.
        drop(lock(&self.requests));
        self.wake.notify_all();
    }

    /// Waits for requests until `deadline`, or until `is_over`, and takes them.
    pub(super) fn wait(&self, deadline: Instant, is_over: impl Fn() -> bool) -> Requests {
        let mut requests = lock(&self.requests);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !requests.0.is_empty() || is_over() || left.is_zero() {
                return std::mem::take(&mut requests.0);
            }
            requests = self.wake.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes the request to find out what is there, for who is at work already.
    pub(super) fn take_check(&self) -> bool {
        std::mem::take(&mut lock(&self.requests).0.check)
    }

    /// Waits a moment for room in the sink, or until `is_over`.
    pub(super) fn pause(&self, moment: Duration, is_over: impl Fn() -> bool) {
        let requests = lock(&self.requests);
        if !is_over() {
            drop(self.wake.wait_timeout(requests, moment).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Says that everything taken by [`Self::wait`] is done.
    pub(super) fn done(&self) {
        let mut requests = lock(&self.requests);
        requests.1 = !requests.0.is_empty();
    }

    pub(super) fn mark_busy(&self) {
        lock(&self.requests).1 = true;
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.is_removed() && !self.asking.is_given_up() && lock(&self.requests).1
    }
}
