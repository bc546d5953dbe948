//! Counts the calls of each connection: one is in hand until its answer has been sent to the end. And takes their time.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Body as HttpBody, Bytes, Future};
use tower::{Layer, Service};

use super::connections::{Call, ConnectionId, Peer};
use crate::metrics::Histogram;
use crate::proto;

/// How long the calls of each method of ours took until their answer began.
#[derive(Debug)]
pub struct CallTimes(BTreeMap<String, Histogram>);

impl Default for CallTimes {
    /// Knows the methods of our own services: what else a client may call is its own affair.
    fn default() -> Self {
        let files = FileDescriptorSet::decode(proto::DESCRIPTORS).map(|set| set.file).unwrap_or_default();
        let mut times = BTreeMap::new();
        for file in files.iter().filter(|file| file.package().starts_with("resembled.")) {
            for service in &file.service {
                let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
                times.extend(service.method.iter().map(|method| (path(method.name()), Histogram::default())));
            }
        }
        Self(times)
    }
}

impl CallTimes {
    /// Returns the methods that were called, without their service, and their times.
    pub(super) fn used(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        let is_used = |times: &Histogram| times.cumulative().last().is_some_and(|&(_, count)| count > 0);
        let used = self.0.iter().filter(move |(_, times)| is_used(times));
        used.map(|(path, times)| (path.rsplit('/').next().unwrap_or(path), times))
    }

    fn record(&self, path: &str, time: Duration) {
        if let Some(times) = self.0.get(path) {
            times.record(time);
        }
    }
}

/// Adds the counting to a service.
#[derive(Clone, Debug)]
pub(super) struct CountCalls(pub(super) Arc<CallTimes>);

/// A service that counts.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    service: S,
    times: Arc<CallTimes>,
}

/// An answer on its way.
struct Answer {
    body: Body,
    _call: Option<Call>,
}

/// Returns the connection that a call came from.
pub(super) fn connection<T>(request: &tonic::Request<T>) -> ConnectionId {
    request.extensions().get::<Peer>().map(Peer::id).unwrap_or_default()
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, service: S) -> Counted<S> {
        Counted { service, times: Arc::clone(&self.0) }
    }
}

impl<S> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = request.extensions().get::<Peer>().map(Peer::call);
        let (begun, path, times) = (Instant::now(), request.uri().path().to_owned(), Arc::clone(&self.times));
        let answered = self.service.call(request);
        Box::pin(async move {
            let answer = answered.await?;
            times.record(&path, begun.elapsed());
            Ok(answer.map(|body| Body::new(Answer { body, _call: call })))
        })
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
