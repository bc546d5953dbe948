//! How many inotify watches we may take. One directory needs one, and the kernel's allowance is shared by
//! everything that the user runs, so it is counted before the first is taken, and a quarter is left to others.

use std::fs;

/// Where the kernel says how many watches one user may have.
const SYSCTL_FILE: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Returns the kernel's limit; none where it does not say, for instance without inotify.
pub(super) fn kernel_limit() -> Option<u64> {
    fs::read_to_string(SYSCTL_FILE).ok()?.trim().parse().ok()
}

/// Returns the watches that we may take of `limit`.
pub(super) fn share_of(limit: u64) -> u64 {
    limit / 4 * 3
}

/// Returns the smallest setting of the sysctl with which `watches` are within our share.
pub(super) fn setting_for(watches: u64) -> u64 {
    watches.div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_is_asked_for_is_enough() {
        for watches in [0, 1, 2, 3, 4, 8191, 100_000] {
            assert!(share_of(setting_for(watches)) >= watches, "{watches}");
        }
    }
}
