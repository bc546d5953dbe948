//! Duplicates: all pairs of photos within a distance, and groups of them.
//!
//! | file | in | out |
//! | --- | --- | --- |
//! | `pairs` | new photos, those compared before, a limit | the [`Pair`]s within it, none missed |
//! | `prefilter` | coarse codes of photos and of rows | pairs that may be within, by a lower bound |
//! | `integer_dot` | levels of two photos and of 64 rows | their dot products, by the processor's widest instructions |
//! | `groups` | pairs | groups in which each photo is near each other |

mod groups;
mod integer_dot;
mod pairs;
mod prefilter;

pub use self::groups::groups;
pub use self::pairs::{MOST_A_PHOTO, Pair};
