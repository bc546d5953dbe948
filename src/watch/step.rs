//! One step of a walk: a directory is entered, what it holds is handed out, and what was met is counted. Part of the root's
//! thread, which walks all of a root, a part of it, or a directory now and then.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Change;
use super::error::WatchError;
use super::root::RootThread;
use super::scan::{Changed, Findings, known_below};
use super::settle::Touch;
use super::state::Shared;
use super::walk::{Entered, enter, hand_over, hand_to_backlog, moved_from};
use crate::photo::{FileId, Fingerprint, RelativePath};

/// A file on a polled root that changed before this long ago is taken to be whole at first sight; generous,
/// since the server's clock may differ from ours.
const POLLED_IS_OLD: Duration = Duration::from_secs(120);

/// So many missing files are remembered in one walk; the next walk finds the others.
const MAX_MISSING: usize = 1 << 17;

/// How a walk ended.
#[derive(PartialEq, Eq)]
pub(super) enum End {
    Complete,
    /// The root itself could not be read.
    RootLost,
    /// Stopping, or the root was removed.
    Over,
}

/// What a walk counted.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) directories: u64,
    pub(super) present: u64,
    /// Of those: will be counted by the live thread when it hands them out.
    pub(super) new_and_unsettled: u64,
    pub(super) unreadable: u64,
    pub(super) changes: u64,
    pub(super) missing: Vec<FileId>,
    pub(super) missing_count: u64,
    pub(super) moved: HashSet<FileId>,
    pub(super) unsettled: HashMap<RelativePath, Fingerprint>,
}

impl Tally {
    fn miss(&mut self, file: FileId) {
        self.missing_count += 1;
        if self.missing.len() < MAX_MISSING {
            self.missing.push(file);
        }
    }
}

impl RootThread {
    /// Enters one directory; those in it are left in `waiting`.
    pub(super) fn walk_one(
        &self,
        directory: RelativePath,
        waiting: &mut Vec<RelativePath>,
        tally: &mut Tally,
    ) -> Result<End, WatchError> {
        if self.is_over() {
            return Ok(End::Over);
        }
        // Its disk did not answer for a while: it is looked for as if it had been away.
        if self.entry.asking.is_given_up() {
            return Ok(End::RootLost);
        }
        let is_root = directory.as_bytes().is_empty();
        let findings = match enter(&self.shared, &self.entry, &directory, false)? {
            Entered::Compared(findings) => {
                if is_root {
                    self.entry.set_given_up(false);
                }
                findings
            }
            // Judged by the next look at the root, which knows whether it had photos.
            Entered::Empty(_)
                if is_root && !self.accepts(&directory) && !self.shared.known.is_empty(self.entry.id)? =>
            {
                return Ok(End::RootLost);
            }
            Entered::Gone | Entered::Unreadable(_) | Entered::Away if is_root => return Ok(End::RootLost),
            // What was known of it is kept, whatever became of it.
            Entered::Away => return Ok(End::Complete),
            Entered::Empty(_) | Entered::Gone if self.is_mount_with_photos(&directory)? => {
                self.entry.request(|requests| requests.check = true);
                return Ok(End::Complete);
            }
            Entered::Empty(findings) => {
                if is_root && self.accepts(&directory) {
                    self.entry.set_given_up(true);
                }
                findings
            }
            Entered::Gone => {
                let (known, id) = (&*self.shared.known, self.entry.id);
                known_below(known, id, directory, |file| {
                    self.miss(file, tally);
                    true
                })?;
                return Ok(End::Complete);
            }
            Entered::Unreadable(_) => {
                tally.unreadable += 1;
                return Ok(End::Complete);
            }
            Entered::NoWatch => {
                self.stop_watching(&directory);
                waiting.push(directory);
                return Ok(End::Complete);
            }
        };
        tally.directories += 1;
        tally.present += findings.present;
        tally.unreadable += findings.unreadable;
        waiting.extend(findings.directories.iter().rev().map(|name| directory.join(name)));
        let is_taken = self.hand_out(&directory, findings, tally)?;
        Ok(if is_taken { End::Complete } else { End::Over })
    }

    fn hand_out(
        &self,
        directory: &RelativePath,
        findings: Findings,
        tally: &mut Tally,
    ) -> Result<bool, WatchError> {
        let (shared, entry) = (&*self.shared, &*self.entry);
        for Changed { name, fingerprint, is_new } in findings.changed {
            let file = entry.file(directory.join(&name));
            let touch = if is_new { Touch::Found } else { Touch::FoundChanged };
            if !self.is_whole(&file, &fingerprint, touch, tally) {
                tally.new_and_unsettled += u64::from(is_new);
                continue;
            }
            tally.changes += 1;
            let path = file.path.under(&entry.path());
            let is_taken = match moved_from(&self.shared, &file, &fingerprint, &tally.moved)? {
                Some(from) => {
                    tally.moved.insert(from.clone());
                    hand_over(shared, entry, Change::Moved { from, to: file, path, fingerprint })
                }
                None => hand_to_backlog(shared, entry, Change::Read { file, path, fingerprint }),
            };
            if !is_taken {
                return Ok(false);
            }
        }
        for name in findings.missing {
            self.miss(entry.file(directory.join(&name)), tally);
        }
        for name in findings.missing_directories {
            known_below(&*shared.known, entry.id, directory.join(&name), |file| {
                self.miss(file, tally);
                true
            })?;
        }
        // The rules are our user's word, not the disk's: they are believed at once.
        let mut is_taken = true;
        for name in findings.left_out {
            tally.changes += 1;
            is_taken &= hand_over(shared, entry, Change::Gone { file: entry.file(directory.join(&name)) });
        }
        for name in findings.left_out_directories {
            known_below(&*shared.known, entry.id, directory.join(&name), |file| {
                tally.changes += 1;
                is_taken &= hand_over(shared, entry, Change::Gone { file });
                is_taken
            })?;
        }
        Ok(is_taken)
    }

    /// Says whether a file that differs from what is known may be read now. If not, it will be looked at again: where
    /// the root is watched, among those that settle, as `touch`ed.
    fn is_whole(&self, file: &FileId, fingerprint: &Fingerprint, touch: Touch, tally: &mut Tally) -> bool {
        let age = Shared::unchanged_for(fingerprint);
        if self.entry.is_watched(&file.path) {
            let is_old = age.is_some_and(|age| age >= self.shared.config.debounce_while_open);
            if !is_old {
                let path = file.path.under(&self.entry.path());
                self.shared.touch(&self.entry, &path, touch);
                self.shared.wake_live();
            }
            return is_old;
        }
        let is_old = age.is_some_and(|age| age >= POLLED_IS_OLD);
        if is_old || self.unsettled.get(&file.path) == Some(fingerprint) {
            return true;
        }
        tally.unsettled.insert(file.path.clone(), *fingerprint);
        false
    }

    /// Counts a file that is not there, unless it is on a volume that is away.
    fn miss(&self, file: FileId, tally: &mut Tally) {
        if !self.entry.is_away(&file.path) {
            tally.miss(file);
        }
    }

    /// Says whether a volume is mounted at this directory, or was, of which anything is known.
    fn is_mount_with_photos(&self, directory: &RelativePath) -> Result<bool, WatchError> {
        let is_mount = self.entry.mounts().iter().any(|mount| mount.at == *directory);
        Ok(is_mount && !self.accepts(directory) && self.is_known_below(directory)?)
    }
}
