//! `check --copy-missing-to`: what has no copy gets one.
//!
//! Invariant: nothing is ever replaced, and what stands there in the end holds the bytes that were checked.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use resembled_api::content::ContentHash;

use crate::naming::{numbered, part_name, rename_to_new};

/// Names that are tried for a file.
const MOST_NAMES: usize = 10_000;

/// Copies files into a folder.
pub(super) struct Copying {
    target: PathBuf,
    copied: HashSet<ContentHash>,
    bytes: u64,
}

impl Copying {
    /// Makes the folder if it is missing.
    pub(super) fn to(target: &Path) -> io::Result<Self> {
        fs::create_dir_all(target)?;
        Ok(Self { target: target.to_path_buf(), copied: HashSet::new(), bytes: 0 })
    }

    /// Copies a file that was found by what was `given`, each content once. Folders below one that was given are kept.
    pub(super) fn copy(&mut self, file: &Path, given: &[PathBuf], content: ContentHash) -> io::Result<()> {
        if self.copied.contains(&content) {
            return Ok(());
        }
        let below = given.iter().find_map(|given| file.strip_prefix(given).ok());
        let below = below.filter(|below| below.file_name().is_some()).or(file.file_name().map(Path::new));
        let target = self.target.join(below.ok_or_else(|| io::Error::other("it has no name"))?);
        self.bytes += copy_one(file, &target, content)?;
        self.copied.insert(content);
        Ok(())
    }

    pub(super) fn text(&self) -> String {
        let bytes = indicatif::HumanBytes(self.bytes);
        format!("{} photos are copied to {} ({bytes})", self.copied.len(), self.target.display())
    }
}

/// Returns how many bytes were written: none where the very content stands there already.
fn copy_one(file: &Path, target: &Path, content: ContentHash) -> io::Result<u64> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let name = target.file_name().unwrap_or_default();
    fs::create_dir_all(folder)?;
    let mut begun: Option<(PathBuf, u64)> = None;
    for number in 1..=MOST_NAMES {
        let target = folder.join(numbered(name, number));
        if target.symlink_metadata().is_ok() {
            if begun.is_none()
                && File::open(&target).and_then(ContentHash::read).is_ok_and(|found| found == content)
            {
                return Ok(0);
            }
            continue;
        }
        let (part, bytes) = match begun.take() {
            Some(begun) => begun,
            None => {
                // No daemon looks at it under this name.
                let part = folder.join(part_name(name));
                let bytes = write(file, &part, content).inspect_err(|_| _ = fs::remove_file(&part))?;
                (part, bytes)
            }
        };
        match rename_to_new(&part, &target) {
            Ok(()) => return Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => begun = Some((part, bytes)),
            Err(error) => {
                let _ = fs::remove_file(&part);
                return Err(error);
            }
        }
    }
    if let Some((part, _)) = begun {
        let _ = fs::remove_file(part);
    }
    Err(io::Error::other("there are too many files of its name"))
}

/// Writes a copy down to the disk, with the time of the file.
fn write(file: &Path, part: &Path, content: ContentHash) -> io::Result<u64> {
    let source = File::open(file)?;
    let metadata = source.metadata()?;
    let mut copy = OpenOptions::new().write(true).create(true).truncate(true).open(part)?;
    let found = ContentHash::read(Tee { source, copy: &mut copy })?;
    if found != content {
        return Err(io::Error::other("it has changed since it was checked"));
    }
    // Not every file system keeps it.
    let _ = metadata.modified().and_then(|time| copy.set_modified(time));
    copy.sync_all()?;
    Ok(metadata.len())
}

/// Writes down what is read.
struct Tee<'a> {
    source: File,
    copy: &'a mut File,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..length])?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_content_is_copied_once_and_nothing_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let (card, target) = (home.path().join("card"), home.path().join("new"));
        fs::create_dir_all(card.join("100")).unwrap();
        fs::create_dir_all(target.join("100")).unwrap();
        fs::write(target.join("100/1.jpg"), "other").unwrap();
        let mut copying = Copying::to(&target).unwrap();
        let mut copy = |name: &str, bytes: &str| {
            let file = card.join(name);
            fs::write(&file, bytes).unwrap();
            copying.copy(&file, std::slice::from_ref(&card), ContentHash::of(bytes.as_bytes()))
        };
        copy("100/1.jpg", "one").unwrap();
        copy("2.jpg", "one").unwrap();
        copy("3.jpg", "three").unwrap();
        let read = |name: &str| fs::read_to_string(target.join(name)).ok();
        assert_eq!(read("100/1.jpg").as_deref(), Some("other"));
        assert_eq!(read("100/1 2.jpg").as_deref(), Some("one"));
        assert_eq!((read("2.jpg"), read("3.jpg").as_deref()), (None, Some("three")));
        let time = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(target.join("3.jpg")), time(card.join("3.jpg")));
        assert!(copying.text().starts_with("2 photos are copied to "), "{}", copying.text());

        // Again: what stands there is enough.
        let mut again = Copying::to(&target).unwrap();
        again.copy(&card.join("100/1.jpg"), std::slice::from_ref(&card), ContentHash::of(b"one")).unwrap();
        assert!(read("100/1 3.jpg").is_none());
        let changed = again.copy(&card.join("3.jpg"), &[], ContentHash::of(b"as it was"));
        assert!(changed.is_err());
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2, "no part is left");
    }
}
