//! A gray picture, and the three things that are done to one as a whole: sizing, smoothing, and the scale pyramid.
//!
//! The pyramid is that of ORB (Rublee, Rabaud, Konolige and Bradski, *ORB: an efficient alternative to SIFT or SURF*, ICCV
//! 2011, section 3): eight levels, each 1.2 times smaller than the one before, so that a corner is found again in a copy of
//! another size.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use multiversion::multiversion;

/// Long side in pixels at which features are looked for. Smaller pictures are enlarged to it: else the patch around a corner
/// of a small copy would hold several times as much of the scene as in the original.
pub const LONG_SIDE: u32 = 320;

/// Levels of the pyramid.
pub const LEVELS: usize = 8;

/// How much smaller each level is than the one before.
pub const SCALE_STEP: f32 = 1.2;

/// Pixels that are brightness alone: 8 bits, rows from the top, no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Pixels a row, 1 and more.
    pub width: u32,
    /// Rows, 1 and more.
    pub height: u32,
    /// `width * height` bytes.
    pub pixels: Vec<u8>,
}

impl Plane {
    /// Takes the pixels of a gray picture, or gives `None` where there are none or not as many as its size says.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let expected = u64::from(width) * u64::from(height);
        (expected > 0 && pixels.len() as u64 == expected).then_some(Self { width, height, pixels })
    }

    /// Makes the brightness (ITU-R BT.601) of pixels that are red, green and blue, or gives `None` where there are none or
    /// not as many as the size says.
    pub fn of_rgb(width: u32, height: u32, rgb: &[u8]) -> Option<Self> {
        let (pixels, rest) = rgb.as_chunks::<3>();
        let brightness = |&[r, g, b]: &[u8; 3]| {
            ((u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114 + 500) / 1000) as u8
        };
        rest.is_empty().then(|| Self::new(width, height, pixels.iter().map(brightness).collect())).flatten()
    }

    /// Returns the picture at another size, antialiased.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let source = TypedImageRef::<U8>::from_buffer(self.width, self.height, &self.pixels)
            .expect("a plane has as many pixels as its size says");
        let mut pixels = vec![0; width as usize * height as usize];
        let mut target =
            TypedImage::<U8>::from_buffer(width, height, &mut pixels).expect("it was just made in that size");
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new()
            .resize_typed(&source, &mut target, &options)
            .expect("both are gray pictures of 8 bits");
        Self { width, height, pixels }
    }

    /// Returns the picture with its long side at [`LONG_SIDE`].
    pub fn at_feature_size(&self) -> Self {
        let long = self.width.max(self.height);
        let side = |side: u32| {
            ((u64::from(side) * u64::from(LONG_SIDE) + u64::from(long) / 2) / u64::from(long)).max(1) as u32
        };
        self.resized(side(self.width), side(self.height))
    }

    /// Returns the levels of the pyramid, largest first. Levels of less than two pixels are left out.
    pub fn pyramid(&self) -> Vec<Self> {
        let level = |index: usize| {
            let scale = scale_of(index as u8);
            let side = |side: u32| (side as f32 / scale).round() as u32;
            (side(self.width), side(self.height))
        };
        let sizes = (0..LEVELS).map(level).take_while(|&(width, height)| width > 1 && height > 1);
        sizes.map(|(width, height)| self.resized(width, height)).collect()
    }

    /// Returns the picture smoothed by a binomial filter of seven taps (variance 1.5), edges repeated. The tests of a
    /// descriptor compare single pixels, so noise must be gone (Calonder et al., *BRIEF*, ECCV 2010, section 3.1).
    pub fn smoothed(&self) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut across = vec![0u16; width * height];
        let mut padded = vec![0u8; width + 2 * REACH];
        for (row, out) in self.pixels.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            padded[..REACH].fill(row[0]);
            padded[REACH..][..width].copy_from_slice(row);
            padded[REACH + width..].fill(row[width - 1]);
            smooth_row(&padded, out);
        }
        let mut pixels = vec![0; width * height];
        for (y, out) in pixels.chunks_exact_mut(width).enumerate() {
            let rows = std::array::from_fn(|tap| {
                let row = (y + tap).saturating_sub(REACH).min(height - 1);
                &across[row * width..][..width]
            });
            smooth_column(rows, out);
        }
        Self { width: self.width, height: self.height, pixels }
    }
}

/// Pixels to each side that smoothing takes in.
const REACH: usize = 3;

/// The weights, of 64. Symmetric, so that equal ones are added first.
const TAPS: [u16; REACH + 1] = [1, 6, 15, 20];

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn smooth_row(padded: &[u8], out: &mut [u16]) {
    let len = out.len();
    let tap = |by: usize| &padded[by..][..len];
    let (a, b, c, d, e, f, g) = (tap(0), tap(1), tap(2), tap(3), tap(4), tap(5), tap(6));
    for x in 0..len {
        let pair = |one: u8, other: u8| u16::from(one) + u16::from(other);
        out[x] = pair(a[x], g[x]) * TAPS[0]
            + pair(b[x], f[x]) * TAPS[1]
            + pair(c[x], e[x]) * TAPS[2]
            + u16::from(d[x]) * TAPS[3];
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn smooth_column(rows: [&[u16]; 2 * REACH + 1], out: &mut [u8]) {
    let len = out.len();
    let [a, b, c, d, e, f, g] = rows.map(|row| &row[..len]);
    for x in 0..len {
        let pair = |one: u16, other: u16| u32::from(one) + u32::from(other);
        let sum = pair(a[x], g[x]) * u32::from(TAPS[0])
            + pair(b[x], f[x]) * u32::from(TAPS[1])
            + pair(c[x], e[x]) * u32::from(TAPS[2])
            + u32::from(d[x]) * u32::from(TAPS[3]);
        out[x] = ((sum + 2048) >> 12) as u8;
    }
}

/// Returns how many pixels of the picture one of a level is wide.
pub fn scale_of(level: u8) -> f32 {
    SCALE_STEP.powi(i32::from(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_shrink_by_the_step_and_none_is_empty() {
        let levels = Plane::new(320, 200, vec![7; 64_000]).unwrap().pyramid();
        let sizes: Vec<_> = levels.iter().map(|level| (level.width, level.height)).collect();
        assert_eq!(sizes[..3], [(320, 200), (267, 167), (222, 139)]);
        assert_eq!(sizes.len(), LEVELS);
        assert!(levels.iter().all(|level| level.pixels.iter().all(|&pixel| pixel == 7)));
        assert_eq!(Plane::new(320, 2, vec![0; 640]).unwrap().pyramid().len(), 2);
    }

    #[test]
    fn pictures_without_their_pixels_are_none() {
        assert_eq!(Plane::new(0, 3, vec![]), None);
        assert_eq!(Plane::new(2, 2, vec![0; 3]), None);
        assert_eq!(Plane::of_rgb(1, 1, &[1, 2]), None);
        assert_eq!(Plane::of_rgb(2, 1, &[255, 255, 255, 0, 255, 0]).unwrap().pixels, [255, 150]);
    }

    #[test]
    fn small_and_large_pictures_get_the_size_of_features() {
        let size = |width, height| {
            let plane =
                Plane::new(width, height, vec![9; (width * height) as usize]).unwrap().at_feature_size();
            (plane.width, plane.height)
        };
        assert_eq!(size(80, 60), (320, 240));
        assert_eq!(size(600, 1200), (160, 320));
        assert_eq!(size(2000, 1), (320, 1));
    }

    #[test]
    fn smoothing_keeps_a_flat_picture_and_spreads_a_point() {
        let flat = Plane::new(9, 9, vec![200; 81]).unwrap();
        assert_eq!(flat.smoothed(), flat);
        let mut point = Plane::new(9, 9, vec![0; 81]).unwrap();
        point.pixels[40] = 255;
        let smoothed = point.smoothed();
        assert_eq!(smoothed.pixels[40], 25); // 255 * 20 * 20 / 4096
        assert_eq!(smoothed.pixels[41], smoothed.pixels[31]);
    }
}
