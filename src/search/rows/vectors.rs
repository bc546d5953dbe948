//! The seam to whoever keeps the full vectors.

use std::error::Error;

use crate::photo::PhotoId;

/// Why the full vectors could not be read. The store's own error, kept as the source of [`SearchError::Vectors`].
///
/// [`SearchError::Vectors`]: crate::search::SearchError::Vectors
pub type VectorsError = Box<dyn Error + Send + Sync>;

/// Reads full vectors. One query reads a hundred or so, from several threads at once if they are many.
pub trait Vectors: Send + Sync {
    /// Calls `visit` with the vector of each of these photos, in any order. A photo without a vector is passed over:
    /// it was removed after the snapshot had been taken. `ids` ascend.
    ///
    /// # Errors
    ///
    /// Whatever keeps the vectors from being read.
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError>;
}
