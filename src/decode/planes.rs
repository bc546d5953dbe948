//! TIFFs that keep each colour in a plane of its own, in tiles or in more than 8 bits a sample.
//!
//! The TIFF decoder panics on some of them and mixes up the colours of others. It reads grey pictures well, though, so
//! each plane is shown to it as one: the same file with a directory behind it that names this plane's data only.
//! Planes of 8 bits in strips it reads by itself.

use super::tags::{Directory, Tiff, tag};
use super::{DecodeError, Format, tiff};

/// Strips or tiles of a plane at the most. The largest scans have some ten thousand.
const MAX_PARTS: usize = 1 << 20;

const SHORT: u16 = 3;
const LONG: u16 = 4;
const RGB: u64 = 2;

/// The planes of a file.
pub(super) struct Planes<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    /// What all planes have in common, and below [`tag::STRIP_OFFSETS`] and the like what tells them apart.
    entries: Vec<(u16, u16, Vec<u32>)>,
    count: usize,
    /// How many of them are shown: not one that is neither colour nor transparency.
    pub shown: usize,
}

impl<'a> Planes<'a> {
    /// Finds the planes of a TIFF; `None` where it keeps its colours together, or few bits of them in strips.
    ///
    /// # Errors
    /// Kinds of planes that are not decoded: other than RGB, with or without transparency, and BigTIFF.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let Some(main) = Tiff::parse(bytes).and_then(tiff::photo) else { return Ok(None) };
        let number = |which| main.unsigned(which);
        let bits = number(tag::BITS_PER_SAMPLE).unwrap_or(1);
        let count = number(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
        let is_tiled = main.find(tag::TILE_OFFSETS).is_some();
        if number(tag::PLANAR_CONFIGURATION) != Some(2) || count < 2 || (bits <= 8 && !is_tiled) {
            return Ok(None);
        }
        let unsupported =
            DecodeError::Unsupported { what: format!("TIFF with {count} planes of {bits} bits") };
        let is_classic = bytes.get(2..4).is_some_and(|magic| magic == b"*\0" || magic == b"\0*");
        if !is_classic || number(tag::PHOTOMETRIC) != Some(RGB) || !(3..=4).contains(&count) {
            return Err(unsupported);
        }
        let count = count as usize;
        let entries = entries(&main, count)
            .ok_or_else(|| DecodeError::malformed(Format::Tiff, "the places of its planes make no sense"))?;
        let shown = if tiff::has_extra_without_meaning(&main) { 3 } else { count };
        Ok(Some(Self { bytes, big_endian: bytes.starts_with(b"MM"), entries, count, shown }))
    }

    /// Returns a TIFF that shows one plane as a grey picture.
    pub(super) fn grey(&self, plane: usize) -> Vec<u8> {
        let two = |value: u16| if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let four = |value: u32| if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut file = self.bytes.to_vec();
        file.resize(file.len().next_multiple_of(4), 0);
        let start = file.len() as u32;
        file[4..8].copy_from_slice(&four(start));
        file.extend(two(self.entries.len() as u16));
        let mut lists = Vec::new();
        let lists_start = start + 2 + 12 * self.entries.len() as u32 + 4;
        for (which, kind, values) in &self.entries {
            let values = match *which {
                tag::STRIP_OFFSETS | tag::STRIP_BYTE_COUNTS | tag::TILE_OFFSETS | tag::TILE_BYTE_COUNTS => {
                    let parts = values.len() / self.count;
                    &values[plane * parts..(plane + 1) * parts]
                }
                _ => values,
            };
            file.extend(two(*which));
            file.extend(two(*kind));
            file.extend(four(values.len() as u32));
            match values {
                [value] if *kind == SHORT => file.extend([two(*value as u16), [0, 0]].concat()),
                [value] => file.extend(four(*value)),
                values => {
                    file.extend(four(lists_start + lists.len() as u32));
                    lists.extend(values.iter().flat_map(|value| four(*value)));
                }
            }
        }
        file.extend([0; 4]);
        file.extend(lists);
        file
    }
}

/// Reads what the directories of the planes are made of, in the order of the tags.
fn entries(main: &Directory<'_>, count: usize) -> Option<Vec<(u16, u16, Vec<u32>)>> {
    let mut entries = Vec::new();
    for (which, kind) in [
        (tag::IMAGE_WIDTH, LONG),
        (tag::IMAGE_LENGTH, LONG),
        (tag::BITS_PER_SAMPLE, SHORT),
        (tag::COMPRESSION, SHORT),
        (tag::PHOTOMETRIC, SHORT),
        (tag::STRIP_OFFSETS, LONG),
        (tag::SAMPLES_PER_PIXEL, SHORT),
        (tag::ROWS_PER_STRIP, LONG),
        (tag::STRIP_BYTE_COUNTS, LONG),
        (tag::PREDICTOR, SHORT),
        (tag::TILE_WIDTH, LONG),
        (tag::TILE_LENGTH, LONG),
        (tag::TILE_OFFSETS, LONG),
        (tag::TILE_BYTE_COUNTS, LONG),
        (tag::SAMPLE_FORMAT, SHORT),
    ] {
        let Some(value) = main.find(which) else { continue };
        let numbers = |most: usize| {
            let numbers = (0..most).map_while(|index| value.unsigned(index));
            numbers.map(|number| u32::try_from(number).ok()).collect::<Option<Vec<u32>>>()
        };
        let values = match which {
            // Grey, black at 0.
            tag::PHOTOMETRIC | tag::SAMPLES_PER_PIXEL => vec![1],
            tag::STRIP_OFFSETS | tag::STRIP_BYTE_COUNTS | tag::TILE_OFFSETS | tag::TILE_BYTE_COUNTS => {
                let parts = numbers(MAX_PARTS * count)?;
                (!parts.is_empty() && parts.len() % count == 0).then_some(parts)?
            }
            _ => numbers(1).filter(|values| !values.is_empty())?,
        };
        entries.push((which, kind, values));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::super::tags::tests::little_endian;
    use super::super::{Limits, Need, decode};
    use super::*;

    /// The value of a tag that is one small number.
    fn short(which: u16, value: u8) -> (u16, u16, u32, [u8; 4]) {
        (which, 3, 1, [value, 0, 0, 0])
    }

    /// A TIFF of 2x1 pixels in three planes of 16 bits, uncompressed: values of red, of green, of blue.
    fn planar(values: [[u16; 2]; 3], photometric: u8) -> Vec<u8> {
        let start = 8 + 2 + 9 * 12 + 4u32;
        let list = |which: u16, at: u32| (which, 4, 3, (start + at).to_le_bytes());
        let entries = [
            short(tag::IMAGE_WIDTH, 2),
            short(tag::IMAGE_LENGTH, 1),
            short(tag::BITS_PER_SAMPLE, 16),
            short(tag::COMPRESSION, 1),
            short(tag::PHOTOMETRIC, photometric),
            list(tag::STRIP_OFFSETS, 0),
            short(tag::SAMPLES_PER_PIXEL, 3),
            list(tag::STRIP_BYTE_COUNTS, 12),
            short(tag::PLANAR_CONFIGURATION, 2),
        ];
        let offsets = [24, 28, 32].map(|at| start + at).map(u32::to_le_bytes).concat();
        let lens = [4u32; 3].map(u32::to_le_bytes).concat();
        let samples = values.concat().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        little_endian(&entries, &[offsets, lens, samples].concat())
    }

    #[test]
    fn planes_of_sixteen_bits_become_one_picture() {
        let file = planar([[0xffff, 0x8080], [0, 0x4040], [0x2020, 0xffff]], 2);
        let decoded = decode(&file, Need::full(), &Limits::default()).unwrap();
        assert_eq!(decoded.image.pixels, [255, 0, 32, 128, 64, 255]);
    }

    /// A TIFF of 2x17 pixels in three planes of 8 bits and two tiles each: all pixels of one colour.
    fn tiled(colour: [u8; 3]) -> Vec<u8> {
        let start = 8 + 2 + 11 * 12 + 4u32;
        let list = |which: u16, at: u32| (which, 4, 6, (start + at).to_le_bytes());
        let entries = [
            short(tag::IMAGE_WIDTH, 2),
            short(tag::IMAGE_LENGTH, 17),
            short(tag::BITS_PER_SAMPLE, 8),
            short(tag::COMPRESSION, 1),
            short(tag::PHOTOMETRIC, 2),
            short(tag::SAMPLES_PER_PIXEL, 3),
            short(tag::PLANAR_CONFIGURATION, 2),
            short(tag::TILE_WIDTH, 16),
            short(tag::TILE_LENGTH, 16),
            list(tag::TILE_OFFSETS, 0),
            list(tag::TILE_BYTE_COUNTS, 24),
        ];
        let offsets = [0, 1, 2, 3, 4, 5].map(|tile| start + 48 + tile * 256).map(u32::to_le_bytes).concat();
        let lens = [256u32; 6].map(u32::to_le_bytes).concat();
        let samples = colour.map(|value| [value; 512]).concat();
        little_endian(&entries, &[offsets, lens, samples].concat())
    }

    /// The TIFF decoder by itself panicked on planes of 8 bits in tiles, which made valid photos crash.
    #[test]
    fn planes_in_tiles_become_one_picture() {
        let decoded = decode(&tiled([10, 200, 30]), Need::full(), &Limits::default()).unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), (2, 17));
        assert_eq!(decoded.image.pixels, [10, 200, 30].repeat(34));
    }

    #[test]
    fn planes_that_are_no_rgb_are_unsupported() {
        let error = decode(&planar([[0; 2]; 3], 6), Need::full(), &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), "unsupported: TIFF with 3 planes of 16 bits");
    }
}
