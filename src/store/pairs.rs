//! Near pairs of photos, so that duplicates are found once; and what the user has told apart.
//!
//! Pairs can be found again from the embeddings. What was told apart cannot: it is kept by content, so that it outlives
//! the photo's numbers and every network.

use std::collections::HashSet;

use redb::ReadableTable;

use super::decisions::Decision;
use super::reader::Reader;
use super::record::Compared;
use super::rows::{from_bytes, to_bytes};
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
        let transaction = self.begin()?;
        {
            let mut table = transaction.open_table(PAIRS)?;
            for (first, second, distance) in pairs {
                table.insert((model.id, second.0, first.0), distance)?;
            }
            transaction.open_table(COMPARED)?.insert(model.id, to_bytes(compared)?.as_slice())?;
        }
        self.finish(transaction)
    }

    /// Forgets the pairs of a model: what is near is another thing now.
    pub fn drop_pairs(&self, model: &ModelRecord) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            let of_model = (model.id, 0, 0)..=(model.id, u64::MAX, u64::MAX);
            transaction.open_table(PAIRS)?.retain_in(of_model, |_, _| false)?;
            transaction.open_table(COMPARED)?.remove(model.id)?;
        }
        self.finish(transaction)
    }

    /// Tells each two of these contents apart, or takes that back.
    pub fn tell_apart(&self, contents: &[ContentHash], apart: bool) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        let mut decisions = Vec::new();
        {
            let mut table = transaction.open_table(DISTINCT)?;
            for (place, &one) in contents.iter().enumerate() {
                for &other in contents[place + 1..].iter().filter(|&&other| other != one) {
                    let (one, other) = (one.min(other), one.max(other));
                    if apart {
                        table.insert((one.0, other.0), ())?;
                    } else {
                        table.remove((one.0, other.0))?;
                    }
                    decisions.push(Decision::Apart { one, other, is_apart: apart });
                }
            }
        }
        self.finish(transaction)?;
        self.decisions.note(&decisions);
        Ok(())
    }
}

impl Reader {
    /// Returns which photos' pairs are known; `None` where none are.
    pub fn compared(&self, model: &ModelRecord) -> Result<Option<Compared>, StoreError> {
        let row = self.transaction().open_table(COMPARED)?.get(model.id)?;
        row.map(|row| from_bytes(row.value())).transpose()
    }

    /// Visits the near pairs, lower number first, in the order of the higher.
    pub fn each_pair(
        &self,
        model: &ModelRecord,
        mut visit: impl FnMut(PhotoId, PhotoId, f32),
    ) -> Result<(), StoreError> {
        let of_model = (model.id, 0, 0)..=(model.id, u64::MAX, u64::MAX);
        for row in self.transaction().open_table(PAIRS)?.range(of_model)? {
            let (key, distance) = row?;
            let (_, second, first) = key.value();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{Metric, ModelDigest};
    use crate::store::NearRule;

    #[test]
    fn pairs_belong_to_a_model_and_go_with_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let [one, other] =
            [1, 2].map(|n| store.ensure_model(ModelDigest([n; 32]), "net", 2, Metric::L2).unwrap());
        let pairs = |model| {
            let mut pairs = Vec::new();
            store
                .read()
                .unwrap()
                .each_pair(model, |a, b, distance| pairs.push((a.0, b.0, distance)))
                .unwrap();
            pairs
        };
        assert_eq!(store.read().unwrap().compared(&one).unwrap(), None);
        let compared = Compared {
            rule: NearRule { distance: 0.5, share: 1.0 },
            photos: 3,
            runs: vec![(PhotoId(1), PhotoId(3))],
        };
        store.keep_pairs(&one, [(PhotoId(1), PhotoId(3), 0.25)], &compared).unwrap();
        store.keep_pairs(&other, [(PhotoId(1), PhotoId(2), 0.5)], &compared).unwrap();
        let more = Compared {
            rule: NearRule { distance: 0.5, share: 1.0 },
            photos: 3,
            runs: vec![(PhotoId(1), PhotoId(4))],
        };
        store.keep_pairs(&one, [(PhotoId(1), PhotoId(4), 0.125)], &more).unwrap();
        assert_eq!(pairs(&one), [(1, 3, 0.25), (1, 4, 0.125)]);
        assert_eq!(store.read().unwrap().compared(&one).unwrap(), Some(more));
        store.drop_pairs(&one).unwrap();
        assert_eq!(pairs(&one), []);
        assert_eq!(store.read().unwrap().compared(&one).unwrap(), None);
        assert_eq!(pairs(&other), [(1, 2, 0.5)]);
    }
}
