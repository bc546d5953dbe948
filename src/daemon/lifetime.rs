//! The daemon's life from the first signal handler to its end, whatever hangs.
//!
//! The daemon runs on a thread of its own, and the main thread waits for it. After a signal to stop that wait has an end:
//! threads that are stuck inside the kernel, where a disk does not answer, cannot be ended, so they are left behind, and
//! the process goes without them. What was committed stays, and what was in hand is found again at the next start.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{bounded, never, select};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::DaemonError;
use super::run::{self, Reload};
use super::signals::Listener;
use crate::config::Config;

/// From the signal to the end of the process, at the most. Longer than the rooms have ([`run::GRACE`]).
const LAST_GRACE: Duration = Duration::from_secs(9);

/// How long blocking calls may take that nobody waits for any more.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All its threads have.
    Wholly,
    /// Threads are left that nothing can end but the end of the process.
    LeftBehind,
}

/// Runs the daemon until SIGTERM, SIGINT or a failure. After a signal it returns within ten seconds.
///
/// # Errors
/// Why it did not start, or had to end.
pub fn run(config: Config, reload: Reload) -> Result<Ended, DaemonError> {
    let stop = CancellationToken::new();
    let reloads = Arc::new(Notify::new());
    let (asked, stopped) = bounded(1);
    let _signals =
        Listener::start(stop.clone(), asked, Arc::clone(&reloads)).map_err(DaemonError::Signals)?;
    let (done, ended) = bounded(1);
    start(move || {
        // Nobody listens where the time is over already.
        let _ = done.send(live(config, reload, stop, reloads));
    })?;
    let is_stopped = select! {
        recv(ended) -> result => return result.unwrap_or(Err(DaemonError::Panicked)),
        recv(stopped) -> signal => signal.is_ok(),
    };
    let too_long = if is_stopped { crossbeam_channel::after(LAST_GRACE) } else { never() };
    select! {
        recv(ended) -> result => result.unwrap_or(Err(DaemonError::Panicked)),
        recv(too_long) -> _ => {
            tracing::warn!("not stopped within {LAST_GRACE:?}: what still runs is left behind");
            Ok(Ended::LeftBehind)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody can join it where it hangs; its result is waited for")]
fn start(body: impl FnOnce() + Send + 'static) -> Result<(), DaemonError> {
    thread::Builder::new().name("daemon".into()).spawn(body).map_err(DaemonError::Start)?;
    Ok(())
}

fn live(
    config: Config,
    reload: Reload,
    stop: CancellationToken,
    reloads: Arc<Notify>,
) -> Result<Ended, DaemonError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::Start)?;
    let ended = runtime.block_on(run::run(config, reload, stop, reloads));
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}
