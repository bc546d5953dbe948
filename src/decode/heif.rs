//! HEIF: a container of items, of which the primary one is the photo. Its pictures are coded by HEVC (what phones
//! name HEIC) or by AV1 (AVIF).
//!
//! The container turns, mirrors and crops by its own properties. Its EXIF block repeats the turning, as a note of
//! what the camera did, so that the orientation in there is not applied; only where the container of a HEIC neither turns
//! nor mirrors, since phones of Samsung leave it to EXIF.

use std::cell::Cell;

use heifer::color::{ColorParams, frame_to_rgba_sized};
use heifer::heifer_hevc_dec::decoder::{DecodeOptions, decode_picture};
use heifer::heifer_hevc_dec::recon::Frame;
use heifer::heifer_isobmff::boxes::{ColorInfo, Property};
use heifer::heifer_isobmff::{self, HeifFile, ItemId};

use super::av1;
use super::colour::Colour;
use super::info::Exif;
use super::orientation::Orientation;
use super::pixels::{self, Ground, Shrinker};
use super::{DecodeError, Format, Limits, Need, Opened, bytes_of_pixels};
use crate::photo::Rgb;

/// Derived pictures (grids of tiles, identities) may refer to derived pictures. No real file goes deeper.
const MAX_DEPTH: usize = 4;

/// Memory for a pixel of a coded picture: the decoder's planes, a copy of them, RGBA, and RGB.
const BYTES_A_PIXEL: u64 = 12;

/// Matrices between luma, chroma and colours that are converted (H.273): the plain one, none, and those of television. Of the
/// others, some are no matrices at all, as that of constant luminance (10).
const MATRICES: [u16; 8] = [0, 1, 2, 4, 5, 6, 7, 9];

/// The filters that smooth the edges of coded blocks take a fifth of the time. Where the picture is made so many
/// times smaller anyway, nobody sees what they do.
const UNFILTERED_FROM: u32 = 3;

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    let claimed = super::sniff(bytes).unwrap_or(Format::Heif);
    let file = HeifFile::parse(bytes).map_err(|error| DecodeError::malformed(claimed, error))?;
    let id = file.primary_id;
    let broken = |reason| DecodeError::malformed(claimed, reason);
    let format = match &coding_of(&file, id, 0).ok_or_else(|| broken("its picture is missing"))? {
        b"hvc1" => Format::Heif,
        b"av01" => Format::Avif,
        other => {
            let name = String::from_utf8_lossy(other).into_owned();
            return Err(DecodeError::Unsupported { what: format!("HEIF with pictures coded as {name}") });
        }
    };
    let mut container =
        Container { file: &file, format, limits, filters: true, is_transparent: &Cell::new(false) };
    let (width, height) = container.upright_size(id)?;
    // Strips of a grid take less; what the coded pictures take is checked where they are decoded.
    limits.check_size(format, width, height, 0)?;

    let shown = container.thumbnail(id, need).unwrap_or(id);
    let (shown_width, shown_height) = container.upright_size(shown)?;
    container.filters = shown_width.min(shown_height) / UNFILTERED_FROM < need.short_side;
    let mut image = pixels::shrink(container.picture(shown, need, 0)?, need);
    container
        .colour(shown)
        .or_else(|| container.colour(id))
        .unwrap_or_default()
        .rgb_to_srgb(&mut image.pixels);
    let exif = file.exif(id).ok().flatten().map(|block| Exif::read(&block)).unwrap_or_default();
    let is_left_to_exif = format == Format::Heif && !container.is_turned(id)?;
    let orientation = if is_left_to_exif { exif.orientation } else { Orientation::Upright };
    let (width, height) = orientation.upright_size(width, height);
    let (image, info) = (orientation.apply(image), exif.with_size(format, width, height));
    Ok(Opened { image, info, is_transparent: container.is_transparent.get(), pixels: None })
}

/// Finds how the coded pictures below an item are coded.
fn coding_of(file: &HeifFile<'_>, id: ItemId, depth: usize) -> Option<[u8; 4]> {
    let kind = file.item(id).ok()?.item_type.0;
    match &kind {
        b"grid" | b"iden" if depth < MAX_DEPTH => {
            coding_of(file, *file.referenced_items(id, b"dimg").first()?, depth + 1)
        }
        _ => Some(kind),
    }
}

/// An opened file, and how its pictures are to be decoded.
#[derive(Clone, Copy)]
struct Container<'a> {
    file: &'a HeifFile<'a>,
    format: Format,
    limits: &'a Limits,
    filters: bool,
    /// Set once something transparent is decoded.
    is_transparent: &'a Cell<bool>,
}

impl<'a> Container<'a> {
    fn malformed(&self, error: heifer_isobmff::Error) -> DecodeError {
        DecodeError::malformed(self.format, error)
    }

    fn broken(&self, reason: &str) -> DecodeError {
        DecodeError::malformed(self.format, reason)
    }

    /// Returns the properties that turn, mirror and crop an item, in their order.
    fn transforms(&self, id: ItemId) -> Result<Vec<&'a Property>, DecodeError> {
        let properties = self.file.item_properties(id).map_err(|error| self.malformed(error))?;
        Ok(properties
            .filter(|property| {
                matches!(
                    property,
                    Property::CleanAperture { .. } | Property::Rotation(_) | Property::Mirror(_)
                )
            })
            .collect())
    }

    /// Says whether the container turns or mirrors an item.
    fn is_turned(&self, id: ItemId) -> Result<bool, DecodeError> {
        let turns = |property: &&Property| matches!(property, Property::Rotation(_) | Property::Mirror(_));
        Ok(self.transforms(id)?.iter().any(turns))
    }

    /// Returns the size of an item after it was turned and cropped.
    fn upright_size(&self, id: ItemId) -> Result<(u32, u32), DecodeError> {
        let size = self.file.image_size(id).map_err(|error| self.malformed(error))?;
        let mut size = size.ok_or_else(|| self.broken("it does not tell its size"))?;
        for property in self.transforms(id)? {
            size = match property {
                Property::Rotation(quarters) if quarters % 2 == 1 => (size.1, size.0),
                property => match crop(property, size) {
                    Some(crop) => {
                        let crop = crop.ok_or_else(|| self.broken("its crop lies outside the picture"))?;
                        (crop.width, crop.height)
                    }
                    None => size,
                },
            };
        }
        Ok(size)
    }

    /// Finds the smallest thumbnail of an item that is large enough and stands as the item does.
    fn thumbnail(&self, id: ItemId, need: Need) -> Option<ItemId> {
        let (width, height) = self.upright_size(id).ok()?;
        let transforms = self.transforms(id).ok()?;
        let is_alike = |(thumb_width, thumb_height): (u32, u32)| {
            let ratio = f64::from(thumb_width) / f64::from(thumb_height);
            (ratio * f64::from(height) / f64::from(width) - 1.0).abs() < 0.01
        };
        let thumbnails = self.file.referencing_items(id, b"thmb").into_iter();
        thumbnails
            .filter(|&thumb| self.transforms(thumb).is_ok_and(|own| own == transforms))
            .filter(|&thumb| coding_of(self.file, thumb, 0) == coding_of(self.file, id, 0))
            .filter_map(|thumb| Some((thumb, self.upright_size(thumb).ok()?)))
            .filter(|&(_, size)| size.0.min(size.1) >= need.short_side && is_alike(size))
            .min_by_key(|&(_, (width, height))| u64::from(width) * u64::from(height))
            .map(|(thumb, _)| thumb)
    }

    /// Finds the colour space of an item, or of the first picture it is made of. A profile says more than numbers.
    fn colour(&self, id: ItemId) -> Option<Colour> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            if let Ok(Some(profile)) = self.file.icc_profile(id) {
                return Some(Colour::Icc(profile.to_vec()));
            }
            let points = self.file.item_properties(id).ok()?.find_map(|property| match property {
                Property::Color(ColorInfo::Nclx { primaries, transfer, .. }) => {
                    Some(Colour::CodePoints { primaries: *primaries, transfer: *transfer })
                }
                _ => None,
            });
            if points.is_some() {
                return points;
            }
            id = *self.file.referenced_items(id, b"dimg").first()?;
        }
        None
    }

    /// Decodes an item, and turns, mirrors and crops it. It comes out no smaller than needed.
    fn picture(&self, id: ItemId, need: Need, depth: usize) -> Result<Rgb, DecodeError> {
        let transforms = self.transforms(id)?;
        let is_cropped = transforms.iter().any(|property| matches!(property, Property::CleanAperture { .. }));
        let need = if is_cropped { Need::full() } else { need };
        let mut image = self.pixels(id, need, depth)?;
        if let Some(alpha) = self.alpha_of(id) {
            let is_transparent = put_over_ground(&mut image, &self.pixels(alpha, need, depth)?);
            self.is_transparent.set(self.is_transparent.get() || is_transparent);
        }
        for property in transforms {
            image = match property {
                Property::Rotation(1) => Orientation::Rotate270.apply(image),
                Property::Rotation(2) => Orientation::Rotate180.apply(image),
                Property::Rotation(3) => Orientation::Rotate90.apply(image),
                Property::Mirror(true) => Orientation::FlipVertical.apply(image),
                Property::Mirror(false) => Orientation::FlipHorizontal.apply(image),
                property => match crop(property, (image.width, image.height)) {
                    Some(crop) => crop
                        .ok_or_else(|| self.broken("its crop lies outside the picture"))?
                        .cut_out_of(&image),
                    None => image,
                },
            };
        }
        Ok(image)
    }

    /// Decodes an item as it is stored.
    fn pixels(&self, id: ItemId, need: Need, depth: usize) -> Result<Rgb, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(self.broken("its pictures are nested too deeply"));
        }
        match &self.file.item(id).map_err(|error| self.malformed(error))?.item_type.0 {
            b"hvc1" | b"av01" => self.coded(id),
            b"grid" => self.grid(id, need, depth),
            b"iden" => match self.file.referenced_items(id, b"dimg") {
                [source] => self.picture(*source, need, depth + 1),
                _ => Err(self.broken("a picture is missing")),
            },
            other => {
                let name = String::from_utf8_lossy(other).into_owned();
                Err(DecodeError::Unsupported { what: format!("{} with items of kind {name}", self.format) })
            }
        }
    }

    fn coded(&self, id: ItemId) -> Result<Rgb, DecodeError> {
        let max_pixels = self.limits.max_pixels.min(self.limits.max_memory_bytes / BYTES_A_PIXEL).max(1);
        let size = self.file.image_size(id).map_err(|error| self.malformed(error))?;
        if let Some((width, height)) = size {
            let memory_bytes = bytes_of_pixels(width, height, BYTES_A_PIXEL);
            self.limits.check_size(self.format, width, height, memory_bytes)?;
        }
        let mut frame = if self.file.item(id).is_ok_and(|item| item.item_type.0 == *b"av01") {
            let data = self.file.item_data(id).map_err(|error| self.malformed(error))?;
            av1::decode(&data, max_pixels, self.filters)?
        } else {
            let stream = self.file.hevc_bitstream(id).map_err(|error| self.malformed(error))?;
            let options = DecodeOptions { skip_loop_filters: !self.filters, verify_hash: false, max_pixels };
            decode_picture(&stream, options).map_err(|error| match error {
                heifer::heifer_hevc_dec::Error::Unimplemented(what) => {
                    DecodeError::Unsupported { what: format!("HEIF with {what}") }
                }
                error => DecodeError::malformed(self.format, error),
            })?
        };
        let (width, height) = size.unwrap_or((frame.widths[0], frame.heights[0]));
        let colours = self.colours_of(id, &frame);
        if frame.widths[1] != 0 && !MATRICES.contains(&colours.matrix) {
            let what = format!("{} with the colour matrix {} of H.273", self.format, colours.matrix);
            return Err(DecodeError::Unsupported { what });
        }
        if frame.widths[1] == 0 && !colours.full_range {
            to_full_range(&mut frame);
        }
        let rgba = frame_to_rgba_sized::<u8>(&frame, colours, width, height);
        if (rgba.width, rgba.height) != (width, height) {
            return Err(self.broken("its picture is smaller than it says"));
        }
        Ok(Rgb { width: rgba.width, height: rgba.height, pixels: pixels::without_alpha(&rgba.data) })
    }

    /// Returns matrix and range: those that the container names count more than those of the stream.
    fn colours_of(&self, id: ItemId, frame: &Frame) -> ColorParams {
        let named = self.file.item_properties(id).ok().and_then(|mut properties| {
            properties.find_map(|property| match property {
                Property::Color(ColorInfo::Nclx { matrix, full_range, .. }) => {
                    Some(ColorParams { matrix: *matrix, full_range: *full_range })
                }
                _ => None,
            })
        });
        named.unwrap_or_else(|| ColorParams::from_frame(frame))
    }

    /// Joins tiles, one row of them at a time, so that the largest phone pictures take little memory.
    fn grid(&self, id: ItemId, need: Need, depth: usize) -> Result<Rgb, DecodeError> {
        let grid = self.file.grid(id).map_err(|error| self.malformed(error))?;
        let (columns, rows) = (usize::from(grid.columns), usize::from(grid.rows));
        let (width, height) = (grid.output_width as usize, grid.output_height as usize);
        self.limits.check_size(self.format, grid.output_width, grid.output_height, 0)?;
        let tiles = self.file.referenced_items(id, b"dimg");
        if tiles.len() != columns * rows || tiles.is_empty() {
            return Err(self.broken("its grid misses tiles"));
        }
        let mut joined = Shrinker::new(grid.output_width, grid.output_height, need);
        let (mut strip, mut size) = (Vec::new(), None);
        for (row, tiles) in tiles.chunks(columns).enumerate() {
            for (column, &tile) in tiles.iter().enumerate() {
                let tile = self.picture(tile, Need::full(), depth + 1)?;
                let (tile_width, tile_height) =
                    *size.get_or_insert((tile.width as usize, tile.height as usize));
                if (tile.width as usize, tile.height as usize) != (tile_width, tile_height) {
                    return Err(self.broken("the tiles of its grid differ in size"));
                }
                let strip_height = tile_height.min(height.saturating_sub(row * tile_height));
                let memory_bytes = (width * strip_height * 3) as u64;
                self.limits.check_size(self.format, grid.output_width, grid.output_height, memory_bytes)?;
                strip.resize(width * strip_height * 3, 0);
                let left = column * tile_width;
                let Some(len) = width.checked_sub(left).map(|rest| rest.min(tile_width) * 3) else {
                    continue;
                };
                let targets = strip.chunks_exact_mut(width * 3);
                for (target, source) in targets.zip(tile.pixels.chunks_exact(tile_width * 3)) {
                    target[left * 3..left * 3 + len].copy_from_slice(&source[..len]);
                }
            }
            joined.push(&strip);
        }
        let covered = size.is_some_and(|(w, h)| w * columns >= width && h * rows >= height);
        if !covered {
            return Err(self.broken("its grid does not cover the picture"));
        }
        Ok(joined.finish())
    }

    /// Finds the picture that holds an item's transparency.
    fn alpha_of(&self, id: ItemId) -> Option<ItemId> {
        self.file.referencing_items(id, b"auxl").into_iter().find(|&aux| {
            self.file.item_properties(aux).is_ok_and(|mut properties| {
                properties.any(|property| {
                    matches!(property, Property::AuxiliaryType(kind)
                        if kind.ends_with("auxiliary:alpha") || kind.ends_with("hevc:2015:auxid:1"))
                })
            })
        })
    }
}

/// Stretches luma of video range, 16 to 235 in 8 bits, over all values.
fn to_full_range(frame: &mut Frame) {
    let unit = 1 << (frame.bit_depth[0] - 8);
    let largest = (1 << frame.bit_depth[0]) - 1;
    for sample in &mut frame.planes[0] {
        let above = i32::from(*sample) - 16 * unit;
        *sample = ((above * largest + 110 * unit) / (219 * unit)).clamp(0, largest) as u16;
    }
}

/// Lays a picture on a ground that shows it where `alpha`, a grey one, is dark, and says whether that is anywhere. Where the
/// two differ in size, nothing happens: some writers get the size of the transparency wrong.
fn put_over_ground(image: &mut Rgb, alpha: &Rgb) -> bool {
    if (alpha.width, alpha.height) != (image.width, image.height) {
        return false;
    }
    let alpha = alpha.pixels.as_chunks::<3>().0;
    let pixels = image.pixels.as_chunks_mut::<3>().0;
    let with_alpha = pixels.iter().zip(alpha).map(|(&pixel, &[alpha, ..])| (pixel, alpha));
    let Some(ground) = Ground::under(with_alpha) else { return false };
    for (pixel, &[alpha, ..]) in pixels.iter_mut().zip(alpha) {
        *pixel = ground.blended(*pixel, alpha);
    }
    true
}

/// A part of a picture.
#[derive(Debug, PartialEq)]
struct Crop {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// Returns the crop that a property makes, if it is one: an inner `None` lies outside the picture.
fn crop(property: &Property, (width, height): (u32, u32)) -> Option<Option<Crop>> {
    let Property::CleanAperture { width: across, height: down, horiz_offset, vert_offset } = property else {
        return None;
    };
    let spans = aperture(width, *across, *horiz_offset).zip(aperture(height, *down, *vert_offset));
    Some(spans.map(|((left, width), (top, height))| Crop { left, top, width, height }))
}

/// Returns start and length of a crop, given as fractions: its length and how far its middle is off the middle.
fn aperture(
    side: u32,
    (len, len_below): (u32, u32),
    (offset, offset_below): (i32, u32),
) -> Option<(u32, u32)> {
    if len_below == 0 || offset_below == 0 {
        return None;
    }
    let len = f64::from(len) / f64::from(len_below);
    let start = (f64::from(side) - len) / 2.0 + f64::from(offset) / f64::from(offset_below);
    let (start, len) = (start.round(), len.round());
    (start >= 0.0 && len >= 1.0 && start + len <= f64::from(side)).then_some((start as u32, len as u32))
}

impl Crop {
    fn cut_out_of(&self, image: &Rgb) -> Rgb {
        let (left, row) = (self.left as usize * 3, image.width as usize * 3);
        let rows = image.pixels.chunks_exact(row).skip(self.top as usize).take(self.height as usize);
        let pixels = rows.flat_map(|row| &row[left..left + self.width as usize * 3]).copied().collect();
        Rgb { width: self.width, height: self.height, pixels }
    }
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
        let crop = Crop { left: 1, top: 1, width: 2, height: 1 };
        assert_eq!(crop.cut_out_of(&image).pixels, [4, 4, 4, 5, 5, 5]);
    }

    #[test]
    fn luma_of_video_range_reaches_black_and_white() {
        for (bits, from, to) in
            [(8, [0, 16, 235, 255], [0, 0, 255, 255]), (10, [64, 502, 940, 64], [0, 512, 1023, 0])]
        {
            let mut frame = Frame {
                widths: [4, 0, 0],
                heights: [1, 0, 0],
                planes: [from.to_vec(), Vec::new(), Vec::new()],
                bit_depth: [bits, bits],
                chroma_format: 0,
                full_range: false,
                matrix_coeffs: 2,
            };
            to_full_range(&mut frame);
            assert_eq!(frame.planes[0], to);
        }
    }
}
