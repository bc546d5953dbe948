//! What the allocator keeps for later.
//!
//! A network asks for the same large blocks for each photo: they are kept while there is work, and given back by whoever has
//! had none for a while.

/// Blocks from this size on go back to the system as soon as they are freed: none that a network computes with for one photo.
const LARGE: i32 = 16 << 20;

/// Limits what the allocator keeps. To be called before threads are started.
///
/// By default glibc lets eight times as many threads as there are cores keep an arena of their own with all that was ever
/// freed in it. Where every block over 128 KiB goes back at once, its pages are made anew for each layer of a network: 498
/// photos through MobileNetV2 took 38.7 s and 5.7 million page faults instead of 29.9 s and 22,000, and 40 MB less at the most.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "the allocator can be told in no other way"))]
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 2), (libc::M_TRIM_THRESHOLD, LARGE), (libc::M_MMAP_THRESHOLD, LARGE)]
    {
        // SAFETY: it takes two numbers, and no other thread allocates yet.
        if unsafe { libc::mallopt(parameter, value) } == 0 {
            tracing::debug!(parameter, value, "the allocator was not told");
        }
    }
}

/// Gives back what has been freed, also in between what is still used, once work is done. Takes some milliseconds.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "the allocator can be told in no other way"))]
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
