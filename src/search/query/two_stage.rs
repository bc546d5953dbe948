//! A large library: codes name the candidates, full vectors decide (`rescore`).
//!
//! All coarse codes are scanned for a shortlist of some thousands; the whole codes of the shortlist are read for some hundred
//! candidates; how many of those are rescored is decided by their lower bounds.
//!
//! Invariant: [`within`] misses nothing. Rows are left out only where their code proves them to be farther.

use super::nearest::{Nearest, Neighbor};
use super::options::Options;
use super::rescore::{self, Candidate, rescore};
use super::scorer::Scorer;
use super::shortlist::{RankedRow, RowAddress, Shortlist};
use crate::photo::PhotoId;
use crate::search::code::{CoarseCode, EncodedQuery};
use crate::search::error::SearchError;
use crate::search::filter::PhotoSet;
use crate::search::fitted::{max_candidates, shortlisted};
use crate::search::pool::in_parallel;
use crate::search::rows::{CodeRows, CodedLibrary};

/// Rows whose whole code is judged at once by one thread.
const ESTIMATED_AT_ONCE: usize = 256;
/// What judging one row by its whole code costs, in bytes of scanning: it lies where no other does.
const BYTES_AN_ESTIMATE: usize = 512;

/// Returns the nearest rows. What is returned has its true distance; a row may be missing.
pub fn nearest(
    library: CodedLibrary<'_>,
    query: &EncodedQuery,
    scorer: &Scorer,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let len = options.filter.map_or(usize::MAX, PhotoSet::len).min(library.rows.len());
    let wanted = max_candidates(options.k.min(len), len);
    if len <= wanted {
        return nearest_of_few(library, wanted, scorer, options);
    }
    let mut shortlist = shortlist(library.rows, query, shortlisted(wanted, len), options)?;
    // By address, so that what is read lies in one direction.
    shortlist.sort_unstable();
    let pieces: Vec<&[RowAddress]> = shortlist.chunks(ESTIMATED_AT_ONCE).collect();
    let parts = in_parallel(pieces.len(), shortlist.len() * BYTES_AN_ESTIMATE, |next| {
        let (mut candidates, mut codes, mut estimates) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(piece) = next() {
            codes.clear();
            codes.extend(pieces[piece].iter().map(|address| {
                let chunk = &library.rows.chunks()[address.chunk()];
                (&chunk.values()[address.row()], &chunk.notes()[address.row()])
            }));
            estimates.clear();
            query.estimate(&codes, &mut estimates);
            candidates.extend(pieces[piece].iter().zip(&estimates).map(|(&address, estimated)| Candidate {
                ranked: RankedRow::new(estimated.estimate, address),
                lower_bound: estimated.lower_bound,
            }));
        }
        Ok(candidates)
    })?;
    let mut candidates = parts.concat();
    if candidates.len() > wanted {
        candidates.select_nth_unstable_by_key(wanted - 1, |candidate| candidate.ranked);
        candidates.truncate(wanted);
    }
    candidates.sort_unstable_by_key(|candidate| candidate.ranked);
    rescore::best_of(library, &candidates, query, scorer, options)
}

/// Compares all that may be found with full vectors, since they are no more than the candidates would be.
fn nearest_of_few(
    library: CodedLibrary<'_>,
    wanted: usize,
    scorer: &Scorer,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let ids: Vec<PhotoId> = match options.filter {
        Some(few) if few.len() <= wanted => few.iter().filter(|&id| library.rows.get(id).is_some()).collect(),
        _ => {
            let all = library.rows.chunks().iter().flat_map(|chunk| chunk.ids());
            all.copied().filter(|&id| options.accepts(id)).collect()
        }
    };
    let mut nearest = Nearest::new(options.k, options.limit());
    rescore(library.vectors, &ids, scorer, options, &mut nearest)?;
    Ok(nearest.into_sorted())
}

/// Returns the nearest `k` of all rows within `limit`.
pub fn within(
    library: CodedLibrary<'_>,
    query: &EncodedQuery,
    scorer: &Scorer,
    options: &Options<'_>,
    limit: f32,
) -> Result<Vec<Neighbor>, SearchError> {
    // Where only some are wanted, what is farther than as many that were found need not be looked at.
    let limit = if options.k < library.rows.len() {
        let found = nearest(library, query, scorer, options)?;
        found.last().filter(|_| found.len() == options.k).map_or(limit, |last| last.distance)
    } else {
        limit
    };
    let chunks = library.rows.chunks();
    let parts = in_parallel(chunks.len(), coarse_bytes(library.rows), |next| {
        let (mut ids, mut excesses) = (Vec::new(), Vec::new());
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &chunks[place];
            excesses.resize(chunk.ids().len(), 0.0);
            query.excess_over(limit, chunk.values(), &mut excesses);
            let rows = chunk.ids().iter().zip(chunk.values()).zip(chunk.notes());
            for (((&id, coarse), fine), &excess) in rows.zip(&excesses) {
                if excess <= 0.0 && query.may_be_within(limit, coarse, fine) && options.accepts(id) {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    })?;
    let mut ids = parts.concat();
    ids.sort_unstable();
    let mut nearest = Nearest::new(options.k, limit);
    rescore(library.vectors, &ids, scorer, options, &mut nearest)?;
    Ok(nearest.into_sorted())
}

/// Returns the addresses of the `wanted` rows that come first by their coarse codes, in no order.
fn shortlist(
    rows: &CodeRows,
    query: &EncodedQuery,
    wanted: usize,
    options: &Options<'_>,
) -> Result<Vec<RowAddress>, SearchError> {
    let chunks = rows.chunks();
    let parts = in_parallel(chunks.len(), coarse_bytes(rows), |next| {
        let mut shortlist = Shortlist::new(wanted);
        let mut keys = Vec::new();
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &chunks[place];
            keys.resize(chunk.ids().len(), 0.0);
            query.estimate_coarse(chunk.values(), &mut keys);
            let accepts = |row: usize| options.accepts(chunk.ids()[row]);
            let accepts: Option<&dyn Fn(usize) -> bool> = options.filter.is_some().then_some(&accepts);
            shortlist.offer(place, &keys, accepts);
        }
        Ok(shortlist)
    })?;
    Ok(Shortlist::merged(wanted, parts).into_iter().map(RankedRow::address).collect())
}

fn coarse_bytes(rows: &CodeRows) -> usize {
    rows.len() * size_of::<CoarseCode>()
}
