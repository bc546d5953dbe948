//! Dropping photos that no file has had for long.

use redb::ReadableTable;

use super::batch::Batch;
use super::record::PhotoRecord;
use super::rows::from_bytes;
use super::schema::{APPEARANCES, CANDIDATES, CODES, LABELS, META, META_PURGED, MODELS, PAIRS};
use super::vectors::{self, Row};
use super::{ModelRecord, StoreError};
use crate::photo::PhotoId;

/// Photos that one [`Write::PurgeOrphans`](super::Write::PurgeOrphans) drops at the most, so that its transaction stays small.
const PURGED_AT_ONCE: usize = 2000;

impl Batch<'_> {
    /// Drops up to [`PURGED_AT_ONCE`] photos, by their keys: what it takes grows with what is dropped, not with the store.
    ///
    /// Only the pairs that the photo makes with newer ones cannot be found that way. They do no harm, since no number is
    /// given twice and whoever reads pairs passes over photos that are gone; packing leaves them out.
    pub(super) fn purge_orphans(&mut self, before: i64) -> Result<(), StoreError> {
        let mut purged = Vec::new();
        for row in self.orphans.iter()? {
            let (photo, since) = row?;
            if since.value() < before {
                purged.push(photo.value());
            }
            if purged.len() == PURGED_AT_ONCE {
                break;
            }
        }
        if purged.is_empty() {
            return Ok(());
        }
        let mut models: Vec<ModelRecord> = Vec::new();
        for row in self.transaction.open_table(MODELS)?.iter()? {
            models.push(from_bytes(row?.1.value())?);
        }
        for &photo in &purged {
            let record = self.photos.remove(photo)?.map(|row| from_bytes::<PhotoRecord>(row.value()));
            if let Some(record) = record {
                self.contents.remove(record?.content.0)?;
            }
            self.orphans.remove(photo)?;
            self.transaction.open_table(APPEARANCES)?.remove(photo)?;
        }
        for model in &models {
            for &photo in &purged {
                self.remove_embedding(model, PhotoId(photo))?;
            }
            self.purge_codes(model, &purged)?;
            let mut labels = self.transaction.open_table(LABELS)?;
            for &photo in &purged {
                labels.remove((model.id, photo))?;
            }
            for table in [PAIRS, CANDIDATES] {
                let mut pairs = self.transaction.open_table(table)?;
                for &photo in &purged {
                    pairs.retain_in((model.id, photo, 0)..=(model.id, photo, u64::MAX), |_, _| false)?;
                }
            }
        }
        let mut meta = self.transaction.open_table(META)?;
        let so_far = meta.get(META_PURGED)?.map_or(0, |purged| purged.value());
        meta.insert(META_PURGED, so_far + purged.len() as u64)?;
        Ok(())
    }

    fn remove_embedding(&mut self, model: &ModelRecord, photo: PhotoId) -> Result<(), StoreError> {
        let dim = model.dim as usize;
        let (number, place) = vectors::place(photo, vectors::photos_in_row(dim));
        let rest = match self.vectors.get((model.id, number))? {
            Some(bytes) => {
                let row = Row::parse(bytes.value(), dim)?;
                if !row.has(place) {
                    return Ok(());
                }
                vectors::remove(&row, place)
            }
            None => return Ok(()),
        };
        match rest {
            Some(row) => drop(self.vectors.insert((model.id, number), row.as_slice())?),
            None => drop(self.vectors.remove((model.id, number))?),
        }
        Ok(())
    }

    /// Removes codes of every quantizer that there are any of: the one in force, and one that is just being written.
    fn purge_codes(&mut self, model: &ModelRecord, purged: &[u64]) -> Result<(), StoreError> {
        let mut codes = self.transaction.open_table(CODES)?;
        let mut from = 0;
        loop {
            let next =
                codes.range((model.id, from, 0)..=(model.id, u64::MAX, u64::MAX))?.next().transpose()?;
            let Some(version) = next.map(|(key, _)| key.value().1) else { return Ok(()) };
            for &photo in purged {
                codes.remove((model.id, version, photo))?;
            }
            let Some(after) = version.checked_add(1) else { return Ok(()) };
            from = after;
        }
    }
}
