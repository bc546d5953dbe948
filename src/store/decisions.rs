//! The second copy of what only the user knows: folders added by a call, and photos told apart.
//!
//! All else in the store can be made again from the photos. This is kept in a file of its own beside it, which is read when
//! the store is new, damaged or gone:
//!
//! ```text
//! 5f1d0c22 folder /media/card/DCIM
//! 90ab12cd apart <content hash> <greater content hash>
//! ```
//!
//! One decision a line, the last one counts; `no-folder` and `together` take one back. The number before it is the CRC-32 of
//! the rest, so that a damaged line costs one decision. Bytes of a path that are not printable stand as `\x0a`.
//!
//! Invariant: while the store is whole, it is the truth, and each opening of it brings this file up to date. So what could
//! not be written here, which is said in the log, costs nothing as long as the store keeps well.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::photo::ContentHash;

/// What the user has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    /// Folders added by a call, as bytes of their paths.
    pub(super) folders: BTreeSet<Vec<u8>>,
    /// Contents told apart, the smaller one first.
    pub(super) apart: BTreeSet<(ContentHash, ContentHash)>,
}

/// One thing that the user decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Watch this folder, or no more.
    Folder { path: Vec<u8>, is_kept: bool },
    /// These contents are not the same, or are after all.
    Apart { one: ContentHash, other: ContentHash, is_apart: bool },
}

impl Decided {
    fn apply(&mut self, decision: Decision) {
        match decision {
            Decision::Folder { path, is_kept: true } => _ = self.folders.insert(path),
            Decision::Folder { path, is_kept: false } => _ = self.folders.remove(&path),
            Decision::Apart { one, other, is_apart: true } => _ = self.apart.insert((one, other)),
            Decision::Apart { one, other, is_apart: false } => _ = self.apart.remove(&(one, other)),
        }
    }

    fn lines(&self) -> String {
        let folders = self.folders.iter().map(|path| Decision::Folder { path: path.clone(), is_kept: true });
        let apart = self.apart.iter().map(|&(one, other)| Decision::Apart { one, other, is_apart: true });
        folders.chain(apart).map(|decision| decision.line()).collect()
    }
}

impl Decision {
    fn line(&self) -> String {
        let text = match self {
            Self::Folder { path, is_kept: true } => format!("folder {}", path.escape_ascii()),
            Self::Folder { path, is_kept: false } => format!("no-folder {}", path.escape_ascii()),
            Self::Apart { one, other, is_apart: true } => format!("apart {one} {other}"),
            Self::Apart { one, other, is_apart: false } => format!("together {one} {other}"),
        };
        let mut line = String::new();
        // Writing into a string does not fail.
        let _ = writeln!(line, "{:08x} {text}", crc32fast::hash(text.as_bytes()));
        line
    }

    /// Reads a line without its end. `None`: it is damaged.
    fn parse(line: &str) -> Option<Self> {
        let (checksum, text) = line.split_once(' ')?;
        if checksum != format!("{:08x}", crc32fast::hash(text.as_bytes())) {
            return None;
        }
        let (kind, rest) = text.split_once(' ')?;
        match kind {
            "folder" | "no-folder" => Some(Self::Folder { path: unescape(rest)?, is_kept: kind == "folder" }),
            "apart" | "together" => {
                let (one, other) = rest.split_once(' ')?;
                let (one, other) = (one.parse().ok()?, other.parse().ok()?);
                Some(Self::Apart { one, other, is_apart: kind == "apart" })
            }
            _ => None,
        }
    }
}

/// Reverses [`slice::escape_ascii`].
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            },
            other => other,
        });
    }
    Some(plain)
}

/// The file.
#[derive(Debug)]
pub(super) struct Decisions {
    path: PathBuf,
    /// Held while lines are added.
    adding: Mutex<()>,
}

impl Decisions {
    /// The file that belongs to the store at `store`.
    pub(super) fn beside(store: &Path) -> Self {
        Self { path: store.with_extension("decisions"), adding: Mutex::new(()) }
    }

    /// Reads the file. Damaged lines are passed over and said; a file that is not there holds nothing.
    pub(super) fn read(&self) -> Decided {
        let text = match fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Decided::default(),
            Err(error) => {
                tracing::warn!("{} cannot be read: {error}", self.path.display());
                return Decided::default();
            }
        };
        let (mut decided, mut damaged) = (Decided::default(), 0);
        for line in text.lines() {
            match Decision::parse(line) {
                Some(decision) => decided.apply(decision),
                None => damaged += 1,
            }
        }
        if damaged > 0 {
            tracing::warn!("{damaged} lines of {} are damaged", self.path.display());
        }
        decided
    }

    /// Makes the file hold this and nothing else, where it does not already.
    pub(super) fn replace(&self, decided: &Decided) -> io::Result<()> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = decided.lines();
        if fs::read(&self.path).unwrap_or_default() == lines.as_bytes() {
            return Ok(());
        }
        let new = self.path.with_extension("decisions.new");
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, &self.path)?;
        super::beside::sync_directory_of(&self.path)
    }

    /// Adds decisions that the store has already. That they could not be added is said, and made up for at the next
    /// opening.
    pub(super) fn note(&self, decisions: &[Decision]) {
        if decisions.is_empty() {
            return;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: String = decisions.iter().map(Decision::line).collect();
        let add = || -> io::Result<()> {
            let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(lines.as_bytes())?;
            file.sync_data()
        };
        if let Err(error) = add() {
            tracing::warn!("{} could not be written: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(one: u8, other: u8, is_apart: bool) -> Decision {
        Decision::Apart { one: ContentHash([one; 32]), other: ContentHash([other; 32]), is_apart }
    }

    fn folder(path: &[u8], is_kept: bool) -> Decision {
        Decision::Folder { path: path.to_vec(), is_kept }
    }

    #[test]
    fn decisions_are_read_back_the_last_one_counting() {
        let directory = tempfile::tempdir().unwrap();
        let decisions = Decisions::beside(&directory.path().join("s.redb"));
        assert_eq!(decisions.read(), Decided::default());
        decisions.note(&[folder(b"/a b\n\\x/\xff\"'", true), folder(b"/gone", true), apart(1, 2, true)]);
        decisions.note(&[folder(b"/gone", false), apart(1, 2, false), apart(3, 4, true)]);
        let expected = Decided {
            folders: [b"/a b\n\\x/\xff\"'".to_vec()].into(),
            apart: [(ContentHash([3; 32]), ContentHash([4; 32]))].into(),
        };
        assert_eq!(decisions.read(), expected);
        decisions.replace(&expected).unwrap();
        assert_eq!(decisions.read(), expected);
        assert_eq!(fs::read_to_string(directory.path().join("s.decisions")).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_damaged_line_costs_that_line() {
        let directory = tempfile::tempdir().unwrap();
        let decisions = Decisions::beside(&directory.path().join("s.redb"));
        decisions.note(&[folder(b"/a", true), apart(1, 2, true), folder(b"/b", true)]);
        let path = directory.path().join("s.decisions");
        let whole = fs::read(&path).unwrap();
        let lines = whole.iter().filter(|&&byte| byte == b'\n').count();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                let read = decisions.read();
                let kept = read.folders.len() + read.apart.len();
                // The end of a line that turned into something else takes two with it.
                assert!(kept >= lines - 2 && kept < lines, "bit {bit} of byte {at}");
                assert!(read.folders.iter().all(|path| path == b"/a" || path == b"/b"));
            }
        }
    }
}
