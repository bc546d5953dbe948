//! Duplicates: all pairs of photos within a distance, and groups of them.
//!
//! | file | in | out |
//! | --- | --- | --- |
//! | `pairs` | new photos, those compared before, a limit | the [`Pair`]s within it, none missed |
//! | `prefilter` | coarse codes of photos and of rows | pairs that may be within, by a lower bound |
//! | `integer_dot` | levels of two photos and of 64 rows | their dot products, by the processor's widest instructions |
//! | `neighborhood` | near pairs | each pair's distance as a share of how far apart photos are around it |
//! | `bursts` | shots by time and camera | pairs of shots within seconds |
//! | `groups` | pairs | groups in which a center is near all others |

mod bursts;
mod groups;
mod integer_dot;
mod neighborhood;
mod pairs;
mod prefilter;

pub use self::bursts::{Shot, shots_within};
pub use self::groups::{Group, groups};
pub use self::neighborhood::{Neighborhood, SAMPLE, share};
pub use self::pairs::{MOST_A_PHOTO, Pair};
