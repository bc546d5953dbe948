//! A batch of writes, applied in one transaction.
//!
//! Invariant: after a commit, the photos with a file and an embedding are exactly those that the index was told of
//! by [`Committed`]. A photo that leaves one file and enters another in the same batch is not mentioned at all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use redb::{Durability, MultimapTable, ReadableMultimapTable, ReadableTable, Table, WriteTransaction};

use super::decisions::Decision;
use super::events::Telling;
use super::record::{FailureRecord, FileRecord, FileState, PhotoRecord, RootRecord};
use super::rows::{from_bytes, to_bytes};
use super::schema::{
    APPEARANCES, CONTENTS, COUNTS, FAILURES, FILES, FileKey, INODES, META, META_DECODER, META_NEXT_PHOTO,
    ORPHANS, PHOTO_FILES, PHOTOS, ROOTS, VECTORS,
};
use super::vectors::{self, Row};
use super::{ModelRecord, ProblemKind, Store, StoreError, next_number};
use crate::appearance::Appearance;
use crate::photo::{ContentHash, Embedding, FileId, Fingerprint, PhotoId, RelativePath, RootId};

/// One thing to write down.
#[derive(Clone, Debug)]
pub enum Write {
    /// A file with a content that was just encoded.
    Encoded {
        /// Where it is.
        file: FileId,
        /// What the disk said before it was read.
        fingerprint: Fingerprint,
        /// The content. Known ones keep their number.
        photo: PhotoRecord,
        /// What it looks like; `None` where nobody has looked.
        appearance: Option<Box<Appearance>>,
        /// What the network gave for it.
        embedding: Embedding,
        /// What a former network gave for it, which still answers.
        former: Option<(ModelRecord, Embedding)>,
    },
    /// A file with a content that the store has an embedding of. Ignored where the content is unknown after all.
    Known {
        /// Where it is.
        file: FileId,
        /// What the disk said before it was read.
        fingerprint: Fingerprint,
        /// The content.
        content: ContentHash,
        /// What it looks like, where that was not known.
        appearance: Option<Box<Appearance>>,
    },
    /// A known file under another name. Ignored where it is unknown.
    Moved {
        /// Where it was.
        from: FileId,
        /// Where it is.
        to: FileId,
        /// What the disk says now.
        fingerprint: Fingerprint,
    },
    /// A known file whose bytes may have changed unseen: to be read again wherever it is found. Ignored where it is
    /// unknown.
    Doubtful {
        /// Where it was.
        file: FileId,
    },
    /// A file that could not be indexed.
    Failed {
        /// Where it is.
        file: FileId,
        /// What the disk said before it was read.
        fingerprint: Fingerprint,
        /// Why.
        failure: FailureRecord,
    },
    /// A file that is no photo and does not claim to be one.
    NotAPhoto {
        /// Where it is.
        file: FileId,
        /// What the disk said before it was read.
        fingerprint: Fingerprint,
    },
    /// Forgets the files that gave no photo, so that they are read again. Ignored where the last `decoder` was this one.
    TryFailuresAgain {
        /// What decides whether a file can be read, see [`Limits::decoder_id`](crate::decode::Limits::decoder_id).
        decoder: u64,
    },
    /// A file that is not there any more.
    Gone {
        /// Where it was.
        file: FileId,
    },
    /// A folder that is not watched any more, with all its files.
    RemoveRoot {
        /// Its number.
        root: RootId,
    },
    /// Whether a watched folder, or a volume mounted in one, can be reached, and where it is or was. Ignored where the folder is
    /// not watched any more.
    Place {
        /// The folder.
        root: RootId,
        /// Where in it the volume is mounted; empty for the folder itself.
        at: RelativePath,
        /// Absolute.
        path: PathBuf,
        /// Whether it can be reached.
        is_online: bool,
    },
    /// Drops photos that have been without a file since before this second: some thousands at the most. Whether there are
    /// more says [`Reader::has_orphans`](super::Reader::has_orphans).
    PurgeOrphans {
        /// Seconds since 1970.
        before: i64,
    },
}

/// What a commit changed for the search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// Photos that became searchable.
    pub added: Vec<(PhotoId, Embedding)>,
    /// Photos that are no longer searchable.
    pub removed: Vec<PhotoId>,
    /// Photos whose files are others than before, searchable or not.
    pub changed: Vec<PhotoId>,
    /// The number of the last event, where there was one.
    pub last_event: Option<u64>,
}

impl Store {
    /// Applies the writes in their order, in one transaction that is on the disk when this returns. Waits while the disk
    /// takes no writes, until it does or [`Store::give_up`]. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn commit(&self, model: &ModelRecord, writes: &[Write], now: i64) -> Result<Committed, StoreError> {
        let mut transaction = self.begin_when_writable()?;
        transaction.set_durability(Durability::Immediate)?;
        let (committed, decisions) = {
            let mut batch = Batch::open(&transaction, model, now)?;
            for write in writes {
                batch.apply(write)?;
            }
            batch.finish()?
        };
        transaction.commit()?;
        self.decisions.note(&decisions);
        if self.backend.wait() { Ok(committed) } else { self.check_writable().map(|()| committed) }
    }

    fn begin_when_writable(&self) -> Result<WriteTransaction, StoreError> {
        loop {
            let is_over = !self.backend.wait();
            match self.begin() {
                // Somebody else's transaction met the fault while we waited for it.
                Err(StoreError::CannotWrite { problem, .. })
                    if !is_over && problem.kind != ProblemKind::Unreadable => {}
                begun => return begun,
            }
        }
    }
}

/// The open tables, and which photos the batch has touched.
pub(super) struct Batch<'txn> {
    pub(super) transaction: &'txn WriteTransaction,
    pub(super) model: &'txn ModelRecord,
    pub(super) now: i64,
    files: Table<'txn, FileKey, &'static [u8]>,
    failures: Table<'txn, FileKey, &'static [u8]>,
    pub(super) photos: Table<'txn, u64, &'static [u8]>,
    pub(super) contents: Table<'txn, [u8; 32], u64>,
    pub(super) orphans: Table<'txn, u64, i64>,
    photo_files: MultimapTable<'txn, u64, FileKey>,
    pub(super) vectors: Table<'txn, (u32, u64), &'static [u8]>,
    inodes: MultimapTable<'txn, u64, FileKey>,
    counts: Table<'txn, u32, (u64, u64)>,
    /// Photos whose files or embeddings changed, and whether they were searchable before the batch.
    touched: BTreeMap<PhotoId, bool>,
    /// What the user has taken back.
    decisions: Vec<Decision>,
    pub(super) telling: Telling,
}

impl<'txn> Batch<'txn> {
    fn open(
        transaction: &'txn WriteTransaction,
        model: &'txn ModelRecord,
        now: i64,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            transaction,
            model,
            now,
            files: transaction.open_table(FILES)?,
            failures: transaction.open_table(FAILURES)?,
            photos: transaction.open_table(PHOTOS)?,
            contents: transaction.open_table(CONTENTS)?,
            orphans: transaction.open_table(ORPHANS)?,
            photo_files: transaction.open_multimap_table(PHOTO_FILES)?,
            vectors: transaction.open_table(VECTORS)?,
            inodes: transaction.open_multimap_table(INODES)?,
            counts: transaction.open_table(COUNTS)?,
            touched: BTreeMap::new(),
            decisions: Vec::new(),
            telling: Telling::default(),
        })
    }

    fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Encoded { file, fingerprint, photo, appearance, embedding, former } => {
                let id = self.put_photo(photo)?;
                self.put_appearance(id, appearance.as_deref())?;
                self.put_embedding(self.model, id, embedding)?;
                if let Some((model, embedding)) = former {
                    self.put_embedding(model, id, embedding)?;
                }
                self.put_and_tell(file, *fingerprint, FileState::Photo(id))
            }
            Write::Known { file, fingerprint, content, appearance } => {
                let known = self.contents.get(content.0)?.map(|row| PhotoId(row.value()));
                let Some(id) = known else { return Ok(()) };
                self.put_appearance(id, appearance.as_deref())?;
                self.put_and_tell(file, *fingerprint, FileState::Photo(id))
            }
            Write::Moved { from, to, fingerprint } => match self.file(from)? {
                Some(record) => self.move_file(from, to, *fingerprint, record.state),
                None => Ok(()),
            },
            Write::Doubtful { file } => match self.file(file)? {
                Some(record) => self.put_file(file, Fingerprint::STALE, record.state),
                None => Ok(()),
            },
            Write::Failed { file, fingerprint, failure } => {
                let before = (self.state(file)?, self.failure(file)?.map(|failure| failure.reason));
                self.put_file(file, *fingerprint, FileState::Failed)?;
                self.put_failure(file, failure)?;
                let after = (self.state(file)?, self.failure(file)?.map(|failure| failure.reason));
                if before == after { Ok(()) } else { self.tell_failed(file, before.0, &failure.reason) }
            }
            Write::NotAPhoto { file, fingerprint } => {
                self.put_and_tell(file, *fingerprint, FileState::NotAPhoto)
            }
            Write::TryFailuresAgain { decoder } => self.try_failures_again(*decoder),
            Write::Gone { file } => self.remove_and_tell(file),
            Write::Place { root, at, path, is_online } => match self.is_watched(*root)? {
                true => self.put_place(*root, at, path, *is_online),
                false => Ok(()),
            },
            Write::RemoveRoot { root } => self.remove_root(*root),
            Write::PurgeOrphans { before } => self.purge_orphans(*before),
        }
    }

    fn file(&self, file: &FileId) -> Result<Option<FileRecord>, StoreError> {
        self.files.get(key(file))?.map(|row| from_bytes(row.value())).transpose()
    }

    pub(super) fn state(&self, file: &FileId) -> Result<Option<FileState>, StoreError> {
        Ok(self.file(file)?.map(|record| record.state))
    }

    fn failure(&self, file: &FileId) -> Result<Option<FailureRecord>, StoreError> {
        self.failures.get(key(file))?.map(|row| from_bytes(row.value())).transpose()
    }

    fn put_and_tell(
        &mut self,
        file: &FileId,
        fingerprint: Fingerprint,
        state: FileState,
    ) -> Result<(), StoreError> {
        let before = self.state(file)?;
        self.put_file(file, fingerprint, state)?;
        self.tell_of(file, before)
    }

    fn remove_and_tell(&mut self, file: &FileId) -> Result<(), StoreError> {
        let before = self.state(file)?;
        self.remove_file(file)?;
        self.tell_of(file, before)
    }

    fn move_file(
        &mut self,
        from: &FileId,
        to: &FileId,
        fingerprint: Fingerprint,
        state: FileState,
    ) -> Result<(), StoreError> {
        if !self.is_watched(to.root)? {
            return self.remove_and_tell(from);
        }
        let failure = self.failure(from)?;
        // What stood there goes, whatever it was.
        self.remove_and_tell(to)?;
        self.put_file(to, fingerprint, state)?;
        if let Some(failure) = failure {
            self.put_failure(to, &failure)?;
        }
        self.remove_file(from)?;
        self.tell_moved(from, to, state)
    }

    /// Whether the root is still watched. A file can be in the works while its root is removed.
    fn is_watched(&self, root: RootId) -> Result<bool, StoreError> {
        Ok(self.transaction.open_table(ROOTS)?.get(root.0)?.is_some())
    }

    fn put_photo(&mut self, photo: &PhotoRecord) -> Result<PhotoId, StoreError> {
        let known = self.contents.get(photo.content.0)?.map(|row| row.value());
        let id = match known {
            Some(id) => id,
            None => {
                let id = next_number(self.transaction, META_NEXT_PHOTO)?;
                self.contents.insert(photo.content.0, id)?;
                // Until a file is written down for it, which may not happen when its root was just removed.
                self.orphans.insert(id, self.now)?;
                id
            }
        };
        self.photos.insert(id, to_bytes(photo)?.as_slice())?;
        Ok(PhotoId(id))
    }

    fn put_appearance(&self, photo: PhotoId, seen: Option<&Appearance>) -> Result<(), StoreError> {
        if let Some(seen) = seen {
            let mut appearances = self.transaction.open_table(APPEARANCES)?;
            appearances.insert(photo.0, to_bytes(seen)?.as_slice())?;
        }
        Ok(())
    }

    fn put_embedding(
        &mut self,
        model: &ModelRecord,
        photo: PhotoId,
        embedding: &Embedding,
    ) -> Result<(), StoreError> {
        let expected = model.dim as usize;
        if embedding.0.len() != expected {
            return Err(StoreError::EmbeddingLength { found: embedding.0.len(), expected });
        }
        self.touch(photo)?;
        let (number, place) = vectors::place(photo, vectors::photos_in_row(expected));
        let row = {
            let before = self.vectors.get((model.id, number))?;
            let before = before.as_ref().map(|bytes| Row::parse(bytes.value(), expected)).transpose()?;
            vectors::put(before, place, &embedding.0)
        };
        self.vectors.insert((model.id, number), row.as_slice())?;
        Ok(())
    }

    fn put_file(
        &mut self,
        file: &FileId,
        fingerprint: Fingerprint,
        state: FileState,
    ) -> Result<(), StoreError> {
        if !self.is_watched(file.root)? {
            return Ok(());
        }
        let record = FileRecord { fingerprint, state };
        let before = self.file(file)?;
        if before.as_ref().map(|before| before.state) != Some(state) {
            self.release(file, before.as_ref())?;
            self.count(file.root, state, 1)?;
            if let FileState::Photo(photo) = state {
                self.touch(photo)?;
                self.photo_files.insert(photo.0, key(file))?;
                self.orphans.remove(photo.0)?;
            }
        }
        if let Some(before) = before {
            self.inodes.remove(before.fingerprint.inode, key(file))?;
        }
        self.inodes.insert(fingerprint.inode, key(file))?;
        self.files.insert(key(file), to_bytes(&record)?.as_slice())?;
        Ok(())
    }

    fn put_failure(&mut self, file: &FileId, failure: &FailureRecord) -> Result<(), StoreError> {
        if self.is_watched(file.root)? {
            self.failures.insert(key(file), to_bytes(failure)?.as_slice())?;
        }
        Ok(())
    }

    fn remove_file(&mut self, file: &FileId) -> Result<(), StoreError> {
        let Some(record) = self.file(file)? else { return Ok(()) };
        self.release(file, Some(&record))?;
        self.inodes.remove(record.fingerprint.inode, key(file))?;
        self.files.remove(key(file))?;
        Ok(())
    }

    fn try_failures_again(&mut self, decoder: u64) -> Result<(), StoreError> {
        let before = self.transaction.open_table(META)?.insert(META_DECODER, decoder)?.map(|row| row.value());
        if before == Some(decoder) {
            return Ok(());
        }
        let mut without_photo = Vec::new();
        for row in self.files.iter()? {
            let (key, record) = row?;
            let record: FileRecord = from_bytes(record.value())?;
            if !matches!(record.state, FileState::Photo(_)) {
                let (root, path) = key.value();
                without_photo
                    .push(FileId { root: RootId(root), path: RelativePath::from_bytes(path.to_vec()) });
            }
        }
        without_photo.iter().try_for_each(|file| self.remove_and_tell(file))
    }

    /// Undoes what the record's state had written down for the file beyond its own row.
    fn release(&mut self, file: &FileId, record: Option<&FileRecord>) -> Result<(), StoreError> {
        let state = record.map(|record| record.state);
        match state {
            Some(FileState::Photo(photo)) => {
                self.touch(photo)?;
                self.photo_files.remove(photo.0, key(file))?;
                if self.photo_files.get(photo.0)?.is_empty() {
                    self.orphans.insert(photo.0, self.now)?;
                }
            }
            Some(FileState::Failed) => drop(self.failures.remove(key(file))?),
            Some(FileState::NotAPhoto) | None => {}
        }
        state.map_or(Ok(()), |state| self.count(file.root, state, -1))
    }

    fn count(&mut self, root: RootId, state: FileState, by: i64) -> Result<(), StoreError> {
        let (mut files, mut failures) = self.counts.get(root.0)?.map_or((0, 0), |row| row.value());
        match state {
            FileState::Photo(_) => files = files.saturating_add_signed(by),
            FileState::Failed => failures = failures.saturating_add_signed(by),
            FileState::NotAPhoto => return Ok(()),
        }
        self.counts.insert(root.0, (files, failures))?;
        Ok(())
    }

    fn remove_root(&mut self, root: RootId) -> Result<(), StoreError> {
        let mut files = Vec::new();
        for row in self.files.range::<(u32, &[u8])>((root.0, &[][..])..(root.0 + 1, &[][..]))? {
            let path = row?.0.value().1.to_vec();
            files.push(FileId { root, path: RelativePath::from_bytes(path) });
        }
        for file in &files {
            self.remove_file(file)?;
        }
        self.counts.remove(root.0)?;
        if self.is_watched(root)? {
            self.tell_unwatched(root)?;
        }
        let mut roots = self.transaction.open_table(ROOTS)?;
        let removed = roots.remove(root.0)?;
        if let Some(removed) = removed {
            let RootRecord { path, kept, .. } = from_bytes(removed.value())?;
            if kept {
                self.decisions.push(Decision::Folder { path, is_kept: false });
            }
        }
        Ok(())
    }

    /// Notes whether the photo is searchable, before the batch changes that.
    fn touch(&mut self, photo: PhotoId) -> Result<(), StoreError> {
        if !self.touched.contains_key(&photo) {
            let searchable = self.is_searchable(photo)?;
            self.touched.insert(photo, searchable);
        }
        Ok(())
    }

    fn is_searchable(&self, photo: PhotoId) -> Result<bool, StoreError> {
        Ok(!self.photo_files.get(photo.0)?.is_empty() && vectors::has(&self.vectors, self.model, photo)?)
    }

    /// Compares the touched photos with what they were.
    fn finish(self) -> Result<(Committed, Vec<Decision>), StoreError> {
        let mut committed =
            Committed { changed: self.touched.keys().copied().collect(), ..Committed::default() };
        for (&photo, &before) in &self.touched {
            match (before, self.is_searchable(photo)?) {
                (false, true) => {
                    let mut values = Vec::new();
                    vectors::read(&self.vectors, self.model, photo, &mut values)?;
                    committed.added.push((photo, Embedding(values)));
                }
                (true, false) => committed.removed.push(photo),
                _ => {}
            }
        }
        committed.last_event = self.telling.keep(self.transaction, self.now)?;
        Ok((committed, self.decisions))
    }
}

fn key(file: &FileId) -> (u32, &[u8]) {
    (file.root.0, file.path.as_bytes())
}
