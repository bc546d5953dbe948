//! Decoding where it can do no harm: in processes of their own, killed when they take too long.
//!
//! Panics are caught in any thread. A stack that overflows, an allocation that fails, a loop without end and whatever
//! a decoder in C makes of a hostile file are not, and the decoders are large programs of others. So all of them run
//! in worker processes without rights; bytes go there, pixels no larger than needed come back.
//!
//! Invariant: one photo costs at most one photo. A worker that is lost is replaced for the next one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::confine::Protection;
use super::worker::{Hello, Request, Response, Start, Wanted, receive, send};
use super::{DecodeError, Decoded, Limits, Need, Square, Squares};
use crate::photo::Rgb;

/// How much longer than computing may take a photo may be in the works by the clock. Background work waits for everything
/// else on the machine; that is not the photo's fault.
const PATIENCE: u32 = 10;

/// How long a worker may take to say hello.
const START_TIME: Duration = Duration::from_secs(30);

/// Longer than anybody waits, and short enough to be added to now.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// How long a worker may take to end after it closed its socket.
const END_TIME: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Memory for a photo that is kept for the next one. Usual ones are no longer.
const MANY_BYTES: u64 = 16 << 20;

/// Read of what a worker said before it died.
const LAST_WORDS_BYTES: usize = 4096;

/// Why a photo did not come back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolatedError {
    /// The photo is at fault.
    #[error(transparent)]
    Photo(#[from] DecodeError),
    /// The worker process cannot be started; no photo is at fault.
    #[error("the decoding process cannot be started ({})", program.display())]
    Start {
        /// What should have run.
        program: PathBuf,
        /// Why it did not.
        source: io::Error,
    },
}

/// What is run as a worker. It must end up in [`serve_worker`](super::serve_worker).
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Program {
    /// Returns the very executable that runs here, which must know `decode-worker`. That it was replaced on the disk
    /// meanwhile changes nothing.
    pub fn this() -> Self {
        Self {
            path: "/proc/self/exe".into(),
            arguments: vec!["decode-worker".into()],
            environment: Vec::new(),
        }
    }
}

/// Decoders in worker processes: as many as there are threads that call at a time. Clones share them.
#[derive(Clone, Debug)]
pub struct Decoders(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: Program,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
    lost: AtomicU64,
}

impl Decoders {
    /// Prepares. Workers are started when they are needed, by the thread that needs them, whose priority they take.
    pub fn new(program: Program, limits: Limits) -> Self {
        Self(Arc::new(Shared { program, limits, idle: Mutex::default(), lost: AtomicU64::new(0) }))
    }

    /// Returns what a photo may cost.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Starts a worker if none waits, and returns what it gave away.
    ///
    /// # Errors
    /// [`IsolatedError::Start`].
    pub fn protection(&self) -> Result<Protection, IsolatedError> {
        let worker = self.take()?;
        let protection = worker.protection;
        self.give_back(worker);
        Ok(protection)
    }

    /// Returns how many workers were lost over photos.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Returns the most memory that one of the workers that wait ever had, where the system tells.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        let peak = |worker: &Worker| {
            let status = fs::read_to_string(format!("/proc/{}/status", worker.process.id())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
        };
        self.idle().iter().filter_map(peak).max()
    }

    /// Decodes the bytes of one file, like [`decode`](super::decode).
    ///
    /// # Errors
    /// [`IsolatedError::Photo`] condemns this photo, [`IsolatedError::Start`] none.
    pub fn decode(&self, bytes: &[u8], need: Need) -> Result<Decoded, IsolatedError> {
        let Squares { mut images, info } = self.ask(bytes, Wanted::Picture(need))?;
        let image = images.pop().expect("one was asked for");
        Ok(Decoded { image, info })
    }

    /// Decodes the bytes of one file for networks, like [`decode_squares`](super::decode_squares).
    ///
    /// # Errors
    /// As those of [`decode`](Self::decode).
    pub fn decode_squares(&self, bytes: &[u8], squares: &[Square]) -> Result<Squares, IsolatedError> {
        self.ask(bytes, Wanted::Squares(squares.to_vec()))
    }

    fn ask(&self, bytes: &[u8], wanted: Wanted) -> Result<Squares, IsolatedError> {
        // Refused here, since it need not travel for that.
        self.0.limits.check_len(bytes.len())?;
        let mut reason = DecodeError::Crashed { reason: String::new() };
        // A worker may be gone for reasons of its own (the system ran out of memory, someone killed it), so the photo
        // gets a second one. What kills two is at fault.
        for _ in 0..2 {
            let mut worker = self.take()?;
            let lost = match worker.ask(bytes, &wanted, &self.0.limits) {
                Ok(answer) => {
                    self.give_back(worker);
                    return Ok(answer?);
                }
                Err(lost) => worker.end(lost, &self.0.limits),
            };
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            if matches!(lost, DecodeError::TimedOut { .. }) {
                return Err(lost.into());
            }
            reason = lost;
        }
        Err(reason.into())
    }

    fn take(&self) -> Result<Worker, IsolatedError> {
        match self.idle().pop() {
            Some(worker) => Ok(worker),
            None => Worker::start(&self.0.program, &self.0.limits)
                .map_err(|source| IsolatedError::Start { program: self.0.program.path.clone(), source }),
        }
    }

    fn give_back(&self, worker: Worker) {
        self.idle().push(worker);
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker process. Dropping it kills it.
#[derive(Debug)]
struct Worker {
    process: Child,
    socket: UnixStream,
    /// Its standard output, in memory: where it finds the photo.
    photo: File,
    /// Its standard error, in memory.
    last_words: File,
    protection: Protection,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An error means that it has ended already; waiting then collects it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Worker {
    fn start(program: &Program, limits: &Limits) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let photo = File::from(memfd_create("resembled-photo", MemfdFlags::CLOEXEC)?);
        let last_words = File::from(memfd_create("resembled-worker", MemfdFlags::CLOEXEC)?);
        // So that it can be emptied after each photo.
        fcntl_setfl(&last_words, OFlags::APPEND)?;
        let process = Command::new(&program.path)
            .args(&program.arguments)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdin(OwnedFd::from(theirs))
            .stdout(photo.try_clone()?)
            .stderr(last_words.try_clone()?)
            .spawn()?;
        let mut worker = Self { process, socket, photo, last_words, protection: Protection::default() };
        let mut socket = Timed::new(&worker.socket, START_TIME);
        let greeted = send(&mut socket, &Start { limits: *limits }).and_then(|()| receive(&mut socket));
        match greeted {
            Ok(Hello { protection }) => worker.protection = protection,
            Err(error) => return Err(worker.not_started(error)),
        }
        Ok(worker)
    }

    /// Says why there was no greeting, in the words of the process if it left some.
    fn not_started(&mut self, error: io::Error) -> io::Error {
        let _ = self.process.kill();
        let _ = self.process.wait();
        match self.last_words() {
            words if words.is_empty() => error,
            words => io::Error::new(error.kind(), words),
        }
    }

    /// The outer error means that the worker can answer no more.
    fn ask(
        &mut self,
        bytes: &[u8],
        wanted: &Wanted,
        limits: &Limits,
    ) -> io::Result<Result<Squares, DecodeError>> {
        let mut socket = Timed::new(&self.socket, limits.max_time.saturating_mul(PATIENCE));
        self.photo.write_all_at(bytes, 0)?;
        send(&mut socket, &Request { wanted: wanted.clone(), len_bytes: bytes.len() as u64 })?;
        let answer = match receive(&mut socket)? {
            Response::Failed(error) => Err(error),
            Response::Decoded { sizes, info } => {
                // The worker is not believed more than the photo that it reads.
                if !wanted.allows(&sizes, limits) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut images = Vec::with_capacity(sizes.len());
                for (width, height) in sizes {
                    let len = u64::from(width) * u64::from(height) * 3;
                    // Zeros take no memory before something else is written over them.
                    let mut pixels = vec![0; usize::try_from(len).map_err(io::Error::other)?];
                    socket.read_exact(&mut pixels)?;
                    images.push(Rgb { width, height, pixels });
                }
                Ok(Squares { images, info })
            }
        };
        self.last_words.set_len(0)?;
        if bytes.len() as u64 > MANY_BYTES {
            self.photo.set_len(0)?;
        }
        Ok(answer)
    }

    /// Ends a worker that did not answer, and says what the photo did to it.
    fn end(mut self, error: io::Error, limits: &Limits) -> DecodeError {
        let timed_out = DecodeError::TimedOut {
            limit_ms: u64::try_from(limits.max_time.as_millis()).unwrap_or(u64::MAX),
        };
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return timed_out,
            // No room for the photo beside the worker.
            io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory => {
                return DecodeError::OutOfMemory { limit_bytes: limits.max_memory_bytes };
            }
            io::ErrorKind::InvalidData => {
                return DecodeError::Crashed { reason: "the answer makes no sense".to_owned() };
            }
            _ => {}
        }
        let status = match self.wait_for_end() {
            Ok(status) => status,
            Err(error) => return DecodeError::Crashed { reason: error.to_string() },
        };
        let words = self.last_words();
        match status.signal() {
            Some(libc::SIGXCPU) => timed_out,
            Some(libc::SIGABRT) if words.contains("memory allocation of") => {
                DecodeError::OutOfMemory { limit_bytes: limits.max_memory_bytes }
            }
            _ => DecodeError::Crashed { reason: end_of(status, &words) },
        }
    }

    /// Waits for a process that has ended or is about to; one that only closed its socket is killed.
    fn wait_for_end(&mut self) -> io::Result<ExitStatus> {
        let pidfd = pidfd_open(Pid::from_child(&self.process), PidfdFlags::empty())?;
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&END_TIME))?;
        match self.process.try_wait()? {
            Some(status) => Ok(status),
            None => {
                self.process.kill()?;
                self.process.wait()
            }
        }
    }

    fn last_words(&self) -> String {
        let mut words = vec![0; LAST_WORDS_BYTES];
        let len = self.last_words.read_at(&mut words, 0).unwrap_or(0);
        String::from_utf8_lossy(&words[..len]).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn end_of(status: ExitStatus, words: &str) -> String {
    let what = match status.signal() {
        Some(libc::SIGABRT) => "it aborted".to_owned(),
        Some(libc::SIGSEGV | libc::SIGBUS) => "invalid memory access".to_owned(),
        Some(libc::SIGKILL) => "killed from outside, perhaps for lack of memory".to_owned(),
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {status}"),
    };
    if words.is_empty() { what } else { format!("{what}: {words}") }
}

/// A socket on which everything together has to be done within a time.
struct Timed<'a> {
    socket: &'a UnixStream,
    until: Instant,
}

impl<'a> Timed<'a> {
    fn new(socket: &'a UnixStream, time: Duration) -> Self {
        let now = Instant::now();
        Self { socket, until: now.checked_add(time).unwrap_or(now + FOREVER) }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
