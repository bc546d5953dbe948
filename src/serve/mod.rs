//! Serving: gRPC calls in, answers out, on a Unix socket and, only on request, on TCP with a token.
//!
//! [`Api`] is what every call may use; `search`, `duplicates`, `library`, `daemon` and `events` are the services. A request is read by
//! its service and by `query` and `filter`; what the answers have in common is put together by `convert`. Around them:
//!
//! | what | where |
//! | --- | --- |
//! | which connections there are, and which one goes where there are too many | `connections`, `incoming` |
//! | whose turn it is to take the processor | `limiter` |
//! | threads for what takes the processor or the disk | `blocking` |
//! | disks that a client names, and that may never answer | `disk` |
//! | the files of an answer, as they stand on the disk | `files`, `copies` |
//! | the library without a query: lists and counts | `listing` |
//! | which matches are near | `near` |
//! | numbers for Prometheus | `metrics` |
//! | the whole index in one stream | `backup` |
//! | photos with their embeddings in one stream | `export` |
//! | answers of more than one page | `pages` |
//! | small pictures of photos | `thumbnails` |
//! | what two pictures are to each other | `compare` |
//! | what is said to whom is refused | `refuse` |
//!
//! Invariant: whatever a client sends is refused or answered; it never ends the daemon. Invariant: a call that was given up
//! stops at its next step, and its place is free when it has really ended. Invariant: nothing that takes the processor,
//! the disk or the store runs on a thread that serves.

mod backup;
mod blocking;
mod calls;
mod compare;
mod connections;
mod convert;
mod copies;
mod daemon;
mod disk;
mod duplicates;
mod events;
mod export;
mod files;
mod filter;
mod free_text;
mod incoming;
mod library;
mod limiter;
mod listing;
mod metrics;
mod near;
mod networks;
mod pages;
mod query;
mod refuse;
mod search;
mod second_look;
mod socket;
mod summary;
mod thumbnails;
mod token;
mod words;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptorLayer;
use tonic::transport::Server;

pub use self::calls::CallTimes;
use self::calls::CountCalls;
use self::connections::{Connections, Limits};
use self::incoming::Incoming;
pub use self::limiter::Limiter;
pub use self::metrics::{run_metrics_on_socket, run_metrics_on_tcp};
pub use self::networks::{Networks, Served};
pub use self::socket::{Socket, SocketError, turn_callers_away};
pub use self::summary::{Phase, Summary};
pub use self::token::{Token, TokenError};
use crate::ingest::{Again, Pause, Progress, Queue};
use crate::photo::RootId;
use crate::proto;
use crate::proto::daemon_service_server::DaemonServiceServer;
use crate::proto::duplicate_service_server::DuplicateServiceServer;
use crate::proto::event_service_server::EventServiceServer;
use crate::proto::library_service_server::LibraryServiceServer;
use crate::proto::search_service_server::SearchServiceServer;
use crate::search::FactTable;
use crate::store::{Store, WriterHandle};
use crate::thumbnails::Thumbnails;
use crate::watch::WatchHandle;

/// The largest message that is taken: a picture and some words around it.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How long the calls in hand may go on after the stop. A client that has gone to sleep must not keep the daemon up.
const DRAIN: Duration = Duration::from_secs(5);

/// Calls of one connection at a time; further ones wait.
const CALLS_PER_CONNECTION: usize = 64;

/// How long a call may take until its answer begins, its way here included.
const MAX_CALL: Duration = Duration::from_secs(600);

/// Bytes of the names and values before a request. Ours have some hundred; a token has 64.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// How long a connection may be silent before it is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What every call may use.
pub struct Api {
    /// The truth.
    pub store: Arc<Store>,
    /// Who answers.
    pub networks: Arc<Networks>,
    /// What runs the networks, and its version.
    pub runtime: String,
    /// What filters ask of photos.
    pub facts: Arc<FactTable>,
    /// The watched folders.
    pub watch: WatchHandle,
    /// Changes that wait.
    pub queue: Arc<Queue>,
    /// Files that are tried again.
    pub again: Arc<Again>,
    /// Makes small pictures of photos, and keeps them.
    pub thumbnails: Arc<Thumbnails>,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Where roots are removed.
    pub writer: WriterHandle,
    /// Roots that cannot be removed by a call.
    pub configured: Mutex<Vec<RootId>>,
    /// Held while roots are added or removed: by one at a time, a call or a reload.
    pub changing_roots: Arc<tokio::sync::Mutex<()>>,
    /// Whose turn it is to take the processor, on all sockets.
    pub limiter: Limiter,
    /// The number of the last event that can be told, and news of it.
    pub last_event: watch::Receiver<u64>,
    /// The pause that a user asks for.
    pub pause: Arc<Pause>,
    /// How long calls take.
    pub calls: Arc<CallTimes>,
    /// Cancelled when the daemon stops; streams end then.
    pub stop: CancellationToken,
}

impl Api {
    /// Whether the configuration or the command line names the root.
    fn is_configured(&self, root: RootId) -> bool {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).contains(&root)
    }
}

/// Why serving had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),

    /// The token cannot be had.
    #[error(transparent)]
    Token(#[from] TokenError),

    /// The TCP address cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },

    /// Serving failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),

    /// The descriptors for reflection do not fit the library that serves them.
    #[error("reflection cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Answers calls on the socket until `stop`, then lets the calls in hand finish.
///
/// # Errors
/// The listener fails for good.
pub async fn run_socket(api: Arc<Api>, socket: Socket) -> Result<(), ServeError> {
    let (stop, connections) = (api.stop.clone(), Connections::new(Limits::of_socket()));
    let (routes, calls) = (routes(&api).await?, Arc::clone(&api.calls));
    let (listener, _file) = socket.into_parts();
    let incoming = Incoming::new(listener, Arc::clone(&connections));
    let serving = server()
        .layer(CountCalls(calls))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    drained(serving, stop, &connections).await
}

/// Answers calls that carry the token on TCP until `stop`.
///
/// # Errors
/// The listener fails for good.
pub async fn run_tcp(api: Arc<Api>, listener: TcpListener, token: Token) -> Result<(), ServeError> {
    let (stop, connections) = (api.stop.clone(), Connections::new(Limits::of_tcp()));
    let (routes, calls) = (routes(&api).await?, Arc::clone(&api.calls));
    let incoming = Incoming::new(listener, Arc::clone(&connections));
    let serving = server()
        .layer(InterceptorLayer::new(move |request| token.check(request)))
        // Only calls that were let through count for their connection.
        .layer(CountCalls(calls))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    drained(serving, stop, &connections).await
}

/// Serves, and cuts off the connections that ask nothing, and those that are still there some time after the stop.
async fn drained(
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    connections: &Connections,
) -> Result<(), ServeError> {
    let mut serving = pin!(serving);
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = &mut serving => return Ok(served?),
        never = connections.sweep() => match never {},
        () = too_long => tracing::info!("some connections were cut off: they took longer than {DRAIN:?}"),
    }
    connections.close_all();
    Ok(serving.await?)
}

fn server() -> Server {
    Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(u32::try_from(2 * CALLS_PER_CONNECTION).ok())
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        // Also while the request itself is still on its way.
        .timeout(MAX_CALL)
}

/// Puts the services together, health and both versions of reflection included.
async fn routes(api: &Arc<Api>) -> Result<Routes, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let search = SearchServiceServer::new(search::Search::new(Arc::clone(api)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let duplicates = DuplicateServiceServer::new(duplicates::Duplicates::new(Arc::clone(api)));
    let library = LibraryServiceServer::new(library::Library::new(Arc::clone(api)));
    let daemon = DaemonServiceServer::new(daemon::Daemon::new(Arc::clone(api)));
    let events = EventServiceServer::new(events::Events::new(Arc::clone(api)));
    health.set_serving::<EventServiceServer<events::Events>>().await;
    health.set_serving::<SearchServiceServer<search::Search>>().await;
    health.set_serving::<DuplicateServiceServer<duplicates::Duplicates>>().await;
    health.set_serving::<LibraryServiceServer<library::Library>>().await;
    health.set_serving::<DaemonServiceServer<daemon::Daemon>>().await;

    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(search)
        .add_service(duplicates)
        .add_service(library)
        .add_service(daemon)
        .add_service(events);
    Ok(routes.routes())
}
