//! Searching: a query vector in, the photos whose embeddings are nearest out.
//!
//! An [`Index`] is made from the store when the daemon starts and follows every committed batch. A query runs
//! on a [`Snapshot`]: it costs a pointer to take, never changes, and neither waits for a writer nor delays
//! one. Queries run on the caller's thread, with help from one pool of threads for all of them.
//!
//! Of a small library the full vectors are in memory. Of a larger one a [`Sketch`] of each is: all sketches are
//! scanned, and the most promising candidates are compared with full vectors, read through [`Vectors`], until the rest
//! cannot be near as far as the [`Basis`] knows its photos.
//!
//! | file | what |
//! | --- | --- |
//! | `index`, `chunks` | the index and its snapshots; rows that they share |
//! | `scan`, `probe`, `kernels`, `nearest` | a query against full vectors in memory; the loops; the best `k` |
//! | `basis`, `principal`, `sketch`, `learning` | what sketches are, and learning them from a library |
//! | `two_stage`, `estimate`, `shortlist` | a query against sketches, then full vectors |
//! | `exact`, `recall` | a query against every full vector in the store, and how much of that is found |
//! | `facts`, `filter`, `photo_set` | what filters ask of photos, and the set of those that pass |
//! | `examples` | several examples as one query |
//! | `pairs`, `sieve`, `products`, `duplicates` | all near pairs of a library, and groups of them |
//! | `pool`, `vectors`, `error` | the threads, the seam to the store, what goes wrong |
//!
//! Invariant: the answer is the first `k` photos in the order of (distance, [`PhotoId`](crate::photo::PhotoId)),
//! whatever order the photos were inserted in, however many threads looked for them, and whatever a filter left out;
//! of a sketched library, with [`Options::exact`] or within a distance. Otherwise a sketched library may miss some:
//! [`Index::measure_recall`] says how many.
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
mod products;
mod recall;
mod scan;
mod shortlist;
mod sieve;
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
