//! Paths as the user writes them become absolute and plain.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::Dirs;

/// Makes a path of the configuration absolute: `~/` is the home, all else is relative to the file.
pub(super) fn expand(path: &Path, dirs: &Dirs, file_dir: &Path) -> PathBuf {
    match (path.strip_prefix("~"), &dirs.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => file_dir.join(path),
    }
}

/// Removes `.`, `..` and trailing slashes by their names alone: the folder may not be there at the moment.
pub(super) fn normalise(path: &Path) -> PathBuf {
    let mut parts: Vec<OsString> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let mut normal = PathBuf::from("/");
    normal.extend(parts);
    normal
}
