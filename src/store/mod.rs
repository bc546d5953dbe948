//! The store: embeddings and files in, durable rows out; one file is the only truth.
//!
//! From the disk upwards: `disk` (bytes), `checked` (a checksum for each block: **where a row is checked**), `backend` (what the
//! disk refuses), redb, `schema` (tables), `rows` and `vectors` (bytes of a row), and then readers and writers. `open` makes,
//! migrates and mends the file, `repair` what is damaged beyond that: all by `rebuild`, into a new file `beside` the old one.
//! `decisions` is a second copy of what only the user knows, `backup` a copy of all of it for the user to keep, and the way back.
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

mod appearances;
mod backend;
mod backup;
mod batch;
mod beside;
mod checked;
mod codes;
mod decisions;
mod disk;
mod error;
mod events;
mod labels;
mod open;
mod pairs;
mod photos;
mod purge;
mod reader;
mod rebuild;
mod record;
mod repair;
mod rows;
mod schema;
mod source;
mod staged;
mod vectors;
mod version1;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::watch;

pub use self::appearances::Appearances;
use self::backend::Backend;
pub use self::backend::{Problem, ProblemKind};
pub use self::backup::{Backup, RestoreError, Restored, restore};
pub use self::batch::{Committed, Write};
use self::checked::Checked;
use self::decisions::{Decision, Decisions};
use self::disk::Disk;
pub use self::error::StoreError;
use self::open::Opened;
pub use self::photos::Photos;
pub use self::reader::{Counts, KnownDirectory, Mended, Reader};
pub use self::rebuild::Rebuilt;
pub use self::record::{
    Compared, EventRecord, FailureKind, FailureRecord, FileRecord, FileState, Happened, ModelRecord,
    MountRecord, NearPair, NearRule, PairRecord, PhotoRecord, Reach, RootRecord, Seen, Standing,
};
pub use self::repair::{Repair, repair};
use self::rows::{from_bytes, to_bytes};
use self::schema::{META, META_NEXT_MODEL, META_NEXT_ROOT, MODELS, ROOTS};
pub use self::writer::{Writer, WriterHandle};
use crate::photo::{Metric, ModelDigest, RootId};
use crate::private;

/// Pages that redb keeps in memory: those that lead to others. Full vectors are too many to be kept, and the system's own
/// cache has them. Its default is a gigabyte; with 32 MB, pages freed on other threads than they were taken on made it
/// 90 MB of resident memory.
const CACHE_BYTES: usize = 4 << 20;

/// The open store. One process at a time has it.
pub struct Store {
    db: Arc<Database>,
    backend: Backend,
    checked: Arc<Checked<Arc<dyn Disk>>>,
    decisions: Decisions,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes it, its directory included, for the owner alone. One of an older version is migrated, a
    /// damaged one mended as far as it can be read, see `store/open.rs`. A file that may only be read, or for which there is no
    /// room, is opened all the same and takes no writes, see [`Store::problem`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another daemon has it, [`StoreError::Newer`] where a newer version wrote it,
    /// [`StoreError::Build`] where it has to be made, migrated or mended and the disk does not take that,
    /// [`StoreError::Refused`] where it is damaged beyond mending, or something else.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent() {
            private::create_directory(directory)
                .map_err(|source| StoreError::CreateDirectory { path: directory.to_path_buf(), source })?;
        }
        Ok(Self::new(open::open(path)?, path))
    }

    /// Opens what lies on a disk, or makes it there.
    #[cfg(test)]
    fn open_on(disk: impl Disk + 'static, path: &Path) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let is_new = disk.len().unwrap_or(0) == 0;
        let checked = open::on_disk(path, disk, is_new)?;
        let opened = Opened::new(path, checked)?;
        if is_new {
            schema::make_tables(&opened.db)?;
        }
        Ok(Self::new(opened, path))
    }

    fn new(opened: Opened, path: &Path) -> Self {
        let Opened { db, backend, checked } = opened;
        Self { db, backend, checked, decisions: Decisions::beside(path), path: path.to_path_buf() }
    }

    /// Returns the number of the first damaged block that was met, and tells when one is. From then on nothing more can be
    /// read; the next opening mends it.
    pub fn damage(&self) -> watch::Receiver<Option<u64>> {
        self.checked.damage()
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
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read(&self) -> Result<Reader, StoreError> {
        Ok(Reader::new(self.db.begin_read()?))
    }

    /// Returns the model's record, and makes one at its first use.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn ensure_model(
        &self,
        digest: ModelDigest,
        name: &str,
        dim: usize,
        metric: Metric,
    ) -> Result<ModelRecord, StoreError> {
        let read = self.db.begin_read()?;
        if let Some(row) = read.open_table(MODELS)?.get(digest.0)? {
            return from_bytes(row.value());
        }
        let transaction = self.begin()?;
        let record = {
            let mut models = transaction.open_table(MODELS)?;
            let known = models.get(digest.0)?.map(|row| from_bytes::<ModelRecord>(row.value()));
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
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
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
                let record: RootRecord = from_bytes(record.value())?;
                if record.path == bytes {
                    known = Some((id.value(), record));
                }
            }
            let (id, record) = match known {
                Some((id, record)) => (id, RootRecord { kept: record.kept || kept, ..record }),
                None => {
                    let id = next_number(&transaction, META_NEXT_ROOT)?;
                    let id = u32::try_from(id).map_err(|_| StoreError::OutOfNumbers("folders"))?;
                    (id, RootRecord::new(bytes.to_vec(), kept))
                }
            };
            roots.insert(id, to_bytes(&record)?.as_slice())?;
            RootId(id)
        };
        self.finish(transaction)?;
        if kept {
            self.decisions.note(&[Decision::Folder { path: bytes.to_vec(), is_kept: true }]);
        }
        Ok(id)
    }

    /// Changes what is written down of a root; nothing where there is none of this number.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn update_root(&self, root: RootId, change: impl FnOnce(&mut RootRecord)) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            let mut roots = transaction.open_table(ROOTS)?;
            let known = roots.get(root.0)?.map(|row| from_bytes::<RootRecord>(row.value()));
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
mod damage_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
