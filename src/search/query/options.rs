//! What is wanted of a search.

use std::fmt;

use crate::photo::{Metric, PhotoId};
use crate::search::error::SearchError;
use crate::search::filter::PhotoSet;
use crate::search::kernels;

/// What is wanted of a search.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many neighbors at most.
    pub k: usize,
    /// What "near" means.
    pub metric: Metric,
    /// Nothing farther than this is returned.
    pub max_distance: Option<f32>,
    /// Compare the query with the full vector of every photo, read from the store however long that takes.
    pub exact: bool,
    /// Only photos of this set are considered.
    pub filter: Option<&'a PhotoSet>,
    /// Asked between pieces of work: some thousand codes, or the full vectors of a piece, which take a millisecond in memory and
    /// as long as the disk takes where they are read from it. Once it says true, the search ends with
    /// [`SearchError::Cancelled`].
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl Options<'_> {
    /// The `k` nearest, nothing left out.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, max_distance: None, exact: false, filter: None, cancelled: None }
    }

    #[inline]
    pub(in crate::search) fn accepts(&self, id: PhotoId) -> bool {
        self.filter.is_none_or(|filter| filter.contains(id))
    }

    pub(in crate::search) fn check_cancelled(&self) -> Result<(), SearchError> {
        if self.cancelled.is_some_and(|cancelled| cancelled()) { Err(SearchError::Cancelled) } else { Ok(()) }
    }

    pub(in crate::search) fn limit(&self) -> f32 {
        self.max_distance.unwrap_or(f32::INFINITY)
    }
}

/// Returns how far from 0 the distance of two embeddings of one picture may be. Where a number lies between two of half
/// precision, in which embeddings are kept, it may become either: they are 2^-10 of it apart at the most, which moves the
/// vector by as much of its length. To the cosine that is less than the square of it, 1e-6.
pub fn rounding(metric: Metric, query: &[f32]) -> f32 {
    const STEP: f32 = 1.0 / 1024.0;
    const IN_COSINE: f32 = 1e-6;
    match metric {
        Metric::Cosine => IN_COSINE,
        Metric::L2 => kernels::norm(query).unwrap_or(0.0) * STEP,
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("k", &self.k)
            .field("metric", &self.metric)
            .field("max_distance", &self.max_distance)
            .field("exact", &self.exact)
            .field("filtered", &self.filter.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::search::query::Scorer;

    #[test]
    fn a_picture_whose_numbers_were_all_rounded_the_other_way_is_within_0_and_the_rounding() {
        let number = |at: u32| f16::from_f32(((at * 7919) % 997) as f32 / 100.0 - 4.0);
        let one: Vec<f32> = (0..1280).map(|at| number(at).to_f32()).collect();
        let other: Vec<f32> = (0..1280).map(|at| f16::from_bits(number(at).to_bits() ^ 1).to_f32()).collect();
        let inverse_norm = kernels::inverse_norm(kernels::norm(&other).unwrap());
        for metric in [Metric::Cosine, Metric::L2] {
            let scorer = Scorer::new(&one, one.len(), metric).unwrap();
            let within = |limit| scorer.distance_within(&other, inverse_norm, limit).is_some();
            assert!(!within(0.0) && within(rounding(metric, &one)), "{metric:?}");
            assert!(!within(rounding(metric, &one) / 10.0), "{metric:?}: it is no wider than it must be");
        }
    }
}
