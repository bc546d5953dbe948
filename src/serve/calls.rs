//! Counts the calls of each connection: one is in hand until its answer has been sent to the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Body as HttpBody, Bytes, Future};
use tower::{Layer, Service};

use super::connections::{Call, ConnectionId, Peer};

/// Adds the counting to a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountCalls;

/// A service that counts.
#[derive(Clone, Debug)]
pub(super) struct Counted<S>(S);

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
        Counted(service)
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
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = request.extensions().get::<Peer>().map(Peer::call);
        let answered = self.0.call(request);
        Box::pin(async move {
            let answer = answered.await?;
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
