//! What a whole upright picture looks like, in about 170 bytes: enough to say whether another one is the same picture.
//!
//! In: a decoded picture. Out: an [`Appearance`], and from two of them whether they show the same, and how one is turned
//! against the other. Pure functions, called where a picture is decoded and where two photos are compared.
//!
//! An embedding says what kind of thing is shown. Two invoices on one form have nearly one embedding, and so have all white
//! frames; whoever deletes one of two photos must know more. `hash` has the perceptual hash, `turn` the eight ways in which
//! a picture can lie, `join` finds the same pictures among a million.
//!
//! Invariant: a picture without contrast, or of which a part is lost, is never the same as another one, whatever their hashes say.

mod hash;
mod join;
mod turn;

use serde::{Deserialize, Serialize};

pub use self::hash::PerceptualHash;
use self::hash::Spectrum;
pub use self::join::Library;
pub use self::turn::Turn;
use crate::photo::Rgb;

/// Differing bits of the 256 coarse ones up to which two pictures are the same: the limit that PDQ publishes for its own.
const MOST_COARSE_BITS: u32 = 31;

/// Differing bits of the 768 fine ones, where the fine structure is what tells pictures apart. Of 4,950 pairs of different pages
/// of text of one layout, the nearest two differ in 78; a page from its copy in half size in 69 at the most.
const MOST_FINE_BITS: u32 = 64;

/// From this share of fine to coarse contrast on, both are compared: a page of text has 0.43 and more, and half of all
/// photos have less than 0.34.
const FINE_SHARE: f32 = 0.4;

/// Grey levels below which there is nothing to compare. Of 1,694 photos the flattest has 12 of coarse contrast; frames of one
/// colour with the noise and the shading of a camera have up to 6.5, and no fine contrast. A page with a few lines
/// of text has 7 and 5.
const LEAST_CONTRAST: f32 = 8.0;
const LEAST_DETAIL: f32 = 2.0;

/// How much the ratio of the sides may differ: what rounding makes of the sides of a small copy.
const MOST_STRETCH: f32 = 0.03;

/// Units of [`Appearance::contrast`] in a grey level, and of [`Appearance::aspect`] in a ratio of 1.
const UNITS: f32 = 64.0;
const ASPECT_UNITS: f32 = 4096.0;

/// The hash of what is decoded losslessly, or of what a JPEG codes: equal where all pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PixelHash(pub [u8; 16]);

impl PixelHash {
    /// Shortens a BLAKE3 hash: 128 bits tell more pictures apart than there are.
    pub fn of(hash: &blake3::Hash) -> Self {
        Self(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }
}

/// What a picture looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appearance {
    /// The signs of its spectrum.
    pub hash: PerceptualHash,
    /// Standard deviation of its grey levels as far as coarse frequencies make it, in 64ths of a level.
    pub contrast: u16,
    /// The same of fine frequencies.
    pub detail: u16,
    /// Width by height, in 4096ths.
    pub aspect: u32,
    /// Mean colour, sRGB.
    pub mean: [u8; 3],
    /// Some of it is transparent.
    pub is_transparent: bool,
    /// A part of it is lost; what the rest shows says nothing about that part.
    pub is_damaged: bool,
    /// Its pixels, where they are decoded in full or coded in a way that can be compared.
    pub pixels: Option<PixelHash>,
}

/// Why a picture cannot be looked at: a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("a picture of {width}x{height} pixels cannot be looked at: {reason}")]
pub struct LookError {
    width: u32,
    height: u32,
    reason: String,
}

impl Appearance {
    /// Looks at a whole upright picture, at whatever size it was decoded; `size` is its full width and height.
    ///
    /// # Errors
    /// [`LookError`] where it has no pixels, or not as many as its size says.
    pub fn of(
        image: &Rgb,
        size: (u32, u32),
        is_transparent: bool,
        pixels: Option<PixelHash>,
    ) -> Result<Self, LookError> {
        let spectrum = Spectrum::of(image).map_err(|reason| LookError {
            width: image.width,
            height: image.height,
            reason: reason.to_string(),
        })?;
        let units = |levels: f32| (levels * UNITS).round().min(f32::from(u16::MAX)) as u16;
        let aspect = size.0 as f32 / size.1.max(1) as f32 * ASPECT_UNITS;
        Ok(Self {
            hash: spectrum.hash(),
            contrast: units(spectrum.coarse_contrast()),
            detail: units(spectrum.fine_contrast()),
            aspect: (aspect.round() as u32).max(1),
            mean: spectrum.mean,
            is_transparent,
            is_damaged: false,
            pixels,
        })
    }

    /// Says whether both show the same picture, upright: a copy in another size or quality, lighter or darker, in other colours.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.is_same_turned(other, Turn::Upright)
    }

    /// Returns how this picture must be turned to be the same as the other one; upright where that is one of the ways.
    pub fn turn_to(&self, other: &Self) -> Option<Turn> {
        Turn::ALL.into_iter().find(|&turn| self.is_same_turned(other, turn))
    }

    /// Says whether there is enough of a picture that two could be the same.
    pub fn has_contrast(&self) -> bool {
        f32::from(self.contrast) >= LEAST_CONTRAST * UNITS || f32::from(self.detail) >= LEAST_DETAIL * UNITS
    }

    /// Says whether the mean colours are so far apart that somebody has changed them.
    pub fn has_other_colours_than(&self, other: &Self) -> bool {
        const MOST: u8 = 12;
        self.mean.iter().zip(&other.mean).any(|(one, other)| one.abs_diff(*other) > MOST)
    }

    /// A picture of nothing, for tests of what has to do with photos and not with pictures.
    #[cfg(test)]
    pub(crate) fn blank() -> Self {
        Self {
            hash: PerceptualHash([0; 32]),
            contrast: 0,
            detail: 0,
            aspect: 4096,
            mean: [0; 3],
            is_transparent: false,
            is_damaged: false,
            pixels: None,
        }
    }

    fn is_same_turned(&self, other: &Self, turn: Turn) -> bool {
        let is_whole = |of: &Self| of.has_contrast() && !of.is_damaged;
        if !(is_whole(self) && is_whole(other)) || self.is_transparent != other.is_transparent {
            return false;
        }
        let aspect = |of: &Self| of.aspect.max(1) as f32 / ASPECT_UNITS;
        let turned = if turn.swaps_sides() { 1.0 / aspect(self) } else { aspect(self) };
        if (turned / aspect(other)).ln().abs() > MOST_STRETCH {
            return false;
        }
        let hash = self.hash.turned(turn);
        let is_fine = |of: &Self| f32::from(of.detail) >= FINE_SHARE * f32::from(of.contrast);
        hash.coarse_distance(&other.hash) <= MOST_COARSE_BITS
            && (!(is_fine(self) || is_fine(other)) || hash.fine_distance(&other.hash) <= MOST_FINE_BITS)
    }
}

#[cfg(test)]
mod tests;
