//! HEIF: a container of items, of which the primary one is the photo. Its pictures are coded by HEVC (what
//! phones name HEIC) or by AV1 (AVIF).
//!
//! The container turns, mirrors and crops by its own properties. Its EXIF block repeats the turning, as a
//! note of what the camera did, so that the orientation in there is never applied.

use heifer::heifer_isobmff::boxes::{ColorInfo, Property};
use heifer::heifer_isobmff::{self, HeifFile, ItemId};

use super::av1;
use super::colour::Colour;
use super::info::Exif;
use super::orientation::Orientation;
use super::{DecodeError, Decoded, Format, Limits, Need, pixels};
use crate::photo::Rgb;

/// Derived pictures (grids of tiles, identities) may refer to derived pictures. No real file goes deeper.
const MAX_DEPTH: usize = 4;

pub(super) fn decode(format: Format, bytes: &[u8], need: Need, limits: &Limits) -> Result<Decoded, DecodeError> {
    let malformed = |error: heifer_isobmff::Error| DecodeError::malformed(format, error);
    let file = HeifFile::parse(bytes).map_err(malformed)?;
    let id = file.primary_id;
    let coding = coding_of(&file, id, 0).ok_or_else(|| DecodeError::malformed(format, "its picture is missing"))?;
    let (width, height) = file
        .image_size(id)
        .map_err(malformed)?
        .ok_or_else(|| DecodeError::malformed(format, "it does not tell its size"))?;
    // Decoded planes of two bytes a sample, RGBA and RGB are alive together.
    limits.check_size(format, width, height, u64::from(width) * u64::from(height) * 11)?;

    let exif = file.exif(id).ok().flatten().map(|block| Exif::read(&block)).unwrap_or_default();
    let (format, mut image) = match &coding {
        b"hvc1" | b"hev1" => (Format::Heif, decode_hevc(bytes, limits)?),
        b"av01" => (Format::Avif, decode_av1(&file, id, limits, 0)?),
        other => {
            let name = String::from_utf8_lossy(other).into_owned();
            return Err(DecodeError::Unsupported { what: format!("HEIF with pictures coded as {name}") });
        }
    };
    let (width, height) = (image.width, image.height);
    image = pixels::shrink(image, need);
    colour_of(&file, id).unwrap_or_default().rgb_to_srgb(&mut image.pixels);
    Ok(Decoded { image, info: exif.with_size(format, width, height) })
}

/// Finds how the coded pictures below an item are coded.
fn coding_of(file: &HeifFile<'_>, id: ItemId, depth: usize) -> Option<[u8; 4]> {
    let kind = file.item(id).ok()?.item_type.0;
    match &kind {
        b"grid" | b"iovl" | b"iden" if depth < MAX_DEPTH => {
            coding_of(file, *file.referenced_items(id, b"dimg").first()?, depth + 1)
        }
        _ => Some(kind),
    }
}

/// Finds the colour space of an item, or of the first picture it is made of. A profile says more than numbers.
fn colour_of(file: &HeifFile<'_>, id: ItemId) -> Option<Colour> {
    let mut id = id;
    for _ in 0..MAX_DEPTH {
        if let Ok(Some(profile)) = file.icc_profile(id) {
            return Some(Colour::Icc(profile.to_vec()));
        }
        let points = file.item_properties(id).ok()?.find_map(|property| match property {
            Property::Color(ColorInfo::Nclx { primaries, transfer, .. }) => {
                Some(Colour::CodePoints { primaries: *primaries, transfer: *transfer })
            }
            _ => None,
        });
        if points.is_some() {
            return points;
        }
        id = *file.referenced_items(id, b"dimg").first()?;
    }
    None
}

/// Decodes the primary item, which comes out turned, mirrored and cropped.
fn decode_hevc(bytes: &[u8], limits: &Limits) -> Result<Rgb, DecodeError> {
    let options = heifer::Options { max_threads: 1, max_pixels: limits.max_pixels.max(1) };
    let image = heifer::decode_rgba8(bytes, &options).map_err(|error| match error {
        heifer::Error::Unsupported(what) => DecodeError::Unsupported { what: format!("HEIF with {what}") },
        error => DecodeError::malformed(Format::Heif, error),
    })?;
    let (width, height) = (image.width, image.height);
    let pixels = if image.has_alpha { pixels::over_white(&image.data) } else { pixels::without_alpha(&image.data) };
    Ok(Rgb { width, height, pixels })
}

/// Decodes an item of AV1 pictures, and turns, mirrors and crops it.
fn decode_av1(file: &HeifFile<'_>, id: ItemId, limits: &Limits, depth: usize) -> Result<Rgb, DecodeError> {
    let malformed = |error: heifer_isobmff::Error| DecodeError::malformed(Format::Avif, error);
    let broken = |reason: &str| DecodeError::malformed(Format::Avif, reason);
    if depth > MAX_DEPTH {
        return Err(broken("its pictures are nested too deeply"));
    }
    let mut image = match &file.item(id).map_err(malformed)?.item_type.0 {
        b"av01" => {
            let data = file.item_data(id).map_err(malformed)?;
            let mut image = av1::decode(&data, matrix_of(file, id), limits)?;
            let alpha = alpha_of(file, id);
            if let Some(alpha) = alpha {
                let data = file.item_data(alpha).map_err(malformed)?;
                image.put_over_white(&av1::decode(&data, None, limits)?);
            }
            image.rgb
        }
        b"grid" => join_grid(file, id, limits, depth)?,
        b"iden" => {
            let source = file.referenced_items(id, b"dimg").first().copied();
            decode_av1(file, source.ok_or_else(|| broken("a picture is missing"))?, limits, depth + 1)?
        }
        other => {
            let name = String::from_utf8_lossy(other).into_owned();
            return Err(DecodeError::Unsupported { what: format!("AVIF with items of kind {name}") });
        }
    };
    for property in file.item_properties(id).map_err(malformed)? {
        image = match property {
            Property::Rotation(1) => Orientation::Rotate270.apply(image),
            Property::Rotation(2) => Orientation::Rotate180.apply(image),
            Property::Rotation(3) => Orientation::Rotate90.apply(image),
            Property::Mirror(true) => Orientation::FlipVertical.apply(image),
            Property::Mirror(false) => Orientation::FlipHorizontal.apply(image),
            Property::CleanAperture { width, height, horiz_offset, vert_offset } => {
                let across = aperture(image.width, *width, *horiz_offset);
                let down = aperture(image.height, *height, *vert_offset);
                let ((left, width), (top, height)) =
                    across.zip(down).ok_or_else(|| broken("its crop lies outside the picture"))?;
                cropped(&image, left, top, width, height)
            }
            _ => image,
        };
    }
    Ok(image)
}

/// Returns start and length of a crop, given as fractions: its length and how far its middle is off the middle.
fn aperture(side: u32, (len, len_below): (u32, u32), (offset, offset_below): (i32, u32)) -> Option<(u32, u32)> {
    if len_below == 0 || offset_below == 0 {
        return None;
    }
    let len = f64::from(len) / f64::from(len_below);
    let start = (f64::from(side) - len) / 2.0 + f64::from(offset) / f64::from(offset_below);
    let (start, len) = (start.round(), len.round());
    (start >= 0.0 && len >= 1.0 && start + len <= f64::from(side)).then_some((start as u32, len as u32))
}

fn cropped(image: &Rgb, left: u32, top: u32, width: u32, height: u32) -> Rgb {
    let (left, row) = (left as usize * 3, image.width as usize * 3);
    let pixels = image
        .pixels
        .chunks_exact(row)
        .skip(top as usize)
        .take(height as usize)
        .flat_map(|pixels| pixels[left..left + width as usize * 3].iter().copied())
        .collect();
    Rgb { width, height, pixels }
}

fn join_grid(file: &HeifFile<'_>, id: ItemId, limits: &Limits, depth: usize) -> Result<Rgb, DecodeError> {
    let malformed = |error: heifer_isobmff::Error| DecodeError::malformed(Format::Avif, error);
    let broken = |reason: &str| DecodeError::malformed(Format::Avif, reason);
    let grid = file.grid(id).map_err(malformed)?;
    let (columns, rows) = (usize::from(grid.columns), usize::from(grid.rows));
    let (width, height) = (grid.output_width as usize, grid.output_height as usize);
    limits.check_size(Format::Avif, grid.output_width, grid.output_height, (width * height * 11) as u64)?;
    let tiles = file.referenced_items(id, b"dimg");
    if tiles.len() != columns * rows {
        return Err(broken("its grid misses tiles"));
    }
    let mut pixels = vec![0; width * height * 3];
    let mut tile_size = None;
    for (index, &tile) in tiles.iter().enumerate() {
        let tile = decode_av1(file, tile, limits, depth + 1)?;
        let (tile_width, tile_height) = *tile_size.get_or_insert((tile.width as usize, tile.height as usize));
        if (tile.width as usize, tile.height as usize) != (tile_width, tile_height) {
            return Err(broken("the tiles of its grid differ in size"));
        }
        let (left, top) = (index % columns * tile_width, index / columns * tile_height);
        if left >= width {
            continue;
        }
        let len = tile_width.min(width - left) * 3;
        let rows = pixels.chunks_exact_mut(width * 3).skip(top);
        for (target, source) in rows.zip(tile.pixels.chunks_exact(tile_width * 3)) {
            target[left * 3..left * 3 + len].copy_from_slice(&source[..len]);
        }
    }
    let covered = tile_size.is_some_and(|(w, h)| w * columns >= width && h * rows >= height);
    if !covered {
        return Err(broken("its grid does not cover the picture"));
    }
    Ok(Rgb { width: grid.output_width, height: grid.output_height, pixels })
}

/// Returns the matrix coefficients and range that the container names.
fn matrix_of(file: &HeifFile<'_>, id: ItemId) -> Option<(u16, bool)> {
    file.item_properties(id).ok()?.find_map(|property| match property {
        Property::Color(ColorInfo::Nclx { matrix, full_range, .. }) => Some((*matrix, *full_range)),
        _ => None,
    })
}

/// Finds the picture that holds an item's transparency.
fn alpha_of(file: &HeifFile<'_>, id: ItemId) -> Option<ItemId> {
    file.referencing_items(id, b"auxl").into_iter().find(|&aux| {
        file.item_properties(aux).is_ok_and(|mut properties| {
            properties.any(
                |property| matches!(property, Property::AuxiliaryType(kind) if kind.ends_with("auxiliary:alpha")),
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_is_measured_from_the_middle() {
        assert_eq!(aperture(100, (50, 1), (0, 1)), Some((25, 50)));
        assert_eq!(aperture(100, (50, 1), (-25, 1)), Some((0, 50)));
        assert_eq!(aperture(100, (99, 2), (1, 4)), Some((26, 50)));
        assert_eq!(aperture(100, (50, 1), (26, 1)), None);
        assert_eq!(aperture(100, (50, 0), (0, 1)), None);
    }

    #[test]
    fn a_crop_keeps_the_pixels_inside() {
        let image = Rgb { width: 3, height: 2, pixels: (0..6).flat_map(|value| [value; 3]).collect() };
        assert_eq!(cropped(&image, 1, 1, 2, 1).pixels, [4, 4, 4, 5, 5, 5]);
    }
}
