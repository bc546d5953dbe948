//! How a root is watched: by the kernel, or by polling. Part of the root's thread.
//!
//! Invariant: watches are counted before the first is taken, and all are taken before the walk begins.

use std::path::{Path, PathBuf};

use super::disk::{Directory, Identity};
use super::limits::{kernel_limit, setting_for, share_of};
use super::root::RootThread;
use super::rules::IGNORE_FILE;
use super::scan::Allowed;
use super::state::{InDirectory, lock};
use super::status::{PollReason, Watching};
use super::walk::take_ignore_file;
use super::watches::WatchProblem;
use crate::photo::RelativePath;

impl RootThread {
    /// Decides how the root is watched and, where the kernel tells, adds all watches, so that no directory has
    /// to wait for its watch while the walk waits for the sink.
    pub(super) fn arm(&mut self) {
        let path = self.entry.path();
        let watching = match self.entry.file_system().remote_name() {
            Some(kind) => Watching::Polling(PollReason::FileSystem(kind)),
            None => self.add_watches(&path),
        };
        if let Watching::Polling(_) = &watching {
            self.unwatch();
        }
        if self.entry.status().watching != watching {
            self.entry.update_status(&*self.shared.sink, |status| status.watching = watching);
        }
    }

    fn add_watches(&self, path: &Path) -> Watching {
        let directories = self.list_directories();
        let needed = directories.len() as u64;
        let limit = kernel_limit();
        let others = {
            let watches = lock(&self.shared.watches);
            watches.len() - watches.below(path).len() as u64
        };
        let too_few =
            || Watching::Polling(PollReason::WatchLimit { needed: setting_for(others + needed), limit });
        let budget = self.shared.config.watch_budget.or(limit.map(share_of));
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
                Err(WatchProblem::Other(error)) => {
                    tracing::warn!(path = %directory.display(), %error, "cannot watch the folder");
                }
            }
        }
        Watching::Inotify
    }

    /// Returns all directories that the rules let in, with what they are.
    fn list_directories(&self) -> Vec<(PathBuf, Identity)> {
        let root = self.entry.path();
        let costs = &self.shared.costs;
        let mut found = Vec::new();
        let mut waiting = vec![RelativePath::default()];
        while let Some(directory) = waiting.pop() {
            if self.is_over() {
                break;
            }
            let path = directory.under(&root);
            let is_root = directory.as_bytes().is_empty();
            // Whatever cannot be read now is reported by the walk.
            let Ok(opened) = Directory::open(&path, is_root, costs) else { continue };
            let Ok(listing) = opened.list(|name| name == IGNORE_FILE, costs) else { continue };
            take_ignore_file(&self.shared, &self.entry, &directory, &opened, &listing);
            let allowed = InDirectory { shared: &self.shared, entry: &self.entry, directory: &directory };
            let entered = listing.directories.iter().filter(|name| !allowed.is_left_out(name, true));
            waiting.extend(entered.map(|name| directory.join(name)));
            found.push((path, opened.identity()));
        }
        found
    }

    /// The kernel has no watch left although our count said so: others have taken them.
    pub(super) fn stop_watching(&self) {
        let taken = lock(&self.shared.watches).len();
        let reason = PollReason::WatchLimit { needed: setting_for(taken + 1), limit: kernel_limit() };
        self.unwatch();
        self.entry.update_status(&*self.shared.sink, |status| status.watching = Watching::Polling(reason));
    }
}

fn is_still(path: &Path, identity: Identity) -> bool {
    rustix::fs::lstat(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == identity)
}
