//! A model's name, or the path of its file, in; verified bytes and their manifest out.
//!
//! A **manifest** describes one network: which files hold it, their digests, how a photo is prepared for it, which
//! tensor is the embedding. The **catalogue** is all manifests together: those built into the executable, those of
//! the user, and one beside a model file that is named by its path. ONNX is written here, where a network is made of weights
//! that were published without it; none is read.
//!
//! Invariant: bytes leave this room only if they have the size and the digest that their manifest promises.

mod built_in;
mod catalogue;
mod choice;
mod content;
mod digest;
mod efficientnet_lite;
mod error;
mod listing;
mod manifest;
mod preprocessing;
mod pull;
mod torch;

pub use catalogue::{Catalogue, DefaultModel, Model, TextModel};
pub use choice::Choice;
pub use content::{Content, ContentError};
pub use digest::FileDigest;
pub use efficientnet_lite::{Architecture, MakeError};
pub use error::{Difference, ModelError};
pub use listing::{ModelRow, ModelState, Verdict, VerifyRow};
pub use manifest::{
    Bands, BandsByMetric, External, Known, LabelSet, Manifest, Output, Quality, Source, TextTower, Wheel,
};
pub use preprocessing::{ImpossiblePreprocessing, Preprocessing};
pub use pull::{Accept, AcceptLibrary, Progress, PullError, RUNTIME_VERSION, pull_runtime};
pub use torch::{StateError, Unreadable};
