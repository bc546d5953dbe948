//! Turning a picture upright: the eight EXIF orientations.

use crate::photo::Rgb;

/// How the stored pixels must be turned to stand upright. The numbers are those of the EXIF tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Orientation {
    #[default]
    Upright = 1,
    FlipHorizontal = 2,
    Rotate180 = 3,
    FlipVertical = 4,
    Transpose = 5,
    Rotate90 = 6,
    Transverse = 7,
    Rotate270 = 8,
}

impl Orientation {
    /// Reads the value of the EXIF tag. Cameras write 0 for "unknown"; that and nonsense count as upright.
    pub(super) fn from_exif(value: u32) -> Self {
        match value {
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => Self::Upright,
        }
    }

    /// Says whether width and height change places.
    pub(super) fn swaps_sides(self) -> bool {
        matches!(self, Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270)
    }

    /// Returns the upright width and height of a stored picture.
    pub(super) fn upright_size(self, width: u32, height: u32) -> (u32, u32) {
        if self.swaps_sides() { (height, width) } else { (width, height) }
    }

    /// Turns the picture upright.
    pub(super) fn apply(self, image: Rgb) -> Rgb {
        let (width, height) = (image.width as usize, image.height as usize);
        if width == 0 || height == 0 {
            return image;
        }
        match self {
            Self::Upright => image,
            Self::FlipHorizontal => {
                let mut image = image;
                for row in image.pixels.chunks_exact_mut(width * 3) {
                    reverse_pixels(row);
                }
                image
            }
            Self::Rotate180 => {
                let mut image = image;
                reverse_pixels(&mut image.pixels);
                image
            }
            Self::FlipVertical => {
                let mut image = image;
                let mut rows = image.pixels.chunks_exact_mut(width * 3);
                while let (Some(top), Some(bottom)) = (rows.next(), rows.next_back()) {
                    top.swap_with_slice(bottom);
                }
                image
            }
            Self::Transpose => turned(&image, |x, y| (y, x)),
            Self::Rotate90 => turned(&image, |x, y| (y, height - 1 - x)),
            Self::Transverse => turned(&image, |x, y| (width - 1 - y, height - 1 - x)),
            Self::Rotate270 => turned(&image, |x, y| (width - 1 - y, x)),
        }
    }
}

fn reverse_pixels(pixels: &mut [u8]) {
    let (pixels, _) = pixels.as_chunks_mut::<3>();
    pixels.reverse();
}

/// Builds the picture with swapped sides whose pixel (x, y) is the pixel `source(x, y)` of `image`. It goes
/// in squares, since one of the two pictures is always walked against its rows.
fn turned(image: &Rgb, source: impl Fn(usize, usize) -> (usize, usize)) -> Rgb {
    const SQUARE: usize = 32;
    let (width, height) = (image.height as usize, image.width as usize);
    let (from, _) = image.pixels.as_chunks::<3>();
    let mut pixels = vec![0; image.pixels.len()];
    let (to, _) = pixels.as_chunks_mut::<3>();
    for top in (0..height).step_by(SQUARE) {
        for left in (0..width).step_by(SQUARE) {
            for y in top..height.min(top + SQUARE) {
                for x in left..width.min(left + SQUARE) {
                    let (from_x, from_y) = source(x, y);
                    to[y * width + x] = from[from_y * height + from_x];
                }
            }
        }
    }
    Rgb { width: image.height, height: image.width, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3x2, each pixel its letter: `abc` over `def`.
    fn letters() -> Rgb {
        Rgb { width: 3, height: 2, pixels: b"abcdef".iter().flat_map(|&letter| [letter; 3]).collect() }
    }

    #[test]
    fn each_orientation_turns_the_picture_as_the_exif_table_says() {
        let check = |value: u32, width: u32, expected: &str| {
            let turned = Orientation::from_exif(value).apply(letters());
            let read: Vec<u8> = turned.pixels.chunks_exact(3).map(|pixel| pixel[0]).collect();
            assert_eq!((turned.width, std::str::from_utf8(&read).unwrap()), (width, expected), "{value}");
        };
        check(0, 3, "abcdef");
        check(1, 3, "abcdef");
        check(2, 3, "cbafed");
        check(3, 3, "fedcba");
        check(4, 3, "defabc");
        check(5, 2, "adbecf");
        check(6, 2, "daebfc");
        check(7, 2, "fcebda");
        check(8, 2, "cfbead");
        check(9, 3, "abcdef");
    }
}
