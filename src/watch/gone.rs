//! Where a deleted file is believed. Whoever gives a file up asks here last, at the moment at which it is written down:
//! minutes may have passed since it was missed, and it may be back.

use super::disk::{Kind, look};
use super::root::is_listed;
use super::root_entry::RootEntry;
use super::state::Shared;
use super::walk::Absence;
use crate::photo::{FileId, RelativePath};

/// What the disk and the rules say of a file that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not there, on a root and a volume that are; or the rules leave it out.
    Gone,
    /// It is there.
    There,
    /// The volume that it was on cannot be seen, which says nothing of it.
    Unknown,
}

/// Looks for a file of a root. `absence` remembers what it saw of the directories above.
pub(super) fn judge(shared: &Shared, entry: &RootEntry, file: &FileId, absence: &mut Absence) -> Verdict {
    if is_left_out(shared, entry, &file.path) {
        return Verdict::Gone;
    }
    let path = file.path.under(&entry.path());
    match look(&path, &entry.file_system(&file.path), &shared.costs) {
        Ok(Some(seen)) if seen.kind == Kind::File && is_listed(&path, &shared.costs) => Verdict::There,
        Ok(None) if entry.is_given_up() => Verdict::Gone,
        Ok(_) if absence.is_believable(shared, entry, &file.path) => Verdict::Gone,
        Ok(_) | Err(_) => Verdict::Unknown,
    }
}

/// The rules are our user's word, not the disk's, and hold whether or not the root is there.
fn is_left_out(shared: &Shared, entry: &RootEntry, path: &RelativePath) -> bool {
    let rules = entry.rules.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let is_wanted = path.as_path().file_name().is_some_and(|name| shared.is_wanted(name));
    !is_wanted || rules.leaves_out_at_any_level(path, false)
}
