//! Geometric verification: two pictures in, whether and how one shows what the other shows out.
//!
//! An embedding says that two pictures are of a kind; two pages with one letterhead are as near by it as two copies of one
//! page. Here single points are looked for: corners of one picture that are found again in the other, all moved by one and the
//! same map. Nothing is learnt but the weights of the last step. It takes some milliseconds a picture and a pair, and no
//! clock, thread or random number. Read downwards:
//!
//! | room | in | out |
//! | --- | --- | --- |
//! | `plane` | an upright picture | its brightness, sized, in levels of a pyramid |
//! | `corners` | a level | places that are found again in other pictures |
//! | `descriptor` | the patch around a place | its direction, and 256 bits |
//! | `keypoints` | a picture | its [`LocalFeatures`]: up to 500 such places |
//! | `matching` | two pictures' features | places that look alike |
//! | `transform`, `consensus` | those | the map that most of them agree with |
//! | `agreement` | that map | what else is found where the map puts it, and how alike the tones are |
//! | `comparison` | all of this | a [`Comparison`], also with the mirrored picture |
//! | `verdict` | a comparison | a [`Judgement`]: copy, edit, turned, mirrored, another shot, different |
//! | `stored` | features | bytes, and back |
//!
//! Invariant: the same pictures give the same answer, on every machine and each time.

mod agreement;
mod comparison;
mod consensus;
mod corners;
mod descriptor;
mod keypoints;
mod matching;
mod plane;
mod stored;
mod transform;
mod verdict;

#[cfg(test)]
mod tests;

pub use comparison::{Comparison, compare};
pub use keypoints::LocalFeatures;
pub use plane::{LONG_SIDE, Plane};
pub use verdict::{JUDGE, Judgement, Verdict, judge};
