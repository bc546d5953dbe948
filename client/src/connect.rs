//! The way to the daemon: its Unix socket, or TCP with a token. Whatever the daemon does, or fails to do, no call waits for
//! ever.
//!
//! A connection alone says nothing: systemd takes it in the name of a service that cannot start. So a first sign of life
//! is waited for, and then, while a call goes on, one every few seconds (HTTP/2 pings), which also a stream is given up
//! without. Each answer has a time limit beside that.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use hyper_util::rt::TokioIo;
use resembled_api::dirs::Dirs;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, TimeoutExpired};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::cli::Target;

/// How long the daemon may take to show that it is there. It may be starting.
const FIRST_SIGN: Duration = Duration::from_secs(15);

/// How long it may take to answer, where nothing else was said.
const ANSWER: Duration = Duration::from_secs(300);

/// How often it is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How often a socket is tried again at which too many wait.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A channel that carries the token, if one is needed.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// Adds the token to each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// How long the daemon may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Patience {
    first_sign: Duration,
    answer: Duration,
}

impl Patience {
    /// 0 seconds are for ever.
    fn of(timeout: Option<u64>) -> Self {
        match timeout {
            None => Self { first_sign: FIRST_SIGN, answer: ANSWER },
            Some(0) => Self { first_sign: FOR_EVER, answer: FOR_EVER },
            Some(seconds) => {
                let given = Duration::from_secs(seconds).min(FOR_EVER);
                Self { first_sign: given, answer: given }
            }
        }
    }
}

/// Ends what is said of a daemon that cannot be asked; the doctor leaves it away.
pub(crate) const ASK_THE_DOCTOR: &str = "; `resemble doctor` says what is the matter";

/// Connects to the daemon that the flags name, and waits for a sign of life.
pub(crate) async fn connect(target: &Target) -> anyhow::Result<Connection> {
    let patience = Patience::of(target.timeout);
    let deadline = Instant::now() + patience.first_sign;
    let dirs = || Dirs::find(&|name| std::env::var_os(name));
    let (place, connection) = if let Some(address) = &target.connect {
        let path = match &target.token_file {
            Some(path) => path.clone(),
            None => dirs()?.data.join("token"),
        };
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read the token {}: copy it from the daemon's data directory, or name it with --token-file", path.display())
        })?;
        let token = format!("Bearer {}", text.trim()).parse().context("the token file holds no token")?;
        let endpoint = endpoint(Endpoint::from_shared(format!("http://{address}"))?, patience);
        let channel = match timeout_at(deadline, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => {
                let why = cause::<io::Error>(&error).map_or_else(|| error.to_string(), ToString::to_string);
                bail!("no daemon answers on {address}: {why}; was it started with --listen {address}?")
            }
            Err(_) => return Err(silent(address, patience)),
        };
        (address.clone(), InterceptedService::new(channel, Bearer(Some(token))))
    } else {
        let path = match &target.socket {
            Some(path) if path.as_os_str().is_empty() => bail!("--socket is empty"),
            Some(path) => path.clone(),
            None => dirs()?.runtime.join("resembled.sock"),
        };
        let place = path.display().to_string();
        let channel = match timeout_at(deadline, connect_socket(&path, patience)).await {
            Ok(channel) => channel?,
            Err(_) => return Err(silent(&place, patience)),
        };
        (place, InterceptedService::new(channel, Bearer(None)))
    };
    let mut health = HealthClient::new(connection.clone());
    match timeout_at(deadline, health.check(HealthCheckRequest::default())).await {
        Ok(Err(status)) if cause::<TimeoutExpired>(&status).is_some() => Err(silent(&place, patience)),
        // A refusal is a sign of life too.
        Ok(Err(status)) if is_broken(&status) => Err(refused(status)),
        Ok(_) => Ok(connection),
        Err(_) => Err(silent(&place, patience)),
    }
}

fn endpoint(endpoint: Endpoint, patience: Patience) -> Endpoint {
    endpoint
        .timeout(patience.answer)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(true)
}

async fn connect_socket(path: &Path, patience: Patience) -> anyhow::Result<Channel> {
    let first = open_socket(path).await.map_err(|error| refused_socket(path, &error))?;
    let (mut first, path) = (Some(first), PathBuf::from(path));
    // The address is never looked at; the connector knows where to go.
    endpoint(Endpoint::from_static("http://resembled.invalid"), patience)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let (first, path) = (first.take(), path.clone());
            async move {
                match first {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => open_socket(&path).await.map(TokioIo::new),
                }
            }
        }))
        .await
        .context("the connection to the daemon broke off")
}

/// Connects as soon as there is room: a Unix socket refuses at once where too many wait.
async fn open_socket(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(RETRY_EVERY).await,
            connected => return connected,
        }
    }
}

/// Says why nobody can be asked at a socket, and what to do.
fn refused_socket(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    let start =
        format!("start one with `resembled DIR` or `systemctl --user start resembled`{ASK_THE_DOCTOR}");
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!("no daemon answers on {shown}: {start}"),
        io::ErrorKind::ConnectionRefused => {
            anyhow!("no daemon answers on {shown} any more, it has ended: {start}")
        }
        io::ErrorKind::PermissionDenied => {
            anyhow!("{shown} belongs to another user: ask your own daemon, or {start}")
        }
        _ => anyhow!("cannot connect to {shown}: {error}"),
    }
}

fn silent(place: &str, patience: Patience) -> anyhow::Error {
    let seconds = patience.first_sign.as_secs();
    anyhow!(
        "the daemon on {place} has shown no sign of life for {seconds} seconds: it is still starting, cannot start, or hangs; \
         `--timeout SECONDS` waits longer{ASK_THE_DOCTOR}"
    )
}

/// Says what the daemon refused, in its own words, or that it could not be asked.
pub(crate) fn refused(status: Status) -> anyhow::Error {
    if cause::<TimeoutExpired>(&status).is_some() {
        return anyhow!(
            "the daemon took too long to answer: `--timeout SECONDS` waits longer{ASK_THE_DOCTOR}"
        );
    }
    if is_broken(&status) {
        return anyhow!("the connection to the daemon broke off: it has ended or hangs{ASK_THE_DOCTOR}");
    }
    anyhow!("{}", status.message())
}

/// Returns when to come again, where the daemon only has too much to do at the moment.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// Says whether the status was made here, because the connection failed. What the daemon says has no cause.
pub(crate) fn is_broken(status: &Status) -> bool {
    status.source().is_some()
}

/// Returns the first error of this type among an error and its causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_seconds_at_all_are_for_ever() {
        assert_eq!(Patience::of(None).answer, ANSWER);
        assert_eq!(Patience::of(Some(7)).first_sign, Duration::from_secs(7));
        assert_eq!(Patience::of(Some(0)).answer, FOR_EVER);
        assert_eq!(Patience::of(Some(u64::MAX)).answer, FOR_EVER);
        assert!(Instant::now().checked_add(FOR_EVER).is_some());
    }
}
