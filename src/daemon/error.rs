//! Why the daemon did not start, or ended: one case for each room.

use std::error::Error;
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
    /// A mistake of ours.
    #[error("the thread that maintains the index panicked")]
    MaintenancePanicked,
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
        std::iter::successors(Some(self as &(dyn Error + 'static)), |&error| error.source()).any(has_failed)
    }

    /// Whether the store's file was found damaged, which the next start mends.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Store(StoreError::DamagedBlock { .. }))
    }
}

/// Whether this error, its causes aside, says that the disk has failed. An error that is transparent is its own cause's
/// cause, so that what it wraps is met here alone.
fn has_failed(error: &(dyn Error + 'static)) -> bool {
    let store = match error.downcast_ref() {
        Some(DaemonError::Disk(_)) => return true,
        Some(DaemonError::Store(store) | DaemonError::Ingest(IngestError::Store(store))) => Some(store),
        Some(_) => None,
        None => match error.downcast_ref() {
            Some(IngestError::Store(store)) => Some(store),
            Some(_) => None,
            None => error.downcast_ref(),
        },
    };
    error.is::<DiskFailed>() || store.is_some_and(StoreError::is_unreadable)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::io::Errno;

    use super::*;

    fn unreadable() -> StoreError {
        let error = redb::Error::Io(io::Error::from(Errno::IO));
        StoreError::Open { path: Path::new("/x").to_path_buf(), source: Box::new(error) }
    }

    fn failed() -> DiskFailed {
        DiskFailed::to_open(Path::new("/x"), &unreadable()).unwrap()
    }

    fn room(source: impl Error + Send + Sync + 'static) -> DaemonError {
        SupervisorError::Failed { room: "a room", source: Box::new(source) }.into()
    }

    #[test]
    fn a_failed_disk_is_told_whichever_way_it_comes() {
        for error in [
            failed().into(),
            unreadable().into(),
            IngestError::from(unreadable()).into(),
            room(failed()),
            room(unreadable()),
            room(IngestError::from(unreadable())),
            room(DaemonError::from(failed())),
            room(DaemonError::from(unreadable())),
            room(DaemonError::from(IngestError::from(unreadable()))),
        ] {
            assert!(error.is_for_good(), "{error:?}");
        }
        for error in [DaemonError::Panicked, StoreError::WriterEnded.into(), room(StoreError::WriterEnded)] {
            assert!(!error.is_for_good(), "{error:?}");
        }
        let said = failed().to_string();
        assert!(said.contains("Input/output error") && said.contains("start again on a sound one"), "{said}");
    }
}
