//! From a picture of any size to the numbers an image network reads.
//!
//! The steps and their rounding are those of Pillow and torchvision, with which the published networks were
//! trained: short side to `resize_short_side` by antialiased bilinear interpolation, centre crop, division by
//! 255, normalisation by channel. Pure computation, on whichever thread the caller likes; the buffers that are
//! worth keeping live in a [`Preprocessor`].

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::photo::Rgb;

/// Rows and columns computed beyond the crop on each side. The bilinear filter reaches one pixel of the
/// result to each side, so that with two the crop's own pixels are those of the whole resized picture.
const MARGIN: u32 = 2;

/// What a network wants its input to look like, as its manifest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The short side in pixels after the resize; the aspect ratio is kept.
    pub resize_short_side: u32,
    /// Side of the square cut out of the middle, in pixels.
    pub crop: u32,
    /// Subtracted from each channel (red, green, blue) after its values were brought to 0..1.
    pub mean: [f32; 3],
    /// Each channel is divided by it at the end.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// [`PreprocessError::Impossible`] says which one does not.
    pub fn validate(&self) -> Result<(), PreprocessError> {
        let impossible = |what: &str| Err(PreprocessError::Impossible { what: what.to_owned() });
        if self.crop == 0 || self.crop > self.resize_short_side {
            return impossible("crop must be from 1 to resize_short_side");
        }
        if self.resize_short_side > 4096 {
            return impossible("resize_short_side must be 4096 at most");
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return impossible("each mean must be a finite number");
        }
        if !self.std.iter().all(|std| std.is_normal() && *std > 0.0) {
            return impossible("each std must be above 0");
        }
        Ok(())
    }

    /// The short side to ask of [`decode`](crate::decode::decode): twice that of the resize, so that a
    /// picture that was scaled while decoding still gives the same embedding.
    pub fn needed_short_side(&self) -> u32 {
        self.resize_short_side.saturating_mul(2)
    }

    /// The square in the middle that the network's input depends on: its side, in thousandths of the short side. It is
    /// the crop, what the resize reads around it, and one pixel for the rounding of its place.
    pub fn needed_middle(&self) -> u32 {
        let side = u64::from(self.crop) + 2 * u64::from(MARGIN) + 2;
        u32::try_from((side * 1000).div_ceil(u64::from(self.resize_short_side.max(1)))).unwrap_or(u32::MAX)
    }
}

/// One photo as a network reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Rows and columns.
    pub side: u32,
    /// `3 * side * side` numbers: all rows of red, then green, then blue (NCHW of a batch of one).
    pub values: Vec<f32>,
}

/// Why a picture could not be preprocessed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The manifest asks for something that cannot be.
    #[error("impossible preprocessing: {what}")]
    Impossible {
        /// Which number, and what it must be.
        what: String,
    },
    /// The picture has no pixels, or not as many as its size says.
    #[error("a picture of {width}x{height} pixels with {len_bytes} bytes cannot be resized")]
    NotAPicture {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Length of the pixels.
        len_bytes: usize,
    },
    /// The resize failed.
    #[error("the picture could not be resized")]
    Resize(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Preprocesses one picture. Whoever has many keeps a [`Preprocessor`].
///
/// # Errors
/// See [`Preprocessor::run`].
pub fn preprocess(image: &Rgb, preprocessing: &Preprocessing) -> Result<Input, PreprocessError> {
    Preprocessor::new(preprocessing.clone())?.run(image)
}

/// Preprocesses pictures one after another with the same settings and buffers.
pub struct Preprocessor {
    preprocessing: Preprocessing,
    /// The number that each byte of each channel becomes.
    values: [[f32; 256]; 3],
    resizer: Resizer,
}

impl Preprocessor {
    /// Prepares for these settings.
    ///
    /// # Errors
    /// [`PreprocessError::Impossible`], see [`Preprocessing::validate`].
    pub fn new(preprocessing: Preprocessing) -> Result<Self, PreprocessError> {
        preprocessing.validate()?;
        let values = std::array::from_fn(|channel| {
            let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
            std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
        });
        Ok(Self { preprocessing, values, resizer: Resizer::new() })
    }

    /// Preprocesses one picture. Memory and time depend on the picture and the crop, not on how long the long
    /// side would become.
    ///
    /// # Errors
    /// [`PreprocessError::NotAPicture`] where the pixels do not match the size.
    pub fn run(&mut self, image: &Rgb) -> Result<Input, PreprocessError> {
        let crop = self.preprocessing.crop;
        let tile = self.resized_tile(image)?;
        let mut values = Vec::with_capacity(3 * crop as usize * crop as usize);
        for (channel, table) in self.values.iter().enumerate() {
            for y in 0..crop as usize {
                let start = ((tile.top + y) * tile.width + tile.left) * 3;
                let row = &tile.pixels[start..start + crop as usize * 3];
                values.extend(row.chunks_exact(3).map(|pixel| table[usize::from(pixel[channel])]));
            }
        }
        Ok(Input { side: crop, values })
    }

    fn resized_tile(&mut self, image: &Rgb) -> Result<Tile, PreprocessError> {
        let Rgb { width, height, pixels } = image;
        let expected = u64::from(*width) * u64::from(*height) * 3;
        if expected == 0 || pixels.len() as u64 != expected {
            let (width, height, len_bytes) = (*width, *height, pixels.len());
            return Err(PreprocessError::NotAPicture { width, height, len_bytes });
        }
        let Preprocessing { resize_short_side, crop, .. } = self.preprocessing;
        let short_side = *width.min(height);
        let across = Span::new(*width, short_side, resize_short_side, crop);
        let down = Span::new(*height, short_side, resize_short_side, crop);

        let source = ImageRef::new(*width, *height, pixels, PixelType::U8x3)
            .map_err(|error| PreprocessError::Resize(error.into()))?;
        let mut target = Image::new(across.len, down.len, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
            across.source_start,
            down.source_start,
            across.source_len,
            down.source_len,
        );
        self.resizer
            .resize(&source, &mut target, &options)
            .map_err(|error| PreprocessError::Resize(error.into()))?;
        Ok(Tile {
            width: across.len as usize,
            left: across.crop_start as usize,
            top: down.crop_start as usize,
            pixels: target.into_vec(),
        })
    }
}

/// The part of the resized picture that was computed: the crop and a margin.
struct Tile {
    width: usize,
    /// Where the crop begins in it.
    left: usize,
    top: usize,
    pixels: Vec<u8>,
}

/// One axis of the tile.
#[derive(Debug, PartialEq)]
struct Span {
    /// Pixels of the tile.
    len: u32,
    /// Where the crop begins in the tile.
    crop_start: u32,
    /// The part of the source that the tile covers, in its pixels.
    source_start: f64,
    source_len: f64,
}

impl Span {
    fn new(side: u32, short_side: u32, resized_short_side: u32, crop: u32) -> Self {
        // torchvision cuts the long side off to whole pixels: int(size * long / short).
        let resized = u64::from(resized_short_side) * u64::from(side) / u64::from(short_side);
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

    fn mobilenet() -> Preprocessing {
        Preprocessing {
            resize_short_side: 256,
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    #[test]
    fn the_crop_lies_where_torchvision_puts_it() {
        let check = |side, short, len, crop_start, start: u32| {
            let span = Span::new(side, short, 256, 224);
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
    fn a_flat_picture_gives_flat_numbers() {
        let image = Rgb { width: 300, height: 400, pixels: [255, 0, 51].repeat(300 * 400) };
        let input = preprocess(&image, &mobilenet()).unwrap();
        assert_eq!(input.side, 224);
        assert_eq!(input.values.len(), 3 * 224 * 224);
        let expected = [(1.0 - 0.485) / 0.229, (0.0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225];
        for (channel, expected) in input.values.chunks_exact(224 * 224).zip(expected) {
            assert!(channel.iter().all(|value| (value - expected).abs() < 1e-6), "{}", channel[0]);
        }
    }

    #[test]
    fn an_absurdly_long_picture_costs_no_more_than_its_crop() {
        let image = Rgb { width: 1, height: 1_000_000, pixels: vec![7; 3_000_000] };
        assert_eq!(preprocess(&image, &mobilenet()).unwrap().values.len(), 3 * 224 * 224);
    }

    #[test]
    fn a_picture_without_its_pixels_is_refused() {
        let refused = |width, height, len| {
            let image = Rgb { width, height, pixels: vec![0; len] };
            assert!(matches!(preprocess(&image, &mobilenet()), Err(PreprocessError::NotAPicture { .. })));
        };
        refused(0, 0, 0);
        refused(2, 2, 11);
    }

    #[test]
    fn impossible_settings_are_refused() {
        let refused = |change: fn(&mut Preprocessing)| {
            let mut preprocessing = mobilenet();
            change(&mut preprocessing);
            assert!(matches!(preprocessing.validate(), Err(PreprocessError::Impossible { .. })));
        };
        assert!(mobilenet().validate().is_ok());
        refused(|it| it.crop = 0);
        refused(|it| it.crop = 257);
        refused(|it| it.std[1] = 0.0);
        refused(|it| it.mean[2] = f32::NAN);
        refused(|it| it.resize_short_side = 1 << 20);
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
    fn resize_and_crop_are_those_of_pillow_within_one_level() {
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
        let preprocessing = mobilenet();
        for picture in reference.pictures {
            let input = preprocess(&drawn(picture.width, picture.height), &preprocessing).unwrap();
            let size = (picture.width, picture.height);
            assert_eq!(picture.levels.len(), (3 * 224usize * 224).div_ceil(reference.every));
            for (index, &level) in picture.levels.iter().enumerate() {
                let place = index * reference.every;
                let (channel, pixel) = (place % 3, place / 3);
                let value = input.values[channel * 224 * 224 + pixel];
                let got = (value * preprocessing.std[channel] + preprocessing.mean[channel]) * 255.0;
                assert!(
                    (got - f32::from(level)).abs() < 1.01,
                    "{size:?} pixel {pixel}: {got}, Pillow has {level}"
                );
            }
        }
    }
}
