//! Work that takes the processor or the disk, on a thread that may wait for both.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tonic::{Code, Status};

use super::refuse;
use super::refuse::Reason;
use crate::decode::Cancel;

/// Threads that work for calls at a time. Far more than cores, since most of them wait for the disk.
static THREADS: Semaphore = Semaphore::const_new(128);

/// How long a call waits for a thread. All are taken for so long only where the disk of the index does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a call may take in all. The thread is left to its work then, and counts until that ends.
const DEADLINE: Duration = Duration::from_secs(300);

/// Works on another thread. `work` is told when the call is given up, and ought to end then.
///
/// # Errors
/// Those of the work; `UNAVAILABLE` and `DEADLINE_EXCEEDED` where the disk of the index does not answer.
pub(super) async fn blocking<T, E>(
    work: impl FnOnce(&Cancel) -> Result<T, E> + Send + 'static,
) -> Result<T, Status>
where
    T: Send + 'static,
    E: Into<Status>,
{
    let silent = "the disk of the index does not answer; try again when it does";
    let thread = tokio::time::timeout(PATIENCE, THREADS.acquire()).await;
    let Ok(Ok(thread)) = thread else {
        return Err(refuse::because(Code::Unavailable, Reason::DiskSilent, silent));
    };
    let cancel = Cancel::default();
    let _guard = CancelOnDrop(cancel.clone());
    let working = spawn_blocking(move || {
        let _thread = thread;
        if cancel.is_cancelled() {
            return Err(refuse::given_up());
        }
        work(&cancel).map_err(Into::into)
    });
    match tokio::time::timeout(DEADLINE, working).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(refuse::internal("the call failed", &error)),
        Err(_) => Err(refuse::because(
            Code::DeadlineExceeded,
            Reason::TooSlow,
            format!("not done within {DEADLINE:?}; perhaps {silent}"),
        )),
    }
}

/// A call that the client gave up drops its future, and this with it.
pub(super) struct CancelOnDrop(pub(super) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
