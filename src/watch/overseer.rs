//! Who sees that a disk does not answer: a thread that asks no disk itself.
//!
//! Where a call has not come back for [`WatchConfig::patience`](super::WatchConfig::patience), its root is offline,
//! until that call returns and the root's own thread finds it again. The live thread, which serves all roots, is left
//! behind where it waits for one of them, and another takes its place; since what the first had in hand is lost, all
//! roots are compared as a whole.

use std::sync::Weak;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::error::WatchError;
use super::handle::Inner;
use super::root_entry::RootEntry;
use super::state::{Shared, lock};
use super::status::{OfflineReason, RootState};

/// So often within the patience is it looked whether it is over.
const LOOKS: u32 = 4;

pub(super) struct Overseer {
    pub(super) inner: Weak<Inner>,
    /// Closed when the room stops.
    pub(super) stop: Receiver<()>,
}

impl Overseer {
    pub(super) fn run(self) -> Result<(), WatchError> {
        loop {
            let Some(inner) = self.inner.upgrade() else { return Ok(()) };
            let patience = inner.shared.config.patience;
            look_around(&inner)?;
            drop(inner);
            match self.stop.recv_timeout(patience / LOOKS) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

fn look_around(inner: &Inner) -> Result<(), WatchError> {
    let shared = &inner.shared;
    let patience = shared.config.patience;
    for entry in shared.all_roots() {
        if entry.asking.overdue(patience).is_some() && !entry.asking.is_given_up() {
            give_up(shared, &entry);
        }
    }
    let live = lock(&shared.live).clone();
    if let Some(root) = live.overdue(patience) {
        live.give_up();
        if let Some(entry) = shared.root(root) {
            give_up(shared, &entry);
        }
        tracing::warn!("live changes are followed by another thread: the first waits for a disk");
        inner.start_live()?;
        for entry in shared.all_roots() {
            entry.request(|requests| requests.full = true);
        }
    }
    Ok(())
}

/// The root's disk does not answer. What its own thread is about, if it is about anything, is void.
fn give_up(shared: &Shared, entry: &RootEntry) {
    entry.asking.give_up();
    entry.update_status(&*shared.sink, |status| {
        status.state = RootState::Offline(OfflineReason::NotAnswering);
        status.held_back = None;
    });
    // Whoever waits for rest does not wait for this root.
    shared.publish();
}
