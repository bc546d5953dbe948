//! A new file for the store, filled beside the old one.
//!
//! Invariant: it gets the store's name when it is whole and on the disk. Before that it has another one, and whatever ends
//! the process leaves the old file as it was.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, StorageBackend};

use super::checked::Checked;
use super::disk::{Disk, read_exact_at};
use super::open::open_disk;
use super::schema::{self, SCHEMA_VERSION};
use super::{CACHE_BYTES, StoreError};

/// Fills a new file and gives it the store's name.
pub(super) fn build<T>(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let filled = build_beside(path, fill)?;
    take_name(path)?;
    Ok(filled)
}

/// Gives the new file the store's name.
pub(super) fn take_name(path: &Path) -> Result<(), StoreError> {
    fs::rename(new_name(path), path)
        .and_then(|()| sync_directory_of(path))
        .map_err(|source| StoreError::Build { path: path.to_path_buf(), source })
}

/// Fills a new file beside the store's, whole and on the disk.
pub(super) fn build_beside<T>(
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let new = new_name(path);
    let built = build_on(open_disk(&new)?, path, fill);
    if built.is_err() {
        // It would be begun anew at the next start; until then it only takes room.
        let _ = fs::remove_file(&new);
    }
    built
}

/// Fills a disk that belongs to the store at `path`, whatever is on it.
pub(super) fn build_on<T>(
    disk: impl Disk + 'static,
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let at = |source| StoreError::Build { path: path.to_path_buf(), source };
    let built = catch_unwind(AssertUnwindSafe(|| {
        let checked = Arc::new(Checked::create(disk, SCHEMA_VERSION).map_err(at)?);
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(SyncedAtLast(Arc::clone(&checked)))
            .map_err(|error| StoreError::not_opened(path, error))?;
        schema::make_tables(&db)?;
        let filled = fill(&db)?;
        drop(db);
        checked.sync().map_err(at)?;
        Ok(filled)
    }));
    let built = built.unwrap_or_else(|_panic| Err(StoreError::Refused { path: path.to_path_buf() }));
    built.map_err(|error| match error {
        StoreError::Database(source) => match *source {
            redb::Error::Io(source) => at(source),
            other => StoreError::Database(Box::new(other)),
        },
        other => other,
    })
}

/// The name of a file that is not whole yet.
pub(super) fn new_name(path: &Path) -> PathBuf {
    with_suffix(path, "new")
}

/// A name beside the store's that no other file has: for one that gives way to another.
pub(super) fn free_name(path: &Path, suffix: &str) -> PathBuf {
    let first = with_suffix(path, suffix);
    let others = (2u32..).map(|number| with_suffix(path, &format!("{suffix}-{number}")));
    std::iter::once(first)
        .chain(others)
        .find(|path| fs::symlink_metadata(path).is_err())
        .expect("fewer than 2^32 stores were put aside")
}

/// Gives the new file the store's name, and the old one another that is free. Returns that.
pub(super) fn take_name_from(path: &Path, suffix: &str) -> Result<PathBuf, StoreError> {
    let moved_to = free_name(path, suffix);
    // The old one has two names until the new one takes the first. Without links there is a moment with none.
    fs::hard_link(path, &moved_to)
        .or_else(|_| fs::rename(path, &moved_to))
        .map_err(|source| StoreError::Build { path: path.to_path_buf(), source })?;
    take_name(path)?;
    Ok(moved_to)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a renaming last.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// The disk of a file that counts only once it is whole: it is synced once, at the end. Locked as a whole by the disk.
#[derive(Debug)]
struct SyncedAtLast<D>(D);

impl<D: Disk + 'static> StorageBackend for SyncedAtLast<D> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.0, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}
