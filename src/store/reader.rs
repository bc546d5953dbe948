//! Reading: a consistent view of the last commit, for scans and for answers.
//!
//! Invariant: a reader never waits for the writer, and never sees half a batch.

use std::ffi::{OsStr, OsString};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableMultimapTable, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableError,
};

use super::ModelRecord;
use super::StoreError;
use super::record::{FailureKind, FailureRecord, FileRecord, FileState, PhotoRecord, RootRecord};
use super::rows::from_bytes;
use super::schema::{
    CONTENTS, COUNTS, FAILURES, FILES, INODES, META, META_LOST_FILES, META_LOST_PHOTOS, META_MENDED, MODELS,
    ORPHANS, PHOTO_FILES, PHOTOS, ROOTS, VECTORS,
};
use super::vectors::{self, Row};
use crate::photo::{ContentHash, FileId, ModelDigest, PhotoId, RelativePath, RootId};

/// Embeddings that are read in one go where they lie together.
const RUN: usize = 64;

/// A view of the store.
pub struct Reader {
    transaction: ReadTransaction,
}

/// What the store knows in one directory, each sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownDirectory {
    /// Files known in it.
    pub files: Vec<(OsString, FileRecord)>,
    /// Sub-directories with known files somewhere below.
    pub directories: Vec<OsString>,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Searchable files.
    pub files: u64,
    /// Files that could not be indexed.
    pub failures: u64,
}

/// What became of a store that was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mended {
    /// When it was mended, in seconds since 1970.
    pub at: i64,
    /// Photos that had to be encoded again, as far as that is known.
    pub lost_photos: u64,
    /// Files that had to be looked at again, as far as that is known.
    pub lost_files: u64,
}

impl Reader {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction }
    }

    pub(super) fn transaction(&self) -> &ReadTransaction {
        &self.transaction
    }

    /// Opens a table; `None` in a file that was made before there was one, and has not been written to it.
    pub(super) fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
        match self.transaction().open_table(table) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the watched folders by number.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn roots(&self) -> Result<Vec<(RootId, RootRecord)>, StoreError> {
        let mut roots = Vec::new();
        for row in self.transaction.open_table(ROOTS)?.iter()? {
            let (id, record) = row?;
            roots.push((RootId(id.value()), from_bytes(record.value())?));
        }
        Ok(roots)
    }

    /// Returns the networks that were ever used, in the order of their first use.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn models(&self) -> Result<Vec<(ModelDigest, ModelRecord)>, StoreError> {
        let mut models = Vec::new();
        for row in self.transaction.open_table(MODELS)?.iter()? {
            let (digest, record) = row?;
            models.push((ModelDigest(digest.value()), from_bytes::<ModelRecord>(record.value())?));
        }
        models.sort_unstable_by_key(|(_, record)| record.id);
        Ok(models)
    }

    /// Returns what is known of a file.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn file(&self, file: &FileId) -> Result<Option<FileRecord>, StoreError> {
        let files = self.transaction.open_table(FILES)?;
        let row = files.get((file.root.0, file.path.as_bytes()))?;
        row.map(|row| from_bytes(row.value())).transpose()
    }

    /// Returns what is known directly in a directory. The cost grows with what stands in it, not below it.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn children(&self, root: RootId, directory: &RelativePath) -> Result<KnownDirectory, StoreError> {
        let mut prefix = directory.as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let files = self.transaction.open_table(FILES)?;
        let mut children = KnownDirectory::default();
        let mut from = prefix.clone();
        'seek: loop {
            let end = (Bound::Included((root.0, from.as_slice())), Bound::Excluded((root.0 + 1, &[][..])));
            for row in files.range::<(u32, &[u8])>(end)? {
                let (key, record) = row?;
                let Some(rest) = key.value().1.strip_prefix(prefix.as_slice()) else {
                    break 'seek;
                };
                let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
                    let record = from_bytes(record.value())?;
                    children.files.push((OsStr::from_bytes(rest).to_owned(), record));
                    continue;
                };
                children.directories.push(OsStr::from_bytes(&rest[..slash]).to_owned());
                // Past everything below this sub-directory: '0' follows '/'.
                from = [&prefix, &rest[..slash], b"0"].concat();
                continue 'seek;
            }
            break;
        }
        // The keys "a.d/.." come before "a/..", the name "a.d" after "a".
        children.directories.sort();
        Ok(children)
    }

    /// Returns the searchable files that were read from this inode, on whatever root.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn same_inode(&self, inode: u64) -> Result<Vec<(FileId, FileRecord)>, StoreError> {
        let files = self.transaction.open_table(FILES)?;
        let mut same = Vec::new();
        for row in self.transaction.open_multimap_table(INODES)?.get(inode)? {
            let row = row?;
            let (root, path) = row.value();
            let Some(record) = files.get((root, path))? else { continue };
            let record: FileRecord = from_bytes(record.value())?;
            if matches!(record.state, FileState::Photo(_)) {
                let file = FileId { root: RootId(root), path: RelativePath::from_bytes(path.to_vec()) };
                same.push((file, record));
            }
        }
        Ok(same)
    }

    /// Returns whether no searchable file is known in a root.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn is_root_empty(&self, root: RootId) -> Result<bool, StoreError> {
        Ok(self.counts(root)?.files == 0)
    }

    /// Returns how many rows a root has.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn counts(&self, root: RootId) -> Result<Counts, StoreError> {
        let counts = self.transaction.open_table(COUNTS)?;
        let (files, failures) = counts.get(root.0)?.map_or((0, 0), |row| row.value());
        Ok(Counts { files, failures })
    }

    /// Returns how many searchable files there are below a directory. The cost grows with their number.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn count_below(&self, root: RootId, directory: &RelativePath) -> Result<u64, StoreError> {
        let first = directory.join(OsStr::new(""));
        let mut count = 0;
        for row in self.transaction.open_table(FILES)?.range::<(u32, &[u8])>((root.0, first.as_bytes())..)? {
            let (key, record) = row?;
            let (of, path) = key.value();
            if of != root.0 || !path.starts_with(first.as_bytes()) {
                break;
            }
            let record: FileRecord = from_bytes(record.value())?;
            count += u64::from(matches!(record.state, FileState::Photo(_)));
        }
        Ok(count)
    }

    /// Returns the rows of all roots together.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn total(&self) -> Result<Counts, StoreError> {
        let mut total = Counts::default();
        for row in self.transaction.open_table(COUNTS)?.iter()? {
            let (files, failures) = row?.1.value();
            total.files += files;
            total.failures += failures;
        }
        Ok(total)
    }

    /// Returns the photo with this content, orphans included.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn photo_with(&self, content: ContentHash) -> Result<Option<PhotoId>, StoreError> {
        let contents = self.transaction.open_table(CONTENTS)?;
        Ok(contents.get(content.0)?.map(|row| PhotoId(row.value())))
    }

    /// Returns whether the model has encoded the photo.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn has_embedding(&self, model: &ModelRecord, photo: PhotoId) -> Result<bool, StoreError> {
        vectors::has(&self.transaction.open_table(VECTORS)?, model, photo)
    }

    /// Reads an embedding into `values`. False where the model has not encoded the photo.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn embedding(
        &self,
        model: &ModelRecord,
        photo: PhotoId,
        values: &mut Vec<f32>,
    ) -> Result<bool, StoreError> {
        vectors::read(&self.transaction.open_table(VECTORS)?, model, photo, values)
    }

    /// Visits the embeddings of all photos that have a file, in the order of indexing. Stops at an error of `visit`.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for. What `visit` returns ends it, too.
    pub fn each_embedding<E: From<StoreError>>(
        &self,
        model: &ModelRecord,
        mut visit: impl FnMut(PhotoId, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let read = || -> Result<_, StoreError> {
            let vectors = self.transaction.open_table(VECTORS)?;
            let orphans = self.transaction.open_table(ORPHANS)?;
            Ok((vectors.range((model.id, 0)..(model.id + 1, 0))?, orphans))
        };
        let (rows, orphans) = read()?;
        let dim = model.dim as usize;
        let in_row = vectors::photos_in_row(dim);
        let mut values = Vec::with_capacity(dim);
        for row in rows {
            let (key, bytes) = row.map_err(StoreError::from)?;
            let row = Row::parse(bytes.value(), dim)?;
            for place in row.places() {
                let photo = PhotoId(key.value().1 * in_row + u64::from(place));
                if orphans.get(photo.0).map_err(StoreError::from)?.is_none() {
                    row.read(place, &mut values);
                    visit(photo, &values)?;
                }
            }
        }
        Ok(())
    }

    /// Visits the embeddings of these photos, which ascend. Those that the model has not encoded are passed over.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn embeddings(
        &self,
        model: &ModelRecord,
        photos: &[PhotoId],
        visit: &mut dyn FnMut(PhotoId, &[f32]),
    ) -> Result<(), StoreError> {
        let table = self.transaction.open_table(VECTORS)?;
        let dim = model.dim as usize;
        let in_row = vectors::photos_in_row(dim);
        let row_of = |photo: PhotoId| vectors::place(photo, in_row).0;
        let mut values = Vec::with_capacity(dim);
        let mut read = |bytes: &[u8], photos: &[PhotoId]| {
            let row = Row::parse(bytes, dim)?;
            for &photo in photos {
                if row.read(vectors::place(photo, in_row).1, &mut values) {
                    visit(photo, &values);
                }
            }
            Ok::<_, StoreError>(())
        };
        let (Some(&first), Some(&last)) = (photos.first(), photos.last()) else { return Ok(()) };
        let mut wanted = photos.chunk_by(|&one, &other| row_of(one) == row_of(other)).peekable();
        // Neighbors in the table are read in one go, which takes half the time of finding each.
        if photos.len() >= RUN && last.0 - first.0 < 2 * photos.len() as u64 {
            for row in table.range((model.id, row_of(first))..=(model.id, row_of(last)))? {
                let (key, bytes) = row?;
                let number = key.value().1;
                while wanted.next_if(|photos| row_of(photos[0]) < number).is_some() {}
                if let Some(photos) = wanted.next_if(|photos| row_of(photos[0]) == number) {
                    read(bytes.value(), photos)?;
                }
            }
            return Ok(());
        }
        for photos in wanted {
            if let Some(bytes) = table.get((model.id, row_of(photos[0])))? {
                read(bytes.value(), photos)?;
            }
        }
        Ok(())
    }

    /// Visits the photos that have a file, by number, with their files.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn each_photo(
        &self,
        mut visit: impl FnMut(PhotoId, &PhotoRecord, &[FileId]),
    ) -> Result<(), StoreError> {
        let photos = self.transaction.open_table(PHOTOS)?;
        let photo_files = self.transaction.open_multimap_table(PHOTO_FILES)?;
        let mut photos = photos.iter()?.peekable();
        let mut files = Vec::new();
        // Both tables are sorted by photo, so one pass joins them.
        for row in photo_files.iter()? {
            let (photo, places) = row?;
            let photo = photo.value();
            files.clear();
            for place in places {
                let place = place?;
                let (root, path) = place.value();
                files.push(FileId { root: RootId(root), path: RelativePath::from_bytes(path.to_vec()) });
            }
            while let Some(row) =
                photos.next_if(|row| row.as_ref().map_or(true, |row| row.0.value() <= photo))
            {
                let (found, record) = row?;
                if found.value() == photo {
                    visit(PhotoId(photo), &from_bytes(record.value())?, &files);
                }
            }
        }
        Ok(())
    }

    /// Returns the photos that several files hold, by number, each with how many.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn copied_photos(&self) -> Result<Vec<(PhotoId, u64)>, StoreError> {
        let mut copied = Vec::new();
        for row in self.transaction.open_multimap_table(PHOTO_FILES)?.iter()? {
            let (photo, files) = row?;
            if files.len() > 1 {
                copied.push((PhotoId(photo.value()), files.len()));
            }
        }
        Ok(copied)
    }

    /// Returns up to `limit` photos that have a file, by content hash, those after `after`.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn list_photos(
        &self,
        after: Option<ContentHash>,
        limit: usize,
    ) -> Result<Vec<(PhotoId, ContentHash)>, StoreError> {
        let contents = self.transaction.open_table(CONTENTS)?;
        let orphans = self.transaction.open_table(ORPHANS)?;
        let start = after.map_or(Bound::Unbounded, |hash| Bound::Excluded(hash.0));
        let mut photos = Vec::new();
        for row in contents.range::<[u8; 32]>((start, Bound::Unbounded))? {
            if photos.len() == limit {
                break;
            }
            let (content, photo) = row?;
            if orphans.get(photo.value())?.is_none() {
                photos.push((PhotoId(photo.value()), ContentHash(content.value())));
            }
        }
        Ok(photos)
    }

    /// Returns up to `limit` failures by root and path, those after `after`.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn list_failures(
        &self,
        after: Option<&FileId>,
        limit: usize,
    ) -> Result<Vec<(FileId, FailureRecord)>, StoreError> {
        let failures = self.transaction.open_table(FAILURES)?;
        let start =
            after.map_or(Bound::Unbounded, |file| Bound::Excluded((file.root.0, file.path.as_bytes())));
        let mut listed = Vec::new();
        for row in failures.range::<(u32, &[u8])>((start, Bound::Unbounded))?.take(limit) {
            let (key, record) = row?;
            let (root, path) = key.value();
            let file = FileId { root: RootId(root), path: RelativePath::from_bytes(path.to_vec()) };
            listed.push((file, from_bytes(record.value())?));
        }
        Ok(listed)
    }

    /// Returns how many files could not be indexed for each kind of reason that there is. The cost grows with their number.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn failures_by_kind(&self) -> Result<Vec<(FailureKind, u64)>, StoreError> {
        let mut counts: Vec<(FailureKind, u64)> = Vec::new();
        for row in self.transaction.open_table(FAILURES)?.iter()? {
            let record: FailureRecord = from_bytes(row?.1.value())?;
            match counts.iter_mut().find(|(kind, _)| *kind == record.kind) {
                Some((_, count)) => *count += 1,
                None => counts.push((record.kind, 1)),
            }
        }
        Ok(counts)
    }

    /// Returns why a file could not be indexed.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn failure(&self, file: &FileId) -> Result<Option<FailureRecord>, StoreError> {
        let failures = self.transaction.open_table(FAILURES)?;
        let row = failures.get((file.root.0, file.path.as_bytes()))?;
        row.map(|row| from_bytes(row.value())).transpose()
    }

    /// Says whether a photo has been without a file since before this second.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn has_orphans(&self, before: i64) -> Result<bool, StoreError> {
        for row in self.transaction.open_table(ORPHANS)?.iter()? {
            if row?.1.value() < before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns when damage was mended last, and what was lost to it. `None`: never.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn mended(&self) -> Result<Option<Mended>, StoreError> {
        let meta = self.transaction.open_table(META)?;
        let number = |name: &str| Ok::<_, StoreError>(meta.get(name)?.map(|number| number.value()));
        let Some(at) = number(META_MENDED)? else { return Ok(None) };
        Ok(Some(Mended {
            at: i64::try_from(at).unwrap_or(i64::MAX),
            lost_photos: number(META_LOST_PHOTOS)?.unwrap_or(0),
            lost_files: number(META_LOST_FILES)?.unwrap_or(0),
        }))
    }

    /// Returns how many photos no file holds any more.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn orphan_count(&self) -> Result<u64, StoreError> {
        Ok(self.transaction.open_table(ORPHANS)?.len()?)
    }
}
