//! The perceptual hash: the signs of a picture's spectrum.
//!
//! The picture, squeezed to 128 x 128 grey levels, goes through a discrete cosine transform, of which the frequencies from 1
//! to 32 in either direction are kept. Those up to 16 are the 256 of PDQ (<https://github.com/facebook/ThreatExchange>), and
//! they are compared with its limit; its bits say whether a coefficient is above the median of all, ours whether it is above
//! 0, so that the hash of a turned or mirrored picture follows from that of the upright one: mirroring changes the
//! sign of every odd frequency, and nothing else.

use std::sync::LazyLock;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::Turn;
use crate::photo::Rgb;

/// Side of the squeezed picture.
const SIDE: usize = 128;

/// Frequencies kept in each direction, from 1.
const FREQUENCIES: usize = 32;

/// Those of them that are coarse.
const COARSE: usize = 16;

/// Bits of the coarse frequencies in a row.
const COARSE_BITS: u32 = (1 << COARSE) - 1;

/// Odd frequencies in a row: the first is 1.
const ODD: u32 = 0x5555_5555;

/// 1,024 signs: a row for each vertical frequency from 1 on, in it a bit for each horizontal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerceptualHash(pub [u32; FREQUENCIES]);

impl PerceptualHash {
    /// Returns the hash of the picture after it was turned.
    #[must_use]
    pub fn turned(self, turn: Turn) -> Self {
        let Self(mut rows) = if turn.swaps_sides() { self.transposed() } else { self };
        let (across, down) = turn.mirrors();
        for (place, row) in rows.iter_mut().enumerate() {
            if across {
                *row ^= ODD;
            }
            if down && place % 2 == 0 {
                *row ^= u32::MAX;
            }
        }
        Self(rows)
    }

    fn transposed(self) -> Self {
        Self(std::array::from_fn(|row| {
            self.0.iter().enumerate().fold(0, |bits, (place, of)| bits | (((of >> row) & 1) << place))
        }))
    }

    /// Returns in how many of the 256 coarse bits they differ.
    pub fn coarse_distance(&self, other: &Self) -> u32 {
        let rows = self.0.iter().zip(&other.0).take(COARSE);
        rows.map(|(one, other)| ((one ^ other) & COARSE_BITS).count_ones()).sum()
    }

    /// Returns in how many of the 768 others they differ.
    pub fn fine_distance(&self, other: &Self) -> u32 {
        let all: u32 = self.0.iter().zip(&other.0).map(|(one, other)| (one ^ other).count_ones()).sum();
        all - self.coarse_distance(other)
    }

    /// Makes a hash of its coarse bits, all others 0.
    pub(super) fn of_coarse(coarse: [u16; COARSE]) -> Self {
        let mut rows = [0; FREQUENCIES];
        rows.iter_mut().zip(coarse).for_each(|(row, bits)| *row = u32::from(bits));
        Self(rows)
    }

    /// Returns the 256 coarse bits, in pieces of 16.
    pub fn coarse(&self) -> [u16; COARSE] {
        std::array::from_fn(|row| (self.0[row] & COARSE_BITS) as u16)
    }
}

/// The spectrum of a picture.
pub(super) struct Spectrum {
    /// Coefficients by vertical, then horizontal frequency, from 0 to [`FREQUENCIES`].
    coefficients: Vec<f32>,
    /// Mean colour.
    pub(super) mean: [u8; 3],
}

impl Spectrum {
    pub(super) fn of(image: &Rgb) -> Result<Self, Box<dyn std::error::Error>> {
        let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.pixels)?;
        let mut pixels = [0; SIDE * SIDE * 3];
        let mut squeezed = TypedImage::<U8x3>::from_buffer(SIDE as u32, SIDE as u32, &mut pixels)?;
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box));
        Resizer::new().resize_typed(&source, &mut squeezed, &options)?;
        let pixels = pixels.as_chunks::<3>().0;
        let mut sums = [0u32; 3];
        let mut grey = Vec::with_capacity(SIDE * SIDE);
        for &[red, green, blue] in pixels {
            sums.iter_mut().zip([red, green, blue]).for_each(|(sum, value)| *sum += u32::from(value));
            grey.push(0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue));
        }
        let count = pixels.len() as u32;
        Ok(Self { coefficients: transform(&grey), mean: sums.map(|sum| ((sum + count / 2) / count) as u8) })
    }

    pub(super) fn hash(&self) -> PerceptualHash {
        PerceptualHash(std::array::from_fn(|row| {
            let row = &self.coefficients[(row + 1) * (FREQUENCIES + 1)..][1..=FREQUENCIES];
            row.iter().enumerate().fold(0, |bits, (place, &value)| bits | (u32::from(value > 0.0) << place))
        }))
    }

    /// Returns the standard deviation in grey levels that the frequencies up to [`COARSE`] make.
    pub(super) fn coarse_contrast(&self) -> f32 {
        self.contrast(|highest| (1..=COARSE).contains(&highest))
    }

    /// Returns the same of those above.
    pub(super) fn fine_contrast(&self) -> f32 {
        self.contrast(|highest| highest > COARSE)
    }

    fn contrast(&self, is_meant: impl Fn(usize) -> bool) -> f32 {
        let side = FREQUENCIES + 1;
        let meant =
            self.coefficients.iter().enumerate().filter(|(at, _)| is_meant((at / side).max(at % side)));
        (meant.map(|(_, value)| value * value).sum::<f32>()).sqrt() / SIDE as f32
    }
}

/// The orthonormal cosine transform (DCT-II) in both directions.
fn transform(grey: &[f32]) -> Vec<f32> {
    let side = FREQUENCIES + 1;
    // By row and horizontal frequency.
    let mut across = Vec::with_capacity(SIDE * side);
    for row in grey.chunks_exact(SIDE) {
        across.extend(BASIS.chunks_exact(SIDE).map(|wave| dot(row, wave)));
    }
    let mut coefficients = vec![0.0; side * side];
    for (wave, sums) in BASIS.chunks_exact(SIDE).zip(coefficients.chunks_exact_mut(side)) {
        for (&weight, row) in wave.iter().zip(across.chunks_exact(side)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    coefficients
}

/// Adds up in eight lanes, which the compiler makes one instruction of.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (one, other) in one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0) {
        for (lane, (one, other)) in lanes.iter_mut().zip(one.iter().zip(other)) {
            *lane += one * other;
        }
    }
    lanes.iter().sum()
}

/// The waves, by frequency from 0.
static BASIS: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let side = SIDE as f64;
    let wave = |frequency: usize| {
        let scale = if frequency == 0 { (1.0 / side).sqrt() } else { (2.0 / side).sqrt() };
        (0..SIDE).map(move |place| {
            let angle = std::f64::consts::PI * (2 * place + 1) as f64 * frequency as f64 / (2.0 * side);
            (scale * angle.cos()) as f32
        })
    };
    (0..=FREQUENCIES).flat_map(wave).collect()
});
