//! All pairs of photos within a distance: what duplicates are found from.
//!
//! New photos are compared with those that were compared before and with each other, a few hundred against a chunk of
//! sketches at a time, so that all of it stays in the processor's cache. Three steps leave out only what is proved to
//! be farther: the leading components, the whole sketch, the full vectors.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::basis::Basis;
use super::chunks::Chunk;
use super::error::SearchError;
use super::estimate::Target;
use super::index::{Rows, Snapshot};
use super::kernels;
use super::nearest::{Nearest, Neighbor};
use super::photo_set::PhotoSet;
use super::pool::in_background;
use super::probe::Probe;
use super::scan::Options;
use super::sieve::{Sought, Tile, sift};
use super::sketch::{Lead, Rest, Sketch};
use super::two_stage::SketchRows;
use crate::photo::{Metric, PhotoId};

/// Pairs that a photo keeps with those compared before it: the nearest. A day of a camera that takes a picture every
/// second would otherwise have more pairs than the library has photos.
pub const MOST_A_PHOTO: usize = 256;

/// New photos that a chunk is compared with at a time: what is known of both stays in a cache of a megabyte or two.
const SOUGHT_AT_ONCE: usize = 512;

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
            Rows::Full(_) => vec![self.pairs_of_whole(&queries, &options, meant)?],
            Rows::Sketched(basis, rows) => self.pairs_of_sketched(basis, rows, &queries, &options, meant)?,
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

    fn queries(&self, new: &PhotoSet, metric: Metric) -> Result<Vec<Query>, SearchError> {
        let ids: Vec<PhotoId> = new.iter().filter(|&id| self.contains(id)).collect();
        let mut queries = Vec::with_capacity(ids.len());
        // A photo without a vector was removed after the snapshot had been taken.
        self.fetch(&ids, &mut |id, vector| queries.push((id, Probe::new(vector, self.dim, metric))))?;
        queries.into_iter().map(|(id, probe)| Ok(Query { id, probe: probe? })).collect()
    }

    fn pairs_of_whole(
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

    fn pairs_of_sketched(
        &self,
        basis: &Basis,
        rows: &SketchRows,
        queries: &[Query],
        options: &Options<'_>,
        meant: Meant<'_>,
    ) -> Result<Vec<Near>, SearchError> {
        let limit = options.limit();
        let (mut sought, mut targets) = (Vec::new(), Vec::new());
        for (place, query) in queries.iter().enumerate() {
            let Some((lead, rest)) = rows.get(query.id) else { continue };
            let sketch = Sketch { lead: lead[0], rest };
            sought.push(Sought::new(&sketch.lead, basis, limit, options.metric));
            targets.push((place, Target::of(basis, sketch, options.metric)));
        }
        // While a library is compared for the first time, half of it is yet to come.
        let is_meant = |chunk: &&Arc<Chunk<Lead, Rest>>| chunk.ids().iter().any(|&id| meant.contains(id));
        let chunks: Vec<_> = rows.chunks().iter().filter(is_meant).collect();
        in_background(chunks.len(), |next| {
            let (mut near, mut candidates, mut passed) = (Near::new(), Vec::new(), Vec::new());
            while let Some(place) = next() {
                options.check_cancelled()?;
                let chunk = &chunks[place];
                candidates.clear();
                let tiles = Tile::all_of(chunk.values(), basis);
                for (sought, targets) in sought.chunks(SOUGHT_AT_ONCE).zip(targets.chunks(SOUGHT_AT_ONCE)) {
                    passed.clear();
                    sift(sought, &tiles, &mut passed);
                    for &(one, row) in passed.iter().filter(|(_, row)| *row < chunk.ids().len()) {
                        let (query, target) = &targets[one];
                        let (id, other) = (queries[*query].id, chunk.ids()[row]);
                        let (lead, rest) = (&chunk.values()[row], &chunk.notes()[row]);
                        if meant.as_pair(id, other) && target.may_be_within(limit, lead, rest) {
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
    probe: Probe,
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
    let to_unit = kernels::to_unit(kernels::length(vector).unwrap_or(0.0));
    for query in of_other {
        if let Some(distance) = queries[query].probe.distance_within(vector, to_unit, options.limit()) {
            let nearest = near.entry(query).or_insert_with(|| Nearest::new(options.k, options.limit()));
            nearest.offer(Neighbor { id: other, distance });
        }
    }
}
