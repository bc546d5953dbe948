//! The watched folders: those of the configuration and those added by calls.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::photo::RootId;
use crate::store::{RootRecord, Store, StoreError};
use crate::watch::Root;

/// What to watch, and what not any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Roots {
    /// To be watched.
    pub(super) watched: Vec<Root>,
    /// Those of them that the configuration names.
    pub(super) configured: Vec<RootId>,
    /// Neither configured nor added by a call: to be forgotten.
    pub(super) dropped: Vec<Root>,
}

/// Compares the configuration with what the store remembers, and writes new folders down.
///
/// A folder inside another one is left out, since it is watched with that.
pub(super) fn settle(store: &Store, configured: &[PathBuf]) -> Result<Roots, StoreError> {
    let known = store.read()?.roots()?;
    let kept = known.iter().filter(|(_, record)| record.kept).map(|(_, record)| path_of(record));
    let mut wanted: Vec<PathBuf> = configured.iter().map(|path| real(path)).chain(kept).collect();
    wanted.sort();
    wanted.dedup();

    let mut roots = Roots::default();
    let mut outer: Option<PathBuf> = None;
    for path in wanted {
        if let Some(outer) = outer.as_ref().filter(|outer| path.starts_with(outer)) {
            tracing::info!("{} is watched as a part of {}", path.display(), outer.display());
            continue;
        }
        let is_configured = configured.iter().any(|configured| real(configured) == path);
        let id = store.add_root(&path, false)?;
        let volume =
            known.iter().find(|(known, _)| *known == id).and_then(|(_, record)| record.volume.clone());
        if is_configured {
            roots.configured.push(id);
        }
        roots.watched.push(Root { id, path: path.clone(), volume });
        outer = Some(path);
    }
    for (id, record) in known {
        if roots.watched.iter().all(|root| root.id != id) {
            roots.dropped.push(Root { id, path: path_of(&record), volume: record.volume });
        }
    }
    Ok(roots)
}

/// Follows links, so that one folder has one name; a folder that is away keeps the name it was given.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

fn path_of(record: &RootRecord) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&record.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(store: &Store, configured: &[&str], watched: &[&str], dropped: &[&str]) {
        let configured: Vec<PathBuf> = configured.iter().map(PathBuf::from).collect();
        let roots = settle(store, &configured).unwrap();
        let paths = |roots: &[Root]| roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&roots.watched), watched.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(paths(&roots.dropped), dropped.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn the_configuration_adds_and_drops_but_an_added_folder_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("s.redb")).unwrap();
        check(&store, &["/no/a", "/no/b"], &["/no/a", "/no/b"], &[]);
        store.add_root(Path::new("/no/kept"), true).unwrap();
        check(&store, &["/no/a"], &["/no/a", "/no/kept"], &["/no/b"]);
        check(&store, &["/no/a", "/no/a/inside"], &["/no/a", "/no/kept"], &["/no/b"]);
    }
}
