//! What is mounted below a root, looked at. Part of the root's thread.
//!
//! Invariant: only this thread changes the records of mounts, and a directory is compared only while it is in the mount
//! that its record names. So whatever comes or goes is first written into the records here, and then walked.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::Directory;
use super::error::WatchError;
use super::mounts::{Here, Judgement, Mount, MountState, covering, judge};
use super::poll::{Backoff, Poll};
use super::presence::holds_what_is_known;
use super::root::RootThread;
use super::scan::known_below;
use super::status::{OfflineReason, Watching};
use super::step::Tally;
use super::volume::{Anchor, MountId, Mounted, Volume};
use crate::photo::RelativePath;

/// A place below the root at which something is mounted now.
struct Point {
    at: RelativePath,
    anchor: Anchor,
    mounted: Mounted,
}

impl RootThread {
    /// Compares what is mounted below the root with what is believed of it. Returns the directories that are to be
    /// walked since a volume came or went there. Their watches are made again, unless `all_are_armed` afterwards.
    pub(super) fn look_at_mounts(&mut self, all_are_armed: bool) -> Result<Vec<RelativePath>, WatchError> {
        let Some(root_volume) = self.entry.status().volume else { return Ok(Vec::new()) };
        let Some(points) = self.mounted_below() else { return Ok(Vec::new()) };
        let before = self.entry.mounts();
        let recorded = before.iter().map(|mount| &mount.at).filter(|at| !self.is_directory_left_out(at));
        // Parents come before what is in them.
        let places: BTreeSet<&RelativePath> = points.iter().map(|point| &point.at).chain(recorded).collect();

        let mut mounts: Vec<Mount> = Vec::new();
        let mut changed: Vec<RelativePath> = Vec::new();
        for at in places {
            let known = before.iter().find(|mount| mount.at == *at);
            let point = points.iter().find(|point| point.at == *at);
            let above = at.parent().and_then(|parent| covering(&mounts, &parent));
            if known.is_none() && above.is_some_and(|above| !above.is_online()) {
                continue;
            }
            let folder = match above.and_then(|above| Some((&above.at, above.volume.as_ref()?))) {
                Some((top, volume)) => volume.directory(below(top, at)),
                None => root_volume.directory(at.as_path()),
            };
            let has_moved = known.is_some_and(|known| has_moved(known, &points, &before));
            let judgement = self.judge_place(at, known, point, &folder, has_moved)?;
            let is_same = known.zip(point).is_some_and(|(known, point)| known.is_at(point.anchor));
            let mount = match (judgement, point) {
                (Judgement::Folder, _) | (Judgement::Online, None) => None,
                (Judgement::Online, Some(point)) => Some(Mount {
                    at: at.clone(),
                    volume: Some(point.mounted.volume.clone()),
                    state: MountState::Online {
                        anchor: point.anchor,
                        file_system: point.mounted.file_system,
                    },
                    watching: known.map_or(Watching::Inotify, |known| known.watching.clone()),
                    is_armed: is_same && known.is_some_and(|known| known.is_armed),
                }),
                (Judgement::Offline(reason), _) => Some(Mount {
                    at: at.clone(),
                    volume: known.map_or(Some(folder), |known| known.volume.clone()),
                    state: MountState::Offline(reason),
                    watching: Watching::Inotify,
                    is_armed: false,
                }),
            };
            let was_online = known.is_some_and(Mount::is_online);
            let is_online = mount.as_ref().is_some_and(Mount::is_online);
            let is_as_before = is_online && is_same;
            // The watches of what is mounted in it go with its own.
            let is_in_changed = changed.iter().any(|top| at.as_path().starts_with(top.as_path()));
            if was_online && !is_as_before {
                self.unwatch(at);
            }
            if is_online && (!is_as_before || is_in_changed) || known.is_some() && mount.is_none() {
                changed.push(at.clone());
            }
            mounts.extend(mount);
        }
        self.mount_polls.retain(|at, _| mounts.iter().any(|mount| mount.at == *at && mount.is_online()));
        self.entry.set_mounts(&*self.shared.sink, mounts.into());
        if !all_are_armed {
            let mounts = self.entry.mounts();
            for mount in mounts.iter().filter(|mount| mount.is_online() && changed.contains(&mount.at)) {
                self.arm_mount(&mount.at);
            }
        }
        Ok(changed)
    }

    /// Returns what is mounted below the root, as far as the rules let it in; none where that cannot be told.
    fn mounted_below(&self) -> Option<Vec<Point>> {
        let (root, volumes) = (self.entry.path(), &self.shared.config.volumes);
        let paths = match volumes.below(&root) {
            Ok(paths) => paths,
            Err(error) => {
                tracing::debug!(%error, "cannot read the mount table");
                return None;
            }
        };
        let points = paths.into_iter().filter_map(|path| {
            let at = RelativePath::strip(&root, &path)?;
            if self.is_directory_left_out(&at) {
                return None;
            }
            // What cannot be looked at, such as a FUSE mount of somebody else, is as if it were not mounted.
            let anchor = volumes.anchor(&path).ok()?;
            let mounted = volumes.at(&path).ok()?;
            Some(Point { at, anchor, mounted })
        });
        Some(points.collect())
    }

    fn judge_place(
        &self,
        at: &RelativePath,
        known: Option<&Mount>,
        point: Option<&Point>,
        folder: &Volume,
        has_moved: bool,
    ) -> Result<Judgement, WatchError> {
        let is_known = self.is_known_below(at)?;
        let mut is_empty = false;
        if point.is_some() && is_known {
            let costs = &self.shared.costs;
            let opened = Directory::open(&at.under(&self.entry.path()), false, costs);
            match opened.and_then(|directory| directory.list(|_| false, costs)) {
                Ok(listing) => is_empty = listing.is_empty,
                Err(error) => {
                    return Ok(Judgement::Offline(OfflineReason::Unreachable(error.to_string())));
                }
            }
        }
        let mounted = point.map(|point| &point.mounted);
        let is_accepted = self.accepts(at);
        let here = Here { mounted, folder, is_empty, is_known, has_moved, is_accepted };
        let judgement = judge(known.map(|known| known.volume.as_ref()), &here);
        let volumes = known.and_then(|known| known.volume.as_ref()).zip(mounted);
        let is_certain = volumes.is_none_or(|(known, now)| known.is_certain(&now.volume));
        let is_free = !is_known || has_moved || is_accepted;
        if judgement == Judgement::Online && !is_free && !is_certain {
            let place = at.under(&self.entry.path());
            if !holds_what_is_known(&self.shared, &self.entry, at, &place)? {
                return Ok(Judgement::Offline(OfflineReason::OtherVolume));
            }
        }
        Ok(judgement)
    }

    /// Says whether any file below a directory is known.
    pub(super) fn is_known_below(&self, directory: &RelativePath) -> Result<bool, WatchError> {
        let mut is_known = false;
        known_below(&*self.shared.known, self.entry.id, directory.clone(), |_| {
            is_known = true;
            false
        })?;
        Ok(is_known)
    }

    /// Looks at everything afresh that may have been unmounted and mounted again without a trace.
    pub(super) fn distrust_anchors(&self) {
        let is_lasting = |anchor: Anchor| matches!(anchor.mount, MountId::Unique(_));
        if self.entry.anchor().is_some_and(|anchor| !is_lasting(anchor)) {
            self.entry.set_anchor(None);
        }
        let mut mounts = self.entry.mounts().to_vec();
        for mount in &mut mounts {
            if matches!(mount.state, MountState::Online { anchor, .. } if !is_lasting(anchor)) {
                mount.state = MountState::Waiting;
            }
        }
        self.entry.set_mounts(&*self.shared.sink, mounts.into());
    }

    /// Returns the volumes below the root that are to be walked now since the kernel tells nothing of them.
    pub(super) fn due_mounts(&mut self, now: Instant) -> Vec<RelativePath> {
        let longest = self.shared.config.poll_every.1;
        let due = self.mount_polls.iter_mut().filter(|(_, poll)| poll.due <= now);
        let due = due.map(|(at, poll)| {
            // Planned anew once it was walked; this holds where that comes to nothing.
            poll.due = now + longest;
            at.clone()
        });
        due.collect()
    }

    /// Plans the next walk over the volume mounted at `top`, if it is one that the kernel does not tell of.
    pub(super) fn plan_mount_poll(&mut self, top: &RelativePath, tally: &Tally, took: Duration) {
        let mounts = self.entry.mounts();
        let mount = mounts.iter().find(|mount| mount.at == *top && mount.is_online());
        if mount.is_none_or(|mount| mount.watching == Watching::Inotify) {
            self.mount_polls.remove(top);
            return;
        }
        let config = &self.shared.config;
        let poll = self
            .mount_polls
            .entry(top.clone())
            .or_insert_with(|| Poll { due: Instant::now(), backoff: Backoff::new(config.poll_every) });
        let is_unsettled = tally.unsettled.keys().any(|file| file.as_path().starts_with(top.as_path()));
        let wait = poll.backoff.after(tally.changes > 0, took);
        // A second look at a file that may be being written is due soon.
        poll.due = Instant::now() + if is_unsettled { config.debounce_while_open } else { wait };
    }
}

/// Says whether the volume of a record is mounted at another place below the root, whose record does not name it.
fn has_moved(known: &Mount, points: &[Point], recorded: &[Mount]) -> bool {
    let Some(volume) = &known.volume else { return false };
    let is_recorded = |at: &RelativePath| {
        let here = recorded.iter().find(|mount| mount.at == *at).and_then(|mount| mount.volume.as_ref());
        here.is_some_and(|here| here.is_same_directory(volume))
    };
    points.iter().any(|point| {
        point.at != known.at && point.mounted.volume.is_same_directory(volume) && !is_recorded(&point.at)
    })
}

/// Returns the path of `at`, which is in `top`, from there.
fn below<'a>(top: &RelativePath, at: &'a RelativePath) -> &'a Path {
    at.as_path().strip_prefix(top.as_path()).unwrap_or(at.as_path())
}
