//! A small library: the query against every full vector in memory, on as many cores as are worth waking. Exact.

use super::nearest::{Nearest, Neighbor};
use super::options::Options;
use super::scorer::Scorer;
use crate::search::error::SearchError;
use crate::search::pool::in_parallel;
use crate::search::rows::FullRows;

/// Returns the nearest rows by comparing the query with all of them.
pub fn nearest(
    rows: &FullRows,
    scorer: &Scorer,
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
            scorer.distances(chunk.values(), chunk.notes(), &mut distances);
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
