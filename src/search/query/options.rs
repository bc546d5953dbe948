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

/// Returns how far from 0 the distance of two embeddings of one picture may be: one step of the half precision in which
/// embeddings are kept is 2^-11 of a number, which moves the vector by as much of its length at the most. To the cosine that
/// is less than what the rounding of its sums in `f32` adds.
pub fn rounding(metric: Metric, query: &[f32]) -> f32 {
    const STEP: f32 = 1.0 / 2048.0;
    const OF_SUMS: f32 = 1e-6;
    match metric {
        Metric::Cosine => OF_SUMS,
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
