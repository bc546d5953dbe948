//! `EventService`: what happened, from the store, to whoever follows it.
//!
//! A stream reads a page of events whenever its client has taken the last one, so a client that does not read costs one page of
//! memory and nobody else anything.

use std::pin::Pin;
use std::sync::Arc;

use prost_types::Timestamp;
use resembled_api::uri;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::ErrorDetails;

use super::blocking::blocking;
use super::refuse::Reason;
use super::{Api, convert, refuse};
use crate::photo::ContentHash;
use crate::proto;
use crate::proto::event_service_server::EventService;
use crate::store::{EventRecord, Happened};

/// Events of one message at the most: some 200 KB.
const PAGE: usize = 1_000;

/// The service.
pub(super) struct Events {
    api: Arc<Api>,
}

/// How far a stream is.
struct Follower {
    api: Arc<Api>,
    after: u64,
    only_past: bool,
}

impl Events {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<proto::WatchEventsResponse, Status>> + Send>>;

    #[expect(
        clippy::disallowed_methods,
        reason = "ends with its client or with the daemon, whichever is first"
    )]
    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let proto::WatchEventsRequest { after, only_past } = request.into_inner();
        let api = Arc::clone(&self.api);
        let after = after.unwrap_or_else(|| *api.last_event.borrow());
        let mut follower = Follower { api, after, only_past };
        // Here, so that whoever comes too late is told at once.
        let first = follower.page().await?;
        let (pages, stream) = mpsc::channel(1);
        tokio::spawn(follower.follow(first, pages));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Follower {
    /// Reads the next events that can be told, and goes on behind them.
    async fn page(&mut self) -> Result<proto::WatchEventsResponse, Status> {
        let (api, after) = (Arc::clone(&self.api), self.after);
        let until = *api.last_event.borrow();
        let read = blocking(move |_| api.store.read()?.events(after, until, PAGE)).await?;
        let read = read.ok_or_else(|| not_kept(after))?;
        // Behind all that are kept, where there were none after 0.
        self.after = read.last().map_or(if after == 0 { until } else { after }, |(number, _)| *number);
        let events = read.into_iter().map(|(number, record)| event(number, record)).collect();
        Ok(proto::WatchEventsResponse { events, sequence: self.after })
    }

    /// Sends page after page, until the client or the daemon ends.
    async fn follow(
        mut self,
        first: proto::WatchEventsResponse,
        pages: mpsc::Sender<Result<proto::WatchEventsResponse, Status>>,
    ) {
        let mut last_event = self.api.last_event.clone();
        let mut next = Ok(first);
        loop {
            let failed = next.is_err();
            // A client that does not read must not keep us from stopping.
            let sent = tokio::select! {
                () = self.api.stop.cancelled() => break,
                sent = pages.send(next) => sent,
            };
            if sent.is_err() || failed {
                break;
            }
            if *last_event.borrow_and_update() == self.after {
                if self.only_past {
                    break;
                }
                tokio::select! {
                    () = self.api.stop.cancelled() => break,
                    () = pages.closed() => break,
                    changed = last_event.changed() => if changed.is_err() { break },
                }
            }
            next = self.page().await;
        }
    }
}

/// Who goes on after events that are not kept has missed some.
fn not_kept(after: u64) -> Status {
    let message = format!(
        "after: the events after {after} are not kept any more, or belong to an index that was lost since; list the photos anew, \
         and follow the events from now on (without `after`)"
    );
    let details = ErrorDetails::with_bad_request_violation("after", "not kept any more");
    refuse::with(Code::OutOfRange, Reason::EventsNotKept, message, details)
}

/// Puts an event together.
fn event(sequence: u64, EventRecord { at, path, happened }: EventRecord) -> proto::Event {
    use proto::EventKind;

    let name = |content: ContentHash| convert::photo_name(content);
    let names = |content: Option<ContentHash>| content.map(name).unwrap_or_default();
    let mut event = proto::Event {
        sequence,
        event_time: Some(Timestamp { seconds: at, nanos: 0 }),
        uri: uri::of_path(&path),
        path,
        ..proto::Event::default()
    };
    let kind = match happened {
        Happened::Added { content } => {
            event.photo = name(content);
            EventKind::Added
        }
        Happened::Changed { content, before } => {
            (event.photo, event.former_photo) = (name(content), name(before));
            EventKind::Changed
        }
        Happened::Moved { content, from } => {
            event.photo = names(content);
            event.former_path = from;
            EventKind::Moved
        }
        Happened::Removed { content } => {
            event.photo = names(content);
            EventKind::Removed
        }
        Happened::Failed { reason, before } => {
            (event.photo, event.reason) = (names(before), reason);
            EventKind::Failed
        }
        Happened::Offline => EventKind::Offline,
        Happened::Online { from } => {
            event.former_path = from.unwrap_or_default();
            EventKind::Online
        }
        Happened::Unwatched => EventKind::Unwatched,
    };
    if !event.former_path.is_empty() {
        event.former_uri = uri::of_path(&event.former_path);
    }
    event.kind = kind.into();
    event
}
