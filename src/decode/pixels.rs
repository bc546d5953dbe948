//! Any kind of pixel -> 8-bit RGB, no larger than needed.

use image::DynamicImage;

use super::Need;
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
    let factor = (image.width.min(image.height) / need.short_side.max(1)) as usize;
    if factor < 2 {
        return image;
    }
    let row_bytes = image.width as usize * 3;
    let width = (image.width as usize).div_ceil(factor);
    let height = (image.height as usize).div_ceil(factor);
    let mut pixels = Vec::with_capacity(width * height * 3);
    let mut sums = vec![[0u32; 3]; width];
    for rows in image.pixels.chunks(row_bytes * factor) {
        sums.fill([0; 3]);
        for row in rows.chunks_exact(row_bytes) {
            for (sum, square) in sums.iter_mut().zip(row.chunks(3 * factor)) {
                for pixel in square.as_chunks::<3>().0 {
                    for (sum, &value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(value);
                    }
                }
            }
        }
        let rows = (rows.len() / row_bytes) as u32;
        for (column, sum) in sums.iter().enumerate() {
            let columns = factor.min(image.width as usize - column * factor) as u32;
            let count = rows * columns;
            pixels.extend(sum.map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    Rgb { width: width as u32, height: height as u32, pixels }
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
    fn asking_for_everything_changes_nothing() {
        let image = Rgb { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(shrink(image.clone(), Need::full()), image);
    }
}
