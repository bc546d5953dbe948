//! The index: what writers change, and the snapshots that queries run on.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::basis::Basis;
use super::chunks::Chunk;
use super::error::SearchError;
use super::estimate::Target;
use super::exact::{self, Haste};
use super::kernels;
use super::nearest::Neighbor;
use super::probe::Probe;
use super::recall::Recall;
use super::scan::{self, FullRows, Options};
use super::sketch::Sketch;
use super::two_stage::{self, Library, SketchRows};
use super::vectors::Vectors;
use crate::photo::PhotoId;

/// All embeddings of one model, ready to be searched. Shared between threads by reference or in an [`Arc`].
pub struct Index {
    /// What the next snapshot gets. Locked for the time of copying or swapping a pointer.
    published: RwLock<Snapshot>,
    /// Held by the one writer while it prepares the next state beside the published one.
    writing: Mutex<Journal>,
    /// What was measured last.
    pub(super) recall: Mutex<Option<Recall>>,
}

/// While a basis is being learnt: the photos that were inserted or removed meanwhile.
pub(super) type Journal = Option<Vec<PhotoId>>;

/// The index at one moment. Clones are cheap and equal.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) dim: usize,
    pub(super) rows: Rows,
    pub(super) vectors: Option<Arc<dyn Vectors>>,
}

/// What is kept of each photo.
#[derive(Clone)]
pub(super) enum Rows {
    /// Its whole vector: of small libraries, and while no basis has been learnt.
    Full(Arc<FullRows>),
    /// Its sketch.
    Sketched(Arc<Basis>, Arc<SketchRows>),
}

impl Index {
    /// Starts empty, for embeddings of `dim` numbers, all of which stay in memory.
    pub fn new(dim: usize) -> Self {
        Self::publishing(Snapshot { dim, rows: Rows::Full(Arc::new(FullRows::new(dim))), vectors: None })
    }

    /// Starts empty, for embeddings of `dim` numbers that can be read from `vectors` as soon as they are applied.
    /// They stay in memory until [`Self::learn`] has replaced them by sketches.
    pub fn over(dim: usize, vectors: Arc<dyn Vectors>) -> Self {
        Self::publishing(Snapshot {
            dim,
            rows: Rows::Full(Arc::new(FullRows::new(dim))),
            vectors: Some(vectors),
        })
    }

    /// Starts with the sketches of an earlier run, which `read` hands over one by one; fastest in the order of ids.
    /// They must be of this `basis`.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub fn restore<E>(
        vectors: Arc<dyn Vectors>,
        basis: Arc<Basis>,
        read: impl FnOnce(&mut dyn FnMut(PhotoId, Sketch)) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut rows = SketchRows::new(1);
        read(&mut |id, sketch| rows.insert(id, &[sketch.lead], sketch.rest))?;
        let dim = basis.dim();
        let rows = Rows::Sketched(basis, Arc::new(rows));
        Ok(Self::publishing(Snapshot { dim, rows, vectors: Some(vectors) }))
    }

    fn publishing(snapshot: Snapshot) -> Self {
        Self { published: RwLock::new(snapshot), writing: Mutex::new(None), recall: Mutex::new(None) }
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
        let mut journal = self.lock_writing();
        let mut after = self.snapshot();
        let mut touched = removes.to_vec();
        let checked = inserts.into_iter().map(|(id, vector)| {
            touched.push(id);
            checked(id, vector, after.dim).map(|length| (id, vector, length))
        });
        match &mut after.rows {
            Rows::Full(rows) => {
                let mut changed = FullRows::clone(rows);
                removes.iter().for_each(|&id| _ = changed.remove(id));
                for insert in checked {
                    let (id, vector, length) = insert?;
                    changed.insert(id, vector, kernels::to_unit(length));
                }
                *rows = Arc::new(changed);
            }
            Rows::Sketched(basis, rows) => {
                let mut changed = SketchRows::clone(rows);
                removes.iter().for_each(|&id| _ = changed.remove(id));
                for insert in checked {
                    let (id, vector, _) = insert?;
                    let sketch = basis.sketch(vector);
                    changed.insert(id, &[sketch.lead], sketch.rest);
                }
                *rows = Arc::new(changed);
            }
        }
        if let Some(journal) = journal.as_mut() {
            journal.extend(touched);
        }
        self.publish(after);
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

    /// Returns the basis that new photos are sketched in; `None` while full vectors are in memory.
    pub fn basis(&self) -> Option<Arc<Basis>> {
        self.snapshot().basis().cloned()
    }

    /// Returns whether a basis is being learnt; the old sketches serve meanwhile.
    pub fn is_learning(&self) -> bool {
        self.lock_writing().is_some()
    }

    pub(super) fn lock_writing(&self) -> MutexGuard<'_, Journal> {
        // A poisoned lock is no harm: the published state is only ever replaced as a whole.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// Returns the length of an embedding that can be searched.
fn checked(id: PhotoId, vector: &[f32], dim: usize) -> Result<f32, SearchError> {
    if vector.len() != dim {
        return Err(SearchError::WrongDimension { expected: dim, found: vector.len() });
    }
    kernels::length(vector).ok_or(SearchError::EmbeddingNotFinite(id))
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
    /// Of a sketched library without [`Options::exact`], a photo may be missing in favor of a farther one; how often is
    /// what [`Self::sample_recall`] measures. Distances are true in any case.
    ///
    /// # Errors
    ///
    /// [`SearchError::WrongDimension`], [`SearchError::QueryNotFinite`], [`SearchError::Vectors`] and
    /// [`SearchError::Cancelled`].
    ///
    /// [`Metric::Cosine`]: crate::photo::Metric::Cosine
    pub fn nearest(&self, query: &[f32], options: &Options<'_>) -> Result<Vec<Neighbor>, SearchError> {
        let probe = Probe::new(query, self.dim, options.metric)?;
        match (&self.rows, &self.vectors) {
            (Rows::Sketched(basis, rows), Some(vectors)) => {
                let library = Library { rows, vectors: vectors.as_ref() };
                if options.exact {
                    let mut found = exact::nearest(library, &[probe], options, Haste::Query)?;
                    return Ok(found.pop().unwrap_or_default());
                }
                let target = Target::new(basis, query, options.metric);
                two_stage::nearest(library, &target, &probe, options)
            }
            (Rows::Full(rows), _) => scan::scan(rows, &probe, options),
            (Rows::Sketched(..), None) => unreachable!("an index is sketched only over vectors"),
        }
    }

    /// Returns all photos within [`Options::max_distance`], nearest first, at most `k`: none is missing, in whatever
    /// form the library is kept, since a sketch leaves out only what it proves to be farther. Without a distance, or
    /// with [`Options::exact`], every full vector is read.
    ///
    /// # Errors
    ///
    /// Those of [`Self::nearest`].
    pub fn within(&self, query: &[f32], options: &Options<'_>) -> Result<Vec<Neighbor>, SearchError> {
        match (&self.rows, &self.vectors, options.max_distance) {
            (Rows::Sketched(basis, rows), Some(vectors), Some(limit)) if !options.exact => {
                let probe = Probe::new(query, self.dim, options.metric)?;
                let target = Target::new(basis, query, options.metric);
                two_stage::within(
                    Library { rows, vectors: vectors.as_ref() },
                    &target,
                    &probe,
                    options,
                    limit,
                )
            }
            _ => self.nearest(query, &Options { exact: true, ..*options }),
        }
    }

    /// Returns the numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the number of photos.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Full(rows) => rows.len(),
            Rows::Sketched(_, rows) => rows.len(),
        }
    }

    /// Returns whether there is no photo.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the photo is among them.
    pub fn contains(&self, id: PhotoId) -> bool {
        match &self.rows {
            Rows::Full(rows) => rows.get(id).is_some(),
            Rows::Sketched(_, rows) => rows.get(id).is_some(),
        }
    }

    /// Returns the photos with a higher number than `after`, or all, in the order of their ids.
    pub fn ids_after(&self, after: Option<PhotoId>) -> Vec<PhotoId> {
        fn of<T, N>(chunks: &[Arc<Chunk<T, N>>], after: Option<PhotoId>) -> Vec<PhotoId> {
            let is_new = |id: PhotoId| after.is_none_or(|after| id > after);
            let first = chunks.partition_point(|chunk| !chunk.ids().last().copied().is_some_and(is_new));
            chunks[first..].iter().flat_map(|chunk| chunk.ids()).copied().filter(|&id| is_new(id)).collect()
        }
        match &self.rows {
            Rows::Full(rows) => of(rows.chunks(), after),
            Rows::Sketched(_, rows) => of(rows.chunks(), after),
        }
    }

    /// Returns the sketch of a photo; `None` while full vectors are in memory.
    pub fn sketch_of(&self, id: PhotoId) -> Option<Sketch> {
        match &self.rows {
            Rows::Full(_) => None,
            Rows::Sketched(_, rows) => rows.get(id).map(|(lead, rest)| Sketch { lead: lead[0], rest }),
        }
    }

    /// Returns the basis of the sketches; `None` while full vectors are in memory.
    pub fn basis(&self) -> Option<&Arc<Basis>> {
        match &self.rows {
            Rows::Full(_) => None,
            Rows::Sketched(basis, _) => Some(basis),
        }
    }

    /// Returns every sketch in the order of ids, for the store to keep beside [`Self::basis`]; none while full
    /// vectors are in memory.
    pub fn sketches(&self) -> impl Iterator<Item = (PhotoId, Sketch)> {
        let chunks = match &self.rows {
            Rows::Full(_) => &[],
            Rows::Sketched(_, rows) => rows.chunks(),
        };
        chunks.iter().flat_map(|chunk| {
            let parts = chunk.values().iter().zip(chunk.notes());
            chunk.ids().iter().zip(parts).map(|(&id, (&lead, &rest))| (id, Sketch { lead, rest }))
        })
    }

    /// Calls `visit` with the full vector of each of these photos that exists. `ids` ascend.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`].
    pub fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), SearchError> {
        match (&self.rows, &self.vectors) {
            (Rows::Full(rows), _) => {
                for &id in ids {
                    if let Some((vector, _)) = rows.get(id) {
                        visit(id, vector);
                    }
                }
                Ok(())
            }
            (Rows::Sketched(..), Some(vectors)) => vectors.fetch(ids, visit).map_err(SearchError::Vectors),
            (Rows::Sketched(..), None) => unreachable!("an index is sketched only over vectors"),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sketched = self.basis().is_some();
        f.debug_struct("Snapshot")
            .field("dim", &self.dim)
            .field("len", &self.len())
            .field("sketched", &sketched)
            .finish()
    }
}
