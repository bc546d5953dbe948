//! Ingest: changes in, committed photos out. This is where watching, decoding, encoding and storing meet.
//!
//! [`Queue`] takes the changes, live ones first. Each worker takes one, reads the file, and has it decoded,
//! preprocessed and encoded, unless its content is known; the store's writer commits many at a time, and only
//! then is the file out of the works.
//!
//! Invariant: a file is written down with the fingerprint under which its bytes were read, so a change that
//! was missed for whatever reason shows as a difference at the next comparison.

mod again;
mod pause;
mod progress;
mod queue;
mod read;
mod worker;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::again::{Again, first_wait};
pub use self::pause::{Pause, Until};
pub use self::progress::{Progress, Step};
pub use self::queue::{Hold, Outlook, Queue};
pub use self::read::{Contents, read, read_beating};
use self::worker::Worker;
use crate::decode::Decoders;
use crate::encode::{EncodeError, EncoderHandle};
use crate::models::Preprocessing;
use crate::photo::FileId;
use crate::store::{ModelRecord, Store, StoreError, Write, WriterHandle};
use crate::threads::{self, Ends};

/// How bytes become an embedding: the same for indexing and for queries.
#[derive(Clone)]
pub struct Encoding {
    /// The network's threads.
    pub encoder: EncoderHandle,
    /// What the network wants to see.
    pub preprocessing: Preprocessing,
    /// Decoders for indexing, at background priority.
    pub decoders: Decoders,
    /// Decoders for queries, which do not wait for those.
    pub query_decoders: Decoders,
}

/// The network that still answers while the index of the one in use fills. New photos are encoded with both, so that
/// they are found at once.
#[derive(Default)]
pub struct Former(Mutex<Option<(ModelRecord, Encoding)>>);

impl Former {
    /// There is one.
    pub fn new(model: ModelRecord, encoding: Encoding) -> Self {
        Self(Mutex::new(Some((model, encoding))))
    }

    /// It answers no more.
    pub fn retire(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn get(&self) -> Option<(ModelRecord, Encoding)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why ingest had to end.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The network's thread has ended.
    #[error(transparent)]
    Encode(#[from] EncodeError),

    /// A thread could not be started.
    #[error("cannot start a worker")]
    Start(#[source] io::Error),

    /// A worker panicked.
    #[error("a worker panicked")]
    Panicked,
}

/// The worker threads.
pub struct Workers {
    ends: Ends<Result<(), IngestError>>,
    queue: Arc<Queue>,
}

/// What the workers share.
pub struct Parts {
    /// Where changes come from.
    pub queue: Arc<Queue>,
    /// What is known already.
    pub store: Arc<Store>,
    /// Whose embeddings count.
    pub model: ModelRecord,
    /// Where writes go.
    pub writer: WriterHandle,
    /// Bytes to embedding.
    pub encoding: Encoding,
    /// Who answers meanwhile.
    pub former: Arc<Former>,
    /// Counters.
    pub progress: Arc<Progress>,
    /// Says whether a file that was given up is still gone. Asked right before that is written down.
    pub is_gone: IsGone,
}

/// See [`Parts::is_gone`].
pub type IsGone = Arc<dyn Fn(&FileId) -> bool + Send + Sync>;

impl Workers {
    /// Starts `count` threads; each calls `prepare` first, to lower its priority.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(parts: Parts, count: usize, prepare: fn()) -> Result<Self, IngestError> {
        let queue = Arc::clone(&parts.queue);
        let worker = Worker {
            queue: parts.queue,
            store: parts.store,
            model: parts.model,
            writer: parts.writer,
            encoding: parts.encoding,
            former: parts.former,
            progress: parts.progress,
            is_gone: parts.is_gone,
        };
        let (starter, ends) = threads::threads();
        for number in 0..count {
            let worker = worker.clone();
            let body = move || {
                prepare();
                worker.run()
            };
            starter.start(format!("ingest-{number}"), body).map_err(IngestError::Start)?;
        }
        Ok(Self { ends, queue })
    }

    /// Waits for the first worker to end, then for all, and returns the first error.
    ///
    /// # Errors
    /// A worker panicked, or what it needs has failed for good: the store or the network.
    pub async fn ended(mut self) -> Result<(), IngestError> {
        let mut first = Ok(());
        while let Some(ended) = self.ends.next().await {
            // The others end with their current photo now.
            self.queue.close();
            first = first.and(ended.result.unwrap_or(Err(IngestError::Panicked)));
        }
        first
    }
}

/// Ends the works on what was just committed; the writer's thread calls it after each commit.
pub fn committed(writes: &[Write], queue: &Queue, progress: &Progress, again: &Again) {
    let settled = |file: &FileId| {
        again.settled(file);
        queue.done(file);
    };
    for write in writes {
        match write {
            Write::Encoded { file, photo, .. } => {
                progress.add_files(1);
                queue.release(photo.content);
                settled(file);
            }
            Write::Known { file, content, appearance, .. } => {
                progress.add_files(1);
                if appearance.is_some() {
                    queue.release(*content);
                }
                settled(file);
            }
            Write::Moved { from, to, .. } => {
                settled(from);
                settled(to);
            }
            Write::Failed { file, failure, .. } => {
                progress.add_failed();
                match first_wait(failure.kind) {
                    Some(_) => {
                        again.failed(file);
                        queue.done(file);
                    }
                    None => settled(file),
                }
            }
            Write::NotAPhoto { file, .. } | Write::Gone { file } => settled(file),
            Write::Doubtful { file } => queue.done(file),
            Write::TryFailuresAgain { .. }
            | Write::RemoveRoot { .. }
            | Write::Place { .. }
            | Write::PurgeOrphans { .. } => {}
        }
    }
}
