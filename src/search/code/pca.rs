//! Principal components: the orthogonal directions along which a sample of vectors varies most.
//!
//! Orthogonal iteration on the covariance matrix, then one small eigenproblem by one-sided Jacobi rotations (Golub and Van
//! Loan, "Matrix Computations", 8.2 and 8.6). About two seconds for 4,096 vectors of 1280 numbers. The same sample gives
//! the same components on the same machine: the start is seeded.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::search::kernels;

/// Components carried along beyond those asked for, so that the last ones asked for converge too.
const OVERSAMPLING: usize = 16;
const ITERATIONS: usize = 10;

/// Mean and orthonormal components of a sample, by falling variance.
#[derive(Debug)]
pub struct PrincipalComponents {
    /// `dim` numbers.
    pub mean: Vec<f32>,
    /// One component after another, each as long as the mean.
    pub components: Vec<f32>,
    /// Variance along each component.
    pub variances: Vec<f32>,
}

/// Returns the `count` leading components of `sample`, rows of `dim` numbers; all there are where `dim` or
/// the rows are fewer.
pub fn principal_components(sample: &[f32], dim: usize, count: usize) -> PrincipalComponents {
    let rows = sample.len() / dim.max(1);
    let sample = ArrayView2::from_shape((rows, dim), &sample[..rows * dim]).expect("it is cut to whole rows");
    let mut mean = Array1::<f64>::zeros(dim);
    sample.rows().into_iter().for_each(|row| mean += &row.mapv(f64::from));
    let mean = mean.mapv(|sum| (sum / rows.max(1) as f64) as f32);
    let centred = &sample - &mean;
    let covariance = centred.t().dot(&centred) / rows.max(1) as f32;
    drop(centred);

    // A sample spans no more directions than it has rows.
    let width = (count + OVERSAMPLING).min(dim).min(rows.max(1));
    let mut basis =
        Array2::from_shape_vec((width, dim), pseudo_random(width * dim)).expect("as many as asked for");
    orthonormalize(&mut basis);
    for _ in 0..ITERATIONS {
        // The covariance is symmetric: the same as multiplying each direction from the left.
        basis = basis.dot(&covariance);
        orthonormalize(&mut basis);
    }
    // Within the space found, the covariance is small enough to be solved outright.
    let small = basis.dot(&covariance).dot(&basis.t()).mapv(f64::from);
    let (values, vectors) = symmetric_eigen(small.iter().copied().collect(), width);
    let vectors = Array2::from_shape_vec((width, width), vectors).expect("as many values as vectors");
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(count.min(dim));

    let turned = vectors.select(Axis(0), &order).mapv(|x| x as f32);
    let mut components = turned.dot(&basis);
    orthonormalize(&mut components);
    let variances = order.iter().map(|&place| values[place] as f32).collect();
    PrincipalComponents { mean: mean.to_vec(), components: components.iter().copied().collect(), variances }
}

/// Makes the rows orthogonal and of norm 1 (Gram-Schmidt, twice, since once is not enough in `f32`). A row that depends on
/// those before it becomes zero.
fn orthonormalize(rows: &mut Array2<f32>) {
    for row in 0..rows.nrows() {
        let (done, mut others) = rows.view_mut().split_at(Axis(0), row);
        let mut current = others.row_mut(0);
        let before = current.dot(&current).sqrt();
        for _ in 0..2 {
            let along = done.dot(&current);
            current -= &along.dot(&done);
        }
        let after = current.dot(&current).sqrt();
        let scale = if after <= before * 1e-5 { 0.0 } else { kernels::inverse_norm(after) };
        current *= scale;
    }
}

/// Returns numbers between -1 and 1 that look random and never change (splitmix64).
fn pseudo_random(count: usize) -> Vec<f32> {
    let mut state = 0x5eed_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Returns the eigenvalues of a symmetric matrix that has no negative ones, and its eigenvectors as rows: rows are rotated
/// against each other until all are at right angles; then each is an eigenvector, as long as its eigenvalue.
fn symmetric_eigen(mut rows: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    const SWEEPS: usize = 30;
    const RIGHT_ANGLE: f64 = 1e-9;
    for _ in 0..SWEEPS {
        let mut is_done = true;
        let mut squares: Vec<f64> = rows.chunks_exact(n).map(|row| dot(row, row)).collect();
        for p in 0..n {
            let (before, after) = rows.split_at_mut((p + 1) * n);
            let one = &mut before[p * n..];
            for (q, other) in (p + 1..n).zip(after.chunks_exact_mut(n)) {
                let product = dot(one, other);
                if product.abs() <= RIGHT_ANGLE * (squares[p] * squares[q]).sqrt() {
                    continue;
                }
                is_done = false;
                let zeta = (squares[q] - squares[p]) / (2.0 * product);
                let tangent = zeta.signum() / (zeta.abs() + (zeta * zeta + 1.0).sqrt());
                let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
                let sine = tangent * cosine;
                for (x, y) in one.iter_mut().zip(other) {
                    (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
                }
                squares[p] -= tangent * product;
                squares[q] += tangent * product;
            }
        }
        if is_done {
            break;
        }
    }
    let values: Vec<f64> = rows.chunks_exact(n).map(|row| dot(row, row).sqrt()).collect();
    for (row, &value) in rows.chunks_exact_mut(n).zip(&values) {
        row.iter_mut().for_each(|x| *x *= if value > 0.0 { 1.0 / value } else { 0.0 });
    }
    (values, rows)
}

/// In `f64`, in independent lanes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors that vary along known, tilted axes: `spread[i]` along the i-th.
    fn sample(dim: usize, rows: usize, spread: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let axes = pseudo_random(dim * spread.len());
        let mut axes = Array2::from_shape_vec((spread.len(), dim), axes).unwrap();
        orthonormalize(&mut axes);
        let axes = axes.into_iter().collect::<Vec<f32>>();
        let random = pseudo_random(rows * spread.len() + 1);
        let mut out = Vec::new();
        for row in 0..rows {
            let mut vector = vec![3f32; dim];
            for (i, (axis, spread)) in axes.chunks_exact(dim).zip(spread).enumerate() {
                let along = spread * random[(row * 7919 + i * 31) % random.len()];
                vector.iter_mut().zip(axis).for_each(|(x, axis)| *x += along * axis);
            }
            out.extend(vector);
        }
        (out, axes)
    }

    #[test]
    fn the_axes_of_the_sample_are_found_in_order() {
        let (sample, axes) = sample(50, 4000, &[40.0, 20.0, 10.0, 5.0]);
        let found = principal_components(&sample, 50, 3);
        assert_eq!(found.components.len(), 3 * 50);
        assert!(found.variances.is_sorted_by(|a, b| a >= b));
        for (found, axis) in found.components.chunks_exact(50).zip(axes.chunks_exact(50)) {
            let mut cosine = [0f32];
            kernels::dot(found, axis, &mut cosine);
            assert!(cosine[0].abs() > 0.99, "{cosine:?}");
        }
        assert!(found.mean.iter().all(|mean| (mean - 3.0).abs() < 1.0));
    }

    #[test]
    fn directions_are_orthonormal_even_where_the_sample_is_flat() {
        let (sample, _) = sample(40, 300, &[5.0, 2.0]);
        let found = principal_components(&sample, 40, 8);
        for (i, a) in found.components.chunks_exact(40).enumerate() {
            for (j, b) in found.components.chunks_exact(40).enumerate() {
                let mut product = [0f32];
                kernels::dot(a, b, &mut product);
                let zero = kernels::norm(a).unwrap() == 0.0;
                let expected = if i == j && !zero { 1.0 } else { 0.0 };
                assert!((product[0] - expected).abs() < 1e-4, "{i} {j} {product:?}");
            }
        }
    }

    #[test]
    fn eigenvectors_keep_their_direction_and_are_stretched_by_their_value() {
        let n = 23;
        let halves: Vec<f64> = pseudo_random(n * n).into_iter().map(f64::from).collect();
        let entry = |i: usize, j: usize| (0..n).map(|k| halves[i * n + k] * halves[j * n + k]).sum::<f64>();
        let matrix: Vec<f64> = (0..n * n).map(|place| entry(place / n, place % n)).collect();
        let (values, vectors) = symmetric_eigen(matrix.clone(), n);
        let trace: f64 = (0..n).map(|i| matrix[i * n + i]).sum();
        assert!((values.iter().sum::<f64>() - trace).abs() < 1e-9 * trace);
        for (value, vector) in values.iter().zip(vectors.chunks_exact(n)) {
            assert!((dot(vector, vector) - 1.0).abs() < 1e-9);
            for (row, x) in matrix.chunks_exact(n).zip(vector) {
                assert!((dot(row, vector) - value * x).abs() < 1e-6 * trace, "{value} {x}");
            }
        }
    }

    #[test]
    fn there_are_no_more_components_than_dimensions() {
        let (sample, _) = sample(5, 100, &[3.0, 1.0]);
        assert_eq!(principal_components(&sample, 5, 128).components.len(), 25);
    }
}
