//! `BackUpIndex`: a copy of the store, made on the disk first, then sent at the pace of whoever takes it.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use super::blocking::CancelOnDrop;
use super::refuse::Reason;
use super::{Api, refuse};
use crate::decode::Cancel;
use crate::proto;
use crate::store::{Backup, StoreError};

/// Each takes the room of a store.
static ONE: Semaphore = Semaphore::const_new(1);

/// Bytes of a message.
const CHUNK_BYTES: usize = 1 << 20;

type Message = Result<proto::BackUpIndexResponse, Status>;

/// Begins a backup.
#[expect(clippy::disallowed_methods, reason = "ends with its client or with the daemon, whichever is first")]
pub(super) fn stream(api: &Arc<Api>) -> Result<ReceiverStream<Message>, Status> {
    let alone = ONE.try_acquire().map_err(|_| refuse::busy("another backup is being made"))?;
    let (messages, stream) = mpsc::channel(2);
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let is_gone = messages.clone();
        tokio::select! {
            () = api.stop.cancelled() => {
                // Where its client does not read, it is cut off.
                let _ = is_gone.try_send(Err(refuse::stopping()));
            }
            () = is_gone.closed() => {}
            () = send(Arc::clone(&api), messages, alone) => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

async fn send(api: Arc<Api>, messages: mpsc::Sender<Message>, alone: SemaphorePermit<'static>) {
    let cancel = Cancel::default();
    let _guard = CancelOnDrop(cancel.clone());
    let made = spawn_blocking(move || {
        // Until its file is closed, wherever that happens.
        let backup = api.store.back_up(move || !cancel.is_cancelled());
        backup.map(|backup| (Arc::new(backup), alone))
    });
    let made = match made.await {
        Ok(made) => made.map_err(refused),
        Err(error) => Err(refuse::internal("the backup failed", &error)),
    };
    let (backup, _alone) = match made {
        Ok(made) => made,
        Err(status) => {
            let _ = messages.send(Err(status)).await;
            return;
        }
    };
    let holds = backup.holds();
    let summary = proto::BackupSummary {
        size_bytes: backup.size_bytes(),
        folders: holds.folders,
        marks: holds.marks,
        photos: holds.photos,
        files: holds.files,
    };
    let mut next = Ok(proto::BackUpIndexResponse { summary: Some(summary), data: Vec::new() });
    let mut sent = 0;
    loop {
        let is_last = next.is_err();
        // Its client has gone, or waits for no more.
        if messages.send(next).await.is_err() || is_last || sent == backup.size_bytes() {
            return;
        }
        next = chunk(&backup, sent).await;
        sent += next.as_ref().map_or(0, |chunk| chunk.data.len() as u64);
    }
}

async fn chunk(backup: &Arc<Backup>, offset: u64) -> Message {
    let backup = Arc::clone(backup);
    let read = spawn_blocking(move || {
        let mut data = vec![0; CHUNK_BYTES];
        let read = backup.read_at(offset, &mut data)?;
        data.truncate(read);
        if read == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok::<_, std::io::Error>(data) }
    });
    match read.await {
        Ok(Ok(data)) => Ok(proto::BackUpIndexResponse { summary: None, data }),
        Ok(Err(error)) => Err(refuse::internal("the backup cannot be read", &error)),
        Err(error) => Err(refuse::internal("the backup failed", &error)),
    }
}

fn refused(error: StoreError) -> Status {
    match error {
        StoreError::NoRoom { .. } => {
            let details =
                ErrorDetails::with_precondition_failure_violation("ROOM", "index", error.to_string());
            refuse::with(Code::FailedPrecondition, Reason::NoRoom, error.to_string(), details)
        }
        StoreError::GivenUp => refuse::given_up(),
        error => error.into(),
    }
}
