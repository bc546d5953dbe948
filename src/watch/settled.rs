//! What became of paths that have been quiet for long enough. Part of the live thread.
//!
//! Each is looked at once: a file that differs from what is known is handed out, one that is gone is given up.
//! What was written to and then moved away before it was read is announced first of all, so that nobody adopts
//! what is known of it under its new name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Instant;

use super::Change;
use super::asking;
use super::disk::{Directory, Kind, look};
use super::error::WatchError;
use super::live::LiveThread;
use super::root::is_listed;
use super::root_entry::RootEntry;
use super::rules::IGNORE_FILE;
use super::scan::known_below;
use super::settle::{Due, Touch, Verdict};
use super::state::{Shared, lock};
use super::vanish::DeletionVerdict;
use super::walk::{Absence, moved_from};
use crate::photo::{FileId, Fingerprint, RelativePath, RootId};

/// So many quiet paths are taken at once before the events get their turn.
const PATHS_AT_ONCE: usize = 4096;

/// What a batch of quiet paths came to, before anything is handed out.
#[derive(Default)]
struct Batch {
    present: Vec<(Arc<RootEntry>, FileId, Fingerprint, Due)>,
    missing: HashMap<RootId, (Arc<RootEntry>, Vec<Missing>)>,
    /// Of those missing: written to, and never read since.
    unread: Vec<FileId>,
}

/// A path at which nothing stands any more, or no file.
struct Missing {
    path: RelativePath,
    /// A directory stands there now, so that what is known below is not gone.
    is_directory: bool,
}

impl Batch {
    fn miss(&mut self, entry: &Arc<RootEntry>, path: RelativePath, is_directory: bool, due: &Due) {
        if due.was_written() {
            self.unread.push(entry.file(path.clone()));
        }
        self.missing
            .entry(entry.id)
            .or_insert_with(|| (Arc::clone(entry), Vec::new()))
            .1
            .push(Missing { path, is_directory });
    }
}

impl LiveThread {
    pub(super) fn look_at_settled_paths(&self) -> Result<(), WatchError> {
        let due = lock(&self.shared.settle).take_due(Instant::now(), PATHS_AT_ONCE);
        let mut batch = Batch::default();
        for due in due {
            self.look_at(due, &mut batch)?;
            if self.is_over() {
                return Ok(());
            }
        }
        for file in batch.unread {
            self.doubt(file)?;
        }
        // Then those present: while a moved file is still known under its old name, it need not be read.
        let mut moved = HashSet::new();
        for (entry, file, fingerprint, due) in batch.present {
            self.hand_out(&entry, file, fingerprint, &due, &mut moved)?;
        }
        for (entry, paths) in batch.missing.into_values() {
            self.give_up(&entry, paths, &moved)?;
        }
        Ok(())
    }

    /// Says that what is known of a file is not to be adopted by another name.
    fn doubt(&self, file: FileId) -> Result<(), WatchError> {
        let is_known = self.shared.known.file(&file)?.is_some();
        if is_known && !self.shared.sink.live(Change::Doubtful { file: file.clone() }) {
            // Said again later: whoever finds the file elsewhere cannot hand it out either before there is room.
            if let Some(entry) = self.shared.root(file.root) {
                self.shared.touch(&entry, &file.path.under(&entry.path()), Touch::Closed);
            }
        }
        Ok(())
    }

    fn look_at(&self, due: Due, batch: &mut Batch) -> Result<(), WatchError> {
        let Some((entry, below)) = self.shared.root_of(&due.path).filter(|(entry, _)| entry.is_online())
        else {
            return Ok(());
        };
        let Some(name) = due.path.file_name() else { return Ok(()) };
        asking::about(entry.id);
        let costs = &self.shared.costs;
        let seen = match look(&due.path, &entry.file_system(&below), costs) {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(path = %due.path.display(), %error, "cannot look at the file");
                if !lock(&self.shared.settle).look_again(&due, Instant::now()) {
                    // Whoever reads the folder says what cannot be looked at.
                    let folder = below.parent().unwrap_or_default();
                    entry.request(|requests| requests.add_below(folder));
                }
                return Ok(());
            }
        };
        let Some(seen) = seen else {
            if name == IGNORE_FILE {
                return self.take_ignore_file(&entry, &below, &due.path, None);
            }
            batch.miss(&entry, below, false, &due);
            return Ok(());
        };
        match seen.kind {
            Kind::Directory => {
                if self.shared.known.file(&entry.file(below.clone()))?.is_some() {
                    batch.miss(&entry, below.clone(), true, &due);
                }
                return self.enter_tree(&entry, below);
            }
            Kind::File => {}
            Kind::Link | Kind::Other => {
                batch.miss(&entry, below, false, &due);
                return Ok(());
            }
        }
        if due.last == Touch::Vanished && !is_listed(&due.path, costs) {
            // Found only because the file system ignores case.
            batch.miss(&entry, below, false, &due);
            return Ok(());
        }
        let age = Shared::unchanged_for(&seen.fingerprint);
        let verdict = lock(&self.shared.settle).judge(&due, seen.fingerprint, age, Instant::now());
        if verdict == Verdict::Wait {
            return Ok(());
        }
        if name == IGNORE_FILE {
            return self.take_ignore_file(&entry, &below, &due.path, Some(seen.fingerprint));
        }
        if !self.shared.is_wanted(name) || self.is_left_out(&entry, &below, false) {
            return Ok(());
        }
        let file = entry.file(below);
        batch.present.push((entry, file, seen.fingerprint, due));
        Ok(())
    }

    fn hand_out(
        &self,
        entry: &Arc<RootEntry>,
        file: FileId,
        fingerprint: Fingerprint,
        due: &Due,
        moved: &mut HashSet<FileId>,
    ) -> Result<(), WatchError> {
        let known = self.shared.known.file(&file)?;
        if known == Some(fingerprint) {
            return Ok(());
        }
        // What may have been written to is read, even if whoever wrote it put size and time back.
        let from = if due.may_adopt() { moved_from(&self.shared, &file, &fingerprint, moved)? } else { None };
        // A walk of the root's thread may have adopted it between the two looks.
        if from.is_none() && self.shared.known.file(&file)? == Some(fingerprint) {
            return Ok(());
        }
        let parent = file.path.parent().unwrap_or_default();
        let handed_out = file.clone();
        let path = due.path.to_path_buf();
        let change = match from.clone() {
            Some(from) => Change::Moved { from, to: file, path, fingerprint },
            None => Change::Read { file, path, fingerprint },
        };
        if !self.shared.sink.live(change) {
            entry.request(|requests| requests.add_below(parent));
            return Ok(());
        }
        if known.is_none() {
            entry.one_file_more();
        }
        // The rules may have changed since it was looked at, and whoever changed them did not know of it yet.
        if self.is_left_out(entry, &handed_out.path, false) {
            entry.request(|requests| requests.add_below(parent));
            return Ok(());
        }
        moved.extend(from);
        if due.last == Touch::Linked { Ok(()) } else { self.look_at_links(&handed_out, fingerprint.inode) }
    }

    /// Looks at the other names of a file that changed: the kernel tells of a change only under the name that
    /// was used to make it.
    fn look_at_links(&self, changed: &FileId, inode: u64) -> Result<(), WatchError> {
        if inode == 0 {
            return Ok(());
        }
        for (file, _) in self.shared.known.with_inode(inode)? {
            if let Some(entry) = self.shared.root(file.root).filter(|_| file != *changed) {
                self.shared.touch(&entry, &file.path.under(&entry.path()), Touch::Linked);
            }
        }
        Ok(())
    }

    /// Gives up what is missing from a root that is there.
    fn give_up(
        &self,
        entry: &Arc<RootEntry>,
        paths: Vec<Missing>,
        moved: &HashSet<FileId>,
    ) -> Result<(), WatchError> {
        asking::about(entry.id);
        // With whether the file is known.
        let mut files = BTreeMap::new();
        // Read before they vanished, and written down any moment.
        let in_works: BTreeSet<FileId> = self.shared.known.in_works(entry.id).into_iter().collect();
        for Missing { path, is_directory } in paths {
            let file = entry.file(path.clone());
            let is_known = self.shared.known.file(&file)?.is_some();
            // A photo on its way into the store is not known yet, and must be given up nonetheless.
            let is_photo = path.as_path().file_name().is_some_and(|name| self.shared.is_wanted(name));
            if is_known || is_photo {
                files.insert(file, is_known);
            }
            if is_directory {
                continue;
            }
            // All that begins with the path and a slash stands together.
            let first = entry.file(path.join(OsStr::new("")));
            let is_below = |file: &&FileId| file.path.as_bytes().starts_with(first.path.as_bytes());
            files.extend(in_works.range(&first..).take_while(is_below).map(|file| (file.clone(), false)));
            known_below(&*self.shared.known, entry.id, path, |file| {
                files.insert(file, true);
                true
            })?;
        }
        files.retain(|file, _| !moved.contains(file) && !entry.is_away(&file.path));
        let mut absence = Absence::default();
        let seen = files.len();
        files.retain(|file, _| absence.is_believable(&self.shared, entry, &file.path));
        self.keep_what_was_emptied(entry, &mut files);
        if files.len() < seen {
            entry.request(|requests| requests.check = true);
        }
        if files.is_empty() {
            return Ok(());
        }
        let known_missing = files.values().filter(|&&is_known| is_known).count() as u64;
        let now = Instant::now();
        let verdict = lock(&entry.disappearance).judge_part(known_missing, entry.known_files(), now);
        if let DeletionVerdict::Held { until } = verdict {
            *lock(&entry.confirm_at) = Some(until);
            let known = entry.known_files().unwrap_or(known_missing);
            let kept = files.iter().filter(|(_, is_known)| **is_known).map(|(file, _)| file);
            entry.hold_back(&*self.shared.sink, kept, known_missing, known);
            // Wakes its thread, which waits for an earlier time.
            entry.request(|requests| requests.check = true);
            return Ok(());
        }
        for file in files.into_keys() {
            let parent = file.path.parent().unwrap_or_default();
            let is_known = self.shared.known.file(&file)?.is_some();
            if !self.shared.sink.live(Change::Gone { file }) {
                entry.request(|requests| requests.add_below(parent));
            } else if is_known {
                entry.one_file_less();
            }
        }
        Ok(())
    }

    /// Gives up nothing on a volume that has lost its last entry, and photos with it.
    fn keep_what_was_emptied(&self, entry: &RootEntry, files: &mut BTreeMap<FileId, bool>) {
        let top_of = |file: &FileId| entry.anchor_above(&file.path).map(|(top, _)| top);
        let known = files.iter().filter(|(_, is_known)| **is_known);
        let tops: BTreeSet<RelativePath> = known.filter_map(|(file, _)| top_of(file)).collect();
        let costs = &self.shared.costs;
        let is_empty = |top: &RelativePath| {
            let opened = Directory::open(&top.under(&entry.path()), top.as_bytes().is_empty(), costs);
            let listing = opened.and_then(|directory| directory.list(|_| false, costs));
            listing.is_ok_and(|listing| listing.is_empty)
        };
        let emptied: BTreeSet<_> = tops.into_iter().filter(is_empty).collect();
        files.retain(|file, _| top_of(file).is_none_or(|top| !emptied.contains(&top)));
    }
}
