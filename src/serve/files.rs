//! The files of photos as they stand on the disk now.
//!
//! The index follows the disk with some delay, keeps what is on drives that are away, and knows files by their paths, of
//! which a file may have several. Whoever deletes files on the word of an answer must not be told of a copy that is gone,
//! or of one that is the same file. So the files of such answers are looked at (`lstat`) when the answer is made, on
//! threads that are left behind where a disk does not answer.
//!
//! Invariant: of several paths that lead to one file, an answer lists one, and the others beside it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use resembled_api::uri;
use tokio::task::JoinSet;
use tonic::Status;

use super::Api;
use super::blocking::blocking;
use super::convert::{self, Roots};
use crate::deadline;
use crate::decode::Cancel;
use crate::photo::{FileId, Fingerprint, PhotoId, RelativePath, RootId};
use crate::proto;
use crate::proto::FilePresence;
use crate::store::{FileState, Photos, Reader, StoreError};
use crate::watch::{self, MountTable, OfflineReason, RootState, RootStatus, Volume, Volumes};

/// No time on FAT or exFAT is finer than 10 milliseconds.
const FAT_TICK_NS: i128 = 10_000_000;

/// Which file, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    /// Its inode is that of the moment, also on file systems that make inodes up at each mount.
    pub(super) fingerprint: Fingerprint,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), fingerprint: Fingerprint::of(metadata) }
    }

    /// What no two files have in common at a time.
    fn place(&self) -> (u64, u64) {
        (self.device, self.fingerprint.inode)
    }

    /// Says whether both are one file. One file shows under two devices where a network file system is mounted twice, or
    /// where a program or an overlay shows the files of others: then its times are the same, and no program can set the
    /// change time.
    pub(super) fn is_same_file(&self, other: &Self, same_machine: bool) -> bool {
        if same_machine && self.device == other.device {
            return self.place() == other.place();
        }
        has_same_times(&self.fingerprint, &other.fingerprint)
            && (self.fingerprint.inode == other.fingerprint.inode || is_telling(&self.fingerprint))
    }
}

/// Size, modification time and change time.
fn times(fingerprint: &Fingerprint) -> (u64, i128, i128) {
    (fingerprint.len, fingerprint.modified_ns, fingerprint.changed_ns)
}

fn has_same_times(one: &Fingerprint, other: &Fingerprint) -> bool {
    times(one) == times(other)
}

/// Says whether the change time is of the moment. On FAT and exFAT it is the modification time, which copies share.
fn is_telling(fingerprint: &Fingerprint) -> bool {
    fingerprint.changed_ns % FAT_TICK_NS != 0
}

/// A file of a photo as the index has it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) path: PathBuf,
    /// Whether its folder and its drive are there, as far as the index knows.
    pub(super) online: bool,
    /// Whether a look at it can tell anything.
    is_worth_a_look: bool,
    /// When its content was read.
    pub(super) fingerprint: Fingerprint,
    volume: VolumePlace,
}

/// Where a volume is: its root, and the path below it at which it is mounted; empty for the root's own.
type VolumePlace = (RootId, RelativePath);

impl Known {
    /// Says whether this, which could not be looked at, is likely to be that file. Where inodes are made up at each mount,
    /// size and times have to do: better a copy is overlooked than a file taken for a copy of itself.
    fn may_be(&self, other: &Identity) -> bool {
        let inode = self.fingerprint.inode;
        has_same_times(&self.fingerprint, &other.fingerprint)
            && (inode == 0 || inode == other.fingerprint.inode)
    }
}

/// A file after a look at it.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) known: Known,
    pub(super) presence: FilePresence,
    /// `None` where no file could be looked at.
    identity: Option<Identity>,
    /// A folder above it is one of those that were named.
    is_below: bool,
}

impl Looked {
    /// Says whether the file is, as far as can be seen, as it was when it was read.
    pub(super) fn may_be_there(&self) -> bool {
        !matches!(self.presence, FilePresence::Changed | FilePresence::Gone)
    }

    /// Says whether it is one of these files, or below one of the folders that were named.
    pub(super) fn is_one_of(&self, files: &[Identity], same_machine: bool) -> bool {
        let is = |asked: &Identity| match &self.identity {
            Some(identity) => identity.is_same_file(asked, same_machine),
            // What is gone is nothing that could be asked about.
            None => self.may_be_there() && self.known.may_be(asked),
        };
        self.is_below || files.iter().any(is)
    }

    /// Says whether both are one file. Of those that could not be looked at, only a lasting inode tells.
    fn is_same_file(&self, other: &Self) -> bool {
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

/// A file, and what else leads to it.
pub(super) struct Physical {
    pub(super) looked: Looked,
    pub(super) other_paths: Vec<PathBuf>,
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

/// Returns the files of a photo as the index has them: those that are online first, then by path.
pub(super) fn known(
    reader: &Reader,
    photos: &Photos,
    roots: &Roots,
    photo: PhotoId,
) -> Result<Vec<Known>, StoreError> {
    let mut known = Vec::new();
    for file in photos.files_of(photo)? {
        let (Some(root), Some(record)) = (roots.get(file.root), reader.file(&file)?) else { continue };
        let mount = root.mount_of(&file.path);
        known.push(Known {
            path: file.path.under(&root.path),
            online: root.is_reachable(&file.path),
            is_worth_a_look: !is_away(&root.state) && !mount.is_some_and(|mount| is_away(&mount.state)),
            fingerprint: record.fingerprint,
            volume: (file.root, mount.map(|mount| mount.at.clone()).unwrap_or_default()),
        });
    }
    known.sort_by(|a, b| b.online.cmp(&a.online).then_with(|| a.path.cmp(&b.path)));
    Ok(known)
}

/// Says whether nothing can be found where a volume belongs. Where the folder is missing or empty, looking tells more.
fn is_away(state: &RootState) -> bool {
    match state {
        RootState::Waiting | RootState::Scanning | RootState::Online => false,
        RootState::Offline(reason) => !matches!(reason, OfflineReason::Missing | OfflineReason::Empty),
    }
}

/// Returns whether two of these may be one file: only looking tells. An inode of 0 is any.
fn may_be_one(files: &[Known]) -> bool {
    let mut inodes: Vec<u64> = files.iter().map(|file| file.fingerprint.inode).collect();
    inodes.sort_unstable();
    inodes.len() > 1 && inodes[0] == 0 || inodes.windows(2).any(|pair| pair[0] == pair[1])
}

/// Files of one folder, each with its place among all.
type InFolder = Vec<(usize, Known)>;

/// Looks at files, in their order; the volumes all at once. `folders` are those of which it is asked whether they are above.
pub(super) async fn look(roots: &Roots, files: Vec<Known>, folders: &[(u64, u64)]) -> Vec<Looked> {
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

/// Puts the paths of one file together, in the order of the first of each. What is changed or gone stands for itself.
pub(super) fn fold(files: Vec<Looked>) -> Vec<Physical> {
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

/// The files of some photos of the index.
pub(super) type OfPhotos = Vec<(PhotoId, Vec<Known>)>;

/// Looks at the files of photos, and returns how many files there are of each, however many paths lead to them.
pub(super) async fn count(roots: &Roots, photos: OfPhotos) -> Vec<(PhotoId, usize)> {
    let mut counted = Vec::with_capacity(photos.len());
    let (doubtful, clear): (OfPhotos, OfPhotos) =
        photos.into_iter().partition(|(_, files)| may_be_one(files));
    counted.extend(clear.into_iter().map(|(photo, files)| (photo, files.len())));
    counted.extend(
        look_at_each(roots, doubtful).await.into_iter().map(|(photo, files)| (photo, fold(files).len())),
    );
    counted
}

/// Looks at the files of several photos at once.
async fn look_at_each<P>(roots: &Roots, photos: Vec<(P, Vec<Known>)>) -> Vec<(P, Vec<Looked>)> {
    let (photos, files): (Vec<P>, Vec<Vec<Known>>) = photos.into_iter().unzip();
    let lengths: Vec<usize> = files.iter().map(Vec::len).collect();
    let mut looked = look(roots, files.into_iter().flatten().collect(), &[]).await.into_iter();
    let parts = lengths.into_iter().map(|length| looked.by_ref().take(length).collect());
    // Each part is taken before the next one is.
    let parts: Vec<Vec<Looked>> = parts.collect();
    photos.into_iter().zip(parts).collect()
}

/// Looks a file up by any of its names, and says what is known of it: a photo first, then whatever else.
pub(super) fn find(
    api: &Api,
    reader: &Reader,
    names: &[PathBuf],
) -> Result<Option<(FileId, FileState)>, StoreError> {
    let mut other = None;
    for root in api.watch.roots() {
        for name in names {
            let Some(path) = RelativePath::strip(&root.path, name) else { continue };
            let file = FileId { root: root.id, path };
            match reader.file(&file)?.map(|record| record.state) {
                Some(state @ FileState::Photo(_)) => return Ok(Some((file, state))),
                Some(state) => other = Some((file, state)),
                None => {}
            }
        }
    }
    Ok(other)
}

/// Lists each file of these photos once, as the index knows them. Only files that may be one are looked at.
pub(super) async fn fold_paths(api: &Api, photos: Vec<&mut proto::Photo>) -> Result<(), Status> {
    let roots = Arc::new(Roots::of(api));
    let several = photos.into_iter().filter(|photo| photo.files.len() > 1).collect();
    let mut doubtful = with_files(api, &roots, several).await?;
    doubtful.retain(|(_, files)| may_be_one(files));
    for (photo, looked) in look_at_each(&roots, doubtful).await {
        let as_known = |mut file: Physical| {
            file.looked.presence = FilePresence::Unspecified;
            file.into()
        };
        photo.files = fold(looked).into_iter().map(as_known).collect();
    }
    Ok(())
}

/// Looks at all files of these photos, lists each once, and leaves out those that are no longer there.
pub(super) async fn verify(api: &Api, photos: Vec<&mut proto::Photo>) -> Result<(), Status> {
    let roots = Arc::new(Roots::of(api));
    let photos = with_files(api, &roots, photos).await?;
    for (photo, mut looked) in look_at_each(&roots, photos).await {
        looked.retain(Looked::may_be_there);
        looked.sort_by_key(|file| !file.known.online);
        photo.files = fold(looked).into_iter().map(proto::File::from).collect();
    }
    Ok(())
}

/// Reads the files of these photos; one that has gone from the index meanwhile has none.
async fn with_files<'a>(
    api: &Api,
    roots: &Arc<Roots>,
    photos: Vec<&'a mut proto::Photo>,
) -> Result<Vec<(&'a mut proto::Photo, Vec<Known>)>, Status> {
    if photos.is_empty() {
        return Ok(Vec::new());
    }
    let contents = photos.iter().map(|photo| convert::parse_photo_name("name", &photo.name));
    let contents = contents.collect::<Result<Vec<_>, Status>>()?;
    let (store, roots) = (Arc::clone(&api.store), Arc::clone(roots));
    let read = move |_: &Cancel| -> Result<Vec<Vec<Known>>, StoreError> {
        let reader = store.read()?;
        let photos = reader.photos()?;
        let files = contents.into_iter().map(|content| match reader.photo_with(content)? {
            Some(photo) => known(&reader, &photos, &roots, photo),
            None => Ok(Vec::new()),
        });
        files.collect()
    };
    let files = blocking(read).await?;
    Ok(photos.into_iter().zip(files).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS: i128 = 1_000_000_000;

    fn print(inode: u64, changed_ns: i128) -> Fingerprint {
        Fingerprint { len: 7, modified_ns: NS, changed_ns, inode }
    }

    fn identity(device: u64, inode: u64, changed_ns: i128) -> Identity {
        Identity { device, fingerprint: print(inode, changed_ns) }
    }

    #[test]
    fn a_file_is_known_again_by_its_place_or_by_times_that_no_program_can_set() {
        let check = |one: Identity, other: Identity, same_machine: bool, expected: bool| {
            assert_eq!(one.is_same_file(&other, same_machine), expected, "{one:?} {other:?}");
            assert_eq!(other.is_same_file(&one, same_machine), expected, "{other:?} {one:?}");
        };
        let fine = 5 * NS + 1;
        check(identity(1, 8, fine), identity(1, 8, 6 * NS), true, true);
        // Copies that were made within one tick of the clock.
        check(identity(1, 8, fine), identity(1, 9, fine), true, false);
        check(identity(1, 8, fine), identity(2, 8, fine + 1), true, false);
        // A network mounted twice; a pool of disks with inodes of its own.
        check(identity(1, 8, NS), identity(2, 8, NS), true, true);
        check(identity(1, 8, fine), identity(2, 9, fine), true, true);
        // Copies on two FAT disks, with the times of the original.
        check(identity(1, 8, NS), identity(2, 9, NS), true, false);
        // Numbers of devices on two machines mean nothing.
        check(identity(1, 8, fine), identity(1, 8, 6 * NS), false, false);
        check(identity(1, 8, fine), identity(7, 8, fine), false, true);
    }

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
