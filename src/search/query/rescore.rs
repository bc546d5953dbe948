//! Rescoring: candidates are compared with full vectors, the most promising first, until those that are left cannot be near.
//!
//! In: candidates in the order of their estimates, each with a lower bound. Out: the nearest, with true distances.

use super::nearest::{Nearest, Neighbor};
use super::options::Options;
use super::scorer::Scorer;
use super::shortlist::RankedRow;
use crate::photo::PhotoId;
use crate::search::code::EncodedQuery;
use crate::search::error::SearchError;
use crate::search::fitted::always_rescored;
use crate::search::pool::in_parallel;
use crate::search::rows::{CodedLibrary, Vectors};

/// Full vectors read at once by one thread.
const FETCHED_AT_ONCE: usize = 16;
/// Full vectors that are compared before it is asked anew whether the others can still be near.
const RESCORED_AT_ONCE: usize = 128;
/// What reading one full vector costs, in bytes of scanning.
const BYTES_A_FETCH: usize = 48 << 10;

/// A row by what its whole code says, as keys.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// By the estimate of its distance.
    pub ranked: RankedRow,
    /// Less its distance is not, as far as the quantizer knows.
    pub lower_bound: f32,
}

/// Returns the nearest of the candidates, which come in the order of their estimates.
pub fn best_of(
    library: CodedLibrary<'_>,
    candidates: &[Candidate],
    query: &EncodedQuery,
    scorer: &Scorer,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let mut nearest = Nearest::new(options.k, options.limit());
    // As far as this the last one seems to be; until as many have been read, nobody knows better.
    let seems_last =
        candidates.get(options.k.saturating_sub(1)).map_or(f32::INFINITY, |last| last.ranked.key());
    let surely = always_rescored(options.k);
    let (first, others): (Vec<_>, Vec<_>) = (0..)
        .zip(candidates)
        .partition(|(place, candidate)| *place < surely || candidate.lower_bound <= seems_last);
    for candidates in [first, others] {
        let mut candidates = candidates.into_iter();
        loop {
            let bound = query.key(nearest.bound());
            let mut ids: Vec<PhotoId> = candidates
                .by_ref()
                .filter(|(_, candidate)| candidate.lower_bound <= bound)
                .take(RESCORED_AT_ONCE)
                .map(|(_, candidate)| {
                    let row = candidate.ranked.address();
                    library.rows.chunks()[row.chunk()].ids()[row.row()]
                })
                .collect();
            if ids.is_empty() {
                break;
            }
            ids.sort_unstable();
            rescore(library.vectors, &ids, scorer, options, &mut nearest)?;
        }
    }
    Ok(nearest.into_sorted())
}

/// Compares the query with the full vectors of these photos, and offers each. `ids` ascend.
pub fn rescore(
    vectors: &dyn Vectors,
    ids: &[PhotoId],
    scorer: &Scorer,
    options: &Options<'_>,
    nearest: &mut Nearest,
) -> Result<(), SearchError> {
    let pieces: Vec<&[PhotoId]> = ids.chunks(FETCHED_AT_ONCE).collect();
    let parts = in_parallel(pieces.len(), ids.len() * BYTES_A_FETCH, |next| {
        let mut part = Nearest::new(options.k, nearest.bound());
        while let Some(piece) = next() {
            options.check_cancelled()?;
            vectors
                .fetch(pieces[piece], &mut |id, vector| {
                    part.offer(Neighbor { id, distance: scorer.distance(vector) })
                })
                .map_err(SearchError::Vectors)?;
        }
        Ok(part)
    })?;
    parts.into_iter().for_each(|part| nearest.absorb(part));
    Ok(())
}
