//! Waits while the machine runs on its battery, where the configuration asks for that.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ingest::{Hold, Queue};

/// Where the kernel tells of mains adapters and batteries (its documentation: `ABI/testing/sysfs-class-power`).
const SUPPLIES: &str = "/sys/class/power_supply";

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Holds the queue while the machine runs on its battery, until `stop`.
pub(super) async fn pause_on_battery(queue: Arc<Queue>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // Firmware may take its time to answer. A look that fails is made again.
        let look = tokio::task::spawn_blocking(|| runs_on_battery(Path::new(SUPPLIES)));
        let Ok(is_on_battery) = look.await else { continue };
        if queue.hold(Hold::OnBattery, is_on_battery) {
            match is_on_battery {
                true => tracing::info!("on battery: indexing pauses"),
                false => tracing::info!("on mains again: indexing goes on"),
            }
        }
    }
}

/// Whether a battery of the machine, not of a mouse, is being emptied while no mains adapter is online.
fn runs_on_battery(supplies: &Path) -> bool {
    let Ok(entries) = fs::read_dir(supplies) else { return false };
    let mut is_discharging = false;
    for entry in entries.flatten() {
        let told = |name: &str| {
            let text = fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        if told("type") == "Battery" {
            is_discharging |= told("scope") != "Device" && told("status") == "Discharging";
        } else if told("online") == "1" {
            return false;
        }
    }
    is_discharging
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_battery_that_carries_the_machine_counts() {
        let dir = tempfile::tempdir().unwrap();
        let supply = |name: &str, facts: &[(&str, &str)]| {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            for (fact, value) in facts {
                fs::write(dir.path().join(name).join(fact), format!("{value}\n")).unwrap();
            }
        };
        let on_battery = || runs_on_battery(dir.path());
        assert!(!on_battery(), "a desktop has no supplies");
        supply("mouse", &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging")]);
        assert!(!on_battery(), "a mouse is not the machine");
        supply("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        assert!(on_battery());
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        assert!(on_battery());
        supply("AC", &[("online", "1")]);
        assert!(!on_battery(), "a weak adapter does not stop the battery from emptying, but it is mains");
        supply("AC", &[("online", "0")]);
        supply("BAT0", &[("status", "Full")]);
        assert!(!on_battery());
    }
}
