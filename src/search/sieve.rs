//! Many photos against many rows at once: which of them may be near each other, as far as the leading components tell.
//!
//! On MobileNetV2's embeddings and its limit for near photos, one pair in seventy is left of all; sixteen components
//! would leave one in three.
//!
//! Invariant: what is left out is farther. Sums of products of codes are whole numbers, exact in `f32` too, and all that is
//! not exact is rounded up.

use multiversion::multiversion;
use multiversion::target::match_target;

use super::basis::Basis;
use super::products::{self, Codes, LANES, TWOS, TileCodes};
use super::sketch::Lead;
use crate::photo::Metric;

/// More than the rounding of an `f32` can cost a square root, a sum and a product.
const ROUNDED_UP: f32 = 1.001;

/// A photo that others are looked for. Lengths are in steps of the codes, here and below.
pub(super) struct Sought {
    /// Twice the codes: that much of a product is what lies between two squares.
    doubled: Codes,
    /// Sum of the squared codes.
    squares: f32,
    /// Steps may be `fixed + per_length * length + per_square * length²` apart, and the row's slack, for a row of that
    /// length.
    fixed: f32,
    per_length: f32,
    per_square: f32,
}

/// Rows side by side.
pub(super) struct Tile {
    codes: TileCodes,
    squares: [f32; LANES],
    /// Rounded up.
    slack: [f32; LANES],
    /// Not a number where there is no direction: such a row always passes.
    length: [f32; LANES],
}

impl Sought {
    /// Prepares a photo, by its own sketch, to be compared within `limit`.
    pub fn new(lead: &Lead, basis: &Basis, limit: f32, metric: Metric) -> Self {
        let steps = 1.0 / basis.step();
        let own = length_in_steps(lead, basis);
        // The squared limit is `fixed + per_square * length² - per_length * length`; `typical` is the limit for a row of
        // the photo's own length.
        let (fixed, per_square, per_length, typical) = match metric {
            Metric::L2 => (limit * limit * steps * steps, 0.0, 0.0, limit * steps),
            // |a - b|² = |a|² + |b|² - 2 |a| |b| (1 - distance). Divided by less than a twentieth, what is rounded up would
            // let all pass; with a limit that small, most rows that are much longer or shorter pass anyway.
            Metric::Cosine => {
                (own * own, 1.0, 2.0 * own * (1.0 - limit), own * (2.0 * limit).sqrt().max(0.05))
            }
        };
        // Not nothing, which nothing could be divided by; a number too where there is no direction.
        let typical = typical.max(1e-3 * own);
        // The root of a product is no more than the mean of its factors: no root to take, and nearly as close. What is
        // added is rounded up by itself, since much of it is subtracted again.
        let share = ROUNDED_UP * 0.5 / typical;
        let doubled = |place: usize| 2 * i16::from(lead.codes[place]);
        Self {
            doubled: std::array::from_fn(|two| [2 * two, 2 * two + 1].map(doubled)),
            squares: squares(lead),
            fixed: share * ROUNDED_UP * fixed + ROUNDED_UP * (0.5 * typical + lead.slack * steps),
            per_length: -share * per_length,
            per_square: share * ROUNDED_UP * per_square,
        }
    }
}

impl Tile {
    /// Puts rows side by side.
    pub fn all_of(rows: &[Lead], basis: &Basis) -> Vec<Self> {
        rows.chunks(LANES).map(|rows| Self::new(rows, basis)).collect()
    }

    fn new(rows: &[Lead], basis: &Basis) -> Self {
        let none = [0.0; LANES];
        let mut tile = Self { codes: [[[0; 2]; LANES]; TWOS], squares: none, slack: none, length: none };
        for (lane, row) in rows.iter().enumerate() {
            for (codes, two) in tile.codes.iter_mut().zip(row.codes.as_chunks().0) {
                codes[lane] = two.map(i8::into);
            }
            tile.squares[lane] = squares(row);
            tile.slack[lane] = ROUNDED_UP * row.slack / basis.step();
            tile.length[lane] = length_in_steps(row, basis);
        }
        tile
    }
}

fn squares(lead: &Lead) -> f32 {
    lead.codes.iter().map(|&code| f32::from(code) * f32::from(code)).sum()
}

fn length_in_steps(lead: &Lead, basis: &Basis) -> f32 {
    if lead.to_unit > 0.0 { 1.0 / (lead.to_unit * basis.step()) } else { f32::NAN }
}

/// Adds the pairs of a photo and a row, by their places, that may be within the limit; beyond the last row there may be
/// more.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub(super) fn sift(sought: &[Sought], tiles: &[Tile], passed: &mut Vec<(usize, usize)>) {
    for (number, tile) in tiles.iter().enumerate() {
        for (place, two) in sought.chunks(2).enumerate() {
            let photos = [&two[0].doubled, &two.last().unwrap_or(&two[0]).doubled];
            let shared = match_target! {
                "x86_64+avx512f+avx512bw" => products::avx512(photos, &tile.codes),
                "x86_64+avx2" => products::avx2(photos, &tile.codes),
                _ => products::plain(photos, &tile.codes),
            };
            for (other, (sought, shared)) in two.iter().zip(&shared).enumerate() {
                let passes = judge(sought, tile, shared);
                for (eight, passes) in passes.as_chunks().0.iter().enumerate() {
                    let mut left = u64::from_le_bytes(*passes);
                    while left != 0 {
                        let lane = 8 * eight + left.trailing_zeros() as usize / 8;
                        passed.push((2 * place + other, number * LANES + lane));
                        left &= left - 1;
                    }
                }
            }
        }
    }
}

/// Returns 1 for each row that may be within the limit, by twice the products of its codes with the photo's.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "what is not a number passes")]
fn judge(sought: &Sought, tile: &Tile, shared: &[i32; LANES]) -> [u8; LANES] {
    let mut passes = [0u8; LANES];
    for lane in 0..LANES {
        let length = tile.length[lane];
        let limit = (sought.per_square * length + sought.per_length) * length + sought.fixed;
        let reach = limit + tile.slack[lane];
        let apart = sought.squares + tile.squares[lane] - shared[lane] as f32;
        passes[lane] = u8::from(!(apart > reach * reach));
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
        // Learning a basis takes most of the time.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_left_out_is_farther_and_much_is_left_out(
            vectors in prop::collection::vec(vector(), 40..120),
            asked in 1usize..11,
            share in 0.0f32..0.5,
            metric in prop::sample::select(vec![Metric::L2, Metric::Cosine]),
        ) {
            let basis = Basis::learn(&vectors.concat(), DIM, vectors.len() as u64);
            let leads: Vec<Lead> = vectors.iter().map(|vector| basis.sketch(vector).lead).collect();
            let distance = |one: usize, other: usize| {
                let probe = super::super::probe::Probe::new(&vectors[one], DIM, metric).unwrap();
                probe.distance(&vectors[other])
            };
            let has_direction = |place: usize| vectors[place].iter().any(|x| *x != 0.0);
            // No photo's distance to itself: a limit of nothing lets much pass.
            let mut all: Vec<f32> = (0..asked).flat_map(|one| (0..vectors.len()).map(move |other| (one, other)))
                .filter(|&(one, other)| one != other && has_direction(one) && has_direction(other))
                .map(|(one, other)| distance(one, other)).collect();
            all.sort_by(f32::total_cmp);
            let limit = all.get((all.len() as f32 * share) as usize).copied().unwrap_or(0.1);

            let sought: Vec<Sought> = leads[..asked].iter().map(|lead| Sought::new(lead, &basis, limit, metric)).collect();
            let mut passed = Vec::new();
            sift(&sought, &Tile::all_of(&leads, &basis), &mut passed);
            passed.retain(|(_, row)| *row < leads.len());
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
