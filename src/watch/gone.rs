//! Where a deleted file is believed. Whoever gives a file up asks here last, at the moment at which it is written down:
//! minutes may have passed since it was missed, and it may be back.

use super::disk::{Kind, look};
use super::root::is_listed;
use super::state::{RootEntry, Shared};
use super::walk::is_on_absent_volume;
use crate::photo::{FileId, RelativePath};

/// What the disk and the rules say of a file that was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not there, on a root and a volume that are; or the rules leave it out.
    Gone,
    /// It is there.
    There,
    /// Its root or its volume cannot be seen, which says nothing of it.
    Unknown,
}

/// Looks for a file of a root.
pub(super) fn judge(shared: &Shared, entry: &RootEntry, file: &FileId) -> Verdict {
    if is_left_out(shared, entry, &file.path) {
        return Verdict::Gone;
    }
    let path = file.path.under(&entry.path());
    match look(&path, &entry.file_system(), &shared.costs) {
        Ok(Some(seen)) if seen.kind == Kind::File && is_listed(&path, &shared.costs) => Verdict::There,
        Ok(None) if is_on_absent_volume(shared, entry, &file.path) => Verdict::Unknown,
        Ok(_) if entry.is_anchored(shared) => Verdict::Gone,
        Ok(_) | Err(_) => Verdict::Unknown,
    }
}

/// The rules are our user's word, not the disk's, and hold whether or not the root is there.
fn is_left_out(shared: &Shared, entry: &RootEntry, path: &RelativePath) -> bool {
    let rules = entry.rules.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let is_wanted = path.as_path().file_name().is_some_and(|name| shared.is_wanted(name));
    !is_wanted || rules.leaves_out_at_any_level(path, false)
}
