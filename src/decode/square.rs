//! The middle of the resized photo, which is all that an image network looks at.
//!
//! The steps and their rounding are those of Pillow and torchvision, with which the published networks were trained: short
//! side to `resize_short_side` by antialiased bilinear interpolation, centre crop.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use super::{DecodeError, Need};
use crate::photo::Rgb;

/// Rows and columns computed beyond the crop on each side. The bilinear filter reaches one pixel of the
/// result to each side and the bicubic one two, so that with two the crop's own pixels are those of the whole resized picture.
const MARGIN: u32 = 2;

/// How pixels between pixels are computed; both antialiased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// By straight lines.
    #[default]
    Bilinear,
    /// By curves, as Pillow's.
    Bicubic,
}

/// A square in the middle of the photo after a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Square {
    /// The short side in pixels after the resize, 1 and more; the aspect ratio is kept.
    pub resize_short_side: u32,
    /// Side of the square in pixels: from 1 to `resize_short_side`.
    pub side: u32,
    /// The long side becomes as long as the short one: all of the photo is in the square, out of shape.
    pub squash: bool,
    /// How it is resized.
    pub resampling: Resampling,
}

impl Square {
    /// Returns how large the photo must be decoded: twice the short side, so that the resize still averages over four pixels
    /// and more and a scaled decode does not show.
    pub fn need(&self) -> Need {
        Need::short_side(self.resize_short_side.saturating_mul(2))
    }

    /// Resizes a picture and cuts the square out. Memory and time depend on the picture and the square, not on how long
    /// the long side would become.
    ///
    /// # Errors
    /// [`DecodeError::Crashed`] where the picture has no pixels, or not as many as its size says, or where the square is
    /// an impossible one: a fault of ours.
    pub fn cut_from(&self, image: &Rgb) -> Result<Rgb, DecodeError> {
        let Rgb { width, height, pixels } = image;
        let fault = |reason: String| DecodeError::Crashed { reason };
        let expected = u64::from(*width) * u64::from(*height) * 3;
        if expected == 0 || pixels.len() as u64 != expected {
            let len = pixels.len();
            return Err(fault(format!("a picture of {width}x{height} pixels has {len} bytes")));
        }
        if self.side == 0 || self.side > self.resize_short_side {
            return Err(fault(format!("a square of {} pixels in {}", self.side, self.resize_short_side)));
        }
        let tile = self.tile(image).map_err(|error| fault(format!("it cannot be resized: {error}")))?;
        let side = self.side as usize;
        let mut square = Vec::with_capacity(side * side * 3);
        for row in tile.pixels.chunks_exact(tile.width * 3).skip(tile.top).take(side) {
            square.extend_from_slice(&row[tile.left * 3..][..side * 3]);
        }
        Ok(Rgb { width: self.side, height: self.side, pixels: square })
    }

    fn tile(&self, image: &Rgb) -> Result<Tile, Box<dyn std::error::Error>> {
        let short_side = image.width.min(image.height);
        let unit = |side: u32| if self.squash { side } else { short_side };
        let across = Span::new(image.width, unit(image.width), *self);
        let down = Span::new(image.height, unit(image.height), *self);
        let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.pixels)?;
        let mut pixels = vec![0; across.len as usize * down.len as usize * 3];
        let mut target = TypedImage::<U8x3>::from_buffer(across.len, down.len, &mut pixels)?;
        let filter = match self.resampling {
            Resampling::Bilinear => FilterType::Bilinear,
            Resampling::Bicubic => FilterType::CatmullRom,
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
            across.source_start,
            down.source_start,
            across.source_len,
            down.source_len,
        );
        Resizer::new().resize_typed(&source, &mut target, &options)?;
        Ok(Tile {
            width: across.len as usize,
            left: across.crop_start as usize,
            top: down.crop_start as usize,
            pixels,
        })
    }
}

/// The part of the resized picture that was computed: the square and a margin.
struct Tile {
    width: usize,
    /// Where the square begins in it.
    left: usize,
    top: usize,
    pixels: Vec<u8>,
}

/// One axis of the tile.
#[derive(Debug, PartialEq)]
struct Span {
    /// Pixels of the tile.
    len: u32,
    /// Where the square begins in the tile.
    crop_start: u32,
    /// The part of the source that the tile covers, in its pixels.
    source_start: f64,
    source_len: f64,
}

impl Span {
    fn new(side: u32, short_side: u32, square: Square) -> Self {
        let crop = square.side;
        // torchvision cuts the long side off to whole pixels: int(size * long / short).
        let resized = u64::from(square.resize_short_side) * u64::from(side) / u64::from(short_side);
        // torchvision's centre crop rounds like Python: halves go to the even number.
        let start = ((resized - u64::from(crop)) as f64 / 2.0).round_ties_even() as u64;
        let tile_start = start.saturating_sub(u64::from(MARGIN));
        let tile_end = resized.min(start + u64::from(crop + MARGIN));
        let scale = f64::from(side) / resized as f64;
        let source_start = tile_start as f64 * scale;
        let mut source_len = tile_end as f64 * scale - source_start;
        // Rounding must not push the end out of the picture.
        while source_start + source_len > f64::from(side) {
            source_len = source_len.next_down();
        }
        Self {
            len: (tile_end - tile_start) as u32,
            crop_start: (start - tile_start) as u32,
            source_start,
            source_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: Square =
        Square { resize_short_side: 256, side: 224, squash: false, resampling: Resampling::Bilinear };

    #[test]
    fn a_squashed_photo_is_all_in_the_square() {
        // Red on the left and blue on the right end of a wide photo.
        let colour = |x: usize| match x {
            0..20 => [255, 0, 0],
            180..200 => [0, 0, 255],
            _ => [0, 255, 0],
        };
        let pixels = (0..200 * 50).flat_map(|at| colour(at % 200)).collect();
        let image = Rgb { width: 200, height: 50, pixels };
        let row = |square: Square| {
            let cut = square.cut_from(&image).unwrap();
            assert_eq!((cut.width, cut.height), (20, 20));
            let row = &cut.pixels[10 * 60..11 * 60];
            [row[..3].to_vec(), row[30..33].to_vec(), row[57..].to_vec()]
        };
        for resampling in [Resampling::Bilinear, Resampling::Bicubic] {
            let square = Square { resize_short_side: 20, side: 20, squash: true, resampling };
            assert_eq!(row(square), [[255, 0, 0], [0, 255, 0], [0, 0, 255]]);
            assert_eq!(row(Square { squash: false, ..square }), [[0, 255, 0]; 3], "the ends are cut off");
        }
    }

    #[test]
    fn bicubic_overshoots_at_an_edge_and_bilinear_does_not() {
        let pixels = (0..64 * 64).flat_map(|at| [if at % 64 < 32 { 64 } else { 192 }; 3]).collect();
        let image = Rgb { width: 64, height: 64, pixels };
        let extremes = |resampling| {
            let square = Square { resize_short_side: 32, side: 32, squash: false, resampling };
            let pixels = square.cut_from(&image).unwrap().pixels;
            (*pixels.iter().min().unwrap(), *pixels.iter().max().unwrap())
        };
        assert_eq!(extremes(Resampling::Bilinear), (64, 192));
        let (darkest, brightest) = extremes(Resampling::Bicubic);
        assert!(darkest < 64 && brightest > 192, "{darkest} {brightest}");
    }

    #[test]
    fn the_square_lies_where_torchvision_puts_it() {
        let check = |side, short, len, crop_start, start: u32| {
            let span = Span::new(side, short, SQUARE);
            assert_eq!((span.len, span.crop_start), (len, crop_start), "{side} of {short}");
            let scale = f64::from(side) / (256.0 * f64::from(side) / f64::from(short)).floor();
            let tile_start = f64::from(start - crop_start) * scale;
            assert!((span.source_start - tile_start).abs() < 1e-9, "{span:?}");
        };
        check(512, 512, 228, 2, 16);
        check(256, 256, 228, 2, 16);
        check(257, 256, 228, 2, 16); // (257 - 224) / 2 = 16.5 goes to 16
        check(259, 256, 228, 2, 18); // 17.5 goes to 18
        check(4000, 3000, 228, 2, 58); // 341 columns, 58.5 goes to 58
    }

    #[test]
    fn an_absurdly_long_picture_costs_no_more_than_its_square() {
        let image = Rgb { width: 1, height: 1_000_000, pixels: vec![7; 3_000_000] };
        assert_eq!(SQUARE.cut_from(&image).unwrap().pixels, [7; 3 * 224 * 224]);
    }

    #[test]
    fn a_picture_without_its_pixels_and_an_impossible_square_are_refused() {
        let refused = |square: Square, width, height, len| {
            let cut = square.cut_from(&Rgb { width, height, pixels: vec![0; len] });
            assert!(matches!(cut, Err(DecodeError::Crashed { .. })), "{cut:?}");
        };
        refused(SQUARE, 0, 0, 0);
        refused(SQUARE, 2, 2, 11);
        refused(Square { side: 257, ..SQUARE }, 2, 2, 12);
        refused(Square { side: 0, ..SQUARE }, 2, 2, 12);
    }

    /// The picture that `tests/reference/make.py` draws with the same formula.
    fn drawn(width: u32, height: u32) -> Rgb {
        let mut pixels = Vec::new();
        for y in 0..u64::from(height) {
            for x in 0..u64::from(width) {
                let (right, bottom) = (u64::from(width - 1).max(1), u64::from(height - 1).max(1));
                let red = x * 255 / right + 40 * ((x / 16 + y / 16) % 2);
                let green = y * 255 / bottom + x * y % 64;
                let blue = x * 7 + y * 13 + (x * x + y * y) / 50;
                pixels.extend([red, green, blue].map(|value| (value % 256) as u8));
            }
        }
        Rgb { width, height, pixels }
    }

    #[test]
    fn squares_are_those_of_pillow_within_one_level() {
        #[derive(Deserialize)]
        struct Reference {
            every: usize,
            pictures: Vec<Picture>,
        }
        #[derive(Deserialize)]
        struct Picture {
            width: u32,
            height: u32,
            levels: Vec<u8>,
        }
        let reference: Reference =
            serde_json::from_str(include_str!("../../tests/reference/tensors.json")).unwrap();
        for picture in reference.pictures {
            let square = SQUARE.cut_from(&drawn(picture.width, picture.height)).unwrap();
            let levels: Vec<u8> = square.pixels.iter().copied().step_by(reference.every).collect();
            let largest = levels.iter().zip(&picture.levels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(
                levels.len() == picture.levels.len() && largest <= Some(1),
                "{}x{}: {largest:?}",
                picture.width,
                picture.height
            );
        }
    }
}
