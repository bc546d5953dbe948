//! What the watching room can be told. The defaults are those of the daemon.

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::mount_table::MountTable;
use super::volume::Volumes;
use crate::deadline;

/// Settings of the room.
#[derive(Clone)]
pub struct WatchConfig {
    /// Says by its name alone whether a file may be a photo.
    pub is_candidate: fn(&OsStr) -> bool,
    /// Patterns in gitignore syntax, relative to each root, after the built-in ones.
    pub ignore: Vec<String>,
    /// Whether directories whose name starts with a dot are entered.
    pub include_hidden: bool,
    /// A file must have been still this long before it is read.
    pub debounce: Duration,
    /// The same for a file that its writer has closed, or that was moved to its name.
    pub debounce_after_close: Duration,
    /// The same for a file that was written to and not closed.
    pub debounce_while_open: Duration,
    /// How often a root is looked for: one `statx` each.
    pub check_every: Duration,
    /// A mass disappearance is believed when it is seen again after this long.
    pub confirm_after: Duration,
    /// A disk that owes an answer for so long is said not to answer.
    pub patience: Duration,
    /// How often a root that the kernel watches is compared all the same, a directory now and then: some changes cause
    /// no event. None: never.
    pub compare_every: Option<Duration>,
    /// Shortest and longest time between two walks of a root that has to be polled.
    pub poll_every: (Duration, Duration),
    /// Files that may wait to become quiet; past this many, the roots are compared as a whole.
    pub settle_capacity: usize,
    /// Events that may wait between the kernel and us; past this many, likewise.
    pub event_capacity: usize,
    /// inotify watches that may be taken in all; none: three quarters of what the kernel allows a user.
    pub watch_budget: Option<u64>,
    /// Tells volumes apart.
    pub volumes: Arc<dyn Volumes>,
}

impl WatchConfig {
    /// Returns the defaults, for files that `is_candidate` accepts.
    pub fn new(is_candidate: fn(&OsStr) -> bool) -> Self {
        Self {
            is_candidate,
            ignore: Vec::new(),
            include_hidden: false,
            debounce: Duration::from_millis(500),
            debounce_after_close: Duration::from_millis(100),
            debounce_while_open: Duration::from_secs(2),
            check_every: Duration::from_secs(5),
            confirm_after: Duration::from_secs(30),
            patience: deadline::PATIENCE,
            compare_every: Some(Duration::from_secs(3600)),
            poll_every: (Duration::from_secs(30), Duration::from_secs(15 * 60)),
            settle_capacity: 1 << 17,
            event_capacity: 1 << 14,
            watch_budget: None,
            volumes: Arc::new(MountTable),
        }
    }
}

impl fmt::Debug for WatchConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchConfig")
            .field("ignore", &self.ignore)
            .field("include_hidden", &self.include_hidden)
            .field("debounce", &self.debounce)
            .finish_non_exhaustive()
    }
}
