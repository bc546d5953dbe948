//! Near pairs of photos, so that duplicates are found once; and what the user has told apart.
//!
//! Pairs can be found again from the embeddings. What was told apart cannot: it is kept by content, so that it outlives
//! the photo's numbers and every network.

use std::collections::HashSet;

use redb::ReadableTable;

use super::reader::Reader;
use super::record::{Compared, from_bytes, to_bytes};
use super::schema::{COMPARED, DISTINCT, PAIRS};
use super::{ModelRecord, Store, StoreError};
use crate::photo::{ContentHash, PhotoId};

impl Store {
    /// Adds near pairs, lower number first, and writes down which photos are compared by now.
    pub fn keep_pairs(
        &self,
        model: &ModelRecord,
        pairs: impl IntoIterator<Item = (PhotoId, PhotoId, f32)>,
        compared: &Compared,
    ) -> Result<(), StoreError> {
        let transaction = self.db.begin_write()?;
        {
            let mut table = transaction.open_table(PAIRS)?;
            for (first, second, distance) in pairs {
                table.insert((model.id, first.0, second.0), distance)?;
            }
            transaction.open_table(COMPARED)?.insert(model.id, to_bytes(compared)?.as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Forgets the pairs of a model: their limit is another now.
    pub fn drop_pairs(&self, model: &ModelRecord) -> Result<(), StoreError> {
        let transaction = self.db.begin_write()?;
        {
            let of_model = (model.id, 0, 0)..=(model.id, u64::MAX, u64::MAX);
            transaction.open_table(PAIRS)?.retain_in(of_model, |_, _| false)?;
            transaction.open_table(COMPARED)?.remove(model.id)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Tells each two of these contents apart, or takes that back.
    pub fn tell_apart(&self, contents: &[ContentHash], apart: bool) -> Result<(), StoreError> {
        let transaction = self.db.begin_write()?;
        {
            let mut table = transaction.open_table(DISTINCT)?;
            for (place, &one) in contents.iter().enumerate() {
                for &other in contents[place + 1..].iter().filter(|&&other| other != one) {
                    let key = (one.min(other).0, one.max(other).0);
                    if apart {
                        table.insert(key, ())?;
                    } else {
                        table.remove(key)?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Reader {
    /// Returns which photos' pairs are known; `None` where none are.
    pub fn compared(&self, model: &ModelRecord) -> Result<Option<Compared>, StoreError> {
        let row = self.transaction().open_table(COMPARED)?.get(model.id)?;
        row.map(|row| from_bytes(row.value(), "the list of compared photos")).transpose()
    }

    /// Visits the near pairs by their numbers.
    pub fn each_pair(
        &self,
        model: &ModelRecord,
        mut visit: impl FnMut(PhotoId, PhotoId, f32),
    ) -> Result<(), StoreError> {
        let of_model = (model.id, 0, 0)..=(model.id, u64::MAX, u64::MAX);
        for row in self.transaction().open_table(PAIRS)?.range(of_model)? {
            let (key, distance) = row?;
            let (_, first, second) = key.value();
            visit(PhotoId(first), PhotoId(second), distance.value());
        }
        Ok(())
    }

    /// Returns the pairs of photos that were told apart, lower number first. Contents that are gone are passed over.
    pub fn told_apart(&self) -> Result<HashSet<(PhotoId, PhotoId)>, StoreError> {
        let mut apart = HashSet::new();
        for row in self.transaction().open_table(DISTINCT)?.iter()? {
            let (one, other) = row?.0.value();
            let photos = (self.photo_with(ContentHash(one))?, self.photo_with(ContentHash(other))?);
            if let (Some(one), Some(other)) = photos {
                apart.insert((one.min(other), one.max(other)));
            }
        }
        Ok(apart)
    }
}
