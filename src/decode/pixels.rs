//! Any kind of pixel -> 8-bit RGB.

use image::DynamicImage;

use crate::photo::Rgb;

/// Drops what the eye does not need: 16 bits and floats become 8, grey becomes RGB, and what is transparent
/// lies on white, as on paper.
pub(super) fn to_rgb(image: DynamicImage) -> Rgb {
    let (width, height) = (image.width(), image.height());
    let pixels = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        image if image.color().has_alpha() => over_white(&image.into_rgba8()),
        image => image.into_rgb8().into_raw(),
    };
    Rgb { width, height, pixels }
}

fn over_white(rgba: &[u8]) -> Vec<u8> {
    let (pixels, _) = rgba.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    for &[red, green, blue, alpha] in pixels {
        let blend = |value: u8| {
            let sum = u32::from(value) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
            ((sum + 127) / 255) as u8
        };
        rgb.extend([blend(red), blend(green), blend(blue)]);
    }
    rgb
}

/// Converts ink (0 none, 255 full) to light the plain way, without a profile.
pub(super) fn cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let (pixels, _) = cmyk.as_chunks::<4>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    for &[cyan, magenta, yellow, black] in pixels {
        let light = |ink: u8| ((255 - u32::from(ink)) * (255 - u32::from(black)) + 127) / 255;
        rgb.extend([cyan, magenta, yellow].map(|ink| light(ink) as u8));
    }
    rgb
}

/// Writes each grey value three times.
pub(super) fn grey_to_rgb(grey: &[u8]) -> Vec<u8> {
    grey.iter().flat_map(|&value| [value; 3]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transparent_lies_on_white() {
        assert_eq!(
            over_white(&[10, 20, 30, 0, 10, 20, 30, 255, 0, 0, 0, 128]),
            [255, 255, 255, 10, 20, 30, 127, 127, 127]
        );
    }

    #[test]
    fn ink_becomes_light() {
        assert_eq!(
            cmyk_to_rgb(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255]),
            [255, 255, 255, 0, 255, 255, 0, 0, 0]
        );
    }
}
