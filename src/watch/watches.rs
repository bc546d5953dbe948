//! The watches that we hold: one a directory, never below a directory that the rules leave out.
//!
//! The kernel knows a watched directory by its inode and the event source by its path. A directory that was
//! moved keeps its old path there, and taking back the watch of the old path would silently take back that of
//! the new one. So we keep both directions, and free the old path before the new one is watched.
//!
//! Invariant: no inode is watched under two paths.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use notify::{ErrorKind, INotifyWatcher, RecursiveMode, Watcher};

use super::disk::Identity;
use super::limits::NoEvents;

/// Why a directory could not be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchProblem {
    #[error("no inotify watch is left")]
    Limit,
    #[error("it is not there any more")]
    Gone,
    #[error("{0}")]
    NoEvents(NoEvents),
    #[error(transparent)]
    Other(notify::Error),
}

/// All watches of the room.
pub(super) struct Watches {
    /// Makes a source of events.
    make: Box<dyn Fn() -> notify::Result<INotifyWatcher> + Send>,
    /// None as long as the kernel gives none.
    source: Option<INotifyWatcher>,
    by_path: BTreeMap<PathBuf, Identity>,
    by_identity: HashMap<Identity, PathBuf>,
}

impl Watches {
    /// Holds no watch. `make` is called as long as it fails, whenever a watch is wanted.
    pub(super) fn new(make: impl Fn() -> notify::Result<INotifyWatcher> + Send + 'static) -> Self {
        Self { make: Box::new(make), source: None, by_path: BTreeMap::new(), by_identity: HashMap::new() }
    }

    /// Makes the source of events, where there is none yet.
    pub(super) fn open(&mut self) -> Result<&mut INotifyWatcher, NoEvents> {
        match &mut self.source {
            Some(source) => Ok(source),
            none => Ok(none.insert((self.make)().map_err(|error| NoEvents::because(&error))?)),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.by_path.len() as u64
    }

    pub(super) fn is_watched(&self, path: &Path) -> bool {
        self.by_path.contains_key(path)
    }

    /// Returns the path under which this directory is watched.
    pub(super) fn path_of(&self, identity: Identity) -> Option<&Path> {
        self.by_identity.get(&identity).map(PathBuf::as_path)
    }

    /// Watches the directory at `path`. `again` does so even where we believe that we do, since the kernel
    /// may have dropped the watch without our hearing of it.
    pub(super) fn watch(&mut self, path: &Path, identity: Identity, again: bool) -> Result<(), WatchProblem> {
        if let Some(&watched) = self.by_path.get(path) {
            if watched == identity && !again {
                return Ok(());
            }
            if watched != identity {
                self.unwatch_below(path);
            }
        }
        if let Some(elsewhere) = self.by_identity.get(&identity).filter(|other| *other != path).cloned() {
            self.unwatch(&elsewhere);
        }
        let source = self.open().map_err(WatchProblem::NoEvents)?;
        source.watch(path, RecursiveMode::NonRecursive).map_err(|error| match &error.kind {
            ErrorKind::MaxFilesWatch => WatchProblem::Limit,
            ErrorKind::PathNotFound => WatchProblem::Gone,
            ErrorKind::Io(source) if source.kind() == io::ErrorKind::NotFound => WatchProblem::Gone,
            _ => WatchProblem::Other(error),
        })?;
        self.by_path.insert(path.to_path_buf(), identity);
        self.by_identity.insert(identity, path.to_path_buf());
        Ok(())
    }

    /// Takes back the watches of `path` and of everything below it.
    pub(super) fn unwatch_below(&mut self, path: &Path) {
        for watched in self.below(path) {
            self.unwatch(&watched);
        }
    }

    /// Returns the watched directories below `path`, itself included.
    pub(super) fn below(&self, path: &Path) -> Vec<PathBuf> {
        // `Path` orders by components, so that a directory and all below it stand together.
        self.by_path
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
            .map(|(watched, _)| watched)
            .take_while(|watched| watched.starts_with(path))
            .cloned()
            .collect()
    }

    fn unwatch(&mut self, path: &Path) {
        if let Some(identity) = self.by_path.remove(path) {
            if self.by_identity.get(&identity).is_some_and(|other| other == path) {
                self.by_identity.remove(&identity);
            }
            // Fails where the kernel dropped the watch first, which is what we want.
            if let Some(Err(error)) = self.source.as_mut().map(|source| source.unwatch(path)) {
                tracing::trace!(path = %path.display(), %error, "the watch was gone already");
            }
        }
    }
}
