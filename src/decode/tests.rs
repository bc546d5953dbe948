//! Tests of the room as its neighbors see it: bytes in, picture or error out.

use std::fs;
use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, ExtendedColorType, Frame, ImageBuffer, ImageEncoder, ImageFormat, RgbImage, RgbaImage,
};
use serde::Deserialize;

use super::orientation::Orientation;
use super::tags::tag;
use super::tags::tests::little_endian;
use super::*;

/// Writes a picture by the encoder of the `image` crate.
fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Draws four flat quarters: black and red above green and blue.
fn quarters(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb(match (x < width / 2, y < height / 2) {
            (true, true) => [0, 0, 0],
            (false, true) => [255, 0, 0],
            (true, false) => [0, 255, 0],
            (false, false) => [0, 0, 255],
        })
    })
}

fn rgb(image: RgbImage) -> Rgb {
    Rgb { width: image.width(), height: image.height(), pixels: image.into_raw() }
}

/// Returns the first letters of the colours in the corners, row by row.
fn letters(image: &Rgb) -> String {
    let corner = |x: u32, y: u32| {
        let at = ((y * image.width + x) * 3) as usize;
        match image.pixels[at..at + 3] {
            [0..60, 0..60, 0..60] => 'k',
            [190..=255, 0..60, 0..60] => 'r',
            [0..60, 190..=255, 0..60] => 'g',
            [0..60, 0..60, 190..=255] => 'b',
            _ => '?',
        }
    };
    let (right, bottom) = (image.width - 1, image.height - 1);
    [corner(0, 0), corner(right, 0), corner(0, bottom), corner(right, bottom)].iter().collect()
}

/// What the letters become by each orientation.
const TURNED: [(u32, &str); 8] =
    [(1, "krgb"), (2, "rkbg"), (3, "bgrk"), (4, "gbkr"), (5, "kgrb"), (6, "gkbr"), (7, "brgk"), (8, "rbkg")];

fn exif_block(orientation: u32) -> Vec<u8> {
    let [low, high, ..] = orientation.to_le_bytes();
    little_endian(&[(tag::ORIENTATION, 3, 1, [low, high, 0, 0]), (tag::MODEL, 2, 4, *b"Cam\0")], &[])
}

/// Puts a chunk behind the header of a PNG.
fn png_with(png: &[u8], kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut chunk = (body.len() as u32).to_be_bytes().to_vec();
    chunk.extend(kind);
    chunk.extend(body);
    chunk.extend(crc(&chunk[4..]).to_be_bytes());
    [&png[..33], &chunk, &png[33..]].concat()
}

/// The checksum of PNG chunks.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 },
        )
    })
}

fn decode_full(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, Need::full(), &Limits::default())
}

fn data(name: &str) -> Vec<u8> {
    fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Says how far apart two pictures of one size are, on average a channel of a pixel.
fn difference(a: &Rgb, b: &Rgb) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.pixels.len() as f64
}

#[test]
fn every_whole_format_is_decoded_by_its_content() {
    for (format, name) in [
        (ImageFormat::Png, Format::Png),
        (ImageFormat::WebP, Format::WebP),
        (ImageFormat::Gif, Format::Gif),
        (ImageFormat::Bmp, Format::Bmp),
        (ImageFormat::Tiff, Format::Tiff),
        (ImageFormat::Ico, Format::Ico),
    ] {
        let drawn = DynamicImage::from(quarters(12, 10));
        let drawn = if name == Format::Ico { drawn.into_rgba8().into() } else { drawn };
        let decoded = decode_full(&encoded(drawn, format)).unwrap();
        assert_eq!(letters(&decoded.image), "krgb", "{name}");
        assert_eq!((decoded.info.format, decoded.info.width, decoded.info.height), (name, 12, 10));
    }
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
fn the_formats_of_phones_and_the_web_give_the_pixels_that_pillow_gives() {
    let reference: Reference =
        serde_json::from_str(include_str!("../../tests/reference/formats.json")).unwrap();
    assert_eq!(reference.pictures.len(), 8);
    for Picture { name, levels } in reference.pictures {
        let decoded = decode_full(&data(&name)).unwrap();
        assert_eq!((decoded.image.width, decoded.image.height), (97, 61), "{name}");
        let ours: Vec<u8> = decoded.image.pixels.iter().copied().step_by(reference.every).collect();
        assert_eq!(ours.len(), levels.len());
        let sum: u32 = ours.iter().zip(&levels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(sum) / levels.len() as f64;
        // Libraries differ in where they put the samples of colour between the pixels.
        assert!(mean < 4.0, "{name}: {mean}");
    }
}

#[test]
fn exif_turns_a_picture_once() {
    let png = encoded(quarters(8, 6), ImageFormat::Png);
    for (orientation, expected) in TURNED {
        let decoded = decode_full(&png_with(&png, b"eXIf", &exif_block(orientation))).unwrap();
        assert_eq!(letters(&decoded.image), expected, "orientation {orientation}");
        assert_eq!(decoded.info.camera.as_deref(), Some("Cam"));
    }
}

/// A PNG of perceptually quantised light was shown as if it were sRGB.
#[test]
fn code_points_of_a_png_say_its_colours() {
    let grey = encoded(RgbImage::from_pixel(4, 4, image::Rgb([148; 3])), ImageFormat::Png);
    let shown = |file: &[u8]| decode_full(file).unwrap().image.pixels[0];
    assert_eq!(shown(&grey), 148);
    let white = shown(&png_with(&grey, b"cICP", &[9, 16, 0, 1]));
    assert!(white >= 228, "203 candela a square metre are white: {white}");
    assert_eq!(shown(&png_with(&grey, b"cICP", &[1, 13, 0, 1])), 148);
}

#[test]
fn heic_and_avif_are_turned_by_their_container_and_not_by_exif_again() {
    for suffix in ["heic", "avif"] {
        for (orientation, expected) in TURNED {
            let decoded = decode_full(&data(&format!("orientation_{orientation}.{suffix}"))).unwrap();
            assert_eq!(letters(&decoded.image), expected, "{suffix} {orientation}");
            let upright = if orientation < 5 { (48, 32) } else { (32, 48) };
            assert_eq!((decoded.info.width, decoded.info.height), upright);
        }
    }
}

/// Phones of Samsung note the turning in EXIF alone: their photos lay on their side.
#[test]
fn a_heic_that_leaves_turning_to_exif_is_turned_by_it() {
    for (orientation, expected) in TURNED {
        let mut bytes = data(&format!("orientation_{orientation}.heic"));
        for name in [b"irot", b"imir"] {
            while let Some(at) = memchr::memmem::find(&bytes, name) {
                // A property that nobody knows.
                bytes[at..at + 4].copy_from_slice(b"none");
            }
        }
        let decoded = decode_full(&bytes).unwrap();
        assert_eq!(letters(&decoded.image), expected, "{orientation}");
        let upright = if orientation < 5 { (48, 32) } else { (32, 48) };
        assert_eq!((decoded.info.width, decoded.info.height), upright);
    }
}

/// It was shown as if its matrix were that of BT.2020 in the plain way.
#[test]
fn colours_by_a_matrix_that_is_none_are_refused() {
    let mut bytes = data("photo.avif");
    let matrix = memchr::memmem::find(&bytes, b"nclx").unwrap() + 8;
    for (code, is_read) in [(1, true), (6, true), (9, true), (8, false), (10, false), (14, false)] {
        bytes[matrix..matrix + 2].copy_from_slice(&[0, code]);
        match decode_full(&bytes) {
            Ok(_) => assert!(is_read, "{code}"),
            Err(error) => {
                let expected = format!("unsupported: AVIF with the colour matrix {code} of H.273");
                assert_eq!((is_read, error.to_string()), (false, expected));
            }
        }
    }
}

/// A bitmap of 2x1 pixels of 16 bits: five of each colour, and one of transparency.
fn bitmap_of_16_bits(pixels: [u16; 2]) -> Vec<u8> {
    let header = [56u32, 2, 1, 16 << 16 | 1, 3, 4, 0, 0, 0, 0, 0x7c00, 0x3e0, 0x1f, 0x8000];
    let mut bytes = b"BM".to_vec();
    for number in [74, 0, 70].into_iter().chain(header) {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(pixels.map(u16::to_le_bytes).as_flattened());
    bytes
}

/// Most programs leave the bit of transparency at zero: their bitmaps were white.
#[test]
fn a_bitmap_of_which_nothing_would_be_seen_is_opaque() {
    let shown = |pixels| decode_full(&bitmap_of_16_bits(pixels)).unwrap().image.pixels;
    assert_eq!(shown([0x7c00, 0x001f]), [255, 0, 0, 0, 0, 255]);
    assert_eq!(shown([0xfc00, 0x001f]), [255, 0, 0, 255, 255, 255]);
}

#[test]
fn jpeg_2000_is_decoded_no_larger_than_needed() {
    let file = data("quarters.jp2");
    let full = decode_full(&file).unwrap();
    assert_eq!((full.info.format, full.info.width, full.info.height), (Format::Jpeg2000, 192, 128));
    assert_eq!((full.image.width, full.image.height, letters(&full.image).as_str()), (192, 128, "krgb"));
    let small = decode(&file, Need::short_side(32), &Limits::default()).unwrap();
    assert_eq!((small.image.width, small.image.height, letters(&small.image).as_str()), (48, 32, "krgb"));
    assert_eq!((small.info.width, small.info.height), (192, 128));

    let block = exif_block(6);
    let len = (8 + 16 + block.len() as u32).to_be_bytes();
    let turned = [&file[..], &len, b"uuidJpgTiffExif->JP2", &block].concat();
    let decoded = decode_full(&turned).unwrap();
    assert_eq!((letters(&decoded.image).as_str(), decoded.info.width), ("gkbr", 128));
    assert_eq!(decoded.info.camera.as_deref(), Some("Cam"));
    let error = decode_full(&file[..40]).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Corrupt, "{error}");
}

#[test]
fn old_raws_are_the_jpeg_inside() {
    let jpeg = data("420.jpg");
    for head in [&b"II\x1a\0\0\0HEAPCCDR\x02\0"[..], b"FOVb\x03\0\x02\0"] {
        let decoded = decode_full(&[head, &[0; 90], &jpeg, b"a directory"].concat()).unwrap();
        assert_eq!((decoded.info.format, decoded.image.width), (Format::OtherRaw, 97));
    }
}

/// A container that claimed more than its stream holds gave a photo smaller than needed, of a size it does not have.
#[test]
fn a_picture_smaller_than_its_container_says_is_refused() {
    for name in ["photo.avif", "photo.heic"] {
        let mut bytes = data(name);
        let sizes = memchr::memmem::find(&bytes, b"ispe").unwrap() + 8;
        bytes[sizes + 6] = 0x20; // 8192 rows more
        let error = decode_full(&bytes).unwrap_err();
        assert!(error.to_string().contains("smaller than it says"), "{name}: {error}");
    }
}

#[test]
fn the_size_in_the_info_is_the_upright_full_size() {
    let file = png_with(&encoded(quarters(1300, 700), ImageFormat::Png), b"eXIf", &exif_block(6));
    let decoded = decode(&file, Need::short_side(300), &Limits::default()).unwrap();
    assert_eq!((decoded.info.width, decoded.info.height), (700, 1300));
    assert_eq!((decoded.image.width, decoded.image.height), (350, 650));
}

#[test]
fn of_an_animation_the_first_frame_is_taken() {
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new(&mut gif);
    for colour in [[255, 0, 0, 255], [0, 0, 255, 255]] {
        encoder.encode_frame(Frame::new(RgbaImage::from_pixel(4, 4, image::Rgba(colour)))).unwrap();
    }
    drop(encoder);
    assert_eq!(letters(&decode_full(&gif).unwrap().image), "rrrr");

    // The default picture of an APNG need not be part of the animation; here it is its first frame.
    let red = encoded(RgbImage::from_pixel(4, 4, image::Rgb([255, 0, 0])), ImageFormat::Png);
    let control = [2u32, 0].map(u32::to_be_bytes).concat();
    let frame = [0u32, 4, 4, 0, 0].map(u32::to_be_bytes).concat();
    let apng = png_with(&red, b"fcTL", &[&frame[..], &[0, 1, 0, 1, 0, 0]].concat());
    let apng = png_with(&apng, b"acTL", &control);
    assert_eq!(letters(&decode_full(&apng).unwrap().image), "rrrr");

    let webp = animated_webp(&[[255, 0, 0], [0, 0, 255]]);
    assert_eq!(letters(&decode_full(&webp).unwrap().image), "rrrr");
}

/// Puts still pictures of one colour into the container of an animation.
fn animated_webp(colours: &[[u8; 3]]) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], body: &[u8]| {
        let padding = vec![0; body.len() % 2];
        [kind.as_slice(), &(body.len() as u32).to_le_bytes(), body, &padding].concat()
    };
    let mut body = b"WEBP".to_vec();
    body.extend(chunk(b"VP8X", &[2, 0, 0, 0, 3, 0, 0, 3, 0, 0]));
    body.extend(chunk(b"ANIM", &[0; 6]));
    for colour in colours {
        let still = encoded(RgbImage::from_pixel(4, 4, image::Rgb(*colour)), ImageFormat::WebP);
        let frame = [0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 100, 0, 0, 0];
        body.extend(chunk(b"ANMF", &[&frame[..], &still[12..]].concat()));
    }
    chunk(b"RIFF", &body)
}

#[test]
fn transparency_lies_on_white() {
    let clear = RgbaImage::from_pixel(3, 3, image::Rgba([10, 20, 30, 0]));
    let decoded = decode_full(&encoded(clear, ImageFormat::Png)).unwrap();
    assert!(decoded.image.pixels.iter().all(|&value| value == 255));
}

#[test]
fn sixteen_bits_become_eight() {
    let deep = ImageBuffer::from_pixel(2, 2, image::Rgb([0u16, 0x8080, 0xffff]));
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let decoded = decode_full(&encoded(deep.clone(), format)).unwrap();
        assert_eq!(decoded.image.pixels[..3], [0, 128, 255]);
    }
    let grey = ImageBuffer::from_pixel(2, 2, image::Luma([0x4040u16]));
    assert_eq!(decode_full(&encoded(grey, ImageFormat::Tiff)).unwrap().image.pixels[..3], [64; 3]);
}

#[test]
fn a_wide_gamut_photo_is_the_same_photo() {
    let png = |profile: &moxcms::ColorProfile, pixel: [u8; 3]| {
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.encode().unwrap()).unwrap();
        encoder.write_image(&pixel.repeat(4), 2, 2, ExtendedColorType::Rgb8).unwrap();
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

#[test]
fn a_heic_of_tiles_is_put_together_and_made_small_on_the_way() {
    // The encoder makes tiles of 512 pixels and a thumbnail of 320, as phones do.
    let drawn = quarters(1300, 900);
    let file = heifer::encode_rgb8(1300, 900, &drawn, &heifer::EncodeOptions::default()).unwrap();
    let full = decode_full(&file).unwrap();
    assert_eq!((full.info.format, full.info.width, full.info.height), (Format::Heif, 1300, 900));
    let far = difference(&full.image, &rgb(drawn));
    assert!(far < 3.0, "{far}");

    let small = decode(&file, Need::short_side(240), &Limits::default()).unwrap();
    assert_eq!((small.image.width, small.image.height), (434, 300));
    let far = difference(&small.image, &pixels::shrink(full.image, Need::short_side(240)));
    assert!(far < 1.5, "{far}");

    let thumbnail = decode(&file, Need::short_side(222), &Limits::default()).unwrap();
    assert_eq!((thumbnail.image.width, thumbnail.image.height), (320, 222));
    assert_eq!(letters(&thumbnail.image), "krgb");
    assert_eq!(thumbnail.info, small.info);
    assert_eq!(decode_full(&file[..file.len() / 2]).unwrap_err().kind(), FailureKind::Corrupt);
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
    assert_eq!(decoded.image, Orientation::Rotate90.apply(preview));
}

#[test]
fn a_hidden_preview_is_found_and_the_larger_one_wins() {
    let small = jpeg_start(8, 8);
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

/// The start of a grey JPEG that claims a size and goes no further.
fn jpeg_start(width: u16, height: u16) -> Vec<u8> {
    let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
    let frame = [b"\xff\xd8\xff\xc0\0\x0b\x08".as_slice(), &height, &width, b"\x01\x01\x11\0"].concat();
    [&frame[..], b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"].concat()
}

#[test]
fn what_is_not_a_photo_says_so() {
    let check = |bytes: &[u8], kind: FailureKind, text: &str| {
        let error = decode_full(bytes).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    };
    check(b"", FailureKind::Corrupt, "the file is empty");
    check(b"Dear diary", FailureKind::NotAPhoto, "the content is not a photo");
    let png = encoded(quarters(80, 80), ImageFormat::Png);
    assert_eq!(decode_full(&png[..png.len() / 2]).unwrap_err().kind(), FailureKind::Corrupt);
}

#[test]
fn bombs_are_refused_by_their_header() {
    let mut png = encoded(quarters(2, 2), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    let sum = crc(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    let check = |bomb: &[u8], expected: &str| {
        assert_eq!(decode_full(bomb).unwrap_err().to_string(), expected);
    };
    check(&png, "too large: 100000x100000 pixels, the limit is 250000000 pixels");
    check(&jpeg_start(30_000, 30_000), "too large: 30000x30000 pixels, the limit is 250000000 pixels");
}

/// What the pixels would take cannot be counted in 64 bits.
#[test]
fn sizes_whose_bytes_cannot_be_counted_are_too_large() {
    let mut tiles =
        heifer::encode_rgb8(1300, 900, &quarters(1300, 900), &heifer::EncodeOptions::default()).unwrap();
    let of_a_tile = [&b"ispe\0\0\0\0"[..], &[0, 0, 2, 0], &[0, 0, 2, 0]].concat();
    let place = memchr::memmem::find(&tiles, &of_a_tile).unwrap();
    tiles[place + 8..place + 16].fill(0xff);
    let wide = |tag| (tag, 4u16, 1u32, [0xff; 4]);
    let short = |tag, value| (tag, 3u16, 1u32, [value, 0, 0, 0]);
    let tiff = little_endian(
        &[
            wide(tag::IMAGE_WIDTH),
            wide(tag::IMAGE_LENGTH),
            short(tag::BITS_PER_SAMPLE, 8),
            short(tag::PHOTOMETRIC, 1),
            short(tag::STRIP_OFFSETS, 8),
            wide(tag::STRIP_BYTE_COUNTS),
        ],
        &[],
    );
    // Both sides are written in 30 bits of ones, plus one.
    let jxl = b"\xff\x0a\xfe\xff\xff\xff\xf1\xff\xff\xff\x3f";
    for bomb in [&tiles[..], &tiff, jxl] {
        let error = decode_full(bomb).unwrap_err();
        assert_eq!(error.kind(), FailureKind::TooLarge, "{error}");
    }
}

#[test]
fn limits_hold() {
    let png = encoded(quarters(100, 100), ImageFormat::Png);
    let refused = |limits: Limits, expected: &str| {
        assert_eq!(decode(&png, Need::full(), &limits).unwrap_err().to_string(), expected);
    };
    let limits = Limits::default();
    refused(Limits { max_pixels: 9_999, ..limits }, "too large: 100x100 pixels, the limit is 9999 pixels");
    refused(
        Limits { max_memory_bytes: 50_000, ..limits },
        "too large: 100x100 PNG, decoding takes more than the limit of 50000 bytes of memory",
    );
    let len = png.len();
    refused(
        Limits { max_bytes: 10, ..limits },
        &format!("too large: a file of {len} bytes, the limit is 10 bytes"),
    );
    for name in ["photo.heic", "photo.avif", "photo.jxl"] {
        let limits = Limits { max_pixels: 97 * 61 - 1, ..limits };
        let error = decode(&data(name), Need::full(), &limits).unwrap_err();
        assert_eq!(error.to_string(), "too large: 97x61 pixels, the limit is 5916 pixels", "{name}");
    }
}
