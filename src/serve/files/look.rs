//! A look at files (`lstat`), volume by volume, on threads that are left behind where a disk does not answer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::task::JoinSet;

use super::identity::{Identity, has_same_times};
use super::{Known, Roots, VolumePlace};
use crate::deadline;
use crate::photo::RelativePath;
use crate::proto::FilePresence;
use crate::watch::{self, MountTable, RootStatus, Volume, Volumes};

/// A file after a look at it.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Looked {
    pub(in crate::serve) known: Known,
    pub(in crate::serve) presence: FilePresence,
    /// `None` where no file could be looked at.
    pub(super) identity: Option<Identity>,
    /// A folder above it is one of those that were named.
    pub(super) is_below: bool,
}

impl Looked {
    /// Says whether the file is, as far as can be seen, as it was when it was read.
    pub(in crate::serve) fn may_be_there(&self) -> bool {
        !matches!(self.presence, FilePresence::Changed | FilePresence::Gone)
    }

    /// Says whether it is one of these files, or below one of the folders that were named.
    pub(in crate::serve) fn is_one_of(&self, files: &[Identity], same_machine: bool) -> bool {
        let is = |asked: &Identity| match &self.identity {
            Some(identity) => identity.is_same_file(asked, same_machine),
            // What is gone is nothing that could be asked about.
            None => self.may_be_there() && self.known.may_be(asked),
        };
        self.is_below || files.iter().any(is)
    }

    /// Says whether both are one file. Of those that could not be looked at, only a lasting inode tells.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        match (&self.identity, &other.identity) {
            (Some(one), Some(other)) => one.is_same_file(other, true),
            (None, None) => {
                let (one, other) = (&self.known.fingerprint, &other.known.fingerprint);
                one.inode != 0 && one.inode == other.inode && has_same_times(one, other)
            }
            (None, Some(identity)) => self.known.fingerprint.inode != 0 && self.known.may_be(identity),
            (Some(identity), None) => other.known.fingerprint.inode != 0 && other.known.may_be(identity),
        }
    }
}

/// Files of one folder, each with its place among all.
type InFolder = Vec<(usize, Known)>;

/// Looks at files, in their order; the volumes all at once. `folders` are those of which it is asked whether they are above.
pub(in crate::serve) async fn look(roots: &Roots, files: Vec<Known>, folders: &[(u64, u64)]) -> Vec<Looked> {
    let mut by_volume: HashMap<&VolumePlace, BTreeMap<PathBuf, InFolder>> = HashMap::new();
    for (place, known) in files.iter().enumerate().filter(|(_, known)| known.is_worth_a_look) {
        let folder = known.path.parent().unwrap_or(Path::new("/")).to_path_buf();
        by_volume.entry(&known.volume).or_default().entry(folder).or_default().push((place, known.clone()));
    }
    let mut looking = JoinSet::new();
    for ((root, mount), by_folder) in by_volume {
        let Some(root) = roots.get(*root) else { continue };
        looking.spawn(look_at_volume(Eye::new(root, mount, folders), by_folder));
    }
    let mut seen: Vec<Option<Looked>> = vec![None; files.len()];
    while let Some(found) = looking.join_next().await {
        // A task that panicked has seen nothing.
        for (place, looked) in found.unwrap_or_default() {
            seen[place] = Some(looked);
        }
    }
    let unseen = |known: Known| {
        let presence = match known.is_worth_a_look {
            true => FilePresence::Unreachable,
            false => FilePresence::Offline,
        };
        Looked { known, presence, identity: None, is_below: false }
    };
    files.into_iter().zip(seen).map(|(known, seen)| seen.unwrap_or_else(|| unseen(known))).collect()
}

/// Looks at the files of a volume, folder by folder, until its disk falls silent. Returns what was seen until then.
async fn look_at_volume(mut eye: Eye, by_folder: BTreeMap<PathBuf, InFolder>) -> Vec<(usize, Looked)> {
    let (found, seen) = mpsc::channel();
    for (folder, files) in by_folder {
        let found = found.clone();
        let work = move |pulse: &deadline::Pulse| {
            for (place, known) in files {
                // Nobody receives where the call was given up.
                let _ = found.send((place, eye.look_at(known)));
                pulse.beat();
            }
            eye
        };
        match deadline::ask(&folder, deadline::PATIENCE, work).await {
            Ok(back) => eye = back,
            Err(silence) => {
                tracing::debug!("not all files could be looked at: {silence}");
                break;
            }
        }
    }
    seen.try_iter().collect()
}

/// Looks at one file of a volume after another, and at each folder once.
struct Eye {
    /// Where the volume belongs.
    place: PathBuf,
    /// None before it was first seen.
    volume: Option<Volume>,
    is_away: Option<bool>,
    folders: Vec<(u64, u64)>,
    is_below: HashMap<PathBuf, bool>,
}

impl Eye {
    fn new(root: &RootStatus, mount: &RelativePath, folders: &[(u64, u64)]) -> Self {
        Self {
            place: mount.under(&root.path),
            volume: root.mount_of(mount).map_or(&root.volume, |mount| &mount.volume).clone(),
            is_away: None,
            folders: folders.to_vec(),
            is_below: HashMap::new(),
        }
    }

    fn look_at(&mut self, known: Known) -> Looked {
        let (presence, identity) = match fs::symlink_metadata(&known.path) {
            Ok(metadata) if metadata.is_file() => {
                let is_as_read = watch::is_unchanged(&known.fingerprint, &metadata);
                let presence = if is_as_read { FilePresence::Verified } else { FilePresence::Changed };
                (presence, Some(Identity::of(&metadata)))
            }
            Ok(_) => (FilePresence::Changed, None),
            Err(error) if is_absence(&error) && self.is_away() => (FilePresence::Offline, None),
            Err(error) if is_absence(&error) => (FilePresence::Gone, None),
            Err(_) => (FilePresence::Unreachable, None),
        };
        let online = match presence {
            FilePresence::Verified | FilePresence::Changed => true,
            FilePresence::Offline => false,
            _ => known.online,
        };
        let is_below = identity.is_some() && known.path.parent().is_some_and(|folder| self.is_below(folder));
        Looked { known: Known { online, ..known }, presence, identity, is_below }
    }

    /// Says whether the folder is one of those that were named, or below one.
    fn is_below(&mut self, folder: &Path) -> bool {
        if self.folders.is_empty() {
            return false;
        }
        if let Some(&known) = self.is_below.get(folder) {
            return known;
        }
        let is_named = fs::metadata(folder)
            .is_ok_and(|metadata| self.folders.contains(&(metadata.dev(), metadata.ino())));
        let is_below = is_named || folder.parent().is_some_and(|parent| self.is_below(parent));
        self.is_below.insert(folder.to_path_buf(), is_below);
        is_below
    }

    /// Says whether the volume is not where it belongs: what is left of that path is on another one.
    fn is_away(&mut self) -> bool {
        let Some(volume) = &self.volume else { return false };
        *self.is_away.get_or_insert_with(|| {
            let left = self.place.ancestors().find(|folder| folder.is_dir());
            let mounted = left.and_then(|folder| MountTable.at(folder).ok());
            mounted.is_some_and(|mounted| !mounted.volume.is_same_volume(volume))
        })
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
