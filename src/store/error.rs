//! Errors of the store. All but [`StoreError::CannotWrite`] end the daemon or its start: over a store in an unknown state
//! nothing is written.

use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use rustix::io::Errno;

use super::{Problem, ProblemKind};

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A second daemon on the same data.
    #[error("{} is in use: another resembled runs on this data directory. Stop it, or set XDG_DATA_HOME to another directory for this one", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },

    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },

    /// The directory of the file cannot be made.
    #[error("cannot create {}", path.display())]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// The disk takes no writes. All that is known can be read, and writing goes on by itself.
    #[error("{} cannot be written: {problem}. {}", path.display(), advice(problem.kind))]
    CannotWrite {
        /// The store's file.
        path: PathBuf,
        /// What is the matter.
        problem: Problem,
    },

    /// A number that the store gives out does not fit its rows any more.
    #[error("the store has no numbers left for {0}")]
    OutOfNumbers(&'static str),

    /// Written by a newer version.
    #[error("{} has format {found}, this resembled knows formats up to {known}. Install the newer version again, or move the file away to index anew", path.display())]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that this code knows.
        known: u64,
    },

    /// Reading or writing failed.
    #[error("the store could not be read or written")]
    Database(#[from] Box<redb::Error>),

    /// A row does not parse, although its bytes are those that were written.
    #[error(
        "{what} in the store cannot be read: it was written by another version, or by a fault in this one"
    )]
    Damaged {
        /// The kind of row.
        what: &'static str,
    },

    /// A row of embeddings is not as long as it says.
    #[error("a row of {len} bytes does not hold embeddings of {dim} numbers")]
    VectorRow {
        /// Its length.
        len: usize,
        /// Numbers in an embedding.
        dim: usize,
    },

    /// A row cannot be written.
    #[error("{what} cannot be put into a row")]
    Unwritable {
        /// The kind of row.
        what: &'static str,
        /// What the writer says.
        source: postcard::Error,
    },

    /// The disk has damaged the file.
    #[error("{} is damaged (block {block}). Start resembled again: it keeps what is whole, and reads the rest again from the photos", path.display())]
    DamagedBlock {
        /// The store's file.
        path: PathBuf,
        /// The first block that does not pass its check.
        block: u64,
    },

    /// The file is damaged so that nothing of it can be had, or is something else.
    #[error("{} is damaged, or is no store of resembled. Run `resembled repair`: it moves the file aside, keeps what can be read of it and of the copy of your folders and marks, and the photos are indexed again", path.display())]
    Refused {
        /// The store's file.
        path: PathBuf,
    },

    /// There is nothing to repair.
    #[error("there is no store at {}. Start resembled: it makes one", path.display())]
    NoStore {
        /// Where it would be.
        path: PathBuf,
    },

    /// A new file could not be made.
    #[error("cannot make {} anew beside itself. What was there is as it was. Give it room, or mend what the system says, and start resembled again", path.display())]
    Build {
        /// The store's file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },

    /// There is no room for a copy.
    #[error("a copy of {} needs {} of room beside it, and {} are free there: make room on that disk", path.display(), HumanBytes(*needed), HumanBytes(*free))]
    NoRoom {
        /// The store's file.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },

    /// Nobody waits for it any more.
    #[error("it is not wanted any more")]
    GivenUp,

    /// An embedding is not as long as its network's are.
    #[error("an embedding of {found} numbers where the network has {expected}")]
    EmbeddingLength {
        /// Numbers found.
        found: usize,
        /// Numbers expected.
        expected: usize,
    },

    /// A commit is on the disk, but the search could not be told of it.
    #[error("the search could not follow a commit")]
    Follow(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The writer has ended.
    #[error("the store's writer has ended")]
    WriterEnded,

    /// The writer panicked.
    #[error("the store's writer panicked")]
    WriterPanicked,

    /// The thread of the writer could not be started.
    #[error("cannot start the store's writer")]
    StartWriter(#[source] std::io::Error),
}

/// What somebody can do.
fn advice(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Full => "Free some space there; it goes on by itself",
        ProblemKind::ReadOnly => "Make it writable again; it goes on by itself",
        ProblemKind::Failing | ProblemKind::Unreadable => {
            "Look at the system's log for the disk (`journalctl -k`)"
        }
    }
}

impl StoreError {
    /// Whether the disk did not give what was written to it, which starting again does not mend.
    pub fn is_unreadable(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Database(source) => match &**source {
                redb::Error::Io(error) => error.raw_os_error() == Some(Errno::IO.raw_os_error()),
                _ => false,
            },
            Self::CannotWrite { problem, .. } => problem.kind == ProblemKind::Unreadable,
            _ => false,
        }
    }

    pub(super) fn not_opened(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path: path.to_path_buf() },
            error => Self::Open { path: path.to_path_buf(), source: Box::new(error) },
        }
    }
}

/// redb has one error type for each kind of call; all of them mean the same to us.
macro_rules! from_redb {
    ($($error:ty),+) => {
        $(impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })+
    };
}

from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);
