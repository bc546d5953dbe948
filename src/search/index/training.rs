//! From full vectors to codes: when to train a quantizer, training and calibrating it.
//!
//! Runs on a thread that may take its time. Writers and readers go on meanwhile: what writers change is noted and done
//! again on the new codes just before they are published.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Index, Rows, Snapshot};
use crate::photo::{Metric, PhotoId};
use crate::search::code::{CalibrationPair, Code, Quantizer};
use crate::search::error::SearchError;
use crate::search::fitted::{CALIBRATION_NEIGHBORS, CALIBRATION_QUERIES, GROWTH, SETTLED, TRAINING_SAMPLE};
use crate::search::pool::in_background;
use crate::search::query::Options;
use crate::search::rows::CodeRows;
use crate::search::sampling::spaced_sample;

/// Photos encoded at once by one thread.
const ENCODED_AT_ONCE: usize = 512;

impl Index {
    /// Returns whether [`Self::train`] would pay off: the library has outgrown memory, or the quantizer it has.
    pub fn training_is_due(&self) -> bool {
        let snapshot = self.snapshot();
        let photos = snapshot.len() as u64;
        match snapshot.quantizer() {
            None => snapshot.vectors.is_some() && snapshot.len() > self.max_full_vectors,
            Some(quantizer) => {
                quantizer.trained_on() < SETTLED && photos / GROWTH >= quantizer.trained_on().max(1)
            }
        }
    }

    /// Trains the library's quantizer and replaces what is kept of each photo by its code; the old ones serve meanwhile.
    /// Reads every full vector, on threads of the caller's priority. Returns the new quantizer, to be kept by the store
    /// together with [`Snapshot::codes`]; `None` for an index that has no [`Vectors`] to read.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`], [`SearchError::Cancelled`] when `cancelled` says so; the index is then as before.
    ///
    /// [`Vectors`]: crate::search::Vectors
    pub fn train(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Arc<Quantizer>>, SearchError> {
        let before = {
            *self.lock_writing() = Some(Vec::new());
            self.snapshot()
        };
        let trained = if before.vectors.is_none() { Ok(None) } else { before.train(cancelled).map(Some) };

        let mut writing = self.lock_writing();
        let touched = writing.take().unwrap_or_default();
        let Some((quantizer, mut rows)) = trained? else { return Ok(None) };
        let now = self.snapshot();
        for id in touched {
            rows.remove(id);
            if now.contains(id) {
                now.fetch(&[id], &mut |id, vector| rows.insert_code(id, quantizer.encode(vector)))?;
            }
        }
        self.publish(Snapshot { rows: Rows::Coded(Arc::clone(&quantizer), Arc::new(rows)), ..now });
        drop(writing);
        self.calibrate(cancelled)
    }

    /// Learns from the whole library what near neighbors have in common beyond their codes, which decides how many
    /// candidates are compared with full vectors. Cheap; worth it when the library has grown. Returns the quantizer with it.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`], [`SearchError::Cancelled`].
    pub fn calibrate(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Arc<Quantizer>>, SearchError> {
        let snapshot = self.snapshot();
        let Rows::Coded(quantizer, rows) = &snapshot.rows else { return Ok(None) };
        let without_pruning = Snapshot {
            rows: Rows::Coded(Arc::new(quantizer.without_pruning()), Arc::clone(rows)),
            ..snapshot.clone()
        };
        let pairs = without_pruning.calibration_pairs(quantizer, cancelled)?;
        let calibrated = Arc::new(quantizer.as_ref().clone().calibrated(&pairs));

        let _writing = self.lock_writing();
        let now = self.snapshot();
        match &now.rows {
            Rows::Coded(used, rows) if Arc::ptr_eq(used, quantizer) => {
                let rows = Rows::Coded(Arc::clone(&calibrated), Arc::clone(rows));
                self.publish(Snapshot { rows, ..now });
                Ok(Some(calibrated))
            }
            // Another quantizer was trained meanwhile, and calibrated with it.
            _ => Ok(now.quantizer().cloned()),
        }
    }
}

impl Snapshot {
    /// Trains a quantizer on a sample, and encodes every photo.
    fn train(
        &self,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Arc<Quantizer>, CodeRows), SearchError> {
        let mut options = Options::new(0, Metric::L2);
        options.cancelled = Some(cancelled);
        let ids = self.ids_after(None);
        let chosen: Vec<PhotoId> = spaced_sample(&ids, TRAINING_SAMPLE).collect();
        let mut sample = Vec::with_capacity(chosen.len() * self.dim);
        self.fetch(&chosen, &mut |_, vector| sample.extend_from_slice(vector))?;
        options.check_cancelled()?;
        let quantizer = Arc::new(Quantizer::train(&sample, self.dim, ids.len() as u64));
        drop(sample);

        let pieces: Vec<&[PhotoId]> = ids.chunks(ENCODED_AT_ONCE).collect();
        let parts = in_background(pieces.len(), |next| {
            let mut parts = Vec::new();
            while let Some(piece) = next() {
                options.check_cancelled()?;
                let mut rows = CodeRows::new(1);
                self.fetch(pieces[piece], &mut |id, vector| rows.insert_code(id, quantizer.encode(vector)))?;
                parts.push((piece, rows));
            }
            Ok(parts)
        })?;
        let mut parts: Vec<_> = parts.into_iter().flatten().collect();
        parts.sort_by_key(|(piece, _)| *piece);
        let mut rows = CodeRows::new(1);
        for chunk in parts.iter().flat_map(|(_, part)| part.chunks()) {
            for ((&id, &coarse), &fine) in chunk.ids().iter().zip(chunk.values()).zip(chunk.notes()) {
                rows.insert_code(id, Code { coarse, fine });
            }
        }
        Ok((quantizer, rows))
    }

    /// Returns what the codes of near neighbors say, for some photos spread over the library.
    fn calibration_pairs(
        &self,
        quantizer: &Quantizer,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<CalibrationPair>, SearchError> {
        // One more: the photo itself is among them, and tells nothing.
        let mut options = Options::new(CALIBRATION_NEIGHBORS + 1, Metric::L2);
        options.cancelled = Some(cancelled);
        let mut queries = Vec::new();
        let chosen: Vec<PhotoId> = spaced_sample(&self.ids_after(None), CALIBRATION_QUERIES).collect();
        self.fetch(&chosen, &mut |_, vector| queries.push(vector.to_vec()))?;
        let mut pairs = Vec::new();
        for query in &queries {
            let mut neighbors = self.nearest(query, &options)?;
            neighbors.retain(|neighbor| neighbor.distance > 0.0);
            neighbors.truncate(CALIBRATION_NEIGHBORS);
            let mut ids: Vec<PhotoId> = neighbors.iter().map(|neighbor| neighbor.id).collect();
            ids.sort_unstable();
            let mut vectors: HashMap<PhotoId, Vec<f32>> = HashMap::new();
            self.fetch(&ids, &mut |id, vector| _ = vectors.insert(id, vector.to_vec()))?;
            // A photo without a vector was removed after the snapshot had been taken.
            let neighbors: Vec<(&[f32], f32)> = neighbors
                .iter()
                .filter_map(|near| Some((vectors.get(&near.id)?.as_slice(), near.distance * near.distance)))
                .collect();
            pairs.extend(quantizer.calibration_pairs(query, &neighbors));
        }
        Ok(pairs)
    }
}
