//! What ends the room, or keeps it from starting. Nothing that one file or one folder does is in here.

use std::io;
use std::path::PathBuf;

use super::KnownError;
use super::rules::RuleError;
use crate::photo::RootId;

/// Why the room did not start, refused a root, or ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel gives no inotify instance.
    #[error("cannot ask the kernel for file system events (is fs.inotify.max_user_instances used up?)")]
    NoEvents(#[source] notify::Error),
    /// The source of events ended.
    #[error("file system events ended unexpectedly")]
    EventsEnded,
    /// The store could not say what it knows.
    #[error("cannot ask the store what it knows")]
    Known(#[from] KnownError),
    /// An ignore pattern is not valid.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The root lies in another, or another in it.
    #[error("{} cannot be a root: it overlaps with the root {}", path.display(), other.display())]
    Nested {
        /// The root that was to be added.
        path: PathBuf,
        /// The root that is there.
        other: PathBuf,
    },
    /// Roots are told apart by absolute paths.
    #[error("{} cannot be a root: its path is not absolute", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// There is a root of this number.
    #[error("there is a root {} already", id.0)]
    SameNumber {
        /// The number.
        id: RootId,
    },
    /// Mount changes cannot be waited for.
    #[error("cannot wait for mount changes")]
    Mounts(#[source] io::Error),
    /// The disk would not tell of a file.
    #[error("cannot look at {}", path.display())]
    Look {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A thread ended although nobody asked it to.
    #[error("the thread {name} ended unexpectedly")]
    ThreadEnded {
        /// Its name.
        name: String,
        /// Why; none where it panicked.
        source: Option<Box<WatchError>>,
    },
}
