//! Which entries of a root are ours at all. Judged by name and place, before a watch is added or a file looked at.
//!
//! Three layers, the last that has an opinion decides, as in git: the built-in patterns, those of the
//! configuration, and the ignore files ([`IGNORE_FILE`]) from the root downwards. A directory that is left
//! out is not entered, so nothing below it can be let in again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use resembled_api::left_out;
use rustix::fs::{Mode, OFlags};

use super::asking::ask;
use crate::photo::{Fingerprint, RelativePath};

/// Name of the file, at any level of a root, whose lines in gitignore syntax leave entries out.
pub const IGNORE_FILE: &str = ".resembledignore";

/// Longer ignore files are not read.
const MAX_IGNORE_FILE_BYTES: u64 = 1 << 20;

const HIDDEN: &str = ".*/";

/// A pattern of the configuration could not be understood.
#[derive(Debug, thiserror::Error)]
#[error("the ignore pattern {pattern:?} is not valid")]
pub struct RuleError {
    /// The pattern, as it was written.
    pub pattern: String,
    source: ignore::Error,
}

/// The layers that hold for every root.
#[derive(Debug)]
pub(super) struct GlobalRules {
    matcher: Gitignore,
}

impl GlobalRules {
    pub(super) fn new(patterns: &[String], include_hidden: bool) -> Result<Self, RuleError> {
        let mut builder = GitignoreBuilder::new("");
        let hidden = (!include_hidden).then_some(HIDDEN);
        for pattern in hidden
            .into_iter()
            .chain(left_out::PATTERNS.iter().copied())
            .chain(patterns.iter().map(String::as_str))
        {
            builder
                .add_line(None, pattern)
                .map_err(|source| RuleError { pattern: pattern.to_owned(), source })?;
        }
        let matcher = builder.build().map_err(|source| RuleError { pattern: patterns.join(" "), source })?;
        Ok(Self { matcher })
    }
}

/// Says whether these patterns can be used.
///
/// # Errors
/// The first that cannot.
pub fn check_patterns(patterns: &[String], include_hidden: bool) -> Result<(), RuleError> {
    GlobalRules::new(patterns, include_hidden).map(drop)
}

/// All layers of one root.
#[derive(Debug)]
pub(super) struct RootRules {
    global: Arc<GlobalRules>,
    /// Ignore files by the directory they are in, with what the disk said of them when they were read.
    files: BTreeMap<RelativePath, (Fingerprint, Gitignore)>,
}

impl RootRules {
    pub(super) fn new(global: Arc<GlobalRules>) -> Self {
        Self { global, files: BTreeMap::new() }
    }

    pub(super) fn set_global(&mut self, global: Arc<GlobalRules>) {
        self.global = global;
    }

    /// Says whether `entry`, whose directory is not left out, is left out itself.
    pub(super) fn leaves_out(&self, entry: &RelativePath, is_directory: bool) -> bool {
        let path = entry.as_path();
        let mut directory = entry.parent();
        while let Some(current) = directory {
            if let Some((_, matcher)) = self.files.get(&current) {
                let below = path.strip_prefix(current.as_path()).unwrap_or(path);
                match matcher.matched(below, is_directory) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            directory = current.parent();
        }
        self.global.matcher.matched(path, is_directory).is_ignore()
    }

    /// Says which pattern leaves `entry`, whose directory is not left out, out; for a person. None where nothing does, or
    /// where nobody would miss the entry: the built-in patterns.
    pub(super) fn why_left_out(&self, entry: &RelativePath, is_directory: bool) -> Option<String> {
        let path = entry.as_path();
        let mut directory = entry.parent();
        while let Some(current) = directory {
            if let Some((_, matcher)) = self.files.get(&current) {
                let below = path.strip_prefix(current.as_path()).unwrap_or(path);
                match matcher.matched(below, is_directory) {
                    Match::Ignore(glob) => {
                        let file = current.join(OsStr::new(IGNORE_FILE));
                        return Some(format!("`{}` in {}", glob.original(), file.as_path().display()));
                    }
                    Match::Whitelist(_) => return None,
                    Match::None => {}
                }
            }
            directory = current.parent();
        }
        match self.global.matcher.matched(path, is_directory) {
            Match::Ignore(glob) if glob.original() == HIDDEN => {
                Some("it is hidden; `watch.hidden = true` in the configuration lets it in".to_owned())
            }
            Match::Ignore(glob) if !left_out::PATTERNS.contains(&glob.original()) => {
                Some(format!("`{}` in `watch.ignore` of the configuration", glob.original()))
            }
            _ => None,
        }
    }

    /// Says whether `entry`, or a directory above it, is left out.
    pub(super) fn leaves_out_at_any_level(&self, entry: &RelativePath, is_directory: bool) -> bool {
        if entry.as_bytes().is_empty() {
            return false;
        }
        let mut above = Vec::new();
        let mut directory = entry.parent();
        while let Some(current) = directory {
            directory = current.parent();
            if !current.as_bytes().is_empty() {
                above.push(current);
            }
        }
        above.iter().rev().any(|directory| self.leaves_out(directory, true))
            || self.leaves_out(entry, is_directory)
    }

    fn is_current(&self, directory: &RelativePath, seen: Option<Fingerprint>) -> bool {
        self.files.get(directory).map(|(known, _)| *known) == seen
    }
}

/// Takes in what the ignore file at `path`, in `directory`, says now; `seen` is what the disk said of it, none
/// where there is none. Returns whether that changed anything.
pub(super) fn refresh(
    rules: &RwLock<RootRules>,
    directory: &RelativePath,
    path: &Path,
    seen: Option<Fingerprint>,
) -> bool {
    if rules.read().unwrap_or_else(PoisonError::into_inner).is_current(directory, seen) {
        return false;
    }
    let matcher = match seen.map(|seen| ask(|| read(path)).map(|matcher| (seen, matcher))).transpose() {
        Ok(matcher) => matcher,
        Err(error) => {
            tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "cannot read the ignore file; its old rules hold on");
            return false;
        }
    };
    let mut rules = rules.write().unwrap_or_else(PoisonError::into_inner);
    match matcher {
        Some(matcher) => rules.files.insert(directory.clone(), matcher),
        None => rules.files.remove(directory),
    };
    true
}

fn read(path: &Path) -> io::Result<Gitignore> {
    // Somebody's FIFO of this name must not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_IGNORE_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_IGNORE_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than a mebibyte"));
    }
    let mut builder = GitignoreBuilder::new("");
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = String::from_utf8_lossy(line);
        let line = if number == 0 { line.trim_start_matches('\u{feff}') } else { &line };
        if let Err(error) = builder.add_line(Some(PathBuf::from(path)), line) {
            tracing::warn!(path = %path.display(), line = number + 1, %error, "a line of the ignore file has no effect");
        }
    }
    builder.build().map_err(io::Error::other)
}

/// Says whether a name is one that programs give to files they have not finished.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    const ENDINGS: [&[u8]; 13] = [
        b".part",
        b".partial",
        b".crdownload",
        b".download",
        b".opdownload",
        b".filepart",
        b".aria2",
        b".tmp",
        b".temp",
        b".swp",
        b"~",
        b"_exiftool_tmp",
        b"_original",
    ];
    const BEGINNINGS: [&[u8]; 4] = [b".goutputstream-", b".syncthing.", b"~syncthing~", b".~"];
    let bytes = name.as_bytes();
    let lower = bytes.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| lower.ends_with(ending))
        || BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning))
        || is_temporary_of_rsync(bytes)
}

/// `.name.XXXXXX`: what rsync and mkstemp's other callers write before they rename it to `name`.
fn is_temporary_of_rsync(name: &[u8]) -> bool {
    let Some((rest, ending)) = name.split_last_chunk::<7>() else { return false };
    rest.len() > 1
        && rest[0] == b'.'
        && ending[0] == b'.'
        && rest[1..].contains(&b'.')
        && ending[1..].iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(path: &str) -> RelativePath {
        RelativePath::from_bytes(path.as_bytes().to_vec())
    }

    fn rules(patterns: &[&str], files: &[(&str, &str)]) -> RootRules {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let rules = RwLock::new(RootRules::new(Arc::new(GlobalRules::new(&patterns, false).unwrap())));
        let folder = tempfile::tempdir().unwrap();
        for (directory, text) in files {
            let path = folder.path().join(IGNORE_FILE);
            std::fs::write(&path, text).unwrap();
            let seen = Fingerprint { len: 0, modified_ns: 0, changed_ns: 0, inode: 1 };
            assert!(refresh(&rules, &relative(directory), &path, Some(seen)));
        }
        rules.into_inner().unwrap()
    }

    fn check(rules: &RootRules, file: &str, expected: bool) {
        assert_eq!(rules.leaves_out_at_any_level(&relative(file), false), expected, "{file}");
    }

    #[test]
    fn built_in_rules_leave_out_what_is_nobodys_photo() {
        let rules = rules(&[], &[]);
        for left_out in [
            ".git/a.jpg",
            "x/.hidden/y/a.jpg",
            "@eaDir/a.jpg",
            "x/#recycle/a.jpg",
            "$RECYCLE.BIN/a.jpg",
            "node_modules/a/b.jpg",
            "x/._a.jpg",
            ".trashed-1-a.jpg",
        ] {
            check(&rules, left_out, true);
        }
        for kept in ["a.jpg", "x/y/a.jpg", "git/a.jpg", ".a.jpg", "x/recycle/a.jpg"] {
            check(&rules, kept, false);
        }
    }

    #[test]
    fn an_ignore_file_holds_for_its_directory_and_all_below() {
        let rules = rules(&[], &[("x", "raw/\n*.png\n/top.jpg\n")]);
        check(&rules, "x/raw/a.jpg", true);
        check(&rules, "x/y/raw/a.jpg", true);
        check(&rules, "x/y/a.png", true);
        check(&rules, "x/top.jpg", true);
        check(&rules, "x/y/top.jpg", false);
        check(&rules, "raw/a.jpg", false);
        check(&rules, "a.png", false);
    }

    #[test]
    fn the_deeper_ignore_file_decides() {
        let rules = rules(&["*.bmp"], &[("", "*.png\n"), ("x", "!*.png\n!*.bmp\n")]);
        check(&rules, "a.png", true);
        check(&rules, "x/a.png", false);
        check(&rules, "x/a.bmp", false);
        check(&rules, "y/a.bmp", true);
    }

    #[test]
    fn nothing_below_a_directory_that_is_left_out_can_be_let_in_again() {
        let rules = rules(&[], &[("", "x/\n!x/a.jpg\n")]);
        check(&rules, "x/a.jpg", true);
    }

    #[test]
    fn a_built_in_rule_can_be_taken_back() {
        let rules = rules(&["!@eaDir/"], &[("", "!.private/\n")]);
        check(&rules, "@eaDir/a.jpg", false);
        check(&rules, ".private/a.jpg", false);
    }

    #[test]
    fn an_ignore_file_that_is_a_fifo_makes_nobody_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(IGNORE_FILE);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn unfinished_files_are_known_by_their_names() {
        for temporary in [
            "a.jpg.part",
            "a.jpg.crdownload",
            ".a.jpg.Xy12Zz",
            "a.jpg~",
            "a.jpg_exiftool_tmp",
            ".goutputstream-AB12",
        ] {
            assert!(is_temporary(OsStr::new(temporary)), "{temporary}");
        }
        for whole in ["a.jpg", "part.jpg", ".a.jpg", "2024.123456", "x.y.abcdef"] {
            assert!(!is_temporary(OsStr::new(whole)), "{whole}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_understood_is_named() {
        let error = GlobalRules::new(&["[z-a].jpg".to_owned()], false).unwrap_err();
        assert!(error.to_string().contains("[z-a].jpg"), "{error}");
    }
}
