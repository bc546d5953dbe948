//! What version 1 had in other ways than version 2 has it. Files, photos, failures and models stood there in the same
//! bytes.
//!
//! Pairs and sketches of version 1 are not taken over: they were made from embeddings in full precision, and are made again.

use redb::TableDefinition;
use serde::Deserialize;

use super::StoreError;
use super::record::{MountRecord, RootRecord};
use crate::photo::Embedding;
use crate::watch::Volume;

/// The schema's number in such a file, which stood among other numbers.
pub(super) const VERSION: u64 = 1;
pub(super) const META_SCHEMA: &str = "schema";

/// (model, photo) -> numbers as f32, little endian.
pub(super) const EMBEDDINGS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("embeddings");

#[derive(Deserialize)]
struct RootRow {
    path: Vec<u8>,
    volume: Option<VolumeRow>,
    kept: bool,
}

#[derive(Deserialize)]
struct VolumeRow {
    uuid: Option<String>,
    file_system_id: Option<u64>,
    kind: String,
    source: String,
    inner_path: Vec<u8>,
    mounts: Vec<Vec<u8>>,
}

/// Reads a root.
pub(super) fn root(bytes: &[u8]) -> Result<RootRecord, StoreError> {
    let row = postcard::take_from_bytes::<RootRow>(bytes).ok().filter(|(_, rest)| rest.is_empty());
    let (RootRow { path, volume, kept }, _) = row.ok_or(StoreError::Damaged { what: "a folder" })?;
    let (volume, mounts) = match volume {
        Some(VolumeRow { uuid, file_system_id, kind, source, inner_path, mounts }) => {
            (Some(Volume { uuid, file_system_id, kind, source, inner_path }), mounts)
        }
        None => (None, Vec::new()),
    };
    let mounts = mounts.into_iter().map(|at| MountRecord { at, volume: None }).collect();
    Ok(RootRecord { path, volume, kept, seen_at: None, mounts })
}

/// Reads an embedding, and rounds it as those that come from the network are rounded now.
pub(super) fn embedding(bytes: &[u8], dim: usize) -> Result<Embedding, StoreError> {
    if bytes.len() != dim * size_of::<f32>() {
        return Err(StoreError::Damaged { what: "an embedding" });
    }
    let numbers = bytes.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk));
    Ok(Embedding(numbers.collect()).rounded())
}
