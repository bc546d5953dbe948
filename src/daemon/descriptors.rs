//! Descriptors: each watch, connection, decoding process and photo that is read takes some.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the number of descriptors that this process may have to what the system lets it. The lower limit of 1024 is there
/// for programs that `select`, see <https://0pointer.net/blog/file-descriptor-limits.html>.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of descriptors stays as it is");
    }
}
