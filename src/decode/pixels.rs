//! Any kind of pixel -> 8-bit RGB, no larger than needed, on a ground that shows what is not transparent.

use image::DynamicImage;

use super::Need;
use super::colour::Colour;
use crate::photo::Rgb;

/// Pixels in the colour space of their file.
pub(super) enum Pixels {
    Grey(Vec<u8>),
    Rgb(Vec<u8>),
    /// Ink: 0 none, 255 full.
    Cmyk(Vec<u8>),
}

impl Pixels {
    /// Drops what the eye does not need: 16 bits and floats become 8, and what is transparent lies on a [`Ground`]. Says
    /// whether anything is.
    pub(super) fn of(image: DynamicImage) -> (Self, bool) {
        let opaque = |pixels| (pixels, false);
        match image {
            DynamicImage::ImageRgb8(image) => opaque(Self::Rgb(image.into_raw())),
            DynamicImage::ImageLuma8(image) => opaque(Self::Grey(image.into_raw())),
            DynamicImage::ImageLuma16(_) => opaque(Self::Grey(image.into_luma8().into_raw())),
            image if image.color().has_alpha() => {
                let (rgb, is_transparent) = over_ground(&image.into_rgba8());
                (Self::Rgb(rgb), is_transparent)
            }
            image => opaque(Self::Rgb(image.into_rgb8().into_raw())),
        }
    }
}

/// What lies behind what is transparent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ground {
    /// White, as paper is.
    #[default]
    White,
    /// Black, for what would hardly be seen on white: white signatures, logos and stickers.
    Black,
}

/// How much darker than white, in levels, what is seen must be on the mean to lie on white.
const LEAST_DARKNESS: u64 = 64;

impl Ground {
    /// Chooses the ground for pixels with their alpha. `None` where none is transparent.
    pub(super) fn under(pixels: impl Iterator<Item = ([u8; 3], u8)>) -> Option<Self> {
        let (mut is_transparent, mut seen, mut darkness) = (false, 0u64, 0u64);
        for (pixel, alpha) in pixels {
            let [red, green, blue] = pixel.map(u64::from);
            is_transparent |= alpha != u8::MAX;
            seen += u64::from(alpha);
            darkness += u64::from(alpha) * (255 - (299 * red + 587 * green + 114 * blue) / 1000);
        }
        let shows_on_white = darkness >= seen * LEAST_DARKNESS;
        is_transparent.then_some(if shows_on_white { Self::White } else { Self::Black })
    }

    /// Lays one pixel on it.
    #[inline(always)]
    pub(super) fn blended(self, pixel: [u8; 3], alpha: u8) -> [u8; 3] {
        let behind = match self {
            Self::White => 255,
            Self::Black => 0,
        };
        let alpha = u32::from(alpha);
        pixel.map(|value| ((u32::from(value) * alpha + behind * (255 - alpha) + 127) / 255) as u8)
    }
}

impl Pixels {
    /// Converts to RGB as a screen shows it.
    pub(super) fn into_srgb(self, colour: &Colour) -> Vec<u8> {
        match self {
            Self::Grey(grey) => colour.grey_to_srgb(&grey),
            Self::Cmyk(cmyk) => colour.cmyk_to_srgb(&cmyk),
            Self::Rgb(mut rgb) => {
                colour.rgb_to_srgb(&mut rgb);
                rgb
            }
        }
    }

    /// Makes the picture of a decoder that knows one size only as small as needed, and converts its colours.
    pub(super) fn into_picture(self, width: u32, height: u32, colour: &Colour, need: Need) -> Rgb {
        match self {
            // Most pictures; converting colours is dear, so the small ones are converted.
            Self::Rgb(pixels) => {
                let mut image = shrink(Rgb { width, height, pixels }, need);
                colour.rgb_to_srgb(&mut image.pixels);
                image
            }
            other => shrink(Rgb { width, height, pixels: other.into_srgb(colour) }, need),
        }
    }
}

/// Lays RGBA pixels on a ground, and says whether any of them needed one.
pub(super) fn over_ground(rgba: &[u8]) -> (Vec<u8>, bool) {
    let (pixels, _) = rgba.as_chunks::<4>();
    let split = |&[red, green, blue, alpha]: &[u8; 4]| ([red, green, blue], alpha);
    let Some(ground) = Ground::under(pixels.iter().map(split)) else { return (without_alpha(rgba), false) };
    (pixels.iter().map(split).flat_map(|(pixel, alpha)| ground.blended(pixel, alpha)).collect(), true)
}

/// Takes the alpha channel off RGBA pixels that are all opaque.
pub(super) fn without_alpha(rgba: &[u8]) -> Vec<u8> {
    rgba.as_chunks::<4>().0.iter().flat_map(|&[red, green, blue, _]| [red, green, blue]).collect()
}

/// Averages whole squares of pixels, as many as the need allows, so that what waits for the encoder is small.
pub(super) fn shrink(image: Rgb, need: Need) -> Rgb {
    if Shrinker::factor(image.width, image.height, need) < 2 {
        return image;
    }
    let mut shrinker = Shrinker::new(image.width, image.height, need);
    shrinker.push(&image.pixels);
    shrinker.finish()
}

/// Does what [`shrink`] does with a picture that comes some rows at a time.
pub(super) struct Shrinker {
    factor: usize,
    width: usize,
    height: usize,
    /// Rows taken in.
    rows: usize,
    /// Sums of the squares of which not all rows have come.
    sums: Vec<[u32; 3]>,
    pixels: Vec<u8>,
}

impl Shrinker {
    /// Returns how many pixels a side become one.
    fn factor(width: u32, height: u32, need: Need) -> u32 {
        (width.min(height) / need.short_side.max(1)).clamp(1, 1024)
    }

    /// Prepares for a picture of this size.
    pub(super) fn new(width: u32, height: u32, need: Need) -> Self {
        let factor = Self::factor(width, height, need) as usize;
        let (width, height) = (width as usize, height as usize);
        let shrunk_width = width.div_ceil(factor);
        let pixels = Vec::with_capacity(shrunk_width * height.div_ceil(factor) * 3);
        Self { factor, width, height, rows: 0, sums: vec![[0; 3]; shrunk_width], pixels }
    }

    /// Takes in whole rows; those below the picture are dropped.
    pub(super) fn push(&mut self, rows: &[u8]) {
        let rows = rows.chunks_exact(self.width * 3).take(self.height - self.rows);
        if self.factor == 1 {
            self.rows += rows.len();
            rows.for_each(|row| self.pixels.extend_from_slice(row));
            return;
        }
        for row in rows {
            for (sum, square) in self.sums.iter_mut().zip(row.chunks(3 * self.factor)) {
                for pixel in square.as_chunks::<3>().0 {
                    for (sum, &value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(value);
                    }
                }
            }
            self.rows += 1;
            let rows = self.rows % self.factor;
            if rows == 0 || self.rows == self.height {
                self.average(if rows == 0 { self.factor } else { rows });
            }
        }
    }

    /// Makes pixels of the sums over so many rows.
    fn average(&mut self, rows: usize) {
        for (column, sum) in self.sums.iter_mut().enumerate() {
            let columns = self.factor.min(self.width - column * self.factor);
            let count = (rows * columns) as u32;
            self.pixels.extend(sum.map(|sum| ((sum + count / 2) / count) as u8));
            *sum = [0; 3];
        }
    }

    /// Returns the picture. Rows that never came are black.
    pub(super) fn finish(mut self) -> Rgb {
        let (width, height) = (self.width.div_ceil(self.factor), self.height.div_ceil(self.factor));
        self.pixels.resize(width * height * 3, 0);
        Rgb { width: width as u32, height: height as u32, pixels: self.pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transparent_lies_on_white() {
        let laid = over_ground(&[10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 128]);
        assert_eq!(laid, (vec![255, 255, 255, 10, 20, 30, 127, 127, 127], true));
        assert_eq!(over_ground(&[10, 20, 30, 255]), (vec![10, 20, 30], false));
    }

    /// White stars, rings and letters were one white picture.
    #[test]
    fn what_would_not_be_seen_on_white_lies_on_black() {
        let (laid, _) = over_ground(&[255, 255, 255, 0, 255, 255, 255, 255, 250, 240, 255, 128]);
        assert_eq!(laid, [0, 0, 0, 255, 255, 255, 125, 120, 128]);
        let (nothing, _) = over_ground(&[0, 0, 0, 0]);
        assert_eq!(nothing, [255; 3], "nothing is seen on either");
    }

    #[test]
    fn shrinking_averages_squares_and_never_goes_below_the_need() {
        let image = |width: u32, height: u32| Rgb {
            width,
            height,
            pixels: (0..width * height).flat_map(|at| [(at % 251) as u8; 3]).collect(),
        };
        let check = |width, height, need, expected: (u32, u32)| {
            let shrunk = shrink(image(width, height), Need::short_side(need));
            assert_eq!((shrunk.width, shrunk.height), expected);
            assert_eq!(shrunk.pixels.len() as u32, expected.0 * expected.1 * 3);
        };
        check(10, 9, 3, (4, 3));
        check(10, 9, 5, (10, 9));
        check(10, 9, 4, (5, 5));
        let shrunk = shrink(image(3, 2), Need::short_side(1));
        assert_eq!(shrunk.pixels, [2, 2, 2, 4, 4, 4]); // 0 1 3 4 and 2 5, halves up
    }

    #[test]
    fn rows_may_come_in_any_portions() {
        let pixels: Vec<u8> = (0..7 * 11 * 3).map(|at| (at * 37 % 256) as u8).collect();
        let whole = shrink(Rgb { width: 7, height: 11, pixels: pixels.clone() }, Need::short_side(2));
        let mut shrinker = Shrinker::new(7, 11, Need::short_side(2));
        for rows in [0..2, 2..3, 3..9, 9..11] {
            shrinker.push(&pixels[rows.start * 21..rows.end * 21]);
        }
        shrinker.push(&pixels[..21]);
        assert_eq!(shrinker.finish(), whole);
    }

    #[test]
    fn asking_for_everything_changes_nothing() {
        let image = Rgb { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(shrink(image.clone(), Need::full()), image);
    }
}
