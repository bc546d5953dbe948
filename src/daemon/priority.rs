//! Background work gives way to everything else: indexing must not make a desktop stutter.

use std::io;

/// Niceness of the threads that index. Queries stay at 0.
const BACKGROUND: i32 = 10;

/// A thread's own, as `linux/ioprio.h` has it, and no number: the one that calls.
const OF_A_THREAD: libc::c_int = 1;
const CALLING: libc::c_int = 0;

/// The class that gets the disk when nobody else wants it, in the upper bits.
const IDLE: libc::c_int = 3 << 13;

/// Lowers the priority of the calling thread, and of those that it starts from now on, at the processor and at the disk. On Linux,
/// both are a thread's own.
pub(super) fn lower() {
    if let Err(error) = rustix::process::setpriority_process(None, BACKGROUND) {
        tracing::debug!(%error, "indexing keeps its normal priority");
    }
    if let Err(error) = lower_at_the_disk() {
        tracing::debug!(%error, "indexing keeps its normal priority at the disk");
    }
}

#[expect(unsafe_code, reason = "none of the crates that we have knows this call")]
fn lower_at_the_disk() -> io::Result<()> {
    // SAFETY: the call takes numbers alone, and touches no memory of ours.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, OF_A_THREAD, CALLING, IDLE) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "as above")]
    fn at_the_disk() -> libc::c_long {
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_ioprio_get, OF_A_THREAD, CALLING) }
    }

    #[test]
    fn a_thread_that_is_lowered_has_the_disk_last_and_so_have_those_that_it_starts() {
        let before = at_the_disk();
        let lowered = std::thread::scope(|scope| {
            let lowered = scope.spawn(|| {
                lower();
                let own = at_the_disk();
                (own, std::thread::scope(|scope| scope.spawn(at_the_disk).join().unwrap()))
            });
            lowered.join().unwrap()
        });
        assert_eq!(lowered, (libc::c_long::from(IDLE), libc::c_long::from(IDLE)));
        assert_eq!(at_the_disk(), before, "others are as they were");
    }
}
