//! Rows: what is kept in memory of each photo, and the seam to what is not.
//!
//! Of a small library that is the full vector, `dim` `f32`; of a larger one its [`Code`], 248 bytes in two parts
//! that are read at different times. Rows lie in the order of their ids, in chunks that snapshots share. Full vectors that are
//! not in memory are read through [`Vectors`].

mod chunks;
mod vectors;

pub(super) use self::chunks::{Chunk, Chunks, MOST_ROWS};
pub use self::vectors::{Vectors, VectorsError};
use super::code::{CoarseCode, Code, FineCode};
use crate::photo::PhotoId;

/// Full vectors; each noted with its inverse norm, or 0 where it has no direction.
pub(super) type FullRows = Chunks<f32, f32>;

/// One code a row: what is read of every row as its value, what is read of the better ones as its note.
pub(super) type CodeRows = Chunks<CoarseCode, FineCode>;

/// The codes of a library, and the way to its full vectors.
#[derive(Clone, Copy)]
pub(super) struct CodedLibrary<'a> {
    pub rows: &'a CodeRows,
    pub vectors: &'a dyn Vectors,
}

impl CodeRows {
    /// Inserts a code, or replaces the one with this id.
    pub fn insert_code(&mut self, id: PhotoId, Code { coarse, fine }: Code) {
        self.insert(id, &[coarse], fine);
    }
}
