//! What is said of a root and of the room as a whole: the words that status and log use.

use std::fmt;
use std::path::{Path, PathBuf};

use super::limits::{Limit, NoEvents};
use super::omissions::OmissionCounts;
use super::volume::Volume;
use crate::photo::{RelativePath, RootId};

/// What is known of a root, for status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootStatus {
    /// Its number.
    pub id: RootId,
    /// The path that was configured or added.
    pub configured: PathBuf,
    /// Where it is, or was when it was last seen: where the configured path leads, or another mount point at which its
    /// volume was found.
    pub path: PathBuf,
    /// Whether it is there.
    pub state: RootState,
    /// How changes are noticed.
    pub watching: Watching,
    /// The volume it is on; none before it was first seen.
    pub volume: Option<Volume>,
    /// The other volumes that are mounted below it, or were when they were last seen; those nearer to it first.
    pub mounts: Vec<MountStatus>,
    /// Directories at the last walk.
    pub directories: u64,
    /// Candidate files, as far as known.
    pub files: u64,
    /// Directories and files that could not be looked at in the last walk.
    pub unreadable: u64,
    /// Files that seem to be gone, but too many at once to be believed yet.
    pub held_back: Option<HeldBack>,
    /// What is left out, by kind.
    pub omissions: OmissionCounts,
}

impl RootStatus {
    /// Says whether a file of the root can be reached: both the root and the volume on which the file was are there.
    pub fn is_reachable(&self, file: &RelativePath) -> bool {
        let state = self.mount_of(file).map_or(&self.state, |mount| &mount.state);
        !matches!(self.state, RootState::Offline(_)) && !matches!(state, RootState::Offline(_))
    }

    /// Returns the volume mounted below the root on which a file of it is, or was; none where it is on the root's own.
    pub fn mount_of(&self, file: &RelativePath) -> Option<&MountStatus> {
        let above = self.mounts.iter().filter(|mount| file.as_path().starts_with(mount.at.as_path()));
        above.max_by_key(|mount| mount.at.as_bytes().len())
    }
}

/// What is known of a volume mounted below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountStatus {
    /// Where, from the root.
    pub at: RelativePath,
    /// Which volume; none where an earlier version wrote down the place only.
    pub volume: Option<Volume>,
    /// Whether it is there.
    pub state: RootState,
    /// How changes of it are noticed.
    pub watching: Watching,
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
    /// Its disk was asked and has not answered yet.
    NotAnswering,
    /// It has no entry at all, and had photos.
    Empty,
    /// Another volume is at its path.
    OtherVolume,
    /// It is a folder over which another volume is mounted.
    Hidden,
}

impl OfflineReason {
    /// Says why the folder `path` is offline, and what to do where it is to stay as it is.
    pub fn explain(&self, path: &Path) -> String {
        let accept = format!("`resemble roots accept {}`", shell_word(path));
        match self {
            Self::Missing => format!("{self} If it is gone for good, {accept} forgets its photos"),
            Self::Unreachable(_) => self.to_string(),
            Self::NotAnswering => format!(
                "{self}; is the server gone, or the program stuck that serves it? It is watched again once it answers"
            ),
            Self::Empty | Self::OtherVolume => format!("{self}. If that is on purpose: {accept}"),
            Self::Hidden => format!("{self}. To have those of the drive instead: {accept}"),
        }
    }
}

/// Writes a path so that a shell takes it for one word.
pub(super) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl fmt::Display for OfflineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the folder is not there; is its drive unplugged or not mounted?"),
            Self::Unreachable(why) => write!(f, "the folder cannot be looked at: {why}"),
            Self::NotAnswering => f.write_str("its disk does not answer"),
            Self::Empty => f.write_str("the folder is empty, and had photos"),
            Self::OtherVolume => f.write_str("its drive is not there; the folder is on another one"),
            Self::Hidden => f.write_str("a drive is mounted over the folder, and hides its photos"),
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
        /// The value of the limit that would do.
        needed: u64,
        /// Which limit, and its value now; none where the kernel does not say.
        limit: Option<Limit>,
    },
    /// The kernel tells of no changes at all.
    NoEvents(NoEvents),
    /// The same folder is watched already under another root.
    WatchedTwice(PathBuf),
}

impl fmt::Display for PollReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileSystem(kind) => write!(f, "changes made elsewhere on {kind} are not announced"),
            Self::WatchLimit { needed, limit: Some(Limit { setting, value }) } => {
                write!(f, "too few inotify watches: {setting} is {value}, set it to at least {needed}")
            }
            Self::NoEvents(why) => why.fmt(f),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_can_be_given_to_a_shell() {
        for (path, word) in [
            ("/mnt/nas", "/mnt/nas"),
            ("/media/u/MY CARD", "'/media/u/MY CARD'"),
            ("/a/it's", r"'/a/it'\''s'"),
            ("/a/$(x)", "'/a/$(x)'"),
        ] {
            let text = OfflineReason::Empty.explain(Path::new(path));
            assert!(text.ends_with(&format!("`resemble roots accept {word}`")), "{text}");
        }
    }
}
