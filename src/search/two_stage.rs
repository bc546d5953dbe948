//! The search of a large library: sketches name the candidates, full vectors decide.
//!
//! Invariant: [`within`] misses nothing. Rows are left out only where their sketch proves them to be farther.

use super::chunks::Chunks;
use super::error::SearchError;
use super::estimate::Target;
use super::kernels;
use super::nearest::{Nearest, Neighbor};
use super::probe::Probe;
use super::scan::{Options, in_parallel};
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
const FETCHED_AT_ONCE: usize = 64;
/// Rows judged at once by one thread.
const REFINED_AT_ONCE: usize = 1024;
/// What judging one row by its whole sketch costs, in bytes of scanning: it lies where no other does.
const BYTES_A_REFINEMENT: usize = 512;
/// What reading one full vector costs, in bytes of scanning.
const BYTES_A_FETCH: usize = 8 << 10;

/// Candidates whose full vectors are read. Among the best 100 by their sketches are all ten nearest of 22,538 photos'
/// MobileNetV2 embeddings; the larger the library, the closer together the candidates lie. Of 100,000, a hundred have
/// 0.997 of the ten nearest, 200 have 0.998.
fn candidates(k: usize, len: usize) -> usize {
    k.saturating_mul(2).saturating_add(80 + (len / 1000).min(300))
}

/// Rows that are judged by their whole sketch, out of those judged by its lead.
fn shortlisted(candidates: usize, len: usize) -> usize {
    candidates.saturating_mul(4).max(1000).max(len / 50)
}

/// Returns the nearest rows. What is returned has its true distance; a row may be missing.
pub(super) fn nearest(
    library: Library<'_>,
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    let len = library.rows.len();
    let wanted = candidates(options.k.min(len), len);
    let shortlist = shortlist(library.rows, target, shortlisted(wanted, len), options)?;
    let pieces: Vec<&[Row]> = shortlist.chunks(REFINED_AT_ONCE).collect();
    let parts = in_parallel(pieces.len(), shortlist.len() * BYTES_A_REFINEMENT, |next| {
        let mut best = Shortlist::new(wanted);
        while let Some(piece) = next() {
            for &row in pieces[piece] {
                let chunk = &library.rows.chunks()[row.chunk as usize];
                let place = row.place as usize;
                best.offer(Row { key: target.refine(&chunk.values()[place], &chunk.notes()[place]), ..row });
            }
        }
        Ok(best)
    })?;
    let best = Shortlist::merge(wanted, parts);
    let mut ids: Vec<PhotoId> = best.into_rows().into_iter().map(|row| row.id(library.rows)).collect();
    ids.sort_unstable();
    decide(library.vectors, &ids, probe, options, options.limit())
}

/// Returns the nearest rows, and none is missing.
pub(super) fn exact(
    library: Library<'_>,
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
) -> Result<Vec<Neighbor>, SearchError> {
    // The k-th distance found by approximation is an upper bound of the true one.
    let found = nearest(library, target, probe, options)?;
    let limit = match found.last() {
        Some(last) if found.len() >= options.k => last.distance,
        _ => options.limit(),
    };
    within(library, target, probe, options, limit)
}

/// Returns the nearest `k` of all rows within `limit`.
pub(super) fn within(
    library: Library<'_>,
    target: &Target,
    probe: &Probe,
    options: &Options<'_>,
    limit: f32,
) -> Result<Vec<Neighbor>, SearchError> {
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
    decide(library.vectors, &ids, probe, options, limit)
}

/// Compares the probe with the full vectors of these photos.
fn decide(
    vectors: &dyn Vectors,
    ids: &[PhotoId],
    probe: &Probe,
    options: &Options<'_>,
    limit: f32,
) -> Result<Vec<Neighbor>, SearchError> {
    let pieces: Vec<&[PhotoId]> = ids.chunks(FETCHED_AT_ONCE).collect();
    let parts = in_parallel(pieces.len(), ids.len() * BYTES_A_FETCH, |next| {
        let mut nearest = Nearest::new(options.k, limit);
        while let Some(piece) = next() {
            options.check_cancelled()?;
            let mut visit = |id, vector: &[f32]| {
                let to_unit = kernels::to_unit(kernels::length(vector).unwrap_or(0.0));
                let mut distance = [f32::NAN];
                probe.distances(vector, &[to_unit], &mut distance);
                nearest.offer(Neighbor { id, distance: distance[0] });
            };
            vectors.fetch(pieces[piece], &mut visit).map_err(SearchError::Vectors)?;
        }
        Ok(nearest)
    })?;
    let mut nearest = Nearest::new(options.k, limit);
    parts.into_iter().for_each(|part| nearest.absorb(part));
    Ok(nearest.into_sorted())
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
                    shortlist.offer(Row { key, chunk: place as u32, place: row });
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
    chunk: u32,
    place: u32,
}

impl Row {
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
            let order =
                |a: &Row, b: &Row| a.key.total_cmp(&b.key).then((a.chunk, a.place).cmp(&(b.chunk, b.place)));
            let (_, last, _) = self.rows.select_nth_unstable_by(self.wanted - 1, order);
            self.bound = last.key;
            self.rows.truncate(self.wanted);
        }
    }

    fn into_rows(mut self) -> Vec<Row> {
        self.sort_out();
        self.rows
    }
}
