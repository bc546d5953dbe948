//! Between redb and the disk: what a full, read-only or failing disk does not take is kept here until it does.
//!
//! redb gives a database up for good once a write has failed, reading included. So it never hears of one: from the first
//! write that the disk refuses, writes are staged in memory in the order of their syncs, reads see them, and
//! [`Backend::retry`] brings them to the disk. Meanwhile [`Store`](super::Store) begins no further transaction, which
//! bounds what is staged to the one that was being written.
//!
//! What was written since the last sync is kept in any case: after a sync that failed, the kernel has thrown those pages
//! away and calls the next sync a success, so they have to be written once more.
//!
//! Invariant: the disk holds a prefix of the writes in the order of their syncs, and of the next few any part, as after
//! a crash. So whatever ends the process, the last commit that was confirmed is there.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::disk::Disk;
use super::staged::Epoch;

/// So much may be written without a sync; then one is made early, which is always right. Bounds the memory for what may
/// have to be written again.
const UNSYNCED_BYTES: usize = 32 << 20;

/// What cannot be read is tried again after these pauses, since a bus or a network may stumble. Then it is lost.
const READ_AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_millis(500)];

/// Why nothing can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What can be done about it.
    pub kind: ProblemKind,
    /// What the system says.
    pub reason: String,
    /// Since when.
    pub since: SystemTime,
}

/// What is the matter with the disk under the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// No room, or the user's share is used up.
    Full,
    /// It may only be read.
    ReadOnly,
    /// Writing fails in another way.
    Failing,
    /// What was written cannot be read any more. Nothing mends that.
    Unreadable,
}

impl ProblemKind {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly,
            _ => Self::Failing,
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            ProblemKind::Full => "the disk is full",
            ProblemKind::ReadOnly => "the disk may only be read",
            ProblemKind::Failing => "the disk fails",
            ProblemKind::Unreadable => "the disk cannot be read",
        };
        write!(f, "{what} ({})", self.reason)
    }
}

/// The storage that redb is given. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Backend(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Box<dyn Disk>,
    /// Whether reads must look at what is staged.
    is_staging: AtomicBool,
    state: Mutex<State>,
    /// Signalled when nothing is staged any more, or nobody is to wait any longer.
    settled: Condvar,
    /// Held by whoever brings staged writes to the disk.
    retrying: Mutex<()>,
    problem: watch::Sender<Option<Problem>>,
}

#[derive(Debug, Default)]
struct State {
    /// Synced as far as redb knows; the first is the oldest.
    closed: VecDeque<Arc<Epoch>>,
    /// Written since the last sync. On the disk too while nothing is staged, as far as that can be told before a sync.
    open: Epoch,
    /// The length as redb knows it.
    len: u64,
    /// Whoever waits for the disk gives up.
    gives_up: bool,
}

impl Backend {
    pub(super) fn new(disk: impl Disk + 'static) -> io::Result<Self> {
        let len = disk.len()?;
        let backend = Self(Arc::new(Inner {
            disk: Box::new(disk),
            is_staging: AtomicBool::new(false),
            state: Mutex::new(State { len, ..State::default() }),
            settled: Condvar::new(),
            retrying: Mutex::new(()),
            problem: watch::Sender::new(None),
        }));
        if let Err(error) = backend.0.disk.make_writable() {
            backend.stage(&error);
        }
        Ok(backend)
    }

    /// Returns why nothing can be written; `None` while all is well.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.0.problem.borrow().clone()
    }

    /// Returns the same, and whenever it changes.
    pub(super) fn problems(&self) -> watch::Receiver<Option<Problem>> {
        self.0.problem.subscribe()
    }

    /// Tries to bring what is staged to the disk. True: all is well again.
    pub(super) fn retry(&self) -> bool {
        let _alone = self.0.retrying.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let oldest = {
                let mut state = self.state();
                if !self.is_staging() {
                    return true;
                }
                if state.closed.is_empty() && !state.open.is_empty() {
                    // More syncs than were asked for do no harm.
                    state.close();
                }
                state.closed.front().cloned()
            };
            // Without a lock: a disk may take its time.
            let tried = self.0.disk.make_writable().and_then(|()| match &oldest {
                Some(epoch) => epoch.write_to(self.0.disk.as_ref()).and_then(|()| self.0.disk.sync()),
                // Nothing was staged yet: a sync tells whether writing is possible at all.
                None => self.0.disk.sync(),
            });
            let mut state = self.state();
            match tried {
                Ok(()) => {
                    if oldest.is_some() {
                        state.closed.pop_front();
                    }
                    if state.closed.is_empty() && state.open.is_empty() {
                        self.0.is_staging.store(false, Ordering::Release);
                        self.0.problem.send_if_modified(|problem| {
                            problem.take_if(|problem| problem.kind != ProblemKind::Unreadable).is_some()
                        });
                        self.0.settled.notify_all();
                        return true;
                    }
                }
                Err(error) => {
                    self.tell(&error);
                    return false;
                }
            }
        }
    }

    /// Waits until nothing is staged. False: it was given up before that.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if !self.is_staging() {
                return true;
            }
            if state.gives_up {
                return false;
            }
            state = self.0.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets nobody wait for the disk any more.
    pub(super) fn give_up(&self) {
        self.state().gives_up = true;
        self.0.settled.notify_all();
    }

    fn is_staging(&self) -> bool {
        self.0.is_staging.load(Ordering::Acquire)
    }

    /// From now on nothing reaches the disk but by [`Self::retry`].
    fn stage(&self, error: &io::Error) {
        self.0.is_staging.store(true, Ordering::Release);
        self.tell(error);
    }

    /// Says what is the matter. That it lasts, or has another number, is no news as long as the same can be done.
    fn tell(&self, error: &io::Error) {
        self.say(ProblemKind::of(error), error);
    }

    fn say(&self, kind: ProblemKind, error: &io::Error) {
        self.0.problem.send_if_modified(|problem| match problem {
            Some(known) if known.kind == kind || known.kind == ProblemKind::Unreadable => false,
            _ => {
                let since = problem.as_ref().map_or_else(SystemTime::now, |known| known.since);
                *problem = Some(Problem { kind, reason: error.to_string(), since });
                true
            }
        });
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the open epoch.
    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut pauses = READ_AGAIN_AFTER.iter();
        loop {
            let read =
                if self.is_staging() { self.read_staged(offset, out) } else { self.read_plain(offset, out) };
            let Err(error) = read else { return Ok(()) };
            // Read, but damaged: that is no matter of the disk's answering.
            if error.kind() == io::ErrorKind::InvalidData {
                return Err(error);
            }
            let Some(&pause) = pauses.next() else {
                self.say(ProblemKind::Unreadable, &error);
                return Err(error);
            };
            std::thread::sleep(pause);
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let is_staging = {
            let mut state = self.state();
            state.len = len;
            state.open.set_len(len);
            self.is_staging()
        };
        if !is_staging && let Err(error) = self.0.disk.set_len(len) {
            self.stage(&error);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = if self.is_staging() { None } else { Some(self.0.disk.sync()) };
        let mut state = self.state();
        match synced {
            Some(Ok(())) => state.open = Epoch::default(),
            Some(Err(error)) => {
                self.stage(&error);
                state.close();
            }
            None => state.close(),
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (is_staging, is_much) = {
            let mut state = self.state();
            state.open.write(offset, data);
            (self.is_staging(), state.open.bytes() > UNSYNCED_BYTES)
        };
        if !is_staging && let Err(error) = self.0.disk.write_at(offset, data) {
            self.stage(&error);
        }
        if is_much { self.sync_data() } else { Ok(()) }
    }
}

impl Backend {
    fn read_plain(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.0.disk.read_at(offset, out)?;
        if read < out.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// What the disk holds, under what is staged.
    fn read_staged(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // Taken before the disk is read: what `retry` brings there meanwhile is read twice, never not at all.
        let (closed, open) = {
            let state = self.state();
            (state.closed.iter().cloned().collect::<Vec<_>>(), state.open.part(offset, out.len()))
        };
        let read = self.0.disk.read_at(offset, out)?;
        out[read..].fill(0);
        closed.iter().for_each(|epoch| epoch.lay_over(offset, out));
        open.lay_over(offset, out);
        Ok(())
    }
}
