//! From full vectors to sketches: when to learn a basis, and learning it.
//!
//! Runs on a thread that may take its time. Writers and readers go on meanwhile: what writers change is noted and done
//! again on the new sketches just before they are published.

use std::collections::HashMap;
use std::sync::Arc;

use super::basis::{Basis, Kin, NEIGHBORS, SAMPLE};
use super::error::SearchError;
use super::index::{Index, Rows, Snapshot};
use super::pool::in_background;
use super::scan::Options;
use super::two_stage::SketchRows;
use crate::photo::{Metric, PhotoId};

/// Up to this many photos, full vectors stay in memory: 10 MB of MobileNetV2's, and a scan takes half a millisecond.
const SMALL: usize = 2000;
/// A basis is learnt anew when the library has grown this many times since...
const GROWTH: u64 = 10;
/// ... unless it was learnt from so many that more photos hardly change it.
const SETTLED: u64 = 50_000;

/// Photos sketched at once by one thread.
const SKETCHED_AT_ONCE: usize = 512;

/// Photos whose neighbors show what near neighbors have in common.
const PROBES: usize = 1000;

impl Index {
    /// Returns whether [`Self::learn`] would pay off: the library has outgrown memory, or the basis it has.
    pub fn learning_is_due(&self) -> bool {
        let snapshot = self.snapshot();
        let photos = snapshot.len() as u64;
        match snapshot.basis() {
            None => snapshot.vectors.is_some() && snapshot.len() > SMALL,
            Some(basis) => basis.learnt_from() < SETTLED && photos / GROWTH >= basis.learnt_from().max(1),
        }
    }

    /// Learns the library's basis and replaces what is kept of each photo by its sketch; the old ones serve meanwhile.
    /// Reads every full vector, on threads of the caller's priority. Returns the new basis, to be kept by the store
    /// together with [`Snapshot::sketches`]; `None` for an index that has no [`Vectors`] to read.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`], [`SearchError::Cancelled`] when `cancelled` says so; the index is then as before.
    ///
    /// [`Vectors`]: super::Vectors
    pub fn learn(&self, cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Option<Arc<Basis>>, SearchError> {
        let before = {
            let mut journal = self.lock_writing();
            *journal = Some(Vec::new());
            self.snapshot()
        };
        let learnt =
            if before.vectors.is_none() { Ok(None) } else { before.sketched_anew(cancelled).map(Some) };

        let mut journal = self.lock_writing();
        let touched = journal.take().unwrap_or_default();
        let Some((basis, mut rows)) = learnt? else { return Ok(None) };
        let now = self.snapshot();
        for id in touched {
            rows.remove(id);
            if now.contains(id) {
                now.fetch(&[id], &mut |id, vector| insert(&mut rows, &basis, id, vector))?;
            }
        }
        self.publish(Snapshot { rows: Rows::Sketched(Arc::clone(&basis), Arc::new(rows)), ..now });
        drop(journal);
        self.calibrate(cancelled)
    }

    /// Learns from the whole library what near neighbors have in common beyond their sketches, which decides how many
    /// candidates are compared with full vectors. Cheap; worth it when the library has grown. Returns the basis with it.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`], [`SearchError::Cancelled`].
    pub fn calibrate(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Arc<Basis>>, SearchError> {
        let snapshot = self.snapshot();
        let Rows::Sketched(basis, rows) = &snapshot.rows else { return Ok(None) };
        let doubting = Snapshot {
            rows: Rows::Sketched(Arc::new(basis.doubting()), Arc::clone(rows)),
            ..snapshot.clone()
        };
        let calibrated = Arc::new(basis.as_ref().clone().calibrated(&doubting.near(basis, cancelled)?));

        let _journal = self.lock_writing();
        let now = self.snapshot();
        match &now.rows {
            Rows::Sketched(used, rows) if Arc::ptr_eq(used, basis) => {
                let rows = Rows::Sketched(Arc::clone(&calibrated), Arc::clone(rows));
                self.publish(Snapshot { rows, ..now });
                Ok(Some(calibrated))
            }
            // Another basis was learnt meanwhile, and calibrated with it.
            _ => Ok(now.basis().cloned()),
        }
    }
}

fn insert(rows: &mut SketchRows, basis: &Basis, id: PhotoId, vector: &[f32]) {
    let sketch = basis.sketch(vector);
    rows.insert(id, &[sketch.lead], sketch.rest);
}

impl Snapshot {
    fn sketched_anew(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Arc<Basis>, SketchRows), SearchError> {
        let mut options = Options::new(0, Metric::L2);
        options.cancelled = Some(cancelled);
        let ids = self.ids_after(None);
        let chosen: Vec<PhotoId> = evenly(&ids, SAMPLE).collect();
        let mut sample = Vec::with_capacity(chosen.len() * self.dim);
        self.fetch(&chosen, &mut |_, vector| sample.extend_from_slice(vector))?;
        options.check_cancelled()?;
        let basis = Arc::new(Basis::learn(&sample, self.dim, ids.len() as u64));
        drop(sample);

        let pieces: Vec<&[PhotoId]> = ids.chunks(SKETCHED_AT_ONCE).collect();
        let parts = in_background(pieces.len(), |next| {
            let mut parts = Vec::new();
            while let Some(piece) = next() {
                options.check_cancelled()?;
                let mut rows = SketchRows::new(1);
                self.fetch(pieces[piece], &mut |id, vector| insert(&mut rows, &basis, id, vector))?;
                parts.push((piece, rows));
            }
            Ok(parts)
        })?;
        let mut parts: Vec<_> = parts.into_iter().flatten().collect();
        parts.sort_by_key(|(piece, _)| *piece);
        let mut rows = SketchRows::new(1);
        for chunk in parts.iter().flat_map(|(_, part)| part.chunks()) {
            for ((&id, lead), &rest) in chunk.ids().iter().zip(chunk.values()).zip(chunk.notes()) {
                rows.insert(id, std::slice::from_ref(lead), rest);
            }
        }
        Ok((basis, rows))
    }
}

impl Snapshot {
    /// Returns what the sketches of near neighbors say, for some photos spread over the library.
    fn near(&self, basis: &Basis, cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Kin>, SearchError> {
        // One more: the photo itself is among them, and tells nothing.
        let mut options = Options::new(NEIGHBORS + 1, Metric::L2);
        options.cancelled = Some(cancelled);
        let mut probes = Vec::new();
        let chosen: Vec<PhotoId> = evenly(&self.ids_after(None), PROBES).collect();
        self.fetch(&chosen, &mut |_, vector| probes.push(vector.to_vec()))?;
        let mut near = Vec::new();
        for probe in &probes {
            let mut neighbors = self.nearest(probe, &options)?;
            neighbors.retain(|neighbor| neighbor.distance > 0.0);
            neighbors.truncate(NEIGHBORS);
            let mut ids: Vec<PhotoId> = neighbors.iter().map(|neighbor| neighbor.id).collect();
            ids.sort_unstable();
            let mut vectors: HashMap<PhotoId, Vec<f32>> = HashMap::new();
            self.fetch(&ids, &mut |id, vector| _ = vectors.insert(id, vector.to_vec()))?;
            // A photo without a vector was removed after the snapshot had been taken.
            let neighbors: Vec<(&[f32], f32)> = neighbors
                .iter()
                .filter_map(|near| Some((vectors.get(&near.id)?.as_slice(), near.distance * near.distance)))
                .collect();
            basis.add_kin(probe, &neighbors, &mut near);
        }
        Ok(near)
    }
}

/// Returns `count` of the items, evenly spread; all where there are no more.
pub(super) fn evenly<T: Copy>(items: &[T], count: usize) -> impl Iterator<Item = T> {
    let count = count.min(items.len());
    (0..count).map(move |place| items[place * items.len() / count])
}
