//! HTTP on loopback: connections in, requests judged and answered, each within limits; it ends when it is not used any more.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::Body;
use super::{Window, routes};

/// Connections at a time. A browser opens six.
const MOST_CONNECTIONS: usize = 64;

/// How long a connection may take to send a request's head, or wait for the next request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// How long we wait when no connection can be accepted: there are no descriptors left, for the most.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Bytes of a request's head.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// Answers until the window was not used for long enough.
pub(super) async fn serve(listener: TcpListener, window: Arc<Window>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => _ = connections.spawn(connection(TokioIo::new(stream), Arc::clone(&window))),
                Err(_) => sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = window.usage.ended() => return,
        }
    }
}

async fn connection(stream: TokioIo<tokio::net::TcpStream>, window: Arc<Window>) {
    let service = service_fn(move |request| answer(Arc::clone(&window), request));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(MOST_HEAD_BYTES);
    // Whatever is wrong with a connection is the other side's to know.
    let _ = server.serve_connection(stream, service).await;
}

async fn answer(window: Arc<Window>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(routes::answer(window, request).await)
}

/// When the window was used last.
pub(super) struct Usage {
    /// `None`: it never ends for want of use.
    longest: Option<Duration>,
    now: Mutex<Now>,
}

struct Now {
    last: Instant,
    /// Requests that are being answered, of those that count.
    running: usize,
}

/// A request that is being answered.
pub(super) struct Use<'a>(&'a Usage);

impl Usage {
    pub(super) fn new(longest: Option<Duration>) -> Self {
        Self { longest, now: Mutex::new(Now { last: Instant::now(), running: 0 }) }
    }

    /// Somebody uses it until the value is dropped.
    pub(super) fn begin(&self) -> Use<'_> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).running += 1;
        Use(self)
    }

    /// Returns once it was not used for so long.
    async fn ended(&self) {
        let Some(longest) = self.longest else { return std::future::pending().await };
        loop {
            match self.left(Instant::now(), longest) {
                Duration::ZERO => return,
                left => sleep_until(Instant::now() + left).await,
            }
        }
    }

    /// Returns how long it goes on at the least.
    fn left(&self, now: Instant, longest: Duration) -> Duration {
        let state = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match state.running {
            0 => (state.last + longest).saturating_duration_since(now),
            _ => longest,
        }
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.running -= 1;
        now.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_so_long_after_the_last_use_and_never_during_one() {
        let hour = Duration::from_secs(3600);
        let usage = Usage::new(Some(hour));
        let start = usage.now.lock().unwrap().last;
        assert_eq!(usage.left(start, hour), hour);
        assert_eq!(usage.left(start + hour / 2, hour), hour / 2);
        assert_eq!(usage.left(start + hour, hour), Duration::ZERO);
        let used = usage.begin();
        assert_eq!(usage.left(start + 9 * hour, hour), hour);
        drop(used);
        assert!(usage.left(Instant::now(), hour) > hour / 2);
    }
}
