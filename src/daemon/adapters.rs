//! What the watching room asks of others, answered by the store and the queue.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ingest::Queue;
use crate::photo::{FileId, Fingerprint, RelativePath, RootId};
use crate::search::Index;
use crate::store::{FileRecord, FileState, Store};
use crate::watch::{Change, Children, Known, KnownError, RootState, RootStatus, Sink, Volume, Watching};

/// What the store knows, as far as the network in use has encoded it.
///
/// A photo that only another network has encoded is known under a fingerprint that no file has, so that the
/// comparison with the disk brings it back: this is how the index of a new network fills.
pub(super) struct KnownFiles {
    pub(super) store: Arc<Store>,
    pub(super) queue: Arc<Queue>,
    pub(super) index: Arc<Index>,
}

impl KnownFiles {
    fn fingerprint(&self, record: &FileRecord) -> Fingerprint {
        match record.state {
            FileState::Photo(photo) if !self.index.snapshot().contains(photo) => Fingerprint::STALE,
            _ => record.fingerprint,
        }
    }
}

impl Known for KnownFiles {
    fn children(&self, root: RootId, dir: &RelativePath) -> Result<Children, KnownError> {
        let children = self.store.read()?.children(root, dir)?;
        let files =
            children.files.iter().map(|(name, record)| (name.clone(), self.fingerprint(record))).collect();
        Ok(Children { files, directories: children.directories })
    }

    fn file(&self, file: &FileId) -> Result<Option<Fingerprint>, KnownError> {
        Ok(self.store.read()?.file(file)?.map(|record| self.fingerprint(&record)))
    }

    fn with_inode(&self, inode: u64) -> Result<Vec<(FileId, Fingerprint)>, KnownError> {
        let files = self.store.read()?.same_inode(inode)?;
        Ok(files.into_iter().map(|(file, record)| (file, self.fingerprint(&record))).collect())
    }

    fn is_empty(&self, root: RootId) -> Result<bool, KnownError> {
        Ok(self.store.read()?.is_root_empty(root)?)
    }

    fn in_works(&self, root: RootId) -> Vec<FileId> {
        self.queue.in_works(root)
    }
}

/// Changes into the queue, news of roots into the store and the log.
pub(super) struct Changes {
    queue: Arc<Queue>,
    store: Arc<Store>,
    /// Where each root was last written down to be.
    places: Mutex<HashMap<RootId, (PathBuf, Option<Volume>)>>,
    /// What was last said of each root.
    said: Mutex<HashMap<RootId, String>>,
}

impl Changes {
    pub(super) fn new(queue: Arc<Queue>, store: Arc<Store>) -> Self {
        Self { queue, store, places: Mutex::default(), said: Mutex::default() }
    }

    /// Writes down where the root is, if that is news.
    fn remember_place(&self, status: &RootStatus) {
        let place = (status.path.clone(), status.volume.clone());
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if status.volume.is_none() || places.get(&status.id) == Some(&place) {
            return;
        }
        match self.store.update_root(status.id, &status.path, status.volume.as_ref()) {
            Ok(()) => drop(places.insert(status.id, place)),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, root = %status.path.display(), "the folder's volume could not be written down");
            }
        }
    }

    /// Logs that a root went away, came back or has to be polled: once for each.
    fn say(&self, status: &RootStatus) {
        let text = match (&status.state, &status.watching) {
            (RootState::Waiting | RootState::Scanning, Watching::Inotify) => return,
            (RootState::Offline(reason), _) => format!("offline: {reason}. Its photos stay searchable"),
            (_, Watching::Polling(reason)) => format!("looked at from time to time only: {reason}"),
            (RootState::Online, Watching::Inotify) => "watched".to_owned(),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&status.id) != Some(&text) {
            tracing::info!("{}: {text}", status.path.display());
            said.insert(status.id, text);
        }
    }
}

impl Sink for Changes {
    fn live(&self, change: Change) -> bool {
        self.queue.push_live(change)
    }

    fn backlog(&self, change: Change) -> bool {
        self.queue.push_backlog(change)
    }

    fn root_changed(&self, status: &RootStatus) {
        self.remember_place(status);
        self.say(status);
    }
}
