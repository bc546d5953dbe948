//! How many calls may take the processor at a time.

use std::sync::Arc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::refuse;

/// Calls that may wait for their turn, for each that may run.
const WAITING: usize = 16;

/// A gate in front of the work that one query is.
#[derive(Clone)]
pub(super) struct Gate {
    running: Arc<Semaphore>,
    present: Arc<Semaphore>,
}

/// The right to run. Dropping it lets the next one in.
pub(super) struct Pass {
    _running: OwnedSemaphorePermit,
    _present: OwnedSemaphorePermit,
}

impl Gate {
    /// One running query a core, and a bounded number in front.
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            running: Arc::new(Semaphore::new(cores)),
            present: Arc::new(Semaphore::new(cores * (1 + WAITING))),
        }
    }

    /// Waits for a turn. `RESOURCE_EXHAUSTED` where too many wait already.
    pub(super) async fn enter(&self) -> Result<Pass, Status> {
        let present = Arc::clone(&self.present)
            .try_acquire_owned()
            .map_err(|_| refuse::busy("too many queries at once"))?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| Status::unavailable("the daemon is stopping"))?;
        Ok(Pass { _running: running, _present: present })
    }
}
