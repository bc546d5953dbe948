//! Why the daemon did not start, or ended: one case for each room.

use std::io;

use super::disk::DiskFailed;
use super::supervisor::SupervisorError;
use crate::encode::{CutError, EncodeError, RuntimeError};
use crate::ingest::IngestError;
use crate::models::ModelError;
use crate::search::SearchError;
use crate::serve::{ServeError, SocketError};
use crate::store::StoreError;
use crate::watch::WatchError;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// No network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network cannot be used.
    #[error("the network cannot be used")]
    Cut(#[from] CutError),
    /// The network cannot be run.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// Watching.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Indexing.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Serving.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The thread that maintains the index.
    #[error("cannot start the thread that maintains the index")]
    StartMaintenance(#[source] io::Error),
    /// Signals.
    #[error("cannot listen to signals")]
    Signals(#[source] io::Error),
    /// No thread, or no runtime on it.
    #[error("cannot start the threads that serve")]
    Start(#[source] io::Error),
    /// A mistake of ours.
    #[error("the daemon panicked")]
    Panicked,
    /// The disk under the index.
    #[error(transparent)]
    Disk(#[from] DiskFailed),
    /// A room.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}

impl DaemonError {
    /// Whether the disk under the index has failed for good, so that starting again is of no use.
    pub fn is_for_good(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.is::<DiskFailed>() || error.downcast_ref().is_some_and(StoreError::is_unreadable) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Whether the store's file was found damaged, which the next start mends.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Store(StoreError::DamagedBlock { .. }))
    }
}
