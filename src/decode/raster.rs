//! The formats that are decoded whole: PNG, WebP, GIF, BMP, TIFF and ICO. Of an animation, the first frame.

use std::io::Cursor;

use image::error::{ImageError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::colour::Colour;
use super::info::Exif;
use super::pixels::Pixels;
use super::tags::{Tiff, tag};
use super::{DecodeError, Decoded, Format, Limits, Need};

/// Memory for the chunks of a PNG besides the picture. Profiles of presses have a few MB.
const PNG_EXTRA_BYTES: u64 = 16 << 20;

pub(super) fn decode(
    format: Format,
    bytes: &[u8],
    need: Need,
    limits: &Limits,
) -> Result<Decoded, DecodeError> {
    let name = match format {
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::WebP,
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
        Format::Ico => ImageFormat::Ico,
        _ => return Err(DecodeError::Unsupported { what: format!("{format} files are not decoded") }),
    };
    if format == Format::Tiff {
        refuse_deep_planes(bytes)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), name);
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc = Some(match format {
        // For PNG this counts what is not the picture: rows, and chunks that are unpacked, where a profile of 1 KB can
        // become 250 MB. One that is too large is left out.
        Format::Png => (PNG_EXTRA_BYTES + png_width(bytes) * 64).min(limits.max_memory_bytes),
        _ => limits.max_memory_bytes,
    });
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(|error| translate(format, error, (0, 0), limits))?;

    let (width, height) = decoder.dimensions();
    // The decoded pixels and their 8-bit copy are alive together.
    let memory_bytes = decoder.total_bytes().saturating_add(u64::from(width) * u64::from(height) * 3);
    limits.check_size(format, width, height, memory_bytes)?;

    let exif = match format {
        Format::Tiff => Tiff::parse(bytes).and_then(Tiff::first).map(|main| Exif::of_directory(&main)),
        // A broken EXIF chunk costs the metadata, not the photo.
        _ => decoder.exif_metadata().unwrap_or(None).map(|block| Exif::read(&block)),
    }
    .unwrap_or_default();

    let profile = decoder.icc_profile().unwrap_or(None);
    let colour = profile.map_or_else(|| exif.colour(), Colour::Icc);
    let image = DynamicImage::from_decoder(decoder)
        .map_err(|error| translate(format, error, (width, height), limits))?;
    let image = exif.orientation.apply(Pixels::of(image).into_picture(width, height, &colour, need));
    let (width, height) = exif.orientation.upright_size(width, height);
    Ok(Decoded { image, info: exif.with_size(format, width, height) })
}

/// Returns the width that the header of a PNG claims.
fn png_width(bytes: &[u8]) -> u64 {
    bytes.get(16..).and_then(|bytes| bytes.first_chunk()).map_or(0, |raw| u64::from(u32::from_be_bytes(*raw)))
}

/// Refuses pictures in one plane a colour of more than 8 bits: the decoder panics on some and mixes others up.
fn refuse_deep_planes(bytes: &[u8]) -> Result<(), DecodeError> {
    let Some(main) = Tiff::parse(bytes).and_then(Tiff::first) else { return Ok(()) };
    match (main.unsigned(tag::PLANAR_CONFIGURATION), main.unsigned(tag::BITS_PER_SAMPLE)) {
        (Some(2), Some(bits)) if bits > 8 => {
            Err(DecodeError::Unsupported { what: format!("TIFF with {bits} bits in separate planes") })
        }
        _ => Ok(()),
    }
}

fn translate(format: Format, error: ImageError, (width, height): (u32, u32), limits: &Limits) -> DecodeError {
    match error {
        ImageError::Unsupported(error) => DecodeError::Unsupported { what: error.to_string() },
        ImageError::Limits(error) if matches!(error.kind(), LimitErrorKind::InsufficientMemory) => {
            DecodeError::TooMuchMemory { format, width, height, limit_bytes: limits.max_memory_bytes }
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::malformed(format, "the file ends too early")
        }
        error => DecodeError::malformed(format, error),
    }
}
