//! A folder, a store that does at once what it is told, and ways to wait for both to agree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::photo::{FileId, Fingerprint, RelativePath, RootId};
use crate::watch::{
    Change, Children, Known, KnownError, KnownMount, MountStatus, Root, RootState, RootStatus, Sink,
    WatchConfig, WatchHandle, Watcher, is_unchanged,
};

/// Longer than anything here takes on a busy machine; reached only by a failing test.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const ROOT: RootId = RootId(1);

/// What the store holds, and what happened to it.
#[derive(Default)]
pub(super) struct Index {
    pub(super) files: BTreeMap<FileId, Fingerprint>,
    pub(super) reads: Vec<FileId>,
    pub(super) moves: Vec<(FileId, FileId)>,
    pub(super) gone: Vec<FileId>,
    pub(super) statuses: BTreeMap<RootId, RootStatus>,
    /// Every state a root was in, in order.
    pub(super) states: Vec<(RootId, RootState)>,
    pub(super) live_is_full: bool,
    pub(super) backlog_is_blocked: bool,
    /// So many changes still pass while it is blocked.
    pub(super) backlog_allowance: usize,
    pub(super) is_stopping: bool,
    pub(super) in_backlog: usize,
    /// Changes are kept in the works while that is so.
    pub(super) is_held: bool,
    /// With whether the file was read whole, as far as there is one to be read.
    pub(super) held: Vec<(Change, bool)>,
}

/// Implements both sides of the room's seam.
#[derive(Default)]
pub(super) struct Store {
    index: Mutex<Index>,
    changed: Condvar,
}

impl Store {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Index) -> T) -> T {
        let result = act(&mut self.locked());
        self.changed.notify_all();
        result
    }

    /// Locks, also where a failed test left the lock behind.
    fn locked(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_so`, which is asked after every change.
    #[track_caller]
    pub(super) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Index) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut index = self.locked();
        while !is_so(&index) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The few of a small test are what one wants to see; thousands are not.
                let files: Vec<_> = index.files.iter().take(20).collect();
                panic!("waited in vain until {what}; files: {files:?}; statuses: {:#?}", index.statuses);
            }
            // Conditions on the disk or the watcher change without our store: hence the upper bound.
            let waited = self.changed.wait_timeout(index, left.min(Duration::from_millis(25)));
            index = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Applies what was held, in its order.
    pub(super) fn let_go(&self) {
        let held = self.with(|index| {
            index.is_held = false;
            std::mem::take(&mut index.held)
        });
        held.into_iter().for_each(|(change, was_read)| self.apply_read(change, was_read));
    }

    fn apply(&self, change: Change) {
        let was_read = match &change {
            Change::Read { path, fingerprint, .. } | Change::Moved { path, fingerprint, .. } => {
                fs::symlink_metadata(path).is_ok_and(|metadata| is_unchanged(fingerprint, &metadata))
            }
            Change::Doubtful { .. } | Change::Gone { .. } => true,
        };
        self.apply_read(change, was_read);
    }

    fn apply_read(&self, change: Change, was_read: bool) {
        let mut index = self.locked();
        if index.is_held {
            index.held.push((change, was_read));
            drop(index);
            self.changed.notify_all();
            return;
        }
        match change {
            Change::Read { file, fingerprint, .. } => {
                index.reads.push(file.clone());
                if was_read {
                    index.files.insert(file, fingerprint);
                }
            }
            Change::Moved { from, to, fingerprint, .. } => {
                let is_known = index.files.remove(&from).is_some();
                assert!(is_known, "moved from an unknown file {from:?}");
                index.moves.push((from, to.clone()));
                if was_read {
                    index.files.insert(to, fingerprint);
                }
            }
            Change::Doubtful { file } => {
                if let Some(known) = index.files.get_mut(&file) {
                    *known = Fingerprint::STALE;
                }
            }
            Change::Gone { file } => {
                if index.files.remove(&file).is_some() {
                    index.gone.push(file);
                }
            }
        }
        drop(index);
        self.changed.notify_all();
    }
}

impl Known for Store {
    fn children(&self, root: RootId, dir: &RelativePath) -> Result<Children, KnownError> {
        let index = self.locked();
        let mut children = Children::default();
        let mut prefix = dir.as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let mut from = FileId { root, path: RelativePath::from_bytes(prefix.clone()) };
        loop {
            let next = index.files.range(from.clone()..).next();
            let Some((file, fingerprint)) = next.filter(|(file, _)| file.root == root) else { break };
            let Some(below) = file.path.as_bytes().strip_prefix(&*prefix) else { break };
            let mut past = file.path.as_bytes().to_vec();
            match below.iter().position(|&byte| byte == b'/') {
                None => {
                    children.files.push((OsStr::from_bytes(below).to_owned(), *fingerprint));
                    past.push(0);
                }
                Some(slash) => {
                    children.directories.push(OsStr::from_bytes(&below[..slash]).to_owned());
                    past.truncate(prefix.len() + slash);
                    past.push(b'/' + 1);
                }
            }
            from.path = RelativePath::from_bytes(past);
        }
        children.directories.sort();
        Ok(children)
    }

    fn file(&self, file: &FileId) -> Result<Option<Fingerprint>, KnownError> {
        Ok(self.locked().files.get(file).copied())
    }

    fn with_inode(&self, inode: u64) -> Result<Vec<(FileId, Fingerprint)>, KnownError> {
        let index = self.locked();
        let files = index.files.iter().filter(|(_, known)| known.inode == inode);
        Ok(files.map(|(file, known)| (file.clone(), *known)).collect())
    }

    fn is_empty(&self, root: RootId) -> Result<bool, KnownError> {
        Ok(!self.locked().files.keys().any(|file| file.root == root))
    }

    fn in_works(&self, root: RootId) -> Vec<FileId> {
        let index = self.locked();
        let files = index.held.iter().map(|(change, _)| match change {
            Change::Read { file, .. } | Change::Doubtful { file } | Change::Gone { file } => file,
            Change::Moved { to, .. } => to,
        });
        files.filter(|file| file.root == root).cloned().collect()
    }
}

impl Sink for Store {
    fn live(&self, change: Change) -> bool {
        if self.locked().live_is_full {
            return false;
        }
        self.apply(change);
        true
    }

    fn backlog(&self, change: Change) -> bool {
        let mut index = self.locked();
        index.in_backlog += 1;
        self.changed.notify_all();
        while index.backlog_is_blocked && index.backlog_allowance == 0 && !index.is_stopping {
            index = self.changed.wait(index).unwrap_or_else(PoisonError::into_inner);
        }
        index.backlog_allowance = index.backlog_allowance.saturating_sub(1);
        index.in_backlog -= 1;
        let is_stopping = index.is_stopping;
        drop(index);
        if !is_stopping {
            self.apply(change);
        }
        !is_stopping
    }

    fn root_changed(&self, status: &RootStatus) {
        self.with(|index| {
            index.states.push((status.id, status.state.clone()));
            index.statuses.insert(status.id, status.clone());
        });
    }
}

/// A watched folder.
pub(super) struct World {
    pub(super) store: Arc<Store>,
    pub(super) config: WatchConfig,
    watcher: Option<(Watcher, WatchHandle)>,
    roots: Vec<Root>,
    folder: TempDir,
}

pub(super) fn config() -> WatchConfig {
    let mut config = WatchConfig::new(|name| name.to_string_lossy().to_ascii_lowercase().ends_with(".jpg"));
    // Short, since every test waits for it, and still longer than a file here takes to be written.
    config.debounce = Duration::from_millis(100);
    config.debounce_after_close = Duration::from_millis(30);
    config.debounce_while_open = Duration::from_millis(300);
    config.check_every = Duration::from_millis(100);
    config.confirm_after = Duration::from_millis(600);
    config
}

impl World {
    /// One empty root, not watched yet.
    pub(super) fn new() -> Self {
        Self::with_config(config())
    }

    pub(super) fn with_config(config: WatchConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("photos");
        fs::create_dir(&path).unwrap();
        let roots = vec![Root::new(ROOT, path)];
        Self { store: Arc::default(), config, watcher: None, roots, folder }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.roots[0].path.clone()
    }

    /// A place beside the root, on the same file system.
    pub(super) fn outside(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    pub(super) fn file(below: &str) -> FileId {
        FileId { root: ROOT, path: RelativePath::from_bytes(below.as_bytes().to_vec()) }
    }

    /// Writes a photo that is older than any quiet period.
    pub(super) fn put(&self, below: &str, content: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(super) fn start(&mut self) {
        // What the store remembers of the roots.
        for root in &mut self.roots {
            if let Some(status) = self.store.with(|index| index.statuses.get(&root.id).cloned()) {
                root.seen_at = Some(status.path).filter(|path| *path != root.path);
                root.volume = status.volume;
                let known = |mount: MountStatus| KnownMount { at: mount.at, volume: mount.volume };
                root.mounts = status.mounts.into_iter().map(known).collect();
            }
        }
        self.store.with(|index| index.is_stopping = false);
        let store = Arc::clone(&self.store);
        let started = Watcher::start(self.config.clone(), self.roots.clone(), Arc::clone(&store) as _, store);
        self.watcher = Some(started.unwrap());
    }

    pub(super) fn stop(&mut self) {
        self.store.with(|index| index.is_stopping = true);
        self.watcher = None;
    }

    pub(super) fn handle(&self) -> &WatchHandle {
        &self.watcher.as_ref().unwrap().1
    }

    /// Adds the folder `name` beside the first root as another root.
    pub(super) fn add_root(&mut self, id: RootId, name: &str) -> PathBuf {
        let path = self.outside().join(name);
        fs::create_dir_all(&path).unwrap();
        let root = Root::new(id, path.clone());
        if let Some((_, handle)) = &self.watcher {
            handle.add_root(root.clone()).unwrap();
        }
        self.roots.push(root);
        path
    }

    /// Waits until the room has nothing to do.
    #[track_caller]
    pub(super) fn idle(&self) {
        let mut activity = self.handle().activity();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let waited = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, activity.wait_for(|activity| activity.is_idle())).await.map(|_| ())
        });
        assert!(waited.is_ok(), "never at rest: {:?}", *self.handle().activity().borrow());
    }

    /// Waits until the store holds `expected`, and no other path, and the room is at rest.
    #[track_caller]
    pub(super) fn holds(&self, expected: &[&str]) {
        let expected: Vec<FileId> = expected.iter().map(|below| Self::file(below)).collect();
        let of_root = |index: &Index| -> Vec<FileId> { index.files.keys().cloned().collect() };
        self.store.wait_until(&format!("the index holds {expected:?}"), |index| of_root(index) == expected);
        self.idle();
        self.store.wait_until("the index still does", |index| of_root(index) == expected);
    }

    /// Puts everything that is there into the index.
    pub(super) fn knows_disk(&self) {
        let files = walk(&self.roots);
        self.store.with(|index| index.files = files);
    }

    /// Waits until the index equals a plain walk of all roots.
    #[track_caller]
    pub(super) fn equals_disk(&self) {
        let roots = self.roots.clone();
        // A hard link made elsewhere moves the change time without an event; the content is the same.
        let timeless = |files: &BTreeMap<FileId, Fingerprint>| -> Vec<(FileId, Fingerprint)> {
            let without = |fingerprint: &Fingerprint| Fingerprint { changed_ns: 0, ..*fingerprint };
            files.iter().map(|(file, fingerprint)| (file.clone(), without(fingerprint))).collect()
        };
        self.store.wait_until("the index equals the disk", |index| {
            timeless(&index.files) == timeless(&walk(&roots))
        });
    }

    pub(super) fn status(&self) -> RootStatus {
        self.store.with(|index| index.statuses[&ROOT].clone())
    }

    #[track_caller]
    pub(super) fn state_is(&self, what: &str, is_so: impl Fn(&RootState) -> bool) {
        self.store
            .wait_until(what, |index| index.statuses.get(&ROOT).is_some_and(|status| is_so(&status.state)));
    }

    /// Forgets what was read so far.
    pub(super) fn forget_counts(&self) {
        self.store.with(|index| {
            index.reads.clear();
            index.moves.clear();
            index.gone.clear();
            index.states.clear();
        });
    }

    pub(super) fn reads(&self) -> Vec<FileId> {
        self.store.with(|index| index.reads.clone())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The index as it ought to be: every regular `.jpg` below the roots.
pub(super) fn walk(roots: &[Root]) -> BTreeMap<FileId, Fingerprint> {
    let mut files = BTreeMap::new();
    for root in roots {
        let mut waiting = vec![root.path.clone()];
        while let Some(directory) = waiting.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                if metadata.is_dir() {
                    waiting.push(path);
                } else if metadata.is_file() && path.extension().is_some_and(|ending| ending == "jpg") {
                    let below = RelativePath::strip(&root.path, &path).unwrap();
                    files.insert(FileId { root: root.id, path: below }, Fingerprint::of(&metadata));
                }
            }
        }
    }
    files
}

pub(super) fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Writes other bytes of the same length into a photo, and puts its modification time back.
pub(super) fn rewrite_under_old_time(path: &Path, content: &str) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.set_modified(modified).unwrap();
}
