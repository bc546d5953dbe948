//! The index: committed batches in, snapshots that queries run on out.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | [`Index`]: what the one writer changes and publishes |
//! | `snapshot` | [`Snapshot`]: the index at one moment, and the questions it answers |
//! | `training` | from full vectors to codes: when to train a quantizer, training and calibrating it |
//! | `measurement` | how much of the exact answer is found |
//!
//! A snapshot costs a pointer to take and never changes; chunks of rows that a batch does not touch are shared.

mod measurement;
mod snapshot;
mod training;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::code::{Code, Quantizer};
use super::error::SearchError;
use super::fitted::MAX_FULL_VECTORS;
use super::kernels;
use super::recall::Recall;
use super::rows::{CodeRows, FullRows, Vectors};
use crate::photo::PhotoId;

pub(super) use self::snapshot::Rows;
pub use self::snapshot::Snapshot;

/// All embeddings of one model, ready to be searched. Shared between threads by reference or in an [`Arc`].
pub struct Index {
    /// What the next snapshot gets. Readers never wait, whatever the writer does.
    published: ArcSwap<Snapshot>,
    /// With more photos, codes pay off.
    max_full_vectors: usize,
    /// Held by the one writer while it prepares the next state beside the published one.
    writing: Mutex<TouchedInTraining>,
    /// What was measured last.
    recall: Mutex<Option<Recall>>,
}

/// While a quantizer is being trained: the photos that were inserted or removed meanwhile.
type TouchedInTraining = Option<Vec<PhotoId>>;

impl Index {
    /// Starts empty, for embeddings of `dim` numbers, all of which stay in memory.
    pub fn new(dim: usize) -> Self {
        Self::publishing(Snapshot { dim, rows: Rows::Full(Arc::new(FullRows::new(dim))), vectors: None })
    }

    /// Starts empty, for embeddings of `dim` numbers that can be read from `vectors` as soon as they are applied.
    /// They stay in memory until [`Self::train`] has replaced them by codes.
    pub fn over(dim: usize, vectors: Arc<dyn Vectors>) -> Self {
        Self::publishing(Snapshot {
            dim,
            rows: Rows::Full(Arc::new(FullRows::new(dim))),
            vectors: Some(vectors),
        })
    }

    /// Starts with the codes of an earlier run, which `read` hands over one by one; fastest in the order of ids.
    /// They must be of this `quantizer`.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub fn restore<E>(
        vectors: Arc<dyn Vectors>,
        quantizer: Arc<Quantizer>,
        read: impl FnOnce(&mut dyn FnMut(PhotoId, Code)) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut rows = CodeRows::new(1);
        read(&mut |id, code| rows.insert_code(id, code))?;
        let dim = quantizer.dim();
        let rows = Rows::Coded(quantizer, Arc::new(rows));
        Ok(Self::publishing(Snapshot { dim, rows, vectors: Some(vectors) }))
    }

    fn publishing(snapshot: Snapshot) -> Self {
        Self {
            published: ArcSwap::from_pointee(snapshot),
            max_full_vectors: MAX_FULL_VECTORS,
            writing: Mutex::new(None),
            recall: Mutex::new(None),
        }
    }

    /// Returns this index with another number of photos from which on codes pay off than [`MAX_FULL_VECTORS`].
    pub fn with_max_full_vectors(self, max_full_vectors: usize) -> Self {
        Self { max_full_vectors, ..self }
    }

    /// Applies one committed batch: first the removals, then the insertions. A photo that is inserted again gets the
    /// new embedding; one that is removed without being there is passed over. Snapshots taken afterwards see the whole
    /// batch, those taken before see none of it. Where it fails, nothing has changed.
    ///
    /// # Errors
    ///
    /// [`SearchError::WrongDimension`] and [`SearchError::EmbeddingNotFinite`].
    pub fn apply<'a>(
        &self,
        inserts: impl IntoIterator<Item = (PhotoId, &'a [f32])>,
        removes: &[PhotoId],
    ) -> Result<(), SearchError> {
        let mut touched_in_training = self.lock_writing();
        let mut after = self.snapshot();
        let mut touched = removes.to_vec();
        let checked = inserts.into_iter().map(|(id, vector)| {
            touched.push(id);
            checked(id, vector, after.dim).map(|norm| (id, vector, norm))
        });
        match &mut after.rows {
            Rows::Full(rows) => {
                let mut changed = FullRows::clone(rows);
                removes.iter().for_each(|&id| _ = changed.remove(id));
                for insert in checked {
                    let (id, vector, norm) = insert?;
                    changed.insert(id, vector, kernels::inverse_norm(norm));
                }
                *rows = Arc::new(changed);
            }
            Rows::Coded(quantizer, rows) => {
                let mut changed = CodeRows::clone(rows);
                removes.iter().for_each(|&id| _ = changed.remove(id));
                for insert in checked {
                    let (id, vector, _) = insert?;
                    changed.insert_code(id, quantizer.encode(vector));
                }
                *rows = Arc::new(changed);
            }
        }
        if let Some(touched_in_training) = touched_in_training.as_mut() {
            touched_in_training.extend(touched);
        }
        self.publish(after);
        Ok(())
    }

    /// Returns the index as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.published.load())
    }

    /// Returns the number of photos.
    pub fn len(&self) -> usize {
        self.snapshot().len()
    }

    /// Returns whether there is no photo.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the quantizer that new photos are encoded by; `None` while full vectors are in memory.
    pub fn quantizer(&self) -> Option<Arc<Quantizer>> {
        self.snapshot().quantizer().cloned()
    }

    /// Returns whether a quantizer is being trained; the old codes serve meanwhile.
    pub fn is_training(&self) -> bool {
        self.lock_writing().is_some()
    }

    fn lock_writing(&self) -> MutexGuard<'_, TouchedInTraining> {
        // A poisoned lock is no harm: the published state is only ever replaced as a whole.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, snapshot: Snapshot) {
        self.published.store(Arc::new(snapshot));
    }
}

/// Returns the norm of an embedding that can be searched.
fn checked(id: PhotoId, vector: &[f32], dim: usize) -> Result<f32, SearchError> {
    if vector.len() != dim {
        return Err(SearchError::WrongDimension { expected: dim, found: vector.len() });
    }
    kernels::norm(vector).ok_or(SearchError::EmbeddingNotFinite(id))
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("published", &self.snapshot()).finish_non_exhaustive()
    }
}
