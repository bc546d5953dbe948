//! The codes of the search, so that a start need not read every embedding.
//!
//! All of it can be made again from the embeddings. Rows carry the version of their quantizer; those of a new quantizer are
//! written beside the old ones, in batches that let the writer of photos in between, and count from the moment
//! the quantizer itself is written. A kill before that leaves the old ones in force.

use redb::ReadableTable;

use super::reader::Reader;
use super::schema::{CODES, ORPHANS, PHOTOS, QUANTIZERS};
use super::{ModelRecord, Store, StoreError};
use crate::photo::PhotoId;

/// Rows in one transaction: a few milliseconds.
const ROWS_AT_ONCE: usize = 5000;

impl Store {
    /// Keeps codes of the quantizer `version`, beside those that are there.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn keep_codes<S: AsRef<[u8]>>(
        &self,
        model: &ModelRecord,
        version: u64,
        codes: impl IntoIterator<Item = (PhotoId, S)>,
    ) -> Result<(), StoreError> {
        let mut codes = codes.into_iter().peekable();
        while codes.peek().is_some() {
            let transaction = self.begin()?;
            {
                let mut table = transaction.open_table(CODES)?;
                for (photo, code) in codes.by_ref().take(ROWS_AT_ONCE) {
                    table.insert((model.id, version, photo.0), code.as_ref())?;
                }
            }
            self.finish(transaction)?;
        }
        Ok(())
    }

    /// Puts a quantizer in force, and drops the codes of all others of the model.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn keep_quantizer(
        &self,
        model: &ModelRecord,
        version: u64,
        quantizer: &[u8],
    ) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            transaction.open_table(QUANTIZERS)?.insert(model.id, (version, quantizer))?;
            let mut codes = transaction.open_table(CODES)?;
            let of_model = (model.id, 0, 0)..=(model.id, u64::MAX, u64::MAX);
            codes.retain_in(of_model, |(_, found, _), _| found == version)?;
        }
        self.finish(transaction)
    }
}

impl Reader {
    /// Returns the quantizer in force and its version.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn quantizer(&self, model: &ModelRecord) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let row = self.transaction().open_table(QUANTIZERS)?.get(model.id)?;
        Ok(row.map(|row| (row.value().0, row.value().1.to_vec())))
    }

    /// Visits the photos that have a file, by number, each with its code of the quantizer `version`, or none. Of those
    /// without, some may have no embedding of the model.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn each_code(
        &self,
        model: &ModelRecord,
        version: u64,
        mut visit: impl FnMut(PhotoId, Option<&[u8]>),
    ) -> Result<(), StoreError> {
        let transaction = self.transaction();
        let orphans = transaction.open_table(ORPHANS)?;
        let codes = transaction.open_table(CODES)?;
        let mut codes = codes.range((model.id, version, 0)..=(model.id, version, u64::MAX))?;
        let mut next = codes.next().transpose()?;
        // Both tables are sorted by photo, so one pass joins them.
        for row in transaction.open_table(PHOTOS)?.iter()? {
            let photo = row?.0.value();
            while next.as_ref().is_some_and(|(key, _)| key.value().2 < photo) {
                next = codes.next().transpose()?;
            }
            if orphans.get(photo)?.is_none() {
                let code = next.as_ref().filter(|(key, _)| key.value().2 == photo);
                visit(PhotoId(photo), code.map(|(_, code)| code.value()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Format, PhotoInfo};
    use crate::photo::{ContentHash, Embedding, FileId, Fingerprint, Metric, ModelDigest, RelativePath};
    use crate::store::{PhotoRecord, Write};

    #[test]
    fn a_quantizer_takes_its_codes_into_force() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let model = store.ensure_model(ModelDigest([1; 32]), "net", 2, Metric::L2).unwrap();
        let found = |version: u64| {
            let mut found = Vec::new();
            let visit = |photo: PhotoId, code: Option<&[u8]>| found.push((photo.0, code.map(<[u8]>::to_vec)));
            store.read().unwrap().each_code(&model, version, visit).unwrap();
            found
        };
        let root = store.add_root(directory.path(), true).unwrap();
        let info = PhotoInfo {
            width: 1,
            height: 1,
            format: Format::Png,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        };
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            let photo =
                PhotoRecord { content: ContentHash::of(name.as_bytes()), size_bytes: 1, info: info.clone() };
            let file = FileId { root, path: RelativePath::from_bytes(name.as_bytes().to_vec()) };
            let fingerprint = Fingerprint { len: 1, modified_ns: 0, changed_ns: 0, inode: 0 };
            let write = Write::Encoded {
                file,
                fingerprint,
                photo,
                embedding: Embedding(vec![1.0, 2.0]),
                appearance: None,
                former: None,
            };
            ids.extend(store.commit(&model, &[write], 0).unwrap().added.into_iter().map(|(photo, _)| photo));
        }
        let [a, b, c] = [ids[0], ids[1], ids[2]];
        assert_eq!(store.read().unwrap().quantizer(&model).unwrap(), None);
        assert_eq!(found(7), [(a.0, None), (b.0, None), (c.0, None)]);

        store.keep_codes(&model, 7, [(a, [1u8]), (c, [3u8])]).unwrap();
        store.keep_quantizer(&model, 7, b"seven").unwrap();
        store.keep_codes(&model, 9, [(a, [10u8]), (b, [20u8])]).unwrap();
        assert_eq!(store.read().unwrap().quantizer(&model).unwrap(), Some((7, b"seven".to_vec())));
        assert_eq!(found(7), [(a.0, Some(vec![1])), (b.0, None), (c.0, Some(vec![3]))]);

        store.keep_quantizer(&model, 9, b"nine").unwrap();
        assert_eq!(found(7), [(a.0, None), (b.0, None), (c.0, None)]);
        assert_eq!(found(9), [(a.0, Some(vec![10])), (b.0, Some(vec![20])), (c.0, None)]);
        let mut read = Vec::new();
        let mut visit = |photo, values: &[f32]| read.push((photo, values.to_vec()));
        store.read().unwrap().embeddings(&model, &[b, PhotoId(999)], &mut visit).unwrap();
        assert_eq!(read, [(b, vec![1.0, 2.0])]);
    }
}
