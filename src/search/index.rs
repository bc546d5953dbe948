//! The index: what writers change, and the snapshots that queries run on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::error::SearchError;
use super::kernels;
use super::nearest::Neighbor;
use super::probe::Probe;
use super::scan::{self, FullRows, Options};
use crate::photo::PhotoId;

/// All embeddings of one model, ready to be searched. Shared between threads by reference or in an [`Arc`].
pub struct Index {
    /// What the next snapshot gets. Locked for the time of copying or swapping a pointer.
    published: RwLock<Snapshot>,
    /// Held by the one writer while it prepares the next state beside the published one.
    writing: Mutex<()>,
}

/// The index at one moment. Clones are cheap and equal.
#[derive(Clone)]
pub struct Snapshot {
    dim: usize,
    rows: Arc<FullRows>,
}

impl Index {
    /// Starts empty, for embeddings of `dim` numbers.
    pub fn new(dim: usize) -> Self {
        let empty = Snapshot { dim, rows: Arc::new(FullRows::new(dim)) };
        Self { published: RwLock::new(empty), writing: Mutex::new(()) }
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
        // A poisoned lock is no harm: the published state is only ever replaced as a whole.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut rows = FullRows::clone(&before.rows);
        for &id in removes {
            rows.remove(id);
        }
        for (id, vector) in inserts {
            if vector.len() != before.dim {
                return Err(SearchError::WrongDimension { expected: before.dim, found: vector.len() });
            }
            let length = kernels::length(vector).ok_or(SearchError::EmbeddingNotFinite(id))?;
            rows.insert(id, vector, kernels::to_unit(length));
        }
        let after = Snapshot { dim: before.dim, rows: Arc::new(rows) };
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(())
    }

    /// Returns the index as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of photos.
    pub fn len(&self) -> usize {
        self.snapshot().len()
    }

    /// Returns whether there is no photo.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("published", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Returns the photos nearest to `query`, nearest first; of equally distant ones, the lower id first. Fewer than
    /// `k` are returned only where no more exist that the options allow. With [`Metric::Cosine`], a vector of zeros is
    /// at distance 1 from everything.
    ///
    /// # Errors
    ///
    /// [`SearchError::WrongDimension`], [`SearchError::QueryNotFinite`] and [`SearchError::Cancelled`].
    ///
    /// [`Metric::Cosine`]: crate::photo::Metric::Cosine
    pub fn nearest(&self, query: &[f32], options: &Options<'_>) -> Result<Vec<Neighbor>, SearchError> {
        let probe = Probe::new(query, self.dim, options.metric)?;
        scan::scan(&self.rows, &probe, options)
    }

    /// Returns the numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the number of photos.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there is no photo.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the photo is among them.
    pub fn contains(&self, id: PhotoId) -> bool {
        self.rows.get(id).is_some()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("dim", &self.dim).field("len", &self.len()).finish()
    }
}
