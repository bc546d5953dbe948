//! The thread that writes what indexing finds: [`Write`]s in, commits out, many photos a transaction.
//!
//! A commit happens when the batch is full or when its first write has waited long enough, so that a burst costs
//! few syncs and a single new photo is searchable at once. `on_commit` then tells the index, on this thread,
//! and before whoever waits in [`WriterHandle::flush`] goes on.
//!
//! Shutdown needs no flag: dropping the last handle closes the queue, the rest is committed, the thread ends.
//! The queue is bounded; a full one makes the workers wait. So it does while the disk takes no writes, until it does or
//! [`Store::give_up`]: what waits then is dropped, and found again at the next start.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Committed, ModelRecord, ProblemKind, Store, StoreError, Write};
use crate::threads::{self, Ends};

/// Writes in one transaction at the most. 256 embeddings of 1280 numbers are 1.3 MB.
const BATCH: usize = 256;

/// How long the first write of a batch waits for company.
const PATIENCE: Duration = Duration::from_millis(200);

/// Writes that may wait; beyond that their senders do.
const QUEUE: usize = 2 * BATCH;

enum Message {
    Write(Box<Write>),
    Flush(oneshot::Sender<()>),
}

/// Sends writes to the thread.
#[derive(Clone)]
pub struct WriterHandle {
    queue: Sender<Message>,
    store: Arc<Store>,
}

/// The thread.
pub struct Writer(Ends<Result<(), StoreError>>);

impl Writer {
    /// Starts the thread. `on_commit` runs on it after each commit, with the writes, what they changed, and how long
    /// that took. An error of it ends the thread.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        store: Arc<Store>,
        model: ModelRecord,
        on_commit: impl FnMut(&[Write], Committed, Duration) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(Self, WriterHandle), StoreError> {
        let (queue, inbox) = bounded(QUEUE);
        let handle = WriterHandle { queue, store: Arc::clone(&store) };
        let (starter, ends) = threads::threads();
        starter
            .start("store-writer", move || serve(&store, &model, &inbox, on_commit))
            .map_err(StoreError::StartWriter)?;
        Ok((Self(ends), handle))
    }

    /// Waits for the thread to end, and returns the error that ended it.
    ///
    /// # Errors
    /// The thread panicked, or the store failed for good.
    pub async fn ended(mut self) -> Result<(), StoreError> {
        let ended = self.0.next().await.ok_or(StoreError::WriterEnded)?;
        ended.result.map_err(|_| StoreError::WriterPanicked)?
    }
}

impl WriterHandle {
    /// Queues a write, and waits while the queue is full.
    ///
    /// # Errors
    /// The writer has ended.
    pub fn write(&self, write: Write) -> Result<(), StoreError> {
        self.queue.send(Message::Write(Box::new(write))).map_err(|_| StoreError::WriterEnded)
    }

    /// Queues a write, unless the queue is full. Returns whether it did.
    pub fn try_write(&self, write: Write) -> bool {
        self.queue.try_send(Message::Write(Box::new(write))).is_ok()
    }

    /// The same as [`write`](Self::write) for a task, which must not be kept from others by a full queue.
    ///
    /// # Errors
    /// The writer has ended.
    pub async fn enqueue(&self, write: Write) -> Result<(), StoreError> {
        let handle = self.clone();
        let queued = tokio::task::spawn_blocking(move || handle.write(write));
        queued.await.map_err(|_| StoreError::WriterEnded)?
    }

    /// Returns once all that was queued before is on the disk and in the index.
    ///
    /// # Errors
    /// [`StoreError::CannotWrite`] as soon as the disk takes no writes; what was queued goes on waiting for it.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let mut problems = self.store.problems();
        // A queue that does not move must not hold a thread for each call.
        self.store.check_writable()?;
        let (done, committed) = oneshot::channel();
        let queue = self.queue.clone();
        let sent = tokio::task::spawn_blocking(move || queue.send(Message::Flush(done)));
        let mut flushed = pin!(async {
            sent.await.map_err(|_| StoreError::WriterEnded)?.map_err(|_| StoreError::WriterEnded)?;
            committed.await.map_err(|_| StoreError::WriterEnded)
        });
        loop {
            tokio::select! {
                biased;
                flushed = &mut flushed => return flushed,
                // The sender lives as long as the store, which we hold.
                _ = problems.changed() => self.store.check_writable()?,
            }
        }
    }
}

/// Collects and commits until the queue is closed.
fn serve(
    store: &Store,
    model: &ModelRecord,
    inbox: &Receiver<Message>,
    mut on_commit: impl FnMut(&[Write], Committed, Duration) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while let Ok(first) = inbox.recv() {
        let (writes, flushes) = collect(first, inbox);
        if !writes.is_empty() {
            let begun = Instant::now();
            match store.commit(model, &writes, Timestamp::now().as_second()) {
                Ok(committed) => on_commit(&writes, committed, begun.elapsed())?,
                Err(StoreError::CannotWrite { problem, .. }) if problem.kind != ProblemKind::Unreadable => {
                    // Given up: nobody is kept waiting, and the index is told nothing that is not on the disk.
                    inbox.iter().for_each(drop);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        for flush in flushes {
            // Whoever waited may have given up.
            let _ = flush.send(());
        }
    }
    Ok(())
}

/// Collects a batch, until it is full, its time is over, somebody waits for it, or the queue is closed.
fn collect(first: Message, inbox: &Receiver<Message>) -> (Vec<Write>, Vec<oneshot::Sender<()>>) {
    let deadline = Instant::now() + PATIENCE;
    let (mut writes, mut flushes) = (Vec::new(), Vec::new());
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Message::Write(write)) => writes.push(*write),
            Ok(Message::Flush(done)) => {
                flushes.push(done);
                break;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        if writes.len() == BATCH {
            break;
        }
        next = inbox.recv_deadline(deadline);
    }
    (writes, flushes)
}
