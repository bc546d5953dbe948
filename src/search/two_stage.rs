//! The search of a large library: sketches name the candidates, full vectors decide.
//!
//! Invariant: [`within`] misses nothing. Rows are left out only where their sketch proves them to be farther.

use super::chunks::Chunks;
use super::error::SearchError;
use super::estimate::Target;
use super::nearest::{Nearest, Neighbor};
use super::photo_set::PhotoSet;
use super::pool::in_parallel;
use super::probe::Probe;
use super::scan::Options;
use super::shortlist::{Place, Ranked, Shortlist};
use super::sketch::{Lead, Rest};
use super::vectors::Vectors;
use crate::photo::PhotoId;

/// The sketches of a library, and the way to its full vectors.
#[derive(Clone, Copy)]
pub(super) struct Library<'a> {
    pub rows: &'a SketchRows,
    pub vectors: &'a dyn Vectors,
}

/// One sketch a row: what is read of every row as its value, what is read of the better ones as its note.
pub(super) type SketchRows = Chunks<Lead, Rest>;

/// Full vectors read at once by one thread.
const FETCHED_AT_ONCE: usize = 16;
/// Full vectors that are compared before it is asked anew whether the others can still be near.
const DECIDED_AT_ONCE: usize = 128;
/// Rows judged at once by one thread.
const REFINED_AT_ONCE: usize = 256;
/// What judging one row by its whole sketch costs, in bytes of scanning: it lies where no other does.
const BYTES_A_REFINEMENT: usize = 512;
/// What reading one full vector costs, in bytes of scanning.
const BYTES_A_FETCH: usize = 48 << 10;

/// Candidates that may be compared with full vectors, at the most: how many are is decided by their estimates.
fn candidates(k: usize, len: usize) -> usize {
    k.saturating_mul(2).saturating_add(180 + (len / 5000).min(300))
}

/// Rows that are judged by their whole sketch, out of those judged by its lead. Of 15,000 neighbours among 10,000 photos, five
/// are beyond the first 1000 by their leads; the farthest one ever seen was the 2392nd.
fn shortlisted(candidates: usize, len: usize) -> usize {
    candidates.saturating_mul(4).max(3000).max(len / 100)
}

/// Returns the nearest rows. What is returned has its true distance; a row may be missing.
pub(super) fn nearest(
    library: Library<'_>,
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let len = options.filter.map_or(usize::MAX, PhotoSet::len).min(library.rows.len());
    let wanted = candidates(options.k.min(len), len);
    if len <= wanted {
        let ids: Vec<PhotoId> = match options.filter {
            Some(few) if few.len() <= wanted => {
                few.iter().filter(|&id| library.rows.get(id).is_some()).collect()
            }
            _ => {
                let all = library.rows.chunks().iter().flat_map(|chunk| chunk.ids());
                all.copied().filter(|&id| options.accepts(id)).collect()
            }
        };
        let mut nearest = Nearest::new(options.k, options.limit());
        decide(library.vectors, &ids, probe, options, &mut nearest)?;
        return Ok(nearest.into_sorted());
    }
    let mut shortlist = shortlist(library.rows, target, shortlisted(wanted, len), options)?;
    // By place, so that what is read lies in one direction.
    shortlist.sort_unstable();
    let pieces: Vec<&[Place]> = shortlist.chunks(REFINED_AT_ONCE).collect();
    let parts = in_parallel(pieces.len(), shortlist.len() * BYTES_A_REFINEMENT, |next| {
        let (mut refined, mut sketches, mut estimates) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(piece) = next() {
            sketches.clear();
            sketches.extend(pieces[piece].iter().map(|place| {
                let chunk = &library.rows.chunks()[place.chunk()];
                (&chunk.values()[place.row()], &chunk.notes()[place.row()])
            }));
            estimates.clear();
            target.refine(&sketches, &mut estimates);
            let candidates = pieces[piece].iter().zip(&estimates);
            refined.extend(candidates.map(|(&place, estimate)| Candidate {
                about: Ranked::new(estimate.about, place),
                least: estimate.least,
            }));
        }
        Ok(refined)
    })?;
    let mut candidates = parts.concat();
    if candidates.len() > wanted {
        candidates.select_nth_unstable_by_key(wanted - 1, |candidate| candidate.about);
        candidates.truncate(wanted);
    }
    candidates.sort_unstable_by_key(|candidate| candidate.about);
    decide_the_best(library, &candidates, target, probe, options)
}

/// Compares candidates, the most promising first, with full vectors, until all that are left are too far even if they
/// are nearer than they seem.
fn decide_the_best(
    library: Library<'_>,
    best: &[Candidate],
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let mut nearest = Nearest::new(options.k, options.limit());
    // About so far the last one will be; until as many have been read, nobody knows better.
    let seems_last = best.get(options.k.saturating_sub(1)).map_or(f32::INFINITY, |last| last.about.key());
    let surely = options.k.saturating_add(options.k / 4 + 6);
    let (first, rest): (Vec<_>, Vec<_>) =
        (0..).zip(best).partition(|(place, candidate)| *place < surely || candidate.least <= seems_last);
    for candidates in [first, rest] {
        let mut candidates = candidates.into_iter();
        loop {
            let bound = target.key(nearest.bound());
            let mut ids: Vec<PhotoId> = candidates
                .by_ref()
                .filter(|(_, candidate)| candidate.least <= bound)
                .take(DECIDED_AT_ONCE)
                .map(|(_, candidate)| {
                    let place = candidate.about.place();
                    library.rows.chunks()[place.chunk()].ids()[place.row()]
                })
                .collect();
            if ids.is_empty() {
                break;
            }
            ids.sort_unstable();
            decide(library.vectors, &ids, probe, options, &mut nearest)?;
        }
    }
    Ok(nearest.into_sorted())
}

/// Returns the nearest `k` of all rows within `limit`.
pub(super) fn within(
    library: Library<'_>,
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
    limit: f32,
) -> Result<Vec<Neighbor>, SearchError> {
    // Where only some are wanted, what is farther than as many that were found need not be looked at.
    let limit = if options.k < library.rows.len() {
        let found = nearest(library, target, probe, options)?;
        found.last().filter(|_| found.len() == options.k).map_or(limit, |last| last.distance)
    } else {
        limit
    };
    let chunks = library.rows.chunks();
    let parts = in_parallel(chunks.len(), bytes(library.rows), |next| {
        let (mut ids, mut beyond) = (Vec::new(), Vec::new());
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &chunks[place];
            beyond.resize(chunk.ids().len(), 0.0);
            target.beyond(limit, chunk.values(), &mut beyond);
            let rows = chunk.ids().iter().zip(chunk.values()).zip(chunk.notes());
            for (((&id, lead), rest), &beyond) in rows.zip(&beyond) {
                if beyond <= 0.0 && target.may_be_within(limit, lead, rest) && options.accepts(id) {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    })?;
    let mut ids = parts.concat();
    ids.sort_unstable();
    let mut nearest = Nearest::new(options.k, limit);
    decide(library.vectors, &ids, probe, options, &mut nearest)?;
    Ok(nearest.into_sorted())
}

/// Compares the probe with the full vectors of these photos, and offers each.
fn decide(
    vectors: &dyn Vectors,
    ids: &[PhotoId],
    probe: &Probe,
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
                    part.offer(Neighbor { id, distance: probe.distance(vector) })
                })
                .map_err(SearchError::Vectors)?;
        }
        Ok(part)
    })?;
    parts.into_iter().for_each(|part| nearest.absorb(part));
    Ok(())
}

/// Returns the places of the `wanted` rows that come first by their leads, in no order.
fn shortlist(
    rows: &SketchRows,
    target: &Target,
    wanted: usize,
    options: &Options<'_>,
) -> Result<Vec<Place>, SearchError> {
    let chunks = rows.chunks();
    let parts = in_parallel(chunks.len(), bytes(rows), |next| {
        let mut shortlist = Shortlist::new(wanted);
        let mut keys = Vec::new();
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &chunks[place];
            keys.resize(chunk.ids().len(), 0.0);
            target.estimate(chunk.values(), &mut keys);
            let accepts = |row: usize| options.accepts(chunk.ids()[row]);
            let accepts: Option<&dyn Fn(usize) -> bool> = options.filter.is_some().then_some(&accepts);
            shortlist.offer(place, &keys, accepts);
        }
        Ok(shortlist)
    })?;
    Ok(Shortlist::merged(wanted, parts).into_iter().map(Ranked::place).collect())
}

fn bytes(rows: &SketchRows) -> usize {
    rows.len() * size_of::<Lead>()
}

/// A row of the shortlist, by what its whole sketch says.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    about: Ranked,
    /// Less than this it is not, as far as the basis knows.
    least: f32,
}
