//! The paths of one file, put together.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use resembled_api::uri;

use super::Known;
use super::identity::times;
use super::look::Looked;
use crate::proto;

/// A file, and what else leads to it.
pub(in crate::serve) struct Physical {
    pub(in crate::serve) looked: Looked,
    pub(in crate::serve) other_paths: Vec<PathBuf>,
}

impl From<Physical> for proto::File {
    fn from(file: Physical) -> Self {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        Self {
            uri: uri::of_path(file.looked.known.path.as_os_str().as_bytes()),
            path: bytes(&file.looked.known.path),
            online: file.looked.known.online,
            other_paths: file.other_paths.iter().map(|path| bytes(path)).collect(),
            presence: file.looked.presence.into(),
        }
    }
}

/// Returns whether two of these may be one file: only looking tells. An inode of 0 is any.
pub(super) fn may_be_one(files: &[Known]) -> bool {
    let mut inodes: Vec<u64> = files.iter().map(|file| file.fingerprint.inode).collect();
    inodes.sort_unstable();
    inodes.len() > 1 && inodes[0] == 0 || inodes.windows(2).any(|pair| pair[0] == pair[1])
}

/// Puts the paths of one file together, in the order of the first of each. What is changed or gone stands for itself.
pub(in crate::serve) fn fold(files: Vec<Looked>) -> Vec<Physical> {
    let mut folded: Vec<Physical> = Vec::with_capacity(files.len());
    // One file has one place, or, where it shows under two devices, the same times.
    let mut by_place: HashMap<(u64, u64), usize> = HashMap::new();
    let mut by_times: HashMap<(u64, i128, i128), Vec<usize>> = HashMap::new();
    for looked in files {
        if !looked.may_be_there() {
            folded.push(Physical { looked, other_paths: Vec::new() });
            continue;
        }
        let place = looked.identity.map(|identity| identity.place());
        let times = times(&looked.identity.map_or(looked.known.fingerprint, |identity| identity.fingerprint));
        let with_same_times = by_times.entry(times).or_default();
        let same = place
            .and_then(|place| by_place.get(&place).copied())
            .or_else(|| with_same_times.iter().copied().find(|&at| folded[at].looked.is_same_file(&looked)));
        match same {
            Some(at) => folded[at].other_paths.push(looked.known.path),
            None => {
                with_same_times.push(folded.len());
                place.map(|place| by_place.insert(place, folded.len()));
                folded.push(Physical { looked, other_paths: Vec::new() });
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::super::identity::Identity;
    use super::super::identity::tests::{NS, identity, print};
    use super::*;
    use crate::photo::{Fingerprint, RelativePath, RootId};
    use crate::proto::FilePresence;

    fn looked(path: &str, presence: FilePresence, known: Fingerprint, seen: Option<Identity>) -> Looked {
        let known = Known {
            path: path.into(),
            online: true,
            is_worth_a_look: true,
            fingerprint: known,
            volume: (RootId(1), RelativePath::default()),
        };
        Looked { known, presence, identity: seen, is_below: false }
    }

    fn check_fold(files: Vec<Looked>, expected: &[&[&str]]) {
        let folded = fold(files).into_iter().map(|file| {
            let paths = std::iter::once(file.looked.known.path).chain(file.other_paths);
            paths.map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        });
        assert_eq!(folded.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_paths_of_one_file_come_together_and_no_others() {
        use FilePresence::{Gone, Offline, Verified};

        let fine = 5 * NS + 1;
        let there = |path, inode, device| {
            looked(path, Verified, print(inode, fine), Some(identity(device, inode, fine)))
        };
        check_fold(vec![there("a", 8, 1), there("b", 9, 1), there("c", 8, 1)], &[&["a", "c"], &["b"]]);
        check_fold(vec![there("a", 8, 1), there("b", 9, 2), there("c", 9, 1)], &[&["a", "b"], &["c"]]);
        let away = |path, inode| looked(path, Offline, print(inode, fine), None);
        check_fold(vec![away("a", 8), away("b", 8), away("c", 9)], &[&["a", "b"], &["c"]]);
        // Nothing tells files on a FAT disk that is away from one another.
        check_fold(vec![away("a", 0), away("b", 0)], &[&["a"], &["b"]]);
        let gone = |path| looked(path, Gone, print(8, fine), None);
        check_fold(vec![there("a", 8, 1), gone("b")], &[&["a"], &["b"]]);
    }

    #[test]
    fn only_files_that_may_be_one_are_looked_at() {
        let check = |inodes: &[u64], expected: bool| {
            let files: Vec<Known> = inodes
                .iter()
                .map(|&inode| looked("a", FilePresence::Verified, print(inode, NS), None).known)
                .collect();
            assert_eq!(may_be_one(&files), expected, "{inodes:?}");
        };
        check(&[0], false);
        check(&[8, 9], false);
        check(&[8, 9, 8], true);
        check(&[0, 9], true);
    }
}
