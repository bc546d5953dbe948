//! The likeliest labels of photos, so that a start need not read every embedding.
//!
//! Like codes, they can be made again from the embeddings, and a row that is missing is. What is in a row is the words room's.

use redb::TableError;

use super::reader::Reader;
use super::schema::{LABELS, META};
use super::{ModelRecord, Store, StoreError};
use crate::photo::PhotoId;

/// Rows in one transaction: a few milliseconds.
const ROWS_AT_ONCE: usize = 5000;

impl Store {
    /// Drops the labels of photos where they are those of another classifier, and remembers this one by its fingerprint.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn labels_are_by(&self, model: &ModelRecord, classifier: u64) -> Result<(), StoreError> {
        let key = format!("classifier of model {}", model.id);
        let before = self.read()?.transaction().open_table(META)?.get(key.as_str())?.map(|row| row.value());
        if before == Some(classifier) {
            return Ok(());
        }
        let transaction = self.begin()?;
        {
            transaction.open_table(META)?.insert(key.as_str(), classifier)?;
            if before.is_some() {
                let mut labels = transaction.open_table(LABELS)?;
                labels.retain_in((model.id, 0)..=(model.id, u64::MAX), |_, _| false)?;
            }
        }
        self.finish(transaction)
    }

    /// Keeps the labels of photos, whatever was kept of them before.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
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
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
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
    fn labels_of_another_classifier_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let model = store.ensure_model(ModelDigest([1; 32]), "net", 2, Metric::L2).unwrap();
        let kept = || {
            let mut kept = 0;
            store.read().unwrap().each_label(&model, |_, _| kept += 1).unwrap();
            kept
        };
        store.keep_labels(&model, [(PhotoId(3), [3_u8])]).unwrap();
        // Nothing is known of who made those: the one that there was.
        for (classifier, expected) in [(17, 1), (17, 1), (18, 0)] {
            store.labels_are_by(&model, classifier).unwrap();
            assert_eq!(kept(), expected, "{classifier}");
        }
    }

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
