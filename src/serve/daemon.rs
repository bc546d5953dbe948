//! `DaemonService`: how far the daemon is, and what it may be told.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::blocking::blocking;
use super::{Api, backup, convert, refuse};
use crate::ingest::{Pause, Step, Until};
use crate::proto;
use crate::proto::daemon_service_server::DaemonService;
use crate::store::StoreError;

/// How often a watched status is looked at.
const TICK: Duration = Duration::from_millis(250);

/// The service.
pub(super) struct Daemon {
    api: Arc<Api>,
}

impl Daemon {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }

    /// Begins or ends the pause that a user asks for, which may be written down.
    async fn change_pause(
        &self,
        change: impl FnOnce(&Pause) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Status> {
        let pause = Arc::clone(&self.api.pause);
        blocking(move |_| {
            change(&pause).map_err(|error| {
                refuse::unavailable("what is to be kept for the next start cannot be written down", &error)
            })
        })
        .await
    }
}

async fn status(api: &Arc<Api>) -> Result<proto::Status, Status> {
    let api = Arc::clone(api);
    blocking(move |_| api.status()).await
}

impl Api {
    /// Puts the status together.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn status(&self) -> Result<proto::Status, StoreError> {
        // First: what leaves the works enters the store, so that nothing is overlooked.
        let summary = self.summary();
        let reader = self.store.read()?;
        let total = reader.total()?;
        let roots = self.watch.roots();
        let roots = roots.iter().map(|root| convert::root(self, &reader, root)).collect::<Result<_, _>>()?;
        let holds = self.queue.holds();
        let write_problem =
            self.store.check_writable().err().and_then(|error| convert::write_problem(&error));
        let served = self.networks.answering();
        let filling = self.networks.former().map(|_| self.networks.configured());
        let seconds = |step| self.progress.time(step).as_secs_f64();
        Ok(proto::Status {
            state: convert::phase(summary.phase).into(),
            photos: served.index.len() as u64,
            files: total.files,
            pending: summary.pending as u64,
            failed: total.failures,
            files_indexed: self.progress.files_indexed(),
            photos_encoded: self.progress.photos_encoded(),
            model: Some(convert::model(&served)),
            filling: filling.map(|filling| proto::Filling {
                model: Some(convert::model(filling)),
                photos: filling.index.len() as u64,
            }),
            runtime: self.runtime.clone(),
            roots,
            decoder: convert::decoder(&served.encoding),
            write_problem,
            pauses: holds.into_iter().map(|hold| convert::pause(hold).into()).collect(),
            pause_end_time: self.pause.end_time().map(Into::into),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mended_store: reader.mended()?.map(convert::mended),
            last_event: *self.last_event.borrow(),
            step_times: Some(proto::StepTimes {
                read_seconds: seconds(Step::Read),
                decode_seconds: seconds(Step::Decode),
                encode_seconds: seconds(Step::Encode),
                store_seconds: seconds(Step::Store),
            }),
            search: Some(proto::SearchStatus {
                sketched: served.index.quantizer().is_some(),
                learning: served.index.is_training(),
                recall: served.index.recall().map(convert::recall),
            }),
        })
    }
}

#[tonic::async_trait]
impl DaemonService for Daemon {
    async fn get_status(
        &self,
        _request: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::Status>, Status> {
        status(&self.api).await.map(Response::new)
    }

    type WatchStatusStream = Pin<Box<dyn Stream<Item = Result<proto::Status, Status>> + Send>>;

    #[expect(
        clippy::disallowed_methods,
        reason = "ends with its client or with the daemon, whichever is first"
    )]
    async fn watch_status(
        &self,
        _request: Request<proto::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let (updates, stream) = tokio::sync::mpsc::channel(1);
        let api = Arc::clone(&self.api);
        tokio::spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last = None;
            loop {
                tokio::select! {
                    () = api.stop.cancelled() => break,
                    () = updates.closed() => break,
                    _ = ticks.tick() => {}
                }
                let next = status(&api).await;
                let failed = next.is_err();
                let is_news = next.as_ref().ok() != last.as_ref();
                last = next.as_ref().ok().cloned();
                if is_news {
                    // A client that does not read must not keep us from stopping.
                    let sent = tokio::select! {
                        () = api.stop.cancelled() => break,
                        sent = updates.send(next) => sent,
                    };
                    if sent.is_err() {
                        break;
                    }
                }
                if failed {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn rescan(
        &self,
        request: Request<proto::RescanRequest>,
    ) -> Result<Response<proto::RescanResponse>, Status> {
        let name = request.into_inner().root;
        let root = match name.as_str() {
            "" => None,
            name => Some(convert::parse_root_name("root", name)?),
        };
        if !self.api.watch.rescan(root) {
            return Err(refuse::not_found("root", &name));
        }
        self.api.again.try_all_now();
        Ok(Response::new(proto::RescanResponse {}))
    }

    async fn pause_indexing(
        &self,
        request: Request<proto::PauseIndexingRequest>,
    ) -> Result<Response<proto::PauseIndexingResponse>, Status> {
        let proto::PauseIndexingRequest { duration, keep } = request.into_inner();
        let until = duration.map_or(Ok(Until::Resumed), |duration| {
            let duration = Duration::try_from(duration).ok().filter(|duration| !duration.is_zero());
            let end = duration.and_then(|duration| Timestamp::now().checked_add(duration).ok());
            end.map(Until::Time)
                .ok_or_else(|| refuse::field("duration", "must be more than nothing, and end some time"))
        })?;
        self.change_pause(move |pause| pause.begin(until, keep)).await?;
        Ok(Response::new(proto::PauseIndexingResponse {}))
    }

    async fn resume_indexing(
        &self,
        _request: Request<proto::ResumeIndexingRequest>,
    ) -> Result<Response<proto::ResumeIndexingResponse>, Status> {
        self.change_pause(Pause::end).await?;
        Ok(Response::new(proto::ResumeIndexingResponse {}))
    }

    type BackUpIndexStream = ReceiverStream<Result<proto::BackUpIndexResponse, Status>>;

    async fn back_up_index(
        &self,
        _request: Request<proto::BackUpIndexRequest>,
    ) -> Result<Response<Self::BackUpIndexStream>, Status> {
        backup::stream(&self.api).map(Response::new)
    }
}
