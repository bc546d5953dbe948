//! Whether a root is there: the same volume as before, and not empty where it had photos. Part of the root's thread.
//!
//! Invariant: only this says that a root is offline or online. While it is offline nothing is deleted.

use std::io;
use std::path::Path;

use super::disk::Directory;
use super::handle::WatchError;
use super::root::RootThread;
use super::state::lock;
use super::status::{OfflineReason, RootState};
use super::volume::Volume;

/// Whether the root is there.
pub(super) enum Presence {
    Absent,
    /// As it was at the last look.
    Present,
    /// For the first time, again, or not the same directory as before.
    Returned,
}

impl RootThread {
    /// Looks whether the root is there, and says so in its status where that changed. `thoroughly` also where
    /// it is the same directory as before, which may have been emptied.
    pub(super) fn look_for_root(&mut self, thoroughly: bool) -> Result<Presence, WatchError> {
        let path = self.entry.path();
        self.shared.costs.stat();
        let anchor = match self.shared.config.volumes.anchor(&path) {
            Ok(anchor) => anchor,
            Err(error) => {
                if self.follow_volume() {
                    return self.look_for_root(false);
                }
                let reason = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OfflineReason::Missing,
                    _ => OfflineReason::Unreachable(error.to_string()),
                };
                return Ok(self.offline(reason));
            }
        };
        let is_same = self.entry.is_online() && self.entry.anchor() == Some(anchor);
        if is_same && !thoroughly {
            return Ok(Presence::Present);
        }
        if is_same {
            return self.look_whether_empty();
        }
        let mounted = match self.shared.config.volumes.at(&path) {
            Ok(mounted) => mounted,
            Err(error) => return Ok(self.offline(OfflineReason::Unreachable(error.to_string()))),
        };
        let known_volume = self.entry.status().volume;
        if known_volume.is_some_and(|known| !known.is_same_volume(&mounted.volume)) {
            if self.follow_volume() {
                return self.look_for_root(false);
            }
            return Ok(self.offline(OfflineReason::OtherVolume));
        }
        if let Presence::Absent = self.look_whether_empty()? {
            return Ok(Presence::Absent);
        }
        self.entry.set_anchor(Some(anchor));
        self.entry.set_file_system(mounted.file_system);
        self.entry.update_status(&*self.shared.sink, |status| {
            status.state = RootState::Scanning;
            let mounts = status.volume.take().map(|known| known.mounts).unwrap_or_default();
            status.volume = Some(Volume { mounts, ..mounted.volume });
        });
        Ok(Presence::Returned)
    }

    /// A root without any entry is not there, if it had photos: most likely its volume is not mounted.
    fn look_whether_empty(&mut self) -> Result<Presence, WatchError> {
        let costs = &self.shared.costs;
        let listing =
            Directory::open(&self.entry.path(), true, costs).and_then(|root| root.list(|_| false, costs));
        match listing {
            Ok(listing) if listing.is_empty && !self.shared.known.is_empty(self.entry.id)? => {
                Ok(self.offline(OfflineReason::Empty))
            }
            Ok(_) => Ok(Presence::Present),
            Err(error) => Ok(self.offline(OfflineReason::Unreachable(error.to_string()))),
        }
    }

    /// Looks for the root's volume at other mount points; true where it is now there.
    fn follow_volume(&self) -> bool {
        let status = self.entry.status();
        let Some(volume) = status.volume else { return false };
        let Ok(found) = self.shared.config.volumes.find(&volume) else { return false };
        let is_taken = |path: &Path| {
            self.shared
                .all_roots()
                .iter()
                .any(|other| other.id != self.entry.id && overlaps(&other.path(), path))
        };
        let found = found.into_iter().find(|path| *path != status.path && !is_taken(path));
        let Some(path) = found.filter(|path| self.shared.config.volumes.anchor(path).is_ok()) else {
            return false;
        };
        tracing::info!(from = %status.path.display(), to = %path.display(), "the root's drive is mounted elsewhere; following it");
        self.unwatch();
        self.entry.set_path(&path);
        self.entry.set_anchor(None);
        self.entry.update_status(&*self.shared.sink, |status| status.path = path);
        true
    }

    fn offline(&mut self, reason: OfflineReason) -> Presence {
        let status = self.entry.status();
        if status.state != RootState::Offline(reason.clone()) {
            self.entry.set_anchor(None);
            self.entry.update_status(&*self.shared.sink, |status| {
                status.state = RootState::Offline(reason);
                status.held_back = None;
            });
            self.unwatch();
            self.unsettled.clear();
        }
        Presence::Absent
    }

    pub(super) fn unwatch(&self) {
        let path = self.entry.path();
        lock(&self.shared.watches).unwatch_below(&path);
        lock(&self.shared.settle).forget_below(&path);
    }
}

fn overlaps(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}
