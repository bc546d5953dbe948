//! Which files were given, and which of them are photos.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use prost_types::Timestamp;
use resembled_api::format::{SNIFFED_BYTES, is_photo_name, sniff};
use resembled_api::left_out::is_never_looked_at;
use resembled_api::proto;

/// Pictures that are no photos: what cameras keep beside films.
const SIDECARS: [&str; 1] = ["thm"];

/// What was given.
#[derive(Default)]
pub(super) struct Walked {
    /// In the order in which they were given, folders by the names in them.
    pub(super) entries: Vec<Entry>,
    /// The folders among what was given.
    pub(super) folders: Vec<proto::FileIdentity>,
}

/// A file that was given.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
}

/// What a file is for us.
pub(super) enum Kind {
    /// Of so many bytes, by its name or its first bytes.
    Photo(u64),
    NoPhoto(NoPhoto),
    /// Why it cannot be read.
    Unreadable(io::Error),
}

/// Why a file is no photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NoPhoto {
    /// It is in a trash or a system's folder.
    LeftOut,
    /// Neither its name nor its first bytes are those of a picture.
    OtherContent,
    /// A link inside a folder, a device and the like.
    NoFile,
}

impl NoPhoto {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::LeftOut => "it is in a trash or a system's folder",
            Self::OtherContent => "it is no picture",
            Self::NoFile => "it is no file, but a link or the like",
        }
    }
}

/// Finds all files at and below what was given. What cannot be read is among them, and hinders nothing else.
pub(super) fn walk(given: &[PathBuf]) -> Walked {
    let mut walked = Walked::default();
    for path in given {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                walked.folders.push(identity(&metadata));
                walked.entries.extend(below(path));
            }
            Ok(metadata) if metadata.is_file() => {
                walked.entries.push(Entry { path: path.clone(), kind: judge(path, metadata.len()) });
            }
            Ok(_) => {
                walked.entries.push(Entry { path: path.clone(), kind: Kind::NoPhoto(NoPhoto::NoFile) });
            }
            Err(error) => walked.entries.push(Entry { path: path.clone(), kind: Kind::Unreadable(error) }),
        }
    }
    walked
}

fn below(folder: &Path) -> impl Iterator<Item = Entry> {
    let entries = WalkBuilder::new(folder).standard_filters(false).sort_by_file_name(Ord::cmp).build();
    entries.filter_map(move |entry| match entry {
        // What was given is a folder, or a link to one.
        Ok(entry) if entry.depth() == 0 || entry.file_type().is_some_and(|kind| kind.is_dir()) => None,
        Ok(entry) => Some(Entry { kind: judge_entry(folder, &entry), path: entry.into_path() }),
        Err(error) => {
            let path = path_of(&error).unwrap_or_else(|| folder.to_path_buf());
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("it cannot be walked"));
            Some(Entry { path, kind: Kind::Unreadable(error) })
        }
    })
}

fn path_of(error: &ignore::Error) -> Option<PathBuf> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path.clone()),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        ignore::Error::Partial(errors) => errors.iter().find_map(path_of),
        _ => None,
    }
}

fn judge_entry(folder: &Path, entry: &DirEntry) -> Kind {
    if !entry.file_type().is_some_and(|kind| kind.is_file()) {
        return Kind::NoPhoto(NoPhoto::NoFile);
    }
    let path = entry.path();
    if is_never_looked_at(path.strip_prefix(folder).unwrap_or(Path::new(entry.file_name())), false) {
        return Kind::NoPhoto(NoPhoto::LeftOut);
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) => judge(path, metadata.len()),
        Err(error) => Kind::Unreadable(error),
    }
}

/// A file that is named like a photo is one to us, however damaged; any other is if it starts like one.
fn judge(path: &Path, len: u64) -> Kind {
    let is_sidecar = path
        .extension()
        .is_some_and(|extension| SIDECARS.iter().any(|sidecar| extension.eq_ignore_ascii_case(sidecar)));
    if is_sidecar {
        return Kind::NoPhoto(NoPhoto::OtherContent);
    }
    if path.file_name().is_some_and(is_photo_name) {
        return Kind::Photo(len);
    }
    let mut head = Vec::new();
    match File::open(path).and_then(|file| file.take(SNIFFED_BYTES as u64).read_to_end(&mut head)) {
        Ok(_) if sniff(&head).is_some() => Kind::Photo(len),
        Ok(_) => Kind::NoPhoto(NoPhoto::OtherContent),
        Err(error) => Kind::Unreadable(error),
    }
}

/// Returns what tells a file or a folder from all others, for the daemon to know it again.
pub(super) fn identity(metadata: &Metadata) -> proto::FileIdentity {
    let time = |seconds, nanos| Some(Timestamp { seconds, nanos: i32::try_from(nanos).unwrap_or(0) });
    proto::FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        modify_time: time(metadata.mtime(), metadata.mtime_nsec()),
        change_time: time(metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_told_by_its_name_or_its_first_bytes_and_all_else_is_counted_apart() {
        let card = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], expected: Option<NoPhoto>| {
            let path = card.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            let walked = walk(&[card.path().to_path_buf()]);
            let kind = &walked.entries.iter().find(|entry| entry.path == path).unwrap().kind;
            let found = match kind {
                Kind::Photo(len) => {
                    assert_eq!(*len, bytes.len() as u64);
                    None
                }
                Kind::NoPhoto(why) => Some(*why),
                Kind::Unreadable(error) => panic!("{name}: {error}"),
            };
            assert_eq!(found, expected, "{name}");
        };
        check("DCIM/1.JPG", b"damaged", None);
        check("DCIM/2.x3f", b"FOVb", None);
        check("DCIM/recovered", b"\xff\xd8\xff\xe0", None);
        check("DCIM/1.jpg_original", b"\xff\xd8\xff\xe0", None);
        check(".hidden/3.jpg", b"", None);
        check("DCIM/film.MOV", b"\0\0\0\x14ftypqt  ", Some(NoPhoto::OtherContent));
        check("DCIM/film.THM", b"\xff\xd8\xff\xe0", Some(NoPhoto::OtherContent));
        check("DCIM/1.xmp", b"<x:xmpmeta", Some(NoPhoto::OtherContent));
        check(".Trashes/501/4.jpg", b"\xff\xd8\xff\xe0", Some(NoPhoto::LeftOut));
        check("DCIM/._1.JPG", b"\0\x05\x16\x07", Some(NoPhoto::LeftOut));
    }

    #[test]
    fn what_cannot_be_read_hinders_nothing_else() {
        let card = tempfile::tempdir().unwrap();
        let photo = card.path().join("1.jpg");
        fs::write(&photo, "x").unwrap();
        std::os::unix::fs::symlink(&photo, card.path().join("2.jpg")).unwrap();
        let walked = walk(&[card.path().join("gone.jpg"), card.path().to_path_buf()]);
        let kinds: Vec<_> = walked
            .entries
            .iter()
            .map(|entry| match entry.kind {
                Kind::Photo(_) => "photo",
                Kind::NoPhoto(_) => "none",
                Kind::Unreadable(_) => "unreadable",
            })
            .collect();
        assert_eq!(kinds, ["unreadable", "photo", "none"]);
        assert_eq!(walked.folders.len(), 1);
    }
}
