//! The live thread: events in, live changes out.
//!
//! An event only says where to look. Directories are looked at (and watched) at once, since files may already
//! be in them; files once they are quiet. The thread never waits for the sink: where that is full, the
//! root's own thread compares the place again.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Change;
use super::asking::{self, Asking};
use super::disk::{Kind, look};
use super::error::WatchError;
use super::events::Signal;
use super::root_entry::RootEntry;
use super::rules::refresh;
use super::scan::known_below;
use super::settle::Touch;
use super::state::{Shared, lock};
use super::walk::{Absence, Entered, enter};
use crate::photo::{Fingerprint, RelativePath};

/// So many events are taken at once before the quiet paths get their turn.
const EVENTS_AT_ONCE: usize = 4096;

pub(super) struct LiveThread {
    pub(super) shared: Arc<Shared>,
    inbox: Receiver<Signal>,
    asking: Arc<Asking>,
    /// The directories at and below the path that vanished last, perhaps by a rename, in which every change was heard
    /// of until then.
    watched_where_vanished: RefCell<HashSet<PathBuf>>,
}

impl LiveThread {
    pub(super) fn new(shared: Arc<Shared>, inbox: Receiver<Signal>, asking: Arc<Asking>) -> Self {
        Self { shared, inbox, asking, watched_where_vanished: RefCell::default() }
    }

    pub(super) fn run(self) -> Result<(), WatchError> {
        self.asking.adopt();
        // Where another has taken its place, all roots are compared as a whole, so that nothing in hand is missed.
        while !self.is_over() {
            let first = match lock(&self.shared.settle).next_due() {
                Some(due) => due,
                None => Instant::now() + std::time::Duration::from_secs(3600),
            };
            match self.inbox.recv_deadline(first) {
                Ok(signal) => {
                    self.hear(signal)?;
                    for signal in self.inbox.try_iter().take(EVENTS_AT_ONCE) {
                        if self.is_over() {
                            return Ok(());
                        }
                        self.hear(signal)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(WatchError::EventsEnded),
            }
            if self.is_over() {
                break;
            }
            if self.shared.overflowed.swap(false, Ordering::AcqRel) {
                self.lost(&[], "more events came than we could take");
            }
            self.look_at_settled_paths()?;
            self.shared.publish();
        }
        Ok(())
    }

    /// Says whether the room stops, or another live thread has taken the place of this one.
    pub(super) fn is_over(&self) -> bool {
        self.shared.is_stopping() || self.asking.is_given_up()
    }

    fn hear(&self, signal: Signal) -> Result<(), WatchError> {
        match signal {
            Signal::Touched { path, touch } => self.touched(&path, touch),
            Signal::Directory { path } => match self.shared.root_of(&path) {
                Some((entry, below)) => self.enter_tree(&entry, below),
                None => Ok(()),
            },
            Signal::Renamed { from, to } => {
                let watched = self.watched_where_vanished.take();
                lock(&self.shared.settle).renamed(&from, &to, |directory| watched.contains(directory));
                // It may have been renamed again before we could watch it there.
                let there =
                    watched.iter().filter_map(|directory| Some(to.join(directory.strip_prefix(&from).ok()?)));
                self.watched_where_vanished.replace(there.collect());
                Ok(())
            }
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
    fn lost(&self, paths: &[PathBuf], why: &str) {
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
        if entry.is_silent() {
            // It is compared as a whole once it answers.
            return Ok(());
        }
        asking::about(entry.id);
        if touch == Touch::Vanished {
            let mut watched = self.watched_where_vanished.borrow_mut();
            watched.retain(|directory| directory.starts_with(path));
            watched.extend(lock(&self.shared.watches).below(path));
        }
        let is_worth_it = path.file_name().is_some_and(|name| self.shared.is_worth_an_event(name));
        // A directory may have any name. What the path is now decides, whatever the event said it was.
        let may_be_directory = match touch {
            Touch::Vanished => lock(&self.shared.watches).is_watched(path),
            Touch::Appeared => true,
            Touch::Attributes => !is_worth_it || lock(&self.shared.watches).is_watched(path),
            Touch::Created
            | Touch::Written
            | Touch::Closed
            | Touch::Found
            | Touch::FoundUnwatched
            | Touch::FoundChanged
            | Touch::Linked => false,
        };
        if may_be_directory {
            let seen = look(path, &entry.file_system(&below), &self.shared.costs);
            if matches!(seen, Ok(Some(seen)) if seen.kind == Kind::Directory) {
                return self.enter_tree(&entry, below);
            }
            if touch == Touch::Vanished {
                lock(&self.shared.watches).unwatch_below(path);
            }
        }
        if is_worth_it && matches!(touch, Touch::Written | Touch::Closed) {
            self.touch_links(&entry, &below, path)?;
        }
        // A name that is gone may have been that of a directory that was never watched.
        if is_worth_it || touch == Touch::Vanished {
            self.shared.touch(&entry, path, touch);
        }
        Ok(())
    }

    /// Marks the other names of a file as written to, when it is for the first time: the kernel names only the one
    /// that was used, and whoever is renamed meanwhile must not be adopted.
    fn touch_links(&self, entry: &RootEntry, below: &RelativePath, path: &Path) -> Result<(), WatchError> {
        if lock(&self.shared.settle).is_written(path) {
            return Ok(());
        }
        let known = &self.shared.known;
        let file = entry.file(below.clone());
        let fingerprint = match look(path, &entry.file_system(below), &self.shared.costs) {
            Ok(Some(seen)) => Some(seen.fingerprint),
            Ok(None) | Err(_) => known.file(&file)?,
        };
        let inode = fingerprint.map_or(0, |fingerprint| fingerprint.inode);
        if inode == 0 {
            return Ok(());
        }
        for (other, _) in known.with_inode(inode)? {
            if let Some(entry) = self.shared.root(other.root).filter(|_| other != file) {
                self.shared.touch(&entry, &other.path.under(&entry.path()), Touch::Closed);
            }
        }
        Ok(())
    }

    /// Watches and compares a directory and all below it; what differs is left to settle.
    pub(super) fn enter_tree(&self, entry: &Arc<RootEntry>, top: RelativePath) -> Result<(), WatchError> {
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
            Entered::Unreadable(_) | Entered::Away => return Ok(None),
            Entered::NoWatch => {
                entry.request(|requests| requests.lost_watches = true);
                return Ok(None);
            }
        };
        for changed in findings.changed {
            let touch = if changed.is_new { Touch::FoundUnwatched } else { Touch::FoundChanged };
            self.shared.touch(entry, &path.join(changed.name), touch);
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

    pub(super) fn is_left_out(&self, entry: &RootEntry, path: &RelativePath, is_directory: bool) -> bool {
        let rules = entry.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.leaves_out_at_any_level(path, is_directory)
    }

    pub(super) fn take_ignore_file(
        &self,
        entry: &Arc<RootEntry>,
        file: &RelativePath,
        path: &Path,
        seen: Option<Fingerprint>,
    ) -> Result<(), WatchError> {
        let directory = file.parent().unwrap_or_default();
        if seen.is_none() && !Absence::default().is_believable(&self.shared, entry, file) {
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
