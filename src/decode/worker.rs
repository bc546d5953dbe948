//! The other side of [`Isolated`](super::Isolated): a process that only decodes.
//!
//! It takes requests from its standard input, which is a socket, and answers there. Before the first photo
//! it gives away what it does not need: after [`confine`] it can neither open a file nor a connection, start
//! nothing, and allocate only so much. Whatever a photo makes of it, it is worth one photo.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{DecodeError, Limits, Need, PhotoInfo};

/// Memory for the program itself and for what decoders need beyond their pixels.
const BASE_MEMORY_BYTES: u64 = 512 << 20;
/// Messages are small; pixels and files follow them without a frame.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// The first message to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub limits: Limits,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub protection: Protection,
}

/// A photo to decode; its bytes follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub need: Need,
    pub len_bytes: u64,
}

/// What became of it; on success `width * height * 3` bytes of pixels follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Decoded { width: u32, height: u32, info: PhotoInfo },
    Failed(DecodeError),
}

/// What a worker process gave away, as far as this kernel lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// A filter lets only those system calls through that computing and answering take: no files, no network.
    pub system_calls: bool,
    /// The kernel refuses memory beyond a limit.
    pub memory: bool,
}

impl std::fmt::Display for Protection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.system_calls, self.memory) {
            (true, true) => f.write_str("seccomp and memory limit"),
            (true, false) => f.write_str("seccomp"),
            (false, true) => f.write_str("memory limit only"),
            (false, false) => f.write_str("none"),
        }
    }
}

/// Serves until the socket closes. This is all that `resembled decode-worker` does; it is not for people.
///
/// # Errors
/// Returns what went wrong with the socket. A photo's failure is an answer, not an error.
pub fn serve_worker() -> io::Result<()> {
    let mut socket = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // A panic is an answer as well, and its backtrace would want to open files.
    std::panic::set_hook(Box::new(|_| ()));
    let Start { limits } = receive(&mut socket)?;
    send(&mut socket, &Hello { protection: confine(&limits) })?;
    let mut bytes = Vec::new();
    loop {
        let Request { need, len_bytes } = match receive(&mut socket) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            request => request?,
        };
        bytes.clear();
        (&mut socket).take(len_bytes).read_to_end(&mut bytes)?;
        match super::decode(&bytes, need, &limits) {
            Ok(decoded) => {
                let (width, height) = (decoded.image.width, decoded.image.height);
                send(&mut socket, &Response::Decoded { width, height, info: decoded.info })?;
                socket.write_all(&decoded.image.pixels)?;
            }
            Err(error) => send(&mut socket, &Response::Failed(error))?,
        }
    }
}

/// Gives away what decoding does not need.
pub(super) fn confine(limits: &Limits) -> Protection {
    // A worker must not outlive the daemon, even one that is lost in a photo.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    let _ = setrlimit(Resource::Fsize, none);
    let memory = limits.max_memory_bytes.saturating_add(limits.max_bytes).saturating_add(BASE_MEMORY_BYTES);
    let memory = setrlimit(Resource::As, Rlimit { current: Some(memory), maximum: Some(memory) }).is_ok();
    let system_calls = system_call_filter().is_some_and(|filter| seccompiler::apply_filter(&filter).is_ok());
    Protection { system_calls, memory }
}

/// Builds the filter; `None` on processors it does not know.
fn system_call_filter() -> Option<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_tgkill,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let rules = allowed.into_iter().map(|number| (number, Vec::new())).collect();
    // What is not allowed fails like a missing permission, so that a library that only tries goes on.
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture).ok()?.try_into().ok()
}

pub(super) fn send(socket: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let len = u32::try_from(body.len()).map_err(io::Error::other)?;
    socket.write_all(&[&len.to_le_bytes()[..], &body].concat())
}

pub(super) fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    socket.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > MAX_MESSAGE_BYTES {
        return Err(io::Error::other("a message is too long"));
    }
    let mut body = vec![0; len as usize];
    socket.read_exact(&mut body)?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}
