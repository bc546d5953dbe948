//! One AV1 key frame -> RGB.

use re_rav1d::dav1d::{Decoder, Error, Picture, PixelLayout, PlanarImageComponent, Settings};

use super::{DecodeError, Format, Limits};
use crate::photo::Rgb;

/// How often the decoder may ask for more before its first picture.
const MAX_TURNS: usize = 64;

/// A decoded picture, and its luma in case it is another one's transparency.
pub(super) struct Coded {
    pub rgb: Rgb,
    luma: Vec<u8>,
}

impl Coded {
    /// Lays this picture on white where `alpha` is transparent. An alpha picture of another size is ignored.
    pub(super) fn put_over_white(&mut self, alpha: &Coded) {
        if (alpha.rgb.width, alpha.rgb.height) != (self.rgb.width, self.rgb.height) {
            return;
        }
        for (pixel, &alpha) in self.rgb.pixels.as_chunks_mut::<3>().0.iter_mut().zip(&alpha.luma) {
            *pixel = super::pixels::blended(*pixel, alpha);
        }
    }
}

/// Decodes the first picture of a stream. The container's matrix coefficients and range, where it has them,
/// count more than the stream's.
pub(super) fn decode(data: &[u8], container: Option<(u16, bool)>, limits: &Limits) -> Result<Coded, DecodeError> {
    let picture = first_picture(data, limits).map_err(|error| match error {
        Error::UnsupportedBitstream => DecodeError::Unsupported { what: "AVIF with this kind of AV1".to_owned() },
        Error::Again => DecodeError::malformed(Format::Avif, "its picture is incomplete"),
        Error::InvalidArgument => DecodeError::malformed(Format::Avif, "its AV1 stream is broken"),
        error => DecodeError::malformed(Format::Avif, error),
    })?;
    let bits = picture.bits_per_component().map_or(8, |bits| bits.0 as u32);
    let (matrix, full_range) = container.unwrap_or_else(|| {
        let full = matches!(picture.color_range(), re_rav1d::dav1d::pixel::YUVRange::Full);
        (picture.matrix_coefficients() as u16, full)
    });
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let plane = |component, (across, down): (usize, usize)| {
        samples(&picture, component, (width.div_ceil(across), height.div_ceil(down)), bits)
    };
    let layout = picture.pixel_layout();
    let (across, down) = match layout {
        PixelLayout::I420 => (2, 2),
        PixelLayout::I422 => (2, 1),
        PixelLayout::I444 | PixelLayout::I400 => (1, 1),
    };
    let luma = plane(PlanarImageComponent::Y, (1, 1));
    let conversion = Conversion::new(matrix, full_range, bits);
    let mut pixels = Vec::with_capacity(width * height * 3);
    let mut grey = Vec::with_capacity(width * height);
    grey.extend(luma.iter().map(|&value| conversion.grey(value)));
    if layout == PixelLayout::I400 {
        pixels.extend(grey.iter().flat_map(|&value| [value; 3]));
    } else {
        let blue = plane(PlanarImageComponent::U, (across, down));
        let red = plane(PlanarImageComponent::V, (across, down));
        let chroma_width = width.div_ceil(across);
        for y in 0..height {
            for x in 0..width {
                let at = y / down * chroma_width + x / across;
                pixels.extend(conversion.rgb(luma[y * width + x], blue[at], red[at]));
            }
        }
    }
    Ok(Coded { rgb: Rgb { width: width as u32, height: height as u32, pixels }, luma: grey })
}

fn first_picture(data: &[u8], limits: &Limits) -> Result<Picture, Error> {
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    // The stream has a size of its own, whatever the container says.
    let most = limits.max_pixels.min(limits.max_memory_bytes / 11);
    settings.set_frame_size_limit(u32::try_from(most).unwrap_or(u32::MAX).max(1));
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

/// Copies a plane without the padding of its rows, each sample as 16 bits.
fn samples(picture: &Picture, component: PlanarImageComponent, (width, height): (usize, usize), bits: u32) -> Vec<u16> {
    let stride = picture.stride(component) as usize;
    let plane = picture.plane(component);
    let rows = plane.chunks(stride).take(height);
    if bits == 8 {
        rows.flat_map(|row| row[..width].iter().map(|&sample| u16::from(sample))).collect()
    } else {
        rows.flat_map(|row| row.as_chunks::<2>().0[..width].iter().map(|&raw| u16::from_ne_bytes(raw))).collect()
    }
}

/// From luma and chroma to red, green and blue (ITU-T H.273, 8.3).
struct Conversion {
    is_identity: bool,
    offset: f32,
    luma_scale: f32,
    chroma_middle: f32,
    chroma_scale: f32,
    /// Weights of red and blue in luma.
    red: f32,
    blue: f32,
}

impl Conversion {
    fn new(matrix: u16, full_range: bool, bits: u32) -> Self {
        let (red, blue) = match matrix {
            1 => (0.2126, 0.0722),
            4 => (0.30, 0.11),
            7 => (0.212, 0.087),
            9 | 10 => (0.2627, 0.0593),
            _ => (0.299, 0.114),
        };
        let unit = (1u32 << (bits - 8)) as f32;
        let largest = ((1u32 << bits) - 1) as f32;
        let (offset, luma_span, chroma_span) =
            if full_range { (0.0, largest, largest) } else { (16.0 * unit, 219.0 * unit, 224.0 * unit) };
        Self {
            is_identity: matrix == 0,
            offset,
            luma_scale: 255.0 / luma_span,
            chroma_middle: 128.0 * unit,
            chroma_scale: 255.0 / chroma_span,
            red,
            blue,
        }
    }

    fn grey(&self, luma: u16) -> u8 {
        to_byte((f32::from(luma) - self.offset) * self.luma_scale)
    }

    #[inline(always)]
    fn rgb(&self, luma: u16, blue: u16, red: u16) -> [u8; 3] {
        if self.is_identity {
            return [self.grey(red), self.grey(luma), self.grey(blue)];
        }
        let luma = (f32::from(luma) - self.offset) * self.luma_scale;
        let blue = (f32::from(blue) - self.chroma_middle) * self.chroma_scale;
        let red = (f32::from(red) - self.chroma_middle) * self.chroma_scale;
        let (red_part, blue_part) = (2.0 * (1.0 - self.red) * red, 2.0 * (1.0 - self.blue) * blue);
        let green_part = (self.red * red_part + self.blue * blue_part) / (1.0 - self.red - self.blue);
        [to_byte(luma + red_part), to_byte(luma - green_part), to_byte(luma + blue_part)]
    }
}

#[inline(always)]
fn to_byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ranges_reach_black_and_white() {
        for (full, bits, black, white) in [(true, 8, 0, 255), (false, 8, 16, 235), (false, 10, 64, 940)] {
            let conversion = Conversion::new(1, full, bits);
            let middle = 128 << (bits - 8);
            assert_eq!(conversion.rgb(black, middle, middle), [0; 3], "{full} {bits}");
            assert_eq!(conversion.rgb(white, middle, middle), [255; 3], "{full} {bits}");
        }
    }

    #[test]
    fn colours_come_back_from_luma_and_chroma() {
        // Red by the weights of BT.601 at full range: 0.299, -0.169, 0.5.
        let [red, green, blue] = Conversion::new(6, true, 8).rgb(76, 85, 255);
        assert!(red >= 253 && green <= 2 && blue <= 2, "{red} {green} {blue}");
        assert_eq!(Conversion::new(0, true, 8).rgb(2, 3, 1), [1, 2, 3]);
    }
}
