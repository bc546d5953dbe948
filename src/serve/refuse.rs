//! Refusals: a status that says what to do, with details of `google.rpc`, and no internals.
//!
//! Invariant: each has an `ErrorInfo` whose reason is one of [`ErrorReason`](crate::proto::ErrorReason); a test asks every call for one.

use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::deadline::NoAnswer;
pub(super) use crate::proto::ErrorReason as Reason;
use crate::store::StoreError;

/// Whose the reasons are.
const DOMAIN: &str = "resembled";

/// Refuses with more details than a reason.
pub(super) fn with(
    code: Code,
    reason: Reason,
    message: impl Into<String>,
    mut details: ErrorDetails,
) -> Status {
    let reason = reason.as_str_name().trim_start_matches("ERROR_REASON_");
    details.set_error_info(reason, DOMAIN, std::collections::HashMap::new());
    Status::with_error_details(code, message, details)
}

/// Refuses for a reason.
pub(super) fn because(code: Code, reason: Reason, message: impl Into<String>) -> Status {
    with(code, reason, message, ErrorDetails::new())
}

/// A field of the request is wrong.
pub(super) fn field(name: &str, problem: impl Display) -> Status {
    let problem = problem.to_string();
    let details = ErrorDetails::with_bad_request_violation(name, &problem);
    with(Code::InvalidArgument, Reason::InvalidField, format!("{name}: {problem}"), details)
}

/// What the request names does not exist.
pub(super) fn not_found(kind: &str, name: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_resource_info(kind, name, "", "does not exist");
    with(Code::NotFound, Reason::NotFound, format!("{kind} {name} does not exist"), details)
}

/// The daemon has too much to do.
pub(super) fn busy(what: &str) -> Status {
    let message = format!("{what}; try again in a moment");
    with(Code::ResourceExhausted, Reason::Busy, message, come_again(Duration::from_millis(500)))
}

/// Something of the machine's fails now and may work in a moment. The cause goes to the log, not to the caller.
pub(super) fn unavailable(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(error, "{what}");
    let message = format!("{what}; try again in a moment");
    with(Code::Unavailable, Reason::Unavailable, message, come_again(Duration::from_secs(5)))
}

/// A disk that a client named does not answer.
pub(super) fn no_answer(error: &NoAnswer) -> Status {
    if error.is_silence() {
        let message = format!("{error}; ask again when it does, or send the picture itself");
        return because(Code::Unavailable, Reason::DiskSilent, message);
    }
    unavailable("the disk could not be asked", error)
}

/// The daemon ends.
pub(super) fn stopping() -> Status {
    because(Code::Unavailable, Reason::Stopping, "the daemon is stopping")
}

/// Nobody waits for the answer any more.
pub(super) fn given_up() -> Status {
    because(Code::Cancelled, Reason::GivenUp, "the call was given up")
}

/// Something of ours failed. The cause goes to the log, not to the caller; but that the disk under the index takes no
/// writes is for the caller to know, and is in the log already.
pub(super) fn internal(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Status {
    if let Some(error @ StoreError::CannotWrite { .. }) = error.downcast_ref() {
        let details = come_again(Duration::from_secs(30));
        return with(Code::Unavailable, Reason::CannotWrite, error.to_string(), details);
    }
    tracing::error!(error, "{what}");
    because(Code::Internal, Reason::Internal, format!("{what}; the daemon's log says more"))
}

fn come_again(after: Duration) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(after));
    details
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        internal("the store failed", &error)
    }
}
