//! The thread of one root: finds out whether the root is there, walks it, polls it where it must.
//!
//! It sleeps until it is asked, or until the next look at the root (one `statx`) or the next poll is due.
//! Only this thread says that a root is offline or online again. It may wait for the sink as long as it
//! likes: watches are in place before the first photo is handed out, so live changes do not wait for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Change;
use super::asking;
use super::comparison::Comparison;
use super::disk::{Costs, Directory, look};
use super::error::WatchError;
use super::gone::{Verdict, judge};
use super::poll::{Backoff, Poll};
use super::presence::{Found, Look, Presence};
use super::root_entry::{Requests, RootEntry};
use super::scan::known_below;
use super::state::{Shared, lock};
use super::status::{HeldBack, OfflineReason, RootState, Watching};
use super::step::{End, Tally};
use super::vanish::DeletionVerdict;
use super::walk::{Absence, hand_over};
use crate::photo::{FileId, Fingerprint, RelativePath};

pub(super) struct RootThread {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<RootEntry>,
    next_check: Instant,
    next_poll: Option<Instant>,
    pub(super) comparison: Comparison,
    backoff: Backoff,
    /// What is there now at these places is what should be there, for this turn.
    accepted: BTreeSet<RelativePath>,
    /// When volumes mounted below the root are to be walked, which the kernel does not tell of.
    pub(super) mount_polls: BTreeMap<RelativePath, Poll>,
    /// Polled files that looked different from what is known, as they looked.
    pub(super) unsettled: HashMap<RelativePath, Fingerprint>,
}

impl RootThread {
    pub(super) fn new(shared: Arc<Shared>, entry: Arc<RootEntry>) -> Self {
        let backoff = Backoff::new(shared.config.poll_every);
        Self {
            shared,
            entry,
            next_check: Instant::now(),
            next_poll: None,
            comparison: Comparison::new(),
            backoff,
            accepted: BTreeSet::new(),
            mount_polls: BTreeMap::new(),
            unsettled: HashMap::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<(), WatchError> {
        self.entry.asking.adopt();
        asking::about(self.entry.id);
        loop {
            let requests = self.entry.wait(self.deadline(), || self.is_over());
            if self.is_over() {
                return Ok(());
            }
            self.turn(requests)?;
            self.entry.set_unsettled(self.unsettled.len());
            self.entry.done();
            self.shared.publish();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.shared.is_stopping() || self.entry.is_removed()
    }

    fn deadline(&self) -> Instant {
        let confirm = *lock(&self.entry.confirm_at);
        let polls = self.mount_polls.values().map(|poll| poll.due);
        [self.next_poll, confirm, self.comparison.next()]
            .into_iter()
            .flatten()
            .chain(polls)
            .fold(self.next_check, Instant::min)
    }

    fn turn(&mut self, mut requests: Requests) -> Result<(), WatchError> {
        self.entry.asking.begin_anew();
        self.accepted = std::mem::take(&mut requests.accept);
        let accepts_root = self.accepted.contains(&RelativePath::default());
        requests.full |= accepts_root;
        requests.check |= !self.accepted.is_empty();
        if requests.remounted {
            self.distrust_anchors();
        }
        let look = match requests.check {
            _ if accepts_root => Look::Accepting,
            true => Look::Thorough,
            false => Look::Brief,
        };
        let presence = Presence::look(&self.shared, &self.entry, look)?;
        let now = Instant::now();
        self.next_check = now + self.shared.config.check_every;
        match presence {
            Presence::Absent(reason) => {
                self.next_poll = None;
                self.mount_polls.clear();
                self.comparison.put_off(None);
                *lock(&self.entry.confirm_at) = None;
                let is_gone_for_good = accepts_root && reason == OfflineReason::Missing;
                self.go_offline(reason);
                if is_gone_for_good {
                    self.entry.set_given_up(true);
                    known_below(&*self.shared.known, self.entry.id, RelativePath::default(), |file| {
                        hand_over(&self.shared, &self.entry, Change::Gone { file })
                    })?;
                }
                return Ok(());
            }
            Presence::Same => {}
            Presence::Returned(found) => {
                self.come_online(*found);
                requests.full = true;
                requests.lost_watches = true;
            }
        }
        requests.lost_watches |= self.is_watchable_again();
        if requests.check || requests.remounted || requests.full || requests.lost_watches {
            for directory in self.look_at_mounts(requests.lost_watches)? {
                requests.add_below(directory);
            }
            for directory in self.accepted.clone() {
                requests.add_below(directory);
            }
        }
        for directory in self.due_mounts(now) {
            requests.add_below(directory);
        }
        let is_poll_due = self.next_poll.is_some_and(|due| due <= now);
        let is_confirmation_due = lock(&self.entry.confirm_at).take_if(|due| *due <= now).is_some();
        if requests.full || requests.lost_watches || is_poll_due || is_confirmation_due {
            self.entry.mark_busy();
            self.shared.publish();
            return self.walk_all(requests.lost_watches);
        }
        for directory in requests.below {
            self.walk_part(directory)?;
        }
        self.compare_a_little()
    }

    fn go_offline(&mut self, reason: OfflineReason) {
        if self.entry.status().state == RootState::Offline(reason.clone()) {
            return;
        }
        self.entry.set_given_up(false);
        self.entry.set_anchor(None);
        self.entry.update_status(&*self.shared.sink, |status| {
            status.state = RootState::Offline(reason);
            status.held_back = None;
        });
        self.unwatch(&RelativePath::default());
        self.unsettled.clear();
    }

    fn come_online(&self, found: Found) {
        let Found { place, is_followed, anchor, mounted } = found;
        let before = self.entry.status();
        if is_followed && before.path != place {
            tracing::info!(from = %before.path.display(), to = %place.display(), "the root is found elsewhere; following it");
        }
        if *self.entry.path() != *place {
            // An offline root holds no watch, and another root may be where it was.
            if !matches!(before.state, RootState::Offline(_)) {
                self.unwatch(&RelativePath::default());
            }
            self.entry.set_path(&place);
        }
        self.entry.set_given_up(false);
        self.entry.set_anchor(Some(anchor));
        self.entry.set_file_system(mounted.file_system);
        self.entry.update_status(&*self.shared.sink, |status| {
            status.state = RootState::Scanning;
            status.path = place;
            status.volume = Some(mounted.volume);
        });
    }

    /// Takes back every watch below a directory, and forgets what settles there.
    pub(super) fn unwatch(&self, directory: &RelativePath) {
        let path = directory.under(&self.entry.path());
        self.shared.unwatch(self.entry.id, &path);
    }

    fn walk_all(&mut self, lost_watches: bool) -> Result<(), WatchError> {
        let started = Instant::now();
        self.entry.update_status(&*self.shared.sink, |status| status.state = RootState::Scanning);
        let is_first = self.entry.known_files().is_none();
        let files_before = self.entry.files();
        if lost_watches || is_first {
            self.arm();
        }
        let mut tally = Tally::default();
        lock(&self.entry.omissions).begin_walk();
        match self.walk(RelativePath::default(), &mut tally)? {
            End::Complete => lock(&self.entry.omissions).end_walk(),
            End::RootLost => {
                self.entry.request(|requests| requests.check = true);
                // The next look decides; until then nothing is deleted.
                self.entry.set_anchor(None);
                self.entry.update_status(&*self.shared.sink, |status| status.state = RootState::Waiting);
                return Ok(());
            }
            End::Over => return Ok(()),
        }
        tally.missing.retain(|file| !tally.moved.contains(file));
        tally.missing_count = tally.missing_count.saturating_sub(tally.moved.len() as u64);
        let now = Instant::now();
        let verdict = if self.accepts(&RelativePath::default()) {
            lock(&self.entry.disappearance).accept()
        } else {
            lock(&self.entry.disappearance).judge_walk(tally.missing_count, tally.present, now)
        };
        let held_back = match verdict {
            DeletionVerdict::Believed => {
                self.give_up(&tally.missing);
                None
            }
            DeletionVerdict::Held { until } => {
                tracing::warn!(
                    path = %self.entry.path().display(), missing = tally.missing_count, present = tally.present,
                    "many photos disappeared at once; they are kept until that is seen again"
                );
                *lock(&self.entry.confirm_at) = Some(until);
                lock(&self.entry.omissions).hold_back(tally.missing.iter().map(|file| &file.path));
                Some(HeldBack { missing: tally.missing_count, known: tally.missing_count + tally.present })
            }
        };
        if tally.missing_count > tally.missing.len() as u64 && held_back.is_none() {
            self.entry.request(|requests| requests.full = true);
        }
        let counted_meanwhile = self.entry.files().saturating_sub(files_before);
        self.entry.set_files(tally.present - tally.new_and_unsettled + counted_meanwhile);
        self.entry.update_status(&*self.shared.sink, |status| {
            status.state = RootState::Online;
            status.directories = tally.directories;
            status.unreadable = tally.unreadable;
            status.held_back = held_back;
        });
        let took = started.elapsed();
        self.plan_poll(&tally, took);
        for mount in self.entry.mounts().iter() {
            self.plan_mount_poll(&mount.at, &tally, took);
        }
        self.unsettled = tally.unsettled;
        Ok(())
    }

    fn plan_poll(&mut self, tally: &Tally, took: Duration) {
        self.comparison.put_off(match self.entry.status().watching {
            Watching::Inotify => self.shared.config.compare_every,
            Watching::Polling(_) => None,
        });
        self.next_poll = match self.entry.status().watching {
            Watching::Inotify => None,
            // A second look at a file that may be being written is due soon.
            Watching::Polling(_) if !tally.unsettled.is_empty() => {
                Some(Instant::now() + self.shared.config.debounce_while_open)
            }
            Watching::Polling(_) => Some(Instant::now() + self.backoff.after(tally.changes > 0, took)),
        };
    }

    fn walk_part(&mut self, directory: RelativePath) -> Result<(), WatchError> {
        if self.is_directory_left_out(&directory) {
            return Ok(());
        }
        let started = Instant::now();
        let mut tally = Tally::default();
        match self.walk(directory.clone(), &mut tally)? {
            End::Complete => {}
            End::RootLost => {
                self.entry.request(|requests| requests.check = true);
                return Ok(());
            }
            End::Over => return Ok(()),
        }
        let is_accepted = self.accepts(&directory);
        self.judge_part(&mut tally, is_accepted);
        self.plan_mount_poll(&directory, &tally, started.elapsed());
        self.unsettled.retain(|file, _| !file.as_path().starts_with(directory.as_path()));
        self.unsettled.extend(tally.unsettled);
        Ok(())
    }

    /// Believes, or not, that what a walk over a part of the root missed is gone.
    pub(super) fn judge_part(&self, tally: &mut Tally, is_accepted: bool) {
        tally.missing.retain(|file| !tally.moved.contains(file));
        let missing = tally.missing.len() as u64;
        let (known, now) = (self.entry.known_files(), Instant::now());
        let verdict = if is_accepted {
            DeletionVerdict::Believed
        } else {
            lock(&self.entry.disappearance).judge_part(missing, known, now)
        };
        match verdict {
            DeletionVerdict::Believed => self.give_up(&tally.missing),
            DeletionVerdict::Held { until } => {
                *lock(&self.entry.confirm_at) = Some(until);
                let known = known.unwrap_or(missing);
                self.entry.hold_back(&*self.shared.sink, &tally.missing, missing, known);
            }
        }
    }

    /// Walks everything below `start`, handing out what has to be read.
    fn walk(&mut self, start: RelativePath, tally: &mut Tally) -> Result<End, WatchError> {
        let mut waiting = vec![start];
        while let Some(directory) = waiting.pop() {
            // A walk takes hours while photos wait for their turn, and a drive that comes or goes does not wait for that.
            if self.entry.take_check() {
                match Presence::look(&self.shared, &self.entry, Look::Thorough)? {
                    Presence::Same => waiting.extend(self.look_at_mounts(false)?),
                    Presence::Absent(_) | Presence::Returned(_) => return Ok(End::RootLost),
                }
            }
            match self.walk_one(directory, &mut waiting, tally)? {
                End::Complete => {}
                end => return Ok(end),
            }
        }
        if !self.give_up_in_works() {
            return Ok(End::Over);
        }
        Ok(End::Complete)
    }

    /// Says whether what is at a place now is what should be there, as our user said of it or of what is around it.
    pub(super) fn accepts(&self, place: &RelativePath) -> bool {
        self.accepted.iter().any(|accepted| place.as_path().starts_with(accepted.as_path()))
    }

    /// Gives up what was handed out and is not known yet, where the rules leave it out since then, or it is gone.
    fn give_up_in_works(&self) -> bool {
        let in_works = self.shared.known.in_works(self.entry.id);
        in_works
            .into_iter()
            .filter(|file| self.is_left_out(file) || self.is_gone(file))
            .all(|file| hand_over(&self.shared, &self.entry, Change::Gone { file }))
    }

    pub(super) fn is_directory_left_out(&self, directory: &RelativePath) -> bool {
        let rules = self.entry.rules.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        rules.leaves_out_at_any_level(directory, true)
    }

    fn is_left_out(&self, file: &FileId) -> bool {
        let rules = self.entry.rules.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        rules.leaves_out_at_any_level(&file.path, false)
    }

    /// Says whether nothing stands at the file's path, on a root and a volume that are there.
    fn is_gone(&self, file: &FileId) -> bool {
        let (shared, entry) = (&self.shared, &self.entry);
        let seen = look(&file.path.under(&entry.path()), &entry.file_system(&file.path), &shared.costs);
        matches!(seen, Ok(None)) && Absence::default().is_believable(shared, entry, &file.path)
    }

    /// Gives up files that a walk missed, as far as they are still missing from a root that is still there.
    fn give_up(&self, missing: &[FileId]) {
        let mut absence = Absence::default();
        for file in missing {
            match judge(&self.shared, &self.entry, file, &mut absence) {
                Verdict::Gone => {}
                // It came back; its event, or the next walk, tells.
                Verdict::There => continue,
                Verdict::Unknown => {
                    self.entry.request(|requests| requests.check = true);
                    continue;
                }
            }
            if !hand_over(&self.shared, &self.entry, Change::Gone { file: file.clone() }) {
                return;
            }
        }
    }
}

/// Says whether exactly this name is in its directory. On file systems that ignore case, `lstat` finds a file
/// under names that it does not have.
pub(super) fn is_listed(path: &Path, costs: &Costs) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
    Directory::open(parent, true, costs)
        .and_then(|directory| directory.list(|file| file == name, costs))
        .is_ok_and(|listing| !listing.files.is_empty())
}
