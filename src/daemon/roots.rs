//! The watched folders: those of the configuration and those added by calls.
//!
//! Invariant: a folder is dropped only where the configuration names neither it nor a folder around it, whatever
//! the disk says: a drive that is away, or that was followed elsewhere, changes no name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deadline;
use crate::photo::{RelativePath, RootId};
use crate::store::{RootRecord, Store, StoreError};
use crate::watch::{KnownMount, Root};

/// So many links in a row are followed; a loop ends there.
const MAX_LINKS: usize = 40;

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

/// A folder that is to be watched: how it was named, where that leads, and whether the configuration names it.
struct Wanted {
    place: PathBuf,
    path: PathBuf,
    is_configured: bool,
}

/// Compares the configuration with what the store remembers, and writes new folders down.
///
/// A folder inside another one is left out, since it is watched with that.
pub(super) fn settle(store: &Store, configured: &[PathBuf]) -> Result<Roots, StoreError> {
    let mut known = store.read()?.roots()?;
    let wanted = |path: PathBuf, is_configured| Wanted { place: place_of(&path), path, is_configured };
    let kept = known.iter().filter(|(_, record)| record.kept);
    let mut all: Vec<Wanted> = configured.iter().map(|path| wanted(path.clone(), true)).collect();
    all.extend(kept.map(|(_, record)| wanted(path_of(record), false)));
    // Of two names of one folder that of the configuration is kept, and of two of its names the first.
    all.sort_by(|a, b| a.place.cmp(&b.place).then(b.is_configured.cmp(&a.is_configured)));

    let mut roots = Roots::default();
    let mut outer: Option<PathBuf> = None;
    for Wanted { place, path, is_configured } in all {
        if let Some(outer) = outer.as_ref().filter(|outer| place.starts_with(outer)) {
            if place != *outer {
                tracing::info!("{} is watched as a part of {}", path.display(), outer.display());
            }
            continue;
        }
        // A folder keeps its number when it is named differently, or was written down by where its name leads.
        let at = known
            .iter()
            .position(|(_, record)| path_of(record) == path)
            .or_else(|| known.iter().position(|(_, record)| path_of(record) == place))
            .or_else(|| known.iter().position(|(_, record)| place_of(&path_of(record)) == place));
        let root = match at {
            Some(at) => {
                let (id, record) = known.swap_remove(at);
                if !record.kept && path_of(&record) != path {
                    store.update_root(id, |record| record.path = path.as_os_str().as_bytes().to_vec())?;
                }
                Root { path, ..root_of(id, record) }
            }
            None => Root::new(store.add_root(&path, false)?, path),
        };
        if is_configured {
            roots.configured.push(root.id);
        }
        roots.watched.push(root);
        outer = Some(place);
    }
    roots.dropped = known.into_iter().map(|(id, record)| root_of(id, record)).collect();
    Ok(roots)
}

/// How long a folder may take to say where its path leads. One that takes longer is watched all the same, under the name
/// that it was given.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns where a path leads: one folder has one place, whatever its name, also while its drive is away or its disk does
/// not answer.
fn place_of(path: &Path) -> PathBuf {
    let asked = path.to_path_buf();
    let place = deadline::ask_blocking(path, PATIENCE, move |_| resolve(&asked));
    place.unwrap_or_else(|_| path.to_path_buf())
}

/// Resolves what is there, follows links that lead to nothing all the same, and leaves the rest as it is written.
fn resolve(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        if let Ok(place) = path.canonicalize() {
            return place;
        }
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { break };
        let parent = resolve(parent);
        match fs::read_link(&path) {
            Ok(target) => path = parent.join(target),
            Err(_) => return parent.join(name),
        }
    }
    path
}

fn path_of(record: &RootRecord) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&record.path))
}

fn root_of(id: RootId, record: RootRecord) -> Root {
    let mounts = record.mounts.into_iter();
    Root {
        id,
        path: PathBuf::from(OsStr::from_bytes(&record.path)),
        seen_at: record.seen_at.map(|path| PathBuf::from(OsStr::from_bytes(&path))),
        volume: record.volume,
        mounts: mounts
            .map(|mount| KnownMount { at: RelativePath::from_bytes(mount.at), volume: mount.volume })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(store: &Store, configured: &[&Path], watched: &[&Path], dropped: &[&Path]) -> Roots {
        let configured: Vec<PathBuf> = configured.iter().map(PathBuf::from).collect();
        let roots = settle(store, &configured).unwrap();
        let paths = |roots: &[Root]| roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&roots.watched), watched.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(paths(&roots.dropped), dropped.iter().map(PathBuf::from).collect::<Vec<_>>());
        roots
    }

    fn store(directory: &Path) -> Store {
        Store::open(&directory.join("s.redb")).unwrap()
    }

    #[test]
    fn the_configuration_adds_and_drops_but_an_added_folder_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let [a, b, kept] = ["/no/a", "/no/b", "/no/kept"].map(Path::new);
        check(&store, &[a, b], &[a, b], &[]);
        store.add_root(kept, true).unwrap();
        check(&store, &[a], &[a, kept], &[b]);
        check(&store, &[a, Path::new("/no/a/inside")], &[a, kept], &[b]);
    }

    /// A root that was followed to another mount point was forgotten at the next start, and so was one whose name is
    /// a link to a drive that was away at the start.
    #[test]
    fn a_folder_keeps_its_number_wherever_its_drive_is() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let store = store(&home);
        let (drive, link) = (home.join("media/drive/photos"), home.join("photos"));
        fs::create_dir_all(&drive).unwrap();
        symlink("media/drive/photos", &link).unwrap();
        let first = check(&store, &[&link], &[&link], &[]).watched[0].id;
        store.update_root(first, |record| record.seen_at = Some(b"/elsewhere".to_vec())).unwrap();
        let same = |roots: Roots| {
            assert_eq!(roots.watched[0].id, first);
            assert_eq!(roots.watched[0].seen_at.as_deref(), Some(Path::new("/elsewhere")));
        };
        fs::remove_dir_all(home.join("media")).unwrap();
        same(check(&store, &[&link], &[&link], &[]));
        // Named in another way, it is the same folder.
        same(check(&store, &[&drive], &[&drive], &[]));
        same(check(&store, &[&link, &drive], &[&link], &[]));
        // What the name leads to may change.
        fs::remove_file(&link).unwrap();
        same(check(&store, &[&link], &[&link], &[]));
    }

    #[test]
    fn a_loop_of_links_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        symlink(&a, &b).unwrap();
        symlink(&b, &a).unwrap();
        assert!(place_of(&a).starts_with(directory.path()));
    }
}
