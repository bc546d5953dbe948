//! A large library with [`Options::exact`]: every full vector is read from the store and compared, without a look at the codes.

use super::nearest::{Nearest, Neighbor};
use super::options::Options;
use super::scorer::Scorer;
use crate::photo::PhotoId;
use crate::search::error::SearchError;
use crate::search::pool::{in_background, in_parallel};
use crate::search::rows::CodedLibrary;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    Query,
    /// Nobody does.
    Background,
}

/// Returns the nearest neighbors of each query. Reads every vector once, whatever the number of queries.
pub fn nearest(
    library: CodedLibrary<'_>,
    scorers: &[Scorer],
    options: &Options<'_>,
    priority: Priority,
) -> Result<Vec<Vec<Neighbor>>, SearchError> {
    let empty = || scorers.iter().map(|_| Nearest::new(options.k, options.limit())).collect::<Vec<_>>();
    let chunks = library.rows.chunks();
    let work = |next: &dyn Fn() -> Option<usize>| {
        let mut nearest = empty();
        while let Some(place) = next() {
            options.check_cancelled()?;
            let ids: Vec<PhotoId> =
                chunks[place].ids().iter().copied().filter(|&id| options.accepts(id)).collect();
            let mut visit = |id, vector: &[f32]| {
                for (nearest, scorer) in nearest.iter_mut().zip(scorers) {
                    nearest.offer(Neighbor { id, distance: scorer.distance(vector) });
                }
            };
            library.vectors.fetch(&ids, &mut visit).map_err(SearchError::Vectors)?;
        }
        Ok(nearest)
    };
    let parts = match priority {
        Priority::Query => in_parallel(chunks.len(), usize::MAX, work),
        Priority::Background => in_background(chunks.len(), work),
    }?;
    let mut all = empty();
    for part in parts {
        all.iter_mut().zip(part).for_each(|(all, part)| all.absorb(part));
    }
    Ok(all.into_iter().map(Nearest::into_sorted).collect())
}
