//! JPEG XL, bare or in its container. Orientation is part of the codestream and applied by the decoder.

use jxl_oxide::{AllocTracker, EnumColourEncoding, JxlImage, JxlThreadPool, PixelFormat, RenderingIntent};

use super::colour::Colour;
use super::info::Exif;
use super::pixels::{Ground, Pixels, over_ground};
use super::{DecodeError, Format, Limits, Need, Opened, bytes_of_pixels};

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Opened, DecodeError> {
    let malformed = |error| DecodeError::malformed(Format::Jxl, error);
    let memory = usize::try_from(limits.max_memory_bytes).unwrap_or(usize::MAX);
    let mut image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(memory))
        .read(bytes)
        .map_err(malformed)?;
    let (width, height) = (image.width(), image.height());
    // Three channels of floats, and the bytes made of them.
    limits.check_size(Format::Jxl, width, height, bytes_of_pixels(width, height, 16))?;
    if image.num_loaded_keyframes() == 0 {
        return Err(DecodeError::malformed(Format::Jxl, "the file ends too early"));
    }
    // Files that keep their colours by numbers can be rendered to sRGB; an embedded profile is ours to apply.
    if image.original_icc().is_none() {
        let rendering = RenderingIntent::Perceptual;
        image.request_color_encoding(if image.pixel_format().is_grayscale() {
            EnumColourEncoding::gray_srgb(rendering)
        } else {
            EnumColourEncoding::srgb(rendering)
        });
    }
    let render = image.render_frame(0).map_err(malformed)?;
    let exif = image.aux_boxes().first_exif().ok().and_then(|exif| match exif {
        jxl_oxide::AuxBoxData::Data(exif) => {
            exif.payload().get(exif.tiff_header_offset() as usize..).map(Exif::read)
        }
        _ => None,
    });

    let mut stream = render.stream();
    let (width, height) = (stream.width(), stream.height());
    let mut samples = vec![0u8; width as usize * height as usize * stream.channels() as usize];
    stream.write_to_buffer(&mut samples);
    let colour = Colour::Icc(image.rendered_icc());
    let mut is_transparent = false;
    let found = match image.pixel_format() {
        PixelFormat::Gray => Pixels::Grey(samples),
        PixelFormat::Graya => {
            let samples = samples.as_chunks::<2>().0;
            let ground = Ground::under(samples.iter().map(|&[grey, alpha]| ([grey; 3], alpha)));
            is_transparent = ground.is_some();
            let ground = ground.unwrap_or_default();
            Pixels::Grey(samples.iter().map(|&[grey, alpha]| ground.blended([grey; 3], alpha)[0]).collect())
        }
        PixelFormat::Rgb => Pixels::Rgb(samples),
        PixelFormat::Rgba => {
            let rgb;
            (rgb, is_transparent) = over_ground(&samples);
            Pixels::Rgb(rgb)
        }
        // In JPEG XL, as in the files it was converted from, 0 is full ink.
        PixelFormat::Cmyk => Pixels::Cmyk(samples.iter().map(|&ink| 255 - ink).collect()),
        PixelFormat::Cmyka => {
            let inks = samples.as_chunks::<5>().0.iter();
            Pixels::Cmyk(inks.flat_map(|ink| [ink[0], ink[1], ink[2], ink[3]].map(|ink| 255 - ink)).collect())
        }
    };
    let image = found.into_picture(width, height, &colour, need);
    let info = exif.unwrap_or_default().with_size(Format::Jxl, width, height);
    Ok(Opened { image, info, is_transparent, pixels: None })
}
