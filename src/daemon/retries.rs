//! Tries files again whose failure was not their own, when their time has come.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ingest::{Again, Queue, first_wait};
use crate::photo::FileId;
use crate::store::{FailureKind, FailureRecord, Store, StoreError};
use crate::watch::WatchHandle;

/// Failures that are looked at with one view of the store.
const PAGE: usize = 1000;

/// While some are due and cannot be tried (work is paused, their folder is away), it is looked at after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Where nothing waits for its time.
const REST: Duration = Duration::from_secs(3600);

/// What it takes.
#[derive(Clone)]
pub(super) struct Retries {
    pub(super) store: Arc<Store>,
    pub(super) queue: Arc<Queue>,
    pub(super) again: Arc<Again>,
    pub(super) watch: WatchHandle,
}

impl Retries {
    /// Works until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let soon = || Instant::now() + first_wait(FailureKind::Passing).unwrap_or(LOOK_AGAIN);
        // What an earlier run left behind is tried once its folders have been looked at.
        let mut next = soon();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.again.news() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            let is_at_once = self.again.take_at_once();
            if !is_at_once && next > Instant::now() {
                // One more has failed; many at a time make one look.
                next = next.min(soon());
                continue;
            }
            let turn = self.clone();
            let looked = tokio::task::spawn_blocking(move || turn.look(is_at_once));
            let wait = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = looked => match looked {
                    Ok(wait) => wait?,
                    Err(_) => LOOK_AGAIN,
                },
            };
            next = Instant::now() + wait;
        }
    }

    /// Hands out what is due, and returns how long nothing else will be.
    fn look(&self, is_at_once: bool) -> Result<Duration, StoreError> {
        if !self.queue.holds().is_empty() {
            return Ok(LOOK_AGAIN);
        }
        let mut wait = REST;
        let mut after: Option<FileId> = None;
        loop {
            let page = self.store.read()?.list_failures(after.as_ref(), PAGE)?;
            for (file, failure) in &page {
                let Some(left) = self.left(file, failure) else { continue };
                if left > Duration::ZERO && !is_at_once {
                    wait = wait.min(left);
                } else if let Some(change) = self.watch.read_again(file)
                    && !self.queue.push_live(change)
                {
                    return Ok(LOOK_AGAIN);
                } else {
                    wait = wait.min(LOOK_AGAIN);
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(wait),
            }
        }
    }

    /// Returns how long a file has still to wait; `None` where it waits for a change.
    fn left(&self, file: &FileId, failure: &FailureRecord) -> Option<Duration> {
        let wait = self.again.wait_of(file, failure.kind)?;
        let failed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(failure.at).unwrap_or(0));
        // By a clock that was set back it has not failed yet, and is not to wait for that.
        let passed = SystemTime::now().duration_since(failed).unwrap_or(wait);
        Some(wait.saturating_sub(passed))
    }
}
