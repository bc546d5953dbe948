//! A prepared photo in, its embedding out.
//!
//! A [`Network`] is cut from the ONNX file of a model. A [`Runtime`] is chosen once for the process, and what it makes of the
//! network is [`Loaded`]: the weights, in memory once. An [`OnnxEncoder`] runs it and belongs to one thread; [`EncoderPool`]
//! owns those threads, and an [`EncoderHandle`] brings them photos. A [`Loader`] gives memory back while there are none.
//!
//! Invariant: an embedding that leaves this room has the manifest's dimension, and all its numbers are finite.

#[cfg(test)]
mod contract;
mod cut;
mod error;
pub mod fake;
mod graph;
mod head;
mod library;
mod loaded;
mod onnx;
pub mod preprocess;
mod rest;
mod runtime;
#[cfg(test)]
mod runtime_tests;
#[cfg(test)]
mod test_networks;
mod text;
#[cfg(test)]
mod text_tests;
mod thread;
mod tract;
mod trial;

pub use cut::{CutError, Network};
pub use error::EncodeError;
pub use library::{Candidate, PassedOver, check_library};
pub use loaded::{Loaded, Loader};
pub use onnx::OnnxEncoder;
pub use preprocess::Input;
pub use runtime::{Runtime, RuntimeChoice, RuntimeError};
pub use text::{TextEncoder, TextError, TextHandle, TextPool};
pub use thread::{EncoderHandle, EncoderPool, LoadEncoder, PoolOptions};
pub use trial::{Trial, TrialError, try_out};

use crate::photo::Embedding;

/// Turns photos into embeddings. Equal photos get equal embeddings.
pub trait Encoder {
    /// Numbers in one embedding.
    fn dim(&self) -> usize;

    /// Pixels a side of the photos it takes.
    fn side(&self) -> u32;

    /// Returns the embedding of each photo, in the order of the photos. An error condemns at least one of them and
    /// leaves the encoder usable.
    ///
    /// # Errors
    /// The network fails, or gives something else than its manifest says. The encoder can be used again.
    fn embed(&mut self, photos: &[Input]) -> Result<Vec<Embedding>, EncodeError>;
}

/// Refuses a photo of another size than `side`.
fn check_input(photo: &Input, side: u32) -> Result<(), EncodeError> {
    let numbers = 3 * side as usize * side as usize;
    if photo.side == side && photo.values.len() == numbers {
        Ok(())
    } else {
        Err(EncodeError::WrongInput { side, found: photo.values.len() })
    }
}

/// Refuses numbers that have no distance to others.
fn check_embedding(values: Vec<f32>) -> Result<Embedding, EncodeError> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(Embedding(values)),
        false => Err(EncodeError::NotFinite),
    }
}
