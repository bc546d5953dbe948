//! Recall@k: the share of the exact answer that a search finds.

use super::query::Neighbor;

/// How much of the exact answer was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recall {
    /// Neighbors asked for.
    pub k: usize,
    /// Photos that were searched for.
    pub queries: usize,
    /// Photos in the library then.
    pub photos: usize,
    /// Share of the exact neighbors that were found, from 0 to 1; 1 where nothing was searched for.
    pub share: f64,
}

impl Recall {
    /// Counts those found that belong to the exact answer. Among equally distant photos, each is as right as the other.
    pub(super) fn found_of(exact: &[Neighbor], found: &[Neighbor]) -> usize {
        let Some(last) = exact.last() else { return 0 };
        found.iter().filter(|neighbor| neighbor.distance <= last.distance).count().min(exact.len())
    }
}
