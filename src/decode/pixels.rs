//! Any kind of pixel -> 8-bit RGB, no larger than needed.

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
    /// Drops what the eye does not need: 16 bits and floats become 8, and what is transparent lies on white,
    /// as on paper.
    pub(super) fn of(image: DynamicImage) -> Self {
        match image {
            DynamicImage::ImageRgb8(image) => Self::Rgb(image.into_raw()),
            DynamicImage::ImageLuma8(image) => Self::Grey(image.into_raw()),
            DynamicImage::ImageLuma16(_) => Self::Grey(image.into_luma8().into_raw()),
            DynamicImage::ImageRgba8(image) => Self::Rgb(over_white(&image)),
            image if image.color().has_alpha() => Self::Rgb(over_white(&image.into_rgba8())),
            image => Self::Rgb(image.into_rgb8().into_raw()),
        }
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

/// Lays RGBA pixels on white.
pub(super) fn over_white(rgba: &[u8]) -> Vec<u8> {
    let (pixels, _) = rgba.as_chunks::<4>();
    pixels.iter().flat_map(|&[red, green, blue, alpha]| blended([red, green, blue], alpha)).collect()
}

/// Lays one pixel on white.
#[inline(always)]
pub(super) fn blended(pixel: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    pixel.map(|value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
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
        let laid = over_white(&[10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 128]);
        assert_eq!(laid, [255, 255, 255, 10, 20, 30, 127, 127, 127]);
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
