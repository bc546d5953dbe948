//! The comparison: one directory on the disk against what is known of it. The start, live events, polling and
//! the rescan all ask this one question.

use std::ffi::{OsStr, OsString};
use std::io;

use super::disk::{Kind, Listing, Seen};
use super::omissions::{OmissionKind, Omitted};
use super::rules::IGNORE_FILE;
use super::{Children, Known, KnownError};
use crate::photo::{FileId, Fingerprint, RelativePath, RootId};

/// What is allowed in the directory that is compared.
pub(super) trait Allowed {
    /// Judges a file by its name alone.
    fn is_wanted(&self, name: &OsStr) -> bool;
    /// Judges an entry by its place.
    fn is_left_out(&self, name: &OsStr, is_directory: bool) -> bool;
    /// Says why it is left out, for a person; none where nobody would miss it.
    fn why_left_out(&self, name: &OsStr, is_directory: bool) -> Option<String>;
}

/// A file that is new or not the same any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) name: OsString,
    pub(super) fingerprint: Fingerprint,
    pub(super) is_new: bool,
}

/// How one directory differs from what is known of it. Names, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Files that are new or not the same any more.
    pub(super) changed: Vec<Changed>,
    /// Known files that are not there, or are no regular files any more.
    pub(super) missing: Vec<OsString>,
    /// Known files that the rules leave out.
    pub(super) left_out: Vec<OsString>,
    /// Directories to be entered.
    pub(super) directories: Vec<OsString>,
    /// Directories below which files are known and which are not there.
    pub(super) missing_directories: Vec<OsString>,
    /// Directories below which files are known and which the rules leave out.
    pub(super) left_out_directories: Vec<OsString>,
    /// Files that are there and ours.
    pub(super) present: u64,
    /// Files that the disk would not tell about.
    pub(super) unreadable: u64,
    /// What is left out here, and why.
    pub(super) omitted: Omitted,
}

/// Compares `listing` with `known`. `look` is asked once for each file that is ours, and for no other.
pub(super) fn compare(
    listing: &Listing,
    known: Children,
    allowed: &impl Allowed,
    mut look: impl FnMut(&OsStr) -> io::Result<Option<Seen>>,
) -> Findings {
    let mut findings = Findings::default();
    let mut known_files = known.files.into_iter().peekable();
    for name in &listing.files {
        if name == IGNORE_FILE {
            continue;
        }
        while let Some((earlier, _)) = known_files.next_if(|(known, _)| known < name) {
            findings.not_listed(earlier, allowed);
        }
        let known = known_files.next_if(|(known, _)| known == name).map(|(_, fingerprint)| fingerprint);
        if allowed.is_left_out(name, false) {
            findings.leave_out(name, false, allowed);
            if known.is_some() {
                findings.left_out.push(name.clone());
            }
            continue;
        }
        match look(name) {
            Ok(Some(seen)) if seen.kind == Kind::File => {
                findings.present += 1;
                if known != Some(seen.fingerprint) {
                    let (name, fingerprint) = (name.clone(), seen.fingerprint);
                    findings.changed.push(Changed { name, fingerprint, is_new: known.is_none() });
                }
            }
            Ok(_) if known.is_some() => findings.missing.push(name.clone()),
            Ok(_) => {}
            Err(error) => {
                findings.unreadable += 1;
                findings.omitted.note(name, OmissionKind::UnreadableFile, error);
            }
        }
    }
    for (name, _) in known_files {
        findings.not_listed(name, allowed);
    }

    let mut known_directories = known.directories.into_iter().peekable();
    for name in &listing.directories {
        while let Some(earlier) = known_directories.next_if(|known| known < name) {
            findings.missing_directories.push(earlier);
        }
        let is_known = known_directories.next_if(|known| known == name).is_some();
        if !allowed.is_left_out(name, true) {
            findings.directories.push(name.clone());
            continue;
        }
        findings.leave_out(name, true, allowed);
        if is_known {
            findings.left_out_directories.push(name.clone());
        }
    }
    findings.missing_directories.extend(known_directories);
    findings
}

impl Findings {
    fn leave_out(&mut self, name: &OsStr, is_directory: bool, allowed: &impl Allowed) {
        if let Some(why) = allowed.why_left_out(name, is_directory) {
            self.omitted.note(name, OmissionKind::Ignored, why);
        }
    }

    fn not_listed(&mut self, name: OsString, allowed: &impl Allowed) {
        // What we do not want any more was not even listed, which says nothing about its being there.
        let list = if allowed.is_wanted(&name) { &mut self.missing } else { &mut self.left_out };
        list.push(name);
    }
}

/// Calls `each` for every file known below `directory`, until it returns false.
pub(super) fn known_below(
    known: &dyn Known,
    root: RootId,
    directory: RelativePath,
    mut each: impl FnMut(FileId) -> bool,
) -> Result<(), KnownError> {
    let mut directories = vec![directory];
    while let Some(directory) = directories.pop() {
        let children = known.children(root, &directory)?;
        for (name, _) in children.files {
            if !each(FileId { root, path: directory.join(&name) }) {
                return Ok(());
            }
        }
        directories.extend(children.directories.iter().map(|name| directory.join(name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Jpegs;

    impl Allowed for Jpegs {
        fn is_wanted(&self, name: &OsStr) -> bool {
            name.to_string_lossy().ends_with(".jpg")
        }

        fn is_left_out(&self, name: &OsStr, _is_directory: bool) -> bool {
            name.to_string_lossy().starts_with('_')
        }

        fn why_left_out(&self, _name: &OsStr, _is_directory: bool) -> Option<String> {
            None
        }
    }

    fn fingerprint(len: u64) -> Fingerprint {
        Fingerprint { len, modified_ns: 0, changed_ns: 0, inode: len }
    }

    fn names(names: &[&str]) -> Vec<OsString> {
        names.iter().map(OsString::from).collect()
    }

    /// Compares a directory in which each file has the size that stands beside it; size 0 is no regular file.
    fn check(files: &[(&str, u64)], directories: &[&str], known: Children) -> Findings {
        let listing = Listing {
            files: files.iter().map(|(name, _)| OsString::from(name)).collect(),
            directories: names(directories),
            links: Vec::new(),
            is_empty: files.is_empty() && directories.is_empty(),
        };
        compare(&listing, known, &Jpegs, |name| {
            let len = files.iter().find(|(file, _)| *file == name).unwrap().1;
            let kind = if len == 0 { Kind::Other } else { Kind::File };
            Ok(Some(Seen { kind, fingerprint: fingerprint(len) }))
        })
    }

    fn known(files: &[(&str, u64)], directories: &[&str]) -> Children {
        Children {
            files: files.iter().map(|&(name, len)| (name.into(), fingerprint(len))).collect(),
            directories: names(directories),
        }
    }

    #[test]
    fn a_directory_that_equals_what_is_known_has_nothing_to_tell() {
        let findings =
            check(&[("a.jpg", 1), ("b.jpg", 2)], &["d"], known(&[("a.jpg", 1), ("b.jpg", 2)], &["d"]));
        assert_eq!(findings, Findings { present: 2, directories: names(&["d"]), ..Findings::default() });
    }

    #[test]
    fn new_changed_missing_and_left_out_files_are_told_apart() {
        let findings = check(
            &[("_l.jpg", 1), ("b.jpg", 9), ("n.jpg", 3), ("o.jpg", 0)],
            &[],
            known(&[("_l.jpg", 1), ("b.jpg", 2), ("g.jpg", 4), ("o.jpg", 5), ("z.old", 6)], &[]),
        );
        assert_eq!(
            findings,
            Findings {
                changed: vec![
                    Changed { name: "b.jpg".into(), fingerprint: fingerprint(9), is_new: false },
                    Changed { name: "n.jpg".into(), fingerprint: fingerprint(3), is_new: true },
                ],
                missing: names(&["g.jpg", "o.jpg"]),
                left_out: names(&["_l.jpg", "z.old"]),
                present: 2,
                ..Findings::default()
            }
        );
    }

    #[test]
    fn missing_directories_are_told_from_those_left_out() {
        let findings = check(&[], &["_x", "b", "c"], known(&[], &["_x", "a", "b", "z"]));
        assert_eq!(findings.directories, names(&["b", "c"]));
        assert_eq!(findings.missing_directories, names(&["a", "z"]));
        assert_eq!(findings.left_out_directories, names(&["_x"]));
    }
}
