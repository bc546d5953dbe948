//! Row <-> bytes.
//!
//! Rows are postcard (<https://postcard.jamesmunns.com/wire-format>); embeddings are plain `f32`, little endian.
//! Reading never trusts the bytes: whatever does not parse is [`StoreError::Damaged`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::decode::PhotoInfo;
use crate::photo::{ContentHash, Fingerprint, Metric, PhotoId};
use crate::watch::Volume;

/// What the store knows of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// What the disk said when it was read.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub state: FileState,
}

/// What became of a file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    /// It holds this photo.
    Photo(PhotoId),
    /// It could not be indexed; the failure record says why.
    Failed,
    /// It is no photo, and its name does not claim that it is one.
    NotAPhoto,
}

/// One content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoRecord {
    /// Hash of the bytes.
    pub content: ContentHash,
    /// How many bytes.
    pub size_bytes: u64,
    /// What the photo says of itself.
    pub info: PhotoInfo,
}

/// Why a file could not be indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// What the user can do about it.
    pub kind: FailureKind,
    /// What is wrong, for a person.
    pub reason: String,
    /// When it was tried, seconds since 1970.
    pub at: i64,
    /// Size of the file then.
    pub size_bytes: u64,
}

/// Kinds of failures, by what the user can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The content is damaged.
    Corrupt,
    /// A format, or a variant of it, that is not supported.
    Unsupported,
    /// Over the configured limits.
    TooLarge,
    /// Named like a photo, but something else.
    NotAPhoto,
    /// The disk did not give it.
    Unreadable,
    /// Decoding took too long.
    TimedOut,
    /// The decoder or the network failed on it.
    Internal,
    /// No fault of the file's: the machine ran short, or the decoder was stopped from outside.
    Passing,
}

/// A watched folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRecord {
    /// Absolute path, as bytes.
    pub path: Vec<u8>,
    /// The volume it was on when it was last seen.
    pub volume: Option<Volume>,
    /// Added by a call, so that it stays without being configured.
    pub kept: bool,
}

/// A network whose embeddings are, or were, in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Key of its embeddings.
    pub id: u32,
    /// Name at the time.
    pub name: String,
    /// Numbers in an embedding.
    pub dim: u32,
    /// Metric the network was used with by default.
    pub metric: Metric,
}

/// Which photos a network's near pairs are known of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Pairs farther apart were not kept.
    pub limit: f32,
    /// First and last photo of each run of compared ones.
    pub runs: Vec<(PhotoId, PhotoId)>,
}

/// Writes a row.
pub(super) fn to_bytes<T: Serialize>(row: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(row).map_err(|source| StoreError::Damaged { what: "a row to be written", source })
}

/// Reads a row; `what` names it in the error.
pub(super) fn from_bytes<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|source| StoreError::Damaged { what, source })
}

/// Writes an embedding.
pub(super) fn embedding_to_bytes(embedding: &[f32]) -> Vec<u8> {
    embedding.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads an embedding of `dim` numbers into `values`.
pub(super) fn embedding_from_bytes(
    bytes: &[u8],
    dim: usize,
    values: &mut Vec<f32>,
) -> Result<(), StoreError> {
    if bytes.len() != dim * size_of::<f32>() {
        return Err(StoreError::EmbeddingLength { found: bytes.len() / size_of::<f32>(), expected: dim });
    }
    values.clear();
    values.extend(bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_bytes::<FileRecord>(&bytes, "a file");
            let _ = from_bytes::<PhotoRecord>(&bytes, "a photo");
            let _ = from_bytes::<FailureRecord>(&bytes, "a failure");
            let _ = from_bytes::<RootRecord>(&bytes, "a root");
            let _ = from_bytes::<ModelRecord>(&bytes, "a model");
        }

        #[test]
        fn an_embedding_is_read_back_bit_for_bit(values in prop::collection::vec(any::<f32>(), 0..50)) {
            let mut read = Vec::new();
            embedding_from_bytes(&embedding_to_bytes(&values), values.len(), &mut read).unwrap();
            prop_assert_eq!(
                read.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
                values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn an_embedding_of_another_length_is_refused() {
        let bytes = embedding_to_bytes(&[1.0, 2.0]);
        assert!(embedding_from_bytes(&bytes, 3, &mut Vec::new()).is_err());
    }
}
