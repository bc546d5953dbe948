//! Serving: gRPC calls in, answers out, on a Unix socket and, only on request, on TCP with a token.
//!
//! [`Api`] is what every call may use; `search`, `duplicates`, `library` and `daemon` are the services, each a thin
//! translation; `convert` is the only place where proto types and ours meet. Work that takes the processor or
//! the disk runs on blocking threads, never on those that serve.
//!
//! Invariant: whatever a client sends is refused or answered; it never ends the daemon. Invariant: a call that
//! was cancelled stops working at its next step.

mod convert;
mod daemon;
mod duplicates;
mod filter;
mod library;
mod limit;
mod networks;
mod pages;
mod query;
mod refuse;
mod search;
mod severable;
mod socket;
mod token;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptorLayer;
use tonic::transport::Server;

pub use self::networks::{Networks, Served};
use self::severable::Severable;
pub use self::socket::{Socket, SocketError};
pub use self::token::{Token, TokenError};
use crate::decode::Protection;
use crate::ingest::{Progress, Queue};
use crate::photo::RootId;
use crate::proto;
use crate::proto::daemon_service_server::DaemonServiceServer;
use crate::proto::duplicate_service_server::DuplicateServiceServer;
use crate::proto::library_service_server::LibraryServiceServer;
use crate::proto::search_service_server::SearchServiceServer;
use crate::search::FactTable;
use crate::store::{Store, WriterHandle};
use crate::watch::WatchHandle;

/// The largest message that is taken: a picture and some words around it.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How long the calls in hand may go on after the stop. A client that has gone to sleep must not keep the daemon up.
const DRAIN: Duration = Duration::from_secs(5);

/// Calls of one connection at a time; further ones wait.
const CALLS_PER_CONNECTION: usize = 64;

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
    /// What the decoding processes gave away.
    pub protection: Protection,
    /// The watched folders.
    pub watch: WatchHandle,
    /// Changes that wait.
    pub queue: Arc<Queue>,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Where roots are removed.
    pub writer: WriterHandle,
    /// Roots that cannot be removed by a call.
    pub configured: Mutex<Vec<RootId>>,
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
pub async fn run_socket(api: Arc<Api>, socket: Socket) -> Result<(), ServeError> {
    let (stop, sever) = (api.stop.clone(), CancellationToken::new());
    let routes = routes(&api).await?;
    let (listener, _file) = socket.into_parts();
    let incoming = severable(UnixListenerStream::new(listener), sever.clone());
    let serving =
        server().add_routes(routes).serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    drained(serving, stop, sever).await
}

/// Answers calls that carry the token on TCP until `stop`.
pub async fn run_tcp(api: Arc<Api>, listener: TcpListener, token: Token) -> Result<(), ServeError> {
    let (stop, sever) = (api.stop.clone(), CancellationToken::new());
    let routes = routes(&api).await?;
    let incoming = severable(TcpListenerStream::new(listener), sever.clone());
    let serving = server()
        .layer(InterceptorLayer::new(move |request| token.check(request)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    drained(serving, stop, sever).await
}

/// Makes every connection one that `sever` cuts off.
fn severable<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    sever: CancellationToken,
) -> impl Stream<Item = io::Result<Severable<S>>> {
    incoming.map(move |stream| Ok(Severable::new(stream?, sever.clone())))
}

/// Serves, and cuts off the connections that are still there some time after the stop.
async fn drained(
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    sever: CancellationToken,
) -> Result<(), ServeError> {
    let mut serving = pin!(serving);
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = too_long => tracing::info!("some connections were cut off: they took longer than {DRAIN:?}"),
    }
    sever.cancel();
    Ok(serving.await?)
}

fn server() -> Server {
    Server::builder().concurrency_limit_per_connection(CALLS_PER_CONNECTION)
}

/// Puts the services together, health and both versions of reflection included.
async fn routes(api: &Arc<Api>) -> Result<Routes, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let search = SearchServiceServer::new(search::Search::new(Arc::clone(api)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let duplicates = DuplicateServiceServer::new(duplicates::Duplicates::new(Arc::clone(api)));
    let library = LibraryServiceServer::new(library::Library::new(Arc::clone(api)));
    let daemon = DaemonServiceServer::new(daemon::Daemon::new(Arc::clone(api)));
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
        .add_service(daemon);
    Ok(routes.routes())
}
