//! Errors of the decode room. Each condemns one photo, never the daemon, and says in plain words what is wrong.

use serde::{Deserialize, Serialize};

use super::Format;

/// Why a photo could not be decoded. The path is the caller's to add. It crosses the border of the worker
/// process, so the causes are told as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,

    /// The content is not that of any picture format we know.
    #[error("the content is not a photo")]
    NotAPhoto,

    /// The bytes break the rules of their format, or end too early.
    #[error("broken {format} file: {reason}")]
    Malformed {
        /// What the file claims to be.
        format: Format,
        /// What the decoder found wrong.
        reason: String,
    },

    /// A valid picture of a kind that is not decoded.
    #[error("unsupported: {what}")]
    Unsupported {
        /// The kind, with its format.
        what: String,
    },

    /// Refused by its header, before a pixel was allocated.
    #[error("too large: {width}x{height} pixels, the limit is {limit} pixels")]
    TooManyPixels {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// [`Limits::max_pixels`](super::Limits::max_pixels).
        limit: u64,
    },

    /// The file itself is longer than allowed.
    #[error("too large: a file of {len_bytes} bytes, the limit is {limit_bytes} bytes")]
    TooManyBytes {
        /// Length of the file.
        len_bytes: u64,
        /// [`Limits::max_bytes`](super::Limits::max_bytes).
        limit_bytes: u64,
    },

    /// Decoding would take more memory than allowed.
    #[error(
        "too large: {width}x{height} {format}, decoding takes more than the limit of {limit_bytes} bytes of memory"
    )]
    TooMuchMemory {
        /// What the file is.
        format: Format,
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// [`Limits::max_memory_bytes`](super::Limits::max_memory_bytes).
        limit_bytes: u64,
    },

    /// Decoding took more memory than the header told.
    #[error("too large: decoding took more than the limit of {limit_bytes} bytes of memory")]
    OutOfMemory {
        /// [`Limits::max_memory_bytes`](super::Limits::max_memory_bytes).
        limit_bytes: u64,
    },

    /// Decoding took longer than allowed and was given up.
    #[error("decoding took longer than {limit_ms} ms")]
    TimedOut {
        /// [`Limits::max_time`](super::Limits::max_time) in milliseconds.
        limit_ms: u64,
    },

    /// The decoder failed in a way it should not have: a fault of ours, set off by this file.
    #[error("the decoder failed: {reason}")]
    Crashed {
        /// The panic's message, or how the worker process ended.
        reason: String,
    },
}

/// The kinds of failure that the store and the clients tell apart. Stored by number: append, never reorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// The file is damaged, incomplete or empty.
    Corrupt,
    /// A picture of a kind that is not decoded.
    Unsupported,
    /// Beyond a limit of bytes, pixels or memory.
    TooLarge,
    /// Not a picture at all.
    NotAPhoto,
    /// Beyond the limit of time.
    TimedOut,
    /// The decoder crashed on it.
    Crashed,
}

impl FailureKind {
    /// Returns the kind as one lower-case word, for tables and scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too-large",
            Self::NotAPhoto => "not-a-photo",
            Self::TimedOut => "timed-out",
            Self::Crashed => "crashed",
        }
    }
}

impl DecodeError {
    /// Returns the kind of failure, for filters and counts.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Empty | Self::Malformed { .. } => FailureKind::Corrupt,
            Self::NotAPhoto => FailureKind::NotAPhoto,
            Self::Unsupported { .. } => FailureKind::Unsupported,
            Self::TooManyPixels { .. }
            | Self::TooManyBytes { .. }
            | Self::TooMuchMemory { .. }
            | Self::OutOfMemory { .. } => FailureKind::TooLarge,
            Self::TimedOut { .. } => FailureKind::TimedOut,
            Self::Crashed { .. } => FailureKind::Crashed,
        }
    }

    pub(super) fn malformed(format: Format, reason: impl ToString) -> Self {
        Self::Malformed { format, reason: reason.to_string() }
    }
}
