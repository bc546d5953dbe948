//! Photos and their files: what stands in every answer.

use redb::{ReadOnlyMultimapTable, ReadOnlyTable};

use super::StoreError;
use super::reader::Reader;
use super::record::PhotoRecord;
use super::rows::from_bytes;
use super::schema::{FileKey, PHOTO_FILES, PHOTOS};
use crate::photo::{FileId, PhotoId, RelativePath, RootId};

/// The photos of a [`Reader`]'s view. Opening it takes about as long as looking two photos up.
pub struct Photos {
    photos: ReadOnlyTable<u64, &'static [u8]>,
    files: ReadOnlyMultimapTable<u64, FileKey>,
}

impl Reader {
    /// Opens the photos.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn photos(&self) -> Result<Photos, StoreError> {
        Ok(Photos {
            photos: self.transaction().open_table(PHOTOS)?,
            files: self.transaction().open_multimap_table(PHOTO_FILES)?,
        })
    }
}

impl Photos {
    /// Returns a photo, whether a file holds it or not.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn get(&self, photo: PhotoId) -> Result<Option<PhotoRecord>, StoreError> {
        self.photos.get(photo.0)?.map(|row| from_bytes(row.value())).transpose()
    }

    /// Returns the files that hold a photo, by root and path.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn files_of(&self, photo: PhotoId) -> Result<Vec<FileId>, StoreError> {
        let mut files = Vec::new();
        for row in self.files.get(photo.0)? {
            let row = row?;
            let (root, path) = row.value();
            files.push(FileId { root: RootId(root), path: RelativePath::from_bytes(path.to_vec()) });
        }
        Ok(files)
    }
}
