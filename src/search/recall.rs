//! How much of the exact answer a search finds: measured on the library's own photos, in idle time.
//!
//! The exact answer is computed from every full vector, without a look at the sketches, so that a basis that does not
//! suit the library shows, and so do sketches that are not of the vectors in the store.

use std::sync::PoisonError;

use super::error::SearchError;
use super::index::{Index, Snapshot};
use super::kernels;
use super::learning::evenly;
use super::nearest::{Nearest, Neighbor};
use super::probe::Probe;
use super::scan::{Options, in_parallel};
use crate::photo::{Metric, PhotoId};

/// Full vectors read at once by one thread.
const FETCHED_AT_ONCE: usize = 256;

/// How much of the exact answer was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// Neighbors asked for.
    pub k: usize,
    /// Photos that were searched for.
    pub queries: usize,
    /// Share of the exact neighbors that were found, from 0 to 1; 1 where nothing was searched for.
    pub share: f64,
}

impl Index {
    /// Measures recall on the index as it is now, and keeps the figure for [`Self::recall`].
    ///
    /// # Errors
    ///
    /// Those of [`Snapshot::sample_recall`].
    pub fn measure_recall(
        &self,
        k: usize,
        metric: Metric,
        queries: usize,
        turn: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Recall, SearchError> {
        let recall = self.snapshot().sample_recall(k, metric, queries, turn, cancelled)?;
        *self.recall.lock().unwrap_or_else(PoisonError::into_inner) = Some(recall);
        Ok(recall)
    }

    /// Returns what [`Self::measure_recall`] found last.
    pub fn recall(&self) -> Option<Recall> {
        *self.recall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// Measures recall@k on `queries` photos spread evenly over the library. `turn` shifts the choice, so that calls
    /// with one turn after another cover all photos. Reads every full vector once, whatever the number of queries.
    ///
    /// # Errors
    ///
    /// Those of [`Self::nearest`].
    pub fn sample_recall(
        &self,
        k: usize,
        metric: Metric,
        queries: usize,
        turn: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Recall, SearchError> {
        let mut options = Options::new(k, metric);
        options.cancelled = Some(cancelled);
        let ids = self.ids();
        let shift = if ids.is_empty() { 0 } else { turn % ids.len().div_ceil(queries.max(1)) };
        let chosen: Vec<PhotoId> = evenly(&ids[shift..], queries).collect();
        let mut vectors = Vec::new();
        self.fetch(&chosen, &mut |_, vector| vectors.push(vector.to_vec()))?;

        let exact = self.nearest_by_reading_all(&ids, &vectors, &options)?;
        let (mut found, mut expected) = (0, 0);
        for (vector, exact) in vectors.iter().zip(exact) {
            let quick = self.nearest(vector, &options)?;
            expected += exact.len();
            // Among equally distant photos, each is as right as the other.
            let right =
                exact.last().map_or(0, |last| quick.iter().filter(|n| n.distance <= last.distance).count());
            found += right.min(exact.len());
        }
        let share = if expected == 0 { 1.0 } else { found as f64 / expected as f64 };
        Ok(Recall { k, queries: vectors.len(), share })
    }

    fn nearest_by_reading_all(
        &self,
        ids: &[PhotoId],
        queries: &[Vec<f32>],
        options: &Options<'_>,
    ) -> Result<Vec<Vec<Neighbor>>, SearchError> {
        let probes: Vec<Probe> = queries
            .iter()
            .map(|query| Probe::new(query, self.dim, options.metric))
            .collect::<Result<_, _>>()?;
        let empty = || probes.iter().map(|_| Nearest::new(options.k, options.limit())).collect::<Vec<_>>();
        let pieces: Vec<&[PhotoId]> = ids.chunks(FETCHED_AT_ONCE).collect();
        let parts = in_parallel(pieces.len(), ids.len() * self.dim * size_of::<f32>(), |next| {
            let mut nearest = empty();
            while let Some(piece) = next() {
                options.check_cancelled()?;
                self.fetch(pieces[piece], &mut |id, vector| {
                    let to_unit = kernels::to_unit(kernels::length(vector).unwrap_or(0.0));
                    for (nearest, probe) in nearest.iter_mut().zip(&probes) {
                        let mut distance = [f32::NAN];
                        probe.distances(vector, &[to_unit], &mut distance);
                        nearest.offer(Neighbor { id, distance: distance[0] });
                    }
                })?;
            }
            Ok(nearest)
        })?;
        let mut all = empty();
        for part in parts {
            all.iter_mut().zip(part).for_each(|(all, part)| all.absorb(part));
        }
        Ok(all.into_iter().map(Nearest::into_sorted).collect())
    }
}
