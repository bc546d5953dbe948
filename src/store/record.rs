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
    /// Absolute path as it was configured or added, links included, as bytes.
    pub path: Vec<u8>,
    /// The volume it was on when it was last seen.
    pub volume: Option<Volume>,
    /// Added by a call, so that it stays without being configured.
    pub kept: bool,
    /// Where it was last seen, as bytes; none where that was at its path.
    pub seen_at: Option<Vec<u8>>,
    /// Other volumes that were mounted below it when they were last seen.
    pub mounts: Vec<MountRecord>,
}

/// A volume mounted below a watched folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// Where, relative to the watched folder, as bytes.
    pub at: Vec<u8>,
    /// Which; none where an earlier version wrote the record, which kept the place only.
    pub volume: Option<Volume>,
}

/// A watched folder as earlier versions wrote it down.
#[derive(Serialize, Deserialize)]
struct FormerRoot {
    path: Vec<u8>,
    volume: Option<FormerVolume>,
    kept: bool,
}

#[derive(Serialize, Deserialize)]
struct FormerVolume {
    uuid: Option<String>,
    file_system_id: Option<u64>,
    kind: String,
    source: String,
    inner_path: Vec<u8>,
    mounts: Vec<Vec<u8>>,
}

impl From<FormerRoot> for RootRecord {
    fn from(former: FormerRoot) -> Self {
        let FormerRoot { path, volume, kept } = former;
        let (volume, mounts) = match volume {
            Some(FormerVolume { uuid, file_system_id, kind, source, inner_path, mounts }) => {
                (Some(Volume { uuid, file_system_id, kind, source, inner_path }), mounts)
            }
            None => (None, Vec::new()),
        };
        let mounts = mounts.into_iter().map(|at| MountRecord { at, volume: None }).collect();
        Self { path, volume, kept, seen_at: None, mounts }
    }
}

/// Reads a watched folder, also as earlier versions wrote it. The layouts cannot be confused: what follows the
/// volume's `inner_path` in a former row is never a whole tail of a newer one.
pub(super) fn root_from_bytes(bytes: &[u8]) -> Result<RootRecord, StoreError> {
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Ok(record),
        _ => from_bytes::<FormerRoot>(bytes, "a root").map(RootRecord::from),
    }
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
            let _ = root_from_bytes(&bytes);
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
    fn a_folder_that_an_earlier_version_wrote_down_is_read() {
        let volume = |mounts: &[&[u8]]| FormerVolume {
            uuid: Some("x".into()),
            file_system_id: None,
            kind: "ext4".into(),
            source: "/dev/a".into(),
            inner_path: b"/".to_vec(),
            mounts: mounts.iter().map(|at| at.to_vec()).collect(),
        };
        let mounts: [&[&[u8]]; 5] = [&[], &[b"c"], &[b"\x01"], &[b"card/a"], &[b"a", b"b"]];
        for mounts in mounts {
            for (volume, kept) in [(Some(volume(mounts)), true), (Some(volume(mounts)), false), (None, true)]
            {
                let expected = volume.as_ref().map_or(0, |_| mounts.len());
                let bytes = to_bytes(&FormerRoot { path: b"/p".to_vec(), volume, kept }).unwrap();
                let read = root_from_bytes(&bytes).unwrap();
                assert_eq!(
                    (read.kept, read.mounts.len(), &read.seen_at),
                    (kept, expected, &None),
                    "{bytes:?}"
                );
                assert_eq!(root_from_bytes(&to_bytes(&read).unwrap()).unwrap(), read);
            }
        }
    }

    #[test]
    fn an_embedding_of_another_length_is_refused() {
        let bytes = embedding_to_bytes(&[1.0, 2.0]);
        assert!(embedding_from_bytes(&bytes, 3, &mut Vec::new()).is_err());
    }
}
