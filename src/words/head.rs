//! The classifier of a network, for embeddings that are there already.

use sha2::{Digest, Sha256};

use super::table::TopLabels;

/// The last layer of a classifier: labels × numbers in an embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    dim: usize,
    /// A row a label.
    weights: Vec<f32>,
    /// A number a label.
    bias: Vec<f32>,
}

impl Head {
    /// Takes the layer apart from its network; `None` where the sizes do not fit together, or a number is none.
    pub fn new(dim: usize, weights: Vec<f32>, bias: Vec<f32>) -> Option<Self> {
        let is_whole = dim > 0 && bias.len().checked_mul(dim) == Some(weights.len()) && !bias.is_empty();
        let is_finite = weights.iter().chain(&bias).all(|value| value.is_finite());
        let few = bias.len() <= usize::from(u16::MAX);
        (is_whole && is_finite && few).then_some(Self { dim, weights, bias })
    }

    /// Numbers in the embeddings that it takes.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Labels that it knows.
    pub fn labels(&self) -> usize {
        self.bias.len()
    }

    /// Returns a number that another classifier does not have.
    pub fn fingerprint(&self) -> u64 {
        let mut sha = Sha256::new();
        self.weights.iter().chain(&self.bias).for_each(|value| sha.update(value.to_le_bytes()));
        let digest = sha.finalize();
        digest.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    /// Returns the likeliest labels of a photo.
    ///
    /// # Panics
    /// Where the embedding is of another length than the network's.
    pub fn top_labels(&self, embedding: &[f32]) -> TopLabels {
        assert_eq!(embedding.len(), self.dim, "the embedding is another network's");
        let rows = self.weights.chunks_exact(self.dim);
        let mut logits: Vec<f32> =
            rows.zip(&self.bias).map(|(row, bias)| dot(row, embedding) + bias).collect();
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        logits.iter_mut().for_each(|logit| *logit = (*logit - greatest).exp());
        let sum: f32 = logits.iter().sum();
        TopLabels::of(logits.iter().map(|value| value / sum))
    }
}

/// Sums in eight lanes, so that the compiler can compute them at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_labels_are_those_of_the_softmax() {
        // Logits of three labels: 2x + 1, 9y, x + y.
        let weights = [2.0, 0.0, 0.0, 9.0, 1.0, 1.0].to_vec();
        let head = Head::new(2, weights, vec![1.0, 0.0, 0.0]).unwrap();
        let top = head.top_labels(&[1.0, 0.5]);
        let found: Vec<(u16, f32)> = top.iter().collect();
        let total = 3_f32.exp() + 4.5_f32.exp() + 1.5_f32.exp();
        let expected = [(1, 4.5_f32.exp() / total), (0, 3_f32.exp() / total), (2, 1.5_f32.exp() / total)];
        assert_eq!(found.len(), 3);
        for ((label, likely), (expected_label, expected)) in found.iter().zip(expected) {
            assert_eq!(*label, expected_label);
            assert!((likely - expected).abs() < 1e-4, "{likely} instead of {expected}");
        }
    }

    #[test]
    fn a_layer_of_other_sizes_is_none() {
        assert!(Head::new(2, vec![0.0; 5], vec![0.0; 3]).is_none());
        assert!(Head::new(0, vec![], vec![]).is_none());
        assert!(Head::new(1, vec![f32::NAN], vec![0.0]).is_none());
    }
}
