//! Codes: vectors that are too many for memory, in 248 bytes each, and what two codes say of a distance.
//!
//! In: vectors of `dim` `f32`. Out: a [`Code`] each, and from two codes an estimate and a lower bound of the distance
//! between the vectors. The way is well known: principal components, then scalar quantization of the position along them
//! (as in faiss' `PCAMatrix` and `ScalarQuantizer`); both sides of a comparison are quantized.
//!
//! | file | in | out |
//! | --- | --- | --- |
//! | `pca` | a sample, `rows x dim` | mean, `dim`; components, `384 x dim`, by falling variance |
//! | `quantizer` | a sample; then a vector, `dim` | a [`Quantizer`]; then a [`Code`] |
//! | `layout` | - | the code: 64 levels of a byte, 320 of half a byte, 6 numbers |
//! | `calibration` | codes and true distances of near neighbors | the cosines between their residuals |
//! | `estimate` | an [`EncodedQuery`] and codes, one a row | estimate and lower bound of each distance |
//!
//! The formulas stand in `estimate`.

mod calibration;
mod estimate;
mod layout;
mod pca;
mod quantizer;

pub(super) use self::calibration::CalibrationPair;
pub(super) use self::estimate::EncodedQuery;
pub use self::layout::Code;
pub(super) use self::layout::{COARSE_COMPONENTS, CoarseCode, FineCode};
pub use self::quantizer::Quantizer;
