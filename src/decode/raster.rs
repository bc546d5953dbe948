//! The formats that are decoded whole: PNG, WebP, GIF, BMP, TIFF and ICO. Of an animation, the first frame.

use std::io::Cursor;

use image::error::{ImageError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::colour::Colour;
use super::info::Exif;
use super::pixels::Pixels;
use super::tags::Tiff;
use super::{DecodeError, Decoded, Format, Limits, Need};

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
    let mut reader = ImageReader::with_format(Cursor::new(bytes), name);
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc = Some(limits.max_memory_bytes);
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
