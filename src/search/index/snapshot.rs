//! The index at one moment, and the questions it answers.

use std::fmt;
use std::sync::Arc;

use crate::photo::PhotoId;
use crate::search::code::{Code, EncodedQuery, Quantizer};
use crate::search::error::SearchError;
use crate::search::query::{Neighbor, Options, Priority, Scorer, exact, scan, two_stage};
use crate::search::rows::{Chunk, CodeRows, CodedLibrary, FullRows, Vectors};

/// The index at one moment. Clones are cheap and equal.
#[derive(Clone)]
pub struct Snapshot {
    pub(in crate::search) dim: usize,
    pub(in crate::search) rows: Rows,
    pub(super) vectors: Option<Arc<dyn Vectors>>,
}

/// What is kept of each photo.
#[derive(Clone)]
pub enum Rows {
    /// Its whole vector: of small libraries, and while no quantizer has been trained.
    Full(Arc<FullRows>),
    /// Its code.
    Coded(Arc<Quantizer>, Arc<CodeRows>),
}

impl Snapshot {
    /// Returns the photos nearest to `query`, nearest first; of equally distant ones, the lower id first. Fewer than
    /// `k` are returned only where no more exist that the options allow. With [`Metric::Cosine`], a vector of zeros is
    /// at distance 1 from everything.
    ///
    /// Of a coded library without [`Options::exact`], a photo may be missing in favor of a farther one; how often is
    /// what [`Self::sample_recall`] measures. Distances are true in any case.
    ///
    /// # Errors
    ///
    /// [`SearchError::WrongDimension`], [`SearchError::QueryNotFinite`], [`SearchError::Vectors`] and
    /// [`SearchError::Cancelled`].
    ///
    /// [`Metric::Cosine`]: crate::photo::Metric::Cosine
    pub fn nearest(&self, query: &[f32], options: &Options<'_>) -> Result<Vec<Neighbor>, SearchError> {
        let scorer = Scorer::new(query, self.dim, options.metric)?;
        match (&self.rows, &self.vectors) {
            (Rows::Coded(quantizer, rows), Some(vectors)) => {
                let library = CodedLibrary { rows, vectors: vectors.as_ref() };
                if options.exact {
                    let mut found = exact::nearest(library, &[scorer], options, Priority::Query)?;
                    return Ok(found.pop().unwrap_or_default());
                }
                let encoded = EncodedQuery::new(quantizer, query, options.metric);
                two_stage::nearest(library, &encoded, &scorer, options)
            }
            (Rows::Full(rows), _) => scan::nearest(rows, &scorer, options),
            (Rows::Coded(..), None) => unreachable!("an index is coded only over vectors"),
        }
    }

    /// Returns all photos within [`Options::max_distance`], nearest first, at most `k`: none is missing, in whatever
    /// form the library is kept, since a code leaves out only what it proves to be farther. Without a distance, or
    /// with [`Options::exact`], every full vector is read.
    ///
    /// # Errors
    ///
    /// Those of [`Self::nearest`].
    pub fn within(&self, query: &[f32], options: &Options<'_>) -> Result<Vec<Neighbor>, SearchError> {
        match (&self.rows, &self.vectors, options.max_distance) {
            (Rows::Coded(quantizer, rows), Some(vectors), Some(limit)) if !options.exact => {
                let scorer = Scorer::new(query, self.dim, options.metric)?;
                let encoded = EncodedQuery::new(quantizer, query, options.metric);
                two_stage::within(
                    CodedLibrary { rows, vectors: vectors.as_ref() },
                    &encoded,
                    &scorer,
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
            Rows::Coded(_, rows) => rows.len(),
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
            Rows::Coded(_, rows) => rows.get(id).is_some(),
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
            Rows::Coded(_, rows) => of(rows.chunks(), after),
        }
    }

    /// Returns the code of a photo; `None` while full vectors are in memory.
    pub fn code_of(&self, id: PhotoId) -> Option<Code> {
        match &self.rows {
            Rows::Full(_) => None,
            Rows::Coded(_, rows) => rows.get(id).map(|(coarse, fine)| Code { coarse: coarse[0], fine }),
        }
    }

    /// Returns the quantizer of the codes; `None` while full vectors are in memory.
    pub fn quantizer(&self) -> Option<&Arc<Quantizer>> {
        match &self.rows {
            Rows::Full(_) => None,
            Rows::Coded(quantizer, _) => Some(quantizer),
        }
    }

    /// Returns every code in the order of ids, for the store to keep beside [`Self::quantizer`]; none while full
    /// vectors are in memory.
    pub fn codes(&self) -> impl Iterator<Item = (PhotoId, Code)> {
        let chunks = match &self.rows {
            Rows::Full(_) => &[],
            Rows::Coded(_, rows) => rows.chunks(),
        };
        chunks.iter().flat_map(|chunk| {
            let parts = chunk.values().iter().zip(chunk.notes());
            chunk.ids().iter().zip(parts).map(|(&id, (&coarse, &fine))| (id, Code { coarse, fine }))
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
            (Rows::Coded(..), Some(vectors)) => vectors.fetch(ids, visit).map_err(SearchError::Vectors),
            (Rows::Coded(..), None) => unreachable!("an index is coded only over vectors"),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let coded = self.quantizer().is_some();
        f.debug_struct("Snapshot")
            .field("dim", &self.dim)
            .field("len", &self.len())
            .field("coded", &coded)
            .finish()
    }
}
