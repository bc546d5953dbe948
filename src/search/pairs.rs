//! All pairs of photos within a distance: what duplicates are found from.
//!
//! New photos are compared with those that were compared before and with each other, a few thousand against a chunk of
//! sketches at a time, so that all of it stays in the processor's cache. Three steps leave out only what is proved to
//! be farther: the leading sixteen components, the whole sketch, the full vectors.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use multiversion::multiversion;

use super::basis::Basis;
use super::error::SearchError;
use super::estimate::Target;
use super::index::{Rows, Snapshot};
use super::kernels;
use super::nearest::{Nearest, Neighbor};
use super::photo_set::PhotoSet;
use super::pool::in_background;
use super::probe::Probe;
use super::scan::Options;
use super::sketch::{Lead, Sketch};
use super::two_stage::SketchRows;
use crate::photo::{Metric, PhotoId};

/// Pairs that a photo keeps with those compared before it: the nearest. A day of a camera that takes a picture every
/// second would otherwise have more pairs than the library has photos.
pub const MOST_A_PHOTO: usize = 256;

/// Components that the first step looks at.
const COARSE: usize = 16;
/// Rows judged side by side.
const LANES: usize = 32;

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
        let is_meant = |id: PhotoId, other: PhotoId| {
            if new.contains(other) { other < id } else { known.contains(other) }
        };
        let queries = self.queries(new, metric)?;
        let parts = match &self.rows {
            Rows::Full(_) => vec![self.pairs_of_whole(&queries, &options, is_meant)?],
            Rows::Sketched(basis, rows) => {
                self.pairs_of_sketched(basis, rows, &queries, &options, is_meant)?
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
        is_meant: impl Fn(PhotoId, PhotoId) -> bool,
    ) -> Result<Near, SearchError> {
        let mut near = Near::new();
        options.check_cancelled()?;
        self.fetch(&self.ids_after(None), &mut |other, vector| {
            let meant = (0..queries.len()).filter(|&query| is_meant(queries[query].id, other));
            offer(&mut near, queries, meant, other, vector, options);
        })?;
        Ok(near)
    }

    fn pairs_of_sketched(
        &self,
        basis: &Basis,
        rows: &SketchRows,
        queries: &[Query],
        options: &Options<'_>,
        is_meant: impl Fn(PhotoId, PhotoId) -> bool + Sync,
    ) -> Result<Vec<Near>, SearchError> {
        let limit = options.limit();
        let sketched = queries.iter().enumerate().filter_map(|(place, query)| {
            let (lead, rest) = rows.get(query.id)?;
            let sketch = Sketch { lead: lead[0], rest };
            let coarse = Coarse::new(&sketch.lead, basis, limit, options.metric);
            Some((place, coarse, Target::of(basis, sketch, options.metric)))
        });
        let sketched: Vec<(usize, Coarse, Target)> = sketched.collect();
        let chunks = rows.chunks();
        in_background(chunks.len(), |next| {
            let (mut near, mut candidates, mut passed) = (Near::new(), Vec::new(), Vec::new());
            while let Some(place) = next() {
                options.check_cancelled()?;
                let chunk = &chunks[place];
                let tiles: Vec<Tile> =
                    chunk.values().chunks(LANES).map(|rows| Tile::new(rows, basis)).collect();
                candidates.clear();
                for (query, coarse, target) in &sketched {
                    passed.clear();
                    judge(coarse, &tiles, &mut passed);
                    for &row in passed.iter().filter(|&&row| row < chunk.ids().len()) {
                        let may_be =
                            || target.may_be_within(limit, &chunk.values()[row], &chunk.notes()[row]);
                        if is_meant(queries[*query].id, chunk.ids()[row]) && may_be() {
                            candidates.push((chunk.ids()[row], *query));
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
    meant: impl Iterator<Item = usize>,
    other: PhotoId,
    vector: &[f32],
    options: &Options<'_>,
) {
    let to_unit = kernels::to_unit(kernels::length(vector).unwrap_or(0.0));
    for query in meant {
        let mut distance = [f32::NAN];
        queries[query].probe.distances(vector, &[to_unit], &mut distance);
        if distance[0] <= options.limit() {
            let nearest = near.entry(query).or_insert_with(|| Nearest::new(options.k, options.limit()));
            nearest.offer(Neighbor { id: other, distance: distance[0] });
        }
    }
}

/// A photo as the first step sees it: which rows it is not within the limit of, by the leading components.
struct Coarse {
    codes: [i16; COARSE],
    /// Lengths are in steps of the codes.
    slack: f32,
    /// The squared limit is `fixed + length² - per_length * length` for a row of that length.
    fixed: f32,
    square: f32,
    per_length: f32,
}

/// Rows side by side.
struct Tile {
    codes: [[i16; LANES]; COARSE],
    slack: [f32; LANES],
    /// Not a number where there is no direction: such a row always passes.
    length: [f32; LANES],
}

/// More than the rounding of an `f32` can cost a square root, a sum and a product.
const ROUNDED_UP: f32 = 1.001;

impl Coarse {
    fn new(lead: &Lead, basis: &Basis, limit: f32, metric: Metric) -> Self {
        let steps = 1.0 / basis.step();
        let (fixed, square, per_length) = match metric {
            Metric::L2 => (limit * limit * steps * steps, 0.0, 0.0),
            // |a - b|² = |a|² + |b|² - 2 |a| |b| (1 - distance)
            Metric::Cosine => {
                let own = length_in_steps(lead, basis);
                (own * own, 1.0, 2.0 * own * (1.0 - limit))
            }
        };
        let codes = std::array::from_fn(|place| i16::from(lead.codes[place]));
        Self { codes, slack: lead.slack * steps, fixed, square, per_length }
    }
}

impl Tile {
    fn new(rows: &[Lead], basis: &Basis) -> Self {
        let mut tile = Self { codes: [[0; LANES]; COARSE], slack: [0.0; LANES], length: [0.0; LANES] };
        for (lane, row) in rows.iter().enumerate() {
            for (codes, &code) in tile.codes.iter_mut().zip(&row.codes) {
                codes[lane] = i16::from(code);
            }
            tile.slack[lane] = row.slack / basis.step();
            tile.length[lane] = length_in_steps(row, basis);
        }
        tile
    }
}

fn length_in_steps(lead: &Lead, basis: &Basis) -> f32 {
    if lead.to_unit > 0.0 { 1.0 / (lead.to_unit * basis.step()) } else { f32::NAN }
}

/// Adds the numbers of the rows that the query may be within the limit of; beyond the last row there may be more.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn judge(query: &Coarse, tiles: &[Tile], passed: &mut Vec<usize>) {
    for (number, tile) in tiles.iter().enumerate() {
        // A code differs by 254 at most, whose square fits; a sum that does not fit is far beyond every limit that does.
        let mut sums = [0u16; LANES];
        for (code, codes) in query.codes.iter().zip(&tile.codes) {
            for lane in 0..LANES {
                let difference = (code - codes[lane]).unsigned_abs();
                sums[lane] = sums[lane].saturating_add(difference.wrapping_mul(difference));
            }
        }
        let mut passes = [0u8; LANES];
        for lane in 0..LANES {
            let length = tile.length[lane];
            let squares = query.fixed + query.square * length * length;
            let allowed = (squares - query.per_length * length).max(0.0) + squares * (ROUNDED_UP - 1.0);
            let reach = (allowed.sqrt() + query.slack + tile.slack[lane]) * ROUNDED_UP;
            let limit = reach * reach;
            // Not a number passes.
            let beyond = (f32::from(sums[lane]) > limit) & (limit < f32::from(u16::MAX));
            passes[lane] = u8::from(!beyond);
        }
        if passes != [0; LANES] {
            let first = number * LANES;
            passed.extend((0..LANES).filter(|&lane| passes[lane] != 0).map(|lane| first + lane));
        }
    }
}
