//! Several examples, liked and disliked, as one query vector.

use crate::photo::Metric;
use crate::search::error::SearchError;
use crate::search::kernels;

/// One example and how much it counts: above 0 liked, below 0 disliked.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// Its embedding.
    pub vector: &'a [f32],
    /// Its weight; only the ratios matter.
    pub weight: f32,
}

/// Returns the vector that stands for the examples: photos ordered by their distance to it are ordered by their weighted
/// mean distance to the examples. That is the weighted mean of the cosine similarities for [`Metric::Cosine`], and of the
/// squared distances for [`Metric::L2`] (Rocchio's feedback formula, on vectors of length 1 and as they are).
///
/// # Errors
///
/// [`SearchError::NothingLiked`] where the weights do not add up to more than 0, [`SearchError::WrongDimension`] where the
/// examples are not all of one length, [`SearchError::QueryNotFinite`] where a weight or number is not finite.
pub fn combine(examples: &[Example<'_>], metric: Metric) -> Result<Vec<f32>, SearchError> {
    let total: f32 = examples.iter().map(|example| example.weight).sum();
    if !total.is_finite() {
        return Err(SearchError::QueryNotFinite);
    }
    let Some(first) = examples.first().filter(|_| total > 0.0) else { return Err(SearchError::NothingLiked) };
    let mut combined = vec![0f32; first.vector.len()];
    for example in examples {
        if example.vector.len() != combined.len() {
            return Err(SearchError::WrongDimension {
                expected: combined.len(),
                found: example.vector.len(),
            });
        }
        let length = kernels::norm(example.vector).ok_or(SearchError::QueryNotFinite)?;
        let scale = match metric {
            Metric::L2 => example.weight / total,
            Metric::Cosine => example.weight / total * kernels::inverse_norm(length),
        };
        combined.iter_mut().zip(example.vector).for_each(|(sum, x)| *sum += scale * x);
    }
    Ok(combined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::photo::PhotoId;
    use crate::search::{Index, Options};

    fn vector() -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec((-20i8..=20).prop_map(f32::from), 4)
            .prop_filter("a direction", |v| v.iter().any(|&x| x != 0.0))
    }

    fn squared(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    proptest! {
        #[test]
        fn photos_come_in_the_order_of_their_mean_distance_to_the_examples(
            photos in prop::collection::vec(vector(), 2..20),
            liked in prop::collection::vec((vector(), 1u8..5), 1..4),
            disliked in prop::collection::vec((vector(), 1u8..3), 0..3),
            l2 in any::<bool>(),
        ) {
            let metric = if l2 { Metric::L2 } else { Metric::Cosine };
            let examples: Vec<Example<'_>> = liked.iter().map(|(v, w)| (v, f32::from(*w)))
                .chain(disliked.iter().map(|(v, w)| (v, -f32::from(*w))))
                .map(|(vector, weight)| Example { vector, weight })
                .collect();
            let total: f32 = examples.iter().map(|e| e.weight).sum();
            let Ok(query) = combine(&examples, metric) else {
                prop_assert!(total <= 0.0);
                return Ok(());
            };
            let mean = |photo: &[f32]| examples.iter().map(|e| f64::from(e.weight / total) * match metric {
                Metric::L2 => squared(e.vector, photo),
                Metric::Cosine => 1.0 - cosine(e.vector, photo),
            }).sum::<f64>();
            // Nothing is nearer than something else to a query that has no direction left.
            prop_assume!(l2 || squared(&query, &[0.0; 4]) > 1e-6);
            let index = Index::new(4);
            index.apply((0..).map(PhotoId).zip(photos.iter().map(Vec::as_slice)), &[]).unwrap();
            let found = index.snapshot().nearest(&query, &Options::new(photos.len(), metric)).unwrap();
            prop_assert_eq!(found.len(), photos.len());
            let means: Vec<f64> = found.iter().map(|n| mean(&photos[n.id.0 as usize])).collect();
            prop_assert!(means.windows(2).all(|pair| pair[0] <= pair[1] + 1e-4 * (1.0 + pair[1].abs())), "{means:?}");
        }
    }

    #[test]
    fn examples_that_say_nothing_are_refused() {
        let like = Example { vector: &[1.0, 0.0], weight: 1.0 };
        let refused = |examples: &[Example<'_>]| combine(examples, Metric::L2).unwrap_err();
        assert!(matches!(refused(&[]), SearchError::NothingLiked));
        assert!(matches!(refused(&[like, Example { weight: -1.0, ..like }]), SearchError::NothingLiked));
        assert!(matches!(refused(&[Example { weight: f32::NAN, ..like }]), SearchError::QueryNotFinite));
        let longer = Example { vector: &[1.0, 0.0, 0.0], weight: 1.0 };
        assert!(matches!(refused(&[like, longer]), SearchError::WrongDimension { expected: 2, found: 3 }));
    }
}
