//! All pairs of photos within a distance: what duplicates are found from.
//!
//! New photos are compared with those that were compared before and with each other, a few thousand against a chunk of
//! sketches at a time, so that all of it stays in the processor's cache. Three steps leave out only what is proved to
//! be farther: the leading sixteen components, the whole sketch, the full vectors.

use std::cmp::Ordering;

use multiversion::multiversion;

use super::basis::Basis;
use super::error::SearchError;
use super::estimate::Target;
use super::index::{Rows, Snapshot};
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
        let candidates = match &self.rows {
            Rows::Full(_) => {
                let all = self.ids_after(None);
                let of = |id| all.iter().copied().filter(|&other| is_meant(id, other)).collect();
                new.iter().filter(|&id| self.contains(id)).map(|id| (id, of(id))).collect()
            }
            Rows::Sketched(basis, rows) => candidates(basis, rows, new, &options, is_meant)?,
        };
        let parts = in_background(candidates.len(), |next| {
            let mut found = Vec::new();
            while let Some(place) = next() {
                options.check_cancelled()?;
                let (id, others) = &candidates[place];
                self.decide_pairs(*id, others, &options, &mut found)?;
            }
            Ok(found)
        })?;
        let mut pairs = parts.concat();
        pairs.sort_unstable_by_key(|pair| (pair.first, pair.second));
        Ok(pairs)
    }

    /// Compares full vectors.
    fn decide_pairs(
        &self,
        id: PhotoId,
        others: &[PhotoId],
        options: &Options<'_>,
        found: &mut Vec<Pair>,
    ) -> Result<(), SearchError> {
        let mut own = None;
        self.fetch(&[id], &mut |_, vector| own = Some(Probe::new(vector, self.dim, options.metric)))?;
        // A photo without a vector was removed after the snapshot had been taken.
        let Some(probe) = own.transpose()? else { return Ok(()) };
        let mut nearest = Nearest::new(options.k, options.limit());
        self.fetch(others, &mut |id, vector| {
            nearest.offer(Neighbor { id, distance: probe.distance(vector) })
        })?;
        found.extend(nearest.into_sorted().into_iter().map(|Neighbor { id: other, distance }| Pair {
            first: id.min(other),
            second: id.max(other),
            distance,
        }));
        Ok(())
    }
}

/// Returns, for each new photo that has any, the photos that its sketch does not rule out, by ascending id.
fn candidates(
    basis: &Basis,
    rows: &SketchRows,
    new: &PhotoSet,
    options: &Options<'_>,
    is_meant: impl Fn(PhotoId, PhotoId) -> bool + Sync,
) -> Result<Vec<(PhotoId, Vec<PhotoId>)>, SearchError> {
    let limit = options.limit();
    let sketched = new.iter().filter_map(|id| {
        let (lead, rest) = rows.get(id)?;
        let sketch = Sketch { lead: lead[0], rest };
        Some((
            id,
            Coarse::new(&sketch.lead, basis, limit, options.metric),
            Target::of(basis, sketch, options.metric),
        ))
    });
    let queries: Vec<(PhotoId, Coarse, Target)> = sketched.collect();
    let chunks = rows.chunks();
    let parts = in_background(chunks.len(), |next| {
        let (mut found, mut passed) = (Vec::new(), Vec::new());
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &chunks[place];
            let tiles: Vec<Tile> = chunk.values().chunks(LANES).map(|rows| Tile::new(rows, basis)).collect();
            for (query, (id, coarse, target)) in (0u32..).zip(&queries) {
                passed.clear();
                judge(coarse, &tiles, &mut passed);
                for row in passed.iter().map(|&row| row as usize).filter(|&row| row < chunk.ids().len()) {
                    let other = chunk.ids()[row];
                    let may_be = || target.may_be_within(limit, &chunk.values()[row], &chunk.notes()[row]);
                    if is_meant(*id, other) && may_be() {
                        found.push((query, other));
                    }
                }
            }
        }
        Ok(found)
    })?;
    let mut found = parts.concat();
    found.sort_unstable();
    let of_one = found.chunk_by(|a, b| a.0 == b.0);
    Ok(of_one
        .map(|pairs| (queries[pairs[0].0 as usize].0, pairs.iter().map(|pair| pair.1).collect()))
        .collect())
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
fn judge(query: &Coarse, tiles: &[Tile], passed: &mut Vec<u32>) {
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
            let first = (number * LANES) as u32;
            passed.extend(
                (0..LANES as u32).filter(|&lane| passes[lane as usize] != 0).map(|lane| first + lane),
            );
        }
    }
}
