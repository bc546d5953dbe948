//! Files get names of their own: nothing is ever replaced.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// `a.jpg`, `a 2.jpg`, `a 3.jpg`, ...
pub(crate) fn numbered(name: &OsStr, number: usize) -> OsString {
    if number == 1 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let mut numbered = with_suffix(path.file_stem().unwrap_or(name), &format!(" {number}"));
    if let Some(extension) = path.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered
}

pub(crate) fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

/// The name of a file that is not whole yet: a hidden one, which no daemon looks at.
pub(crate) fn part_name(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    with_suffix(&hidden, ".part")
}

/// Renames a file to a name that nothing has.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where something has it.
pub(crate) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems in user space do not know this way.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match to.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        renamed => Ok(renamed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_numbered_before_its_extension() {
        let check =
            |name: &str, expected: &str| assert_eq!(numbered(OsStr::new(name), 2), OsStr::new(expected));
        check("a.jpg", "a 2.jpg");
        check("a", "a 2");
        check(".hidden", ".hidden 2");
    }

    #[test]
    fn a_file_takes_the_place_of_none() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        fs::write(&one, "1").unwrap();
        fs::write(&two, "2").unwrap();
        let error = rename_to_new(&one, &two).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&two).unwrap(), b"2");
        rename_to_new(&one, &folder.path().join("three")).unwrap();
        assert!(!one.exists());
    }
}
