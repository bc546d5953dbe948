//! The search of a large library: sketches name the candidates, full vectors decide.
//!
//! Invariant: [`within`] misses nothing. Rows are left out only where their sketch proves them to be farther.

use std::cmp::Ordering;

use super::chunks::Chunks;
use super::error::SearchError;
use super::estimate::Target;
use super::nearest::{Nearest, Neighbor};
use super::photo_set::PhotoSet;
use super::pool::in_parallel;
use super::probe::Probe;
use super::scan::Options;
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
/// Rows judged at once by one thread.
const REFINED_AT_ONCE: usize = 1024;
/// What judging one row by its whole sketch costs, in bytes of scanning: it lies where no other does.
const BYTES_A_REFINEMENT: usize = 512;
/// What reading one full vector costs, in bytes of scanning.
const BYTES_A_FETCH: usize = 16 << 10;

/// Candidates that may be compared with full vectors, at the most: how many are is decided by their estimates.
fn candidates(k: usize, len: usize) -> usize {
    k.saturating_mul(2).saturating_add(180 + (len / 5000).min(300))
}

/// Rows that are judged by their whole sketch, out of those judged by its lead. Of 15,000 neighbours among 10,000 photos, five
/// are beyond the first 1000 by their leads, and none beyond the first 2000.
fn shortlisted(candidates: usize, len: usize) -> usize {
    candidates.saturating_mul(4).max(2000).max(len / 100)
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
    let shortlist = shortlist(library.rows, target, shortlisted(wanted, len), options)?;
    let pieces: Vec<&[Row]> = shortlist.chunks(REFINED_AT_ONCE).collect();
    let parts = in_parallel(pieces.len(), shortlist.len() * BYTES_A_REFINEMENT, |next| {
        let mut best = Shortlist::new(wanted);
        let mut sketches = Vec::with_capacity(REFINED_AT_ONCE);
        while let Some(piece) = next() {
            let piece = pieces[piece];
            sketches.clear();
            sketches.extend(piece.iter().map(|row| {
                let chunk = &library.rows.chunks()[row.chunk as usize];
                (&chunk.values()[row.place as usize], &chunk.notes()[row.place as usize])
            }));
            target.refine(&sketches, &mut |place, estimate| {
                best.offer(Row { key: estimate.about, least: estimate.least, ..piece[place] });
            });
        }
        Ok(best)
    })?;
    let mut best = Shortlist::merge(wanted, parts).into_rows();
    best.sort_unstable_by(Row::order);
    decide_the_best(library, &best, target, probe, options)
}

/// Compares candidates, the most promising first, with full vectors, until all that are left are too far even if they
/// are nearer than they seem.
fn decide_the_best(
    library: Library<'_>,
    best: &[Row],
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let mut nearest = Nearest::new(options.k, options.limit());
    let mut rest = best.iter();
    // First about as many as are wanted, which tells how near the others must be; then more at a time.
    let mut many = options.k.saturating_add(options.k / 4 + 6);
    loop {
        let bound = target.key(nearest.bound());
        let mut ids: Vec<PhotoId> = rest
            .by_ref()
            .filter(|row| row.least <= bound)
            .take(many)
            .map(|row| row.id(library.rows))
            .collect();
        if ids.is_empty() {
            return Ok(nearest.into_sorted());
        }
        ids.sort_unstable();
        decide(library.vectors, &ids, probe, options, &mut nearest)?;
        many = many.saturating_mul(2).max(4 * FETCHED_AT_ONCE);
    }
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

/// Returns the `wanted` rows that come first by their leads, in the order of their ids.
fn shortlist(
    rows: &SketchRows,
    target: &Target,
    wanted: usize,
    options: &Options<'_>,
) -> Result<Vec<Row>, SearchError> {
    let chunks = rows.chunks();
    let parts = in_parallel(chunks.len(), bytes(rows), |next| {
        let mut shortlist = Shortlist::new(wanted);
        let mut keys = Vec::new();
        while let Some(place) = next() {
            options.check_cancelled()?;
            let chunk = &chunks[place];
            keys.resize(chunk.ids().len(), 0.0);
            target.estimate(chunk.values(), &mut keys);
            for (row, (&key, &id)) in (0u32..).zip(keys.iter().zip(chunk.ids())) {
                if key <= shortlist.bound && options.accepts(id) {
                    shortlist.offer(Row { key, least: key, chunk: place as u32, place: row });
                }
            }
        }
        Ok(shortlist)
    })?;
    let mut rows = Shortlist::merge(wanted, parts).into_rows();
    rows.sort_unstable_by_key(|row| (row.chunk, row.place));
    Ok(rows)
}

fn bytes(rows: &SketchRows) -> usize {
    rows.len() * size_of::<Lead>()
}

/// A row and the number it is ordered by; of equals, the lower id comes first.
#[derive(Clone, Copy, Debug)]
struct Row {
    key: f32,
    /// Less than this it is not, as far as the basis knows.
    least: f32,
    chunk: u32,
    place: u32,
}

impl Row {
    fn order(&self, other: &Self) -> Ordering {
        self.key.total_cmp(&other.key).then((self.chunk, self.place).cmp(&(other.chunk, other.place)))
    }

    fn id(&self, rows: &SketchRows) -> PhotoId {
        rows.chunks()[self.chunk as usize].ids()[self.place as usize]
    }
}

/// The first `wanted` rows of those offered. Cheaper than a heap for thousands: it sorts out only once twice as many
/// have come together.
struct Shortlist {
    wanted: usize,
    /// Nothing beyond it is among the first `wanted`.
    bound: f32,
    rows: Vec<Row>,
}

impl Shortlist {
    fn new(wanted: usize) -> Self {
        Self { wanted: wanted.max(1), bound: f32::INFINITY, rows: Vec::new() }
    }

    fn merge(wanted: usize, parts: Vec<Self>) -> Self {
        let mut all = Self::new(wanted);
        parts.into_iter().flat_map(Self::into_rows).for_each(|row| all.offer(row));
        all
    }

    fn offer(&mut self, row: Row) {
        if row.key <= self.bound {
            self.rows.push(row);
            if self.rows.len() >= self.wanted.saturating_mul(2) {
                self.sort_out();
            }
        }
    }

    fn sort_out(&mut self) {
        if self.rows.len() > self.wanted {
            let (_, last, _) = self.rows.select_nth_unstable_by(self.wanted - 1, Row::order);
            self.bound = last.key;
            self.rows.truncate(self.wanted);
        }
    }

    fn into_rows(mut self) -> Vec<Row> {
        self.sort_out();
        self.rows
    }
}
