//! Errors of the search room. Each refuses one request or one batch and leaves the index as it was.

use super::rows::VectorsError;
use crate::photo::PhotoId;

/// Why a batch was not applied, or a query not answered.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The vector is longer or shorter than those of the model in use.
    #[error("the vector has {found} numbers, the index holds vectors of {expected}")]
    WrongDimension {
        /// Numbers in a vector of this index.
        expected: usize,
        /// Numbers in the refused vector.
        found: usize,
    },

    /// An embedding holds NaN or an infinity, or is longer than 1e15.
    #[error("the embedding of photo {} is not finite, or beyond all measure", .0.0)]
    EmbeddingNotFinite(PhotoId),

    /// The query holds NaN or an infinity, or is longer than 1e15.
    #[error("the query vector is not finite, or beyond all measure")]
    QueryNotFinite,

    /// Of several examples, none is liked more than others are disliked.
    #[error("the weights of the examples must add up to more than 0")]
    NothingLiked,

    /// The full vectors, or what else of the store a search asks for, could not be read.
    #[error("cannot read the store")]
    Vectors(#[source] VectorsError),

    /// The caller lost interest while the search was running.
    #[error("the search was cancelled")]
    Cancelled,
}
