//! How many threads work.

use std::num::NonZero;
use std::thread;

/// Returns what the configuration says, or for 0 one a core.
pub(super) fn threads_or_cores(threads: usize) -> usize {
    match threads {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    }
}
