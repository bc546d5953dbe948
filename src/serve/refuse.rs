//! Refusals: a status that says what to do, with details of `google.rpc`, and no internals.

use std::fmt::Display;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::deadline::NoAnswer;
use crate::store::StoreError;

/// A field of the request is wrong.
pub(super) fn field(name: &str, problem: impl Display) -> Status {
    let problem = problem.to_string();
    let details = ErrorDetails::with_bad_request_violation(name, &problem);
    Status::with_error_details(Code::InvalidArgument, format!("{name}: {problem}"), details)
}

/// What the request names does not exist.
pub(super) fn not_found(kind: &str, name: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_resource_info(kind, name, "", "does not exist");
    Status::with_error_details(Code::NotFound, format!("{kind} {name} does not exist"), details)
}

/// The daemon has too much to do.
pub(super) fn busy(what: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(std::time::Duration::from_millis(500)));
    Status::with_error_details(Code::ResourceExhausted, format!("{what}; try again in a moment"), details)
}

/// Something of the machine's fails now and may work in a moment. The cause goes to the log, not to the caller.
pub(super) fn unavailable(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(error, "{what}");
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(std::time::Duration::from_secs(5)));
    Status::with_error_details(Code::Unavailable, format!("{what}; try again in a moment"), details)
}

/// A disk that a client named does not answer.
pub(super) fn no_answer(error: &NoAnswer) -> Status {
    if error.is_silence() {
        return Status::unavailable(format!("{error}; ask again when it does, or send the picture itself"));
    }
    unavailable("the disk could not be asked", error)
}

/// Nobody waits for the answer any more.
pub(super) fn given_up() -> Status {
    Status::cancelled("the call was given up")
}

/// Something of ours failed. The cause goes to the log, not to the caller; but that the disk under the index takes no
/// writes is for the caller to know, and is in the log already.
pub(super) fn internal(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Status {
    if let Some(error @ StoreError::CannotWrite { .. }) = error.downcast_ref() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(std::time::Duration::from_secs(30)));
        return Status::with_error_details(Code::Unavailable, error.to_string(), details);
    }
    tracing::error!(error, "{what}");
    Status::internal(format!("{what}; the daemon's log says more"))
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        internal("the store failed", &error)
    }
}
