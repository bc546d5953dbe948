//! The disk under the index, while it takes no writes: said once, asked again and again, and indexing waits meanwhile.
//!
//! Invariant: the daemon answers from what it knows, whatever happens to writing. It ends for the disk's sake only where
//! that cannot be read any more, or has failed for long in a way that neither room nor patience mends.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::ingest::{Hold, Queue};
use crate::store::{Problem, ProblemKind, Store, StoreError};

/// The disk is asked again after this time, and after twice that, up to the other.
const ASK_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A disk that refuses every write for so long, neither full nor read-only, is broken.
const BROKEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// The disk under the index has failed for good.
#[derive(Debug, thiserror::Error)]
#[error(
    "the disk that holds the index {} has failed: {problem}. Look at the system's log (`journalctl -k`), save what is on \
     the disk, and start again on a sound one; the index is made anew from the photos",
    path.display()
)]
pub struct DiskFailed {
    path: PathBuf,
    problem: Problem,
}

impl DiskFailed {
    /// Returns what to say where the store at `path` could not be opened because the disk does not give it back.
    pub(super) fn to_open(path: &Path, error: &StoreError) -> Option<Self> {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let problem = Problem { kind: ProblemKind::Unreadable, reason: cause, since: SystemTime::now() };
        error.is_unreadable().then(|| Self { path: path.to_path_buf(), problem })
    }
}

/// Keeps the disk in view until `stop`. `mended` runs whenever it takes writes again, on a thread that may block.
pub(super) async fn keep_in_view(
    store: Arc<Store>,
    queue: Arc<Queue>,
    mended: Arc<dyn Fn() + Send + Sync>,
    stop: CancellationToken,
) -> Result<(), DiskFailed> {
    let mut problems = store.problems();
    let mut said = None;
    let mut pause = ASK_AFTER.0;
    loop {
        let problem = problems.borrow_and_update().clone();
        say(&store, said.as_ref(), problem.as_ref());
        queue.hold(Hold::CannotWrite, problem.is_some());
        let is_mended = said.is_some() && problem.is_none();
        said = problem;
        if is_mended {
            let mended = Arc::clone(&mended);
            let told = tokio::task::spawn_blocking(move || mended());
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = told => {}
            }
        }
        let Some(problem) = &said else {
            pause = ASK_AFTER.0;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // The sender lives as long as the store.
                _ = problems.changed() => continue,
            }
        };
        if is_for_good(problem) {
            return Err(DiskFailed { path: store.path().to_path_buf(), problem: problem.clone() });
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
            _ = problems.changed() => continue,
        }
        pause = (2 * pause).min(ASK_AFTER.1);
        let asked = Arc::clone(&store);
        // A disk that does not answer keeps that thread, and not this one; what it came to, `problems` tells.
        let asked = tokio::task::spawn_blocking(move || asked.retry());
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = asked => {}
        }
    }
}

/// Returns what to say of a disk that cannot be read any more.
pub(super) fn unreadable(path: &Path, problem: Option<&Problem>) -> Option<DiskFailed> {
    let problem = problem.filter(|problem| problem.kind == ProblemKind::Unreadable)?;
    Some(DiskFailed { path: path.to_path_buf(), problem: problem.clone() })
}

fn is_for_good(problem: &Problem) -> bool {
    match problem.kind {
        ProblemKind::Full | ProblemKind::ReadOnly => false,
        ProblemKind::Unreadable => true,
        // A clock that was set back makes the wait longer, not shorter.
        ProblemKind::Failing => {
            SystemTime::now().duration_since(problem.since).is_ok_and(|lasted| lasted >= BROKEN_AFTER)
        }
    }
}

/// One line for each change.
fn say(store: &Store, before: Option<&Problem>, now: Option<&Problem>) {
    let path = store.path().display();
    match (before, now) {
        (_, Some(now)) if before.map(|before| before.kind) != Some(now.kind) => tracing::error!(
            "{path} cannot be written: {now}. New photos wait; what is known is answered, and indexing goes on by itself"
        ),
        (Some(before), None) => {
            let lasted = SystemTime::now().duration_since(before.since).unwrap_or_default();
            tracing::info!("{path} can be written again after {lasted:.0?}: indexing goes on");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_given_up_only_where_waiting_does_not_help() {
        let problem = |kind, ago| Problem { kind, reason: String::new(), since: SystemTime::now() - ago };
        let check =
            |kind, ago, expected| assert_eq!(is_for_good(&problem(kind, ago)), expected, "{kind:?} {ago:?}");
        check(ProblemKind::Full, 10 * BROKEN_AFTER, false);
        check(ProblemKind::ReadOnly, 10 * BROKEN_AFTER, false);
        check(ProblemKind::Failing, BROKEN_AFTER / 2, false);
        check(ProblemKind::Failing, BROKEN_AFTER, true);
        check(ProblemKind::Unreadable, Duration::ZERO, true);
    }
}
