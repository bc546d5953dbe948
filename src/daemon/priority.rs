//! Background work gives way to everything else: indexing must not make a desktop stutter.

/// Niceness of the threads that index. Queries stay at 0.
const BACKGROUND: i32 = 10;

/// Lowers the priority of the calling thread. On Linux, niceness is a thread's own.
pub(super) fn lower() {
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND) {
        tracing::debug!(%error, "indexing keeps its normal priority");
    }
}
