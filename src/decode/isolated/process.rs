//! One decoding process, from this side: bytes there, pixels back, and what became of it where they do not come.
//!
//! A process can be lost by the photo's doing or by somebody else's, and only the first counts against the photo: it computed
//! longer than a photo may, crashed, or ran into its own limit of memory. Who is killed by a signal that no decoder sends
//! itself, stands still, or gets too little of the processor is the machine's victim.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::super::confine::Protection;
use super::super::worker::{Answer, Hello, Request, Response, Start, Wanted, receive, send};
use super::super::{DecodeError, Limits};
use super::cancel::Cancel;
use super::spawner::Spawner;
use super::{IsolatedError, Program};
use crate::photo::Rgb;

/// How long a process may take to say hello.
const START_TIME: Duration = Duration::from_secs(30);

/// How often it is looked whether a process that does not answer stands still. One that does so twice is given up.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long a photo may go on once nobody waits for it any more. Most are done by then, and a process that is killed has to be
/// started anew.
const LAST_MOMENT: Duration = Duration::from_millis(250);

/// Longer than anybody waits, and short enough to be added to now.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// How long a process may take to end after it closed its socket.
const END_TIME: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Memory for a photo that is kept for the next one. Usual ones are no longer.
const MANY_BYTES: u64 = 16 << 20;

/// Read of what a process said before it died.
const LAST_WORDS_BYTES: usize = 4096;

/// Why a process gave no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The photo did it.
    ToPhoto(DecodeError),
    /// Somebody killed or stopped the process, or the machine is short of something.
    ToMachine(String),
}

/// A decoding process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    socket: UnixStream,
    /// Tells whoever waits for an answer that nobody wants it any more.
    hurry: Arc<OwnedFd>,
    /// Its standard output, in memory: where it finds the photo.
    photo: File,
    /// Its standard error, in memory.
    last_words: File,
    pub(super) protection: Protection,
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already; waiting then collects it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts a process and waits for its hello.
    pub(super) fn start(
        program: &Program,
        spawner: &Spawner,
        limits: &Limits,
        cancel: &Cancel,
    ) -> Result<Self, IsolatedError> {
        let failed = |source| IsolatedError::Start { program: program.path.clone(), source };
        let mut process = Self::spawn(program, spawner).map_err(failed)?;
        match process.greet(limits, cancel) {
            Ok(Hello { protection }) => process.protection = protection,
            Err(_) if cancel.is_cancelled() => return Err(IsolatedError::Cancelled),
            Err(error) => return Err(failed(process.not_started(error))),
        }
        Ok(process)
    }

    fn spawn(program: &Program, spawner: &Spawner) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let hurry = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let photo = File::from(memfd_create("resembled-photo", MemfdFlags::CLOEXEC)?);
        let last_words = File::from(memfd_create("resembled-worker", MemfdFlags::CLOEXEC)?);
        // So that it can be emptied after each photo.
        fcntl_setfl(&last_words, OFlags::APPEND)?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .env_clear()
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdin(OwnedFd::from(theirs))
            .stdout(photo.try_clone()?)
            .stderr(last_words.try_clone()?);
        let child = spawner.spawn(command)?;
        Ok(Self { child, socket, hurry, photo, last_words, protection: Protection::default() })
    }

    fn greet(&self, limits: &Limits, cancel: &Cancel) -> io::Result<Hello> {
        cancel.during(self.interrupt(), || {
            let mut socket = Timed::new(self, START_TIME);
            send(&mut socket, &Start { limits: *limits, daemon: std::process::id() })?;
            receive(&mut socket)
        })
    }

    /// Says why there was no greeting, in the words of the process if it left some.
    fn not_started(&mut self, error: io::Error) -> io::Error {
        let _ = self.child.kill();
        let _ = self.child.wait();
        match self.last_words() {
            words if words.is_empty() => error,
            words => io::Error::new(error.kind(), words),
        }
    }

    /// Has a photo decoded within a time by the clock. The outer error means that the process can answer no more; what it
    /// means says [`end`](Self::end).
    pub(super) fn ask(
        &self,
        bytes: &[u8],
        wanted: &Wanted,
        limits: &Limits,
        patience: Duration,
        cancel: &Cancel,
    ) -> io::Result<Result<Answer, DecodeError>> {
        self.photo.write_all_at(bytes, 0)?;
        // Whoever was given up in the last moment, and was done in time, may have left it readable.
        let _ = rustix::io::read(&self.hurry, &mut [0; 8]);
        let answer = cancel.during(self.interrupt(), || -> io::Result<_> {
            let mut socket = Timed::new(self, patience);
            send(&mut socket, &Request { wanted: wanted.clone(), len_bytes: bytes.len() as u64 })?;
            let (sizes, info, appearance) = match receive(&mut socket)? {
                Response::Failed(error) => return Ok(Err(error)),
                Response::Decoded { sizes, info, appearance } => (sizes, info, appearance),
            };
            // The process is not believed more than the photo that it reads.
            if !wanted.allows(&sizes, limits) || appearance.is_some() != wanted.is_looked_at() {
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
            Ok(Ok(Answer { images, info, appearance }))
        })?;
        self.last_words.set_len(0)?;
        if bytes.len() as u64 > MANY_BYTES {
            self.photo.set_len(0)?;
        }
        Ok(answer)
    }

    /// Wakes whoever waits for the process, to wait no longer than [`LAST_MOMENT`].
    fn interrupt(&self) -> impl Fn() + Send + 'static {
        let hurry = Arc::clone(&self.hurry);
        move || {
            // It fails only where so many have written that it is readable already.
            let _ = rustix::io::write(&hurry, &1_u64.to_ne_bytes());
        }
    }

    /// Ends a process that did not answer, and says what became of it.
    pub(super) fn end(mut self, error: io::Error, limits: &Limits) -> Lost {
        let timed_out = DecodeError::TimedOut {
            limit_ms: u64::try_from(limits.max_time.as_millis()).unwrap_or(u64::MAX),
        };
        match error.kind() {
            // Its limit of computing is the kernel's to keep, so the photo is at fault only where nothing is computed.
            io::ErrorKind::TimedOut => {
                return match self.state() {
                    Some('S') => Lost::ToPhoto(timed_out),
                    Some('T' | 't') => Lost::ToMachine("the decoding process was stopped".to_owned()),
                    _ => Lost::ToMachine("decoding got too little of the processor".to_owned()),
                };
            }
            io::ErrorKind::InvalidData => {
                let reason = "the answer makes no sense".to_owned();
                return Lost::ToPhoto(DecodeError::Crashed { reason });
            }
            // What is left tells that the process is gone, or that there is no room for the photo beside it.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {}
            _ => return Lost::ToMachine(error.to_string()),
        }
        let status = match self.wait_for_end() {
            Ok(status) => status,
            Err(error) => return Lost::ToMachine(error.to_string()),
        };
        let words = self.last_words();
        match status.signal() {
            Some(libc::SIGXCPU) => Lost::ToPhoto(timed_out),
            Some(libc::SIGABRT) if words.contains("memory allocation of") => {
                Lost::ToPhoto(DecodeError::OutOfMemory { limit_bytes: limits.max_memory_bytes })
            }
            Some(signal) if !is_own_fault(signal) => Lost::ToMachine(match signal {
                libc::SIGKILL => "the decoding process was killed, perhaps for lack of memory".to_owned(),
                signal => format!("the decoding process was ended by signal {signal}"),
            }),
            _ => Lost::ToPhoto(DecodeError::Crashed { reason: end_of(status, &words) }),
        }
    }

    /// Waits for a process that has ended or is about to; one that only closed its socket is killed.
    fn wait_for_end(&mut self) -> io::Result<ExitStatus> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&END_TIME))?;
        match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => {
                self.child.kill()?;
                self.child.wait()
            }
        }
    }

    /// Returns what the process does, as proc_pid_stat(5) has it: `R` runs or wants to, `S` waits, `T` is stopped.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // Its name stands before that, in brackets, and may hold some itself.
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }

    /// Returns the most memory that it ever had, where the system tells.
    pub(super) fn peak_memory_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
    }

    fn last_words(&self) -> String {
        let mut words = vec![0; LAST_WORDS_BYTES];
        let len = self.last_words.read_at(&mut words, 0).unwrap_or(0);
        String::from_utf8_lossy(&words[..len]).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Whether a decoder that breaks ends by this signal.
fn is_own_fault(signal: i32) -> bool {
    let faults =
        [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGSYS, libc::SIGTRAP];
    faults.contains(&signal) || signal == libc::SIGXFSZ
}

fn end_of(status: ExitStatus, words: &str) -> String {
    let what = match status.signal() {
        Some(libc::SIGABRT) => "it aborted".to_owned(),
        Some(libc::SIGSEGV | libc::SIGBUS) => "invalid memory access".to_owned(),
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {status}"),
    };
    if words.is_empty() { what } else { format!("{what}: {words}") }
}

/// A process' socket on which everything together has to be done within a time.
struct Timed<'a> {
    process: &'a Process,
    until: Instant,
    /// Looks at which it stood still.
    stood_still: u32,
    /// Nobody wants the answer any more.
    is_hurried: bool,
}

impl<'a> Timed<'a> {
    fn new(process: &'a Process, time: Duration) -> Self {
        let now = Instant::now();
        Self {
            process,
            until: now.checked_add(time).unwrap_or(now + FOREVER),
            stood_still: 0,
            is_hurried: false,
        }
    }

    /// Waits until the socket can be read from or written to, at most until the next look.
    fn wait(&mut self, what: PollFlags) -> io::Result<()> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let time = Timespec::try_from(left.min(LOOK_EVERY)).map_err(io::Error::other)?;
            let (process, hurried) = (self.process, self.is_hurried);
            let mut waited_for = [
                PollFd::new(&process.socket, what),
                // Looked at once only: it stays readable.
                PollFd::new(&process.hurry, if hurried { PollFlags::empty() } else { PollFlags::IN }),
            ];
            match poll(&mut waited_for, Some(&time)) {
                Ok(0) => self.look()?,
                Ok(_) if !waited_for[0].revents().is_empty() => return Ok(()),
                Ok(_) => {
                    self.is_hurried = true;
                    self.until = self.until.min(Instant::now() + LAST_MOMENT);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fails where the process stands still and did so at the last look.
    fn look(&mut self) -> io::Result<()> {
        let stands_still = matches!(self.process.state(), Some('T' | 't'));
        self.stood_still = if stands_still { self.stood_still + 1 } else { 0 };
        if self.stood_still > 1 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN)?;
        (&self.process.socket).read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT)?;
        // Messages are small: there is room for all of it, or soon will be.
        (&self.process.socket).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
