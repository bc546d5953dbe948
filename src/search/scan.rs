//! Reading every row: the exact answer, on as many cores as are worth waking.

use std::fmt;

use super::chunks::Chunks;
use super::error::SearchError;
use super::nearest::{Nearest, Neighbor};
use super::photo_set::PhotoSet;
use super::pool::in_parallel;
use super::probe::Probe;
use crate::photo::{Metric, PhotoId};

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
    /// Asked every few hundred microseconds; once it says true, the search ends with [`SearchError::Cancelled`].
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl Options<'_> {
    /// The `k` nearest, nothing left out.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, max_distance: None, exact: false, filter: None, cancelled: None }
    }

    #[inline]
    pub(super) fn accepts(&self, id: PhotoId) -> bool {
        self.filter.is_none_or(|filter| filter.contains(id))
    }

    pub(super) fn check_cancelled(&self) -> Result<(), SearchError> {
        if self.cancelled.is_some_and(|cancelled| cancelled()) { Err(SearchError::Cancelled) } else { Ok(()) }
    }

    pub(super) fn limit(&self) -> f32 {
        self.max_distance.unwrap_or(f32::INFINITY)
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

/// Full vectors; each noted with the factor that brings it to length 1.
pub(super) type FullRows = Chunks<f32, f32>;

/// Returns the nearest rows by comparing the probe with all of them.
pub(super) fn scan(
    rows: &FullRows,
    probe: &Probe,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let bytes = rows.chunks().iter().map(|chunk| size_of_val(chunk.values())).sum();
    let parts = in_parallel(rows.chunks().len(), bytes, |next| {
        let mut nearest = Nearest::new(options.k, options.limit());
        let mut distances = Vec::new();
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &rows.chunks()[place];
            distances.resize(chunk.ids().len(), 0.0);
            probe.distances(chunk.values(), chunk.notes(), &mut distances);
            for (&id, &distance) in chunk.ids().iter().zip(&distances) {
                if distance <= nearest.bound() && options.accepts(id) {
                    nearest.offer(Neighbor { id, distance });
                }
            }
        }
        Ok(nearest)
    })?;
    let mut nearest = Nearest::new(options.k, options.limit());
    parts.into_iter().for_each(|part| nearest.absorb(part));
    Ok(nearest.into_sorted())
}
