//! How many inotify watches and instances we may take, and which limit it was that was hit.
//!
//! One directory needs one watch, and the kernel's allowance is shared by everything that the user runs, so it is counted
//! before the first is taken, and a quarter is left to others.

use std::fmt;
use std::fs::{self, File};
use std::io;

use notify::ErrorKind;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// A limit of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of its setting, for `sysctl`.
    pub setting: &'static str,
    /// Its value now.
    pub value: u64,
}

/// Limits of the whole machine, and of a user namespace, in which the lower one counts.
const WATCHES: [(&str, &str); 2] = [
    ("fs.inotify.max_user_watches", "/proc/sys/fs/inotify/max_user_watches"),
    ("user.max_inotify_watches", "/proc/sys/user/max_inotify_watches"),
];
const INSTANCES: [(&str, &str); 2] = [
    ("fs.inotify.max_user_instances", "/proc/sys/fs/inotify/max_user_instances"),
    ("user.max_inotify_instances", "/proc/sys/user/max_inotify_instances"),
];

fn lowest(settings: [(&'static str, &str); 2]) -> Option<Limit> {
    let read = |(setting, file): (&'static str, &str)| {
        let value = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Some(Limit { setting, value })
    };
    settings.into_iter().filter_map(read).min_by_key(|limit| limit.value)
}

/// Returns the limit of watches; none where the kernel does not say, for instance without inotify.
pub(super) fn watches() -> Option<Limit> {
    lowest(WATCHES)
}

/// Returns the watches that we may take of `limit`.
pub(super) fn share_of(limit: u64) -> u64 {
    limit / 4 * 3
}

/// Returns the smallest limit with which `watches` are within our share.
pub(super) fn setting_for(watches: u64) -> u64 {
    watches.div_ceil(3) * 4
}

/// Why the kernel tells us of no change at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEvents {
    /// All inotify instances of the user are taken.
    Instances(Option<Limit>),
    /// Our own file descriptors are.
    Descriptors {
        /// How many we may have.
        limit: Option<u64>,
    },
    /// For another reason, in the system's words.
    Other(String),
}

impl NoEvents {
    pub(super) fn because(error: &notify::Error) -> Self {
        let code = match &error.kind {
            ErrorKind::Io(source) => source.raw_os_error().map(Errno::from_raw_os_error),
            _ => None,
        };
        match code {
            // The same answer for two shortages: whether a file can be opened tells which it is.
            Some(Errno::MFILE) if !is_out_of_descriptors() => Self::Instances(lowest(INSTANCES)),
            Some(Errno::MFILE | Errno::NFILE) => {
                Self::Descriptors { limit: getrlimit(Resource::Nofile).current }
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

fn is_out_of_descriptors() -> bool {
    let codes = [Errno::MFILE, Errno::NFILE].map(|code| Some(code.raw_os_error()));
    File::open("/dev/null").is_err_and(|error: io::Error| codes.contains(&error.raw_os_error()))
}

impl fmt::Display for NoEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instances(Some(Limit { setting, value })) => write!(
                f,
                "no inotify instance is left: {setting} is {value}, set it to at least {}",
                value.saturating_add(1)
            ),
            Self::Instances(None) => f.write_str("no inotify instance is left"),
            Self::Descriptors { limit: Some(limit) } => {
                write!(f, "no file descriptor is left for inotify: raise LimitNOFILE, which is {limit}")
            }
            Self::Descriptors { limit: None } => f.write_str("no file descriptor is left for inotify"),
            Self::Other(why) => write!(f, "the kernel tells of no changes: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_left_to_others_and_the_setting_that_is_asked_for_suffices() {
        for watches in [0, 1, 2, 3, 100, 8192, 1_000_001] {
            let setting = setting_for(watches);
            assert!(share_of(setting) >= watches, "{watches}");
            assert!(setting < 4 || share_of(setting - 4) < watches, "{watches}");
        }
    }

    #[test]
    fn the_limit_that_was_hit_is_named() {
        let no_instance = notify::Error::io(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()));
        let text = NoEvents::because(&no_instance).to_string();
        assert!(text.contains("max_user_instances") || text.contains("max_inotify_instances"), "{text}");
        let other = notify::Error::io(io::Error::from_raw_os_error(Errno::NOSYS.raw_os_error()));
        assert!(matches!(NoEvents::because(&other), NoEvents::Other(_)));
    }
}
