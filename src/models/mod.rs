//! A model's name, or the path of its file, in; verified bytes and their manifest out.
//!
//! A **manifest** describes one network: which files hold it, their digests, how a photo is prepared for it, which
//! tensor is the embedding. The **catalogue** is all manifests together: those built into the executable, those of
//! the user, and one beside a model file that is named by its path. No ONNX is read here.
//!
//! Invariant: bytes leave this room only if they have the size and the digest that their manifest promises.

mod built_in;
mod catalogue;
mod digest;
mod error;
mod listing;
mod manifest;
mod preprocessing;
mod pull;

pub use catalogue::{Catalogue, DefaultModel, Model};
pub use digest::FileDigest;
pub use error::{Difference, ModelError};
pub use listing::{ModelRow, ModelState, Verdict, VerifyRow};
pub use manifest::{Bands, BandsByMetric, External, Manifest, Output, Source};
pub use preprocessing::{ImpossiblePreprocessing, Preprocessing};
pub use pull::{Progress, PullError};
