//! The store: embeddings and files in, durable rows out; one redb file is the only truth.
//!
//! [`Store`] opens the file, [`Reader`] is a consistent view that never waits, [`commit`](Store::commit)
//! applies a batch of [`Write`]s in one transaction, and [`Writer`] is the one thread that calls it. What few rows
//! others write (roots, models, what the search keeps for its next start) has a transaction of its own each time.
//!
//! Invariant: an embedding belongs to a content and a model, never to a file. A file that moves keeps its
//! photo; a photo without files is an orphan that keeps its embeddings for a grace time.
//!
//! Invariant: what a commit has returned is on the disk; a crash at any moment leaves the last commit.
//!
//! A disk that takes no writes, being full or read-only or failing, takes nothing else away: see [`Store::problem`].

mod backend;
mod batch;
mod codes;
mod disk;
mod error;
mod pairs;
mod photos;
mod reader;
mod record;
mod schema;
mod staged;
mod writer;

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableError, WriteTransaction};
use tokio::sync::watch;

use self::backend::Backend;
pub use self::backend::{Problem, ProblemKind};
pub use self::batch::{Committed, Write};
use self::disk::{Disk, FileDisk, OpenError};
pub use self::error::StoreError;
pub use self::photos::Photos;
pub use self::reader::{Children, Counts, Reader};
pub use self::record::{
    Compared, FailureKind, FailureRecord, FileRecord, FileState, ModelRecord, MountRecord, PhotoRecord,
    RootRecord,
};
use self::record::{from_bytes, root_from_bytes, to_bytes};
use self::schema::{
    CODES, COMPARED, CONTENTS, COUNTS, DISTINCT, EMBEDDINGS, FAILURES, FILES, FORMER_PAIRS, INODES, META,
    META_NEXT_MODEL, META_NEXT_ROOT, META_SCHEMA, MODELS, ORPHANS, PAIRS, PHOTO_FILES, PHOTOS, QUANTIZERS,
    ROOTS, SCHEMA_VERSION,
};
pub use self::writer::{Writer, WriterHandle};
use crate::photo::{Metric, ModelDigest, RootId};
use crate::private;

/// Pages that redb keeps in memory: those that lead to others. Full vectors are too many to be kept, and the system's own
/// cache has them. Its default is a gigabyte; with 32 MB, pages freed on other threads than they were taken on made it
/// 90 MB of resident memory.
const CACHE_BYTES: usize = 4 << 20;

/// The open store. One process at a time has it.
pub struct Store {
    db: Database,
    backend: Backend,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes it, its directory included, for the owner alone. A file that may only be read, or for
    /// which there is no room, is opened all the same and takes no writes, see [`Store::problem`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another daemon has it, [`StoreError::Newer`] where a newer version wrote it,
    /// [`StoreError::CannotWrite`] where it has to be made or migrated and cannot.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent() {
            private::create_directory(directory)
                .map_err(|source| StoreError::CreateDirectory { path: directory.to_path_buf(), source })?;
        }
        let disk = FileDisk::open(path).map_err(|error| match error {
            OpenError::InUse => StoreError::InUse { path: path.to_path_buf() },
            OpenError::Io(error) => StoreError::not_opened(path, redb::StorageError::Io(error)),
        })?;
        private::tighten(path);
        Self::open_on(disk, path)
    }

    /// Opens what lies on a disk, which is named `path` in errors.
    fn open_on(disk: impl Disk + 'static, path: &Path) -> Result<Self, StoreError> {
        let backend = Backend::new(disk)
            .map_err(|error| StoreError::not_opened(path, redb::StorageError::Io(error)))?;
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend.clone())
            .map_err(|error| StoreError::not_opened(path, error))?;
        let store = Self { db, backend, path: path.to_path_buf() };
        store.prepare()?;
        Ok(store)
    }

    /// Returns whether the file has this format and every table. A start that writes nothing waits for no disk.
    fn is_prepared(&self) -> Result<bool, StoreError> {
        let transaction = self.db.begin_read()?;
        let meta = match transaction.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(false),
            meta => meta?,
        };
        let version = meta.get(META_SCHEMA)?.map(|version| version.value());
        // The youngest of the tables, which are all made at once.
        let is_complete = !matches!(transaction.open_table(PAIRS), Err(TableError::TableDoesNotExist(_)));
        Ok(version == Some(SCHEMA_VERSION) && is_complete)
    }

    /// Makes the tables of a new file, and checks the format of an old one.
    fn prepare(&self) -> Result<(), StoreError> {
        if self.is_prepared()? {
            return Ok(());
        }
        let transaction = self.begin()?;
        {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(META_SCHEMA)?.map(|version| version.value());
            match found {
                None => drop(meta.insert(META_SCHEMA, SCHEMA_VERSION)?),
                Some(SCHEMA_VERSION) => {}
                Some(found) => {
                    return Err(StoreError::Newer { path: self.path.clone(), found, known: SCHEMA_VERSION });
                }
            }
            transaction.open_table(ROOTS)?;
            transaction.open_table(MODELS)?;
            transaction.open_table(FILES)?;
            transaction.open_table(FAILURES)?;
            transaction.open_table(PHOTOS)?;
            transaction.open_table(CONTENTS)?;
            transaction.open_table(ORPHANS)?;
            transaction.open_table(EMBEDDINGS)?;
            transaction.open_table(COUNTS)?;
            // Younger than the first files of this format; what is missing in them is made again.
            transaction.open_table(QUANTIZERS)?;
            transaction.open_table(CODES)?;
            transaction.open_table(PAIRS)?;
            if transaction.delete_table(FORMER_PAIRS)? {
                transaction.delete_table(COMPARED)?;
            }
            transaction.open_table(COMPARED)?;
            transaction.open_table(DISTINCT)?;
            transaction.open_multimap_table(PHOTO_FILES)?;
            transaction.open_multimap_table(INODES)?;
        }
        self.finish(transaction)
    }

    /// Begins to write. Whatever is committed can be opened at once after a kill; otherwise the next start would read
    /// the whole file.
    ///
    /// # Errors
    /// [`StoreError::CannotWrite`] while the disk takes no writes.
    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut transaction = self.db.begin_write()?;
        // Asked while nobody else writes.
        self.check_writable()?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// Commits. What was written is on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::CannotWrite`] where the disk did not take it: it is seen by readers, and reaches the disk as soon as
    /// that takes writes again, unless the process ends before.
    fn finish(&self, transaction: WriteTransaction) -> Result<(), StoreError> {
        transaction.commit()?;
        self.check_writable()
    }

    /// Returns whether the disk takes writes.
    ///
    /// # Errors
    /// [`StoreError::CannotWrite`], which says what is the matter and what to do.
    pub fn check_writable(&self) -> Result<(), StoreError> {
        match self.backend.problem() {
            Some(problem) => Err(StoreError::CannotWrite { path: self.path.clone(), problem }),
            None => Ok(()),
        }
    }

    /// Returns why nothing can be written at the moment; `None` while all is well.
    pub fn problem(&self) -> Option<Problem> {
        self.backend.problem()
    }

    /// Returns the same, and whenever it changes.
    pub fn problems(&self) -> watch::Receiver<Option<Problem>> {
        self.backend.problems()
    }

    /// Asks the disk whether it takes writes again, and brings to it what waited. True: all is well. May take as long as
    /// the disk does.
    pub fn retry(&self) -> bool {
        self.backend.retry()
    }

    /// Lets nobody wait for the disk any more: the process is to end. What waits is found again at the next start.
    pub fn give_up(&self) {
        self.backend.give_up();
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a view of the last commit. It stays the same while later commits happen.
    pub fn read(&self) -> Result<Reader, StoreError> {
        Ok(Reader::new(self.db.begin_read()?))
    }

    /// Returns the model's record, and makes one at its first use.
    pub fn ensure_model(
        &self,
        digest: ModelDigest,
        name: &str,
        dim: usize,
        metric: Metric,
    ) -> Result<ModelRecord, StoreError> {
        let read = self.db.begin_read()?;
        if let Some(row) = read.open_table(MODELS)?.get(digest.0)? {
            return from_bytes(row.value(), "a model");
        }
        let transaction = self.begin()?;
        let record = {
            let mut models = transaction.open_table(MODELS)?;
            let known = models.get(digest.0)?.map(|row| from_bytes::<ModelRecord>(row.value(), "a model"));
            match known {
                Some(record) => record?,
                None => {
                    let id = next_number(&transaction, META_NEXT_MODEL)?;
                    let dim = u32::try_from(dim)
                        .map_err(|_| StoreError::OutOfNumbers("the network's dimension"))?;
                    let id = u32::try_from(id).map_err(|_| StoreError::OutOfNumbers("networks"))?;
                    let record = ModelRecord { id, name: name.to_owned(), dim, metric };
                    models.insert(digest.0, to_bytes(&record)?.as_slice())?;
                    record
                }
            }
        };
        self.finish(transaction)?;
        Ok(record)
    }

    /// Writes down a watched folder and returns its number. A path that is there already keeps its number.
    pub fn add_root(&self, path: &Path, kept: bool) -> Result<RootId, StoreError> {
        use std::os::unix::ffi::OsStrExt;

        let bytes = path.as_os_str().as_bytes();
        // A start that changes nothing must not need a disk that can be written.
        let is_same = |record: &RootRecord| record.path == bytes && (record.kept || !kept);
        if let Some((id, _)) = self.read()?.roots()?.into_iter().find(|(_, record)| is_same(record)) {
            return Ok(id);
        }
        let transaction = self.begin()?;
        let id = {
            let mut roots = transaction.open_table(ROOTS)?;
            let mut known = None;
            for row in roots.iter()? {
                let (id, record) = row?;
                let record = root_from_bytes(record.value())?;
                if record.path == bytes {
                    known = Some((id.value(), record));
                }
            }
            let (id, record) = match known {
                Some((id, record)) => (id, RootRecord { kept: record.kept || kept, ..record }),
                None => {
                    let id = next_number(&transaction, META_NEXT_ROOT)?;
                    let id = u32::try_from(id).map_err(|_| StoreError::OutOfNumbers("folders"))?;
                    let (volume, seen_at, mounts) = (None, None, Vec::new());
                    (id, RootRecord { path: bytes.to_vec(), volume, kept, seen_at, mounts })
                }
            };
            roots.insert(id, to_bytes(&record)?.as_slice())?;
            RootId(id)
        };
        self.finish(transaction)?;
        Ok(id)
    }

    /// Changes what is written down of a root; nothing where there is none of this number.
    pub fn update_root(&self, root: RootId, change: impl FnOnce(&mut RootRecord)) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            let mut roots = transaction.open_table(ROOTS)?;
            let known = roots.get(root.0)?.map(|row| root_from_bytes(row.value()));
            if let Some(record) = known {
                let mut record = record?;
                change(&mut record);
                roots.insert(root.0, to_bytes(&record)?.as_slice())?;
            }
        }
        self.finish(transaction)
    }
}

/// Takes the next of the numbers that are never given twice.
fn next_number(transaction: &redb::WriteTransaction, key: &str) -> Result<u64, StoreError> {
    let mut meta = transaction.open_table(META)?;
    let number = meta.get(key)?.map_or(1, |row| row.value());
    meta.insert(key, number + 1)?;
    Ok(number)
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
