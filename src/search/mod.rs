//! Searching: a query vector in, the photos whose embeddings are nearest out.
//!
//! An [`Index`] is rebuilt from the store when the daemon starts and follows every committed batch. A query runs
//! on a [`Snapshot`]: it costs a pointer to take, never changes, and neither waits for a writer nor delays
//! one. Queries run on the caller's thread and, for larger libraries, on scoped threads beside it.
//!
//! Of a small library the full vectors are in memory. Of a larger one a [`Sketch`] of each is: all sketches are
//! scanned, and the best hundred or so candidates are compared with their full vectors, read through [`Vectors`].
//! [`Index::learn`] goes from the one to the other, [`Index::measure_recall`] says how much is found.
//!
//! Invariant: the answer is the first `k` photos in the order of (distance, [`PhotoId`](crate::photo::PhotoId)),
//! whatever order the photos were inserted in, however many threads looked for them, and whatever a filter left out;
//! of a sketched library, with [`Options::exact`].
//! Invariant: every distance that leaves this room was computed from two full vectors, never from anything shorter.

mod basis;
mod chunks;
mod duplicates;
mod error;
mod estimate;
mod exact;
mod examples;
mod facts;
mod filter;
mod index;
mod kernels;
mod learning;
mod nearest;
mod pairs;
mod photo_set;
mod pool;
mod principal;
mod probe;
mod recall;
mod scan;
mod sketch;
mod two_stage;
mod vectors;

#[cfg(test)]
mod tests;

pub use basis::Basis;
pub use duplicates::groups;
pub use error::SearchError;
pub use examples::{Example, combine};
pub use facts::{FactTable, Facts};
pub use filter::{Filter, Place, RootPlace};
pub use index::{Index, Snapshot};
pub use nearest::Neighbor;
pub use pairs::{MOST_A_PHOTO, Pair};
pub use photo_set::PhotoSet;
pub use recall::Recall;
pub use scan::Options;
pub use sketch::Sketch;
pub use vectors::{Vectors, VectorsError};
