//! Errors of the encode room.

use std::io;

/// What a runtime says is wrong.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An embedding cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The runtime refuses the network. No photo can be encoded.
    #[error("the runtime cannot load the network")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The network gives something else than the manifest says. No photo can be encoded.
    #[error(
        "the network gives {found} numbers for a photo, its manifest says dim = {promised}: correct `dim` or `output` there"
    )]
    WrongDim {
        /// By the manifest.
        promised: usize,
        /// By the network.
        found: usize,
    },

    /// The photo was prepared for another network.
    #[error("the network takes {side}x{side} pixels, not {found} numbers")]
    WrongInput {
        /// Pixels a side of the network's input.
        side: u32,
        /// Numbers in the photo's input.
        found: usize,
    },

    /// The network failed on this photo.
    #[error("the network failed on this photo")]
    Run(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The embedding holds a NaN or an infinity, so it has no distance to anything.
    #[error("the embedding of this photo is not finite")]
    NotFinite,

    /// So many queries wait already that this one was not taken.
    #[error("too many queries at once")]
    Busy,

    /// The threads have ended, or this photo's has panicked.
    #[error("the encoder has stopped")]
    Stopped,

    /// A thread panicked: a bug. Its message is on standard error.
    #[error("the thread {0} panicked")]
    Panicked(String),

    /// The system gives no more threads.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}
