//! Near pairs of photos, so that duplicates are found once; and what the user has told apart.
//!
//! Comparing photos by the network makes candidates; looking at both side by side makes pairs of them, or nothing. What
//! looks the same as a whole is a pair at once. All of it can be found again from the embeddings and the photos. What was told
//! apart cannot: it is kept by content, so that it outlives the photo's numbers and every network.

use std::collections::HashSet;
use std::ops::Bound;

use redb::ReadableTable;

use super::decisions::Decision;
use super::reader::Reader;
use super::record::{Compared, NearPair, PairRecord, Standing};
use super::rows::{from_bytes, to_bytes};
use super::schema::{CANDIDATES, COMPARED, DISTINCT, PAIRS};
use super::{ModelRecord, Store, StoreError};
use crate::photo::{ContentHash, PhotoId};

/// Key of a pair: model, higher and lower number.
type PairKey = (u32, u64, u64);

/// All pairs of a model.
fn of_model(model: &ModelRecord) -> std::ops::RangeInclusive<PairKey> {
    (model.id, 0, 0)..=(model.id, u64::MAX, u64::MAX)
}

fn key(model: &ModelRecord, first: PhotoId, second: PhotoId) -> PairKey {
    (model.id, second.0, first.0)
}

fn pair((_, second, first): PairKey, record: &[u8]) -> Result<NearPair, StoreError> {
    Ok(NearPair { first: PhotoId(first), second: PhotoId(second), record: from_bytes(record)? })
}

impl Store {
    /// Adds pairs and candidates, lower number first, and writes down which photos are compared by now. A pair that is known is
    /// no candidate again.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn keep_pairs(
        &self,
        model: &ModelRecord,
        pairs: impl IntoIterator<Item = NearPair>,
        compared: &Compared,
    ) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            let mut known = transaction.open_table(PAIRS)?;
            let mut candidates = transaction.open_table(CANDIDATES)?;
            for NearPair { first, second, record } in pairs {
                let (key, row) = (key(model, first, second), to_bytes(&record)?);
                match record.standing {
                    Standing::Candidate(_) if known.get(key)?.is_some() => {}
                    Standing::Candidate(_) => _ = candidates.insert(key, row.as_slice())?,
                    Standing::LooksSame | Standing::Seen(_) => {
                        known.insert(key, row.as_slice())?;
                        candidates.remove(key)?;
                    }
                }
            }
            transaction.open_table(COMPARED)?.insert(model.id, to_bytes(compared)?.as_slice())?;
        }
        self.finish(transaction)
    }

    /// Writes down what became of candidates: pairs, or nothing.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn decide_pairs(
        &self,
        model: &ModelRecord,
        decided: impl IntoIterator<Item = (NearPair, Option<Standing>)>,
    ) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            let mut known = transaction.open_table(PAIRS)?;
            let mut candidates = transaction.open_table(CANDIDATES)?;
            for (NearPair { first, second, record }, standing) in decided {
                let key = key(model, first, second);
                // Dropped meanwhile, or never one: then it is not decided either.
                if candidates.remove(key)?.is_some()
                    && let Some(standing) = standing
                {
                    known.insert(key, to_bytes(&PairRecord { standing, ..record })?.as_slice())?;
                }
            }
        }
        self.finish(transaction)
    }

    /// Forgets the pairs of a model: what is near is another thing now.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
    pub fn drop_pairs(&self, model: &ModelRecord) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        {
            transaction.open_table(PAIRS)?.retain_in(of_model(model), |_, _| false)?;
            transaction.open_table(CANDIDATES)?.retain_in(of_model(model), |_, _| false)?;
            transaction.open_table(COMPARED)?.remove(model.id)?;
        }
        self.finish(transaction)
    }

    /// Tells each two of these contents apart, or takes that back.
    ///
    /// # Errors
    /// The store cannot be written: then nothing of it is kept.
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
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn compared(&self, model: &ModelRecord) -> Result<Option<Compared>, StoreError> {
        let Some(table) = self.table(COMPARED)? else { return Ok(None) };
        table.get(model.id)?.map(|row| from_bytes(row.value())).transpose()
    }

    /// Visits the pairs, then the candidates, each in the order of the higher number.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn each_pair(&self, model: &ModelRecord, mut visit: impl FnMut(NearPair)) -> Result<(), StoreError> {
        for table in [PAIRS, CANDIDATES] {
            let Some(table) = self.table(table)? else { continue };
            for row in table.range(of_model(model))? {
                let (key, record) = row?;
                visit(pair(key.value(), record.value())?);
            }
        }
        Ok(())
    }

    /// Returns what is known of two photos, in whichever order they are given.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn pair(
        &self,
        model: &ModelRecord,
        one: PhotoId,
        other: PhotoId,
    ) -> Result<Option<NearPair>, StoreError> {
        let key = key(model, one.min(other), one.max(other));
        for table in [PAIRS, CANDIDATES] {
            let Some(table) = self.table(table)? else { continue };
            if let Some(record) = table.get(key)? {
                return pair(key, record.value()).map(Some);
            }
        }
        Ok(None)
    }

    /// Returns up to `most` candidates that come after one, in the order of the higher number, then of the lower one.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn candidates(
        &self,
        model: &ModelRecord,
        after: Option<&NearPair>,
        most: usize,
    ) -> Result<Vec<NearPair>, StoreError> {
        let Some(table) = self.table(CANDIDATES)? else { return Ok(Vec::new()) };
        let all = of_model(model);
        let start = match after {
            Some(after) => Bound::Excluded(key(model, after.first, after.second)),
            None => Bound::Included(*all.start()),
        };
        let rows = table.range::<PairKey>((start, Bound::Included(*all.end())))?.take(most);
        rows.map(|row| row.map_err(StoreError::from).and_then(|(key, row)| pair(key.value(), row.value())))
            .collect()
    }

    /// Returns the pairs of photos that were told apart, lower number first. Contents that are gone are passed over.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
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
    use crate::store::{NearRule, Reach, Seen};
    use crate::verify::Verdict;

    const EDIT: Standing = Standing::Seen(Seen {
        verdict: Verdict::Edit,
        probability: 1.0,
        shared: [0.2, 1.0],
        quarter_turns: 0,
    });

    fn near(first: u64, second: u64, distance: f32, standing: Standing) -> NearPair {
        let record = PairRecord { distance, standing };
        NearPair { first: PhotoId(first), second: PhotoId(second), record }
    }

    fn compared(photos: u64) -> Compared {
        let reach = Reach { distance: 0.5, share: 1.0 };
        let rule = NearRule { candidates: reach, near: reach, judge: 1 };
        Compared { rule, photos, runs: vec![(PhotoId(1), PhotoId(photos))] }
    }

    fn pairs(store: &Store, model: &ModelRecord) -> Vec<NearPair> {
        let mut pairs = Vec::new();
        store.read().unwrap().each_pair(model, |pair| pairs.push(pair)).unwrap();
        pairs
    }

    #[test]
    fn pairs_belong_to_a_model_and_go_with_its_rule() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let [one, other] =
            [1, 2].map(|n| store.ensure_model(ModelDigest([n; 32]), "net", 2, Metric::L2).unwrap());
        assert_eq!(store.read().unwrap().compared(&one).unwrap(), None);
        let a = near(1, 3, 0.25, Standing::LooksSame);
        let b = near(1, 4, 0.125, Standing::Candidate(0.5));
        let c = near(1, 2, 0.5, Standing::LooksSame);
        store.keep_pairs(&one, [a], &compared(3)).unwrap();
        store.keep_pairs(&other, [c], &compared(3)).unwrap();
        store.keep_pairs(&one, [b], &compared(4)).unwrap();
        assert_eq!(pairs(&store, &one), [a, b]);
        let reader = store.read().unwrap();
        assert_eq!(reader.compared(&one).unwrap(), Some(compared(4)));
        assert_eq!(reader.pair(&one, PhotoId(4), PhotoId(1)).unwrap(), Some(b));
        assert_eq!(reader.pair(&one, PhotoId(4), PhotoId(3)).unwrap(), None);
        store.drop_pairs(&one).unwrap();
        assert_eq!(pairs(&store, &one), []);
        assert_eq!(store.read().unwrap().compared(&one).unwrap(), None);
        assert_eq!(pairs(&store, &other), [c]);
    }

    #[test]
    fn a_candidate_becomes_a_pair_or_nothing_and_none_twice() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store.redb")).unwrap();
        let model = store.ensure_model(ModelDigest([1; 32]), "net", 2, Metric::L2).unwrap();
        let candidates: Vec<NearPair> =
            (2..7).map(|second| near(1, second, 0.25, Standing::Candidate(0.5))).collect();
        store.keep_pairs(&model, candidates.iter().copied(), &compared(6)).unwrap();
        let waiting = |after, most| store.read().unwrap().candidates(&model, after, most).unwrap();
        assert_eq!(waiting(None, 2), candidates[..2]);
        assert_eq!(waiting(Some(&candidates[1]), 9), candidates[2..]);

        let unknown = near(3, 9, 0.25, Standing::Candidate(0.5));
        let decided = [(candidates[0], Some(EDIT)), (candidates[1], None), (unknown, Some(EDIT))];
        store.decide_pairs(&model, decided).unwrap();
        let edit = near(1, 2, 0.25, EDIT);
        assert_eq!(pairs(&store, &model), [&[edit], &candidates[2..]].concat());
        // Its file went and came back.
        store.keep_pairs(&model, [candidates[0]], &compared(6)).unwrap();
        // What it looks like became known meanwhile.
        let same = near(1, 4, 0.25, Standing::LooksSame);
        store.keep_pairs(&model, [same], &compared(6)).unwrap();
        assert_eq!(pairs(&store, &model), [&[edit, same], &candidates[3..]].concat());
    }
}
