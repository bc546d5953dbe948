//! Says in the log what was done, each time when indexing has come to rest.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ingest::{Progress, Queue};
use crate::watch::Activity;

/// How often it is looked whether it has come to rest. At rest nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was done since the daemon started.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Done {
    files: u64,
    encoded: u64,
    failed: u64,
}

impl Done {
    fn so_far(progress: &Progress) -> Self {
        Self {
            files: progress.files_indexed(),
            encoded: progress.photos_encoded(),
            failed: progress.files_failed(),
        }
    }

    /// Says what was done since then; `None` where nothing was.
    fn since(self, before: Self, took: Duration) -> Option<String> {
        let [files, encoded, failed] =
            [self.files - before.files, self.encoded - before.encoded, self.failed - before.failed];
        if (files, failed) == (0, 0) {
            return None;
        }
        let mut said = format!(
            "{} indexed, {} encoded, in {took:.0?}",
            counted(files, "file"),
            counted(encoded, "photo")
        );
        if failed > 0 {
            let failed = counted(failed, "file");
            said += &format!("; {failed} could not be read, `resemble failures` says why");
        }
        Some(said)
    }
}

fn counted(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// Waits for work and its end, again and again, until `stop`.
pub(super) async fn tell(
    mut activity: watch::Receiver<Activity>,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut told = Done::default();
    loop {
        let begun = Instant::now();
        while queue.pending() > 0 || !activity.borrow().is_idle() {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        let done = Done::so_far(&progress);
        if let Some(said) = done.since(told, begun.elapsed()) {
            tracing::info!("{said}");
        }
        told = done;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = activity.changed() => if changed.is_err() {
                // The watching has ended.
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_and_nothing_of_nothing() {
        let check = |[files, encoded, failed]: [u64; 3], expected: Option<&str>| {
            let before = Done { files: 10, encoded: 20, failed: 30 };
            let now = Done { files: 10 + files, encoded: 20 + encoded, failed: 30 + failed };
            assert_eq!(now.since(before, Duration::from_millis(4500)).as_deref(), expected);
        };
        check([0, 0, 0], None);
        check([679, 612, 0], Some("679 files indexed, 612 photos encoded, in 4s"));
        check(
            [1, 1, 1],
            Some(
                "1 file indexed, 1 photo encoded, in 4s; 1 file could not be read, `resemble failures` says why",
            ),
        );
        check(
            [0, 0, 2],
            Some(
                "0 files indexed, 0 photos encoded, in 4s; 2 files could not be read, `resemble failures` says why",
            ),
        );
    }
}
