//! The formats that are decoded whole: PNG, WebP, GIF, BMP, TIFF and ICO. Of an animation, the first frame.

use std::borrow::Cow;
use std::io::Cursor;

use image::error::{ImageError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::colour::{self, Colour};
use super::info::Exif;
use super::pixels::Pixels;
use super::planes::Planes;
use super::tags::{Tiff, tag};
use super::tiff::{self, Readable, Samples};
use super::{DecodeError, Format, Limits, Need, Opened, bytes_of_pixels, pixels, png};
use crate::appearance::PixelHash;

/// Memory for the chunks of a PNG besides the picture. Profiles of presses have a few MB.
const PNG_EXTRA_BYTES: u64 = 16 << 20;

pub(super) fn decode(
    format: Format,
    bytes: &[u8],
    need: Need,
    limits: &Limits,
) -> Result<Opened, DecodeError> {
    let name = match format {
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::WebP,
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
        Format::Ico => ImageFormat::Ico,
        _ => return Err(DecodeError::Unsupported { what: format!("{format} files are not decoded") }),
    };
    if format == Format::Tiff
        && let Some(planes) = Planes::of(bytes)?
    {
        return decode_planes(&planes, bytes, need, limits);
    }
    let readable = match format {
        Format::Tiff => tiff::readable(bytes)?,
        _ => Readable { bytes: Cow::Borrowed(bytes), samples: Samples::AsRead },
    };
    let mut reader = ImageReader::with_format(Cursor::new(&*readable.bytes), name);
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
    // The decoded pixels and their 8-bit copy are alive together, and a copy of the file where one was made.
    let copied = if let Cow::Owned(copy) = &readable.bytes { copy.len() as u64 } else { 0 };
    let memory_bytes =
        decoder.total_bytes().saturating_add(bytes_of_pixels(width, height, 4)).saturating_add(copied);
    limits.check_size(format, width, height, memory_bytes)?;

    let exif = match format {
        Format::Tiff => Tiff::parse(bytes).and_then(exif_of_tiff),
        Format::Png => png::exif(bytes),
        // A broken EXIF chunk costs the metadata, not the photo.
        _ => decoder.exif_metadata().unwrap_or(None).map(|block| Exif::read(&block)),
    }
    .unwrap_or_default();

    let profile = match format {
        Format::Tiff => profile_of_tiff(bytes),
        _ => decoder.icc_profile().unwrap_or(None),
    };
    let code_points = (format == Format::Png).then(|| png::colour(bytes)).flatten();
    let colour = code_points.or(profile.map(Colour::Icc)).unwrap_or_else(|| exif.colour());
    let image = DynamicImage::from_decoder(decoder)
        .map_err(|error| translate(format, error, (width, height), limits))?;
    // Places say nothing without their palette.
    let hash = (readable.samples != Samples::Places).then(|| hash_of(&image, &colour, &exif));
    let image = match format {
        Format::Bmp | Format::Ico => seen_if_nothing_is(image),
        // Numbers that are no profile's are light, as all programs of HDR pictures have them.
        Format::Tiff if matches!(colour, Colour::Srgb) => from_light(image),
        _ => image,
    };
    let (pixels, is_transparent) = match readable.samples {
        Samples::AsRead => Pixels::of(image),
        Samples::AndOneMore => (Pixels::Rgb(image.into_rgb8().into_raw()), false),
        Samples::Ink => (Pixels::Cmyk(image.into_rgba8().into_raw()), false),
        Samples::Places => {
            let pixels = tiff::coloured(bytes, image.as_bytes())
                .ok_or_else(|| DecodeError::malformed(format, "its palette is missing or too short"))?;
            (Pixels::Rgb(pixels), false)
        }
    };
    let image = exif.orientation.apply(pixels.into_picture(width, height, &colour, need));
    let (width, height) = exif.orientation.upright_size(width, height);
    Ok(Opened { image, info: exif.with_size(format, width, height), is_transparent, pixels: hash })
}

/// Takes the transparency off a picture of which nothing is seen: whoever wrote it left those bits at zero.
fn seen_if_nothing_is(image: DynamicImage) -> DynamicImage {
    match image {
        DynamicImage::ImageRgba8(image) if image.pixels().all(|pixel| pixel[3] == 0) => {
            DynamicImage::ImageRgba8(image).into_rgb8().into()
        }
        image => image,
    }
}

/// Brings floats from linear light to the curve of sRGB, in 8 bits; other pictures stay as they are.
fn from_light(image: DynamicImage) -> DynamicImage {
    let shown = |value: f32| f32::from(colour::srgb_of_light(value)) / 255.0;
    match image {
        DynamicImage::ImageRgb32F(mut image) => {
            image.iter_mut().for_each(|value| *value = shown(*value));
            image.into()
        }
        DynamicImage::ImageRgba32F(mut image) => {
            image
                .pixels_mut()
                .for_each(|pixel| pixel.0[..3].iter_mut().for_each(|value| *value = shown(*value)));
            image.into()
        }
        image => image,
    }
}

/// Hashes all pixels at their full depth, and what is made of them: whoever keeps one of two files with this hash loses no pixel.
fn hash_of(image: &DynamicImage, colour: &Colour, exif: &Exif) -> PixelHash {
    let mut hasher = blake3::Hasher::new();
    let kind = format!("{:?} {}x{}", image.color(), image.width(), image.height());
    hasher.update(format!("{kind} {:?} {colour:?}\n", exif.orientation).as_bytes());
    hasher.update(image.as_bytes());
    PixelHash::of(&hasher.finalize())
}

/// Reads the EXIF of the photo's directory; where it has none, as that of the first, which is a smaller picture of it.
fn exif_of_tiff(file: Tiff<'_>) -> Option<Exif> {
    let photo = tiff::photo(file)?;
    let has_its_own =
        [tag::EXIF_IFD, tag::MAKE, tag::DATE_TIME].iter().any(|&which| photo.find(which).is_some());
    let described = if has_its_own { photo } else { file.first()? };
    Some(Exif { orientation: Exif::of_directory(&photo).orientation, ..Exif::of_directory(&described) })
}

/// Returns the ICC profile of a TIFF, however large it is beside the pixels.
fn profile_of_tiff(bytes: &[u8]) -> Option<Vec<u8>> {
    let photo = Tiff::parse(bytes).and_then(tiff::photo)?;
    Some(photo.find(tag::ICC_PROFILE)?.bytes().to_vec())
}

/// Returns the width that the header of a PNG claims.
fn png_width(bytes: &[u8]) -> u64 {
    bytes.get(16..).and_then(|bytes| bytes.first_chunk()).map_or(0, |raw| u64::from(u32::from_be_bytes(*raw)))
}

/// Decodes plane after plane, and puts their samples together.
fn decode_planes(
    planes: &Planes<'_>,
    bytes: &[u8],
    need: Need,
    limits: &Limits,
) -> Result<Opened, DecodeError> {
    let format = Format::Tiff;
    let exif =
        Tiff::parse(bytes).and_then(Tiff::first).map(|main| Exif::of_directory(&main)).unwrap_or_default();
    let colour = profile_of_tiff(bytes).map_or_else(|| exif.colour(), Colour::Icc);
    let mut size = (0, 0);
    let mut pixels = Vec::new();
    for plane in 0..planes.shown {
        let file = planes.grey(plane);
        let decoder = image::codecs::tiff::TiffDecoder::new(Cursor::new(&file[..]))
            .map_err(|error| translate(format, error, (0, 0), limits))?;
        size = decoder.dimensions();
        // The file once more, this plane at full depth and in 8 bits, and the picture.
        let memory_bytes = (file.len() as u64)
            .saturating_add(decoder.total_bytes())
            .saturating_add(bytes_of_pixels(size.0, size.1, 1 + planes.shown as u64));
        limits.check_size(format, size.0, size.1, memory_bytes)?;
        let grey =
            DynamicImage::from_decoder(decoder).map_err(|error| translate(format, error, size, limits))?;
        let grey = grey.into_luma8().into_raw();
        pixels.resize(grey.len() * planes.shown, 0);
        for (pixel, value) in pixels.chunks_exact_mut(planes.shown).zip(grey) {
            pixel[plane] = value;
        }
    }
    let (pixels, is_transparent) =
        if planes.shown == 4 { pixels::over_ground(&pixels) } else { (pixels, false) };
    let pixels = Pixels::Rgb(pixels);
    let image = exif.orientation.apply(pixels.into_picture(size.0, size.1, &colour, need));
    let (width, height) = exif.orientation.upright_size(size.0, size.1);
    Ok(Opened { image, info: exif.with_size(format, width, height), is_transparent, pixels: None })
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
