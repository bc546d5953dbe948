//! The encoder for tests: no network, and embeddings that a test can predict.

use super::{EncodeError, Encoder, Input, check_embedding, check_input};
use crate::photo::Embedding;

/// Gives the mean of each colour in each cell of a grid over the photo: rows from the top, cells from the left, red,
/// green and blue for each. Photos of like colours in like places are near to each other.
#[derive(Clone, Debug)]
pub struct FakeEncoder {
    side: u32,
    cells: u32,
}

impl FakeEncoder {
    /// Takes photos of `side` pixels, and lays `cells` by `cells` cells over them; `cells` divides `side`.
    pub fn new(side: u32, cells: u32) -> Self {
        assert!(
            cells > 0 && side > 0 && side.is_multiple_of(cells),
            "{cells} cells do not divide {side} pixels"
        );
        Self { side, cells }
    }

    fn means(&self, photo: &Input) -> Vec<f32> {
        let (side, cells) = (self.side as usize, self.cells as usize);
        let size = side / cells;
        let mut means = vec![0.0; self.dim()];
        for (at, value) in photo.values.iter().enumerate() {
            let (plane, y, x) = (at / (side * side), at / side % side, at % side);
            means[((y / size) * cells + x / size) * 3 + plane] += value / (size * size) as f32;
        }
        means
    }
}

impl Encoder for FakeEncoder {
    fn dim(&self) -> usize {
        3 * (self.cells * self.cells) as usize
    }

    fn side(&self) -> u32 {
        self.side
    }

    fn embed(&mut self, photos: &[Input]) -> Result<Vec<Embedding>, EncodeError> {
        photos
            .iter()
            .map(|photo| {
                check_input(photo, self.side)?;
                check_embedding(self.means(photo))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::contract;

    #[test]
    fn the_fake_encoder_keeps_the_contract() {
        contract::check(&mut FakeEncoder::new(8, 2));
    }

    #[test]
    fn each_cell_gives_its_own_mean_colour() {
        // Two by two pixels, a cell each.
        let values = vec![0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0, 20.0, 21.0, 22.0, 23.0];
        let embedding = FakeEncoder::new(2, 2).embed(&[Input { side: 2, values }]).unwrap().remove(0);
        assert_eq!(embedding.0, [0.0, 10.0, 20.0, 1.0, 11.0, 21.0, 2.0, 12.0, 22.0, 3.0, 13.0, 23.0]);
    }
}
