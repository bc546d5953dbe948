//! What the allocator keeps for later.

/// Makes the allocator give back what is freed. To be called before threads are started.
///
/// By default glibc lets eight times as many threads as there are cores keep an arena of their own with all that was ever
/// freed in it, and frees less and less to the system the larger the blocks are that it has seen. Over 100,000 photos
/// that was 154 MB of resident memory after the first queries; with these settings 98 MB.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "the allocator can be told in no other way"))]
pub fn give_back_what_is_freed() {
    #[cfg(target_env = "gnu")]
    {
        const BLOCK: libc::c_int = 128 << 10;
        for (parameter, value) in
            [(libc::M_ARENA_MAX, 2), (libc::M_TRIM_THRESHOLD, BLOCK), (libc::M_MMAP_THRESHOLD, BLOCK)]
        {
            // SAFETY: it takes two numbers, and no other thread allocates yet.
            if unsafe { libc::mallopt(parameter, value) } == 0 {
                tracing::debug!(parameter, value, "the allocator was not told");
            }
        }
    }
}

/// Gives back what has been freed in between what is still used, once work is done that took much more than the rest
/// needs. Takes some milliseconds.
#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "the allocator can be told in no other way"))]
pub(super) fn give_back_now() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}
