//! Photos made in code: large soft shapes in colours of their own, so that a network tells them apart.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};

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
