//! Photos made in code: large soft shapes in colours of their own, so that a network tells them apart.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ImageEncoder, ImageFormat, Rgb, RgbImage};

/// Draws picture number `seed`: the same each time, and unlike those of other numbers.
pub fn draw(seed: u32) -> RgbImage {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let mut colour = || Rgb([next(256) as u8, next(256) as u8, next(256) as u8]);
    let (ground, shapes) = (colour(), [colour(), colour(), colour(), colour()]);
    let places: Vec<_> = shapes
        .into_iter()
        .map(|colour| (colour, next(160) as i64, next(120) as i64, 10 + next(40) as i64, next(2) == 0))
        .collect();
    RgbImage::from_fn(160, 120, |x, y| {
        let (x, y) = (i64::from(x), i64::from(y));
        places
            .iter()
            .rev()
            .find(|(_, cx, cy, r, is_round)| {
                let (dx, dy) = ((x - cx).abs(), (y - cy).abs());
                if *is_round { dx * dx + dy * dy < r * r } else { dx.max(dy) < *r }
            })
            .map_or(ground, |(colour, ..)| *colour)
    })
}

/// Returns picture number `seed` as a PNG file.
pub fn png(seed: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    draw(seed).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

/// Writes picture number `seed` to `path`.
pub fn write(path: &Path, seed: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, png(seed)).unwrap();
}

/// What a photo says of itself.
pub struct Facts {
    pub camera: &'static str,
    /// `2024:07:01 18:03:59`
    pub taken: &'static str,
    /// `+02:00`; some programs lose it.
    pub offset: Option<&'static str>,
    /// Degrees north and east.
    pub position: (f64, f64),
}

/// Writes picture number `seed` to `path`, with facts in its EXIF block.
pub fn write_with(path: &Path, seed: u32, facts: &Facts) {
    write_picture_with(path, &draw(seed), facts);
}

/// Writes a picture to `path`, with facts in its EXIF block.
pub fn write_picture_with(path: &Path, picture: &RgbImage, facts: &Facts) {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif(facts)).unwrap();
    picture.write_with_encoder(encoder).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An EXIF block: a TIFF file with a main directory, one of GPS and one of details.
fn exif(facts: &Facts) -> Vec<u8> {
    const ASCII: u16 = 2;
    const LONG: u16 = 4;
    const RATIONAL: u16 = 5;
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let degrees = |value: f64| -> Vec<u8> {
        let parts = [(value.abs() * 1e6).round() as u32, 1_000_000, 0, 1, 0, 1];
        parts.iter().flat_map(|part| part.to_le_bytes()).collect()
    };
    let (latitude, longitude) = facts.position;
    let gps = [
        (1u16, ASCII, 2u32, text(if latitude < 0.0 { "S" } else { "N" })),
        (2, RATIONAL, 3, degrees(latitude)),
        (3, ASCII, 2, text(if longitude < 0.0 { "W" } else { "E" })),
        (4, RATIONAL, 3, degrees(longitude)),
    ];
    let main = [
        (0x0110u16, ASCII, facts.camera.len() as u32 + 1, text(facts.camera)),
        (0x0132, ASCII, 20, text(facts.taken)),
        (0x8769, LONG, 1, Vec::new()),
        (0x8825, LONG, 1, Vec::new()),
    ];
    let offset = facts.offset.map(|offset| (0x9010u16, ASCII, offset.len() as u32 + 1, text(offset)));
    let details: Vec<_> = offset.into_iter().collect();
    let directory_len = |entries: usize| 2 + 12 * entries + 4;
    let gps_start = 8 + directory_len(main.len());
    let details_start = gps_start + directory_len(gps.len());
    let mut data_start = details_start + directory_len(details.len());
    let mut data: Vec<u8> = Vec::new();
    let mut block = b"II\x2a\x00\x08\x00\x00\x00".to_vec();
    for entries in [&main[..], &gps[..], &details[..]] {
        block.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            block.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            block.extend(count.to_le_bytes());
            if *tag == 0x8825 {
                block.extend((gps_start as u32).to_le_bytes());
            } else if *tag == 0x8769 {
                block.extend((details_start as u32).to_le_bytes());
            } else if value.len() <= 4 {
                block.extend(value);
                block.extend(vec![0; 4 - value.len()]);
            } else {
                block.extend((data_start as u32).to_le_bytes());
                data_start += value.len();
                data.extend(value);
            }
        }
        block.extend([0; 4]);
    }
    block.extend(data);
    block
}

/// Writes picture number `seed` to `path` with one corner changed, which no network minds.
pub fn write_retouched(path: &Path, seed: u32, shade: u8) {
    let mut picture = draw(seed);
    picture.put_pixel(0, 0, Rgb([shade, shade, shade]));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}
