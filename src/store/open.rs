//! Opening the store's file, in whatever state it is.
//!
//! | found | what happens |
//! | --- | --- |
//! | nothing, or what a start that was cut short has left | a new file is made |
//! | this version | it is opened |
//! | this version, of which much was purged | it is packed into a new file |
//! | this version, damaged | what can be read is copied into a new file; the photos give the rest |
//! | version 1 | it is copied into a new file |
//! | a newer version | refused |
//! | anything else, or damaged beyond that | refused: [`repair`](super::repair()) helps, which the user asks for |
//!
//! redb is given nothing that it might choke on, and still every opening and copying is fenced against panics in it.

use std::fs::{self};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableError};

use super::backend::Backend;
use super::beside::{build, build_beside, new_name, take_name};
use super::checked::{self, BLOCK, Checked, HeadError};
use super::decisions::{Decided, Decisions};
use super::disk::{Disk, FileDisk, OpenError, read_exact_at};
use super::rebuild::{self, Kind, Rebuilt};
use super::rows::from_bytes;
use super::schema::{DISTINCT, META, META_PURGED, PHOTOS, ROOTS, SCHEMA_VERSION};
use super::source::{Overlay, Source};
use super::{CACHE_BYTES, RootRecord, StoreError, version1};
use crate::photo::ContentHash;
use crate::private;

/// With what the file of a redb database begins: version 1 was one.
const REDB: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1a, 0x0a, 0xa9, 0x0d, 0x0a];

/// Fewer purged photos than this are not worth a new file.
const PURGED_AT_LEAST: u64 = 2000;

/// A store that is whole, as far as opening it tells.
pub(super) struct Opened {
    pub(super) db: Arc<Database>,
    pub(super) backend: Backend,
    pub(super) checked: Arc<Checked<Arc<dyn Disk>>>,
}

/// What lies at the store's path.
pub(super) enum Found {
    NeverMade,
    Version1,
    Ours,
    Foreign,
}

/// Opens the file, and makes, migrates or mends it before that.
///
/// # Errors
/// See [`Store::open`](super::Store::open).
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let (mut has_mended, mut has_packed) = (false, false);
    loop {
        if !exists(path)? {
            make(path)?;
        }
        let disk = open_disk(path)?;
        private::tighten(path);
        match look(&disk).map_err(not_read(path))? {
            Found::NeverMade => {
                say_never_made(path);
                make(path)?;
            }
            Found::Version1 => migrate(path, disk)?,
            Found::Foreign => return Err(StoreError::Refused { path: path.to_path_buf() }),
            Found::Ours => match open_ours(path, disk)? {
                Some((opened, true)) if !has_packed => {
                    has_packed = true;
                    pack(path, opened)?;
                }
                Some((opened, _)) => return Ok(opened),
                None if has_mended => return Err(StoreError::Refused { path: path.to_path_buf() }),
                None => {
                    has_mended = true;
                    mend(path)?;
                }
            },
        }
    }
}

pub(super) fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(not_read(path))
}

/// What an error of the disk under `path` means.
pub(super) fn not_read(path: &Path) -> impl Fn(io::Error) -> StoreError {
    |error| StoreError::not_opened(path, redb::StorageError::Io(error))
}

pub(super) fn open_disk(path: &Path) -> Result<FileDisk, StoreError> {
    FileDisk::open(path).map_err(|error| match error {
        OpenError::InUse => StoreError::InUse { path: path.to_path_buf() },
        OpenError::Io(error) => not_read(path)(error),
    })
}

pub(super) fn look(disk: &FileDisk) -> io::Result<Found> {
    if checked::is_ours(disk)? {
        return Ok(Found::Ours);
    }
    let len = disk.len()?;
    let mut begins = [0; REDB.len()];
    disk.read_at(0, &mut begins)?;
    if begins == REDB {
        return Ok(Found::Version1);
    }
    // redb writes how its file begins when all else of a new one is there; and that is nothing but its header page.
    let is_empty = begins == [0; REDB.len()] && is_zero(disk, BLOCK as u64, len)?;
    Ok(if is_empty { Found::NeverMade } else { Found::Foreign })
}

/// Says whether there are only zeros from `at` to `end`.
fn is_zero(disk: &FileDisk, mut at: u64, end: u64) -> io::Result<bool> {
    let mut piece = [0; 16 * BLOCK];
    while at < end {
        let piece = &mut piece[..usize::try_from(end - at).unwrap_or(usize::MAX).min(16 * BLOCK)];
        read_exact_at(disk, at, piece)?;
        if piece.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

/// Opens a file of this version, and says whether it is worth packing. `None`: it is damaged.
fn open_ours(path: &Path, disk: FileDisk) -> Result<Option<(Opened, bool)>, StoreError> {
    let checked = open_checked::<Arc<dyn Disk>>(path, Arc::new(disk))?;
    if checked.is_damaged() {
        return Ok(None);
    }
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let opened = Opened::new(path, Arc::clone(&checked))?;
        let decided = opened.decided()?;
        let is_loose = opened.is_loose()?;
        Ok((opened, decided, is_loose))
    }));
    match opened {
        Ok(Ok((opened, decided, is_loose))) => {
            if let Err(error) = Decisions::beside(path).replace(&decided) {
                tracing::warn!("the second copy of folders and marks could not be written: {error}");
            }
            Ok(Some((opened, is_loose)))
        }
        Ok(Err(_)) | Err(_) if checked.is_damaged() => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(_panic) => Err(StoreError::Refused { path: path.to_path_buf() }),
    }
}

pub(super) fn open_checked<D: Disk>(path: &Path, disk: D) -> Result<Arc<Checked<D>>, StoreError> {
    Checked::open(disk, SCHEMA_VERSION).map(Arc::new).map_err(|error| match error {
        HeadError::Version(found) => {
            StoreError::Newer { path: path.to_path_buf(), found, known: SCHEMA_VERSION }
        }
        HeadError::Damaged => StoreError::Refused { path: path.to_path_buf() },
        HeadError::Io(error) => not_read(path)(error),
    })
}

/// The same on any disk, new or not.
#[cfg(test)]
pub(super) fn on_disk(
    path: &Path,
    disk: Arc<dyn Disk>,
    is_new: bool,
) -> Result<Arc<Checked<Arc<dyn Disk>>>, StoreError> {
    if is_new {
        return Checked::create(disk, SCHEMA_VERSION).map(Arc::new).map_err(not_read(path));
    }
    open_checked(path, disk)
}

impl Opened {
    /// Gives a file to redb.
    pub(super) fn new(path: &Path, checked: Arc<Checked<Arc<dyn Disk>>>) -> Result<Self, StoreError> {
        let backend = Backend::new(Arc::clone(&checked)).map_err(not_read(path))?;
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend.clone())
            .map_err(|error| StoreError::not_opened(path, error))?;
        Ok(Self { db: Arc::new(db), backend, checked })
    }

    /// Says whether so much was purged that the file is much larger than what is in it.
    fn is_loose(&self) -> Result<bool, StoreError> {
        let view = self.db.begin_read()?;
        let purged = view.open_table(META)?.get(META_PURGED)?.map_or(0, |purged| purged.value());
        Ok(purged >= PURGED_AT_LEAST && purged > view.open_table(PHOTOS)?.len()? / 4)
    }

    /// Reads what the user has decided.
    fn decided(&self) -> Result<Decided, StoreError> {
        let view = self.db.begin_read()?;
        let mut decided = Decided::default();
        for row in view.open_table(ROOTS)?.iter()? {
            let root: RootRecord = from_bytes(row?.1.value())?;
            if root.kept {
                decided.folders.insert(root.path);
            }
        }
        for row in view.open_table(DISTINCT)?.iter()? {
            let (one, other) = row?.0.value();
            decided.apart.insert((ContentHash(one), ContentHash(other)));
        }
        Ok(decided)
    }
}

/// Returns the schema's number of version 1, and of nothing else: later ones have it in the head. `None`: there is none.
fn version_of(db: &Database) -> Result<Option<u64>, StoreError> {
    match db.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        meta => Ok(meta?.get(version1::META_SCHEMA)?.map(|version| version.value())),
    }
}

/// Makes a new file, with what is known of the user's decisions.
fn make(path: &Path) -> Result<(), StoreError> {
    let decided = Decisions::beside(path).read();
    build(path, |db| rebuild::fill(db, &mut Source::nothing(), Kind::New, &decided, now()))?;
    if decided != Decided::default() {
        tracing::warn!(
            "{} is new; {} folders and {} marks of \"not the same\" were taken over from the copy beside it",
            path.display(),
            decided.folders.len(),
            decided.apart.len()
        );
    }
    Ok(())
}

/// Copies a store of version 1.
fn migrate(path: &Path, disk: FileDisk) -> Result<(), StoreError> {
    let disk = Arc::new(disk);
    let Some(db) = sound_version1(&disk) else {
        return Err(StoreError::Refused { path: path.to_path_buf() });
    };
    match version_of(&db)? {
        None => {
            say_never_made(path);
            return make(path);
        }
        Some(version1::VERSION) => {}
        Some(found) => {
            return Err(StoreError::Newer { path: path.to_path_buf(), found, known: SCHEMA_VERSION });
        }
    }
    tracing::info!(
        "{} has format {}: it is copied into format {SCHEMA_VERSION}, once. Nothing is encoded anew",
        path.display(),
        version1::VERSION
    );
    let mut from = Source::open(db);
    let rebuilt = build(path, |db| rebuild::fill(db, &mut from, Kind::Version1, &Decided::default(), now()))?;
    if from.is_damaged() {
        tracing::warn!("a part of the old store could not be read; its photos are read again");
    }
    tracing::info!(
        "copied {} photos in {} files, and {} marks",
        rebuilt.photos,
        rebuilt.files,
        rebuilt.marks
    );
    Ok(())
}

/// Opens a database of version 1 over a layer that keeps redb's writes from it. `None` where redb's own check of the whole
/// file does not pass: it has no checksums of ours, and nothing else says which rows are right.
pub(super) fn sound_version1(disk: &Arc<FileDisk>) -> Option<Arc<Database>> {
    let open = || -> Option<Database> {
        let overlay = Overlay::new(Arc::clone(disk)).ok()?;
        let mut db = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(overlay).ok()?;
        db.check_integrity().ok()?.then_some(db)
    };
    catch_unwind(AssertUnwindSafe(open)).ok().flatten().map(Arc::new)
}

/// Copies a sound store into a file that is as large as it needs. Where there is no room for that, it stays as it is.
fn pack(path: &Path, opened: Opened) -> Result<(), StoreError> {
    let mut from = Source::open(Arc::clone(&opened.db));
    let nothing_more = Decided::default();
    let packed = build_beside(path, |db| rebuild::fill(db, &mut from, Kind::Pack, &nothing_more, now()));
    match packed {
        // What could not be read is met again, and mended.
        Ok(_) if from.is_damaged() => {
            let _ = fs::remove_file(new_name(path));
            Ok(())
        }
        Ok(_) => {
            tracing::info!("packed the store: much of it had been dropped");
            drop((from, opened));
            take_name(path)
        }
        Err(StoreError::Build { source, .. }) => {
            tracing::warn!("the store could not be packed: {source}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn say_never_made(path: &Path) {
    tracing::warn!(
        "{} was never finished, by a first start that was cut short: it is made anew",
        path.display()
    );
}

/// Copies what can be read of a damaged store.
fn mend(path: &Path) -> Result<(), StoreError> {
    tracing::error!(
        "{} is damaged, by the disk or by a program that wrote into it: what is whole is kept, and the photos give the rest",
        path.display()
    );
    let mut from = Source::damaged(open_checked(path, open_disk(path)?)?);
    let decided = Decisions::beside(path).read();
    let rebuilt = build_beside(path, |db| rebuild::fill(db, &mut from, Kind::Mend, &decided, now()))?;
    if !from.has_given() {
        // No table could be read: that is for the user to decide.
        let _ = fs::remove_file(new_name(path));
        return Err(StoreError::Refused { path: path.to_path_buf() });
    }
    take_name(path)?;
    say_mended(&rebuilt);
    Ok(())
}

fn say_mended(rebuilt: &Rebuilt) {
    tracing::warn!(
        "the store is whole again: {} folders, {} photos in {} files and {} marks were kept; {} photos and {} files were lost \
         and are read again",
        rebuilt.folders,
        rebuilt.photos,
        rebuilt.files,
        rebuilt.marks,
        rebuilt.lost_photos,
        rebuilt.lost_files
    );
}

pub(super) fn now() -> i64 {
    // A clock before 1970 only lets orphans go earlier.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
