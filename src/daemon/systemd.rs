//! What systemd is told, and the watchdog that is fed by real work. Outside of systemd all of it does nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::serve::{Api, Phase, Summary};
use crate::store::StoreError;

/// How often systemd's status line is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How long one message may take. Nobody may be reading at the other end.
const PATIENCE: Duration = Duration::from_secs(1);

/// One message.
enum Notice {
    Ready,
    Reloading,
    Stopping,
    Watchdog,
    Status(String),
}

impl Notice {
    fn send(&self) -> io::Result<()> {
        match self {
            Self::Ready => sd_notify::notify(&[NotifyState::Ready]),
            Self::Reloading => {
                sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
            }
            Self::Stopping => sd_notify::notify(&[
                NotifyState::Stopping,
                NotifyState::Status("stopping: committing what is in hand"),
            ]),
            Self::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
            Self::Status(line) => sd_notify::notify(&[NotifyState::Status(line)]),
        }
    }
}

/// Sends on a thread of its own, since sending blocks where nobody reads. That systemd does not hear us is no
/// reason to stop.
async fn tell(notice: Notice) {
    let sent = tokio::task::spawn_blocking(move || notice.send());
    match tokio::time::timeout(PATIENCE, sent).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::debug!(%error, "systemd was not told"),
        Ok(Err(_)) | Err(_) => tracing::debug!("systemd does not listen"),
    }
}

/// The daemon answers.
pub(super) async fn ready() {
    tell(Notice::Ready).await;
}

/// The daemon is on its way out.
pub(super) async fn stopping() {
    tell(Notice::Stopping).await;
}

/// The configuration is being read again, until [`ready`].
pub(super) async fn reloading() {
    tell(Notice::Reloading).await;
}

/// Keeps systemd's status line and its watchdog up to date until `stop`.
///
/// The watchdog is fed only after the store's writer has answered, so that a writer that hangs on a dead disk is
/// noticed. One that waits for a disk which refuses writes does not hang: that is known, and said.
pub(super) async fn keep_informed(api: Arc<Api>, stop: CancellationToken) -> Result<(), StoreError> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        // Nobody to inform.
        stop.cancelled().await;
        return Ok(());
    }
    let watchdog = sd_notify::watchdog_enabled();
    let mut ticks = interval(watchdog.map_or(STATUS_EVERY, |limit| (limit / 3).min(STATUS_EVERY)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        if watchdog.is_some() {
            match api.writer.flush().await {
                Ok(()) | Err(StoreError::CannotWrite { .. }) => tell(Notice::Watchdog).await,
                Err(error) => return Err(error),
            }
        }
        let line = status_line(api.summary());
        if line != told {
            tell(Notice::Status(line.clone())).await;
            told = line;
        }
    }
}

fn status_line(Summary { phase, photos, pending, problem }: Summary) -> String {
    if let Some(problem) = problem {
        return format!("{photos} photos, {pending} files wait: {problem}");
    }
    match phase {
        Phase::Idle => format!("{photos} photos, up to date"),
        Phase::Scanning => format!("{photos} photos, looking for changes"),
        Phase::Paused => format!("{photos} photos, paused, {pending} files to go"),
        Phase::Indexing | Phase::Stopping => format!("{photos} photos, {pending} files to go"),
    }
}
