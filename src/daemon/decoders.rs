//! The decoding processes' beginning and end with the daemon's.

use std::convert::Infallible;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::decode::Decoders;

/// How long a process waits for its next photo. One starts within milliseconds, and keeps some ten megabytes.
const IDLE: Duration = Duration::from_secs(30);

/// How long the start waits for the first process, which is not needed before the first photo.
const FIRST: Duration = Duration::from_secs(10);

/// Starts one process, to say how it is confined. Where that fails, it is tried again with each photo.
pub(super) async fn start_first(decoders: Decoders) {
    let first = tokio::time::timeout(FIRST, spawn_blocking(move || decoders.protection()));
    match first.await {
        Ok(Ok(Ok(protection))) => {
            tracing::info!("photos are decoded in processes of their own, confined by: {protection}");
        }
        Ok(Ok(Err(error))) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "no photo can be decoded now; it is tried again with each");
        }
        Ok(Err(_)) | Err(_) => tracing::warn!("the first decoding process takes long to start"),
    }
}

/// Ends the processes that have waited for long; until `stop`.
pub(super) async fn end_idle_ones(decoders: Decoders, stop: CancellationToken) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(IDLE / 2) => {}
        }
        let decoders = decoders.clone();
        // It fails only where the daemon is ending.
        let _ = spawn_blocking(move || decoders.end_idle_for(IDLE)).await;
    }
}

/// Has nothing more decoded for indexing: the next start finds the photos in hand again, and one that stands still would
/// keep the daemon from its end.
pub(super) async fn close(decoders: Decoders) {
    // It fails only where the runtime is ending already, and the processes end with it.
    let _ = spawn_blocking(move || decoders.close()).await;
}
