//! The store: embeddings and files in, durable rows out; one redb file is the only truth.
//!
//! [`Store`] opens the file, [`Reader`] is a consistent view that never waits, [`commit`](Store::commit)
//! applies a batch of [`Write`]s in one transaction, and [`Writer`] is the one thread that calls it.
//!
//! Invariant: an embedding belongs to a content and a model, never to a file. A file that moves keeps its
//! photo; a photo without files is an orphan that keeps its embeddings for a grace time.
//!
//! Invariant: what a commit has returned is on the disk; a crash at any moment leaves the last commit.

mod batch;
mod codes;
mod error;
mod pairs;
mod photos;
mod reader;
mod record;
mod schema;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableError, WriteTransaction};

pub use self::batch::{Committed, Write};
pub use self::error::StoreError;
pub use self::photos::Photos;
pub use self::reader::{Children, Counts, Reader};
pub use self::record::{
    Compared, FailureKind, FailureRecord, FileRecord, FileState, ModelRecord, PhotoRecord, RootRecord,
};
use self::record::{from_bytes, to_bytes};
use self::schema::{
    CODES, COMPARED, CONTENTS, COUNTS, DISTINCT, EMBEDDINGS, FAILURES, FILES, FORMER_PAIRS, INODES, META,
    META_NEXT_MODEL, META_NEXT_ROOT, META_SCHEMA, MODELS, ORPHANS, PAIRS, PHOTO_FILES, PHOTOS, QUANTIZERS,
    ROOTS, SCHEMA_VERSION,
};
pub use self::writer::{Writer, WriterHandle};
use crate::photo::{Metric, ModelDigest, RootId};
use crate::watch::Volume;

/// Pages that redb keeps in memory: those that lead to others. Full vectors are too many to be kept, and the system's own
/// cache has them. Its default is a gigabyte; with 32 MB, pages freed on other threads than they were taken on made it
/// 90 MB of resident memory.
const CACHE_BYTES: usize = 4 << 20;

/// The open store. One process at a time has it.
pub struct Store {
    db: Database,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes it, its directory included.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another daemon has it, [`StoreError::Newer`] where a newer version wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .map_err(|source| StoreError::CreateDirectory { path: directory.to_path_buf(), source })?;
        }
        let db =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_path_buf() },
                other => StoreError::Open { path: path.to_path_buf(), source: Box::new(other.into()) },
            })?;
        let store = Self { db, path: path.to_path_buf() };
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
        transaction.commit()?;
        Ok(())
    }

    /// Begins to write. Whatever is committed can be opened at once after a kill; otherwise the next start would read
    /// the whole file.
    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_quick_repair(true);
        Ok(transaction)
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
                    let dim = u32::try_from(dim).expect("a network's dimension fits 32 bits");
                    let id = u32::try_from(id).expect("fewer than 2^32 models were ever used");
                    let record = ModelRecord { id, name: name.to_owned(), dim, metric };
                    models.insert(digest.0, to_bytes(&record)?.as_slice())?;
                    record
                }
            }
        };
        transaction.commit()?;
        Ok(record)
    }

    /// Writes down a watched folder and returns its number. A path that is there already keeps its number.
    pub fn add_root(&self, path: &Path, kept: bool) -> Result<RootId, StoreError> {
        use std::os::unix::ffi::OsStrExt;

        let bytes = path.as_os_str().as_bytes();
        let transaction = self.begin()?;
        let id = {
            let mut roots = transaction.open_table(ROOTS)?;
            let mut known = None;
            for row in roots.iter()? {
                let (id, record) = row?;
                let record: RootRecord = from_bytes(record.value(), "a root")?;
                if record.path == bytes {
                    known = Some((id.value(), record));
                }
            }
            let (id, record) = match known {
                Some((id, record)) => (id, RootRecord { kept: record.kept || kept, ..record }),
                None => {
                    let id = next_number(&transaction, META_NEXT_ROOT)?;
                    let id = u32::try_from(id).expect("fewer than 2^32 roots were ever added");
                    (id, RootRecord { path: bytes.to_vec(), volume: None, kept })
                }
            };
            roots.insert(id, to_bytes(&record)?.as_slice())?;
            RootId(id)
        };
        transaction.commit()?;
        Ok(id)
    }

    /// Writes down where a root is now, and on which volume.
    pub fn update_root(&self, root: RootId, path: &Path, volume: Option<&Volume>) -> Result<(), StoreError> {
        use std::os::unix::ffi::OsStrExt;

        let transaction = self.begin()?;
        {
            let mut roots = transaction.open_table(ROOTS)?;
            let known = roots.get(root.0)?.map(|row| from_bytes::<RootRecord>(row.value(), "a root"));
            if let Some(record) = known {
                let record = RootRecord {
                    path: path.as_os_str().as_bytes().to_vec(),
                    volume: volume.cloned(),
                    ..record?
                };
                roots.insert(root.0, to_bytes(&record)?.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
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
mod tests;
