//! The inner loops: one query against many rows that lie one after another.
//!
//! Plain Rust, shaped so that the compiler turns it into the widest vectors of the machine it runs on: sums are kept
//! in independent lanes, since a float sum may not be reordered by the compiler. Each row is computed in the same order
//! of operations wherever it lies, so a distance does not depend on the row's neighbors.

use multiversion::multiversion;

/// Independent sums in a float kernel: four registers of 512 bits, or eight of 256.
const LANES: usize = 64;

/// Writes `|query - row|²` for each row. `rows` holds `out.len()` rows of `query.len()` numbers.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn squared_l2(query: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(query.len().max(1)).zip(out) {
        let mut sums = [0f32; LANES];
        let (query_blocks, query_rest) = query.as_chunks::<LANES>();
        let (row_blocks, row_rest) = row.as_chunks::<LANES>();
        for (a, b) in query_blocks.iter().zip(row_blocks) {
            for lane in 0..LANES {
                let difference = a[lane] - b[lane];
                sums[lane] += difference * difference;
            }
        }
        for (lane, (a, b)) in query_rest.iter().zip(row_rest).enumerate() {
            sums[lane] += (a - b) * (a - b);
        }
        *out = total(sums);
    }
}

/// Writes `|query - row * scale|²` for each row: with a query of norm 1 and `scale = 1 / |row|`, twice the cosine
/// distance, without the cancellation of `1 - dot`. `rows` holds `out.len()` rows of `query.len()` numbers.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn squared_l2_scaled(query: &[f32], rows: &[f32], scales: &[f32], out: &mut [f32]) {
    for ((row, &scale), out) in rows.chunks_exact(query.len().max(1)).zip(scales).zip(out) {
        let mut sums = [0f32; LANES];
        let (query_blocks, query_rest) = query.as_chunks::<LANES>();
        let (row_blocks, row_rest) = row.as_chunks::<LANES>();
        for (a, b) in query_blocks.iter().zip(row_blocks) {
            for lane in 0..LANES {
                let difference = a[lane] - b[lane] * scale;
                sums[lane] += difference * difference;
            }
        }
        for (lane, (a, b)) in query_rest.iter().zip(row_rest).enumerate() {
            sums[lane] += (a - b * scale) * (a - b * scale);
        }
        *out = total(sums);
    }
}

/// Writes the dot product of `query` with each row. `rows` holds `out.len()` rows of `query.len()` numbers.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn dot(query: &[f32], rows: &[f32], out: &mut [f32]) {
    dot_with(query, rows, out, |x| x);
}

/// Like [`dot`], for rows of whole numbers: half as much to read.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn dot_i16(query: &[f32], rows: &[i16], out: &mut [f32]) {
    dot_with(query, rows, out, f32::from);
}

#[inline(always)]
fn dot_with<T: Copy>(query: &[f32], rows: &[T], out: &mut [f32], number: impl Fn(T) -> f32) {
    for (row, out) in rows.chunks_exact(query.len().max(1)).zip(out) {
        let mut sums = [0f32; LANES];
        let (query_blocks, query_rest) = query.as_chunks::<LANES>();
        let (row_blocks, row_rest) = row.as_chunks::<LANES>();
        for (a, b) in query_blocks.iter().zip(row_blocks) {
            for lane in 0..LANES {
                sums[lane] += a[lane] * number(b[lane]);
            }
        }
        for (lane, (a, &b)) in query_rest.iter().zip(row_rest).enumerate() {
            sums[lane] += a * number(b);
        }
        *out = total(sums);
    }
}

/// Adds the lanes pairwise, which rounds less than adding them in a row.
#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Beyond this norm the squares of differences would not fit into an `f32`.
const MAX_NORM: f32 = 1e15;

/// Returns the Euclidean norm, or `None` where a number is not finite or the norm is beyond [`MAX_NORM`].
pub fn norm(vector: &[f32]) -> Option<f32> {
    let norm = squared_norm(vector).sqrt() as f32;
    (norm <= MAX_NORM).then_some(norm)
}

/// In `f64`, where the squares of all finite `f32` fit.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn squared_norm(vector: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let (blocks, rest) = vector.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            sums[lane] += f64::from(block[lane]) * f64::from(block[lane]);
        }
    }
    for (lane, &x) in rest.iter().enumerate() {
        sums[lane] += f64::from(x) * f64::from(x);
    }
    sums.iter().sum()
}

/// Below this norm a vector has no direction that `f32` could hold, and counts as the zero vector.
const MIN_NORM: f32 = 1e-30;

/// Returns 1 / norm, or 0 where the vector has no direction.
pub fn inverse_norm(norm: f32) -> f32 {
    if norm < MIN_NORM { 0.0 } else { 1.0 / norm }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(vector: impl Iterator<Item = f64>) -> f64 {
        vector.map(|x| x * x).sum::<f64>().sqrt()
    }

    proptest! {
        #[test]
        fn every_row_is_within_a_thousandth_of_double_precision(
            query in prop::collection::vec(0f32..6.0, 1..300),
            steps in prop::collection::vec(1e-5f32..3.0, 1..5),
        ) {
            // Rows from far away down to all but the same as the query: where |a|² + |b|² - 2ab has no digits left.
            let rows: Vec<f32> =
                steps.iter().flat_map(|step| query.iter().enumerate().map(move |(i, x)| x + step * (i % 3) as f32)).collect();
            let mut found = vec![0f32; steps.len()];
            squared_l2(&query, &rows, &mut found);
            for (row, found) in rows.chunks_exact(query.len()).zip(&found) {
                let expected = reference(query.iter().zip(row).map(|(a, b)| f64::from(*a) - f64::from(*b)));
                prop_assert!((f64::from(found.sqrt()) - expected).abs() <= 1e-3 * expected, "{} {expected}", found.sqrt());
            }
        }

        #[test]
        fn scaled_rows_are_within_a_thousandth_of_double_precision(
            query in prop::collection::vec(0.1f32..6.0, 2..300),
            step in 0.01f32..3.0,
        ) {
            let row: Vec<f32> = query.iter().enumerate().map(|(i, x)| x + step * (i % 3) as f32).collect();
            let (a, b) = (inverse_norm(norm(&query).unwrap()), inverse_norm(norm(&row).unwrap()));
            let unit: Vec<f32> = query.iter().map(|x| x * a).collect();
            let mut found = [0f32];
            squared_l2_scaled(&unit, &row, &[b], &mut found);
            let (n, m) = (reference(query.iter().map(|&x| x.into())), reference(row.iter().map(|&x| x.into())));
            let expected = reference(query.iter().zip(&row).map(|(a, b)| f64::from(*a) / n - f64::from(*b) / m)).powi(2);
            prop_assert!((f64::from(found[0]) - expected).abs() <= 1e-3 * expected + 1e-10, "{} {expected}", found[0]);
        }
    }

    #[test]
    fn a_norm_is_refused_where_it_is_not_a_number() {
        assert_eq!(norm(&[3.0, 4.0]), Some(5.0));
        assert_eq!(norm(&[f32::NAN]), None);
        assert_eq!(norm(&[f32::INFINITY, 1.0]), None);
        assert_eq!(norm(&[1e16, 0.0]), None);
        assert_eq!(inverse_norm(0.0), 0.0);
        assert_eq!(inverse_norm(1e-40), 0.0);
    }
}
