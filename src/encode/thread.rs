//! Photos from any thread in, embeddings back to whoever asked.
//!
//! Background threads share one queue, for photos that are indexed; when it is full, the sender waits. One more thread
//! has a short queue of its own for queries, at normal priority, so that nobody who searches waits behind an import;
//! when that is full, the query is refused. Each thread owns its encoder, and gives it back where there is nothing to do for long.
//!
//! Shutdown needs no flag: dropping the last [`EncoderHandle`] closes the queues, closed queues end the threads after
//! what is in them.

use std::pin::pin;
use std::sync::{Arc, mpsc as std_mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};

use super::rest::Rest;
use super::{EncodeError, Encoder, Input};
use crate::photo::Embedding;
use crate::threads::{self, Ended, Ends};

/// Makes an encoder, on the thread that will own it.
pub type LoadEncoder = Arc<dyn Fn() -> Result<Box<dyn Encoder>, EncodeError> + Send + Sync>;

/// How many threads, and how much may wait for them.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    /// Background threads, at least 1.
    pub threads: usize,
    /// Photos that may wait for them; each is an [`Input`], some 600 kB at 224 pixels.
    pub queue_len: usize,
    /// Queries that may wait.
    pub query_queue_len: usize,
    /// Called first on each background thread: the place to lower its priority.
    pub enter_background: fn(),
    /// A thread that had nothing to do for so long gives its encoder back, and loads one again for the next photo.
    pub give_back_after: Option<Duration>,
}

/// Owns the threads.
#[derive(Debug)]
pub struct EncoderPool {
    ends: Ends<()>,
}

/// Brings photos to the threads. Clones bring them to the same.
#[derive(Clone, Debug)]
pub struct EncoderHandle {
    background: mpsc::Sender<Job>,
    queries: mpsc::Sender<Job>,
    dim: usize,
    side: u32,
}

#[derive(Debug)]
struct Job {
    photo: Input,
    reply: oneshot::Sender<Result<Embedding, EncodeError>>,
}

type Inbox = Arc<Mutex<mpsc::Receiver<Job>>>;

impl EncoderPool {
    /// Starts the threads and waits until each has its encoder; blocks for as long as that takes. The thread for
    /// queries loads its own at the first query.
    ///
    /// # Errors
    /// A thread cannot be started, or one has no encoder.
    pub fn start(options: PoolOptions, load: LoadEncoder) -> Result<(Self, EncoderHandle), EncodeError> {
        let (background, background_inbox) = mpsc::channel(options.queue_len.max(1));
        let (queries, query_inbox) = mpsc::channel(options.query_queue_len.max(1));
        let (starter, mut ends) = threads::threads();
        let (ready, loaded) = std_mpsc::channel();
        let inbox: Inbox = Arc::new(Mutex::new(background_inbox));
        for index in 0..options.threads.max(1) {
            let (load, inbox, ready) = (Arc::clone(&load), Arc::clone(&inbox), ready.clone());
            let body = move || {
                (options.enter_background)();
                match load() {
                    Ok(encoder) => {
                        // If nobody listens, another thread failed and the queue is closed.
                        let _ = ready.send(Ok((encoder.dim(), encoder.side())));
                        drop(ready);
                        serve(&inbox, &load, Some(encoder), options.give_back_after);
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            };
            starter.start(format!("encoder-{index}"), body).map_err(EncodeError::Thread)?;
        }
        drop((ready, inbox));
        let query_inbox: Inbox = Arc::new(Mutex::new(query_inbox));
        let body = move || serve(&query_inbox, &load, None, options.give_back_after);
        starter.start("encoder-query", body).map_err(EncodeError::Thread)?;

        match first_shape(&loaded, options.threads.max(1)) {
            Ok((dim, side)) => Ok((Self { ends }, EncoderHandle { background, queries, dim, side })),
            Err(error) => {
                drop((background, queries));
                // A panic is reported by `error`. They have nothing to wait for.
                ends.join_all(Duration::MAX);
                Err(error)
            }
        }
    }

    /// Waits for all threads to end, or for the first to panic.
    ///
    /// # Errors
    /// A thread panicked.
    pub async fn ended(mut self) -> Result<(), EncodeError> {
        while let Some(Ended { name, result }) = self.ends.next().await {
            result.map_err(|_| EncodeError::Panicked(name))?;
        }
        Ok(())
    }
}

/// Waits for every thread to load its encoder, and returns the shape of the first.
fn first_shape(
    loaded: &std_mpsc::Receiver<Result<(usize, u32), EncodeError>>,
    threads: usize,
) -> Result<(usize, u32), EncodeError> {
    // A channel that closes before each thread has answered means that one has panicked.
    let next = || loaded.recv().map_err(|_| EncodeError::Panicked("encoder".to_owned()))?;
    let shape = next()?;
    for _ in 1..threads {
        next()?;
    }
    Ok(shape)
}

fn serve(
    inbox: &Inbox,
    load: &LoadEncoder,
    mut encoder: Option<Box<dyn Encoder>>,
    give_back_after: Option<Duration>,
) {
    let mut rest = Rest::new(give_back_after);
    loop {
        let Job { photo, reply } = match next(inbox, rest.limit(&encoder)) {
            Next::Job(job) => job,
            Next::Idle => {
                rest.begin(&mut encoder);
                continue;
            }
            Next::Closed => return,
        };
        rest.end();
        // Whoever asked may have gone meanwhile.
        if !reply.is_closed() {
            let _ = reply.send(embed_one(&mut encoder, load, photo));
        }
    }
}

enum Next {
    Job(Job),
    /// Nothing came.
    Idle,
    Closed,
}

/// One idle thread waits for the queue, the others wait for the lock.
fn next(inbox: &Inbox, limit: Option<Duration>) -> Next {
    match wait(async { inbox.lock().await.recv().await }, limit) {
        Some(Some(job)) => Next::Job(job),
        Some(None) => Next::Closed,
        None => Next::Idle,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until there is something, at most for `limit`.
pub(super) fn wait<T>(future: impl Future<Output = T>, limit: Option<Duration>) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    let begun = Instant::now();
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        match limit.map(|limit| limit.saturating_sub(begun.elapsed())) {
            None => thread::park(),
            Some(Duration::ZERO) => return None,
            Some(left) => thread::park_timeout(left),
        }
    }
}

fn embed_one(
    encoder: &mut Option<Box<dyn Encoder>>,
    load: &LoadEncoder,
    photo: Input,
) -> Result<Embedding, EncodeError> {
    let encoder = match encoder {
        Some(encoder) => encoder,
        empty => empty.insert(load()?),
    };
    let mut embeddings = encoder.embed(&[photo])?;
    let embedding: Embedding = embeddings.pop().expect("an encoder gives one embedding a photo");
    Ok(embedding.rounded())
}

impl EncoderHandle {
    /// Numbers in one embedding.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Pixels a side of the photos.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Encodes a photo to be indexed. Waits where the queue is full; dropping the future takes the photo back.
    ///
    /// # Errors
    /// The network fails on this photo, or the threads have ended.
    pub async fn embed(&self, photo: Input) -> Result<Embedding, EncodeError> {
        let (job, answer) = job(photo);
        self.background.send(job).await.map_err(|_| EncodeError::Stopped)?;
        answer.await.map_err(|_| EncodeError::Stopped)?
    }

    /// Encodes a photo to be indexed, for threads outside of the asynchronous runtime.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_blocking(&self, photo: Input) -> Result<Embedding, EncodeError> {
        let (job, answer) = job(photo);
        self.background.blocking_send(job).map_err(|_| EncodeError::Stopped)?;
        answer.blocking_recv().map_err(|_| EncodeError::Stopped)?
    }

    /// Encodes a photo that somebody searches with. Refused as [`EncodeError::Busy`] where the queue is full;
    /// dropping the future takes the photo back.
    ///
    /// # Errors
    /// As [`Self::embed`], or too many queries wait.
    pub async fn embed_query(&self, photo: Input) -> Result<Embedding, EncodeError> {
        let (job, answer) = job(photo);
        self.queries.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EncodeError::Busy,
            mpsc::error::TrySendError::Closed(_) => EncodeError::Stopped,
        })?;
        answer.await.map_err(|_| EncodeError::Stopped)?
    }
}

fn job(photo: Input) -> (Job, oneshot::Receiver<Result<Embedding, EncodeError>>) {
    let (reply, answer) = oneshot::channel();
    (Job { photo, reply }, answer)
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
