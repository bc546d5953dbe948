//! The index over the store: loading it at the start, keeping it small and its figure honest while the daemon runs.
//!
//! Invariant: nothing here is needed to search rightly. Sketches that are missing, damaged or of another basis are made
//! again from the embeddings.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::run::DaemonError;
use crate::photo::PhotoId;
use crate::search::{Basis, Index, SearchError, Sketch, Vectors, VectorsError};
use crate::store::{ModelRecord, Store, StoreError};

/// Embeddings handed to the index at a time while it is loaded.
const LOAD_BATCH: usize = 4096;

/// How often it is looked whether the index has grown.
const TEND_EVERY: Duration = Duration::from_secs(10);

/// New sketches are written down when so many have come together: to make fewer at the next start takes less than a
/// tenth of a second.
const UNWRITTEN: usize = 1000;

/// How often recall is measured: at the start, and every few hours.
const MEASURE_EVERY: u32 = 6 * 360;
const RECALL_AT: usize = 10;
const RECALL_QUERIES: usize = 20;
/// With less than this the basis does not suit the library any more.
const RECALL_WANTED: f64 = 0.98;

/// The embeddings of one network in the store.
struct StoredVectors {
    store: Arc<Store>,
    model: ModelRecord,
}

impl Vectors for StoredVectors {
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        Ok(self.store.read()?.embeddings(&self.model, ids, visit)?)
    }
}

/// Which sketches the store has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Of this basis, if of any.
    version: Option<u64>,
    /// Up to this photo.
    newest: Option<PhotoId>,
}

/// Reads what the search needs of the store into memory: the sketches, or for a small library the embeddings.
pub(super) fn load(store: &Arc<Store>, model: &ModelRecord) -> Result<(Index, Written), DaemonError> {
    let dim = model.dim as usize;
    let vectors: Arc<dyn Vectors> =
        Arc::new(StoredVectors { store: Arc::clone(store), model: model.clone() });
    let reader = store.read()?;
    let kept = reader.basis(model)?.and_then(|(version, bytes)| {
        let basis: Option<Basis> = postcard::from_bytes(&bytes).ok();
        let basis =
            basis.filter(|basis| basis.is_sound() && basis.dim() == dim && basis.version() == version);
        if basis.is_none() {
            tracing::warn!("the sketches in the store cannot be used and are made anew");
        }
        Some((version, Arc::new(basis?)))
    });
    let Some((version, basis)) = kept else {
        let index = Index::over(dim, vectors);
        let mut batch: Vec<(PhotoId, Vec<f32>)> = Vec::with_capacity(LOAD_BATCH);
        let apply = |batch: &mut Vec<(PhotoId, Vec<f32>)>| -> Result<(), DaemonError> {
            index.apply(batch.iter().map(|(photo, values)| (*photo, values.as_slice())), &[])?;
            batch.clear();
            // Before all the others are in memory whole.
            if index.learning_is_due() && index.basis().is_none() {
                index.learn(&|| false)?;
            }
            Ok(())
        };
        reader.each_embedding(model, |photo, values| -> Result<(), DaemonError> {
            batch.push((photo, values.to_vec()));
            if batch.len() == LOAD_BATCH { apply(&mut batch) } else { Ok(()) }
        })?;
        apply(&mut batch)?;
        return Ok((index, Written::default()));
    };

    let mut missing = Vec::new();
    let mut written = Written { version: Some(version), newest: None };
    let index = Index::restore(vectors, basis, |add| {
        reader.each_sketch(model, version, |photo, bytes| match bytes.and_then(Sketch::from_bytes) {
            Some(sketch) => {
                written.newest = Some(photo);
                add(photo, sketch);
            }
            None => missing.push(photo),
        })
    })?;
    for photos in missing.chunks(LOAD_BATCH) {
        let mut batch = Vec::new();
        reader.embeddings(model, photos, &mut |photo, values| batch.push((photo, values.to_vec())))?;
        index.apply(batch.iter().map(|(photo, values)| (*photo, values.as_slice())), &[])?;
    }
    Ok((index, written))
}

/// Learns a basis when one is due, writes new sketches down, and measures recall, until told to stop.
pub(super) async fn tend(
    index: Arc<Index>,
    store: Arc<Store>,
    model: ModelRecord,
    mut written: Written,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut ticks = tokio::time::interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for turn in 0u32.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let (index, store, model, stopping) =
            (Arc::clone(&index), Arc::clone(&store), model.clone(), stop.clone());
        let tended = tokio::task::spawn_blocking(move || {
            let cancelled = || stopping.is_cancelled();
            let written = learn_and_write(&index, &store, &model, written, &cancelled)?;
            if turn % MEASURE_EVERY == 0 && written.version.is_some() {
                measure(&index, &model, turn / MEASURE_EVERY, &cancelled)?;
            }
            Ok(written)
        });
        match tended.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())) {
            Ok(after) => written = after,
            Err(DaemonError::Search(SearchError::Cancelled)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn learn_and_write(
    index: &Index,
    store: &Store,
    model: &ModelRecord,
    written: Written,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Written, DaemonError> {
    if index.learning_is_due() {
        index.learn(cancelled)?;
        tracing::debug!(photos = index.len(), "learnt a basis for the sketches");
    }
    let snapshot = index.snapshot();
    let Some(basis) = snapshot.basis() else { return Ok(written) };
    let version = basis.version();
    let is_new = written.version != Some(version);
    let newest = snapshot.ids().last().copied();
    let unwritten = |id: PhotoId| is_new || Some(id) > written.newest;
    if !is_new && snapshot.ids().into_iter().rev().take_while(|&id| unwritten(id)).count() < UNWRITTEN {
        return Ok(written);
    }
    let sketches =
        snapshot.sketches().filter(|(id, _)| unwritten(*id)).map(|(id, sketch)| (id, sketch.to_bytes()));
    store.keep_sketches(model, version, sketches)?;
    if is_new {
        let bytes = postcard::to_stdvec(basis.as_ref())
            .map_err(|source| StoreError::Damaged { what: "the basis of the sketches", source })?;
        store.keep_basis(model, version, &bytes)?;
    }
    Ok(Written { version: Some(version), newest })
}

fn measure(
    index: &Index,
    model: &ModelRecord,
    turn: u32,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<(), DaemonError> {
    let recall = index.measure_recall(RECALL_AT, model.metric, RECALL_QUERIES, turn as usize, cancelled)?;
    if recall.share < RECALL_WANTED {
        tracing::warn!(
            recall = recall.share,
            "the sketches do not suit the library any more and are made anew"
        );
        index.learn(cancelled)?;
    }
    Ok(())
}
