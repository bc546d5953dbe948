//! Repairing a store whose file is damaged, at the user's word.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;
use super::beside::{build_beside, take_name_from};
use super::checked::Checked;
use super::decisions::Decisions;
use super::disk::FileDisk;
use super::open::{Found, exists, look, not_read, now, open_checked, open_disk, sound_version1};
use super::rebuild::{self, Kind, Rebuilt};
use super::schema::META;
use super::source::Source;

/// What [`repair`] did.
#[derive(Debug)]
pub enum Repair {
    /// Every block of the file was read and is whole.
    NotNeeded,
    /// A new store has what could be read of the damaged one.
    Done {
        /// What it has.
        kept: Rebuilt,
        /// Where the damaged one lies now.
        moved_to: PathBuf,
    },
}

/// Checks the whole store at `path`. A damaged one is moved aside, and what can be read of it is in the new one that takes its
/// place: the next start of the daemon reads the rest again from the photos.
///
/// # Errors
/// [`StoreError::NoStore`] where there is none, [`StoreError::InUse`] while a daemon runs on it, [`StoreError::Newer`]
/// where a newer version wrote it; those of the disk.
pub fn repair(path: &Path) -> Result<Repair, StoreError> {
    if !exists(path)? {
        return Err(StoreError::NoStore { path: path.to_path_buf() });
    }
    let disk = Arc::new(open_disk(path)?);
    let found = look(&disk).map_err(not_read(path))?;
    let (mut from, kind) = match found {
        Found::NeverMade => return Ok(Repair::NotNeeded),
        Found::Version1 if sound_version1(&disk).is_some() => return Ok(Repair::NotNeeded),
        Found::Version1 => (Source::damaged(Arc::clone(&disk)), Kind::DamagedVersion1),
        Found::Foreign => (Source::nothing(), Kind::Mend),
        Found::Ours => match open_checked(path, Arc::clone(&disk)) {
            Ok(checked) => {
                if !checked.is_damaged() && checked.check_all().is_ok() && is_sound(&checked) {
                    return Ok(Repair::NotNeeded);
                }
                (Source::damaged(checked), Kind::Mend)
            }
            Err(StoreError::Refused { .. }) => (Source::nothing(), Kind::Mend),
            Err(error) => return Err(error),
        },
    };
    let decided = Decisions::beside(path).read();
    let kept = build_beside(path, |db| rebuild::fill(db, &mut from, kind, &decided, now()))?;
    let moved_to = take_name_from(path, "damaged")?;
    Ok(Repair::Done { kept, moved_to })
}

/// Says whether redb finds its tables in a file all blocks of which are whole.
pub(super) fn is_sound(checked: &Arc<Checked<Arc<FileDisk>>>) -> bool {
    let mut source = Source::damaged(Arc::clone(checked));
    source.each(META, None, &mut |_, _| Ok(())).is_ok() && !source.is_damaged()
}
