//! What the watching room asks of others, answered by the store and the queue.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ingest::{Outlook, Queue};
use crate::photo::{FileId, Fingerprint, RelativePath, RootId};
use crate::search::Index;
use crate::store::{
    Appearances, FileRecord, FileState, MountRecord, RootRecord, Store, StoreError, Write, WriterHandle,
};
use crate::watch::{Change, Children, Known, KnownError, RootState, RootStatus, Sink, Volume, Watching};

/// What the store knows, as far as the network in use has encoded it, and what the changes that wait will make of that: a
/// file about to leave the index is not known any more, so that its return is seen.
///
/// A photo that only another network has encoded is known under a fingerprint that no file has, so that the
/// comparison with the disk brings it back: this is how the index of a new network fills. So is one of which it is not known
/// what it looks like.
pub(super) struct KnownFiles {
    pub(super) store: Arc<Store>,
    pub(super) queue: Arc<Queue>,
    pub(super) index: Arc<Index>,
}

impl KnownFiles {
    fn fingerprint(&self, record: &FileRecord, appearances: &Appearances) -> Result<Fingerprint, StoreError> {
        let FileState::Photo(photo) = record.state else { return Ok(record.fingerprint) };
        let is_known = self.index.snapshot().contains(photo) && appearances.has(photo)?;
        Ok(if is_known { record.fingerprint } else { Fingerprint::STALE })
    }

    /// What is known of a file once the changes that wait for it are done; `None` where that is nothing.
    fn expected(
        &self,
        record: &FileRecord,
        appearances: &Appearances,
        outlook: Option<Outlook>,
    ) -> Result<Option<Fingerprint>, StoreError> {
        Ok(match outlook {
            Some(Outlook::Leaves) => None,
            Some(Outlook::Doubtful) => Some(Fingerprint::STALE),
            Some(Outlook::Read) | None => Some(self.fingerprint(record, appearances)?),
        })
    }
}

impl Known for KnownFiles {
    // The queue is always asked first: what leaves it is in the store by then.

    fn children(&self, root: RootId, dir: &RelativePath) -> Result<Children, KnownError> {
        let outlooks = self.queue.outlooks(root, dir);
        let reader = self.store.read()?;
        let (children, appearances) = (reader.children(root, dir)?, reader.appearances()?);
        let known = |(name, record): (OsString, FileRecord)| {
            let file = FileId { root, path: dir.join(&name) };
            let expected = self.expected(&record, &appearances, outlooks.get(&file).copied());
            expected.map(|expected| Some((name, expected?))).transpose()
        };
        Ok(Children {
            files: children.files.into_iter().filter_map(known).collect::<Result<_, _>>()?,
            directories: children.directories,
        })
    }

    fn file(&self, file: &FileId) -> Result<Option<Fingerprint>, KnownError> {
        let outlook = self.queue.outlook(file);
        let reader = self.store.read()?;
        let Some(record) = reader.file(file)? else { return Ok(None) };
        Ok(self.expected(&record, &reader.appearances()?, outlook)?)
    }

    fn with_inode(&self, inode: u64) -> Result<Vec<(FileId, Fingerprint)>, KnownError> {
        // Not the other way about here, since the store says which files: one that has just left it is gone from the disk
        // or read again by whoever finds it.
        let reader = self.store.read()?;
        let (files, appearances) = (reader.same_inode(inode)?, reader.appearances()?);
        let known = |(file, record): (FileId, FileRecord)| {
            let expected = self.expected(&record, &appearances, self.queue.outlook(&file));
            expected.map(|expected| Some((file, expected?))).transpose()
        };
        Ok(files.into_iter().filter_map(known).collect::<Result<_, StoreError>>()?)
    }

    fn is_empty(&self, root: RootId) -> Result<bool, KnownError> {
        Ok(self.store.read()?.is_root_empty(root)?)
    }

    fn in_works(&self, root: RootId) -> Vec<FileId> {
        self.queue.in_works(root)
    }
}

/// Where a root is and on which volumes, as the store keeps it.
#[derive(PartialEq, Eq)]
struct Place {
    seen_at: Option<Vec<u8>>,
    volume: Option<Volume>,
    mounts: Vec<MountRecord>,
}

impl Place {
    fn of(status: &RootStatus) -> Self {
        let is_elsewhere = status.path != status.configured;
        let mounts = status.mounts.iter();
        let mounts = mounts
            .map(|mount| MountRecord { at: mount.at.as_bytes().to_vec(), volume: mount.volume.clone() });
        Self {
            seen_at: is_elsewhere.then(|| status.path.as_os_str().as_bytes().to_vec()),
            volume: status.volume.clone(),
            mounts: mounts.collect(),
        }
    }

    fn write_to(&self, record: &mut RootRecord) {
        record.seen_at.clone_from(&self.seen_at);
        record.volume.clone_from(&self.volume);
        record.mounts.clone_from(&self.mounts);
    }
}

/// Changes into the queue, news of roots into the store and the log.
pub(super) struct Changes {
    queue: Arc<Queue>,
    store: Arc<Store>,
    writer: WriterHandle,
    /// What was last written down of each root.
    places: Mutex<HashMap<RootId, Place>>,
    /// What was last said of each root, and of each volume mounted below it.
    said: Mutex<HashMap<(RootId, RelativePath), String>>,
    /// Which folders, and volumes mounted in them, could be reached and where, as it was last told.
    told: Mutex<HashMap<(RootId, RelativePath), (PathBuf, bool)>>,
}

impl Changes {
    pub(super) fn new(queue: Arc<Queue>, store: Arc<Store>, writer: WriterHandle) -> Self {
        let (places, said, told) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { queue, store, writer, places, said, told }
    }

    /// Writes down again what could not be written when it was news.
    pub(super) fn remember_places(&self, roots: &[RootStatus]) {
        for root in roots {
            self.remember_place(root);
            self.tell(root);
        }
    }

    /// Writes down where the root is, if that is news. What cannot be written now is when the disk takes writes again.
    fn remember_place(&self, status: &RootStatus) {
        let place = Place::of(status);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if status.volume.is_none() || places.get(&status.id) == Some(&place) {
            return;
        }
        match self.store.update_root(status.id, |record| place.write_to(record)) {
            Ok(()) => drop(places.insert(status.id, place)),
            // Said already.
            Err(StoreError::CannotWrite { .. }) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, root = %status.path.display(), "the folder's volume could not be written down");
            }
        }
    }

    /// Has the events tell that a root, or a volume mounted below it, went away, came back or is at another place. What does not
    /// fit into the writer's queue now is told when there is news again, or the disk takes writes.
    fn tell(&self, status: &RootStatus) {
        let mut places = vec![(RelativePath::default(), &status.path, &status.state)];
        let mounts: Vec<_> = status.mounts.iter().map(|mount| mount.at.under(&status.path)).collect();
        // What becomes of those is not known while the root itself is away.
        if !matches!(status.state, RootState::Offline(_)) {
            let mounted = status.mounts.iter().zip(&mounts);
            places.extend(mounted.map(|(mount, path)| (mount.at.clone(), path, &mount.state)));
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, path, state) in places {
            let is_online = match state {
                RootState::Waiting | RootState::Scanning => continue,
                RootState::Offline(_) => false,
                RootState::Online => true,
            };
            let (key, now) = ((status.id, at.clone()), (path.clone(), is_online));
            if told.get(&key) == Some(&now) {
                continue;
            }
            if self.writer.try_write(Write::Place { root: status.id, at, path: path.clone(), is_online }) {
                told.insert(key, now);
            }
        }
    }

    /// Logs that a root, or a volume mounted below it, went away, came back or has to be polled: once for each.
    fn say(&self, status: &RootStatus) {
        self.say_of(status.id, &RelativePath::default(), &status.path, &status.state, &status.watching);
        for mount in &status.mounts {
            let path = mount.at.under(&status.path);
            self.say_of(status.id, &mount.at, &path, &mount.state, &mount.watching);
        }
    }

    fn say_of(&self, root: RootId, at: &RelativePath, path: &Path, state: &RootState, watching: &Watching) {
        let text = match (state, watching) {
            (RootState::Waiting | RootState::Scanning, Watching::Inotify) => return,
            (RootState::Offline(reason), _) => {
                format!("offline, and its photos stay searchable: {}", reason.explain(path))
            }
            (_, Watching::Polling(reason)) => format!("looked at from time to time only: {reason}"),
            (RootState::Online, Watching::Inotify) => "watched".to_owned(),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.entry((root, at.clone())).or_default();
        if *said != text {
            tracing::info!("{}: {text}", path.display());
            *said = text;
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
        self.tell(status);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::appearance::Appearance;
    use crate::decode::{Format, PhotoInfo};
    use crate::photo::{ContentHash, Embedding, Metric, ModelDigest};
    use crate::store::{PhotoRecord, Write};

    /// Whoever compared the disk with the store alone found a file known that was about to be forgotten.
    #[test]
    fn what_waits_in_the_queue_is_a_part_of_what_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("s.redb")).unwrap());
        let model = store.ensure_model(ModelDigest([1; 32]), "fake", 1, Metric::L2).unwrap();
        let root = store.add_root(Path::new("/photos"), true).unwrap();
        let file = |name: &str| FileId { root, path: RelativePath::from_bytes(name.as_bytes().to_vec()) };
        let fingerprint = Fingerprint { len: 1, modified_ns: 0, changed_ns: 0, inode: 5 };
        let info = PhotoInfo {
            width: 1,
            height: 1,
            format: Format::Png,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        };
        let encoded = |name| Write::Encoded {
            file: file(name),
            fingerprint,
            photo: PhotoRecord { content: ContentHash::of(b"x"), size_bytes: 1, info: info.clone() },
            embedding: Embedding(vec![1.0]),
            appearance: Some(Box::new(Appearance::blank())),
            former: None,
        };
        let added = store.commit(&model, &["d/a", "d/b", "d/c"].map(encoded), 0).unwrap().added;
        let index = Arc::new(Index::new(1));
        index.apply(added.iter().map(|(photo, values)| (*photo, values.0.as_slice())), &[]).unwrap();
        let known = KnownFiles { store, queue: Arc::default(), index };
        let all = |known: &KnownFiles| {
            let children = known.children(root, &RelativePath::from_bytes(b"d".to_vec())).unwrap().files;
            let mut of_inode = known.with_inode(5).unwrap();
            of_inode.sort_by(|one, other| one.0.cmp(&other.0));
            assert_eq!(
                of_inode.iter().map(|(_, found)| *found).collect::<Vec<_>>(),
                children.iter().map(|(_, found)| *found).collect::<Vec<_>>()
            );
            ["d/a", "d/b", "d/c"].map(|name| known.file(&file(name)).unwrap())
        };
        assert_eq!(all(&known), [Some(fingerprint); 3]);
        known.queue.push_live(Change::Gone { file: file("d/a") });
        known.queue.push_live(Change::Doubtful { file: file("d/b") });
        assert_eq!(all(&known), [None, Some(Fingerprint::STALE), Some(fingerprint)]);
        known.queue.push_live(Change::Read { file: file("d/a"), path: "/photos/d/a".into(), fingerprint });
        assert_eq!(all(&known)[0], Some(fingerprint), "it will be known again");
    }
}
