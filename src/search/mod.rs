//! Searching: a query vector in, the photos whose embeddings are nearest out.
//!
//! An [`Index`] is made from the store when the daemon starts and follows every committed batch. A query runs
//! on a [`Snapshot`]: it costs a pointer to take, never changes, and neither waits for a writer nor delays
//! one. Queries run on the caller's thread, with help from one pool of threads for all of them.
//!
//! Of a small library the full vectors are in memory, and each query is compared with all of them. Of a larger one a
//! [`Code`] of each is (what users read of as a sketch): all codes are scanned, and the most promising candidates are
//! rescored with full vectors, read through [`Vectors`], until the others cannot be near as far as the [`Quantizer`] knows
//! its photos. Read downwards:
//!
//! | room | in | out |
//! | --- | --- | --- |
//! | `index` | committed batches: ids and vectors of `dim` `f32` | snapshots, and the questions they answer |
//! | `query` | a vector and [`Options`] | at most `k` [`Neighbor`]s, ascending; `rescore` decides which |
//! | `duplicates` | new photos, a limit | all [`Pair`]s within it, and groups of them |
//! | `filter` | conditions, facts of photos | the [`PhotoSet`] that a query is confined to |
//! | `code` | a vector | 248 bytes; from two of them an estimate and a lower bound of the distance |
//! | `rows` | ids with what is kept of each photo | the same in chunks that snapshots share; the seam to full vectors |
//!
//! Beside them: `fitted`, the constants that were fitted, and how; `kernels`, the inner loops over `f32`; `pool`, the threads;
//! `recall` and `sampling`, how much is found, and on which photos that is measured; `error`.
//!
//! Invariant: the answer is the first `k` photos in the order of (distance, [`PhotoId`](crate::photo::PhotoId)),
//! whatever order the photos were inserted in, however many threads looked for them, and whatever a filter left out;
//! of a library of codes, with [`Options::exact`] or within a distance. Otherwise it may miss some:
//! [`Index::measure_recall`] says how many.
//! Invariant: every distance that leaves this room was computed from two full vectors, never from anything shorter.

mod code;
mod duplicates;
mod error;
mod filter;
mod fitted;
mod index;
mod kernels;
mod pool;
mod query;
mod recall;
mod rows;
mod sampling;

#[cfg(test)]
mod tests;

pub use code::{Code, Quantizer};
pub use duplicates::{Group, MOST_A_PHOTO, Neighborhood, Pair, SAMPLE, Shot, groups, share, shots_within};
pub use error::SearchError;
pub use filter::{Area, Facet, FacetValue, FactTable, Facts, Filter, PhotoSet, RootLocation, TakenAt};
pub use fitted::{MAX_FULL_VECTORS, SUFFICIENT_RECALL};
pub use index::{Index, Snapshot};
pub use pool::in_background;
pub use query::{Example, Neighbor, Options, combine, rounding};
pub use recall::Recall;
pub use rows::{Vectors, VectorsError};
