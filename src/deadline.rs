//! Calls of the file system that may never come back.
//!
//! A disk that does not answer (NFS whose server is gone, a FUSE program that stopped, a dying drive) holds whoever asks
//! it inside the kernel, and nothing frees a thread from there. So whoever must not wait asks on a thread that may be
//! left behind: [`ask`] from asynchronous code, [`ask_blocking`] from a thread. Long calls beat the [`Pulse`] they are
//! given; the time runs from the last beat, so that a slow disk is not taken for a dead one.
//!
//! Invariant: threads left behind are few. While a call at a path has not come back, neither that path nor anything
//! below it is asked again, nor is a third path beside two of them; and [`MAX_CALLS`] bounds all together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long a disk may be silent. Longer than a sleeping disk needs to spin up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Calls that may be on their way at a time, for all who ask.
pub const MAX_CALLS: usize = 256;

/// So many calls that have not come back from one folder keep others from being asked in it.
const LOST_IN_FOLDER: usize = 2;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing came for so long.
    #[error("the disk of {} does not answer: it has been silent for {} seconds", path.display(), patience.as_secs())]
    Silent {
        /// What was asked for.
        path: PathBuf,
        /// For how long at least.
        patience: Duration,
    },

    /// It was not asked, since it owes earlier answers.
    #[error("the disk of {} does not answer: an earlier call has not come back yet", path.display())]
    StillSilent {
        /// What was asked for.
        path: PathBuf,
    },

    /// It was not asked, since too many others are.
    #[error("too many calls to disks are on their way")]
    TooMany,

    /// It was not asked.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),

    /// The call itself failed, by a mistake of ours.
    #[error("a call to the disk panicked")]
    Panicked,
}

impl NoAnswer {
    /// Says whether it is the disk that does not answer, rather than we who could not ask.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::StillSilent { .. })
    }
}

/// Shows that a call makes progress.
#[derive(Debug)]
pub struct Pulse {
    begun: Instant,
    /// Milliseconds from `begun` to the last beat.
    last: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Pulse {
    /// Something came from the disk.
    pub fn beat(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// Asks the disk on a thread of its own, and waits as long as something comes at least every `patience`.
///
/// # Errors
/// The disk was silent for longer, or is known to be. The thread is left behind then, and ends when the disk answers.
pub async fn ask<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    call: impl FnOnce(&Pulse) -> T + Send + 'static,
) -> Result<T, NoAnswer> {
    let (answer, mut answered) = oneshot::channel();
    let pulse = start(path, patience, move |pulse| {
        // Whoever asked may have gone.
        let _ = answer.send(call(pulse));
    })?;
    loop {
        let deadline = pulse.last() + patience;
        match tokio::time::timeout_at(deadline.into(), &mut answered).await {
            Ok(answer) => return answer.map_err(|_| NoAnswer::Panicked),
            Err(_) if pulse.last() + patience > deadline => {}
            Err(_) => return Err(NoAnswer::Silent { path: path.to_path_buf(), patience }),
        }
    }
}

/// The same for those who may block, but not for ever.
///
/// # Errors
/// As of [`ask`].
pub fn ask_blocking<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    call: impl FnOnce(&Pulse) -> T + Send + 'static,
) -> Result<T, NoAnswer> {
    let (answer, answered) = mpsc::sync_channel(1);
    let pulse = start(path, patience, move |pulse| {
        let _ = answer.send(call(pulse));
    })?;
    loop {
        let deadline = pulse.last() + patience;
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(answer) => return Ok(answer),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(NoAnswer::Panicked),
            Err(mpsc::RecvTimeoutError::Timeout) if pulse.last() + patience > deadline => {}
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(NoAnswer::Silent { path: path.to_path_buf(), patience });
            }
        }
    }
}

/// A call that has not come back yet.
struct Call {
    number: u64,
    path: PathBuf,
    patience: Duration,
    pulse: Arc<Pulse>,
}

impl Call {
    fn is_lost(&self) -> bool {
        self.pulse.last().elapsed() >= self.patience
    }
}

/// All calls on their way. One list for the process, since its threads are what is to be bounded.
static CALLS: Mutex<Vec<Call>> = Mutex::new(Vec::new());

/// Takes its call off the list, on return and on panic alike.
struct OnItsWay(u64);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).retain(|call| call.number != self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "it may never end, so nobody can join it")]
fn start(
    path: &Path,
    patience: Duration,
    call: impl FnOnce(&Pulse) + Send + 'static,
) -> Result<Arc<Pulse>, NoAnswer> {
    let pulse = Arc::new(Pulse::default());
    let on_its_way = {
        let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        admit(&calls, path)?;
        let number = calls.iter().map(|call| call.number + 1).max().unwrap_or(0);
        calls.push(Call { number, path: path.to_path_buf(), patience, pulse: Arc::clone(&pulse) });
        OnItsWay(number)
    };
    let shown = Arc::clone(&pulse);
    thread::Builder::new()
        .name("disk-call".into())
        .spawn(move || {
            // As a whole, so that it is dropped after the call, and not before.
            let _on_its_way = on_its_way;
            call(&shown);
        })
        .map_err(NoAnswer::Thread)?;
    Ok(pulse)
}

fn admit(calls: &[Call], path: &Path) -> Result<(), NoAnswer> {
    let mut beside = 0;
    for lost in calls.iter().filter(|call| call.is_lost()) {
        beside += usize::from(lost.path.parent() == path.parent());
        if path.starts_with(&lost.path) || beside >= LOST_IN_FOLDER {
            return Err(NoAnswer::StillSilent { path: path.to_path_buf() });
        }
    }
    if calls.len() >= MAX_CALLS { Err(NoAnswer::TooMany) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(120);

    /// Opening a FIFO waits inside the kernel for whoever opens its other end: a disk that does not answer.
    fn fifo(path: PathBuf) -> PathBuf {
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        path
    }

    fn open(path: &Path, patience: Duration) -> Result<bool, NoAnswer> {
        let asked = path.to_path_buf();
        ask_blocking(path, patience, move |_| File::open(asked).is_ok())
    }

    #[test]
    fn a_silent_disk_is_left_alone_until_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| fifo(folder.path().join(name)));
        assert!(matches!(open(&one, SHORT), Err(NoAnswer::Silent { .. })));
        // Not asked at all, or it would be waited for.
        assert!(matches!(open(&one, LONG), Err(NoAnswer::StillSilent { .. })));
        assert!(matches!(open(&one.join("below"), LONG), Err(NoAnswer::StillSilent { .. })));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(open(&folder.path().join("file"), LONG).unwrap(), "one lost call says nothing of the folder");
        assert!(matches!(open(&two, SHORT), Err(NoAnswer::Silent { .. })));
        assert!(matches!(open(&folder.path().join("file"), LONG), Err(NoAnswer::StillSilent { .. })));
        // Others do not suffer.
        assert!(open(Path::new("/proc/self/stat"), LONG).unwrap());

        for path in [&one, &two] {
            // Opens the other end, and thereby ends the call.
            File::options().write(true).open(path).unwrap();
        }
        let begun = Instant::now();
        while !matches!(open(&folder.path().join("file"), LONG), Ok(true)) {
            assert!(begun.elapsed() < LONG, "never asked again");
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_slow_disk_is_no_silent_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slow");
        let answer = ask(&path, SHORT * 10, |pulse| {
            let begun = Instant::now();
            while begun.elapsed() < SHORT * 15 {
                pulse.beat();
                thread::yield_now();
            }
            7
        });
        assert_eq!(answer.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn whoever_asks_from_asynchronous_code_is_told_of_silence_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path().join("fifo"));
        let asked = path.clone();
        let answer = ask(&path, SHORT, move |_| File::open(asked).is_ok()).await;
        assert!(answer.is_err_and(|error| error.is_silence()));
        File::options().write(true).open(&path).unwrap();
    }

    #[test]
    fn a_call_that_panics_is_no_silence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let answer = ask_blocking(&path, LONG, |_| panic!("on purpose"));
        assert!(matches!(answer, Err::<(), _>(NoAnswer::Panicked)));
    }
}
