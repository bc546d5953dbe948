//! Camera RAW: the largest picture that the camera itself put beside the sensor's data, never a development.
//!
//! Most RAWs are TIFFs whose directories point to JPEGs. Some hide the larger one in the maker's notes or in a
//! container of its own, so where what the directories name is too small, the file is searched for JPEGs.

use std::collections::HashSet;

use super::info::Exif;
use super::jpeg;
use super::tags::{Directory, Tiff, tag};
use super::{DecodeError, Format, Limits, Need, Opened, raster};

/// Directories looked at, whatever the file links together.
const MAX_DIRECTORIES: usize = 40;
/// JPEGs looked at while searching. Their headers are cheap; sensor data gives false starts.
const MAX_STARTS: usize = 4096;

const CFA: u64 = 32803;
const LINEAR_RAW: u64 = 34892;

/// Tells which camera's RAW a TIFF is, or `None` where it is an ordinary picture.
pub(super) fn kind_of_tiff(bytes: &[u8]) -> Option<Format> {
    let tiff = Tiff::parse(bytes)?;
    let main = tiff.first()?;
    if main.find(tag::DNG_VERSION).is_some() {
        return Some(Format::Dng);
    }
    let is_of_a_camera = |directory: &Directory<'_>| {
        is_sensor_data(directory)
            || matches!(directory.unsigned(tag::COMPRESSION), Some(32767 | 34713 | 65000 | 65535))
    };
    if !directories(tiff).iter().any(is_of_a_camera) {
        return None;
    }
    let make = main.text(tag::MAKE).unwrap_or_default().to_ascii_uppercase();
    Some(match make.split_whitespace().next().unwrap_or_default() {
        "NIKON" => Format::Nef,
        "SONY" => Format::Arw,
        "PENTAX" | "RICOH" => Format::Pef,
        "CANON" => Format::Cr2,
        _ => Format::OtherRaw,
    })
}

/// Lists the directories of the file's chain and those below them.
fn directories(tiff: Tiff<'_>) -> Vec<Directory<'_>> {
    let mut found = Vec::new();
    let mut next = tiff.first();
    while let Some(directory) = next
        && found.len() < MAX_DIRECTORIES
    {
        found.push(directory);
        found.extend(directory.children(tag::SUB_IFDS, 8));
        next = directory.next();
    }
    found
}

/// An embedded JPEG.
struct Preview<'a> {
    bytes: &'a [u8],
    width: u32,
    height: u32,
}

impl Preview<'_> {
    fn short_side(&self) -> u32 {
        self.width.min(self.height)
    }

    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

pub(super) fn decode(
    format: Format,
    bytes: &[u8],
    need: Need,
    limits: &Limits,
) -> Result<Opened, DecodeError> {
    let tiff = Tiff::parse(bytes);
    let all = tiff.map(directories).unwrap_or_default();
    let mut previews: Vec<Preview<'_>> = all.iter().flat_map(|it| named_previews(bytes, it)).collect();
    if format == Format::Raf {
        previews.extend(raf_preview(bytes));
    }
    // What maker's notes and containers hide is found by looking at every byte, which is not needed often.
    if previews.iter().map(Preview::short_side).max().unwrap_or(0) < need.short_side.min(1000) {
        let parts = parts_of_sensor_data(&all);
        previews.extend(hidden_previews(bytes, &parts));
    }
    previews.sort_by_key(|preview| std::cmp::Reverse(preview.pixels()));
    previews.dedup_by_key(|preview| preview.bytes.as_ptr());

    let mut exif = match format {
        Format::Cr3 => cr3_exif(bytes),
        _ => all.first().map(Exif::of_directory),
    };
    let mut failure = DecodeError::Unsupported { what: format!("{format} without an embedded picture") };
    for preview in previews.iter().take(8) {
        let orientation = exif.as_ref().map(|exif| exif.orientation);
        match jpeg::decode_embedded(preview.bytes, orientation, need, limits) {
            Ok((image, own)) => {
                let exif = exif.take().unwrap_or(own);
                let (mut width, mut height) = (preview.width, preview.height);
                if let Some(sensor) =
                    all.iter().filter_map(size_of).max_by_key(|(w, h)| u64::from(*w) * u64::from(*h))
                    && u64::from(sensor.0) * u64::from(sensor.1) > preview.pixels()
                {
                    (width, height) = sensor;
                }
                let (width, height) = exif.orientation.upright_size(width, height);
                let info = exif.with_size(format, width, height);
                // A preview does not speak for the sensor's pixels.
                return Ok(Opened { image, info, is_transparent: false, pixels: None });
            }
            Err(error) => failure = error,
        }
    }
    // A few write their preview without compression, as the first picture of the TIFF.
    let is_picture =
        |main: &Directory<'_>| !matches!(main.unsigned(tag::PHOTOMETRIC), Some(CFA | LINEAR_RAW));
    if previews.is_empty() && all.first().is_some_and(is_picture) {
        let mut opened = raster::decode(Format::Tiff, bytes, need, limits).map_err(|_| failure)?;
        opened.info.format = format;
        opened.pixels = None;
        return Ok(opened);
    }
    Err(failure)
}

fn size_of(directory: &Directory<'_>) -> Option<(u32, u32)> {
    let side = |which| directory.unsigned(which).and_then(|side| u32::try_from(side).ok());
    Some((side(tag::IMAGE_WIDTH)?, side(tag::IMAGE_LENGTH)?))
}

/// Returns the JPEGs that a directory points to: as such, as its only strip, or as Panasonic does it.
fn named_previews<'a>(bytes: &'a [u8], directory: &Directory<'a>) -> Vec<Preview<'a>> {
    let span = |start: u16, len: u16| {
        let start = usize::try_from(directory.unsigned(start)?).ok()?;
        let len = usize::try_from(directory.unsigned(len)?).ok()?;
        bytes.get(start..start.checked_add(len)?.min(bytes.len()))
    };
    let is_picture = !is_sensor_data(directory);
    [
        span(tag::JPEG_OFFSET, tag::JPEG_LENGTH),
        span(tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS).filter(|_| is_picture),
        directory.find(tag::PANASONIC_JPEG).map(|value| value.bytes()),
    ]
    .into_iter()
    .flatten()
    .filter_map(preview)
    .collect()
}

/// Fujifilm's header gives place and length of the JPEG at fixed offsets.
fn raf_preview(bytes: &[u8]) -> Option<Preview<'_>> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|raw| u32::from_be_bytes(*raw) as usize);
    let (start, len) = (number(84)?, number(88)?);
    preview(bytes.get(start..start.checked_add(len)?)?)
}

fn preview(bytes: &[u8]) -> Option<Preview<'_>> {
    let (width, height) = jpeg::decodable_size(bytes)?;
    Some(Preview { bytes, width, height })
}

/// Says whether a directory holds what the sensor saw, which no viewer shows as it is.
pub(super) fn is_sensor_data(directory: &Directory<'_>) -> bool {
    matches!(directory.unsigned(tag::PHOTOMETRIC), Some(CFA | LINEAR_RAW))
}

/// Returns where the tiles and strips of the sensor's data begin. A lossy DNG has a JPEG in each.
fn parts_of_sensor_data(all: &[Directory<'_>]) -> HashSet<usize> {
    let values = all
        .iter()
        .filter(|directory| is_sensor_data(directory))
        .flat_map(|directory| [tag::TILE_OFFSETS, tag::STRIP_OFFSETS].map(|which| directory.find(which)));
    let places =
        values.flatten().flat_map(|value| (0..value.len()).map_while(move |part| value.unsigned(part)));
    places.filter_map(|place| usize::try_from(place).ok()).collect()
}

/// Returns the JPEGs in a file, wherever they begin, but those that begin at one of `parts`.
fn hidden_previews<'a>(bytes: &'a [u8], parts: &HashSet<usize>) -> Vec<Preview<'a>> {
    memchr::memmem::find_iter(bytes, b"\xff\xd8\xff")
        .skip_while(|&at| at == 0)
        .filter(|at| !parts.contains(at))
        .take(MAX_STARTS)
        .filter_map(|at| preview(&bytes[at..]))
        .collect()
}

/// Canon's container holds the main, the EXIF and the GPS directory as three blocks of their own.
fn cr3_exif(bytes: &[u8]) -> Option<Exif> {
    let head = &bytes[..bytes.len().min(1 << 16)];
    let block = |name: &[u8; 4]| {
        let at = memchr::memmem::find(head, name)? + 4;
        Tiff::parse(&head[at..])?.first()
    };
    Some(Exif::of_directories(&block(b"CMT1")?, block(b"CMT2").as_ref(), block(b"CMT4").as_ref()))
}

#[cfg(test)]
mod tests {
    use super::super::tags::tests::little_endian;
    use super::*;

    #[test]
    fn a_tiff_with_sensor_data_is_a_raw_and_another_is_not() {
        let short = |tag: u16, value: u16| {
            let [low, high] = value.to_le_bytes();
            (tag, 3u16, 1u32, [low, high, 0, 0])
        };
        let check =
            |entries: &[_], expected| assert_eq!(kind_of_tiff(&little_endian(entries, &[])), expected);
        check(&[short(tag::PHOTOMETRIC, 2)], None);
        check(&[short(tag::PHOTOMETRIC, CFA as u16)], Some(Format::OtherRaw));
        check(&[short(tag::COMPRESSION, 34713), (tag::MAKE, 2, 4, *b"Sony")], Some(Format::Arw));
        check(&[short(tag::PHOTOMETRIC, 2), (tag::DNG_VERSION, 1, 4, [1, 4, 0, 0])], Some(Format::Dng));
    }

    #[test]
    fn directories_that_link_in_a_circle_end() {
        let mut bytes = little_endian(&[(tag::ORIENTATION, 3, 1, [1, 0, 0, 0])], &[]);
        let link = 8 + 2 + 12;
        bytes[link] = 8;
        assert_eq!(directories(Tiff::parse(&bytes).unwrap()).len(), MAX_DIRECTORIES);
    }

    /// A DNG: a small picture of one grey, `preview`, and the sensor's data as two tiles that are JPEGs of another.
    fn lossy_dng(preview: &[u8]) -> Vec<u8> {
        let short = |tag: u16, value: u16| {
            let [low, high] = value.to_le_bytes();
            (tag, 3u16, 1u32, [low, high, 0, 0])
        };
        let long = |tag: u16, count: u32, value: usize| (tag, 4u16, count, (value as u32).to_le_bytes());
        let tile = jpeg_of(200, 64);
        // The main directory has eleven entries, that of the sensor's data nine.
        let sub = 8 + 2 + 11 * 12 + 4;
        let lists = sub + 2 + 9 * 12 + 4;
        let data = lists + 16;
        let sides = [tile.len(), data];
        let main = [
            short(tag::NEW_SUBFILE_TYPE, 1),
            short(tag::IMAGE_WIDTH, 4),
            short(tag::IMAGE_LENGTH, 3),
            short(tag::BITS_PER_SAMPLE, 8),
            short(tag::COMPRESSION, 1),
            short(tag::PHOTOMETRIC, 1),
            long(tag::STRIP_OFFSETS, 1, data + 2 * tile.len()),
            short(tag::SAMPLES_PER_PIXEL, 1),
            long(tag::STRIP_BYTE_COUNTS, 1, preview.len()),
            long(tag::SUB_IFDS, 1, sub),
            (tag::DNG_VERSION, 1, 4, [1, 4, 0, 0]),
        ];
        let sensor = [
            short(tag::NEW_SUBFILE_TYPE, 0),
            short(tag::IMAGE_WIDTH, 128),
            short(tag::IMAGE_LENGTH, 64),
            short(tag::COMPRESSION, 34892),
            short(tag::PHOTOMETRIC, LINEAR_RAW as u16),
            short(tag::TILE_WIDTH, 64),
            short(tag::TILE_LENGTH, 64),
            long(tag::TILE_OFFSETS, 2, lists),
            long(tag::TILE_BYTE_COUNTS, 2, lists + 8),
        ];
        let sensor = little_endian(&sensor, &[])[8..].to_vec();
        let places =
            [sides[1], sides[1] + sides[0], sides[0], sides[0]].map(|number| (number as u32).to_le_bytes());
        little_endian(&main, &[sensor, places.concat(), tile.clone(), tile, preview.to_vec()].concat())
    }

    fn jpeg_of(grey: u8, side: usize) -> Vec<u8> {
        let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_GRAYSCALE);
        compress.set_size(side, side);
        let mut started = compress.start_compress(Vec::new()).unwrap();
        started.write_scanlines(&vec![grey; side * side]).unwrap();
        started.finish().unwrap()
    }

    /// The top left tile was taken for the photo.
    #[test]
    fn a_tile_of_the_sensors_data_is_no_photo() {
        let small = jpeg_of(90, 16);
        for (preview, size) in [(&[90; 12][..], (4, 3)), (&small, (16, 16))] {
            let file = lossy_dng(preview);
            assert_eq!(kind_of_tiff(&file), Some(Format::Dng));
            let decoded = decode(Format::Dng, &file, Need::short_side(224), &Limits::default()).unwrap();
            assert_eq!((decoded.image.width, decoded.image.height), size);
            assert!(
                decoded.image.pixels.iter().all(|value| value.abs_diff(90) <= 2),
                "{:?}",
                decoded.image.pixels[0]
            );
        }
    }

    #[test]
    fn a_raw_without_a_picture_is_unsupported() {
        let bytes = little_endian(&[(tag::PHOTOMETRIC, 3, 1, (CFA as u32).to_le_bytes())], &[]);
        let error = decode(Format::Nef, &bytes, Need::full(), &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "unsupported: NEF without an embedded picture");
    }
}
