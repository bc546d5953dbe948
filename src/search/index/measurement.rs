//! How much of the exact answer a search finds: measured on the library's own photos, in idle time.
//!
//! The exact answer comes from every full vector, without a look at the codes, so that a quantizer that does not suit the
//! library shows, and so do codes that are not of the vectors in the store.

use std::sync::PoisonError;

use super::{Index, Rows, Snapshot};
use crate::photo::{Metric, PhotoId};
use crate::search::error::SearchError;
use crate::search::query::{Options, Priority, Scorer, exact};
use crate::search::recall::Recall;
use crate::search::rows::CodedLibrary;
use crate::search::sampling::spaced_sample;

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
    /// with one turn after another cover all photos. Reads every full vector once, whatever the number of queries, on
    /// threads of the caller's priority. A library kept whole has recall 1 without a measurement.
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
        let (Rows::Coded(_, rows), Some(vectors)) = (&self.rows, &self.vectors) else {
            return Ok(Recall { k, queries: 0, photos: self.len(), share: 1.0 });
        };
        let ids = self.ids_after(None);
        let shift = if ids.is_empty() { 0 } else { turn % ids.len().div_ceil(queries.max(1)) };
        let chosen: Vec<PhotoId> = spaced_sample(&ids[shift..], queries).collect();
        let mut asked = Vec::new();
        self.fetch(&chosen, &mut |_, vector| asked.push(vector.to_vec()))?;
        let scorers: Vec<Scorer> =
            asked.iter().map(|query| Scorer::new(query, self.dim, metric)).collect::<Result<_, _>>()?;
        let library = CodedLibrary { rows, vectors: vectors.as_ref() };
        let exact = exact::nearest(library, &scorers, &options, Priority::Background)?;
        let (mut found, mut expected) = (0, 0);
        for (query, exact) in asked.iter().zip(&exact) {
            found += Recall::found_of(exact, &self.nearest(query, &options)?);
            expected += exact.len();
        }
        let share = if expected == 0 { 1.0 } else { found as f64 / expected as f64 };
        Ok(Recall { k, queries: asked.len(), photos: self.len(), share })
    }
}
