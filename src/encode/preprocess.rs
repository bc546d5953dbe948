//! From a picture to the numbers an image network reads: the [`Square`] that it looks at, divided by 255 and normalised
//! by channel. Pure computation, on whichever thread the caller likes.

use crate::decode::{DecodeError, Square};
use crate::models::Preprocessing;
use crate::photo::Rgb;

impl Preprocessing {
    /// Returns what of a photo the network looks at.
    pub fn square(&self) -> Square {
        Square {
            resize_short_side: self.resize_short_side,
            side: self.crop,
            squash: self.squash,
            resampling: self.resampling,
        }
    }

    /// Makes numbers of that square.
    pub fn input(&self, square: &Rgb) -> Input {
        let (pixels, _) = square.pixels.as_chunks::<3>();
        let mut values = Vec::with_capacity(3 * pixels.len());
        for (channel, (mean, std)) in self.mean.iter().zip(&self.std).enumerate() {
            let table: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std);
            values.extend(pixels.iter().map(|pixel| table[usize::from(pixel[channel])]));
        }
        Input { side: square.width, values }
    }
}

/// One photo as a network reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Rows and columns.
    pub side: u32,
    /// `3 * side * side` numbers: all rows of red, then green, then blue (NCHW of a batch of one).
    pub values: Vec<f32>,
}

impl Input {
    /// Returns it turned clockwise by a quarter. As the square is from the middle, that is what a turned picture gives.
    pub fn turned(&self) -> Self {
        let side = self.side as usize;
        let planes = self.values.chunks_exact((side * side).max(1));
        // What stood at the bottom of a column begins its row.
        let turn = |plane: &[f32]| -> Vec<f32> {
            (0..side * side).map(|at| plane[(side - 1 - at % side) * side + at / side]).collect()
        };
        Self { side: self.side, values: planes.flat_map(turn).collect() }
    }
}

/// Preprocesses one picture: cuts the square out and makes numbers of it.
///
/// # Errors
/// See [`Square::cut_from`].
pub fn preprocess(image: &Rgb, preprocessing: &Preprocessing) -> Result<Input, DecodeError> {
    preprocessing.square().cut_from(image).map(|square| preprocessing.input(&square))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mobilenet() -> Preprocessing {
        Preprocessing {
            resize_short_side: 256,
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            squash: false,
            resampling: Default::default(),
        }
    }

    #[test]
    fn an_input_is_turned_as_its_picture_is() {
        let preprocessing = Preprocessing {
            resize_short_side: 3,
            crop: 3,
            mean: [0.0; 3],
            std: [1.0, 0.5, 0.25],
            squash: false,
            resampling: Default::default(),
        };
        let square = |at: fn(usize, usize) -> (usize, usize)| Rgb {
            width: 3,
            height: 3,
            pixels: (0..9)
                .map(|place| at(place % 3, place / 3))
                .flat_map(|(x, y)| [x, y, x + 3 * y].map(|level| level as u8))
                .collect(),
        };
        let input = preprocessing.input(&square(|x, y| (x, y)));
        // The left column, from its foot up, is the first row.
        let turned = preprocessing.input(&square(|x, y| (y, 2 - x)));
        assert_eq!(input.turned(), turned);
        assert_eq!(input.turned().turned().turned().turned(), input);
        assert_ne!(input.turned().turned(), input);
    }

    #[test]
    fn numbers_are_by_channel_then_row_then_column() {
        let preprocessing = Preprocessing {
            resize_short_side: 2,
            crop: 2,
            mean: [0.0; 3],
            std: [1.0, 0.5, 0.25],
            squash: false,
            resampling: Default::default(),
        };
        let square = Rgb { width: 2, height: 2, pixels: vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 51] };
        let input = preprocessing.input(&square);
        assert_eq!(input.side, 2);
        assert_eq!(input.values, [1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 4.0, 0.8]);
    }

    #[test]
    fn a_flat_picture_gives_flat_numbers() {
        let image = Rgb { width: 300, height: 400, pixels: [255, 0, 51].repeat(300 * 400) };
        let input = preprocess(&image, &mobilenet()).unwrap();
        assert_eq!(input.side, 224);
        assert_eq!(input.values.len(), 3 * 224 * 224);
        let expected = [(1.0 - 0.485) / 0.229, (0.0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225];
        for (channel, expected) in input.values.chunks_exact(224 * 224).zip(expected) {
            assert!(channel.iter().all(|value| (value - expected).abs() < 1e-6), "{}", channel[0]);
        }
    }
}
