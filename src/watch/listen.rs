//! Hears of mount changes: the kernel wakes whoever polls the mount table. Looking at it now and then would miss what
//! is taken away and put back in between.
//!
//! Every root is asked to look at once; nothing is decided here.

use std::fs::{self, File};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;

use super::error::WatchError;
use super::mount_table::MOUNT_TABLE;
use super::state::Shared;

/// Listens to the mount table of this process.
pub(super) struct MountListener {
    /// None where there is no `/proc`: then the roots are looked at from time to time only.
    table: Option<File>,
}

/// Ends the listening.
pub(super) struct EndListening(OwnedFd);

impl EndListening {
    pub(super) fn new() -> Result<Self, WatchError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        eventfd(0, flags).map(Self).map_err(|error| WatchError::Mounts(error.into()))
    }

    pub(super) fn end(&self) {
        // Fails only where the count is at its limit, and then it wakes all the same.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl MountListener {
    /// Changes from now on will be heard.
    pub(super) fn new() -> Self {
        let table = File::open(MOUNT_TABLE);
        if let Err(error) = &table {
            tracing::info!(%error, "mount changes cannot be heard; the folders are looked at every few seconds instead");
        }
        Self { table: table.ok() }
    }

    pub(super) fn run(self, shared: &Shared) -> Result<(), WatchError> {
        let mut before = fs::read(MOUNT_TABLE).unwrap_or_default();
        loop {
            let mut waited = vec![PollFd::new(&shared.end_listening.0, PollFlags::IN)];
            waited.extend(self.table.as_ref().map(|table| PollFd::new(table, PollFlags::PRI)));
            match poll(&mut waited, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(WatchError::Mounts(error.into())),
            }
            if shared.is_stopping() {
                return Ok(());
            }
            if waited.get(1).is_none_or(|table| table.revents().is_empty()) {
                continue;
            }
            let now = fs::read(MOUNT_TABLE).unwrap_or_default();
            // It changed and looks the same: something was unmounted and mounted again.
            let was_changed_back = now == before;
            before = now;
            for entry in shared.all_roots() {
                entry.request(|requests| {
                    requests.check = true;
                    requests.remounted |= was_changed_back;
                });
            }
            shared.publish();
        }
    }
}
