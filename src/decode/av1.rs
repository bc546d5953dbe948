//! An AV1 stream -> the luma and chroma of its first picture.

use heifer::heifer_hevc_dec::recon::Frame;
use re_rav1d::dav1d::pixel::YUVRange;
use re_rav1d::dav1d::{
    Decoder, Error, InloopFilterType, Picture, PixelLayout, PlanarImageComponent, Settings,
};

use super::{DecodeError, Format};

/// How often the decoder may ask for more before its first picture.
const MAX_TURNS: usize = 64;

/// Decodes the first picture of a stream, which has at most `max_pixels` pixels. Without `filters`, the edges of the
/// coded blocks stay as they are, which only shows at full size.
pub(super) fn decode(data: &[u8], max_pixels: u64, filters: bool) -> Result<Frame, DecodeError> {
    let picture = first_picture(data, max_pixels, filters).map_err(|error| match error {
        Error::UnsupportedBitstream => {
            DecodeError::Unsupported { what: "AVIF with this kind of AV1".to_owned() }
        }
        Error::Again => DecodeError::malformed(Format::Avif, "its picture is incomplete"),
        Error::InvalidArgument => DecodeError::malformed(Format::Avif, "its AV1 stream is broken"),
        error => DecodeError::malformed(Format::Avif, error),
    })?;
    Ok(frame(&picture))
}

fn first_picture(data: &[u8], max_pixels: u64, filters: bool) -> Result<Picture, Error> {
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    // The grain of a film is drawn at random; without it the same picture stays the same.
    settings.set_apply_grain(false);
    if !filters {
        settings.set_inloop_filters(InloopFilterType::empty());
    }
    settings.set_frame_size_limit(u32::try_from(max_pixels).unwrap_or(u32::MAX).max(1));
    let mut decoder = Decoder::with_settings(&settings)?;
    let mut sent = decoder.send_data(data.to_vec(), None, None, None);
    // A stream may hold many pictures; the decoder takes the rest only when the finished ones are fetched.
    for _ in 0..MAX_TURNS {
        match (sent, decoder.get_picture()) {
            (Ok(()) | Err(Error::Again), Ok(picture)) => return Ok(picture),
            (Err(Error::Again), Err(Error::Again)) => sent = decoder.send_pending_data(),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        }
    }
    Err(Error::Again)
}

/// Copies the planes without the padding of their rows, in the form of the HEVC decoder. That one always has two
/// samples of luma for one of subsampled chroma, so where the size is odd, the last row and column stand twice.
fn frame(picture: &Picture) -> Frame {
    let bits = picture.bits_per_component().map_or(8, |bits| bits.0 as u8);
    let (width, height) = (picture.width(), picture.height());
    let (chroma_format, across, down) = match picture.pixel_layout() {
        PixelLayout::I400 => (0, 1, 1),
        PixelLayout::I420 => (1, 2, 2),
        PixelLayout::I422 => (2, 2, 1),
        PixelLayout::I444 => (3, 1, 1),
    };
    let whole = (width.next_multiple_of(across), height.next_multiple_of(down));
    let chroma = if chroma_format == 0 { (0, 0) } else { (whole.0 / across, whole.1 / down) };
    let plane = |component, (width, height): (u32, u32)| match width {
        0 => Vec::new(),
        width => samples(picture, component, width as usize, height as usize, bits > 8),
    };
    Frame {
        widths: [whole.0, chroma.0, chroma.0],
        heights: [whole.1, chroma.1, chroma.1],
        planes: [
            plane(PlanarImageComponent::Y, whole),
            plane(PlanarImageComponent::U, chroma),
            plane(PlanarImageComponent::V, chroma),
        ],
        bit_depth: [bits, bits],
        chroma_format,
        full_range: matches!(picture.color_range(), YUVRange::Full),
        matrix_coeffs: picture.matrix_coefficients() as u8,
    }
}

/// Copies one plane. The decoder's own rows are long enough for the column that stands twice, but what is in it is
/// not the picture's.
fn samples(
    picture: &Picture,
    component: PlanarImageComponent,
    width: usize,
    height: usize,
    is_wide: bool,
) -> Vec<u16> {
    let own_width = match component {
        PlanarImageComponent::Y => picture.width() as usize,
        _ => width,
    };
    let plane = picture.plane(component);
    let rows = plane.chunks(picture.stride(component) as usize).take(height);
    let mut samples = Vec::with_capacity(width * height);
    for row in rows {
        if is_wide {
            samples.extend(row.as_chunks().0[..own_width].iter().map(|raw| u16::from_ne_bytes(*raw)));
        } else {
            samples.extend(row[..own_width].iter().map(|&sample| u16::from(sample)));
        }
        samples.extend_from_within(samples.len() - (width - own_width)..);
    }
    while samples.len() < width * height {
        samples.extend_from_within(samples.len() - width..);
    }
    samples
}
