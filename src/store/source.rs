//! A store's file as something to copy from, whole or damaged: whatever rows can be read, in order.
//!
//! Nothing is ever written to it. Rows of a file without checksums (version 1) are believed only where redb's own check of
//! the whole file says that it is sound.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::{Bound, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    BackendError, ConcurrencyMode, Database, Key, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTableMetadata, StorageBackend, TableDefinition, Value,
};

use super::checked::BLOCK;
use super::disk::{Disk, read_exact_at};
use super::{CACHE_BYTES, StoreError};

/// Opens the file once more: after a read that failed, redb gives no more.
type Open = Box<dyn Fn() -> Result<Box<dyn View>, StoreError>>;

/// Returns a key some way behind another one, or behind nothing.
pub(super) type Skip = fn(&[u8], u64) -> Option<Vec<u8>>;

/// What is done with each row of a table.
pub(super) type Visit<'a, K, V> =
    dyn FnMut(<K as Value>::SelfType<'_>, <V as Value>::SelfType<'_>) -> Result<(), StoreError> + 'a;

/// An open file.
trait View {
    fn begin(&self) -> Result<Begun<'_>, redb::TransactionError>;
}

/// A transaction, for one table or for all.
enum Begun<'a> {
    Own(ReadTransaction),
    Shared(&'a ReadTransaction),
}

impl Deref for Begun<'_> {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        match self {
            Self::Own(transaction) => transaction,
            Self::Shared(transaction) => transaction,
        }
    }
}

impl View for ReadOnlyDatabase {
    fn begin(&self) -> Result<Begun<'_>, redb::TransactionError> {
        self.begin_read().map(Begun::Own)
    }
}

impl View for Arc<Database> {
    fn begin(&self) -> Result<Begun<'_>, redb::TransactionError> {
        self.begin_read().map(Begun::Own)
    }
}

impl View for ReadTransaction {
    fn begin(&self) -> Result<Begun<'_>, redb::TransactionError> {
        Ok(Begun::Shared(self))
    }
}

/// A file to copy from.
pub(super) struct Source {
    open: Open,
    db: Option<Box<dyn View>>,
    /// Whether something could not be read.
    is_damaged: bool,
    /// Whether a table could be read to its end.
    has_given: bool,
    /// Whether the copy is still wanted, asked before each row.
    is_wanted: Box<dyn Fn() -> bool>,
}

impl Source {
    /// A file of which nothing is to be had.
    pub(super) fn nothing() -> Self {
        Self::new(Box::new(|| Err(StoreError::Damaged { what: "all" })))
    }

    /// A file to be read by redb alone, which may be damaged. Where its disk checks each block, whatever it gives is
    /// right.
    pub(super) fn damaged(disk: impl Disk + Clone + 'static) -> Self {
        Self::new(Box::new(move || {
            // The mode in which a reader needs no list of free pages, which may be damaged.
            let db = Database::builder()
                .set_cache_size(CACHE_BYTES)
                .set_concurrency_mode(ConcurrencyMode::SingleWriter)
                .open_read_only_with_backend(ReadOnly(disk.clone()))
                .map_err(redb::Error::from)
                .map_err(Box::new)?;
            Ok(Box::new(db))
        }))
    }

    /// A database that is open.
    pub(super) fn open(db: Arc<Database>) -> Self {
        Self::new(Box::new(move || Ok(Box::new(Arc::clone(&db)))))
    }

    /// A database that others write to meanwhile, as it is at one moment. Ends with [`StoreError::GivenUp`] as soon as the
    /// copy is not wanted any more.
    pub(super) fn snapshot(transaction: ReadTransaction, is_wanted: Box<dyn Fn() -> bool>) -> Self {
        // One that failed is not opened again: there is no other way to this moment.
        let again: Open = Box::new(|| Err(StoreError::Damaged { what: "a part" }));
        Self { db: Some(Box::new(transaction)), is_wanted, ..Self::new(again) }
    }

    fn new(open: Open) -> Self {
        Self { open, db: None, is_damaged: false, has_given: false, is_wanted: Box::new(|| true) }
    }

    /// Whether something could not be read so far.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Whether at least one table could be read to its end so far.
    pub(super) fn has_given(&self) -> bool {
        self.has_given
    }

    /// Visits the rows of a table that can be read. `skip` returns a key that lies some way behind another one: there
    /// reading goes on after a damaged page. Without it, it goes on from the end backwards.
    ///
    /// # Errors
    /// Those of `visit`. A table that cannot be read is empty.
    pub(super) fn each<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
        skip: Option<Skip>,
        visit: &mut Visit<'_, K, V>,
    ) -> Result<(), StoreError> {
        let mut from: Option<Vec<u8>> = None;
        let mut step = 1;
        loop {
            let mut last = None;
            let pass = self.pass(table, Direction::Forward, from.as_deref(), &mut last, visit)?;
            if pass == Pass::Whole {
                return Ok(());
            }
            if last.is_some() {
                step = 1;
                from = last;
            }
            let next = match (skip, &from) {
                (Some(skip), Some(key)) => skip(key, step),
                // Even the first row: from the smallest key on.
                (Some(skip), None) => skip(&[], step),
                (None, _) => None,
            };
            match next {
                Some(key) => {
                    step = step.saturating_mul(2);
                    from = Some(key);
                }
                None if skip.is_some() => return Ok(()),
                None => {
                    let mut last = None;
                    self.pass(table, Direction::Backward, from.as_deref(), &mut last, visit)?;
                    return Ok(());
                }
            }
        }
    }

    /// Returns how many rows a table says it has. Zero where that cannot be read.
    pub(super) fn len<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> u64 {
        self.attempt(|view| Ok(view.open_table(table)?.len()?)).unwrap_or(0)
    }

    /// Visits rows with keys greater than `after`, until one cannot be read.
    fn pass<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
        direction: Direction,
        after: Option<&[u8]>,
        last: &mut Option<Vec<u8>>,
        visit: &mut Visit<'_, K, V>,
    ) -> Result<Pass, StoreError> {
        // An error of `visit` is none of the file's.
        let mut refused = None;
        let is_wanted = std::mem::replace(&mut self.is_wanted, Box::new(|| true));
        let read = self.attempt(|view| {
            let table = match view.open_table(table) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
                table => table?,
            };
            let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(K::from_bytes(key)));
            let mut rows = table.range::<K::SelfType<'_>>((start, Bound::Unbounded))?;
            while let Some(row) = direction.next(&mut rows) {
                let (key, value) = row?;
                let visited =
                    if is_wanted() { visit(key.value(), value.value()) } else { Err(StoreError::GivenUp) };
                if let Err(error) = visited {
                    refused = Some(error);
                    return Ok(());
                }
                if direction == Direction::Forward {
                    *last = Some(K::as_bytes(&key.value()).as_ref().to_vec());
                }
            }
            Ok(())
        });
        self.is_wanted = is_wanted;
        match (refused, read) {
            (Some(error), _) => Err(error),
            (None, Some(())) => {
                self.has_given = true;
                Ok(Pass::Whole)
            }
            (None, None) => Ok(Pass::CutShort),
        }
    }

    /// Reads; `None` where that failed, or redb panicked over what it read.
    fn attempt<T>(&mut self, read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>) -> Option<T> {
        let db = self.db.take();
        let open = &self.open;
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let db = match db {
                Some(db) => db,
                None => open()?,
            };
            let read = read(&*db.begin()?)?;
            Ok::<_, StoreError>((db, read))
        }));
        match attempt {
            Ok(Ok((db, read))) => {
                self.db = Some(db);
                Some(read)
            }
            Ok(Err(error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a part of the store cannot be read"
                );
                self.is_damaged = true;
                None
            }
            Err(_panic) => {
                self.is_damaged = true;
                None
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Direction {
    fn next<I: DoubleEndedIterator>(self, rows: &mut I) -> Option<I::Item> {
        match self {
            Self::Forward => rows.next(),
            Self::Backward => rows.next_back(),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Pass {
    Whole,
    CutShort,
}

/// What redb reads from, and nothing else.
#[derive(Debug)]
struct ReadOnly<D>(D);

/// Where redb's header says that the last writer did not end in order, and the flag that says so. For a writer that means
/// to find the free pages anew; a reader needs none of them.
const STATE: u64 = 9;
const UNCLEAN: u8 = 2;

impl<D: Disk + 'static> StorageBackend for ReadOnly<D> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.0, offset, out)?;
        let state = STATE.checked_sub(offset).and_then(|at| out.get_mut(usize::try_from(at).ok()?));
        if let Some(state) = state {
            *state &= !UNCLEAN;
        }
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    // The file is locked as a whole, by the disk under this.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

/// A file under what redb wants to write to it: that stays in memory. For files that may be damaged, of which nothing
/// must get lost by an attempt to read them.
#[derive(Debug)]
pub(super) struct Overlay<D> {
    disk: D,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl<D: Disk> Overlay<D> {
    pub(super) fn new(disk: D) -> io::Result<Self> {
        let len = disk.len()?;
        Ok(Self { disk, written: Mutex::new(Written { len, blocks: BTreeMap::new() }) })
    }

    /// What the disk has of a block; zeros behind its end.
    fn block(&self, block: u64) -> io::Result<Box<[u8; BLOCK]>> {
        let mut bytes = Box::new([0; BLOCK]);
        let read = self.disk.read_at(block * BLOCK as u64, bytes.as_mut_slice())?;
        bytes[read..].fill(0);
        Ok(bytes)
    }
}

/// Cuts a range of bytes at the blocks' edges: block, place in it, place in the range, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % BLOCK as u64) as usize;
        let piece = (len - done).min(BLOCK - inside);
        let found = (at / BLOCK as u64, inside, done, piece);
        done += piece;
        (piece > 0).then_some(found)
    })
}

impl<D: Disk + 'static> StorageBackend for Overlay<D> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (block, inside, at, len) in pieces(offset, out.len()) {
            let bytes = match written.blocks.get(&block) {
                Some(bytes) => bytes,
                None => &self.block(block)?,
            };
            out[at..at + len].copy_from_slice(&bytes[inside..inside + len]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (block, inside, at, len) in pieces(offset, data.len()) {
            let bytes = match written.blocks.entry(block) {
                Entry::Occupied(written) => written.into_mut(),
                Entry::Vacant(unwritten) => unwritten.insert(self.block(block)?),
            };
            bytes[inside..inside + len].copy_from_slice(&data[at..at + len]);
        }
        Ok(())
    }
}
