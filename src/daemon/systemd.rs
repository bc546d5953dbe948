//! What systemd is told, and the watchdog that is fed by real work. Outside of systemd all of it does nothing.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::proto;
use crate::serve::Api;
use crate::store::StoreError;

/// How often systemd's status line is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Tells systemd. That it does not listen is no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// The daemon answers.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: committing what is in hand")]);
}

/// The configuration is being read again, until [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd was not told"),
    }
}

/// Keeps systemd's status line and its watchdog up to date until `stop`.
///
/// The watchdog is fed only after the store's writer has answered, so that a writer that hangs on a dead disk is
/// noticed.
pub(super) async fn keep_informed(api: Arc<Api>, stop: CancellationToken) -> Result<(), StoreError> {
    let watchdog = sd_notify::watchdog_enabled();
    let mut ticks = interval(watchdog.map_or(STATUS_EVERY, |limit| (limit / 3).min(STATUS_EVERY)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        if watchdog.is_some() {
            api.writer.flush().await?;
            tell(&[NotifyState::Watchdog]);
        }
        let line = status_line(&api)?;
        tell(&[NotifyState::Status(&line)]);
    }
}

fn status_line(api: &Api) -> Result<String, StoreError> {
    let status = api.status()?;
    let photos = status.photos;
    Ok(match status.state() {
        proto::State::Idle => format!("{photos} photos, up to date"),
        proto::State::Scanning => format!("{photos} photos, looking for changes"),
        _ => format!("{photos} photos, {} files to go", status.pending),
    })
}
