//! How a root is watched: by the kernel, or by polling. Part of the root's thread.
//!
//! Invariant: watches are counted before the first is taken, and all are taken before the walk begins.

use std::path::{Path, PathBuf};

use super::disk::{Directory, Identity};
use super::limits::{self, setting_for, share_of};
use super::root::RootThread;
use super::rules::IGNORE_FILE;
use super::scan::Allowed;
use super::state::{InDirectory, lock};
use super::status::{PollReason, Watching};
use super::walk::take_ignore_file;
use super::watches::WatchProblem;
use crate::photo::RelativePath;

impl RootThread {
    /// Decides how the root, and each volume mounted below it, is watched and, where the kernel tells, adds all watches,
    /// so that no directory has to wait for its watch while the walk waits for the sink.
    pub(super) fn arm(&mut self) {
        self.arm_mount(&RelativePath::default());
        for mount in self.entry.mounts().iter().filter(|mount| mount.is_online()) {
            self.arm_mount(&mount.at);
        }
    }

    /// The same for the root without what is mounted below it, or for one volume mounted there.
    pub(super) fn arm_mount(&mut self, top: &RelativePath) {
        let path = top.under(&self.entry.path());
        let watching = match self.entry.file_system(top).remote_name() {
            Some(kind) => Watching::Polling(PollReason::FileSystem(kind)),
            None => self.add_watches(top, &path),
        };
        if let Watching::Polling(_) = &watching {
            self.unwatch(top);
        }
        self.say_watching(top, watching);
    }

    fn say_watching(&self, top: &RelativePath, watching: Watching) {
        let sink = &*self.shared.sink;
        if top.as_bytes().is_empty() {
            self.entry.update_status(sink, |status| status.watching = watching);
            return;
        }
        let mut mounts = self.entry.mounts().to_vec();
        if let Some(mount) = mounts.iter_mut().find(|mount| mount.at == *top) {
            (mount.watching, mount.is_armed) = (watching, true);
        }
        self.entry.set_mounts(sink, mounts.into());
    }

    fn add_watches(&self, top: &RelativePath, path: &Path) -> Watching {
        let directories = self.list_directories(top);
        let needed = directories.len() as u64;
        let limit = limits::watches();
        let others = {
            let watches = lock(&self.shared.watches);
            watches.len() - watches.below(path).len() as u64
        };
        let too_few =
            || Watching::Polling(PollReason::WatchLimit { needed: setting_for(others + needed), limit });
        let budget = self.shared.config.watch_budget.or(limit.map(|limit| share_of(limit.value)));
        if budget.is_some_and(|budget| others + needed > budget) {
            return too_few();
        }
        for (directory, identity) in directories {
            if self.is_over() {
                break;
            }
            let mut watches = lock(&self.shared.watches);
            let elsewhere = watches.path_of(identity).filter(|other| !other.starts_with(path));
            if let Some(other) = elsewhere.map(Path::to_path_buf)
                && is_still(&other, identity)
            {
                return Watching::Polling(PollReason::WatchedTwice(other));
            }
            match watches.watch(&directory, identity, true) {
                Ok(()) | Err(WatchProblem::Gone) => {}
                Err(WatchProblem::Limit) => return too_few(),
                Err(WatchProblem::NoEvents(why)) => return Watching::Polling(PollReason::NoEvents(why)),
                Err(WatchProblem::Other(error)) => {
                    tracing::warn!(path = %directory.display(), %error, "cannot watch the folder");
                }
            }
        }
        Watching::Inotify
    }

    /// Returns all directories of one mount that the rules let in, with what they are.
    fn list_directories(&self, top: &RelativePath) -> Vec<(PathBuf, Identity)> {
        let root = self.entry.path();
        let costs = &self.shared.costs;
        let mut found = Vec::new();
        let Some((_, anchor)) = self.entry.anchor_above(top) else { return found };
        let mut waiting = vec![top.clone()];
        while let Some(directory) = waiting.pop() {
            if self.is_over() {
                break;
            }
            let path = directory.under(&root);
            let is_root = directory.as_bytes().is_empty();
            // Whatever cannot be read now is reported by the walk.
            let Ok(opened) = Directory::open(&path, is_root, costs) else { continue };
            if !opened.is_in(anchor, directory == *top) {
                continue;
            }
            let Ok(listing) = opened.list(|name| name == IGNORE_FILE, costs) else { continue };
            take_ignore_file(&self.shared, &self.entry, &directory, &opened, &listing);
            let allowed = InDirectory { shared: &self.shared, entry: &self.entry, directory: &directory };
            let entered = listing.directories.iter().filter(|name| !allowed.is_left_out(name, true));
            waiting.extend(entered.map(|name| directory.join(name)));
            found.push((path, opened.identity()));
        }
        found
    }

    /// Says whether what is polled for want of watches can be watched now: a limit was raised.
    pub(super) fn is_watchable_again(&self) -> bool {
        let is_possible = |watching: &Watching| match watching {
            Watching::Polling(PollReason::WatchLimit { limit: Some(before), .. }) => {
                limits::watches().is_some_and(|now| now.value > before.value)
            }
            Watching::Polling(PollReason::NoEvents(_)) => lock(&self.shared.watches).open().is_ok(),
            Watching::Polling(_) | Watching::Inotify => false,
        };
        is_possible(&self.entry.status().watching)
            || self.entry.mounts().iter().any(|mount| is_possible(&mount.watching))
    }

    /// The kernel has no watch left for a directory although our count said so: others have taken them.
    pub(super) fn stop_watching(&self, directory: &RelativePath) {
        let taken = lock(&self.shared.watches).len();
        let reason = PollReason::WatchLimit { needed: setting_for(taken + 1), limit: limits::watches() };
        let top = self.entry.anchor_above(directory).map(|(top, _)| top).unwrap_or_default();
        self.unwatch(&top);
        self.say_watching(&top, Watching::Polling(reason));
    }
}

fn is_still(path: &Path, identity: Identity) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == identity)
}
