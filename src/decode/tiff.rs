//! What the TIFF decoder reads wrongly, made so that it reads it rightly, or refused.
//!
//! The decoder takes the first directory of a file for the photo, an extra channel without a meaning for a reason to shift
//! all that follows, numbers of 32 bits for floats, and ink for light. So it is shown a copy of the file with some bytes
//! changed: which directory is the first, or what the samples of a pixel are. What the samples mean is put right afterwards.

use std::borrow::Cow;

use super::tags::{Directory, Tiff, tag};
use super::{DecodeError, raw};

/// Directories looked at, whatever the file links together.
const MAX_DIRECTORIES: usize = 40;

const GREY: u16 = 1;
const RGB: u64 = 2;
const PALETTE: u64 = 3;
const CMYK: u64 = 5;
const JPEG: [u64; 2] = [6, 7];
const FLOAT: u64 = 3;

/// What the samples of a pixel are that the decoder has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Samples {
    /// What the decoder takes them for.
    AsRead,
    /// Red, green, blue, and one that is no transparency.
    AndOneMore,
    /// Cyan, magenta, yellow and black, which the decoder has been told are RGBA.
    Ink,
    /// Places in the palette, which the decoder has been told are grey.
    Places,
}

/// A file that the decoder reads rightly.
pub(super) struct Readable<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) samples: Samples,
}

/// Finds the directory of the photo: the first one, unless that says of itself that it is a smaller picture of another; then
/// the largest that does not.
pub(super) fn photo(tiff: Tiff<'_>) -> Option<Directory<'_>> {
    let first = tiff.first()?;
    if !is_reduced(&first) {
        return Some(first);
    }
    let mut found = Vec::new();
    let mut next = Some(first);
    while let Some(directory) = next
        && found.len() < MAX_DIRECTORIES
    {
        found.push(directory);
        found.extend(directory.children(tag::SUB_IFDS, 8));
        next = directory.next();
    }
    let area = |directory: &Directory<'_>| {
        let side = |which| directory.unsigned(which).unwrap_or(0);
        side(tag::IMAGE_WIDTH).saturating_mul(side(tag::IMAGE_LENGTH))
    };
    let is_photo = |directory: &Directory<'_>| !is_reduced(directory) && !raw::is_sensor_data(directory);
    found.into_iter().filter(is_photo).max_by_key(area).or(Some(first))
}

fn is_reduced(directory: &Directory<'_>) -> bool {
    directory.unsigned(tag::NEW_SUBFILE_TYPE).is_some_and(|bits| bits & 1 == 1)
        || directory.unsigned(tag::SUBFILE_TYPE) == Some(2)
}

/// Says whether the sample behind the colours of a pixel, if there is one, is meant to be no transparency.
pub(super) fn has_extra_without_meaning(main: &Directory<'_>) -> bool {
    main.unsigned(tag::EXTRA_SAMPLES) == Some(0)
}

/// Makes a file one that the decoder reads rightly.
///
/// # Errors
/// Kinds of samples that it does not: more extra ones in tiles or as differences, and integers of 32 bits.
pub(super) fn readable(bytes: &[u8]) -> Result<Readable<'_>, DecodeError> {
    let as_it_is = Readable { bytes: Cow::Borrowed(bytes), samples: Samples::AsRead };
    let Some(tiff) = Tiff::parse(bytes) else { return Ok(as_it_is) };
    let (Some(first), Some(main)) = (tiff.first(), photo(tiff)) else { return Ok(as_it_is) };
    let number = |which| main.unsigned(which);
    let bits = number(tag::BITS_PER_SAMPLE).unwrap_or(1);
    let count = number(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
    let photometric = number(tag::PHOTOMETRIC);
    let is_chunky = number(tag::PLANAR_CONFIGURATION).unwrap_or(1) == 1;
    let refused = |what: String| Err(DecodeError::Unsupported { what });
    if bits == 32 && number(tag::SAMPLE_FORMAT) != Some(FLOAT) {
        return refused("TIFF with integers of 32 bits".to_owned());
    }
    let extra = main.find(tag::EXTRA_SAMPLES).map_or(0, |value| value.len());
    let is_predicted = number(tag::PREDICTOR).unwrap_or(1) != 1;
    let is_tiled = main.find(tag::TILE_OFFSETS).is_some();
    let is_transparency = matches!(number(tag::EXTRA_SAMPLES), Some(1 | 2));
    let mut changes = Vec::new();
    let mut samples = Samples::AsRead;
    match (photometric, count, extra) {
        _ if !is_chunky => {}
        // The decoder leaves out what it does not need before it undoes differences between pixels, and beyond tiles.
        (Some(RGB), 4, 1) if !is_transparency => {
            changes.extend(main.set(tag::EXTRA_SAMPLES, 2));
            samples = Samples::AndOneMore;
        }
        (Some(RGB), 4, 1) => {}
        // Of strips without differences it takes the right ones.
        (Some(RGB | CMYK), _, 1..) if is_predicted || is_tiled => {
            return refused(format!("TIFF with {count} samples a pixel, {extra} of them extra ones"));
        }
        (Some(PALETTE), 1, 0) if bits == 8 => {
            changes.extend(main.set(tag::PHOTOMETRIC, GREY));
            samples = Samples::Places;
        }
        (Some(CMYK), 4, 0)
            if matches!(bits, 8 | 16) && !number(tag::COMPRESSION).is_some_and(|how| JPEG.contains(&how)) =>
        {
            changes.extend(main.set(tag::PHOTOMETRIC, RGB as u16));
            samples = Samples::Ink;
        }
        _ => {}
    }
    if samples != Samples::AsRead && changes.is_empty() {
        return refused(format!("TIFF with {count} samples a pixel that say not what they are"));
    }
    if main.start() != first.start() {
        changes.push(tiff.set_first(&main));
    }
    if changes.is_empty() {
        return Ok(as_it_is);
    }
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        bytes[at..at + value.len()].copy_from_slice(&value);
    }
    Ok(Readable { bytes: Cow::Owned(bytes), samples })
}

/// Looks places in the photo's palette up, of which all reds come first, then the greens, then the blues. `None` where it has none.
pub(super) fn coloured(bytes: &[u8], places: &[u8]) -> Option<Vec<u8>> {
    let map = photo(Tiff::parse(bytes)?)?.find(tag::COLOR_MAP)?;
    let levels: Vec<u64> = (0..3 * 256).map(|at| map.unsigned(at)).collect::<Option<_>>()?;
    // Of 16 bits; some programs write 8.
    let shift = if levels.iter().any(|&level| level > 255) { 8 } else { 0 };
    let level = |place: u8, part: usize| (levels[part * 256 + usize::from(place)] >> shift) as u8;
    Some(places.iter().flat_map(|&place| [0, 1, 2].map(|part| level(place, part))).collect())
}

#[cfg(test)]
#[path = "tiff_tests.rs"]
mod tests;
