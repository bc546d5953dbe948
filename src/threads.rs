//! Threads of our own, whose end is heard: on return and on panic alike.
//!
//! Each owner of threads has a [`Starter`] and an [`Ends`]. Whoever waits for an end blocks no asynchronous thread, and
//! whoever must not wait for ever can leave a thread behind that hangs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

/// Starts threads that return a `T`. Clones start them for the same owner.
#[derive(Debug)]
pub struct Starter<T> {
    running: Arc<Running<T>>,
    ended: mpsc::UnboundedSender<u64>,
}

/// Hears of their ends, in the order in which they come.
#[derive(Debug)]
pub struct Ends<T> {
    running: Arc<Running<T>>,
    ended: mpsc::UnboundedReceiver<u64>,
}

/// A thread that has ended.
#[derive(Debug)]
pub struct Ended<T> {
    /// Its name.
    pub name: String,
    /// What it returned.
    pub result: Result<T, Panicked>,
}

/// The thread panicked; it has said why to the standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread panicked")]
pub struct Panicked;

#[derive(Debug)]
struct Running<T> {
    threads: Mutex<Threads<T>>,
    one_ended: Condvar,
}

#[derive(Debug)]
struct Threads<T> {
    next: u64,
    by_number: BTreeMap<u64, Thread<T>>,
}

#[derive(Debug)]
struct Thread<T> {
    name: String,
    handle: JoinHandle<T>,
    has_ended: bool,
}

impl<T> Thread<T> {
    /// Waits for the thread, which is about to end.
    fn join(self) -> Ended<T> {
        Ended { name: self.name, result: self.handle.join().map_err(|_| Panicked) }
    }
}

impl<T> Running<T> {
    fn lock(&self) -> MutexGuard<'_, Threads<T>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells that its thread ends.
struct Guard<T> {
    number: u64,
    running: Arc<Running<T>>,
    ended: mpsc::UnboundedSender<u64>,
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if let Some(thread) = self.running.lock().by_number.get_mut(&self.number) {
            thread.has_ended = true;
        }
        self.running.one_ended.notify_all();
        // The owner may be gone.
        let _ = self.ended.send(self.number);
    }
}

/// Returns what starts an owner's threads, and what hears of their ends.
pub fn threads<T>() -> (Starter<T>, Ends<T>) {
    let threads = Threads { next: 0, by_number: BTreeMap::new() };
    let running = Arc::new(Running { threads: Mutex::new(threads), one_ended: Condvar::new() });
    let (sender, ended) = mpsc::unbounded_channel();
    (Starter { running: Arc::clone(&running), ended: sender }, Ends { running, ended })
}

impl<T> Clone for Starter<T> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running), ended: self.ended.clone() }
    }
}

impl<T: Send + 'static> Starter<T> {
    /// Starts a thread.
    ///
    /// # Errors
    /// Those of the system.
    #[expect(clippy::disallowed_methods, reason = "the handle is kept, and `Ends` joins it")]
    pub fn start(
        &self,
        name: impl Into<String>,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<()> {
        let name = name.into();
        let number = {
            let mut threads = self.running.lock();
            threads.next += 1;
            threads.next
        };
        let guard = Guard { number, running: Arc::clone(&self.running), ended: self.ended.clone() };
        let (listed, is_listed) = std_mpsc::channel::<()>();
        let handle = thread::Builder::new().name(name.clone()).spawn(move || {
            let _guard = guard;
            // Its end would be overlooked before it is listed. The other side says so by going.
            let _ = is_listed.recv();
            body()
        })?;
        self.running.lock().by_number.insert(number, Thread { name, handle, has_ended: false });
        drop(listed);
        Ok(())
    }
}

impl<T> Ends<T> {
    /// Waits for the next end. None: all threads have ended, and nobody is left to start one.
    pub async fn next(&mut self) -> Option<Ended<T>> {
        loop {
            let number = self.ended.recv().await?;
            let thread = self.running.lock().by_number.remove(&number);
            if let Some(thread) = thread {
                // It has said its last word, so this does not block.
                return Some(thread.join());
            }
        }
    }

    /// Blocks until all threads have ended, for that long at the most. Returns the names of those that have not, which are
    /// left behind.
    pub fn join_all(&mut self, patience: Duration) -> Vec<String> {
        let threads = self.running.lock();
        let are_running =
            |threads: &mut Threads<T>| threads.by_number.values().any(|thread| !thread.has_ended);
        let waited = self.running.one_ended.wait_timeout_while(threads, patience, are_running);
        let mut threads = waited.unwrap_or_else(PoisonError::into_inner).0;
        let all = std::mem::take(&mut threads.by_number);
        drop(threads);
        let mut left_behind = Vec::new();
        for thread in all.into_values() {
            if thread.has_ended {
                thread.join();
            } else {
                left_behind.push(thread.name);
            }
        }
        left_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_end_is_heard_also_that_of_a_panic() {
        let (starter, mut ends) = threads();
        starter.start("good", || 7).unwrap();
        let ended = ends.next().await.unwrap();
        assert_eq!((ended.name.as_str(), ended.result), ("good", Ok(7)));
        starter.start("bad", || panic!("on purpose")).unwrap();
        let ended = ends.next().await.unwrap();
        assert_eq!((ended.name.as_str(), ended.result), ("bad", Err(Panicked)));
        drop(starter);
        assert!(ends.next().await.is_none());
    }

    #[test]
    fn whoever_does_not_end_in_time_is_left_behind_and_named() {
        let (starter, mut ends) = threads();
        let (keep, kept) = std::sync::mpsc::channel::<()>();
        starter.start("quick", || ()).unwrap();
        starter.start("stuck", move || _ = kept.recv()).unwrap();
        assert_eq!(ends.join_all(Duration::from_millis(200)), ["stuck"]);
        drop(keep);
        starter.start("last", || ()).unwrap();
        assert!(ends.join_all(Duration::from_secs(120)).is_empty());
    }
}
