//! Whether a root is there: the same volume as before, and not empty where it had photos.
//!
//! [`Presence`] is what one look came to; it changes nothing. The root's thread makes it true, and is the only one to
//! say that a root is offline or online. While it is offline nothing is deleted.

use std::io;
use std::path::{Path, PathBuf};

use super::KnownError;
use super::disk::{Directory, look};
use super::root_entry::RootEntry;
use super::scan::known_below;
use super::state::Shared;
use super::status::OfflineReason;
use super::volume::{Anchor, FileSystem, Mounted, Volume};
use crate::photo::{Fingerprint, RelativePath, overlap};

/// So many known files are looked for on a volume that has no mark of its own.
const COMPARED_FILES: usize = 32;

/// Whether the root is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent(OfflineReason),
    /// As it was at the last look.
    Same,
    /// For the first time, again, or not the same directory as before.
    Returned(Box<Found>),
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Whether it is the same directory in the same mount as before.
    Brief,
    /// And whether it was emptied.
    Thorough,
    /// What is there now is what should be there: our user said so.
    Accepting,
}

/// A root that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where.
    pub(super) place: PathBuf,
    /// That is not where its path leads, but where its volume is mounted.
    pub(super) is_followed: bool,
    pub(super) anchor: Anchor,
    pub(super) mounted: Mounted,
}

impl Presence {
    /// Looks whether the root is there: where it was, where its path leads, and where else its volume is mounted.
    pub(super) fn look(shared: &Shared, entry: &RootEntry, how: Look) -> Result<Self, KnownError> {
        let place = entry.path();
        shared.costs.stat();
        let anchor = shared.config.volumes.anchor(&place);
        let is_same = entry.is_online() && anchor.is_ok_and(|anchor| entry.anchor() == Some(anchor));
        if is_same && how == Look::Brief {
            return Ok(Self::Same);
        }
        let has_photos = !shared.known.is_empty(entry.id)?;
        // While no photo is known, nothing can be mistaken, and the folder takes whatever volume comes: that of the
        // host, as long as its drive is not mounted yet, and then the drive.
        let is_free = how == Look::Accepting || !has_photos;
        let volume = entry.status().volume;
        let search = Search { shared, entry, volume: volume.as_ref().filter(|_| !is_free), is_free };
        if is_same {
            return Ok(search.why_not_there(&place).map_or(Self::Same, Self::Absent));
        }
        // The configured place comes first, so that a drive which was followed elsewhere comes home.
        let configured = shared.config.volumes.resolve(&entry.configured);
        let configured = configured.unwrap_or_else(|_| entry.configured.to_path_buf());
        let mut reason = None;
        for (place, is_followed) in [(configured, false), (place.to_path_buf(), true)] {
            match search.at(place, is_followed)? {
                Self::Absent(why) => reason = reason.or(Some(why)),
                there => return Ok(there),
            }
        }
        let elsewhere = volume.as_ref().and_then(|volume| shared.config.volumes.find(volume).ok());
        for place in elsewhere.into_iter().flatten().filter(|place| !is_taken(shared, entry, place)) {
            if let there @ Self::Returned(_) = search.at(place, true)? {
                return Ok(there);
            }
        }
        Ok(Self::Absent(reason.unwrap_or(OfflineReason::Missing)))
    }
}

/// What is looked for.
struct Search<'a> {
    shared: &'a Shared,
    entry: &'a RootEntry,
    /// The volume that it must be.
    volume: Option<&'a Volume>,
    /// Whatever is there will do.
    is_free: bool,
}

impl Search<'_> {
    fn at(&self, place: PathBuf, is_followed: bool) -> Result<Presence, KnownError> {
        let volumes = &self.shared.config.volumes;
        self.shared.costs.stat();
        let found = volumes.anchor(&place).and_then(|anchor| Ok((anchor, volumes.at(&place)?)));
        let (anchor, mounted) = match found {
            Ok(found) => found,
            Err(error) => return Ok(Presence::Absent(unreachable(&error))),
        };
        if self.volume.is_some_and(|volume| !volume.is_same_volume(&mounted.volume)) {
            return Ok(Presence::Absent(OfflineReason::OtherVolume));
        }
        if let Some(reason) = self.why_not_there(&place) {
            return Ok(Presence::Absent(reason));
        }
        // Photos, and no volume: a backup was restored on another computer.
        let is_certain = self.is_free || self.volume.is_some_and(|volume| volume.is_certain(&mounted.volume));
        if !is_certain && !holds_what_is_known(self.shared, self.entry, &RelativePath::default(), &place)? {
            return Ok(Presence::Absent(OfflineReason::OtherVolume));
        }
        Ok(Presence::Returned(Box::new(Found { place, is_followed, anchor, mounted })))
    }

    /// A root without any entry is not there, if it had photos: most likely its volume is not mounted.
    fn why_not_there(&self, place: &Path) -> Option<OfflineReason> {
        let costs = &self.shared.costs;
        match Directory::open(place, true, costs).and_then(|root| root.list(|_| false, costs)) {
            Ok(listing) if listing.is_empty && !self.is_free && !self.entry.is_given_up() => {
                Some(OfflineReason::Empty)
            }
            Ok(_) => None,
            Err(error) => Some(unreachable(&error)),
        }
    }
}

/// Says whether any of the first files that are known of a root below `top` is at `place`, as it is known. This tells
/// volumes apart that nothing else does.
pub(super) fn holds_what_is_known(
    shared: &Shared,
    entry: &RootEntry,
    top: &RelativePath,
    place: &Path,
) -> Result<bool, KnownError> {
    let mut files = Vec::new();
    known_below(&*shared.known, entry.id, top.clone(), |file| {
        files.push(file);
        files.len() < COMPARED_FILES
    })?;
    for file in files {
        let Ok(below) = file.path.as_path().strip_prefix(top.as_path()) else { continue };
        let Ok(Some(seen)) = look(&place.join(below), &FileSystem::Local, &shared.costs) else { continue };
        let Some(known) = shared.known.file(&file)? else { continue };
        let is_same = |known: Fingerprint, seen: Fingerprint| {
            (known.len, known.modified_ns) == (seen.len, seen.modified_ns)
        };
        // Nothing is said of what it was like where it is to be encoded anew.
        if known == Fingerprint::STALE || is_same(known, seen.fingerprint) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unreachable(error: &io::Error) -> OfflineReason {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OfflineReason::Missing,
        _ => OfflineReason::Unreachable(error.to_string()),
    }
}

/// Says whether another root that is there lies at, around or below a place.
fn is_taken(shared: &Shared, entry: &RootEntry, place: &Path) -> bool {
    shared
        .all_roots()
        .iter()
        .any(|other| other.id != entry.id && other.is_online() && overlap(&other.path(), place))
}
