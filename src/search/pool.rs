//! The threads that scan: one pool for all queries, beside the threads that ask.
//!
//! A query works on the thread that asks and gets help from the pool where there is enough to read. Work that may take
//! minutes stays out of the pool: it starts threads of its own, which inherit the low priority of the thread that
//! starts them.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::error::SearchError;

/// Bytes to read for which one more thread is woken: reading them takes much longer than waking it. On a busy machine a
/// thread that was woken may be kept from running for milliseconds, and the query waits for it.
const BYTES_A_THREAD: usize = 2 << 20;

/// A thread for each core but the one that asks. `None` where there is one core, or the system refuses threads: then
/// whoever asks does all the work.
static POOL: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let helpers = cores().saturating_sub(1);
    if helpers == 0 {
        return None;
    }
    let built = ThreadPoolBuilder::new()
        .num_threads(helpers)
        .thread_name(|number| format!("search-{number}"))
        .build();
    built.inspect_err(|error| tracing::warn!(%error, "each search runs on one thread only")).ok()
});

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs `work` here and, depending on how much there is to read, on threads of the pool. Each gets a function that
/// hands out the numbers below `pieces`, each to one of them.
pub(super) fn in_parallel<R: Send>(
    pieces: usize,
    bytes: usize,
    work: impl Fn(&dyn Fn() -> Option<usize>) -> Result<R, SearchError> + Sync,
) -> Result<Vec<R>, SearchError> {
    let handed_out = AtomicUsize::new(0);
    let next = || Some(handed_out.fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < pieces);
    let wanted = (bytes / BYTES_A_THREAD).min(pieces.saturating_sub(1));
    let Some(pool) = POOL.as_ref().filter(|_| wanted > 0) else { return Ok(vec![work(&next)?]) };
    let parts = Mutex::new(Vec::new());
    let keep = |part| parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    pool.in_place_scope(|scope| {
        for _ in 0..wanted.min(pool.current_num_threads()) {
            scope.spawn(|_| keep(work(&next)));
        }
        keep(work(&next));
    });
    parts.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

/// Runs `work` on a thread for each core, all of the caller's priority: for what may take minutes. Each gets a function that
/// hands out the numbers below `pieces`, each to one of them.
///
/// # Errors
/// The first of `work`.
pub fn in_background<R: Send, E: Send>(
    pieces: usize,
    work: impl Fn(&dyn Fn() -> Option<usize>) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let handed_out = AtomicUsize::new(0);
    let next = || Some(handed_out.fetch_add(1, Ordering::Relaxed)).filter(|&piece| piece < pieces);
    thread::scope(|scope| {
        let others: Vec<_> = (1..cores().min(pieces)).map(|_| scope.spawn(|| work(&next))).collect();
        let mut parts = vec![work(&next)];
        for other in others {
            parts.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        parts.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one thread does: takes all it can get, and stumbles over one piece.
    fn take(next: &dyn Fn() -> Option<usize>, bad: Option<usize>) -> Result<Vec<usize>, SearchError> {
        let taken: Vec<usize> = std::iter::from_fn(next).collect();
        if taken.iter().any(|&piece| Some(piece) == bad) { Err(SearchError::Cancelled) } else { Ok(taken) }
    }

    #[test]
    fn every_piece_is_handed_out_once_and_an_error_is_the_answer() {
        for pieces in [0, 1, 2, 1000] {
            for parts in [
                in_parallel(pieces, usize::MAX, |next| take(next, None)),
                in_background(pieces, |next| take(next, None)),
            ] {
                let mut taken = parts.unwrap().concat();
                taken.sort_unstable();
                assert_eq!(taken, (0..pieces).collect::<Vec<_>>());
            }
        }
        let failed = in_parallel(9, usize::MAX, |next| take(next, Some(5)));
        assert!(matches!(failed, Err(SearchError::Cancelled)));
        let failed = in_background(9, |next| take(next, Some(5)));
        assert!(matches!(failed, Err(SearchError::Cancelled)));
    }
}
