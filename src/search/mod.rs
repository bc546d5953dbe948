//! Searching: a query vector in, the photos whose embeddings are nearest out.
//!
//! An [`Index`] is rebuilt from the store when the daemon starts and follows every committed batch. A query runs
//! on a [`Snapshot`]: it costs a pointer to take, never changes, and neither waits for a writer nor delays
//! one. Queries run on the caller's thread and, for larger libraries, on scoped threads beside it.
//!
//! Invariant: the answer is the first `k` photos in the order of (distance, [`PhotoId`](crate::photo::PhotoId)),
//! whatever order the photos were inserted in, however many threads looked for them, and whatever a filter left out.
//! Invariant: every distance that leaves this room was computed from two full vectors, never from anything shorter.

mod chunks;
mod error;
mod index;
mod kernels;
mod nearest;
mod probe;
mod scan;

#[cfg(test)]
mod tests;

pub use error::SearchError;
pub use index::{Index, Snapshot};
pub use nearest::Neighbor;
pub use scan::Options;
