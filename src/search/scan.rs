//! Reading every row: the exact answer, on as many cores as are worth waking.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::chunks::Chunks;
use super::error::SearchError;
use super::nearest::{Nearest, Neighbor};
use super::probe::Probe;
use crate::photo::{Metric, PhotoId};

/// Bytes to read for which one more thread is started: about as long as starting it takes.
const BYTES_A_THREAD: usize = 1 << 20;

/// What is wanted of a search.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many neighbors at most.
    pub k: usize,
    /// What "near" means.
    pub metric: Metric,
    /// Nothing farther than this is returned.
    pub max_distance: Option<f32>,
    /// Compare the query with the full vector of every photo, however long that takes.
    pub exact: bool,
    /// Only photos it accepts are considered; called from several threads, and not for every photo.
    pub filter: Option<&'a (dyn Fn(PhotoId) -> bool + Sync)>,
    /// Asked every few hundred microseconds; once it says true, the search ends with [`SearchError::Cancelled`].
    pub cancelled: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl Options<'_> {
    /// The `k` nearest, nothing left out.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, max_distance: None, exact: false, filter: None, cancelled: None }
    }

    pub(super) fn accepts(&self, id: PhotoId) -> bool {
        self.filter.is_none_or(|filter| filter(id))
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
                // The filter is the caller's code: it is asked only about rows that would be kept.
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

/// Runs `work` on one thread or several, depending on how much there is to read. Each gets a function that hands out
/// the numbers below `pieces`, each to one of them.
pub(super) fn in_parallel<R: Send>(
    pieces: usize,
    bytes: usize,
    work: impl Fn(&dyn Fn() -> Option<usize>) -> Result<R, SearchError> + Sync,
) -> Result<Vec<R>, SearchError> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (bytes / BYTES_A_THREAD).clamp(1, cores.min(pieces.max(1)));
    let handed_out = AtomicUsize::new(0);
    let next = || Some(handed_out.fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < pieces);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| work(&next))).collect();
        let mut results = vec![work(&next)?];
        for other in others {
            results.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(results)
    })
}
