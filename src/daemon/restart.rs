//! Starting over after damage.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::DaemonError;

/// Set in a process that was started over, which does not do so again: a disk that damages a store at once damages the
/// next one too.
const STARTED_OVER: &str = "RESEMBLED_STARTED_OVER";

/// Replaces this process, in which nothing runs any more, by a new one where the daemon ended since its store was damaged:
/// opening the store mends it. Whoever supervises the process notices nothing. Returns where there is nothing to mend, it was
/// tried already, or the system does not let us; then the process has to end.
pub fn start_over_if_damaged<T>(ended: &Result<T, DaemonError>) {
    let Err(error) = ended else { return };
    if !error.is_damage() || std::env::var_os(STARTED_OVER).is_some() {
        return;
    }
    tracing::error!("{error}. That is done now");
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| OsString::from("resembled"));
    let refused = Command::new("/proc/self/exe").arg0(name).args(args).env(STARTED_OVER, "1").exec();
    tracing::error!("it could not be done: {refused}");
}
