//! Samples of the components -> pixels: what is missing between subsampled samples is interpolated the way
//! libjpeg does ("fancy upsampling", a triangle filter), then the colours are converted with its rounding.

use super::frame::{Component, Frame};
use super::markers::Header;

/// Pixels as the file's colours go.
pub(super) enum Pixels {
    Grey(Vec<u8>),
    Rgb(Vec<u8>),
    /// Ink: 0 none, 255 full.
    Cmyk(Vec<u8>),
}

/// Joins the components to pixels.
pub(super) fn join(frame: &Frame, header: &Header<'_>) -> Pixels {
    let (width, height) = (frame.width, frame.height);
    let channels = frame.components.len();
    let mut rows = vec![vec![0u8; width + 2]; channels];
    let mut scratch = Vec::new();
    let mut pixels = Vec::with_capacity(width * height * channels);
    let is_ycc = uses_luma(frame, header);
    for y in 0..height {
        for (component, row) in frame.components.iter().zip(&mut rows) {
            fill_row(component, frame, y, &mut scratch, row);
        }
        match &rows[..] {
            [grey] => pixels.extend_from_slice(&grey[..width]),
            [a, b, c] => append_rgb([&a[..width], &b[..width], &c[..width]], is_ycc, &mut pixels),
            [a, b, c, k, ..] => {
                append_cmyk(
                    [&a[..width], &b[..width], &c[..width], &k[..width]],
                    is_ycc,
                    header,
                    &mut pixels,
                );
            }
            _ => {}
        }
    }
    match channels {
        1 => Pixels::Grey(pixels),
        3 => Pixels::Rgb(pixels),
        _ => Pixels::Cmyk(pixels),
    }
}

/// Says whether the first three components are luma and chroma. Adobe's segment tells; a JFIF file always is;
/// without either, only a file that names its components R, G and B is not.
fn uses_luma(frame: &Frame, header: &Header<'_>) -> bool {
    match (frame.components.len(), header.adobe) {
        (3, _) if header.is_jfif => true,
        (3, Some(transform)) => transform != 0,
        (3, None) => frame.components.iter().map(|it| it.id).ne(*b"RGB"),
        (_, transform) => transform == Some(2),
    }
}

/// Writes row `y` of the picture, of one component, into `row` (which has room for two samples more).
fn fill_row(component: &Component, frame: &Frame, y: usize, scratch: &mut Vec<u16>, row: &mut [u8]) {
    let stored = |y: usize| {
        let start = y.min(component.height - 1) * component.stride();
        &component.samples[start..start + component.width]
    };
    let across = span(frame.eighths * frame.h_max, component.block_width * component.h);
    let down = span(frame.eighths * frame.v_max, component.block_height * component.v);
    // The nearer row counts three times, the farther once.
    let nearer = |y: usize| stored(y / 2);
    let farther = |y: usize| stored(if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 });
    match (across, down) {
        (Some(1), Some(1)) => row[..component.width].copy_from_slice(stored(y)),
        (Some(2), Some(1)) if component.width > 2 => double_row(stored(y), row),
        (Some(2), Some(2)) if component.width > 2 => {
            scratch.clear();
            let sums =
                nearer(y).iter().zip(farther(y)).map(|(&near, &far)| 3 * u16::from(near) + u16::from(far));
            scratch.extend(sums);
            double_sums(scratch, row);
        }
        (Some(1), Some(2)) => {
            let bias = if y.is_multiple_of(2) { 1 } else { 2 };
            for ((sample, &near), &far) in row.iter_mut().zip(nearer(y)).zip(farther(y)) {
                *sample = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
            }
        }
        _ => {
            let source = stored(y * component.height / frame.height);
            for (x, sample) in row.iter_mut().enumerate().take(frame.width) {
                *sample = source[(x * component.width / frame.width).min(source.len() - 1)];
            }
        }
    }
}

/// Returns how many pixels one sample spans, where that is a whole number.
fn span(pixels: usize, samples: usize) -> Option<usize> {
    pixels.is_multiple_of(samples).then(|| pixels / samples)
}

/// Doubles a row: each new sample is three parts the nearer and one part the farther one.
fn double_row(source: &[u8], row: &mut [u8]) {
    let wide = |at: usize| u16::from(source[at]);
    let last = source.len() - 1;
    for (at, pair) in row.chunks_exact_mut(2).enumerate().take(source.len()) {
        let (before, after) = (wide(at.saturating_sub(1)), wide((at + 1).min(last)));
        pair[0] = ((3 * wide(at) + before + 1) >> 2) as u8;
        pair[1] = ((3 * wide(at) + after + 2) >> 2) as u8;
    }
}

/// Doubles a row of sums that already hold four parts each.
fn double_sums(sums: &[u16], row: &mut [u8]) {
    let last = sums.len() - 1;
    for (at, pair) in row.chunks_exact_mut(2).enumerate().take(sums.len()) {
        let (before, after) = (sums[at.saturating_sub(1)], sums[(at + 1).min(last)]);
        pair[0] = ((3 * sums[at] + before + 8) >> 4) as u8;
        pair[1] = ((3 * sums[at] + after + 7) >> 4) as u8;
    }
}

/// Converts luma and chroma to red, green and blue, with 16 bits behind the point.
#[inline(always)]
fn ycc_to_rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let to_byte = |value: i32| value.clamp(0, 255) as u8;
    [
        to_byte(luma + ((91881 * red + 32768) >> 16)),
        to_byte(luma + ((-22554 * blue - 46802 * red + 32768) >> 16)),
        to_byte(luma + ((116_130 * blue + 32768) >> 16)),
    ]
}

#[multiversion::multiversion(targets("x86_64+avx2", "x86_64+sse4.1"))]
fn append_rgb([a, b, c]: [&[u8]; 3], is_ycc: bool, pixels: &mut Vec<u8>) {
    let start = pixels.len();
    pixels.resize(start + a.len() * 3, 0);
    let (targets, _) = pixels[start..].as_chunks_mut::<3>();
    for (((target, &a), &b), &c) in targets.iter_mut().zip(a).zip(b).zip(c) {
        *target = if is_ycc { ycc_to_rgb(a, b, c) } else { [a, b, c] };
    }
}

fn append_cmyk([a, b, c, k]: [&[u8]; 4], is_ycc: bool, header: &Header<'_>, pixels: &mut Vec<u8>) {
    // Adobe's programs store ink upside down, and their segment is the sign of it.
    let flip = if header.adobe.is_some() { 255 } else { 0 };
    for (((&a, &b), &c), &k) in a.iter().zip(b).zip(c).zip(k) {
        let [a, b, c] = if is_ycc { ycc_to_rgb(a, b, c).map(|light| 255 - light) } else { [a, b, c] };
        pixels.extend([a ^ flip, b ^ flip, c ^ flip, k ^ flip]);
    }
}
