//! The desktop's trash, as all file managers know it (freedesktop.org Trash specification 1.0): a file is renamed into
//! `files/`, and what it was called and when it went is written to `info/`.
//!
//! Each file goes to the trash of its own file system: that in the home, or that at the mount point. Nothing is ever copied;
//! where no trash can be had on the file system, the file stays.
//!
//! Not through the `trash` crate: it brings a second calendar, and asks for features of small crates that most of the daemon's
//! dependencies would be built anew for.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Zoned;
use resembled_api::uri;

use crate::naming::{numbered, rename_to_new, with_suffix};

/// Names that are tried for a file, of which there may be many in the trash.
const MOST_NAMES: usize = 10_000;

/// A trash, and how it writes down where a file was.
struct Trash {
    folder: PathBuf,
    /// Paths are written below it; absolute ones where there is none.
    top: Option<PathBuf>,
}

/// A file in the trash.
#[derive(Debug)]
pub(crate) struct Trashed {
    /// Where it was.
    pub(crate) file: PathBuf,
    /// Where it is.
    kept: PathBuf,
    note: PathBuf,
}

impl Trashed {
    /// Moves the file back to where it was.
    ///
    /// # Errors
    /// Something else stands there by now, its folder is gone, or it is in the trash no more.
    pub(crate) fn restore(&self) -> io::Result<()> {
        rename_to_new(&self.kept, &self.file)?;
        // A note without a file is none that any file manager shows.
        let _ = fs::remove_file(&self.note);
        Ok(())
    }
}

/// Moves a file to the trash.
///
/// # Errors
/// The file or no trash on its file system can be written.
pub(super) fn put(file: &Path, data_home: &Path) -> io::Result<Trashed> {
    let metadata = file.symlink_metadata()?;
    let parent = file.parent().unwrap_or(Path::new("/")).canonicalize()?;
    let name = file.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    let file = parent.join(name);
    let trash = trash_for(&file, &metadata, data_home)?;
    for folder in ["files", "info"] {
        private_folder(&trash.folder.join(folder))?;
    }
    let below = trash.top.as_ref().and_then(|top| file.strip_prefix(top).ok()).unwrap_or(&file);
    let path = uri::of_path(below.as_os_str().as_bytes());
    let path = path.trim_start_matches("file://");
    let date = Zoned::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let text = format!("[Trash Info]\nPath={path}\nDeletionDate={date}\n");
    for number in 1..=MOST_NAMES {
        let name = numbered(name, number);
        let info = trash.folder.join("info").join(with_suffix(&name, ".trashinfo"));
        // Whoever makes this file has the name; nobody else may take it.
        let mut opened = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&info) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            opened => opened?,
        };
        let kept = trash.folder.join("files").join(&name);
        let moved = write(&mut opened, &text).and_then(|()| rename_to_new(&file, &kept));
        match moved {
            Ok(()) => return Ok(Trashed { file, kept, note: info }),
            Err(error) => {
                let _ = fs::remove_file(&info);
                // A file without its note, by whatever accident.
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
            }
        }
    }
    Err(io::Error::other("there are too many files of its name in the trash"))
}

fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    // Else a power cut could leave a file in the trash that nobody knows the place of.
    file.sync_all()
}

/// Finds the trash on the file system of a file.
fn trash_for(file: &Path, metadata: &Metadata, data_home: &Path) -> io::Result<Trash> {
    let home = data_home.join("Trash");
    private_folder(&home)?;
    if home.metadata()?.dev() == metadata.dev() {
        return Ok(Trash { folder: home, top: None });
    }
    let is_same = |folder: &&Path| folder.metadata().is_ok_and(|other| other.dev() == metadata.dev());
    let above = file.ancestors().skip(1).take_while(is_same);
    let top = above.last().ok_or_else(|| io::Error::other("its folder is on another file system"))?;
    let user = rustix::process::getuid().as_raw();
    let shared = top.join(".Trash");
    // One that an administrator made for all, and made well.
    let is_good = |found: &Metadata| found.is_dir() && found.permissions().mode() & 0o1000 != 0;
    let folder = match shared.symlink_metadata() {
        Ok(found) if is_good(&found) => shared.join(user.to_string()),
        _ => top.join(format!(".Trash-{user}")),
    };
    private_folder(&folder)?;
    let made = folder.symlink_metadata()?;
    if !made.is_dir() || made.uid() != user || made.dev() != metadata.dev() {
        return Err(io::Error::other(format!("{} is no trash of yours", folder.display())));
    }
    Ok(Trash { folder, top: Some(top.to_path_buf()) })
}

fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_file_goes_with_a_note_of_its_place_and_none_takes_the_place_of_another() {
        let home = tempfile::tempdir().unwrap();
        let photos = home.path().join("photos");
        fs::create_dir(&photos).unwrap();
        let data = home.path().join("data");
        let name = OsStr::from_bytes(b"\xff a.jpg");
        for content in ["one", "two"] {
            fs::write(photos.join(name), content).unwrap();
            put(&photos.join(name), &data).unwrap();
            assert!(!photos.join(name).exists());
        }
        let trash = data.join("Trash");
        assert_eq!(fs::read_to_string(trash.join("files").join(name)).unwrap(), "one");
        let second = OsStr::from_bytes(b"\xff a 2.jpg");
        assert_eq!(fs::read_to_string(trash.join("files").join(second)).unwrap(), "two");
        let note = fs::read_to_string(trash.join("info").join(with_suffix(second, ".trashinfo"))).unwrap();
        let place = photos.canonicalize().unwrap().join("%FF%20a.jpg");
        let lines: Vec<&str> = note.lines().collect();
        assert_eq!(lines[..2], ["[Trash Info]".to_owned(), format!("Path={}", place.display())], "{note}");
        assert!(lines[2].starts_with("DeletionDate=20") && lines[2].len() == 32, "{note}");
        let mode = fs::metadata(&trash).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
    }

    #[test]
    fn a_file_comes_back_to_its_place_and_replaces_none() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a.jpg");
        fs::write(&file, "one").unwrap();
        let trashed = put(&file, home.path()).unwrap();
        fs::write(&file, "another").unwrap();
        assert_eq!(trashed.restore().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&file).unwrap();
        trashed.restore().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        for folder in ["files", "info"] {
            assert_eq!(fs::read_dir(home.path().join("Trash").join(folder)).unwrap().count(), 0, "{folder}");
        }
        assert!(trashed.restore().is_err(), "it is not there any more");
    }

    #[test]
    fn a_file_that_cannot_go_leaves_no_note() {
        let home = tempfile::tempdir().unwrap();
        assert!(put(&home.path().join("none.jpg"), home.path()).is_err());
        fs::write(home.path().join("a.jpg"), "x").unwrap();
        // What stands in the place of the trash is no folder.
        fs::write(home.path().join("Trash"), "x").unwrap();
        assert!(put(&home.path().join("a.jpg"), home.path()).is_err());
        assert!(home.path().join("a.jpg").exists());
    }
}
