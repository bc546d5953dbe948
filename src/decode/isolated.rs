//! Decoding where it can do no harm: in a process of its own, killed when it takes too long.
//!
//! Panics are caught in any thread. A stack that overflows, an allocation that fails and a loop without end are
//! not, and the decoders of PNG, TIFF, WebP, HEIF, AVIF, JPEG XL and the like are large programs of others. So
//! these formats go to the worker process. JPEGs and the previews of RAWs stay in this one: that decoder is
//! ours, has no recursion and no unsafe code, allocates what its header check allowed and looks at the clock.
//!
//! Invariant: one photo costs at most one photo. The worker is started again for the next one.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::worker::{Hello, Protection, Request, Response, Start, receive, send};
use super::{DecodeError, Decoded, Format, Limits, Need, sniff};
use crate::photo::Rgb;

/// How long a worker may take to say hello.
const START_TIME: Duration = Duration::from_secs(10);

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

/// A decoder with a worker process behind it. It belongs to one thread; several make several processes.
#[derive(Debug)]
pub struct Isolated {
    program: PathBuf,
    arguments: Vec<OsString>,
    limits: Limits,
    worker: Option<Worker>,
}

#[derive(Debug)]
struct Worker {
    process: Child,
    socket: UnixStream,
    protection: Protection,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An error means that it has ended already; waiting then collects it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a worker was lost over a photo.
enum Lost {
    TimedOut,
    Died(String),
}

impl Isolated {
    /// Prepares for workers that are started as `program arguments...`; the program must end up in
    /// [`serve_worker`](super::serve_worker). Nothing is started before it is needed.
    pub fn new(program: PathBuf, arguments: Vec<OsString>, limits: Limits) -> Self {
        Self { program, arguments, limits, worker: None }
    }

    /// Starts the worker if it is not running, and returns what it is confined by.
    ///
    /// # Errors
    /// [`IsolatedError::Start`].
    pub fn protection(&mut self) -> Result<Protection, IsolatedError> {
        Ok(self.running()?.protection)
    }

    /// Decodes the bytes of one file, like [`decode`](super::decode).
    ///
    /// # Errors
    /// [`IsolatedError::Photo`] condemns this photo, [`IsolatedError::Start`] none.
    pub fn decode(&mut self, bytes: &[u8], need: Need) -> Result<Decoded, IsolatedError> {
        let needs_worker = sniff(bytes).is_some_and(|format| format != Format::Jpeg && !format.is_raw());
        if !needs_worker || bytes.len() as u64 > self.limits.max_bytes {
            return Ok(super::decode(bytes, need, &self.limits)?);
        }
        let mut reason = String::new();
        // A worker may be gone for reasons of its own (the system ran out of memory, someone killed it), so
        // the photo gets a second one. What kills two is at fault.
        for _ in 0..2 {
            let worker = self.running()?;
            match worker.ask(bytes, need) {
                Ok(answer) => return Ok(answer?),
                Err(Lost::TimedOut) => {
                    self.worker = None;
                    let limit_ms = self.limits.max_time.as_millis() as u64;
                    return Err(DecodeError::TimedOut { limit_ms }.into());
                }
                Err(Lost::Died(why)) => {
                    self.worker = None;
                    reason = why;
                }
            }
        }
        Err(DecodeError::Crashed { reason }.into())
    }

    fn running(&mut self) -> Result<&mut Worker, IsolatedError> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self)
                .map_err(|source| IsolatedError::Start { program: self.program.clone(), source })?,
        };
        Ok(self.worker.insert(worker))
    }
}

impl Worker {
    fn start(isolated: &Isolated) -> io::Result<Self> {
        let (mut socket, theirs) = UnixStream::pair()?;
        let process = Command::new(&isolated.program)
            .args(&isolated.arguments)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        socket.set_read_timeout(Some(START_TIME))?;
        let mut worker = Self {
            process,
            socket: socket.try_clone()?,
            protection: Protection { system_calls: false, memory: false },
        };
        send(&mut socket, &Start { limits: isolated.limits })?;
        worker.protection = receive::<Hello>(&mut socket)?.protection;
        let limit = isolated.limits.max_time.max(Duration::from_millis(1));
        worker.socket.set_read_timeout(Some(limit))?;
        worker.socket.set_write_timeout(Some(limit))?;
        Ok(worker)
    }

    fn ask(&mut self, bytes: &[u8], need: Need) -> Result<Result<Decoded, DecodeError>, Lost> {
        let answer = self.exchange(bytes, need);
        answer.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Lost::TimedOut,
            _ => Lost::Died(self.process.wait().map_or_else(|error| error.to_string(), end_of)),
        })
    }

    fn exchange(&mut self, bytes: &[u8], need: Need) -> io::Result<Result<Decoded, DecodeError>> {
        send(&mut self.socket, &Request { need, len_bytes: bytes.len() as u64 })?;
        self.socket.write_all(bytes)?;
        Ok(match receive(&mut self.socket)? {
            Response::Failed(error) => Err(error),
            Response::Decoded { width, height, info } => {
                let mut pixels = vec![0; width as usize * height as usize * 3];
                self.socket.read_exact(&mut pixels)?;
                Ok(Decoded { image: Rgb { width, height, pixels }, info })
            }
        })
    }
}

fn end_of(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(libc::SIGABRT) => "out of memory or aborted".to_owned(),
        Some(libc::SIGSEGV | libc::SIGBUS) => "stack overflow or invalid memory access".to_owned(),
        Some(libc::SIGKILL) => "killed, perhaps for lack of memory".to_owned(),
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("ended with {status}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    /// The environment variable that makes the test below be a worker.
    const ROLE: &str = "RESEMBLED_TEST_WORKER";

    /// Not a test by itself: the process that the others start, which is this very test program.
    #[test]
    fn being_the_worker() {
        match std::env::var(ROLE).as_deref() {
            Ok("decode") => super::super::serve_worker().unwrap(),
            Ok("break out") => {
                super::super::worker::confine(&Limits::default());
                let refused = [
                    File::open("/etc/passwd").is_err(),
                    std::net::UdpSocket::bind("127.0.0.1:0").is_err(),
                    UnixStream::pair().is_err(),
                    Command::new("/bin/true").spawn().is_err(),
                    File::create("/tmp/resembled-broke-out").is_err(),
                ];
                let mut socket = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
                socket.write_all(&refused.map(u8::from)).unwrap();
            }
            _ => {}
        }
    }

    /// Returns what makes this test program play a role.
    fn command(role: &str) -> (PathBuf, Vec<OsString>) {
        let script = format!("{ROLE}={role:?} exec \"$0\" --exact \"$1\"");
        let test = module_path!().split_once("::").unwrap().1.to_owned() + "::being_the_worker";
        let own = std::env::current_exe().unwrap();
        ("/bin/sh".into(), vec!["-c".into(), script.into(), own.into(), test.into()])
    }

    fn isolated(limits: Limits) -> Isolated {
        let (program, arguments) = command("decode");
        Isolated::new(program, arguments, limits)
    }

    #[test]
    fn a_confined_process_opens_nothing_and_starts_nothing() {
        let (program, arguments) = command("break out");
        let (mut socket, theirs) = UnixStream::pair().unwrap();
        let mut process =
            Command::new(program).args(arguments).stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().unwrap();
        let mut refused = [0; 5];
        socket.read_exact(&mut refused).unwrap();
        process.wait().unwrap();
        assert_eq!(refused, [1; 5]);
    }

    fn png(side: u32) -> Vec<u8> {
        let mut seed = 1u32;
        let image = image::RgbImage::from_fn(side, side, |_, _| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(seed >> 24) as u8, (seed >> 16) as u8, (seed >> 8) as u8])
        });
        let mut bytes = io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn the_worker_answers_what_decoding_here_gives() {
        let mut isolated = isolated(Limits::default());
        let protection = isolated.protection().unwrap();
        assert!(protection.system_calls && protection.memory, "{protection}");
        let good = png(40);
        let broken = &good[..good.len() / 2];
        for bytes in [&good[..], broken, b"", b"no photo", &good] {
            let here = super::super::decode(bytes, Need::full(), &Limits::default());
            match (isolated.decode(bytes, Need::full()), here) {
                (Ok(there), Ok(here)) => assert_eq!(there, here),
                (Err(IsolatedError::Photo(there)), Err(here)) => assert_eq!(there, here),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_worker_that_was_killed_is_started_again() {
        let mut isolated = isolated(Limits::default());
        let photo = png(8);
        isolated.decode(&photo, Need::full()).unwrap();
        isolated.worker.as_mut().unwrap().process.kill().unwrap();
        isolated.decode(&photo, Need::full()).unwrap();
    }

    #[test]
    fn a_photo_that_takes_too_long_is_given_up_and_the_next_one_works() {
        let limits = Limits { max_time: Duration::from_millis(1), ..Limits::default() };
        let mut isolated = isolated(limits);
        let error = isolated.decode(&png(2000), Need::full()).unwrap_err();
        assert!(matches!(error, IsolatedError::Photo(DecodeError::TimedOut { limit_ms: 1 })), "{error:?}");
        isolated.limits = Limits::default();
        isolated.decode(&png(8), Need::full()).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_condemns_no_photo() {
        let mut isolated = Isolated::new("/nonexistent".into(), Vec::new(), Limits::default());
        let error = isolated.decode(&png(8), Need::full()).unwrap_err();
        assert!(matches!(error, IsolatedError::Start { .. }), "{error:?}");
    }
}
