//! All pairs of photos within a distance: what duplicates are found from.
//!
//! New photos are compared with those that were compared before and with each other, a few hundred against a chunk of
//! codes at a time, so that all of it stays in the processor's cache. Three steps leave out only what is proved to
//! be farther: the prefilter on coarse codes, the whole code, the full vectors.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::prefilter::{PrefilterQuery, Tile, prefilter};
use crate::photo::{Metric, PhotoId};
use crate::search::code::{CoarseCode, Code, EncodedQuery, FineCode, Quantizer};
use crate::search::error::SearchError;
use crate::search::filter::PhotoSet;
use crate::search::index::{Rows, Snapshot};
use crate::search::kernels;
use crate::search::pool::in_background;
use crate::search::query::{Nearest, Neighbor, Options, Scorer};
use crate::search::rows::{Chunk, CodeRows};

/// Pairs that a photo keeps with those compared before it: the nearest. A day of a camera that takes a picture every
/// second would otherwise have more pairs than the library has photos.
pub const MOST_A_PHOTO: usize = 256;

/// New photos that a chunk is compared with at a time: what is known of both stays in a cache of a megabyte or two.
const QUERIES_AT_ONCE: usize = 512;

/// Two photos and their distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The one with the lower id.
    pub first: PhotoId,
    /// The other.
    pub second: PhotoId,
    /// In the metric that was asked for.
    pub distance: f32,
}

impl Pair {
    /// Orders by distance, then by ids.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.distance
            .total_cmp(&other.distance)
            .then((self.first, self.second).cmp(&(other.first, other.second)))
    }
}

impl Snapshot {
    /// Returns the pairs of a photo of `new` and one of `known` or of `new` that are at most `limit` apart, by ascending
    /// ids; for each photo the nearest [`MOST_A_PHOTO`], of those within `new` counted at the one with the higher id.
    /// Works on threads of the caller's priority.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`] and [`SearchError::Cancelled`].
    pub fn pairs_of(
        &self,
        new: &PhotoSet,
        known: &PhotoSet,
        limit: f32,
        metric: Metric,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Pair>, SearchError> {
        let mut options = Options::new(MOST_A_PHOTO, metric);
        options.max_distance = Some(limit);
        options.cancelled = Some(cancelled);
        let meant = Meant { new, known };
        let queries = self.queries(new, metric)?;
        let parts = match &self.rows {
            Rows::Full(_) => vec![self.pairs_of_full(&queries, &options, meant)?],
            Rows::Coded(quantizer, rows) => {
                self.pairs_of_coded(quantizer, rows, &queries, &options, meant)?
            }
        };
        let mut nearest: BTreeMap<usize, Nearest> = BTreeMap::new();
        for (query, part) in parts.into_iter().flatten() {
            match nearest.entry(query) {
                Entry::Vacant(entry) => _ = entry.insert(part),
                Entry::Occupied(mut entry) => entry.get_mut().absorb(part),
            }
        }
        let mut pairs = Vec::new();
        for (query, nearest) in nearest {
            let id = queries[query].id;
            pairs.extend(nearest.into_sorted().into_iter().map(|Neighbor { id: other, distance }| Pair {
                first: id.min(other),
                second: id.max(other),
                distance,
            }));
        }
        pairs.sort_unstable_by_key(|pair| (pair.first, pair.second));
        Ok(pairs)
    }

    /// Returns the distances of some pairs, which ascend, lower number first. Those of which a photo has gone are left out.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`] and [`SearchError::Cancelled`].
    pub fn distances(
        &self,
        pairs: &[(PhotoId, PhotoId)],
        metric: Metric,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Pair>, SearchError> {
        let mut measured = Vec::with_capacity(pairs.len());
        for of_first in pairs.chunk_by(|one, other| one.0 == other.0) {
            if cancelled() {
                return Err(SearchError::Cancelled);
            }
            let first = of_first[0].0;
            let mut scorer = None;
            self.fetch(&[first], &mut |_, vector| scorer = Some(Scorer::new(vector, self.dim, metric)))?;
            let Some(scorer) = scorer.transpose()? else { continue };
            let others: Vec<PhotoId> = of_first.iter().map(|(_, second)| *second).collect();
            self.fetch(&others, &mut |second, vector| {
                let inverse_norm = kernels::inverse_norm(kernels::norm(vector).unwrap_or(0.0));
                let mut distance = [0.0];
                scorer.distances(vector, &[inverse_norm], &mut distance);
                measured.push(Pair { first, second, distance: distance[0] });
            })?;
        }
        Ok(measured)
    }

    fn queries(&self, new: &PhotoSet, metric: Metric) -> Result<Vec<Query>, SearchError> {
        let ids: Vec<PhotoId> = new.iter().filter(|&id| self.contains(id)).collect();
        let mut queries = Vec::with_capacity(ids.len());
        // A photo without a vector was removed after the snapshot had been taken.
        self.fetch(&ids, &mut |id, vector| queries.push((id, Scorer::new(vector, self.dim, metric))))?;
        queries.into_iter().map(|(id, scorer)| Ok(Query { id, scorer: scorer? })).collect()
    }

    fn pairs_of_full(
        &self,
        queries: &[Query],
        options: &Options<'_>,
        meant: Meant<'_>,
    ) -> Result<Near, SearchError> {
        let mut near = Near::new();
        options.check_cancelled()?;
        self.fetch(&self.ids_after(None), &mut |other, vector| {
            let of_other = (0..queries.len()).filter(|&query| meant.as_pair(queries[query].id, other));
            offer(&mut near, queries, of_other, other, vector, options);
        })?;
        Ok(near)
    }

    fn pairs_of_coded(
        &self,
        quantizer: &Quantizer,
        rows: &CodeRows,
        queries: &[Query],
        options: &Options<'_>,
        meant: Meant<'_>,
    ) -> Result<Vec<Near>, SearchError> {
        let limit = options.limit();
        let (mut prefilter_queries, mut encoded) = (Vec::new(), Vec::new());
        for (place, query) in queries.iter().enumerate() {
            let Some((coarse, fine)) = rows.get(query.id) else { continue };
            let code = Code { coarse: coarse[0], fine };
            prefilter_queries.push(PrefilterQuery::new(&code.coarse, quantizer, limit, options.metric));
            encoded.push((place, EncodedQuery::from_code(quantizer, code, options.metric)));
        }
        // While a library is compared for the first time, half of it is yet to come.
        let is_meant =
            |chunk: &&Arc<Chunk<CoarseCode, FineCode>>| chunk.ids().iter().any(|&id| meant.contains(id));
        let chunks: Vec<_> = rows.chunks().iter().filter(is_meant).collect();
        in_background(chunks.len(), |next| {
            let (mut near, mut candidates, mut passed) = (Near::new(), Vec::new(), Vec::new());
            while let Some(place) = next() {
                options.check_cancelled()?;
                let chunk = &chunks[place];
                candidates.clear();
                let tiles = Tile::all_of(chunk.values(), quantizer);
                let pieces = prefilter_queries.chunks(QUERIES_AT_ONCE).zip(encoded.chunks(QUERIES_AT_ONCE));
                for (prefilter_queries, encoded) in pieces {
                    passed.clear();
                    prefilter(prefilter_queries, &tiles, &mut passed);
                    for &(one, row) in passed.iter().filter(|(_, row)| *row < chunk.ids().len()) {
                        let (query, encoded) = &encoded[one];
                        let (id, other) = (queries[*query].id, chunk.ids()[row]);
                        let (coarse, fine) = (&chunk.values()[row], &chunk.notes()[row]);
                        if meant.as_pair(id, other) && encoded.may_be_within(limit, coarse, fine) {
                            candidates.push((other, *query));
                        }
                    }
                }
                // Each full vector is read once, however many photos it may be near.
                candidates.sort_unstable();
                let mut others: Vec<PhotoId> = candidates.iter().map(|(other, _)| *other).collect();
                others.dedup();
                self.fetch(&others, &mut |other, vector| {
                    let start = candidates.partition_point(|(id, _)| *id < other);
                    let of_other = candidates[start..].iter().take_while(|(id, _)| *id == other);
                    offer(&mut near, queries, of_other.map(|(_, query)| *query), other, vector, options);
                })?;
            }
            Ok(near)
        })
    }
}

/// Which photos are compared.
#[derive(Clone, Copy)]
struct Meant<'a> {
    new: &'a PhotoSet,
    known: &'a PhotoSet,
}

impl Meant<'_> {
    /// Returns whether a new photo is compared with this one; two new ones are compared once.
    fn as_pair(self, id: PhotoId, other: PhotoId) -> bool {
        if self.new.contains(other) { other < id } else { self.known.contains(other) }
    }

    /// Returns whether any is compared with it.
    fn contains(self, other: PhotoId) -> bool {
        self.known.contains(other) || self.new.contains(other)
    }
}

/// A new photo, ready to be compared.
struct Query {
    id: PhotoId,
    scorer: Scorer,
}

/// The nearest of those queries that have any, by their places.
type Near = HashMap<usize, Nearest>;

/// Compares a full vector with some queries.
fn offer(
    near: &mut Near,
    queries: &[Query],
    of_other: impl Iterator<Item = usize>,
    other: PhotoId,
    vector: &[f32],
    options: &Options<'_>,
) {
    let inverse_norm = kernels::inverse_norm(kernels::norm(vector).unwrap_or(0.0));
    for query in of_other {
        if let Some(distance) = queries[query].scorer.distance_within(vector, inverse_norm, options.limit()) {
            let nearest = near.entry(query).or_insert_with(|| Nearest::new(options.k, options.limit()));
            nearest.offer(Neighbor { id: other, distance });
        }
    }
}
