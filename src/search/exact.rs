//! The exact answer: every full vector is read and compared, without a look at the sketches.

use super::error::SearchError;
use super::nearest::{Nearest, Neighbor};
use super::pool::{in_background, in_parallel};
use super::probe::Probe;
use super::scan::Options;
use super::two_stage::Library;
use crate::photo::PhotoId;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// Somebody waits for the answer.
    Query,
    /// Nobody does.
    Background,
}

/// Returns the nearest neighbours of each probe. Reads every vector once, whatever the number of probes.
pub(super) fn nearest(
    library: Library<'_>,
    probes: &[Probe],
    options: &Options<'_>,
    haste: Haste,
) -> Result<Vec<Vec<Neighbor>>, SearchError> {
    let empty = || probes.iter().map(|_| Nearest::new(options.k, options.limit())).collect::<Vec<_>>();
    let chunks = library.rows.chunks();
    let work = |next: &dyn Fn() -> Option<usize>| {
        let mut nearest = empty();
        while let Some(place) = next() {
            options.check_cancelled()?;
            let ids: Vec<PhotoId> =
                chunks[place].ids().iter().copied().filter(|&id| options.accepts(id)).collect();
            let mut visit = |id, vector: &[f32]| {
                for (nearest, probe) in nearest.iter_mut().zip(probes) {
                    nearest.offer(Neighbor { id, distance: probe.distance(vector) });
                }
            };
            library.vectors.fetch(&ids, &mut visit).map_err(SearchError::Vectors)?;
        }
        Ok(nearest)
    };
    let parts = match haste {
        Haste::Query => in_parallel(chunks.len(), usize::MAX, work),
        Haste::Background => in_background(chunks.len(), work),
    }?;
    let mut all = empty();
    for part in parts {
        all.iter_mut().zip(part).for_each(|(all, part)| all.absorb(part));
    }
    Ok(all.into_iter().map(Nearest::into_sorted).collect())
}
