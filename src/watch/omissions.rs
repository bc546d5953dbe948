//! What of a root is left out, and why: nothing is left out without a word.
//!
//! Each directory that is entered replaces what was known of it, whoever enters it. Counts are exact; names are kept up
//! to a limit.
//!
//! What nobody would miss is not noted: the built-in rules (trash, thumbnails), and links to what is watched anyway.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::photo::RelativePath;

/// Names kept of one directory.
const LISTED_IN_DIRECTORY: usize = 100;

/// Names kept of one root.
const LISTED: usize = 10_000;

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OmissionKind {
    /// A folder that cannot be read. What is known of the photos in it stays.
    UnreadableFolder,
    /// A file that the disk would not tell of.
    UnreadableFile,
    /// A symbolic link to a folder or photo outside of all roots. Links are not followed.
    Link,
    /// An ignore pattern of the configuration or of an ignore file, or a hidden folder.
    Ignored,
    /// A path longer than the system takes.
    TooLong,
    /// Photos that seem to be gone, too many at once to be believed yet. They are still in the index.
    HeldBack,
}

impl OmissionKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::UnreadableFolder,
        Self::UnreadableFile,
        Self::Link,
        Self::Ignored,
        Self::TooLong,
        Self::HeldBack,
    ];
}

/// How many there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OmissionCounts([u64; OmissionKind::ALL.len()]);

impl OmissionCounts {
    /// Returns how many there are of a kind.
    pub fn of(&self, kind: OmissionKind) -> u64 {
        self.0[kind as usize]
    }

    fn add(&mut self, kind: OmissionKind, more: u64) {
        self.0[kind as usize] += more;
    }
}

/// Something that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// Its absolute path.
    pub path: PathBuf,
    /// Why.
    pub kind: OmissionKind,
    /// The same for a person, with what to do.
    pub reason: String,
}

/// What one directory leaves out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Omitted {
    counts: OmissionCounts,
    /// By name; an empty one is the directory itself.
    listed: Vec<(OsString, OmissionKind, String)>,
}

impl Omitted {
    /// The directory itself cannot be read, and nothing in it is known.
    pub(super) fn whole(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::InvalidFilename => OmissionKind::TooLong,
            _ => OmissionKind::UnreadableFolder,
        };
        let mut omitted = Self::default();
        omitted.note("", kind, error);
        omitted
    }

    /// Says whether further names are counted only.
    pub(super) fn is_full(&self) -> bool {
        self.listed.len() >= LISTED_IN_DIRECTORY
    }

    /// Notes an entry of the directory, or with an empty name the directory itself.
    pub(super) fn note(&mut self, name: impl Into<OsString>, kind: OmissionKind, reason: impl fmt::Display) {
        self.counts.add(kind, 1);
        if self.listed.len() < LISTED_IN_DIRECTORY {
            self.listed.push((name.into(), kind, reason.to_string()));
        }
    }
}

/// What one root leaves out.
#[derive(Debug, Default)]
pub(super) struct Omissions {
    directories: BTreeMap<RelativePath, (u64, Omitted)>,
    counts: OmissionCounts,
    listed: usize,
    /// Number of the walk that is going on, or was the last.
    walk: u64,
    /// Some of those that are held back.
    held_back: Vec<RelativePath>,
}

impl Omissions {
    /// Replaces what is known of a directory. Returns whether that is news.
    pub(super) fn set(&mut self, directory: &RelativePath, mut found: Omitted) -> bool {
        if let Some((walk, known)) = self.directories.get_mut(directory)
            && *known == found
        {
            *walk = self.walk;
            return false;
        }
        let was_known = self.remove(directory);
        if found == Omitted::default() {
            return was_known;
        }
        found.listed.truncate(LISTED.saturating_sub(self.listed));
        self.listed += found.listed.len();
        for kind in OmissionKind::ALL {
            self.counts.add(kind, found.counts.of(kind));
        }
        self.directories.insert(directory.clone(), (self.walk, found));
        true
    }

    fn remove(&mut self, directory: &RelativePath) -> bool {
        let Some((_, former)) = self.directories.remove(directory) else { return false };
        self.listed -= former.listed.len();
        for kind in OmissionKind::ALL {
            self.counts.0[kind as usize] -= former.counts.of(kind);
        }
        true
    }

    /// Forgets a directory that is gone, and all below it.
    pub(super) fn forget_below(&mut self, directory: &RelativePath) {
        let is_below = |path: &RelativePath| path.as_path().starts_with(directory.as_path());
        let gone: Vec<_> = self.directories.keys().filter(|path| is_below(path)).cloned().collect();
        for path in gone {
            self.remove(&path);
        }
    }

    /// A walk over the whole root begins.
    pub(super) fn begin_walk(&mut self) {
        self.walk += 1;
    }

    /// It has ended: directories that were not entered since it began are not there, or left out themselves.
    pub(super) fn end_walk(&mut self) {
        let passed: Vec<_> = self
            .directories
            .iter()
            .filter(|(_, (walk, _))| *walk != self.walk)
            .map(|(path, _)| path.clone())
            .collect();
        for path in passed {
            self.remove(&path);
        }
    }

    /// Notes some of the files that are held back.
    pub(super) fn hold_back<'a>(&mut self, files: impl IntoIterator<Item = &'a RelativePath>) {
        self.held_back = files.into_iter().take(LISTED).cloned().collect();
        self.held_back.sort_unstable();
    }

    pub(super) fn counts(&self) -> OmissionCounts {
        self.counts
    }

    /// Returns what is kept by name.
    pub(super) fn list(&self) -> impl Iterator<Item = (RelativePath, OmissionKind, String)> + '_ {
        let omitted = self.directories.iter().flat_map(|(directory, (_, omitted))| {
            omitted.listed.iter().map(move |(name, kind, reason)| {
                let path = if name.is_empty() { directory.clone() } else { directory.join(name) };
                (path, *kind, reason.clone())
            })
        });
        let held_back = self.held_back.iter().map(|path| {
            let reason = "it seems to be gone, with many others at once; it is kept until that is seen again";
            (path.clone(), OmissionKind::HeldBack, reason.to_owned())
        });
        omitted.chain(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::from_bytes(text.as_bytes().to_vec())
    }

    fn omitted(names: std::ops::Range<usize>) -> Omitted {
        let mut omitted = Omitted::default();
        for name in names {
            omitted.note(name.to_string(), OmissionKind::Ignored, "why");
        }
        omitted
    }

    #[test]
    fn a_directory_that_is_entered_again_replaces_what_was_known_of_it() {
        let mut omissions = Omissions::default();
        omissions.set(&path("a"), omitted(0..150));
        omissions.set(&path("b"), omitted(0..2));
        assert_eq!(omissions.counts().of(OmissionKind::Ignored), 152);
        assert_eq!(omissions.list().count(), LISTED_IN_DIRECTORY + 2);
        omissions.set(&path("a"), omitted(0..1));
        assert_eq!(omissions.counts().of(OmissionKind::Ignored), 3);
        omissions.set(&path("a"), Omitted::whole(&io::ErrorKind::PermissionDenied.into()));
        assert_eq!(omissions.counts().of(OmissionKind::UnreadableFolder), 1);
        assert_eq!(omissions.list().next().map(|(path, ..)| path), Some(path("a")));
        omissions.forget_below(&path("a"));
        omissions.forget_below(&path("b"));
        assert_eq!(omissions.counts(), OmissionCounts::default());
    }

    #[test]
    fn what_a_whole_walk_did_not_meet_is_forgotten() {
        let mut omissions = Omissions::default();
        omissions.set(&path("a"), omitted(0..1));
        omissions.set(&path("b"), omitted(0..1));
        omissions.begin_walk();
        omissions.set(&path("b"), omitted(0..3));
        omissions.end_walk();
        assert_eq!(omissions.counts().of(OmissionKind::Ignored), 3);
    }

    #[test]
    fn names_are_kept_up_to_a_limit_and_counted_beyond() {
        let mut omissions = Omissions::default();
        for number in 0..LISTED / LISTED_IN_DIRECTORY + 5 {
            omissions.set(&path(&number.to_string()), omitted(0..LISTED_IN_DIRECTORY));
        }
        assert_eq!(omissions.list().count(), LISTED);
        let counted = LISTED as u64 + 5 * LISTED_IN_DIRECTORY as u64;
        assert_eq!(omissions.counts().of(OmissionKind::Ignored), counted);
    }
}
