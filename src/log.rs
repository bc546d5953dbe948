//! Where the log goes: to the journal under systemd, else to the standard error.

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

use jiff::Zoned;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

/// What clients send that is no HTTP/2 is not worth a line each, unless somebody asks for it by these names.
const QUIET: &str = "h2=error,hyper=error,tonic=error";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error(
        "the log filter `{filter}` is not valid: use error, warn, info, debug or trace, or one a module, as in `info,resembled::watch=debug`"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },

    /// There is one already.
    #[error("the log cannot be started")]
    Init(#[from] TryInitError),
}

/// Starts the log.
///
/// # Errors
/// The filter is wrong, or there is a log already.
pub fn start(filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    if let Some(journal) = stderr_is_journal().then(tracing_journald::layer).and_then(Result::ok) {
        registry.with(journal).try_init()?;
    } else {
        // By <https://no-color.org>: set to anything but nothing, it means no.
        let no_color = env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
        let is_colored = io::stderr().is_terminal() && !no_color;
        let lines = fmt::layer().with_writer(io::stderr).with_ansi(is_colored).with_target(false);
        let lines = lines.with_timer(LocalTime);
        registry.with(lines).try_init()?;
    }
    Ok(())
}

/// The clock on the wall, and how far it is from UTC; fractions of seconds tell nobody anything.
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", Zoned::now().strftime("%Y-%m-%d %H:%M:%S%:z"))
    }
}

/// Whether the standard error is the journal's socket: `JOURNAL_STREAM` then holds its device and inode
/// (systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}
