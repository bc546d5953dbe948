//! The likeliest labels of photos, so that a start need not read every embedding.
//!
//! Like codes, they can be made again from the embeddings, and a row that is missing is. What is in a row is the words room's.

use redb::TableError;

use super::reader::Reader;
use super::schema::LABELS;
use super::{ModelRecord, Store, StoreError};
use crate::photo::PhotoId;

/// Rows in one transaction: a few milliseconds.
const ROWS_AT_ONCE: usize = 5000;

impl Store {
    /// Keeps the labels of photos, whatever was kept of them before.
    pub fn keep_labels<B: AsRef<[u8]>>(
        &self,
        model: &ModelRecord,
        rows: impl IntoIterator<Item = (PhotoId, B)>,
    ) -> Result<(), StoreError> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let transaction = self.begin()?;
            {
                let mut table = transaction.open_table(LABELS)?;
                for (photo, labels) in rows.by_ref().take(ROWS_AT_ONCE) {
                    table.insert((model.id, photo.0), labels.as_ref())?;
                }
            }
            self.finish(transaction)?;
        }
        Ok(())
    }
}

impl Reader {
    /// Visits the photos of which labels are kept, by number. Some may have no file any more.
    pub fn each_label(
        &self,
        model: &ModelRecord,
        mut visit: impl FnMut(PhotoId, &[u8]),
    ) -> Result<(), StoreError> {
        let table = match self.transaction().open_table(LABELS) {
            // A file that was made before there were words.
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            table => table?,
        };
        for row in table.range((model.id, 0)..=(model.id, u64::MAX))? {
            let (key, labels) = row?;
            visit(PhotoId(key.value().1), labels.value());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{Metric, ModelDigest};

    #[test]
    fn labels_are_kept_for_each_network() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let [one, other] =
            [1, 2].map(|number| store.ensure_model(ModelDigest([number; 32]), "net", 2, Metric::L2).unwrap());
        let found = |model: &ModelRecord| {
            let mut found = Vec::new();
            store
                .read()
                .unwrap()
                .each_label(model, |photo, row| found.push((photo.0, row.to_vec())))
                .unwrap();
            found
        };
        assert_eq!(found(&one), []);
        store.keep_labels(&one, (0..6000).map(|photo| (PhotoId(photo), [1_u8]))).unwrap();
        store.keep_labels(&other, [(PhotoId(3), [3_u8])]).unwrap();
        store.keep_labels(&one, [(PhotoId(7), [2_u8])]).unwrap();
        assert_eq!(found(&other), [(3, vec![3])]);
        let rows = found(&one);
        assert_eq!((rows.len(), &rows[7], &rows[8]), (6000, &(7, vec![2]), &(8, vec![1])));
    }
}
