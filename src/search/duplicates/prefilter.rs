//! The prefilter: many photos against many rows at once, by a lower bound of their distance from coarse codes.
//!
//! In: coarse codes of some photos and of some rows, and a limit in the metric. Out: the pairs that may be within it. Let `a`
//! and `b` be two rows of 64 levels, `e` and `f` their quantization errors in steps. By the triangle inequality, the vectors
//! are at least `|a - b| - e - f` steps apart, and `|a - b|² = |a|² + |b|² - 2 a·b` is a matter of whole numbers. A pair
//! passes unless
//!
//! ```text
//! |a - b| > L + e + f      L: the limit as a Euclidean distance, in steps
//! ```
//!
//! For [`Metric::L2`], `L` is the limit. For [`Metric::Cosine`] it depends on the norms `m` and `n` of the vectors:
//! `L² = m² + n² - 2 m n (1 - limit)`. No root is taken of it: for any `t > 0`, `L <= (L² / t + t) / 2` (a geometric mean is no
//! more than the arithmetic one), closely where `t` is near `L`, and what stands there is a polynomial of `n`.
//!
//! On MobileNetV2's embeddings and its limit for near photos, one pair in seventy is left of all; sixteen components
//! would leave one in three.
//!
//! Invariant: what is left out is farther. Dot products of levels are whole numbers, exact in `f32` too, and all that is not
//! exact is rounded up.

use multiversion::multiversion;
use multiversion::target::match_target;

use super::integer_dot::{self, LEVEL_PAIRS, PairedLevels, TILE_ROWS, TileLevels};
use crate::photo::Metric;
use crate::search::code::{CoarseCode, Quantizer};

/// More than the rounding of an `f32` can cost a square root, a sum and a product.
const ROUNDING_MARGIN: f32 = 1.001;

/// A photo that others are looked for. Norms and errors are in coarse steps, here and below.
pub struct PrefilterQuery {
    /// Twice the levels, since `2 a·b` is wanted.
    doubled: PairedLevels,
    /// `|a|²`
    squared_levels: f32,
    /// `L + e` is no more than `constant + linear * n + quadratic * n²` for a row of norm `n`.
    constant: f32,
    linear: f32,
    quadratic: f32,
}

/// Rows side by side.
pub struct Tile {
    levels: TileLevels,
    /// `|b|²`
    squared_levels: [f32; TILE_ROWS],
    /// `f`, rounded up.
    quantization_errors: [f32; TILE_ROWS],
    /// `n`. Not a number where there is no direction: such a row always passes.
    norms: [f32; TILE_ROWS],
}

impl PrefilterQuery {
    /// Prepares a photo, by its own code, to be compared within `limit`.
    pub fn new(coarse: &CoarseCode, quantizer: &Quantizer, limit: f32, metric: Metric) -> Self {
        let steps = 1.0 / quantizer.coarse_step();
        let own = norm_in_steps(coarse, quantizer);
        // `L²` is `constant + quadratic * n² - linear * n`; `typical`, the `t` above, is `L` for a row of the photo's own norm.
        let (constant, quadratic, linear, typical) = match metric {
            Metric::L2 => (limit * limit * steps * steps, 0.0, 0.0, limit * steps),
            // Divided by less than a twentieth, what is rounded up would let all pass; with a limit that small, most rows that
            // are much longer or shorter pass anyway.
            Metric::Cosine => {
                (own * own, 1.0, 2.0 * own * (1.0 - limit), own * (2.0 * limit).sqrt().max(0.05))
            }
        };
        // Not nothing, which nothing could be divided by; a number too where there is no direction.
        let typical = typical.max(1e-3 * own);
        // What is added is rounded up by itself, since much of it is subtracted again.
        let share = ROUNDING_MARGIN * 0.5 / typical;
        let error = coarse.quantization_error * steps;
        let doubled = |place: usize| 2 * i16::from(coarse.levels[place]);
        Self {
            doubled: std::array::from_fn(|pair| [2 * pair, 2 * pair + 1].map(doubled)),
            squared_levels: squared_levels(coarse),
            constant: share * ROUNDING_MARGIN * constant + ROUNDING_MARGIN * (0.5 * typical + error),
            linear: -share * linear,
            quadratic: share * ROUNDING_MARGIN * quadratic,
        }
    }
}

impl Tile {
    /// Puts rows side by side.
    pub fn all_of(rows: &[CoarseCode], quantizer: &Quantizer) -> Vec<Self> {
        rows.chunks(TILE_ROWS).map(|rows| Self::new(rows, quantizer)).collect()
    }

    fn new(rows: &[CoarseCode], quantizer: &Quantizer) -> Self {
        let none = [0.0; TILE_ROWS];
        let levels = [[[0; 2]; TILE_ROWS]; LEVEL_PAIRS];
        let mut tile = Self { levels, squared_levels: none, quantization_errors: none, norms: none };
        for (lane, row) in rows.iter().enumerate() {
            for (levels, pair) in tile.levels.iter_mut().zip(row.levels.as_chunks().0) {
                levels[lane] = pair.map(i8::into);
            }
            tile.squared_levels[lane] = squared_levels(row);
            tile.quantization_errors[lane] =
                ROUNDING_MARGIN * row.quantization_error / quantizer.coarse_step();
            tile.norms[lane] = norm_in_steps(row, quantizer);
        }
        tile
    }
}

fn squared_levels(coarse: &CoarseCode) -> f32 {
    coarse.levels.iter().map(|&level| f32::from(level) * f32::from(level)).sum()
}

fn norm_in_steps(coarse: &CoarseCode, quantizer: &Quantizer) -> f32 {
    if coarse.inverse_norm > 0.0 { 1.0 / (coarse.inverse_norm * quantizer.coarse_step()) } else { f32::NAN }
}

/// Adds the pairs of a query and a row, by their places, that may be within the limit; beyond the last row there may be
/// more.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn prefilter(queries: &[PrefilterQuery], tiles: &[Tile], passed: &mut Vec<(usize, usize)>) {
    for (number, tile) in tiles.iter().enumerate() {
        for (place, two) in queries.chunks(2).enumerate() {
            let photos = [&two[0].doubled, &two.last().unwrap_or(&two[0]).doubled];
            let dots = match_target! {
                "x86_64+avx512f+avx512bw" => integer_dot::avx512(photos, &tile.levels),
                "x86_64+avx2" => integer_dot::avx2(photos, &tile.levels),
                _ => integer_dot::plain(photos, &tile.levels),
            };
            for (other, (query, dots)) in two.iter().zip(&dots).enumerate() {
                let passes = passes(query, tile, dots);
                for (eight, passes) in passes.as_chunks().0.iter().enumerate() {
                    let mut left = u64::from_le_bytes(*passes);
                    while left != 0 {
                        let lane = 8 * eight + left.trailing_zeros() as usize / 8;
                        passed.push((2 * place + other, number * TILE_ROWS + lane));
                        left &= left - 1;
                    }
                }
            }
        }
    }
}

/// Returns 1 for each row that may be within the limit, by twice the dot products of its levels with the query's.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "what is not a number passes")]
fn passes(query: &PrefilterQuery, tile: &Tile, twice_dots: &[i32; TILE_ROWS]) -> [u8; TILE_ROWS] {
    let mut passes = [0u8; TILE_ROWS];
    for lane in 0..TILE_ROWS {
        let norm = tile.norms[lane];
        let limit = (query.quadratic * norm + query.linear) * norm + query.constant;
        let reach = limit + tile.quantization_errors[lane];
        let squared = query.squared_levels + tile.squared_levels[lane] - twice_dots[lane] as f32;
        passes[lane] = u8::from(!(squared > reach * reach));
    }
    passes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIM: usize = 80;

    fn vector() -> impl Strategy<Value = Vec<f32>> {
        // Most of it in few numbers, so that distances differ; some without a direction.
        let long = prop::collection::vec(-3f32..3.0, DIM).prop_map(|mut vector| {
            vector.iter_mut().enumerate().for_each(|(place, x)| *x /= 1.0 + place as f32 / 8.0);
            vector
        });
        prop_oneof![20 => long, 1 => Just(vec![0.0; DIM])]
    }

    proptest! {
        // Training a quantizer takes most of the time.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_left_out_is_farther_and_much_is_left_out(
            vectors in prop::collection::vec(vector(), 40..120),
            asked in 1usize..11,
            share in 0.0f32..0.5,
            metric in prop::sample::select(vec![Metric::L2, Metric::Cosine]),
        ) {
            let quantizer = Quantizer::train(&vectors.concat(), DIM, vectors.len() as u64);
            let coarse: Vec<CoarseCode> = vectors.iter().map(|vector| quantizer.encode(vector).coarse).collect();
            let distance = |one: usize, other: usize| {
                let scorer = crate::search::query::Scorer::new(&vectors[one], DIM, metric).unwrap();
                scorer.distance(&vectors[other])
            };
            let has_direction = |place: usize| vectors[place].iter().any(|x| *x != 0.0);
            // No photo's distance to itself: a limit of nothing lets much pass.
            let mut all: Vec<f32> = (0..asked).flat_map(|one| (0..vectors.len()).map(move |other| (one, other)))
                .filter(|&(one, other)| one != other && has_direction(one) && has_direction(other))
                .map(|(one, other)| distance(one, other)).collect();
            all.sort_by(f32::total_cmp);
            let limit = all.get((all.len() as f32 * share) as usize).copied().unwrap_or(0.1);

            let queries: Vec<PrefilterQuery> = coarse[..asked].iter().map(|coarse| PrefilterQuery::new(coarse, &quantizer, limit, metric)).collect();
            let mut passed = Vec::new();
            prefilter(&queries, &Tile::all_of(&coarse, &quantizer), &mut passed);
            passed.retain(|(_, row)| *row < coarse.len());
            passed.sort_unstable();
            let pairs = passed.len();
            passed.dedup();
            prop_assert_eq!(passed.len(), pairs, "each pair comes once");
            for one in 0..asked {
                for other in 0..vectors.len() {
                    let (distance, found) = (distance(one, other), passed.binary_search(&(one, other)).is_ok());
                    prop_assert!(found || distance > limit, "{one} and {other} are {distance} apart, the limit is {limit}");
                }
            }
            // Without a direction, a photo may be near anything.
            let needless = passed.iter().filter(|&&(one, other)| has_direction(one) && has_direction(other))
                .filter(|&&(one, other)| distance(one, other) > limit * 1.5 + 0.1).count();
            prop_assert!(needless * 10 <= all.len(), "{needless} of {} pass needlessly at {limit}", all.len());
        }
    }
}
