//! What is said of a root and of the room as a whole: the words that status and log use.

use std::fmt;
use std::path::PathBuf;

use super::volume::Volume;
use crate::photo::RootId;

/// What is known of a root, for status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootStatus {
    /// Its number.
    pub id: RootId,
    /// Where it is; changes when its volume is found at another mount point.
    pub path: PathBuf,
    /// Whether it is there.
    pub state: RootState,
    /// How changes are noticed.
    pub watching: Watching,
    /// The volume it is on; none before it was first seen.
    pub volume: Option<Volume>,
    /// Directories at the last walk.
    pub directories: u64,
    /// Candidate files, as far as known.
    pub files: u64,
    /// Directories and files that could not be looked at in the last walk.
    pub unreadable: u64,
    /// Files that seem to be gone, but too many at once to be believed yet.
    pub held_back: Option<HeldBack>,
}

/// Whether a root is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootState {
    /// Not looked at yet.
    Waiting,
    /// Being compared as a whole.
    Scanning,
    /// There, and watched.
    Online,
    /// Not there. Nothing is deleted while that is so.
    Offline(OfflineReason),
}

/// Why a root is offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfflineReason {
    /// There is no directory at its path.
    Missing,
    /// Its path cannot be looked at; with the system's reason.
    Unreachable(String),
    /// It has no entry at all, and had photos.
    Empty,
    /// Another volume is at its path.
    OtherVolume,
}

impl fmt::Display for OfflineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the folder is not there; is its drive unplugged or not mounted?"),
            Self::Unreachable(why) => write!(f, "the folder cannot be looked at: {why}"),
            Self::Empty => f.write_str(
                "the folder is empty, and had photos; if that is on purpose, remove the root and add it again",
            ),
            Self::OtherVolume => f.write_str(
                "another drive is mounted at its path; if that is on purpose, remove the root and add it again",
            ),
        }
    }
}

/// How changes of a root are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watching {
    /// The kernel tells.
    Inotify,
    /// It is walked from time to time.
    Polling(PollReason),
}

/// Why a root is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollReason {
    /// Others may change the file system behind the kernel's back; with its kind.
    FileSystem(&'static str),
    /// There are not enough inotify watches.
    WatchLimit {
        /// The value of `fs.inotify.max_user_watches` that would do.
        needed: u64,
        /// Its value now; none where the kernel does not say.
        limit: Option<u64>,
    },
    /// The same folder is watched already under another root.
    WatchedTwice(PathBuf),
}

impl fmt::Display for PollReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem(kind) => write!(f, "changes made elsewhere on {kind} are not announced"),
            Self::WatchLimit { needed, limit: Some(limit) } => write!(
                f,
                "too few inotify watches: fs.inotify.max_user_watches is {limit}, set it to at least {needed}"
            ),
            Self::WatchLimit { needed, limit: None } => {
                write!(f, "too few inotify watches: set fs.inotify.max_user_watches to at least {needed}")
            }
            Self::WatchedTwice(other) => write!(f, "the same folder is watched as {}", other.display()),
        }
    }
}

/// A mass disappearance that is not believed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// How many files seem to be gone.
    pub missing: u64,
    /// How many were known.
    pub known: u64,
}

/// What the room is doing. All zero is rest: everything heard of has been handed to the sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Roots that are being compared, or are about to be.
    pub busy_roots: usize,
    /// Files that wait to become quiet, and events not looked at yet.
    pub settling: usize,
}

impl Activity {
    /// Says whether there is nothing to do.
    pub fn is_idle(self) -> bool {
        self == Self::default()
    }
}
