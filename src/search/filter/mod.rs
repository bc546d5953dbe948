//! Filters: conditions in, the set of photos that meet them out.
//!
//! | file | in | out |
//! | --- | --- | --- |
//! | `facts` | what is known of each photo | the same in 31 bytes a photo, side by side |
//! | `conditions` | a [`Filter`] and [`Facts`] | a [`PhotoSet`] |
//! | `facets` | a [`PhotoSet`] and [`Facts`] | how many photos have what in common |
//! | `photo_set` | photos | a set that answers in a nanosecond or two whether a photo is in it |

mod conditions;
mod facets;
mod facts;
mod photo_set;

pub use self::conditions::{Area, Filter, RootLocation};
pub use self::facets::{Facet, FacetValue};
pub use self::facts::{FactTable, Facts, TakenAt};
pub use self::photo_set::PhotoSet;
