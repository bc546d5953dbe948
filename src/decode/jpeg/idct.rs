//! Coefficients of one block -> its samples, at the block's own size or a smaller one.
//!
//! At full size this is the integer transform of Loeffler, Ligtenberg and Moschytz with the word lengths and
//! rounding that libjpeg's accurate method uses, so that the samples are the same to the bit. A smaller block
//! takes only the lowest frequencies: the same cosines, sampled at fewer points, which averages the pixels
//! that fall together.

/// Place of each zigzag index in a block of 8 rows of 8.
pub(super) const NATURAL: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Dequantised coefficients of a block in natural order.
pub(super) type Block = [i32; 64];

/// Returns the last zigzag index that a block of this size is made of.
pub(super) fn last_needed(width: usize, height: usize) -> usize {
    (0..64).rev().find(|&k| NATURAL[k] % 8 < width && NATURAL[k] / 8 < height).unwrap_or(0)
}

/// Turns a block into `width` x `height` samples, in rows of `stride` from the start of `out`. `is_flat` says
/// that all coefficients but the first are 0. The sides are 1, 2, 3, 4, 6 or 8.
pub(super) fn write_block(
    block: &Block,
    is_flat: bool,
    (width, height): (usize, usize),
    out: &mut [u8],
    stride: usize,
) {
    if is_flat {
        let sample = (block[0].wrapping_add(4) >> 3).wrapping_add(128).clamp(0, 255) as u8;
        for row in out.chunks_mut(stride).take(height) {
            row[..width].fill(sample);
        }
        return;
    }
    match (width, height) {
        (8, 8) => write_full(block, out, stride),
        (2, 2) => write_scaled::<2, 2>(block, out, stride),
        (4, 4) => write_scaled::<4, 4>(block, out, stride),
        (2, 1) => write_scaled::<2, 1>(block, out, stride),
        (4, 2) => write_scaled::<4, 2>(block, out, stride),
        (3, 3) => write_scaled::<3, 3>(block, out, stride),
        (6, 6) => write_scaled::<6, 6>(block, out, stride),
        (6, 3) => write_scaled::<6, 3>(block, out, stride),
        (8, 4) => write_scaled::<8, 4>(block, out, stride),
        (1, 2) => write_scaled::<1, 2>(block, out, stride),
        (2, 4) => write_scaled::<2, 4>(block, out, stride),
        (3, 6) => write_scaled::<3, 6>(block, out, stride),
        (4, 8) => write_scaled::<4, 8>(block, out, stride),
        _ => write_scaled::<1, 1>(block, out, stride),
    }
}

/// The scaled transform: `W` points of the lowest `W` frequencies across, `H` down.
#[inline(always)]
fn write_scaled<const W: usize, const H: usize>(block: &Block, out: &mut [u8], stride: usize) {
    let mut columns = [[0.0f32; W]; H];
    for x in 0..W {
        let column: [f32; H] = std::array::from_fn(|y| block[y * 8 + x] as f32);
        for (y, value) in points(&column).into_iter().enumerate() {
            columns[y][x] = value;
        }
    }
    for (row, target) in columns.iter().zip(out.chunks_mut(stride)) {
        for (value, sample) in points(row).into_iter().zip(target) {
            // 1/8 is the factor of both directions together; the cast rounds down and stays within 0..=255.
            *sample = (value * 0.125 + 128.5) as u8;
        }
    }
}

const HALF_SQRT_2: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Returns `sum over k of c(k) X(k) cos((2n + 1) k pi / 2N)` for n = 0..N, where c(0) = 1 and else sqrt(2).
#[inline(always)]
fn points<const N: usize>(frequencies: &[f32; N]) -> [f32; N] {
    let x = |k: usize| frequencies[k];
    let mut result = [0.0; N];
    let mut put = |values: &[f32]| result.copy_from_slice(values);
    match N {
        1 => put(&[x(0)]),
        2 => put(&[x(0) + x(1), x(0) - x(1)]),
        3 => {
            let (even, odd) = (x(0) + HALF_SQRT_2 * x(2), 1.224_744_9 * x(1));
            put(&[even + odd, x(0) - std::f32::consts::SQRT_2 * x(2), even - odd]);
        }
        4 => {
            let (sum, difference) = (x(0) + x(2), x(0) - x(2));
            let (outer, inner) =
                (1.306_563 * x(1) + 0.541_196_1 * x(3), 0.541_196_1 * x(1) - 1.306_563 * x(3));
            put(&[sum + outer, difference + inner, difference - inner, sum - outer]);
        }
        _ => {
            for (n, value) in result.iter_mut().enumerate() {
                let cosines = &COSINES[usize::from(N == 8)][n];
                *value = (0..N).map(|k| x(k) * cosines[k]).sum();
            }
        }
    }
    result
}

/// `c(k) cos((2n + 1) k pi / 2N)` by n and k, for N = 6 and N = 8.
static COSINES: std::sync::LazyLock<[[[f32; 8]; 8]; 2]> = std::sync::LazyLock::new(|| {
    [6, 8].map(|sides| {
        std::array::from_fn(|n| {
            std::array::from_fn(|k| {
                let angle = ((2 * n + 1) * k) as f64 * std::f64::consts::PI / (2 * sides) as f64;
                let factor = if k == 0 { 1.0 } else { std::f64::consts::SQRT_2 };
                (factor * angle.cos()) as f32
            })
        })
    })
});

/// Eight columns or rows worked on at once.
type Lanes = [i32; 8];

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|at| a[at].wrapping_add(b[at]))
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|at| a[at].wrapping_sub(b[at]))
}

/// Multiplies by a number with 13 bits behind the point.
#[inline(always)]
fn times(a: Lanes, factor: i32) -> Lanes {
    a.map(|value| value.wrapping_mul(factor))
}

/// Runs the 8-point transform down each of the eight lanes and takes `shift` bits off with rounding.
#[inline(always)]
fn eight_points(x: &[Lanes; 8], shift: u32) -> [Lanes; 8] {
    let shared = times(add(x[2], x[6]), 4433);
    let (low, high) = (add(shared, times(x[6], -15137)), add(shared, times(x[2], 6270)));
    let (sum, difference) = (times(add(x[0], x[4]), 8192), times(sub(x[0], x[4]), 8192));
    let even = [add(sum, high), add(difference, low), sub(difference, low), sub(sum, high)];

    let shared = times(add(add(x[7], x[3]), add(x[5], x[1])), 9633);
    let (a, b) = (times(add(x[7], x[1]), -7373), times(add(x[5], x[3]), -20995));
    let (c, d) = (add(times(add(x[7], x[3]), -16069), shared), add(times(add(x[5], x[1]), -3196), shared));
    let odd = [
        add(times(x[1], 12299), add(a, d)),
        add(times(x[3], 25172), add(b, c)),
        add(times(x[5], 16819), add(b, d)),
        add(times(x[7], 2446), add(a, c)),
    ];

    let rounded = |lanes: Lanes| lanes.map(|value| value.wrapping_add(1 << (shift - 1)) >> shift);
    std::array::from_fn(|n| rounded(if n < 4 { add(even[n], odd[n]) } else { sub(even[7 - n], odd[7 - n]) }))
}

#[inline(always)]
fn transposed(lanes: &[Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| lanes[column][row]))
}

#[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.1"))]
fn write_full(block: &Block, out: &mut [u8], stride: usize) {
    let rows: [Lanes; 8] = std::array::from_fn(|y| std::array::from_fn(|x| block[y * 8 + x]));
    let columns = eight_points(&rows, 11);
    let samples = transposed(&eight_points(&transposed(&columns), 18));
    for (row, target) in samples.iter().zip(out.chunks_mut(stride)) {
        for (&value, sample) in row.iter().zip(target) {
            *sample = value.wrapping_add(128).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of the transform, at any number of points.
    fn by_definition(block: &Block, width: usize, height: usize) -> Vec<u8> {
        let term = |k: usize, n: usize, points: usize| {
            let angle = ((2 * n + 1) * k) as f64 * std::f64::consts::PI / (2 * points) as f64;
            angle.cos() * if k == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 } / 2.0
        };
        let mut samples = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let mut sum = 0.0;
                for v in 0..height.min(8) {
                    for u in 0..width.min(8) {
                        sum += f64::from(block[v * 8 + u]) * term(u, x, width) * term(v, y, height);
                    }
                }
                samples.push((sum + 128.0).round().clamp(0.0, 255.0) as u8);
            }
        }
        samples
    }

    #[test]
    fn every_size_agrees_with_the_definition() {
        let mut block = [0; 64];
        let mut seed = 1u32;
        for (at, value) in block.iter_mut().enumerate() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (seed >> 24) as i32 % 40 * 8 / (1 + at as i32 / 6) - 20;
        }
        for (width, height) in [
            (8, 8),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 4),
            (6, 6),
            (2, 1),
            (4, 2),
            (6, 3),
            (8, 4),
            (1, 2),
            (2, 4),
            (3, 6),
            (4, 8),
        ] {
            let mut samples = vec![0; 64];
            write_block(&block, false, (width, height), &mut samples, width);
            let expected = by_definition(&block, width, height);
            for (got, expected) in samples.iter().zip(&expected) {
                assert!(got.abs_diff(*expected) <= 1, "{width}x{height}: {got} {expected}");
            }
        }
    }

    #[test]
    fn a_flat_block_is_its_mean() {
        let mut block = [0; 64];
        block[0] = 80;
        let mut samples = [0; 64];
        write_block(&block, true, (8, 8), &mut samples, 8);
        assert_eq!(samples, [138; 64]);
        write_block(&block, false, (8, 8), &mut samples, 8);
        assert_eq!(samples, [138; 64]);
    }

    #[test]
    fn absurd_coefficients_do_not_overflow() {
        for value in [i32::MAX, i32::MIN, 65535 * 32767] {
            let mut samples = [0; 64];
            write_block(&[value; 64], false, (8, 8), &mut samples, 8);
            write_block(&[value; 64], false, (4, 4), &mut samples, 8);
            write_block(&[value; 64], true, (1, 1), &mut samples, 8);
        }
    }

    #[test]
    fn smaller_blocks_need_fewer_coefficients() {
        assert_eq!(
            [last_needed(1, 1), last_needed(2, 2), last_needed(4, 4), last_needed(8, 8)],
            [0, 4, 24, 63]
        );
    }
}
