//! The live thread: events in, live changes out.
//!
//! An event only says where to look. Directories are looked at (and watched) at once, since files may already
//! be in them; files once they are quiet. The thread never waits for the sink: where that is full, the
//! root's own thread compares the place again.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Change;
use super::disk::{Kind, look};
use super::events::Signal;
use super::handle::WatchError;
use super::root::is_listed;
use super::rules::{IGNORE_FILE, refresh};
use super::scan::known_below;
use super::settle::{Due, Touch, Verdict};
use super::state::{HeldBack, RootEntry, Shared, lock};
use super::vanish::Belief;
use super::walk::{Entered, enter, is_on_absent_volume, moved_from};
use crate::photo::{FileId, Fingerprint, RelativePath, RootId};

/// So many events, or quiet paths, are taken at once before the other kind gets its turn.
const BATCH: usize = 4096;

pub(super) struct LiveThread {
    shared: Arc<Shared>,
    inbox: Receiver<Signal>,
}

/// What a batch of quiet paths came to, before anything is handed out.
#[derive(Default)]
struct Batch {
    present: Vec<(Arc<RootEntry>, FileId, Fingerprint, Due)>,
    missing: HashMap<RootId, (Arc<RootEntry>, Vec<RelativePath>)>,
}

impl Batch {
    fn miss(&mut self, entry: &Arc<RootEntry>, path: RelativePath) {
        self.missing.entry(entry.id).or_insert_with(|| (Arc::clone(entry), Vec::new())).1.push(path);
    }
}

impl LiveThread {
    pub(super) fn new(shared: Arc<Shared>, inbox: Receiver<Signal>) -> Self {
        Self { shared, inbox }
    }

    pub(super) fn run(self) -> Result<(), WatchError> {
        loop {
            let first = match lock(&self.shared.settle).next_due() {
                Some(due) => due,
                None => Instant::now() + std::time::Duration::from_secs(3600),
            };
            match self.inbox.recv_deadline(first) {
                Ok(signal) => {
                    self.hear(signal)?;
                    for signal in self.inbox.try_iter().take(BATCH) {
                        self.hear(signal)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(WatchError::EventsEnded),
            }
            if self.shared.is_stopping() {
                return Ok(());
            }
            if self.shared.overflowed.swap(false, Ordering::AcqRel) {
                self.lost(&[], "more events came than we could take");
            }
            self.look_at_quiet_paths()?;
            self.shared.publish();
        }
    }

    fn hear(&self, signal: Signal) -> Result<(), WatchError> {
        match signal {
            Signal::Touched { path, touch } => self.touched(&path, touch),
            Signal::Directory { path } => match self.shared.root_of(&path) {
                Some((entry, below)) => self.enter_tree(&entry, below),
                None => Ok(()),
            },
            Signal::SelfMoved { path } => {
                if let Some((entry, _)) =
                    self.shared.root_of(&path).filter(|(_, below)| below.as_bytes().is_empty())
                {
                    entry.request(|requests| requests.check = true);
                }
                Ok(())
            }
            Signal::Lost { paths, why } => {
                self.lost(&paths, &why);
                Ok(())
            }
            Signal::Rules => {
                for entry in self.shared.all_roots() {
                    self.apply_rules(&entry, RelativePath::default())?;
                }
                Ok(())
            }
            Signal::Wake => Ok(()),
            Signal::Ended => Err(WatchError::EventsEnded),
        }
    }

    /// Events were lost below `paths`; everywhere where there are none. The watches may be lost as well.
    fn lost(&self, paths: &[std::path::PathBuf], why: &str) {
        self.shared.losses.fetch_add(1, Ordering::Relaxed);
        tracing::info!(reason = why, "file system events were lost; comparing the roots as a whole");
        let affected: Vec<_> = paths.iter().filter_map(|path| self.shared.root_of(path)).collect();
        let roots = if affected.is_empty() {
            self.shared.all_roots()
        } else {
            affected.into_iter().map(|(entry, _)| entry).collect()
        };
        for entry in roots {
            entry.request(|requests| {
                requests.full = true;
                requests.lost_watches = true;
            });
        }
    }

    fn touched(&self, path: &Path, touch: Touch) -> Result<(), WatchError> {
        let Some((entry, below)) = self.shared.root_of(path) else { return Ok(()) };
        if below.as_bytes().is_empty() {
            entry.request(|requests| requests.check = true);
            return Ok(());
        }
        let is_worth_it = path.file_name().is_some_and(|name| self.shared.is_worth_an_event(name));
        // A directory may have any name. What the path is now decides, whatever the event said it was.
        let may_be_directory = match touch {
            Touch::Vanished => lock(&self.shared.watches).is_watched(path),
            Touch::Appeared => true,
            Touch::Attributes => !is_worth_it || lock(&self.shared.watches).is_watched(path),
            Touch::Created | Touch::Written | Touch::Closed | Touch::Found | Touch::Linked => false,
        };
        if may_be_directory {
            let seen = look(path, &entry.file_system(), &self.shared.costs);
            if matches!(seen, Ok(Some(seen)) if seen.kind == Kind::Directory) {
                return self.enter_tree(&entry, below);
            }
            if touch == Touch::Vanished {
                lock(&self.shared.watches).unwatch_below(path);
            }
        }
        // A name that is gone may have been that of a directory that was never watched.
        if is_worth_it || touch == Touch::Vanished {
            self.shared.touch(&entry, path, touch);
        }
        Ok(())
    }

    /// Watches and compares a directory and all below it; what differs is left to settle.
    fn enter_tree(&self, entry: &Arc<RootEntry>, top: RelativePath) -> Result<(), WatchError> {
        if !entry.is_online() || self.is_left_out(entry, &top, true) {
            return Ok(());
        }
        let mut waiting = vec![top];
        while let Some(directory) = waiting.pop() {
            if let Some(directories) = self.enter_one(entry, &directory)? {
                waiting.extend(directories.into_iter().rev().map(|name| directory.join(&name)));
            }
        }
        Ok(())
    }

    /// The same for one directory. Returns the names of those in it.
    fn enter_one(
        &self,
        entry: &Arc<RootEntry>,
        directory: &RelativePath,
    ) -> Result<Option<Vec<std::ffi::OsString>>, WatchError> {
        let path = directory.under(&entry.path());
        let findings = match enter(&self.shared, entry, directory, true)? {
            Entered::Compared(findings) | Entered::Empty(findings) => findings,
            Entered::Gone => {
                self.shared.touch(entry, &path, Touch::Vanished);
                return Ok(None);
            }
            Entered::Unreadable(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(path = %path.display(), error, "cannot read the folder; its photos stay as they are");
                return Ok(None);
            }
            Entered::NoWatch => {
                entry.request(|requests| requests.lost_watches = true);
                return Ok(None);
            }
        };
        for changed in findings.changed {
            self.shared.touch(entry, &path.join(changed.name), Touch::Found);
        }
        let vanished = findings.missing.iter().chain(&findings.missing_directories);
        for name in vanished {
            self.shared.touch(entry, &path.join(name), Touch::Vanished);
        }
        if !findings.left_out.is_empty() || !findings.left_out_directories.is_empty() {
            entry.request(|requests| requests.add_below(directory.clone()));
        }
        Ok(Some(findings.directories))
    }

    fn look_at_quiet_paths(&self) -> Result<(), WatchError> {
        let due = lock(&self.shared.settle).take_due(Instant::now(), BATCH);
        let mut batch = Batch::default();
        for due in due {
            self.look_at(due, &mut batch)?;
        }
        // Those present first: while a moved file is still known under its old name, it need not be read.
        let mut moved = HashSet::new();
        for (entry, file, fingerprint, due) in batch.present {
            self.hand_out(&entry, file, fingerprint, &due, &mut moved)?;
        }
        for (entry, paths) in batch.missing.into_values() {
            self.give_up(&entry, paths, &moved)?;
        }
        Ok(())
    }

    fn look_at(&self, due: Due, batch: &mut Batch) -> Result<(), WatchError> {
        let Some((entry, below)) = self.shared.root_of(&due.path).filter(|(entry, _)| entry.is_online())
        else {
            return Ok(());
        };
        let Some(name) = due.path.file_name() else { return Ok(()) };
        let costs = &self.shared.costs;
        let seen = match look(&due.path, &entry.file_system(), costs) {
            Ok(seen) => seen,
            Err(error) => {
                tracing::debug!(path = %due.path.display(), %error, "cannot look at the file");
                return Ok(());
            }
        };
        let Some(seen) = seen else {
            if name == IGNORE_FILE {
                return self.take_ignore_file(&entry, &below, &due.path, None);
            }
            batch.miss(&entry, below);
            return Ok(());
        };
        match seen.kind {
            Kind::Directory => {
                if self.shared.known.file(&entry.file(below.clone()))?.is_some() {
                    batch.miss(&entry, below.clone());
                }
                return self.enter_tree(&entry, below);
            }
            Kind::File => {}
            Kind::Other => {
                batch.miss(&entry, below);
                return Ok(());
            }
        }
        if due.last == Touch::Vanished && !is_listed(&due.path, costs) {
            // Found only because the file system ignores case.
            batch.miss(&entry, below);
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
        // What was written to is read, even if whoever wrote it put size and time back.
        let from =
            if due.was_written() { None } else { moved_from(&self.shared, &file, &fingerprint, moved)? };
        let parent = file.path.parent().unwrap_or_default();
        let linked = file.clone();
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
        moved.extend(from);
        if due.last == Touch::Linked { Ok(()) } else { self.look_at_links(&linked, fingerprint.inode) }
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
        paths: Vec<RelativePath>,
        moved: &HashSet<FileId>,
    ) -> Result<(), WatchError> {
        let mut known_missing = 0;
        let mut files = HashSet::new();
        for path in paths {
            let file = entry.file(path.clone());
            let is_known = self.shared.known.file(&file)?.is_some();
            // A photo on its way into the store is not known yet, and must be given up nonetheless.
            let is_photo = path.as_path().file_name().is_some_and(|name| self.shared.is_wanted(name));
            if is_known || is_photo {
                known_missing += u64::from(is_known && !moved.contains(&file));
                files.insert(file);
            }
            known_below(&*self.shared.known, entry.id, path, |file| {
                known_missing += u64::from(!moved.contains(&file));
                files.insert(file);
                true
            })?;
        }
        files.retain(|file| !moved.contains(file) && !is_on_absent_volume(&self.shared, entry, &file.path));
        if files.is_empty() {
            return Ok(());
        }
        if !entry.is_anchored(&self.shared) || self.is_empty_root(entry, known_missing)? {
            entry.request(|requests| requests.check = true);
            return Ok(());
        }
        let now = Instant::now();
        let belief = lock(&entry.disappearance).judge_part(known_missing, entry.known_files(), now);
        if let Belief::Held { until } = belief {
            *lock(&entry.confirm_at) = Some(until);
            let known = entry.known_files().unwrap_or(known_missing);
            entry.update_status(&*self.shared.sink, |status| {
                status.held_back = Some(HeldBack { missing: known_missing, known });
            });
            // Wakes its thread, which waits for an earlier time.
            entry.request(|requests| requests.check = true);
            return Ok(());
        }
        for file in files {
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

    /// Says whether the root has lost its last entry, and photos with it.
    fn is_empty_root(&self, entry: &Arc<RootEntry>, known_missing: u64) -> Result<bool, WatchError> {
        if known_missing == 0 {
            return Ok(false);
        }
        let costs = &self.shared.costs;
        let listing = super::disk::Directory::open(&entry.path(), true, costs)
            .and_then(|directory| directory.list(|_| false, costs));
        Ok(listing.is_ok_and(|listing| listing.is_empty))
    }

    fn is_left_out(&self, entry: &RootEntry, path: &RelativePath, is_directory: bool) -> bool {
        let rules = entry.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.leaves_out_at_any_level(path, is_directory)
    }

    fn take_ignore_file(
        &self,
        entry: &Arc<RootEntry>,
        file: &RelativePath,
        path: &Path,
        seen: Option<Fingerprint>,
    ) -> Result<(), WatchError> {
        let directory = file.parent().unwrap_or_default();
        if seen.is_none() && !entry.is_anchored(&self.shared) {
            entry.request(|requests| requests.check = true);
            return Ok(());
        }
        if refresh(&entry.rules, &directory, path, seen) {
            self.apply_rules(entry, directory)?;
        }
        Ok(())
    }

    /// Makes changed rules true below `directory`: what they leave out goes at once, what they let in is found
    /// by the root's thread.
    fn apply_rules(&self, entry: &Arc<RootEntry>, directory: RelativePath) -> Result<(), WatchError> {
        let root = entry.path();
        let top = directory.under(&root);
        let watched = lock(&self.shared.watches).below(&top);
        for path in watched {
            let is_left_out =
                RelativePath::strip(&root, &path).is_some_and(|below| self.is_left_out(entry, &below, true));
            if is_left_out {
                lock(&self.shared.watches).unwatch_below(&path);
            }
        }
        let mut left_out = Vec::new();
        known_below(&*self.shared.known, entry.id, directory.clone(), |file| {
            if self.is_left_out(entry, &file.path, false) {
                left_out.push(file);
            }
            true
        })?;
        for file in left_out {
            if !self.shared.sink.live(Change::Gone { file }) {
                break;
            }
            entry.one_file_less();
        }
        entry.request(|requests| requests.add_below(directory));
        Ok(())
    }
}
