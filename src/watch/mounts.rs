//! The volumes mounted below a root, each with a state of its own, and what is to be believed of each place.
//!
//! A drive may be mounted below a watched folder at any time, and go again; what was seen on it is then away, not gone.
//! The root's thread compares the mount table with these records ([`judge`]) whenever the kernel says that it changed.
//!
//! Invariant: what is known of a file belongs to the volume that its mount's record names, or to the root's own where
//! there is no record; as long as another one is there, or none, nothing is believed of the file.

use std::sync::Arc;

use super::status::{MountStatus, OfflineReason, RootState, Watching};
use super::volume::{Anchor, FileSystem, Mounted, Volume};
use super::{KnownMount, Root};
use crate::photo::RelativePath;

/// A place below a root at which a volume is mounted, or was when it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) at: RelativePath,
    /// The volume that what is known below was seen on; none where an earlier version did not write it down.
    pub(super) volume: Option<Volume>,
    pub(super) state: MountState,
    pub(super) watching: Watching,
    /// It was decided how it is watched. Until then nobody adds a watch: the same folder may be watched by another name.
    pub(super) is_armed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MountState {
    /// Not looked at yet.
    Waiting,
    Online {
        anchor: Anchor,
        file_system: FileSystem,
    },
    Offline(OfflineReason),
}

impl Mount {
    pub(super) fn is_online(&self) -> bool {
        matches!(self.state, MountState::Online { .. })
    }

    /// Says whether the kernel tells of changes in it.
    pub(super) fn is_watched(&self) -> bool {
        self.is_online() && self.is_armed && self.watching == Watching::Inotify
    }

    /// Says whether it is still the same mount.
    pub(super) fn is_at(&self, now: Anchor) -> bool {
        matches!(self.state, MountState::Online { anchor, .. } if anchor == now)
    }

    pub(super) fn status(&self) -> MountStatus {
        MountStatus {
            at: self.at.clone(),
            volume: self.volume.clone(),
            state: match &self.state {
                MountState::Waiting => RootState::Waiting,
                MountState::Online { .. } => RootState::Online,
                MountState::Offline(reason) => RootState::Offline(reason.clone()),
            },
            watching: self.watching.clone(),
        }
    }
}

/// All of a root, those nearer to it first.
pub(super) type Mounts = Arc<[Mount]>;

/// Returns the records of a root that was not looked at yet.
pub(super) fn of_root(root: &Root) -> Mounts {
    let mount = |KnownMount { at, volume }: &KnownMount| Mount {
        at: at.clone(),
        volume: volume.clone(),
        state: MountState::Waiting,
        watching: Watching::Inotify,
        is_armed: false,
    };
    root.mounts.iter().map(mount).collect()
}

/// Returns the mount on which a path is; none where that is the root's own.
pub(super) fn covering<'a>(mounts: &'a [Mount], path: &RelativePath) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.as_path().starts_with(mount.at.as_path()));
    above.max_by_key(|mount| mount.at.as_bytes().len())
}

/// What is at one place now.
#[derive(Debug)]
pub(super) struct Here<'a> {
    /// The volume that is mounted at this very place.
    pub(super) mounted: Option<&'a Mounted>,
    /// The folder itself, as a part of the volume above it.
    pub(super) folder: &'a Volume,
    /// It has no entry at all.
    pub(super) is_empty: bool,
    /// Files are known below it.
    pub(super) is_known: bool,
    /// The volume of its record is mounted at another place below the root.
    pub(super) has_moved: bool,
    /// Our user said that what is there now is what should be there.
    pub(super) is_accepted: bool,
}

/// What is to be believed of a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// A folder like any other.
    Folder,
    /// Its volume is there.
    Online,
    /// Its volume is not there.
    Offline(OfflineReason),
}

/// Judges a place. `known` is the volume of its record; none where there is no record.
pub(super) fn judge(known: Option<Option<&Volume>>, here: &Here<'_>) -> Judgement {
    // While nothing is known, nothing can be mistaken for it, and the place takes whatever comes. So it does where
    // both volumes are there: what was known of one is compared with the other, and found again where it is now.
    let is_free = !here.is_known || here.is_accepted || here.has_moved;
    let wanted = match known {
        _ if is_free => None,
        // What is known was seen in the folder itself.
        None => Some(here.folder),
        Some(volume) => volume,
    };
    let is_folder = wanted.is_some_and(|wanted| wanted.is_same_directory(here.folder));
    match here.mounted {
        Some(mounted) if wanted.is_none_or(|wanted| wanted.is_same_directory(&mounted.volume)) => {
            if here.is_empty && !is_free {
                Judgement::Offline(OfflineReason::Empty)
            } else {
                Judgement::Online
            }
        }
        Some(_) if is_folder => Judgement::Offline(OfflineReason::Hidden),
        Some(_) => Judgement::Offline(OfflineReason::OtherVolume),
        None if is_free || is_folder || known.is_none() => Judgement::Folder,
        None => Judgement::Offline(OfflineReason::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(uuid: &str, inner: &str) -> Volume {
        Volume {
            uuid: Some(uuid.into()),
            file_system_id: None,
            kind: "ext4".into(),
            source: "/dev/a".into(),
            inner_path: inner.into(),
        }
    }

    /// A place of which photos are known, in the folder `/photos/card` of the volume `host`.
    fn check(
        known: Option<Option<&str>>,
        mounted: Option<&str>,
        change: impl FnOnce(&mut Here<'_>),
        expected: Judgement,
    ) {
        let known = known.map(|known| known.map(|uuid| volume(uuid, "/")));
        let mounted =
            mounted.map(|uuid| Mounted { volume: volume(uuid, "/"), file_system: FileSystem::Local });
        let folder = volume("host", "/photos/card");
        let mut here = Here {
            mounted: mounted.as_ref(),
            folder: &folder,
            is_empty: false,
            is_known: true,
            has_moved: false,
            is_accepted: false,
        };
        change(&mut here);
        assert_eq!(judge(known.as_ref().map(Option::as_ref), &here), expected, "{known:?} {here:?}");
    }

    #[test]
    fn a_place_keeps_its_volume_while_photos_are_known_of_it() {
        let same = |_: &mut Here<'_>| {};
        check(Some(Some("a")), Some("a"), same, Judgement::Online);
        check(Some(Some("a")), Some("b"), same, Judgement::Offline(OfflineReason::OtherVolume));
        check(Some(Some("a")), None, same, Judgement::Offline(OfflineReason::Missing));
        check(
            Some(Some("a")),
            Some("a"),
            |here| here.is_empty = true,
            Judgement::Offline(OfflineReason::Empty),
        );
        check(None, Some("a"), same, Judgement::Offline(OfflineReason::Hidden));
        check(None, None, same, Judgement::Folder);
        // As an earlier version wrote it down.
        check(Some(None), Some("a"), same, Judgement::Online);
        check(Some(None), None, same, Judgement::Offline(OfflineReason::Missing));
    }

    #[test]
    fn a_place_of_which_nothing_is_known_takes_what_comes() {
        let unknown = |here: &mut Here<'_>| here.is_known = false;
        for known in [None, Some(None), Some(Some("a"))] {
            check(known, Some("b"), unknown, Judgement::Online);
            check(known, None, unknown, Judgement::Folder);
        }
    }

    #[test]
    fn what_was_accepted_or_is_mounted_beside_is_taken() {
        check(Some(Some("a")), Some("b"), |here| here.is_accepted = true, Judgement::Online);
        check(Some(Some("a")), None, |here| here.is_accepted = true, Judgement::Folder);
        check(Some(Some("a")), Some("b"), |here| here.has_moved = true, Judgement::Online);
        check(Some(Some("a")), None, |here| here.has_moved = true, Judgement::Folder);
    }

    #[test]
    fn another_folder_of_the_same_volume_is_another_one() {
        let host = volume("host", "/photos/card");
        let bound = Mounted { volume: volume("host", "/elsewhere"), file_system: FileSystem::Local };
        let here = Here {
            mounted: Some(&bound),
            folder: &host,
            is_empty: false,
            is_known: true,
            has_moved: false,
            is_accepted: false,
        };
        assert_eq!(judge(Some(Some(&host)), &here), Judgement::Offline(OfflineReason::Hidden));
        assert_eq!(judge(Some(Some(&bound.volume)), &here), Judgement::Online);
    }

    #[test]
    fn the_deepest_mount_covers_a_path() {
        let path = |text: &str| RelativePath::from_bytes(text.as_bytes().to_vec());
        let at = |text: &str| KnownMount { at: path(text), volume: None };
        let root = Root {
            mounts: vec![at("a"), at("a/b"), at("c")],
            ..Root::new(crate::photo::RootId(1), "/p".into())
        };
        let mounts = of_root(&root);
        let covers = |text: &str| covering(&mounts, &path(text)).map(|mount| mount.at.clone());
        assert_eq!(covers("a/b/x.jpg"), Some(path("a/b")));
        assert_eq!(covers("a/bc"), Some(path("a")));
        assert_eq!(covers("ab/x.jpg"), None);
    }
}
