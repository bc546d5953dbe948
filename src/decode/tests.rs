//! Tests of the room as its neighbours see it: bytes in, picture or error out.

use std::io::Cursor;
use std::time::Instant;

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use serde::Deserialize;

use super::tags::tag;
use super::tags::tests::little_endian;
use super::*;

/// Writes a picture by the encoder of the `image` crate.
fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Draws four flat quarters: black and red above green and blue, `side` pixels each.
fn quarters(side: u32) -> RgbImage {
    RgbImage::from_fn(2 * side, 2 * side, |x, y| {
        image::Rgb(match (x < side, y < side) {
            (true, true) => [0, 0, 0],
            (false, true) => [255, 0, 0],
            (true, false) => [0, 255, 0],
            (false, false) => [0, 0, 255],
        })
    })
}

/// Returns the first letters of the quarters' colours, row by row.
fn letters(image: &Rgb) -> String {
    let corner = |x: u32, y: u32| {
        let at = ((y * image.width + x) * 3) as usize;
        match image.pixels[at..at + 3] {
            [0, 0, 0] => 'k',
            [255, 0, 0] => 'r',
            [0, 255, 0] => 'g',
            [0, 0, 255] => 'b',
            _ => '?',
        }
    };
    let (right, bottom) = (image.width - 1, image.height - 1);
    [corner(0, 0), corner(right, 0), corner(0, bottom), corner(right, bottom)].iter().collect()
}

fn exif_block(orientation: u16) -> Vec<u8> {
    let [low, high] = orientation.to_le_bytes();
    little_endian(&[(tag::ORIENTATION, 3, 1, [low, high, 0, 0]), (tag::MODEL, 2, 4, *b"Cam\0")], &[])
}

/// Puts an EXIF chunk behind the header of a PNG.
fn png_with_exif(png: &[u8], block: &[u8]) -> Vec<u8> {
    let mut chunk = (block.len() as u32).to_be_bytes().to_vec();
    chunk.extend(b"eXIf");
    chunk.extend(block);
    chunk.extend(crc(&chunk[4..]).to_be_bytes());
    [&png[..33], &chunk, &png[33..]].concat()
}

/// The checksum of PNG chunks.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    })
}

fn decode_full(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, Need::full(), &Limits::default())
}

#[test]
fn every_whole_format_is_decoded_by_its_content() {
    for (format, name) in [
        (ImageFormat::Png, Format::Png),
        (ImageFormat::WebP, Format::WebP),
        (ImageFormat::Gif, Format::Gif),
        (ImageFormat::Bmp, Format::Bmp),
        (ImageFormat::Tiff, Format::Tiff),
    ] {
        let decoded = decode_full(&encoded(quarters(5), format)).unwrap();
        assert_eq!(letters(&decoded.image), "krgb", "{name}");
        assert_eq!((decoded.info.format, decoded.info.width, decoded.info.height), (name, 10, 10));
    }
}

#[test]
fn orientation_is_applied_once() {
    let png = encoded(quarters(4), ImageFormat::Png);
    for (orientation, expected) in
        [(1, "krgb"), (2, "rkbg"), (3, "bgrk"), (4, "gbkr"), (5, "kgrb"), (6, "gkbr"), (7, "brgk"), (8, "rbkg")]
    {
        let decoded = decode_full(&png_with_exif(&png, &exif_block(orientation))).unwrap();
        assert_eq!(letters(&decoded.image), expected, "orientation {orientation}");
        assert_eq!(decoded.info.camera.as_deref(), Some("Cam"));
    }
}

#[test]
fn the_size_in_the_info_is_the_upright_full_size() {
    let wide = RgbImage::from_pixel(1300, 700, image::Rgb([9, 9, 9]));
    let file = png_with_exif(&encoded(wide, ImageFormat::Png), &exif_block(6));
    let decoded = decode(&file, Need::short_side(300), &Limits::default()).unwrap();
    assert_eq!((decoded.info.width, decoded.info.height), (700, 1300));
    assert_eq!((decoded.image.width, decoded.image.height), (350, 650));
}

#[test]
fn transparency_lies_on_white() {
    let clear = RgbaImage::from_pixel(3, 3, image::Rgba([10, 20, 30, 0]));
    let decoded = decode_full(&encoded(clear, ImageFormat::Png)).unwrap();
    assert!(decoded.image.pixels.iter().all(|&value| value == 255));
}

#[test]
fn sixteen_bits_become_eight() {
    let deep = image::ImageBuffer::from_pixel(2, 2, image::Rgb([0u16, 0x8080, 0xffff]));
    let decoded = decode_full(&encoded(deep, ImageFormat::Png)).unwrap();
    assert_eq!(decoded.image.pixels[..3], [0, 128, 255]);
}

#[test]
fn what_is_not_a_photo_says_so() {
    let check = |bytes: &[u8], kind: FailureKind, text: &str| {
        let error = decode_full(bytes).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    };
    check(b"", FailureKind::Corrupt, "the file is empty");
    check(b"Dear diary", FailureKind::NotAPhoto, "the content is not a photo");
    check(b"\xff\xd8\xff", FailureKind::Corrupt, "broken JPEG file: the file ends too early");
    let png = encoded(quarters(40), ImageFormat::Png);
    assert_eq!(decode_full(&png[..png.len() / 2]).unwrap_err().kind(), FailureKind::Corrupt);
}

#[test]
fn bombs_are_refused_by_their_header() {
    let mut png = encoded(quarters(1), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let crc = crc(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&crc);
    let jpeg = [b"\xff\xd8\xff\xc0\0\x0b\x08".as_slice(), &[0x75, 0x30, 0x75, 0x30], b"\x01\x01\x11\0"].concat();
    let jpeg = [&jpeg, b"\xff\xda\0\x08\x01\x01\0\0\x3f\0".as_slice()].concat();
    for bomb in [png, jpeg] {
        let begin = Instant::now();
        let error = decode_full(&bomb).unwrap_err();
        assert_eq!(error.kind(), FailureKind::TooLarge, "{error}");
        assert!(begin.elapsed().as_millis() < 50);
    }
}

#[test]
fn limits_hold() {
    let png = encoded(quarters(50), ImageFormat::Png);
    let refused = |limits: Limits, expected: &str| {
        assert_eq!(decode(&png, Need::full(), &limits).unwrap_err().to_string(), expected);
    };
    let limits = Limits::default();
    refused(
        Limits { max_pixels: 9_999, ..limits },
        "too large: 100x100 pixels, the limit is 9999 pixels",
    );
    refused(
        Limits { max_memory_bytes: 50_000, ..limits },
        "too large: 100x100 PNG, decoding takes more than the limit of 50000 bytes of memory",
    );
    let len = png.len();
    refused(
        Limits { max_bytes: 10, ..limits },
        &format!("too large: a file of {len} bytes, the limit is 10 bytes"),
    );
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

fn jpegs() -> Vec<(Picture, Vec<u8>, usize)> {
    let reference: Reference = serde_json::from_str(include_str!("../../tests/reference/jpegs.json")).unwrap();
    let with_file = |picture: Picture| {
        let path = format!("{}/tests/data/{}.jpg", env!("CARGO_MANIFEST_DIR"), picture.name);
        let file = std::fs::read(path).unwrap();
        (picture, file, reference.every)
    };
    reference.pictures.into_iter().map(with_file).collect()
}

#[test]
fn jpegs_of_every_coding_are_those_of_pillow_to_the_bit() {
    for (picture, file, every) in jpegs() {
        let decoded = decode_full(&file).unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), (97, 61));
        let levels: Vec<u8> = decoded.image.pixels.iter().copied().step_by(every).collect();
        assert_eq!(levels, picture.levels, "{}", picture.name);
    }
}

#[test]
fn a_scaled_jpeg_is_the_average_of_the_full_one() {
    for (picture, file, _) in jpegs() {
        let full = decode_full(&file).unwrap().image;
        for (need, side) in [(8, 8), (15, 16), (20, 23), (30, 31)] {
            let small = decode(&file, Need::short_side(need), &Limits::default()).unwrap().image;
            assert_eq!(small.height, side, "{}", picture.name);
            // Means of the whole picture agree, and so do those of its quarters, loosely at the seams.
            let mean = |image: &Rgb, left: bool, channel: usize| {
                let half = image.width as usize / 2;
                let rows = image.pixels.chunks_exact(image.width as usize * 3);
                let values: Vec<f64> = rows
                    .flat_map(|row| if left { &row[..half * 3] } else { &row[half * 3..] }.chunks_exact(3))
                    .map(|pixel| f64::from(pixel[channel]))
                    .collect();
                values.iter().sum::<f64>() / values.len() as f64
            };
            for (left, channel) in [(true, 0), (true, 1), (true, 2), (false, 0), (false, 1), (false, 2)] {
                let (full, small) = (mean(&full, left, channel), mean(&small, left, channel));
                assert!((full - small).abs() < 4.0, "{} at {need}: {full} {small}", picture.name);
            }
        }
    }
}

#[test]
fn a_jpeg_that_ends_early_is_refused_and_one_that_is_damaged_keeps_its_rest() {
    let (_, file, _) = jpegs().remove(5);
    assert_eq!(decode_full(&file[..file.len() / 2]).unwrap_err().to_string(), "broken JPEG file: the file ends too early");

    let intact = decode_full(&file).unwrap().image;
    let mut damaged = file.clone();
    let markers: Vec<usize> =
        (600..file.len() - 1).filter(|&at| file[at] == 0xff && (0xd0..=0xd7).contains(&file[at + 1])).collect();
    // The first bytes of one segment in the upper half.
    let at = markers[1] + 2;
    damaged[at..at + 3].fill(0xfe);
    let rest = decode_full(&damaged).unwrap().image;
    let bottom = intact.pixels.len() * 2 / 3;
    assert_eq!(rest.pixels[bottom..], intact.pixels[bottom..]);
    assert_ne!(rest.pixels, intact.pixels);

    // All of it destroyed.
    let mut destroyed = file;
    for &at in &markers {
        destroyed[at + 2..at + 6].fill(0xfe);
    }
    let first = destroyed.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    destroyed[first..first + 4].fill(0xfe);
    let error = decode_full(&destroyed).unwrap_err();
    assert_eq!(error.to_string(), "broken JPEG file: most of the picture is damaged");
}

#[test]
fn time_is_limited() {
    let limits = Limits { max_time: Duration::ZERO, ..Limits::default() };
    let (_, file, _) = jpegs().remove(0);
    let error = decode(&file, Need::full(), &limits).unwrap_err();
    assert_eq!(error.kind(), FailureKind::TimedOut);
}

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Says how far apart two pictures of one size are, on average a channel of a pixel.
fn difference(a: &Rgb, b: &Rgb) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.pixels.len() as f64
}

#[test]
fn an_avif_is_turned_by_its_container_and_only_once() {
    let upright = decode_full(&data("orientation_1.avif")).unwrap();
    let jpeg = decode_full(&data("444.jpg")).unwrap();
    assert_eq!(upright.info.format, Format::Avif);
    assert!(difference(&upright.image, &jpeg.image) < 10.0, "{}", difference(&upright.image, &jpeg.image));
    for orientation in [6u32, 7] {
        let turned = decode_full(&data(&format!("orientation_{orientation}.avif"))).unwrap();
        assert_eq!((turned.info.width, turned.info.height), (61, 97));
        let expected = orientation::Orientation::from_exif(orientation).apply(upright.image.clone());
        assert!(difference(&turned.image, &expected) < 6.0, "{orientation}: {}", difference(&turned.image, &expected));
    }
}

#[test]
fn a_heic_is_decoded_with_its_colours() {
    let drawn = quarters(40);
    let heic = heifer::encode_rgb8(80, 80, &drawn, &heifer::EncodeOptions::default()).unwrap();
    let decoded = decode_full(&heic).unwrap();
    assert_eq!((decoded.info.format, decoded.info.width), (Format::Heif, 80));
    let expected = Rgb { width: 80, height: 80, pixels: drawn.into_raw() };
    assert!(difference(&decoded.image, &expected) < 8.0, "{}", difference(&decoded.image, &expected));
    let cut = &heic[..heic.len() / 2];
    assert_eq!(decode_full(cut).unwrap_err().kind(), FailureKind::Corrupt);
}

#[test]
fn a_wide_gamut_photo_is_the_same_photo() {
    use image::ImageEncoder;
    let png = |profile: &moxcms::ColorProfile, pixel: [u8; 3]| {
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.encode().unwrap()).unwrap();
        encoder.write_image(&pixel.repeat(4), 2, 2, image::ExtendedColorType::Rgb8).unwrap();
        decode_full(&bytes).unwrap().image.pixels[..3].to_vec()
    };
    let srgb = png(&moxcms::ColorProfile::new_srgb(), [200, 60, 40]);
    assert_eq!(srgb, [200, 60, 40]);
    for (profile, pixel) in [
        // The same orange in wider spaces.
        (moxcms::ColorProfile::new_display_p3(), [187, 70, 50]),
        (moxcms::ColorProfile::new_adobe_rgb(), [173, 63, 46]),
    ] {
        let converted = png(&profile, pixel);
        assert!(converted.iter().zip(&srgb).all(|(a, b)| a.abs_diff(*b) <= 6), "{converted:?}");
    }
}

/// A RAW in the way of most cameras: sensor data that nobody reads here, and a directory that points to a JPEG.
fn raw(make: [u8; 4], orientation: u8, jpeg: &[u8]) -> Vec<u8> {
    let start = 8 + 2 + 7 * 12 + 4;
    let long = |tag: u16, value: u32| (tag, 4u16, 1u32, value.to_le_bytes());
    little_endian(
        &[
            long(tag::IMAGE_WIDTH, 6000),
            long(tag::IMAGE_LENGTH, 4000),
            long(tag::PHOTOMETRIC, 32803),
            (tag::MAKE, 2, 4, make),
            (tag::ORIENTATION, 3, 1, [orientation, 0, 0, 0]),
            long(tag::JPEG_OFFSET, start),
            long(tag::JPEG_LENGTH, jpeg.len() as u32),
        ],
        jpeg,
    )
}

#[test]
fn a_raw_is_its_preview_turned_by_the_raw() {
    let jpeg = data("420.jpg");
    let preview = decode_full(&jpeg).unwrap().image;
    let decoded = decode_full(&raw(*b"SONY", 6, &jpeg)).unwrap();
    assert_eq!(decoded.info.format, Format::Arw);
    assert_eq!((decoded.info.width, decoded.info.height), (4000, 6000));
    assert_eq!(decoded.image, orientation::Orientation::Rotate90.apply(preview));
}

#[test]
fn a_hidden_preview_is_found_and_the_larger_one_wins() {
    let small = encoded_jpeg_start();
    let large = data("420.jpg");
    let mut cr3 = b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom".to_vec();
    cr3.extend([&small[..], b"sensor data", &large, b"more of it"].concat());
    let decoded = decode_full(&cr3).unwrap();
    assert_eq!((decoded.info.format, decoded.image.width, decoded.image.height), (Format::Cr3, 97, 61));

    let mut raf = b"FUJIFILMCCD-RAW 0201".to_vec();
    raf.resize(100, 0);
    raf[84..88].copy_from_slice(&100u32.to_be_bytes());
    raf[88..92].copy_from_slice(&(large.len() as u32).to_be_bytes());
    raf.extend(&large);
    assert_eq!(decode_full(&raf).unwrap().info.format, Format::Raf);
}

/// The start of a JPEG that claims 8x8 pixels and goes no further.
fn encoded_jpeg_start() -> Vec<u8> {
    b"\xff\xd8\xff\xc0\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0".to_vec()
}
