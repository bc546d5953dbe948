//! The daemon's numbers for Prometheus: put together here, served over HTTP to whoever asks on this machine, where the
//! configuration says so.
//!
//! HTTP as far as a scrape takes it: `GET /metrics`, one answer, and the connection is closed. A client that is slow or sends
//! something else costs a place of a few, for a few seconds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::blocking::blocking;
use super::{Api, ServeError, Socket};
use crate::ingest::{Hold, Step};
use crate::metrics::{Exposition, Kind, Process};
use crate::proto;
use crate::store::{FailureKind, StoreError};

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 8;

/// How long one may take in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a request.
const MAX_REQUEST_BYTES: u64 = 8 << 10;

/// After a connection could not be taken, as where there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on TCP until the stop.
///
/// # Errors
/// The listener fails for good.
pub async fn run_metrics_on_tcp(api: Arc<Api>, listener: TcpListener) -> Result<(), ServeError> {
    let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
    run(api, accept).await;
    Ok(())
}

/// Answers on a Unix socket until the stop.
///
/// # Errors
/// The listener fails for good.
pub async fn run_metrics_on_socket(api: Arc<Api>, socket: Socket) -> Result<(), ServeError> {
    let (listener, _file) = socket.into_parts();
    let accept = || async { listener.accept().await.map(|(stream, _)| stream) };
    run(api, accept).await;
    Ok(())
}

async fn run<S, F>(api: Arc<Api>, accept: impl Fn() -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            () = api.stop.cancelled() => return,
            Some(_) = answering.join_next() => {}
            accepted = accept(), if answering.len() < CONNECTIONS => match accepted {
                Ok(stream) => {
                    let api = Arc::clone(&api);
                    // One that goes away, or takes too long, is none of our concern.
                    answering.spawn(async move { timeout(PATIENCE, answer(api, stream)).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the metrics could not be taken");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer(api: Arc<Api>, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut request = Vec::new();
    let mut head = (&mut stream).take(MAX_REQUEST_BYTES);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let (status, kind, body) = match what_is_asked(&request) {
        Asked::Metrics => match blocking(move |_| text(&api)).await {
            Ok(text) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", text),
            Err(error) => ("503 Service Unavailable", "text/plain", format!("{}\n", error.message())),
        },
        Asked::Other(status) => (status, "text/plain", "GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics,
    /// Something else, and how that is answered.
    Other(&'static str),
}

fn what_is_asked(request: &[u8]) -> Asked {
    let line = request.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    match words[..] {
        [b"GET", path, version] if version.starts_with(b"HTTP/1.") => {
            let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
            if path == b"/metrics" { Asked::Metrics } else { Asked::Other("404 Not Found") }
        }
        [_, _, version] if version.starts_with(b"HTTP/1.") => Asked::Other("405 Method Not Allowed"),
        _ => Asked::Other("400 Bad Request"),
    }
}

/// Puts the numbers together.
fn text(api: &Api) -> Result<String, StoreError> {
    let status = api.status()?;
    let mut text = Exposition::default();
    let served = api.networks.answering();
    text.metric("resembled_info", Kind::Gauge, "Version, network and runtime; always 1.").sample(
        &[("version", &status.version), ("network", &served.model.name), ("runtime", &status.runtime)],
        1.0,
    );
    text.metric("resembled_photos", Kind::Gauge, "Searchable photos: contents, not files.")
        .sample(&[], status.photos as f64);
    text.metric("resembled_files", Kind::Gauge, "Files that are known, by what became of them.")
        .sample(&[("state", "searchable")], status.files as f64)
        .sample(&[("state", "waiting")], status.pending as f64)
        .sample(&[("state", "failed")], status.failed as f64);
    text.metric("resembled_failures", Kind::Gauge, "Files that could not be indexed, by what is the matter.");
    let failures = api.store.read()?.failures_by_kind()?;
    for (kind, count) in failures {
        text.sample(&[("kind", failure(kind))], count as f64);
    }
    text.metric("resembled_files_indexed_total", Kind::Counter, "Files indexed.")
        .sample(&[], status.files_indexed as f64);
    text.metric("resembled_photos_encoded_total", Kind::Counter, "Photos that went through the network.")
        .sample(&[], status.photos_encoded as f64);
    text.metric("resembled_state", Kind::Gauge, "1 for what the daemon is doing, 0 for what it is not.");
    for (state, name) in STATES {
        text.sample(&[("state", name)], f64::from(u8::from(status.state() == state)));
    }
    let holds = api.queue.holds();
    text.metric("resembled_paused", Kind::Gauge, "1 for each reason for which changes wait now.");
    for hold in Hold::ALL {
        text.sample(&[("reason", hold.name())], f64::from(u8::from(holds.contains(&hold))));
    }
    text.metric("resembled_step_seconds", Kind::Histogram, "How long the steps of indexing take.");
    for step in Step::ALL {
        text.times(&[("step", step.name())], api.progress.times(step));
    }
    text.metric("resembled_call_seconds", Kind::Histogram, "How long calls take until their answer begins.");
    for (method, times) in api.calls.used() {
        text.times(&[("method", method)], times);
    }
    text.metric("resembled_folder_files", Kind::Gauge, "Searchable files of each watched folder.");
    for root in &status.roots {
        text.sample(&[("folder", &root.name)], root.files as f64);
    }
    text.metric("resembled_folder_online", Kind::Gauge, "1 for each watched folder that can be reached.");
    for root in &status.roots {
        let is_online = matches!(root.state(), proto::RootState::Online | proto::RootState::Polled);
        text.sample(&[("folder", &root.name)], f64::from(u8::from(is_online)));
    }
    let lost = status.decoder.map_or(0, |decoder| decoder.processes_lost);
    text.metric(
        "resembled_decoders_lost_total",
        Kind::Counter,
        "Decoding processes that ended over a photo.",
    )
    .sample(&[], lost as f64);
    text.metric("resembled_index_writable", Kind::Gauge, "0 while the disk of the index takes no writes.")
        .sample(&[], f64::from(u8::from(status.write_problem.is_none())));
    if let Ok(file) = std::fs::metadata(api.store.path()) {
        text.metric("resembled_index_bytes", Kind::Gauge, "Size of the index on the disk.")
            .sample(&[], file.len() as f64);
    }
    if let Some(process) = Process::look() {
        of_the_process(&mut text, process);
    }
    Ok(text.into_text())
}

fn of_the_process(text: &mut Exposition, process: Process) {
    text.metric("process_resident_memory_bytes", Kind::Gauge, "Memory in RAM, without decoding processes.")
        .sample(&[], process.resident_bytes as f64);
    text.metric("process_virtual_memory_bytes", Kind::Gauge, "Memory that is mapped.")
        .sample(&[], process.virtual_bytes as f64);
    text.metric("process_cpu_seconds_total", Kind::Counter, "Seconds of a core.")
        .sample(&[], process.cpu_seconds);
    text.metric("process_threads", Kind::Gauge, "Threads.").sample(&[], process.threads as f64);
    text.metric("process_open_fds", Kind::Gauge, "Open descriptors.").sample(&[], process.descriptors as f64);
}

const STATES: [(proto::State, &str); 5] = [
    (proto::State::Scanning, "scanning"),
    (proto::State::Indexing, "indexing"),
    (proto::State::Idle, "idle"),
    (proto::State::Stopping, "stopping"),
    (proto::State::Paused, "paused"),
];

fn failure(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Corrupt => "corrupt",
        FailureKind::Unsupported => "unsupported",
        FailureKind::TooLarge => "too_large",
        FailureKind::NotAPhoto => "not_a_photo",
        FailureKind::Unreadable => "unreadable",
        FailureKind::TimedOut => "timed_out",
        FailureKind::Internal => "internal",
        FailureKind::Passing => "passing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scrape_is_answered_with_numbers() {
        let check = |request: &str, expected: Asked| {
            assert_eq!(what_is_asked(request.as_bytes()), expected, "{request:?}")
        };
        check("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Asked::Metrics);
        check("GET /metrics?name=x HTTP/1.0\r\n\r\n", Asked::Metrics);
        check("GET / HTTP/1.1\r\n\r\n", Asked::Other("404 Not Found"));
        check("POST /metrics HTTP/1.1\r\n\r\n", Asked::Other("405 Method Not Allowed"));
        check("PRI * HTTP/2.0\r\n\r\n", Asked::Other("400 Bad Request"));
        check("", Asked::Other("400 Bad Request"));
    }
}
