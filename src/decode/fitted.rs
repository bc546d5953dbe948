//! The whole picture, scaled down until it fits: what people look at.

use fast_image_resize::Resizer;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;

use super::DecodeError;
use crate::photo::Rgb;

/// Scales a picture down until its longer side is at most `longest_side`; a smaller one stays as it is.
pub(super) fn fit(image: Rgb, longest_side: u32) -> Result<Rgb, DecodeError> {
    let longest = image.width.max(image.height);
    if longest <= longest_side {
        return Ok(image);
    }
    let scaled =
        |side: u32| (u64::from(side) * u64::from(longest_side)).div_ceil(u64::from(longest)).max(1) as u32;
    let (width, height) = (scaled(image.width), scaled(image.height));
    resized(&image, width, height)
        .map_err(|error| DecodeError::Crashed { reason: format!("it cannot be resized: {error}") })
}

fn resized(image: &Rgb, width: u32, height: u32) -> Result<Rgb, Box<dyn std::error::Error>> {
    let source = TypedImageRef::<U8x3>::from_buffer(image.width, image.height, &image.pixels)?;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut pixels)?;
    Resizer::new().resize_typed(&source, &mut target, None)?;
    Ok(Rgb { width, height, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_as_long_as_asked_and_no_picture_is_enlarged() {
        let check = |(width, height), expected| {
            let image = Rgb { width, height, pixels: vec![90; (width * height * 3) as usize] };
            let fitted = fit(image, 100).unwrap();
            assert_eq!((fitted.width, fitted.height), expected);
            assert_eq!(fitted.pixels, vec![90; (expected.0 * expected.1 * 3) as usize]);
        };
        check((960, 480), (100, 50));
        check((480, 960), (50, 100));
        check((100, 100), (100, 100));
        check((7, 3), (7, 3));
        check((3000, 1), (100, 1));
    }
}
