//! Waits while others wait for the machine, where the configuration asks for that.
//!
//! The kernel tells for what share of the time work stood still for want of the processor, memory or the disk
//! (`Documentation/accounting/psi.rst`). Our own waiting counts too, so a limit makes indexing go by turns rather than stop.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ingest::{Hold, Queue};

/// Where the kernel tells it.
const PRESSURE: &str = "/proc/pressure";

/// What may be short.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// How often it is looked at: as often as the kernel's shortest mean is made of.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Holds the queue while some work stands still for more than `limit` percent of the time, and until it is less than half of
/// that. Ends at `stop`.
pub(super) async fn pause_under_pressure(
    queue: Arc<Queue>,
    limit: f32,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    if greatest(Path::new(PRESSURE)).is_none() {
        tracing::warn!(
            "{PRESSURE} is not there: this kernel does not tell, and ingest.max_pressure has no effect"
        );
    }
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_held = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // Made by the kernel at the moment: nothing that a disk could delay.
        let Some(pressure) = greatest(Path::new(PRESSURE)) else { continue };
        is_held = holds(is_held, pressure, limit);
        if queue.hold(Hold::UnderPressure, is_held) {
            match is_held {
                true => tracing::debug!(pressure, "others wait for the machine: indexing pauses"),
                false => tracing::debug!(pressure, "the machine has time again: indexing goes on"),
            }
        }
    }
}

/// Whether to hold, after having held or not.
fn holds(was_held: bool, pressure: f32, limit: f32) -> bool {
    pressure > if was_held { limit / 2.0 } else { limit }
}

/// Returns the greatest share of the last ten seconds, in percent, in which some work stood still. `None`: the kernel does not
/// tell.
fn greatest(pressure: &Path) -> Option<f32> {
    let told = RESOURCES.iter().filter_map(|name| some_avg10(&fs::read_to_string(pressure.join(name)).ok()?));
    told.max_by(f32::total_cmp)
}

/// Reads `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn some_avg10(text: &str) -> Option<f32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shortest_counts() {
        let directory = tempfile::tempdir().unwrap();
        let tell = |name: &str, share: &str| {
            let text = format!(
                "some avg10={share} avg60=90.00 avg300=0 total=7\nfull avg10=99.00 avg60=0 avg300=0 total=0\n"
            );
            fs::write(directory.path().join(name), text).unwrap();
        };
        assert_eq!(greatest(directory.path()), None);
        tell("cpu", "12.50");
        assert_eq!(greatest(directory.path()), Some(12.5));
        tell("io", "40.00");
        fs::write(directory.path().join("memory"), "nonsense").unwrap();
        assert_eq!(greatest(directory.path()), Some(40.0));
    }

    #[test]
    fn it_takes_less_to_go_on_waiting_than_to_begin() {
        assert!(!holds(false, 20.0, 20.0));
        assert!(holds(false, 21.0, 20.0));
        assert!(holds(true, 15.0, 20.0));
        assert!(!holds(true, 10.0, 20.0));
    }
}
