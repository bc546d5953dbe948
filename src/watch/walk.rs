//! Entering a directory: watch it, read it, compare it. And handing out what that found.
//!
//! Both kinds of thread do this, so that whatever leads to a directory (a start, an event, a poll) is followed
//! by the same steps in the same order: the watch comes before the reading, hence no gap.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::asking;
use super::disk::{Directory, Kind, Listing, absent, look};
use super::omissions::{OmissionKind, Omitted};
use super::root_entry::RootEntry;
use super::rules::{IGNORE_FILE, refresh};
use super::scan::{Allowed, Findings, compare};
use super::state::{InDirectory, Shared, lock};
use super::status::shell_word;
use super::watches::WatchProblem;
use super::{Change, KnownError};
use crate::deadline;
use crate::photo::{FileId, Fingerprint, RelativePath};

/// Longest path that system calls take, without the closing zero.
const MAX_PATH_BYTES: usize = 4095;

/// How long to wait before a full sink is asked again.
const FULL_SINK_PAUSE: Duration = Duration::from_millis(20);

/// What came of entering a directory.
pub(super) enum Entered {
    /// It was read.
    Compared(Findings),
    /// It has no entry at all.
    Empty(Findings),
    /// There is no directory at this path.
    Gone,
    /// It cannot be read, which has been noted; nothing is known of what is in it.
    Unreadable(io::Error),
    /// The volume that it was on is not there, or not looked at yet; nothing is known of what is in it.
    Away,
    /// There is no watch left for it.
    NoWatch,
}

/// Opens, watches where the root is watched, reads and compares `directory`, and notes what is left out.
pub(super) fn enter(
    shared: &Shared,
    entry: &RootEntry,
    directory: &RelativePath,
    again: bool,
) -> Result<Entered, KnownError> {
    let mut entered = open_and_compare(shared, entry, directory, again)?;
    let mut omissions = lock(&entry.omissions);
    match &mut entered {
        Entered::Compared(findings) | Entered::Empty(findings) => {
            omissions.set(directory, std::mem::take(&mut findings.omitted));
        }
        Entered::Unreadable(error) => {
            if omissions.set(directory, Omitted::whole(error)) {
                let path = directory.under(&entry.path());
                tracing::warn!(
                    "cannot read the folder {}: {error}; its photos stay as they are",
                    path.display()
                );
            }
        }
        Entered::Gone => omissions.forget_below(directory),
        Entered::Away | Entered::NoWatch => {}
    }
    drop(omissions);
    Ok(entered)
}

fn open_and_compare(
    shared: &Shared,
    entry: &RootEntry,
    directory: &RelativePath,
    again: bool,
) -> Result<Entered, KnownError> {
    asking::about(entry.id);
    let Some((top, anchor)) = entry.anchor_above(directory) else { return Ok(Entered::Away) };
    let path = directory.under(&entry.path());
    if path.as_os_str().len() > MAX_PATH_BYTES {
        return Ok(Entered::Unreadable(io::Error::new(
            io::ErrorKind::InvalidFilename,
            "the path is longer than the system allows (4095 bytes)",
        )));
    }
    let opened = match Directory::open(&path, directory.as_bytes().is_empty(), &shared.costs) {
        Ok(opened) => opened,
        Err(error) => return Ok(why_not_opened(error)),
    };
    if !opened.is_in(anchor, *directory == top) {
        // Something was mounted or unmounted a moment ago. The root's thread finds out what, and comes back.
        entry.request(|requests| requests.check = true);
        return Ok(Entered::Away);
    }
    if entry.is_watched(directory) {
        match lock(&shared.watches).watch(&path, opened.identity(), again) {
            Ok(()) => {}
            Err(WatchProblem::Gone) => return Ok(Entered::Gone),
            Err(WatchProblem::Limit | WatchProblem::NoEvents(_)) => return Ok(Entered::NoWatch),
            Err(WatchProblem::Other(error)) => return Ok(Entered::Unreadable(io::Error::other(error))),
        }
    }
    let listing = match opened.list(|name| shared.is_worth_an_event(name), &shared.costs) {
        Ok(listing) => listing,
        Err(error) => return Ok(Entered::Unreadable(error)),
    };
    take_ignore_file(shared, entry, directory, &opened, &listing);
    let known = shared.known.children(entry.id, directory)?;
    let allowed = InDirectory { shared, entry, directory };
    let file_system = entry.file_system(directory);
    let mut findings =
        compare(&listing, known, &allowed, |name| opened.look(name, &file_system, &shared.costs));
    note_links(shared, &allowed, &opened, &listing, &mut findings.omitted);
    Ok(if listing.is_empty { Entered::Empty(findings) } else { Entered::Compared(findings) })
}

/// Notes the links to folders and photos that are not watched under another name.
fn note_links(
    shared: &Shared,
    place: &InDirectory<'_>,
    opened: &Directory,
    listing: &Listing,
    omitted: &mut Omitted,
) {
    for name in &listing.links {
        if place.is_left_out(name, true) {
            continue;
        }
        let Ok(target) = opened.read_link(name) else { continue };
        let link = place.directory.join(name).under(&place.entry.path());
        let target = resolve(&link, &target);
        // Links into what is watched lead to nothing new, and those to a folder above would never end.
        if shared.all_roots().iter().any(|root| root.overlaps(&target)) {
            continue;
        }
        // It is on any disk, and that may not answer; past the limit it is only counted.
        let seen = if omitted.is_full() {
            None
        } else {
            let asked = target.clone();
            deadline::ask_blocking(&target, shared.config.patience, move |_| asked.metadata().ok()).ok()
        };
        let shown = target.display();
        match seen.flatten() {
            Some(seen) if seen.is_dir() => omitted.note(
                name,
                OmissionKind::Link,
                format_args!(
                    "a link to {shown}, which is not followed: `resemble roots add {}` watches it",
                    shell_word(&target)
                ),
            ),
            Some(seen) if seen.is_file() && shared.is_wanted(name) => {
                omitted.note(
                    name,
                    OmissionKind::Link,
                    format_args!("a link to {shown}, which is not followed"),
                );
            }
            Some(_) => {}
            None if omitted.is_full() => omitted.note(name, OmissionKind::Link, ""),
            None => {}
        }
    }
}

/// Returns where a link leads, as written.
fn resolve(link: &Path, target: &Path) -> PathBuf {
    let mut resolved = link.parent().unwrap_or(Path::new("/")).to_path_buf();
    for component in target.components() {
        match component {
            Component::RootDir => resolved = PathBuf::from("/"),
            Component::ParentDir => _ = resolved.pop(),
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

fn why_not_opened(error: io::Error) -> Entered {
    // A symbolic link or a file where a directory was: the directory is gone all the same.
    let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    if is_link || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        Entered::Gone
    } else {
        Entered::Unreadable(error)
    }
}

/// Takes in the ignore file of a directory that was just listed, before anything in it is judged.
pub(super) fn take_ignore_file(
    shared: &Shared,
    entry: &RootEntry,
    directory: &RelativePath,
    opened: &Directory,
    listing: &Listing,
) {
    let name = OsStr::new(IGNORE_FILE);
    let is_listed = listing.files.iter().any(|file| file == name);
    let seen = is_listed
        .then(|| opened.look(name, &entry.file_system(directory), &shared.costs).ok().flatten())
        .flatten()
        .filter(|seen| seen.kind == Kind::File)
        .map(|seen| seen.fingerprint);
    refresh(&entry.rules, directory, &directory.join(name).under(&entry.path()), seen);
}

/// Whether that nothing stands at a path means that the file is gone. Asks the disk once for each directory.
#[derive(Default)]
pub(super) struct Absence {
    /// Directories that are where they were, or that are gone themselves.
    believed: HashSet<RelativePath>,
}

impl Absence {
    /// Says whether all directories that lead to an entry of the root are, at this moment, in the mount in which they
    /// were, as far as they exist. Otherwise a volume went away, or another one came in between, and nothing is known.
    pub(super) fn is_believable(&mut self, shared: &Shared, entry: &RootEntry, path: &RelativePath) -> bool {
        let directory = path.parent().unwrap_or_default();
        self.believed.contains(&directory) || {
            let is_believed = is_where_it_was(shared, entry, &directory);
            is_believed && self.believed.insert(directory)
        }
    }
}

fn is_where_it_was(shared: &Shared, entry: &RootEntry, directory: &RelativePath) -> bool {
    let Some((top, anchor)) = entry.anchor_above(directory) else { return false };
    let (root, volumes) = (entry.path(), &shared.config.volumes);
    shared.costs.stat();
    if volumes.anchor(&top.under(&root)).ok() != Some(anchor) {
        return false;
    }
    let Ok(below) = directory.as_path().strip_prefix(top.as_path()) else { return false };
    let mut path = top;
    for name in below {
        path = path.join(name);
        shared.costs.stat();
        match volumes.mount_of(&path.under(&root)) {
            Ok((mount, _)) if mount != anchor.mount => return false,
            Ok((_, true)) => {}
            // It ends here, and all below it is gone with it.
            Ok((_, false)) => return true,
            Err(error) => return absent(error).is_ok(),
        }
    }
    true
}

/// Returns the known file that is gone from its place and now stands here, if there is one.
pub(super) fn moved_from(
    shared: &Arc<Shared>,
    to: &FileId,
    fingerprint: &Fingerprint,
    taken: &HashSet<FileId>,
) -> Result<Option<FileId>, KnownError> {
    if fingerprint.inode == 0 {
        return Ok(None);
    }
    for (from, known) in shared.known.with_inode(fingerprint.inode)? {
        let is_same = (known.len, known.modified_ns) == (fingerprint.len, fingerprint.modified_ns);
        if !is_same || from == *to || taken.contains(&from) {
            continue;
        }
        let Some(root) = shared.root(from.root).filter(|root| root.is_online()) else { continue };
        let path = from.path.under(&root.path());
        // What was written to and not read since must be read at its new name.
        if lock(&shared.settle).is_written(&path) {
            continue;
        }
        // What cannot be seen because its volume went away has not moved.
        let is_gone = if root.id == to.root {
            is_gone_from(shared, &root, &from.path, &path)
        } else {
            // That disk may not answer, which is no reason for this root to wait any longer than the other's own thread.
            let (shared, below, asked) = (Arc::clone(shared), from.path.clone(), path.clone());
            let patience = shared.config.patience;
            let call = move |_: &_| is_gone_from(&shared, &root, &below, &asked);
            deadline::ask_blocking(&path, patience, call).unwrap_or(false)
        };
        if is_gone {
            return Ok(Some(from));
        }
    }
    Ok(None)
}

fn is_gone_from(shared: &Shared, root: &RootEntry, below: &RelativePath, path: &Path) -> bool {
    matches!(look(path, &root.file_system(below), &shared.costs), Ok(None))
        && Absence::default().is_believable(shared, root, below)
}

/// Hands a change to the live queue, waiting while that is full. False: the room or the root is done for.
///
/// For changes found by a walk that are applied at once and cost nothing. In the backlog they would wait
/// behind photos, and a newer live change of the same file would overtake them.
pub(super) fn hand_over(shared: &Shared, entry: &RootEntry, change: Change) -> bool {
    loop {
        if shared.is_stopping() || entry.is_removed() {
            return false;
        }
        if shared.sink.live(change.clone()) {
            return true;
        }
        entry.pause(FULL_SINK_PAUSE, || shared.is_stopping() || entry.is_removed());
    }
}

/// Hands a photo to be read to the backlog. False: the room or the root is done for.
pub(super) fn hand_to_backlog(shared: &Shared, entry: &RootEntry, change: Change) -> bool {
    !shared.is_stopping() && !entry.is_removed() && shared.sink.backlog(change)
}
