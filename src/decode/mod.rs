//! The decode room: a file's bytes in, an upright sRGB picture and what it tells about itself out.
//!
//! [`decode`] is a pure function, called on whichever thread the caller likes. It looks at the content, never
//! at a name; it reads no other file; it holds no state. [`Decoders`] does the same in worker processes without
//! rights, and that is what the daemon uses.
//!
//! | what | where |
//! | --- | --- |
//! | which format these bytes are | [`Format`], [`sniff`] |
//! | JPEG, scaled while it decodes | `jpeg` |
//! | PNG, WebP, GIF, BMP, TIFF, ICO | `raster`; `tiff` for what its decoder reads wrongly, `planes` for TIFFs in deep planes |
//! | HEIC and AVIF: the container | `heif`, and `av1` for the pictures of AVIF |
//! | JPEG XL | `jxl` |
//! | JPEG 2000, by halves while it decodes | `jpeg2000` |
//! | Photoshop: the merged picture | `psd` |
//! | camera RAW: the largest preview | `raw` |
//! | EXIF and the directories of TIFF | `info`, `tags`; `png` finds it in that |
//! | XMP and IPTC, where EXIF has no time | `xmp` |
//! | standing upright, once | `orientation` |
//! | sRGB, 8 bits, no larger than needed, on a ground that shows it | `colour`, `pixels` |
//! | the square that a network looks at | `square` |
//! | the whole picture as people look at it, small | `fitted` |
//! | processes that may be lost | `isolated` (this side), `worker` (that side), `confine` (its walls) |
//!
//! Invariant: no bytes make a decoder allocate beyond [`Limits`]; sizes are checked on the header before pixels are
//! allocated. A decoder's panic comes back as [`DecodeError::Crashed`], and from [`Decoders`] so does everything else
//! that could end a process.

mod av1;
mod colour;
mod confine;
mod error;
mod fitted;
mod heif;
mod info;
mod isolated;
mod jpeg;
mod jpeg2000;
mod jxl;
mod orientation;
mod pixels;
mod planes;
mod png;
mod psd;
mod raster;
mod raw;
mod square;
mod tags;
mod tiff;
mod worker;
mod xmp;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use resembled_api::format::{Format, SNIFFED_BYTES, is_photo_name, sniff};
use serde::{Deserialize, Serialize};

pub use confine::Protection;
pub use error::{DecodeError, FailureKind};
pub use info::{PhotoInfo, Position, Taken};
pub use isolated::{Cancel, Decoders, IsolatedError, Program};
pub use square::{Resampling, Square};
pub use worker::serve_worker;

use crate::appearance::{Appearance, PixelHash};
use crate::photo::Rgb;

/// How large the picture is needed. Decoding may stop at a smaller size than the file holds, never below this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The smallest acceptable short side in pixels. A photo that is smaller to begin with is not enlarged.
    pub short_side: u32,
}

impl Need {
    /// Asks for every pixel of the file.
    pub fn full() -> Self {
        Self::short_side(u32::MAX)
    }

    /// Asks for at least this short side.
    pub fn short_side(pixels: u32) -> Self {
        Self { short_side: pixels }
    }

    /// Asks for all that either asks for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { short_side: self.short_side.max(other.short_side) }
    }
}

/// Raised with each format, or variant of one, that can be decoded since: files that gave no photo before are
/// then read again, see [`Limits::decoder_id`].
const GENERATION: u64 = 4;

/// Short side at which a picture is looked at that no network wants.
const LOOKED_AT: u32 = 256;

/// What one photo may cost. Every limit is checked before the cost arises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Length of the file. Default 256 MiB: the longest RAWs have 200 MB.
    pub max_bytes: u64,
    /// Pixels of the full picture. Default 250 million: the largest phone sensors have 200.
    pub max_pixels: u64,
    /// Memory that decoding takes on top of the file's bytes, as far as the header tells. Default 768 MiB: scans
    /// of 16 bits and 80 million pixels take that much.
    pub max_memory_bytes: u64,
    /// Time that computing one photo may take. Default 20 s. [`decode`] cannot keep it; [`Decoders`] does. By the clock it
    /// may take several times as long, since others go first.
    pub max_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_pixels: 250_000_000,
            max_memory_bytes: 768 << 20,
            max_time: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Returns a number that stays the same as long as what these decoders refuse within these limits does.
    pub fn decoder_id(&self) -> u64 {
        let time = u64::try_from(self.max_time.as_millis()).unwrap_or(u64::MAX);
        let parts = [GENERATION, self.max_bytes, self.max_pixels, self.max_memory_bytes, time];
        let hash = blake3::hash(parts.map(u64::to_le_bytes).as_flattened());
        u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    fn check_len(&self, len: usize) -> Result<(), DecodeError> {
        if len as u64 > self.max_bytes {
            return Err(DecodeError::TooManyBytes { len_bytes: len as u64, limit_bytes: self.max_bytes });
        }
        Ok(())
    }

    /// Checks the size that a header claims, where decoding takes `memory_bytes` in all.
    fn check_size(
        &self,
        format: Format,
        width: u32,
        height: u32,
        memory_bytes: u64,
    ) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::malformed(format, "its width or height is 0"));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooManyPixels { width, height, limit: self.max_pixels });
        }
        if memory_bytes > self.max_memory_bytes {
            let limit_bytes = self.max_memory_bytes;
            return Err(DecodeError::TooMuchMemory { format, width, height, limit_bytes });
        }
        Ok(())
    }
}

/// Returns what so many bytes for each pixel come to; a header may claim more than can be counted.
fn bytes_of_pixels(width: u32, height: u32, bytes_a_pixel: u64) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(bytes_a_pixel)
}

/// A decoded photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The upright picture, at least as large as needed; see [`PhotoInfo`] for the full size.
    pub image: Rgb,
    /// What the photo tells about itself.
    pub info: PhotoInfo,
}

/// A photo as networks look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Squares {
    /// The squares, in the order in which they were asked for.
    pub images: Vec<Rgb>,
    /// What the photo tells about itself.
    pub info: PhotoInfo,
    /// What all of it looks like.
    pub appearance: Appearance,
}

/// What the decoder of a format gives.
#[derive(Debug)]
struct Opened {
    image: Rgb,
    info: PhotoInfo,
    /// Some of it is transparent, and lies on a ground that shows it.
    is_transparent: bool,
    /// Its pixels, where that can be said of all of them.
    pixels: Option<PixelHash>,
}

/// Decodes the bytes of one file.
///
/// # Errors
/// Each [`DecodeError`] condemns this photo only, and will be the same for the same bytes.
pub fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Decoded, DecodeError> {
    let Opened { image, info, .. } = open(bytes, need, limits)?;
    Ok(Decoded { image, info })
}

fn open(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    limits.check_len(bytes.len())?;
    let format = sniff(bytes).ok_or(DecodeError::NotAPhoto)?;
    caught(|| {
        let mut opened = decode_as(format, bytes, need, limits)?;
        xmp::complete(&mut opened.info, bytes);
        Ok(opened)
    })
}

/// Decodes the bytes of one file for networks that look at these squares; it is decoded once for all of them.
///
/// # Errors
/// As those of [`decode`].
pub fn decode_squares(bytes: &[u8], squares: &[Square], limits: &Limits) -> Result<Squares, DecodeError> {
    let need = squares.iter().map(Square::need).reduce(Need::and).unwrap_or(Need::short_side(LOOKED_AT));
    let Opened { image, info, is_transparent, pixels } = open(bytes, need, limits)?;
    caught(|| {
        let images = squares.iter().map(|square| square.cut_from(&image)).collect::<Result<_, _>>()?;
        let appearance = Appearance::of(&image, (info.width, info.height), is_transparent, pixels)
            .map_err(|error| DecodeError::Crashed { reason: error.to_string() })?;
        let appearance = Appearance { is_damaged: info.is_damaged, ..appearance };
        Ok(Squares { images, info, appearance })
    })
}

/// Decodes the bytes of one file for people: the whole picture, its longer side at most `longest_side` pixels.
///
/// # Errors
/// As those of [`decode`].
pub fn decode_fitted(bytes: &[u8], longest_side: u32, limits: &Limits) -> Result<Decoded, DecodeError> {
    let Decoded { image, info } = decode(bytes, Need::short_side(longest_side), limits)?;
    let image = caught(|| fitted::fit(image, longest_side))?;
    Ok(Decoded { image, info })
}

/// Makes an error of a panic. The decoders share nothing with us but the bytes, so it leaves nothing half done behind.
fn caught<T>(decode: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|panic| Err(DecodeError::Crashed { reason: panic_message(&*panic) }))
}

fn decode_as(format: Format, bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    match format {
        Format::Jpeg => jpeg::decode(bytes, need, limits),
        Format::Heif | Format::Avif => heif::decode(bytes, need, limits),
        Format::Jxl => jxl::decode(bytes, need, limits),
        Format::Tiff => match raw::kind_of_tiff(bytes) {
            Some(raw) => raw::decode(raw, bytes, need, limits),
            None => raster::decode(format, bytes, need, limits),
        },
        Format::Jpeg2000 => jpeg2000::decode(bytes, need, limits),
        Format::Psd => psd::decode(bytes, need, limits),
        raw if raw.is_raw() => raw::decode(raw, bytes, need, limits),
        _ => raster::decode(format, bytes, need, limits),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests;
