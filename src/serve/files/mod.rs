//! The files of photos as they stand on the disk now.
//!
//! The index follows the disk with some delay, keeps what is on drives that are away, and knows files by their paths, of
//! which a file may have several. Whoever deletes files on the word of an answer must not be told of a copy that is gone,
//! or of one that is the same file. So the files of such answers are looked at (`lstat`) when the answer is made, on
//! threads that are left behind where a disk does not answer.
//!
//! Invariant: of several paths that lead to one file, an answer lists one, and the others beside it.

mod fold;
mod identity;
mod look;

use std::path::PathBuf;
use std::sync::Arc;

use tonic::Status;

use super::Api;
use super::blocking::blocking;
use super::convert::{self, Roots};
use crate::decode::Cancel;
use crate::photo::{FileId, Fingerprint, PhotoId, RelativePath, RootId};
use crate::proto;
use crate::proto::FilePresence;
use crate::store::{FileState, Photos, Reader, StoreError};
use crate::watch::{OfflineReason, RootState};

use fold::may_be_one;
pub(super) use fold::{Physical, fold};
pub(super) use identity::Identity;
use identity::has_same_times;
pub(super) use look::{Looked, look};

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
