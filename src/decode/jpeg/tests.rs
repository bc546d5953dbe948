use std::fs;

use mozjpeg::{ColorSpace, Compress};
use serde::Deserialize;

use super::super::tags::tag;
use super::super::tags::tests::little_endian;
use super::*;
use crate::decode::{Decoded, FailureKind, decode};

/// Draws slow waves of colour, which survive compression.
fn waves(width: usize, height: usize) -> Vec<u8> {
    let wave = |at: usize, len: f64| ((at as f64 / len).sin() * 100.0 + 128.0) as u8;
    (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [wave(x, 40.0), wave(y, 30.0), wave(x + y, 60.0)]))
        .collect()
}

fn compressed(width: usize, height: usize, pixels: &[u8], prepare: impl FnOnce(&mut Compress)) -> Vec<u8> {
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(width, height);
    compress.set_fastest_defaults();
    compress.set_quality(90.0);
    prepare(&mut compress);
    let mut started = compress.start_compress(Vec::new()).unwrap();
    started.write_scanlines(pixels).unwrap();
    started.finish().unwrap()
}

fn photo(width: usize, height: usize) -> Vec<u8> {
    compressed(width, height, &waves(width, height), |_| ())
}

fn decode_full(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, Need::full(), &Limits::default())
}

/// Mean difference of the values of two pictures.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[derive(Deserialize)]
struct Reference {
    every: usize,
    pictures: Vec<Picture>,
}

#[derive(Deserialize)]
struct Picture {
    name: String,
    levels: Vec<u8>,
}

#[test]
fn every_coding_gives_the_pixels_that_pillow_gives() {
    let reference: Reference =
        serde_json::from_str(include_str!("../../../tests/reference/jpegs.json")).unwrap();
    assert_eq!(reference.pictures.len(), 9);
    for picture in reference.pictures {
        let path = format!("{}/tests/data/{}.jpg", env!("CARGO_MANIFEST_DIR"), picture.name);
        let decoded = decode_full(&fs::read(path).unwrap()).unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), (97, 61));
        let levels: Vec<u8> = decoded.image.pixels.iter().copied().step_by(reference.every).collect();
        let largest = levels.iter().zip(&picture.levels).map(|(a, b)| a.abs_diff(*b)).max();
        // Pillow's own conversion from ink to light rounds down.
        let tolerance = if picture.name == "cmyk" { 1 } else { 0 };
        assert!(
            levels.len() == picture.levels.len() && largest <= Some(tolerance),
            "{}: {largest:?}",
            picture.name
        );
    }
}

#[test]
fn the_picture_is_as_small_as_the_need_allows_and_never_smaller() {
    let file = photo(1300, 700);
    let check = |need: u32, width: u32, height: u32| {
        let decoded = decode(&file, Need::short_side(need), &Limits::default()).unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), (width, height), "need {need}");
        assert_eq!((decoded.info.width, decoded.info.height), (1300, 700));
    };
    check(1, 163, 88);
    check(88, 163, 88);
    check(89, 325, 175);
    check(250, 488, 263);
    check(263, 488, 263);
    check(264, 650, 350);
    check(613, 1138, 613);
    check(614, 1300, 700);
    check(900, 1300, 700);
}

#[test]
fn a_scaled_picture_is_the_same_picture() {
    let pixels = waves(640, 480);
    for file in
        [compressed(640, 480, &pixels, |_| ()), compressed(640, 480, &pixels, Compress::set_progressive_mode)]
    {
        let full = decode_full(&file).unwrap().image;
        assert!(difference(&full.pixels, &pixels) < 2.0);
        let half = decode(&file, Need::short_side(240), &Limits::default()).unwrap().image;
        // Each pixel of the half picture is the mean of four.
        let means: Vec<u8> = (0..240)
            .flat_map(|y| (0..320).flat_map(move |x| (0..3).map(move |channel| (x, y, channel))))
            .map(|(x, y, channel)| {
                let value = |x: usize, y: usize| u32::from(full.pixels[(y * 640 + x) * 3 + channel]);
                let sum = value(2 * x, 2 * y) + value(2 * x + 1, 2 * y);
                ((sum + value(2 * x, 2 * y + 1) + value(2 * x + 1, 2 * y + 1) + 2) / 4) as u8
            })
            .collect();
        assert!(difference(&half.pixels, &means) < 1.0, "{}", difference(&half.pixels, &means));
    }
}

#[test]
fn exif_turns_the_picture_and_tells_the_camera() {
    let block = little_endian(&[(tag::ORIENTATION, 3, 1, [6, 0, 0, 0]), (tag::MODEL, 2, 4, *b"Cam\0")], &[]);
    let mut segment = vec![0xff, 0xe1, 0, block.len() as u8 + 8];
    segment.extend(b"Exif\0\0");
    segment.extend(&block);
    let file = photo(64, 48);
    let with_exif = [&file[..2], &segment, &file[2..]].concat();

    let (plain, turned) = (decode_full(&file).unwrap(), decode_full(&with_exif).unwrap());
    assert_eq!((turned.info.width, turned.info.height), (48, 64));
    assert_eq!(turned.info.camera.as_deref(), Some("Cam"));
    assert_eq!(turned.image, super::super::orientation::Orientation::Rotate90.apply(plain.image));
}

#[test]
fn a_file_that_ends_early_is_a_picture_only_if_most_of_it_is_there() {
    let file = photo(320, 640);
    let whole = decode_full(&file).unwrap().image;
    let nearly = decode_full(&file[..file.len() * 9 / 10]).unwrap().image;
    let upper = 320 * 3 * 400;
    assert_eq!(nearly.pixels[..upper], whole.pixels[..upper]);

    for part in [2, 100] {
        let error = decode_full(&file[..file.len() / part]).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Corrupt, "{error}");
    }
    // Its full length does not make it whole.
    let mut zeroed = file.clone();
    zeroed[file.len() / 2..].fill(0);
    let error = decode_full(&zeroed).unwrap_err();
    assert_eq!(error.to_string(), "broken JPEG file: the file ends too early");
}

/// It was half grey, and the same as a whole one that was as grey.
#[test]
fn a_file_of_which_a_part_is_lost_says_so() {
    let file = photo(1280, 960);
    let is_damaged = |file: &[u8]| decode_full(file).unwrap().info.is_damaged;
    assert!(!is_damaged(&file));
    assert!(!is_damaged(&file[..file.len() - 2]), "without the mark of its end");
    assert!(is_damaged(&file[..file.len() * 9 / 10]));
    let mut holed = file.clone();
    holed[file.len() / 2..][..4096].fill(0);
    assert!(is_damaged(&holed));
    let mut marked = file.clone();
    marked[file.len() / 2..][..2].copy_from_slice(&[0xff, 0xd3]);
    assert!(is_damaged(&marked));

    let progressive = compressed(1280, 960, &waves(1280, 960), Compress::set_progressive_mode);
    assert!(!is_damaged(&progressive));
    assert!(is_damaged(&progressive[..progressive.len() * 9 / 10]));
    let white =
        compressed(1600, 1600, &[255; 1600 * 1600 * 3], |compress| compress.set_optimize_coding(true));
    assert!(!is_damaged(&white), "zeros are white here");
}

/// It was refused where a byte was missing.
#[test]
fn a_progressive_file_that_ends_early_is_a_picture_if_it_shows_all_of_it() {
    let file = compressed(320, 640, &waves(320, 640), Compress::set_progressive_mode);
    let whole = decode_full(&file).unwrap().image;
    for (bytes, most) in [(file.len() - 2, 0.1), (file.len() * 99 / 100, 0.5), (file.len() * 9 / 10, 2.0)] {
        let found = decode_full(&file[..bytes]).unwrap().image;
        let far = difference(&found.pixels, &whole.pixels);
        assert!(far <= most, "{bytes} of {}: {far}", file.len());
    }
    let scan = file.windows(2).position(|marker| marker == [0xff, 0xda]).unwrap();
    for end in [scan + 40, file.len() / 100, file.len() / 10] {
        let error = decode_full(&file[..end]).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Corrupt, "{end} of {}: {error}", file.len());
    }
}

#[test]
fn what_libjpeg_refuses_is_told_in_its_words() {
    let mut file = photo(64, 48);
    let check =
        |file: &[u8], expected: &str| assert_eq!(decode_full(file).unwrap_err().to_string(), expected);
    check(b"\xff\xd8\xff", "broken JPEG file: JPEG datastream contains no image");

    // The number of the first quantisation table becomes one that does not exist.
    let table = file.windows(2).position(|marker| marker == [0xff, 0xdb]).unwrap();
    file[table + 4] = 0x0f;
    check(&file, "broken JPEG file: Bogus DQT index 15");
}

#[test]
fn kinds_that_libjpeg_does_not_know_are_unsupported() {
    let file = photo(64, 48);
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    let check = |at: usize, value: u8, expected: &str| {
        let mut file = file.clone();
        file[at] = value;
        let error = decode_full(&file).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (FailureKind::Unsupported, expected));
    };
    check(frame + 1, 0xc3, "unsupported: JPEG with lossless coding");
    check(frame + 1, 0xc9, "unsupported: JPEG with arithmetic coding");
    check(frame + 4, 12, "unsupported: JPEG with 12 bits a sample");
}

#[test]
fn limits_are_those_of_the_header() {
    let mut file = photo(64, 48);
    let frame = file.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    file[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    let error = decode_full(&file).unwrap_err();
    assert_eq!(error.to_string(), "too large: 65500x65500 pixels, the limit is 250000000 pixels");

    // What fits as a scaled picture does not fit where all coefficients must be kept.
    let limits = Limits { max_memory_bytes: 1 << 20, ..Limits::default() };
    let pixels = waves(1200, 800);
    let sequential = compressed(1200, 800, &pixels, |_| ());
    let progressive = compressed(1200, 800, &pixels, Compress::set_progressive_mode);
    assert!(decode(&sequential, Need::short_side(100), &limits).is_ok());
    let error = decode(&progressive, Need::short_side(100), &limits).unwrap_err();
    assert_eq!(error.kind(), FailureKind::TooLarge, "{error}");
}

#[test]
fn a_file_of_a_thousand_scans_is_refused() {
    let file = compressed(64, 48, &waves(64, 48), Compress::set_progressive_mode);
    let scan = file.windows(2).rposition(|marker| marker == [0xff, 0xda]).unwrap();
    let bomb = [&file[..scan], &file[scan..file.len() - 2].repeat(1000), b"\xff\xd9"].concat();
    assert_eq!(decode_full(&bomb).unwrap_err().to_string(), "broken JPEG file: it has too many scans");
}
