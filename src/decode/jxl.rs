//! JPEG XL, bare or in its container. Orientation is part of the codestream and applied by the decoder.

use std::io::Read;

use brotli_decompressor::Decompressor;
use jxl::api::{
    AlphaMode, Event, ExtraChannel, JxlAuxBoxType, JxlBasicInfo, JxlColorEncoding, JxlColorProfile,
    JxlColorType, JxlDataFormat, JxlDecoder, JxlDecoderOptions, JxlOutputBuffer, JxlPixelFormat,
    JxlPrimaries, JxlTransferFunction, ProfileLevel,
};
use jxl::error::Error;

use super::colour::Colour;
use super::info::Exif;
use super::pixels::{Ground, Pixels, over_ground};
use super::{DecodeError, Format, Limits, Need, Opened, bytes_of_pixels};

/// Bytes of an unpacked EXIF box at the most.
const MOST_EXIF: u64 = 1 << 20;

/// Channels of a picture at the most. Real ones have up to five: colours and transparency, ink and depth.
const MAX_CHANNELS: usize = 16;

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    let mut options = JxlDecoderOptions::default();
    options.max_profile_level = ProfileLevel::Main10;
    options.alpha_mode = AlphaMode::Unpremultiplied;
    options.request_aux_boxes = vec![JxlAuxBoxType::EXIF];
    options.sample_limit = usize::try_from(limits.max_pixels.saturating_mul(MAX_CHANNELS as u64)).ok();
    let mut decoder = JxlDecoder::new(options);
    let mut input = bytes;

    while step(&mut decoder, &mut input, None, limits)? != Event::BasicInfo {}
    let info = decoder.basic_info().ok_or_else(|| malformed("it has no header"))?.clone();
    let side = |side: usize| u32::try_from(side).map_err(|_| malformed("it is larger than can be counted"));
    let (width, height) = (side(info.size.0)?, side(info.size.1)?);
    let layout = Layout::of(&info, decoder.embedded_color_profile());
    // The bytes that come out, and the picture made of them. Most files are decoded in parts; those that need whole channels
    // are given up where their memory comes to an end.
    let memory_bytes = bytes_of_pixels(width, height, 2 * layout.samples() as u64);
    limits.check_size(Format::Jxl, width, height, memory_bytes)?;

    decoder.set_pixel_format(layout.format(&info)).map_err(|error| refused(error, limits))?;

    let row_bytes = info.size.0 * layout.samples();
    let mut samples = vec![0u8; row_bytes * info.size.1];
    loop {
        let mut buffers = [JxlOutputBuffer::new(&mut samples, info.size.1, row_bytes)];
        if let Event::FrameComplete { .. } | Event::Complete =
            step(&mut decoder, &mut input, Some(&mut buffers), limits)?
        {
            break;
        }
    }
    let colour = decoder.output_color_profile().map(colour_of).unwrap_or_default();
    let (pixels, is_transparent) = layout.pixels(samples);
    let image = pixels.into_picture(width, height, &colour, need);
    // Behind an animation, all its pictures would be read for what is told of the first.
    let rest = if info.animation.is_some() { &[] } else { input };
    let exif = exif(&mut decoder, rest).unwrap_or_default();
    let info = exif.with_size(Format::Jxl, width, height);
    Ok(Opened { image, info, is_transparent, pixels: None })
}

/// Decodes up to the next thing to say.
fn step(
    decoder: &mut JxlDecoder,
    input: &mut &[u8],
    buffers: Option<&mut [JxlOutputBuffer<'_>]>,
    limits: &Limits,
) -> Result<Event, DecodeError> {
    match decoder.process(input, buffers, None) {
        Ok(Event::NeedMoreInput { .. }) => Err(malformed("the file ends too early")),
        Ok(event) => Ok(event),
        Err(error) => Err(refused(error, limits)),
    }
}

/// What comes out of the decoder for a pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    Ink,
}

impl Layout {
    fn of(info: &JxlBasicInfo, profile: Option<&JxlColorProfile>) -> Self {
        let has = |kind| info.extra_channels.iter().any(|channel| channel.ec_type == kind);
        let is_grey = profile.is_some_and(|profile| profile.channels() == 1);
        match (is_grey, has(ExtraChannel::Alpha)) {
            (false, _) if has(ExtraChannel::Black) => Self::Ink,
            (false, false) => Self::Rgb,
            (false, true) => Self::Rgba,
            (true, false) => Self::Grey,
            (true, true) => Self::GreyAlpha,
        }
    }

    fn samples(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Ink => 4,
        }
    }

    fn format(self, info: &JxlBasicInfo) -> JxlPixelFormat {
        JxlPixelFormat {
            color_type: match self {
                Self::Grey => JxlColorType::Grayscale,
                Self::GreyAlpha => JxlColorType::GrayscaleAlpha,
                Self::Rgb => JxlColorType::Rgb,
                Self::Rgba => JxlColorType::Rgba,
                Self::Ink => JxlColorType::Cmyk,
            },
            color_data_format: Some(JxlDataFormat::U8 { bit_depth: 8 }),
            extra_channel_format: vec![None; info.extra_channels.len()],
        }
    }

    /// Returns the pixels without transparency, and whether any of them had some.
    fn pixels(self, samples: Vec<u8>) -> (Pixels, bool) {
        match self {
            Self::Grey => (Pixels::Grey(samples), false),
            Self::GreyAlpha => {
                let samples = samples.as_chunks::<2>().0;
                let ground = Ground::under(samples.iter().map(|&[grey, alpha]| ([grey; 3], alpha)));
                let is_transparent = ground.is_some();
                let ground = ground.unwrap_or_default();
                let laid = samples.iter().map(|&[grey, alpha]| ground.blended([grey; 3], alpha)[0]);
                (Pixels::Grey(laid.collect()), is_transparent)
            }
            Self::Rgb => (Pixels::Rgb(samples), false),
            Self::Rgba => {
                let (rgb, is_transparent) = over_ground(&samples);
                (Pixels::Rgb(rgb), is_transparent)
            }
            // In JPEG XL, as in the files it was converted from, 0 is full ink.
            Self::Ink => (Pixels::Cmyk(samples.into_iter().map(|ink| 255 - ink).collect()), false),
        }
    }
}

/// Returns the colour space that the decoder gives its pixels in: by numbers, or by a profile.
fn colour_of(profile: &JxlColorProfile) -> Colour {
    match profile {
        JxlColorProfile::Simple(JxlColorEncoding::RgbColorSpace { primaries, transfer_function, .. })
            if let Some((primaries, transfer)) = code_points(primaries, transfer_function) =>
        {
            Colour::CodePoints { primaries, transfer }
        }
        profile => profile.try_as_icc().map_or(Colour::Srgb, |icc| Colour::Icc(icc.into_owned())),
    }
}

/// Returns the numbers of H.273 for the light of HDR pictures, which a profile says less well.
fn code_points(primaries: &JxlPrimaries, transfer: &JxlTransferFunction) -> Option<(u16, u16)> {
    let transfer = match transfer {
        JxlTransferFunction::PQ => 16,
        JxlTransferFunction::HLG => 18,
        _ => return None,
    };
    let primaries = match primaries {
        JxlPrimaries::SRGB => 1,
        JxlPrimaries::BT2100 => 9,
        JxlPrimaries::P3 => 11,
        JxlPrimaries::Chromaticities { .. } => return None,
    };
    Some((primaries, transfer))
}

/// Reads the EXIF box, which may stand behind the picture. The orientation in it is the codestream's, and applied already.
fn exif(decoder: &mut JxlDecoder, mut rest: &[u8]) -> Option<Exif> {
    decoder.close_input();
    while let Ok(Event::FrameHeader | Event::FrameComplete { .. }) = decoder.process(&mut rest, None, None) {}
    let found = decoder
        .aux_boxes(JxlAuxBoxType::EXIF)
        .first()
        .or_else(|| decoder.trailing_box().filter(|found| found.box_type() == JxlAuxBoxType::EXIF))?;
    let packed = found.raw_data().chain(rest);
    let mut data = Vec::new();
    match found.is_compressed() {
        true => Decompressor::new(packed, 1024).take(MOST_EXIF).read_to_end(&mut data).ok()?,
        false => packed.take(MOST_EXIF).read_to_end(&mut data).ok()?,
    };
    // Where the block begins behind these four bytes.
    let (offset, block) = data.split_first_chunk::<4>()?;
    block.get(u32::from_be_bytes(*offset) as usize..).map(Exif::read)
}

fn refused(error: Error, limits: &Limits) -> DecodeError {
    match error {
        Error::OutOfMemory(_) | Error::ImageOutOfMemory(..) => {
            DecodeError::OutOfMemory { limit_bytes: limits.max_memory_bytes }
        }
        // Whichever side it is; the other one is not told.
        Error::ImageDimensionTooLarge(side) => {
            let width = u32::try_from(side).unwrap_or(u32::MAX);
            DecodeError::TooManyPixels { width, height: 1, limit: limits.max_pixels }
        }
        Error::ImageSizeTooLarge(width, height) => {
            let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
            DecodeError::TooManyPixels { width: side(width), height: side(height), limit: limits.max_pixels }
        }
        error => malformed(error),
    }
}

fn malformed(reason: impl ToString) -> DecodeError {
    DecodeError::malformed(Format::Jxl, reason)
}
