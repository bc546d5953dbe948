//! SIGHUP: the configuration is read again, and what can change while the daemon runs is applied: folders and ignore
//! patterns. One that is not valid changes nothing, and nothing that goes wrong here ends the daemon.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::error::DaemonError;
use super::roots::{self, Roots};
use super::run::Reload;
use super::{networks, systemd};
use crate::config::{Config, ConfigError};
use crate::serve::Api;
use crate::store::Write;
use crate::watch::{self, WatchError};

/// Why the configuration stays as it was.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Invalid(#[from] DaemonError),
    #[error("reading it panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Says what follows from a configuration that could be read but cannot be used: its network is not there, or a pattern
/// of it does not parse. Returns the network's name.
///
/// # Errors
/// What is wrong with it, as a start would find it.
pub fn check(config: &Config) -> Result<String, DaemonError> {
    watch::check_patterns(&config.watch.ignore, config.watch.hidden).map_err(WatchError::from)?;
    networks::check(config)
}

/// Reads the configuration again whenever it is asked for, until `stop`.
pub(super) async fn on_request(
    api: Arc<Api>,
    requests: Arc<Notify>,
    reload: Reload,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let reload = Arc::new(reload);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = requests.notified() => {}
        }
        systemd::reloading().await;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            applied = read_and_apply(&api, &reload) => match applied {
                Ok(()) => tracing::info!(
                    "read the configuration again; folders and ignore patterns hold now, all else from the next start"
                ),
                Err(error) => tracing::error!("the configuration stays as it was: {}", chain(&error)),
            },
        }
        systemd::ready().await;
    }
}

async fn read_and_apply(api: &Arc<Api>, reload: &Arc<Reload>) -> Result<(), ReloadError> {
    let reload = Arc::clone(reload);
    let config = tokio::task::spawn_blocking(move || -> Result<Config, ReloadError> {
        let config = reload()?;
        check(&config)?;
        Ok(config)
    });
    let config = config.await??;
    // As for a call that adds or removes a folder.
    let _changing = api.changing_roots.lock().await;
    // A removal that is not written down yet would take a folder along that is added again.
    api.writer.flush().await.map_err(DaemonError::from)?;
    let applied = Arc::clone(api);
    tokio::task::spawn_blocking(move || apply(&applied, &config)).await??;
    api.writer.flush().await.map_err(DaemonError::from)?;
    Ok(())
}

fn apply(api: &Api, config: &Config) -> Result<(), DaemonError> {
    let Roots { watched, configured, dropped } = roots::settle(&api.store, &config.roots)?;
    for root in &dropped {
        tracing::info!("{} is no longer configured and is forgotten", root.path.display());
        api.watch.remove_root(root.id);
        api.writer.write(Write::RemoveRoot { root: root.id })?;
    }
    let present = api.watch.roots();
    for root in watched {
        if present.iter().any(|status| status.id == root.id) {
            continue;
        }
        let path = root.path.clone();
        // One folder that cannot be watched is no reason to do without the others.
        if let Err(error) = api.watch.add_root(root) {
            tracing::error!("{} is not watched: {}", path.display(), chain(&error));
        }
    }
    *api.configured.lock().unwrap_or_else(PoisonError::into_inner) = configured;
    api.watch.reload_rules(&config.watch.ignore, config.watch.hidden)?;
    Ok(())
}

/// Prints an error with its causes: the journal shows the message alone.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
