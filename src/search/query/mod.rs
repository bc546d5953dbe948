//! Queries: a vector and [`Options`] in, the nearest photos out.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | what is wanted of a search |
//! | `scorer` | the query, ready to be measured against full vectors |
//! | `scan` | a small library: every full vector, in memory |
//! | `two_stage` | a large one: coarse codes choose a shortlist, whole codes choose candidates of it ... |
//! | `rescore` | ... and full vectors decide among the candidates |
//! | `exact` | a large one with [`Options::exact`]: every full vector, from the store |
//! | `nearest`, `shortlist` | the best `k` with their distances; the best thousands of rows by an estimate |
//! | `examples` | several examples, liked and disliked, as one vector |
//!
//! All return the photos in the order of (distance, [`PhotoId`](crate::photo::PhotoId)).

pub(super) mod exact;
mod examples;
mod nearest;
mod options;
mod rescore;
pub(super) mod scan;
mod scorer;
mod shortlist;
pub(super) mod two_stage;

pub(super) use self::exact::Priority;
pub use self::examples::{Example, combine};
pub(super) use self::nearest::Nearest;
pub use self::nearest::Neighbor;
pub use self::options::{Options, rounding};
pub(super) use self::scorer::Scorer;
