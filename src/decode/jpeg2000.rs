//! JPEG 2000: a bare codestream or in its container. It is decoded no larger than needed, by halves.

use hayro_jpeg2000::{ColorSpace, DecodeSettings, DecoderContext, Image};

use super::colour::{self, Colour};
use super::info::Exif;
use super::pixels::{self, Pixels};
use super::{DecodeError, Format, Limits, Need, Opened, bytes_of_pixels};
use crate::photo::Rgb;

/// Colours and transparency at the most.
const MAX_CHANNELS: u8 = 5;

/// Memory for a sample: it as a float, once more while it is put together, and its coefficients.
const BYTES_A_SAMPLE: u64 = 12;

/// The box in which programs keep EXIF, by the name that they gave it.
const EXIF_BOX: &[u8] = b"uuidJpgTiffExif->JP2";

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    let format = Format::Jpeg2000;
    let malformed = |error| DecodeError::malformed(format, error);
    let whole = Image::new(bytes, &DecodeSettings::default()).map_err(malformed)?;
    let (full_width, full_height) = (whole.width(), whole.height());
    limits.check_size(format, full_width, full_height, 0)?;
    let smallest = need.short_side.max(1);
    let settings =
        DecodeSettings { target_resolution: Some((smallest, smallest)), ..DecodeSettings::default() };
    let image = Image::new(bytes, &settings).map_err(malformed)?;
    let (width, height) = (image.width(), image.height());
    let colours = image.color_space().num_channels();
    let channels = colours.saturating_add(u8::from(image.has_alpha()));
    if channels > MAX_CHANNELS {
        return Err(DecodeError::Unsupported { what: format!("{format} with {channels} channels") });
    }
    let memory_bytes = bytes_of_pixels(width, height, BYTES_A_SAMPLE * u64::from(channels));
    limits.check_size(format, full_width, full_height, memory_bytes)?;

    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(malformed)?;
    let is_whole = |samples: &[f32]| samples.len() as u64 == u64::from(width) * u64::from(height);
    let components = decoded.components();
    if components.len() != usize::from(channels) || !components.iter().all(|it| is_whole(it.samples())) {
        return Err(DecodeError::malformed(format, "its channels differ in size"));
    }
    let samples = decoded.data_u8();
    let profile = match image.color_space() {
        ColorSpace::Icc { profile, .. } => Some(profile.as_slice()),
        _ => None,
    };
    let is_lab = profile.is_some_and(|profile| profile.get(16..20) == Some(b"Lab "));
    let exif = memchr::memmem::find(bytes, EXIF_BOX)
        .map(|at| Exif::read(&bytes[at + EXIF_BOX.len()..]))
        .unwrap_or_default();
    let colour = profile.map_or_else(|| exif.colour(), |profile| Colour::Icc(profile.to_vec()));
    let (pixels, is_transparent) = without_alpha(samples, colours, image.has_alpha())
        .ok_or_else(|| DecodeError::Unsupported { what: format!("{format} with {colours} colours") })?;
    let picture = match pixels {
        Pixels::Rgb(lab) if is_lab => {
            let mut image = pixels::shrink(Rgb { width, height, pixels: lab }, need);
            colour::lab_to_srgb(&mut image.pixels);
            image
        }
        pixels => pixels.into_picture(width, height, &colour, need),
    };
    let image = exif.orientation.apply(picture);
    let (width, height) = exif.orientation.upright_size(full_width, full_height);
    let info = exif.with_size(format, width, height);
    Ok(Opened { image, info, is_transparent, pixels: None })
}

/// Lays pixels on a ground where they have transparency, which is their last channel.
fn without_alpha(samples: Vec<u8>, colours: u8, has_alpha: bool) -> Option<(Pixels, bool)> {
    Some(match (colours, has_alpha) {
        (1, false) => (Pixels::Grey(samples), false),
        (1, true) => {
            let rgba: Vec<u8> = samples
                .as_chunks::<2>()
                .0
                .iter()
                .flat_map(|&[grey, alpha]| [grey, grey, grey, alpha])
                .collect();
            let (rgb, is_transparent) = pixels::over_ground(&rgba);
            (Pixels::Grey(rgb.as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect()), is_transparent)
        }
        (3, false) => (Pixels::Rgb(samples), false),
        (3, true) => {
            let (rgb, is_transparent) = pixels::over_ground(&samples);
            (Pixels::Rgb(rgb), is_transparent)
        }
        (4, false) => (Pixels::Cmyk(samples), false),
        (4, true) => {
            let inks = samples.as_chunks::<5>().0.iter();
            (Pixels::Cmyk(inks.flat_map(|&[c, m, y, k, _]| [c, m, y, k]).collect()), false)
        }
        _ => return None,
    })
}
