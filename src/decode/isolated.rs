//! Decoding where it can do no harm: in processes of their own, killed when they take too long.
//!
//! Panics are caught in any thread. A stack that overflows, an allocation that fails, a loop without end and whatever
//! a decoder in C makes of a hostile file are not, and the decoders are large programs of others. So all of them run
//! in worker processes without rights; bytes go there, pixels no larger than needed come back.
//!
//! | what | where |
//! | --- | --- |
//! | how many at a time, and who goes first | `places` |
//! | one process, and why it was lost | `process` |
//! | who starts them | `spawner` |
//! | giving a decoding up | `cancel` |
//!
//! Invariant: one photo costs at most one photo, and only if its bytes are at fault. A process that is lost is replaced for
//! the next one. Invariant: a process ends with its daemon, however that ends, and with the decoding that is given up.

mod cancel;
mod places;
mod process;
mod spawner;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub use self::cancel::Cancel;
use self::places::{GivenUp, Place, Places, Use};
use self::process::{Lost, Process};
use self::spawner::Spawner;
use super::confine::Protection;
use super::worker::{Answer, Wanted};
use super::{DecodeError, Decoded, Limits, Need, Square, Squares};
use crate::photo::Rgb;

/// How much longer than computing may take a photo may be in the works by the clock. Background work waits for everything
/// else on the machine; that is not the photo's fault.
const PATIENCE: u32 = 10;

/// The same where somebody waits for the answer.
const QUERY_PATIENCE: u32 = 3;

/// Processes that a photo gets one after another while each is lost by no fault of the photo.
const TRIES: u32 = 4;

/// Why a photo did not come back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolatedError {
    /// The photo is at fault.
    #[error(transparent)]
    Photo(#[from] DecodeError),
    /// Processes were lost over it by no fault of its own: killed or stopped by others, or for lack of something. The
    /// same photo may well be decoded later.
    #[error("decoding was interrupted: {reason}")]
    Interrupted {
        /// What became of the last one.
        reason: String,
    },
    /// The process cannot be started; no photo is at fault, and it may well start later.
    #[error("the decoding process cannot be started ({})", program.display())]
    Start {
        /// What should have run.
        program: PathBuf,
        /// Why it did not.
        source: io::Error,
    },
    /// It was given up: by [`Cancel::cancel`] or [`Decoders::close`].
    #[error("decoding was given up")]
    Cancelled,
}

impl IsolatedError {
    /// Whether the machine is at fault, so that the same photo is to be tried again after a while.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::Start { .. })
    }
}

impl From<GivenUp> for IsolatedError {
    fn from(_: GivenUp) -> Self {
        Self::Cancelled
    }
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

/// Decoders in worker processes. Clones share them; whoever calls while all are busy waits.
#[derive(Clone, Debug)]
pub struct Decoders(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: Program,
    limits: Limits,
    serves: Use,
    places: Arc<Places<Process>>,
    spawner: Spawner,
    /// What the last process that was started gave away.
    protection: Mutex<Option<Protection>>,
    lost: AtomicU64,
}

impl Decoders {
    /// Prepares one process a core. They are started when they are needed.
    pub fn new(program: Program, limits: Limits) -> Self {
        let places = Arc::new(Places::new(cores() + 1));
        Self::serving(Use::Indexing, program, limits, places, || ())
    }

    /// Prepares decoders for indexing, whose processes have the priority that `lower_priority` gives their thread, and
    /// decoders for queries, which go first. Together they are one process a core, and one.
    pub fn for_indexing_and_queries(program: &Program, limits: Limits, lower_priority: fn()) -> (Self, Self) {
        let places = Arc::new(Places::new(cores() + 1));
        let serving =
            |serves, prepare| Self::serving(serves, program.clone(), limits, Arc::clone(&places), prepare);
        (serving(Use::Indexing, lower_priority), serving(Use::Queries, || ()))
    }

    fn serving(
        serves: Use,
        program: Program,
        limits: Limits,
        places: Arc<Places<Process>>,
        prepare: fn(),
    ) -> Self {
        let name = match serves {
            Use::Indexing => "spawn-decoders",
            Use::Queries => "spawn-query",
        };
        let (protection, lost) = (Mutex::new(None), AtomicU64::new(0));
        let spawner = Spawner::new(name, prepare);
        Self(Arc::new(Shared { program, limits, serves, places, spawner, protection, lost }))
    }

    /// Returns what a photo may cost.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Starts a worker if none waits, and returns what it gave away.
    ///
    /// # Errors
    /// [`IsolatedError::Start`], or [`IsolatedError::Cancelled`] once they are closed.
    pub fn protection(&self) -> Result<Protection, IsolatedError> {
        let cancel = Cancel::default();
        let (place, process) = self.take(false, &cancel)?;
        let protection = process.protection;
        place.keep(process);
        Ok(protection)
    }

    /// Returns what the last worker gave away, if one was started.
    pub fn last_protection(&self) -> Option<Protection> {
        *self.0.protection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many workers were lost over photos.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Returns the most memory that one of the workers that wait ever had, where the system tells.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        self.0.places.each_idle(|process| process.peak_memory_bytes()).into_iter().flatten().max()
    }

    /// Ends the workers that have waited for a photo for that long, those of queries and of indexing alike. Blocks for a
    /// moment.
    pub fn end_idle_for(&self, time: Duration) {
        drop(self.0.places.take_idle_for(time));
    }

    /// Gives up what is being decoded, and decodes nothing more. Blocks for a moment.
    pub fn close(&self) {
        self.0.places.close(self.0.serves);
    }

    /// Decodes the bytes of one file, like [`decode`](super::decode).
    ///
    /// # Errors
    /// [`IsolatedError::Photo`] condemns this photo, the others none.
    pub fn decode(&self, bytes: &[u8], need: Need) -> Result<Decoded, IsolatedError> {
        let Answer { mut images, info, .. } = self.ask(bytes, &Wanted::Picture(need), &Cancel::default())?;
        let image = images.pop().expect("one was asked for");
        Ok(Decoded { image, info })
    }

    /// Decodes the bytes of one file for networks, like [`decode_squares`](super::decode_squares). `cancel` gives it up
    /// from another thread, and is for one decoding at a time.
    ///
    /// # Errors
    /// As those of [`decode`](Self::decode).
    pub fn decode_squares(
        &self,
        bytes: &[u8],
        squares: &[Square],
        cancel: &Cancel,
    ) -> Result<Squares, IsolatedError> {
        let Answer { images, info, appearance } =
            self.ask(bytes, &Wanted::Squares(squares.to_vec()), cancel)?;
        let appearance = appearance.expect("an answer without it is none");
        Ok(Squares { images, info, appearance: *appearance })
    }

    /// Decodes the bytes of one file for people, like [`decode_fitted`](super::decode_fitted). `cancel` as of
    /// [`decode_squares`](Self::decode_squares).
    ///
    /// # Errors
    /// As those of [`decode`](Self::decode).
    pub fn decode_fitted(
        &self,
        bytes: &[u8],
        longest_side: u32,
        cancel: &Cancel,
    ) -> Result<Rgb, IsolatedError> {
        let Answer { mut images, .. } = self.ask(bytes, &Wanted::Fitted(longest_side), cancel)?;
        Ok(images.pop().expect("one was asked for"))
    }

    fn ask(&self, bytes: &[u8], wanted: &Wanted, cancel: &Cancel) -> Result<Answer, IsolatedError> {
        let Shared { limits, serves, lost, .. } = &*self.0;
        // Refused here, since it need not travel for that.
        limits.check_len(bytes.len())?;
        let patience = limits.max_time.saturating_mul(match serves {
            Use::Indexing => PATIENCE,
            Use::Queries => QUERY_PATIENCE,
        });
        let mut breaks_decoders = false;
        let mut interruptions = 0;
        let mut alone = false;
        loop {
            let (place, process) = self.take(alone, cancel)?;
            let error = match process.ask(bytes, wanted, limits, patience, cancel) {
                Ok(answer) => {
                    place.keep(process);
                    return Ok(answer?);
                }
                Err(error) => error,
            };
            if cancel.is_cancelled() {
                return Err(IsolatedError::Cancelled);
            }
            lost.fetch_add(1, Ordering::Relaxed);
            match process.end(error, limits) {
                // Another process would take as long.
                Lost::ToPhoto(error @ DecodeError::TimedOut { .. }) => return Err(error.into()),
                // What breaks two is at fault.
                Lost::ToPhoto(error) if breaks_decoders => return Err(error.into()),
                Lost::ToPhoto(error) => {
                    breaks_decoders = true;
                    alone |= matches!(error, DecodeError::OutOfMemory { .. });
                }
                Lost::ToMachine(reason) => {
                    interruptions += 1;
                    if interruptions == TRIES {
                        return Err(IsolatedError::Interrupted { reason });
                    }
                    // Where memory is short, it is for all that is decoded at a time.
                    alone = true;
                }
            }
            drop(place);
        }
    }

    /// Waits for a place and takes the process that waits there, or starts one.
    fn take(&self, alone: bool, cancel: &Cancel) -> Result<(Place<Process>, Process), IsolatedError> {
        let Shared { program, limits, serves, places, spawner, protection, .. } = &*self.0;
        let mut place = places.enter(*serves, alone, cancel)?;
        if let Some(process) = place.process.take() {
            return Ok((place, process));
        }
        let process = start(program, spawner, limits, cancel)?;
        *protection.lock().unwrap_or_else(PoisonError::into_inner) = Some(process.protection);
        Ok((place, process))
    }
}

/// Starts a process, a few times where it does not come up: it may have been killed before its first word.
fn start(
    program: &Program,
    spawner: &Spawner,
    limits: &Limits,
    cancel: &Cancel,
) -> Result<Process, IsolatedError> {
    let mut tries = 1;
    loop {
        match Process::start(program, spawner, limits, cancel) {
            Err(IsolatedError::Start { .. }) if tries < TRIES => tries += 1,
            started => return started,
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests;
