//! Watching: the file system in, [`Change`]s for the ingest room out, and the state of every root for status.
//!
//! Comparing the disk with what is [`Known`] decides; events only say where to look. One comparison
//! (`scan`) serves the start, live events, polling and the rescan. Threads: one named `watch-live` turns
//! events into changes, and waits for the disk and the store but never for the sink; one a root, named
//! `watch-root-N`, walks, polls and finds out whether the root is there at all. A walk that waits for a full
//! backlog therefore delays no live change and no other root. Where one of them waits for a disk that does not
//! answer, `watch-overseer` sees it, and it costs that root, and no other.
//!
//! Invariant: once nothing changes any more, the changes handed out make the index equal the disk. Whatever
//! is lost on the way (a kernel queue, a queue of ours, a watch, a full sink) becomes another comparison.
//! Invariant: [`Change::Gone`] is only said of a root that is present, on the volume it was on.

mod arm;
mod asking;
mod comparison;
mod config;
mod disk;
mod error;
mod event_source;
mod events;
mod gone;
mod handle;
mod limits;
mod listen;
mod live;
mod mount_table;
mod mounts;
mod omissions;
mod overseer;
mod poll;
mod presence;
mod remount;
mod root;
mod root_entry;
mod rules;
mod scan;
mod settle;
mod settled;
mod state;
mod status;
mod step;
mod superblock;
mod vanish;
mod volume;
mod walk;
mod watches;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::photo::{FileId, Fingerprint, RelativePath, RootId};

pub use config::WatchConfig;
pub use disk::{DiskCosts, is_unchanged};
pub use error::WatchError;
pub use handle::{Missing, WatchHandle, Watcher};
pub use limits::{Limit, NoEvents};
pub use mount_table::MountTable;
pub use omissions::{Omission, OmissionCounts, OmissionKind};
pub use rules::{IGNORE_FILE, RuleError, check_patterns};
pub use status::{
    Activity, HeldBack, MountStatus, OfflineReason, PollReason, RootState, RootStatus, Watching,
};
pub use volume::{Anchor, FileSystem, MountId, Mounted, Volume, Volumes};

/// One thing that ingest must do so that the index equals the disk.
///
/// Changes of one file are to be applied in the order in which they came, and a row is to be written only
/// while `lstat` still finds the file of the change ([`is_unchanged`]): if it does not, a newer change is on
/// its way. A file that cannot be found when it is read is no failure, for the same reason. That a file is gone is to be
/// written down only while [`WatchHandle::is_gone`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New or changed: read it.
    Read {
        /// Which file.
        file: FileId,
        /// Its absolute path.
        path: PathBuf,
        /// What the disk said when the file was found quiet.
        fingerprint: Fingerprint,
    },
    /// What is known under `from`, which is gone, now stands at `to`: same inode, size and modification time.
    /// To be adopted without reading, or read where `from` is not known any more, or not as this.
    Moved {
        /// Where the file was.
        from: FileId,
        /// Where it is.
        to: FileId,
        /// Its absolute path.
        path: PathBuf,
        /// What the disk says of it at its new place.
        fingerprint: Fingerprint,
    },
    /// Bytes were written to it, and it was gone before they were read: what is known of it must not be adopted
    /// under another name. The file need not be known.
    Doubtful {
        /// Which file.
        file: FileId,
    },
    /// Not there any more, on a root that is present. The file need not be known.
    Gone {
        /// Which file.
        file: FileId,
    },
}

/// What is known directly in one directory, sorted by name (bytes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Children {
    /// Files, failed ones included, or these would be read again at every start.
    pub files: Vec<(OsString, Fingerprint)>,
    /// Names of the sub-directories below which any file is known.
    pub directories: Vec<OsString>,
}

/// Why the store could not say what it knows. Ends the room.
pub type KnownError = Box<dyn Error + Send + Sync>;

/// What the store knows.
pub trait Known: Send + Sync {
    /// Returns what is known directly in `dir`; empty for a directory never heard of.
    ///
    /// # Errors
    /// What is known cannot be asked.
    fn children(&self, root: RootId, dir: &RelativePath) -> Result<Children, KnownError>;

    /// Returns the fingerprint under which `file` is known.
    ///
    /// # Errors
    /// What is known cannot be asked.
    fn file(&self, file: &FileId) -> Result<Option<Fingerprint>, KnownError>;

    /// Returns the files, on any root, known with this inode, and their fingerprints. Only photos that were
    /// read without failure.
    ///
    /// # Errors
    /// What is known cannot be asked.
    fn with_inode(&self, inode: u64) -> Result<Vec<(FileId, Fingerprint)>, KnownError>;

    /// Says whether no photo is known below `root`; files that gave none do not count.
    ///
    /// # Errors
    /// What is known cannot be asked.
    fn is_empty(&self, root: RootId) -> Result<bool, KnownError>;

    /// Returns the files of a root that were handed out and may become known any moment.
    fn in_works(&self, root: RootId) -> Vec<FileId>;
}

/// Where changes go. Live changes are to be taken before the backlog of a full scan.
pub trait Sink: Send + Sync {
    /// Never blocks. False: the queue is full, and the watcher compares again later instead.
    fn live(&self, change: Change) -> bool;

    /// Waits while the queue is full; false when the daemon stops.
    fn backlog(&self, change: Change) -> bool;

    /// Hears of a root whose state, path or volume changed. The store keeps path and volume; the room itself does
    /// not log what is said here. Must not block for long.
    fn root_changed(&self, status: &RootStatus);
}

/// A folder to be watched, as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its number.
    pub id: RootId,
    /// Absolute path, as it was configured or added.
    pub path: PathBuf,
    /// Where it was last seen; none where that was at its path.
    pub seen_at: Option<PathBuf>,
    /// The volume it was last seen on; none where it was never seen.
    pub volume: Option<Volume>,
    /// The other volumes that were mounted below it.
    pub mounts: Vec<KnownMount>,
}

impl Root {
    /// A root of which nothing is known yet.
    pub fn new(id: RootId, path: PathBuf) -> Self {
        Self { id, path, seen_at: None, volume: None, mounts: Vec::new() }
    }
}

/// A volume below a root, as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMount {
    /// Where it was mounted, from the root.
    pub at: RelativePath,
    /// Which volume; none where only the place is known.
    pub volume: Option<Volume>,
}
