//! What photos look like, for all networks alike.
//!
//! Written together with the first embedding. Photos that were indexed before there was any have none until they were
//! decoded for it; of those, nothing is said to be the same picture.

use redb::{ReadOnlyTable, TableError};

use super::StoreError;
use super::reader::Reader;
use super::rows::from_bytes;
use super::schema::APPEARANCES;
use crate::appearance::Appearance;
use crate::photo::PhotoId;

/// The appearances of a [`Reader`]'s view.
pub struct Appearances(Option<ReadOnlyTable<u64, &'static [u8]>>);

impl Reader {
    /// Opens the appearances.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn appearances(&self) -> Result<Appearances, StoreError> {
        match self.transaction().open_table(APPEARANCES) {
            Ok(table) => Ok(Appearances(Some(table))),
            // A file that was made before there were any.
            Err(TableError::TableDoesNotExist(_)) => Ok(Appearances(None)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Appearances {
    /// Returns what a photo looks like; `None` where that is not known yet.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn get(&self, photo: PhotoId) -> Result<Option<Appearance>, StoreError> {
        let Some(table) = &self.0 else { return Ok(None) };
        table.get(photo.0)?.map(|row| from_bytes(row.value())).transpose()
    }

    /// Returns whether it is known.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn has(&self, photo: PhotoId) -> Result<bool, StoreError> {
        let Some(table) = &self.0 else { return Ok(false) };
        Ok(table.get(photo.0)?.is_some())
    }

    /// Visits all of them, by number of the photo. Some may have no file any more.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn each(&self, mut visit: impl FnMut(PhotoId, Appearance)) -> Result<(), StoreError> {
        let Some(table) = &self.0 else { return Ok(()) };
        for row in table.range::<u64>(..)? {
            let (photo, row) = row?;
            visit(PhotoId(photo.value()), from_bytes(row.value())?);
        }
        Ok(())
    }
}
