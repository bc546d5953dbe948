//! JPEG, decoded no larger than needed: libjpeg reduces the picture by eighths while it decodes. At full size the
//! pixels are those of every other program built on libjpeg.
//!
//! Before libjpeg sees the file, its segments are walked for what libjpeg does not tell or tells too late: EXIF, the
//! kinds of coding it refuses, and how much memory and how many passes a file of many scans takes.

mod libjpeg;
mod segments;
mod zeroed;

use super::colour::Colour;
use super::info::Exif;
use super::orientation::Orientation;
use super::pixels::Pixels;
use super::{DecodeError, Format, Limits, Need, Opened, PhotoInfo};
use crate::appearance::PixelHash;
use crate::photo::Rgb;
use libjpeg::{ColorSpace, Fault, Header};
use segments::Segments;

/// More scans than any encoder writes; a hostile file could have thousands, each costing a pass over the picture.
const MAX_SCANS: usize = 200;

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    let Turned { image, exif, width, height, is_damaged } = decode_turned(bytes, None, need, limits)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?} {:?}\n", exif.orientation, exif.colour()).as_bytes());
    segments::hash_picture(bytes, &mut hasher);
    let pixels = Some(PixelHash::of(&hasher.finalize()));
    let info = PhotoInfo { is_damaged, ..exif.with_size(Format::Jpeg, width, height) };
    Ok(Opened { image, info, is_transparent: false, pixels })
}

/// Decodes a preview inside another file, turned by `orientation` where that file names one; returns what its own
/// EXIF says too.
pub(super) fn decode_embedded(
    bytes: &[u8],
    orientation: Option<Orientation>,
    need: Need,
    limits: &Limits,
) -> Result<(Rgb, Exif), DecodeError> {
    let Turned { image, exif, .. } = decode_turned(bytes, orientation, need, limits)?;
    Ok((image, exif))
}

/// Returns width and height of a JPEG that begins here, if it is one that can be decoded.
pub(super) fn decodable_size(bytes: &[u8]) -> Option<(u32, u32)> {
    bytes.starts_with(b"\xff\xd8\xff").then_some(())?;
    let frame = Segments::read(bytes, 1).frame?;
    let is_picture = frame.unsupported().is_none() && frame.width > 0 && frame.height > 0;
    is_picture.then_some((u32::from(frame.width), u32::from(frame.height)))
}

/// An upright picture, and what its file tells.
struct Turned {
    image: Rgb,
    exif: Exif,
    /// At full size.
    width: u32,
    height: u32,
    /// A part of it is lost.
    is_damaged: bool,
}

fn decode_turned(
    bytes: &[u8],
    orientation: Option<Orientation>,
    need: Need,
    limits: &Limits,
) -> Result<Turned, DecodeError> {
    // A copy that broke off often has its full length, of nothing.
    let bytes = without_zeros(bytes);
    let segments = Segments::read(bytes, MAX_SCANS + 1);
    if let Some(kind) = segments.frame.and_then(|frame| frame.unsupported()) {
        return Err(DecodeError::Unsupported { what: format!("JPEG with {kind}") });
    }
    if segments.scans > MAX_SCANS {
        return Err(malformed("it has too many scans"));
    }
    let exif = segments.exif.map(Exif::read).unwrap_or_default();
    let colour = segments.icc_profile().map_or_else(|| exif.colour(), Colour::Icc);
    let stored = stored(bytes, &segments, need, limits)?;
    let image = Rgb { width: stored.width, height: stored.height, pixels: stored.pixels.into_srgb(&colour) };
    let orientation = orientation.unwrap_or(exif.orientation);
    let (width, height) = orientation.upright_size(stored.full_width, stored.full_height);
    let is_damaged = stored.is_damaged || zeroed::has_lost_a_part(bytes);
    Ok(Turned { image: orientation.apply(image), exif, width, height, is_damaged })
}

/// Leaves away zeros at the end. No picture ends with one.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// A picture as it is stored: not turned, in its own colours.
struct Stored {
    pixels: Pixels,
    width: u32,
    height: u32,
    full_width: u32,
    full_height: u32,
    is_damaged: bool,
}

fn stored(bytes: &[u8], segments: &Segments<'_>, need: Need, limits: &Limits) -> Result<Stored, DecodeError> {
    let header = Header::read(bytes)?;
    let (full_width, full_height) = header.size();
    let eighths = eighths(full_width.min(full_height), need);
    let scaled_pixels =
        [full_width, full_height].map(|side| (u64::from(side) * u64::from(eighths)).div_ceil(8));
    // The decoder's pixels, and a copy of them as RGB or turned upright.
    let mut memory_bytes = scaled_pixels.iter().product::<u64>() * 7;
    if segments.has_several_scans() {
        memory_bytes += header.blocks().map(coefficient_bytes).sum::<u64>();
    }
    limits.check_size(Format::Jpeg, full_width, full_height, memory_bytes)?;

    let stored = match header.color_space() {
        ColorSpace::JCS_GRAYSCALE => ColorSpace::JCS_GRAYSCALE,
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => ColorSpace::JCS_CMYK,
        _ => ColorSpace::JCS_RGB,
    };
    let mut picture = header.start(eighths, stored)?;
    let (width, height) = picture.size();
    let pixel_bytes = picture.pixel_bytes();
    let mut rows = vec![0; width as usize * height as usize * pixel_bytes];
    let mut whole_rows = 0;
    for row in rows.chunks_exact_mut((width as usize * pixel_bytes).max(1)) {
        picture.read(row)?;
        whole_rows += u32::from(!picture.ran_dry(bytes));
    }
    // libjpeg paints what is missing grey. A quarter of grey is still the photo, more of it no longer.
    if whole_rows < height - height / 4 && !segments.shows_all() {
        return Err(malformed("the file ends too early"));
    }
    let is_damaged = picture.is_damaged();
    let pixels = match stored {
        ColorSpace::JCS_GRAYSCALE => Pixels::Grey(rows),
        ColorSpace::JCS_CMYK => {
            // As Adobe's programs began it, all programs store light instead of ink.
            rows.iter_mut().for_each(|ink| *ink = 255 - *ink);
            Pixels::Cmyk(rows)
        }
        _ => Pixels::Rgb(rows),
    };
    Ok(Stored { pixels, width, height, full_width, full_height, is_damaged })
}

/// Returns the smallest number of eighths that leaves the short side not below the need; all 8 if none does.
fn eighths(short_side: u32, need: Need) -> u8 {
    (1..8).find(|&eighths| (short_side * u32::from(eighths)).div_ceil(8) >= need.short_side).unwrap_or(8)
}

/// Memory for a component of so many blocks of which all coefficients are kept until the last scan.
fn coefficient_bytes((width, height): (u32, u32)) -> u64 {
    // Blocks are padded to whole units of up to 4x4.
    let blocks = |count: u32| u64::from(count).next_multiple_of(4);
    blocks(width) * blocks(height) * 64 * 2
}

impl From<Fault> for DecodeError {
    fn from(Fault(message): Fault) -> Self {
        if message.starts_with("Unsupported") {
            Self::Unsupported { what: format!("JPEG: {message}") }
        } else {
            malformed(message)
        }
    }
}

fn malformed(reason: impl ToString) -> DecodeError {
    DecodeError::malformed(Format::Jpeg, reason)
}

#[cfg(test)]
mod tests;
