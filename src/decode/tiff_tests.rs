//! TIFFs of every kind that the format's parts make together, written here, so that it is known what they show.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::super::tags::tag;
use super::super::tags::tests::little_endian;
use super::super::{DecodeError, FailureKind, Limits, Need, decode};

const WIDTH: usize = 21;
const HEIGHT: usize = 19;
const TILE: usize = 16;
const ROWS_PER_STRIP: usize = 7;

#[derive(Clone, Copy, Debug)]
struct Kind {
    photometric: u16,
    colours: usize,
    /// What the sample behind the colours is, if there is one: 0 nothing in particular, 1 and 2 transparency.
    extra: Option<u16>,
    bits: u16,
    is_float: bool,
    /// The differences between pixels are kept.
    is_predicted: bool,
    is_planar: bool,
    is_tiled: bool,
    is_deflated: bool,
    is_big_endian: bool,
}

impl Kind {
    fn samples(&self) -> usize {
        self.colours + usize::from(self.extra.is_some())
    }

    /// The value of a sample, of 255.
    fn value(&self, x: usize, y: usize, sample: usize) -> u8 {
        match self.extra {
            // Opaque, so that it is clear what is to be seen.
            Some(1 | 2) if sample == self.colours => 255,
            Some(_) if sample == self.colours => ((x * 29 + y * 53) % 256) as u8,
            _ => ((x * 11 + y * 5 + sample * 61) % 256) as u8,
        }
    }

    /// What is to be seen.
    fn shown(&self, x: usize, y: usize) -> [u8; 3] {
        let colour = |sample| u32::from(self.value(x, y, sample));
        match self.photometric {
            1 => [colour(0) as u8; 3],
            5 => [0, 1, 2].map(|ink| (((255 - colour(ink)) * (255 - colour(3)) + 127) / 255) as u8),
            _ => [0, 1, 2].map(|sample| colour(sample) as u8),
        }
    }

    /// One row of some samples as it stands in the file.
    fn row(&self, xs: std::ops::Range<usize>, y: usize, samples: std::ops::Range<usize>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut before = vec![0u64; samples.len()];
        for x in xs {
            for (before, sample) in before.iter_mut().zip(samples.clone()) {
                let is_inside = x < WIDTH && y < HEIGHT;
                let value = if is_inside { self.value(x, y, sample) } else { 0 };
                let number = match self.bits {
                    8 => u64::from(value),
                    16 => u64::from(value) * 257,
                    _ if self.is_float => u64::from(light(value).to_bits()),
                    _ => u64::from(value) * 0x0101_0101,
                };
                let kept = if self.is_predicted { number.wrapping_sub(*before) } else { number };
                *before = number;
                let bytes_of_it = usize::from(self.bits / 8);
                match self.is_big_endian {
                    true => bytes.extend(&kept.to_be_bytes()[8 - bytes_of_it..]),
                    false => bytes.extend(&kept.to_le_bytes()[..bytes_of_it]),
                }
            }
        }
        bytes
    }

    /// The strips or tiles.
    fn parts(&self) -> Vec<Vec<u8>> {
        let together = if self.is_planar { 1 } else { self.samples() };
        let mut parts = Vec::new();
        for first in (0..self.samples()).step_by(together) {
            let (width, height) = if self.is_tiled { (TILE, TILE) } else { (WIDTH, ROWS_PER_STRIP) };
            for top in (0..HEIGHT).step_by(height) {
                let bottom = if self.is_tiled { top + height } else { HEIGHT.min(top + height) };
                for left in (0..WIDTH).step_by(width) {
                    let rows =
                        (top..bottom).map(|y| self.row(left..left + width, y, first..first + together));
                    let part = rows.collect::<Vec<_>>().concat();
                    parts.push(if self.is_deflated { deflated(&part) } else { part });
                }
            }
        }
        parts
    }

    /// The directory of the picture, at `start` of a file, followed by what it points to.
    fn directory(&self, start: usize, subfile: u16, next: usize) -> Vec<u8> {
        let parts = self.parts();
        let mut tags = vec![
            (tag::NEW_SUBFILE_TYPE, vec![u32::from(subfile)]),
            (tag::IMAGE_WIDTH, vec![WIDTH as u32]),
            (tag::IMAGE_LENGTH, vec![HEIGHT as u32]),
            (tag::BITS_PER_SAMPLE, vec![u32::from(self.bits); self.samples()]),
            (tag::COMPRESSION, vec![if self.is_deflated { 8 } else { 1 }]),
            (tag::PHOTOMETRIC, vec![u32::from(self.photometric)]),
            (tag::SAMPLES_PER_PIXEL, vec![self.samples() as u32]),
            (tag::PLANAR_CONFIGURATION, vec![if self.is_planar { 2 } else { 1 }]),
            (tag::PREDICTOR, vec![if self.is_predicted { 2 } else { 1 }]),
        ];
        if self.is_float {
            tags.push((tag::SAMPLE_FORMAT, vec![3; self.samples()]));
        }
        if let Some(extra) = self.extra {
            tags.push((tag::EXTRA_SAMPLES, vec![u32::from(extra)]));
        }
        let (offsets, counts) = match self.is_tiled {
            true => {
                tags.extend([(tag::TILE_WIDTH, vec![TILE as u32]), (tag::TILE_LENGTH, vec![TILE as u32])]);
                (tag::TILE_OFFSETS, tag::TILE_BYTE_COUNTS)
            }
            false => {
                tags.push((tag::ROWS_PER_STRIP, vec![ROWS_PER_STRIP as u32]));
                (tag::STRIP_OFFSETS, tag::STRIP_BYTE_COUNTS)
            }
        };
        // Their places are known once all else is: the parts come first behind the directory.
        let behind = start + 2 + 12 * (tags.len() + 2) + 4;
        let mut place = behind;
        let mut places = Vec::new();
        for part in &parts {
            places.push(place as u32);
            place += part.len();
        }
        tags.push((offsets, places));
        tags.push((counts, parts.iter().map(|part| part.len() as u32).collect()));
        tags.sort();
        let mut rest = parts.concat();
        let mut bytes = self.number(tags.len() as u64, 2);
        for (which, values) in tags {
            let is_short = which != offsets && which != counts;
            let (kind, len) = if is_short { (3, 2) } else { (4, 4) };
            let mut list =
                values.iter().flat_map(|&value| self.number(value.into(), len)).collect::<Vec<u8>>();
            bytes.extend(
                [self.number(which.into(), 2), self.number(kind, 2), self.number(values.len() as u64, 4)]
                    .concat(),
            );
            if list.len() <= 4 {
                list.resize(4, 0);
                bytes.extend(list);
            } else {
                bytes.extend(self.number((behind + rest.len()) as u64, 4));
                rest.extend(list);
            }
        }
        bytes.extend(self.number(next as u64, 4));
        assert_eq!(bytes.len(), behind - start);
        bytes.extend(rest);
        bytes
    }

    fn number(&self, number: u64, len: usize) -> Vec<u8> {
        match self.is_big_endian {
            true => number.to_be_bytes()[8 - len..].to_vec(),
            false => number.to_le_bytes()[..len].to_vec(),
        }
    }

    fn header(&self) -> Vec<u8> {
        let order: &[u8] = if self.is_big_endian { b"MM" } else { b"II" };
        [order, &self.number(42, 2), &self.number(8, 4)].concat()
    }

    fn file(&self) -> Vec<u8> {
        [self.header(), self.directory(8, 0, 0)].concat()
    }

    /// Says whether a picture is the one that this file shows.
    fn is_shown_by(&self, pixels: &[u8]) -> bool {
        let expected = (0..HEIGHT).flat_map(|y| (0..WIDTH).flat_map(move |x| self.shown(x, y)));
        let is_alike = pixels.iter().zip(expected).all(|(&found, expected)| found.abs_diff(expected) <= 1);
        pixels.len() == WIDTH * HEIGHT * 3 && is_alike
    }
}

/// Returns the light that sRGB shows by this byte; floats are light.
fn light(value: u8) -> f32 {
    let value = f32::from(value) / 255.0;
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const PLAIN: Kind = Kind {
    photometric: 2,
    colours: 3,
    extra: None,
    bits: 8,
    is_float: false,
    is_predicted: false,
    is_planar: false,
    is_tiled: false,
    is_deflated: false,
    is_big_endian: false,
};

fn every_kind() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (photometric, colours) in [(1, 1), (2, 3), (5, 4)] {
        for extra in [None, Some(0), Some(1), Some(2)] {
            for (bits, is_float) in [(8, false), (16, false), (32, false), (32, true)] {
                for options in 0..32 {
                    let has = |bit: u32| options >> bit & 1 == 1;
                    let kind = Kind {
                        photometric,
                        colours,
                        extra,
                        bits,
                        is_float,
                        is_predicted: has(0),
                        is_planar: has(1),
                        is_tiled: has(2),
                        is_deflated: has(3),
                        is_big_endian: has(4),
                    };
                    // Differences of floats are kept in another way.
                    if !(is_float && kind.is_predicted) {
                        kinds.push(kind);
                    }
                }
            }
        }
    }
    kinds
}

/// A fourth channel without a meaning made noise of a picture, and integers were read as floats.
#[test]
fn every_kind_of_tiff_is_read_rightly_or_refused() {
    let (mut read, mut refused, mut wrong) = (0, 0, Vec::new());
    for kind in every_kind() {
        match decode(&kind.file(), Need::full(), &Limits::default()) {
            Ok(decoded) if kind.is_shown_by(&decoded.image.pixels) => read += 1,
            Ok(_) => wrong.push(kind),
            Err(error) if error.kind() == FailureKind::Unsupported => refused += 1,
            Err(error) => panic!("{kind:?}: {error}"),
        }
    }
    assert!(wrong.is_empty(), "{read} right, {refused} refused, {} wrong: {wrong:#?}", wrong.len());
    eprintln!("{read} right, {refused} refused");
    assert!(read >= 330, "only {read} are read, {refused} refused");
}

/// It was refused.
#[test]
fn places_in_a_palette_are_its_colours() {
    let start = 8 + 2 + 9 * 12 + 4u32;
    let short = |which: u16, value: u8| (which, 3u16, 1u32, [value, 0, 0, 0]);
    let file = |map: &[u16]| {
        let entries = [
            short(tag::IMAGE_WIDTH, 2),
            short(tag::IMAGE_LENGTH, 1),
            short(tag::BITS_PER_SAMPLE, 8),
            short(tag::COMPRESSION, 1),
            short(tag::PHOTOMETRIC, 3),
            (tag::STRIP_OFFSETS, 4, 1, (start + 2 * map.len() as u32).to_le_bytes()),
            short(tag::SAMPLES_PER_PIXEL, 1),
            short(tag::STRIP_BYTE_COUNTS, 2),
            (tag::COLOR_MAP, 3, map.len() as u32, start.to_le_bytes()),
        ];
        let map: Vec<u8> = map.iter().flat_map(|level| level.to_le_bytes()).collect();
        little_endian(&entries, &[&map[..], &[7, 255]].concat())
    };
    for (unit, level) in [(256, 10), (1, 10)] {
        let mut map = [0; 3 * 256];
        (map[7], map[256 + 7], map[512 + 7]) = (200 * unit, level * unit, 30 * unit);
        map[512 + 255] = 255 * unit;
        let decoded = decode(&file(&map), Need::full(), &Limits::default()).unwrap();
        assert_eq!(decoded.image.pixels, [200, 10, 30, 0, 0, 255]);
    }
    let error = decode(&file(&[0; 300]), Need::full(), &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Corrupt, "{error}");
}

#[test]
fn what_programs_write_is_read() {
    let inks = Kind { photometric: 5, colours: 4, extra: Some(0), is_deflated: true, ..PLAIN };
    let decoded = decode(&inks.file(), Need::full(), &Limits::default()).unwrap();
    assert!(inks.is_shown_by(&decoded.image.pixels), "strips of inks with one more sample");
    for (extra, photometric, colours) in
        [(None, 2, 3), (Some(0), 2, 3), (Some(2), 2, 3), (None, 5, 4), (None, 1, 1)]
    {
        for (bits, is_predicted, is_tiled) in
            [(8, true, false), (16, true, false), (8, true, true), (16, false, true)]
        {
            let kind = Kind {
                photometric,
                colours,
                extra,
                bits,
                is_predicted,
                is_tiled,
                is_deflated: true,
                ..PLAIN
            };
            let decoded = decode(&kind.file(), Need::full(), &Limits::default());
            let decoded = decoded.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert!(kind.is_shown_by(&decoded.image.pixels), "{kind:?}");
        }
    }
}

/// The small picture was taken for the photo.
#[test]
fn a_small_picture_before_the_photo_is_passed_over() {
    for is_big_endian in [false, true] {
        let small = Kind { photometric: 1, colours: 1, is_big_endian, ..PLAIN };
        let photo = Kind { is_big_endian, ..PLAIN };
        let behind = 8 + small.directory(8, 1, 0).len();
        let two = |subfile| {
            [small.header(), small.directory(8, subfile, behind), photo.directory(behind, 0, 0)].concat()
        };
        let shown = |file: &[u8]| decode(file, Need::full(), &Limits::default()).unwrap().image.pixels;
        assert!(photo.is_shown_by(&shown(&two(1))));
        // Of pages that are worth the same, the first is the photo.
        assert!(small.is_shown_by(&shown(&two(0))));
    }
    let only = [PLAIN.header(), PLAIN.directory(8, 1, 0)].concat();
    let decoded = decode(&only, Need::full(), &Limits::default()).unwrap();
    assert!(PLAIN.is_shown_by(&decoded.image.pixels), "better a small one than none");
}

#[test]
fn what_is_refused_says_what_it_is() {
    let integers = Kind { bits: 32, ..PLAIN };
    let error = decode(&integers.file(), Need::full(), &Limits::default()).unwrap_err();
    assert!(matches!(&error, DecodeError::Unsupported { what } if what.contains("32 bits")), "{error}");
    let inks = Kind { photometric: 5, colours: 4, extra: Some(0), is_tiled: true, ..PLAIN };
    let error = decode(&inks.file(), Need::full(), &Limits::default()).unwrap_err();
    assert!(matches!(&error, DecodeError::Unsupported { what } if what.contains("5 samples")), "{error}");
}
