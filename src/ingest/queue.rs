//! The queue between watching and reading: changes in, one at a time out, live ones first.
//!
//! Invariant: of one file, at most one change is in the works at a time, from [`Queue::take`] until its write is
//! committed, so that two workers never write about the same file in the wrong order. Invariant: one content is
//! encoded once, however many files hold it: whoever meets a content that another worker has in hand parks its
//! change until that one is done.
//!
//! Both lanes are bounded. A full live lane refuses, and the watcher rescans; a full backlog lane lets the
//! scanner wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::photo::{ContentHash, FileId};
use crate::watch::Change;

/// Live changes that may wait. A burst beyond that is cheaper as one scan.
const LIVE: usize = 20_000;

/// Changes of a scan that may wait: some 15 MB.
const BACKLOG: usize = 50_000;

/// The queue. All methods may be called from any thread.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Signalled when a change can be taken, or the queue is closed.
    filled: Condvar,
    /// Signalled when the backlog has room, or the queue is closed.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    live: VecDeque<Change>,
    backlog: VecDeque<Change>,
    /// Files in the works.
    busy: HashSet<FileId>,
    /// Later changes of files in the works, in their order.
    waiting: HashMap<FileId, VecDeque<Change>>,
    /// Contents in the works, with the changes parked for them. Their files stay busy.
    contents: HashMap<ContentHash, Vec<Change>>,
    closed: bool,
}

/// Whether a worker may encode a content.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It may, and must [release](Queue::release) it.
    Granted,
    /// Another worker has it; the change comes back later.
    Parked,
}

impl Queue {
    /// Adds a change that was just seen. False when the lane is full or closed: nothing was added.
    pub fn push_live(&self, change: Change) -> bool {
        let mut state = self.lock();
        if state.closed || state.live.len() >= LIVE {
            return false;
        }
        state.live.push_back(change);
        self.filled.notify_one();
        true
    }

    /// Adds a change of a scan; waits while the lane is full. False when the queue is closed.
    pub fn push_backlog(&self, change: Change) -> bool {
        let mut state = self.lock();
        while state.backlog.len() >= BACKLOG && !state.closed {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.backlog.push_back(change);
        self.filled.notify_one();
        true
    }

    /// Takes the next change whose files nobody has in the works, and waits for one. `None` once the queue is closed.
    ///
    /// Each file of the change is busy from now on, until [`Queue::done`].
    pub fn take(&self) -> Option<Change> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            while let Some(change) = state.next() {
                self.drained.notify_one();
                if let Some(change) = state.admit(change) {
                    return Some(change);
                }
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets a worker encode a content, or parks its change while another one does.
    pub fn claim(&self, content: ContentHash, change: &Change) -> Claim {
        let mut state = self.lock();
        if let Some(parked) = state.contents.get_mut(&content) {
            parked.push(change.clone());
            return Claim::Parked;
        }
        state.contents.insert(content, Vec::new());
        Claim::Granted
    }

    /// Gives a claimed content back, after its commit or its failure. The changes parked for it go first now.
    pub fn release(&self, content: ContentHash) {
        let mut state = self.lock();
        for change in state.contents.remove(&content).into_iter().flatten() {
            for file in files(&change) {
                state.busy.remove(file);
            }
            state.live.push_front(change);
            self.filled.notify_one();
        }
    }

    /// Ends the works on a file. What came for it meanwhile goes first now.
    pub fn done(&self, file: &FileId) {
        let mut state = self.lock();
        state.busy.remove(file);
        for change in state.waiting.remove(file).into_iter().flatten().rev() {
            state.live.push_front(change);
            self.filled.notify_one();
        }
    }

    /// Returns how many files are queued or in the works.
    pub fn pending(&self) -> usize {
        let state = self.lock();
        let waiting: usize = state.waiting.values().map(VecDeque::len).sum();
        state.live.len() + state.backlog.len() + waiting + state.busy.len()
    }

    /// Lets everybody go. What is queued is forgotten: the next start finds it again.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Change> {
        self.live.pop_front().or_else(|| self.backlog.pop_front())
    }

    /// Marks the files of a change as busy, or lays the change aside where one of them is.
    fn admit(&mut self, change: Change) -> Option<Change> {
        let blocking = files(&change).find(|file| self.busy.contains(*file)).cloned();
        if let Some(file) = blocking {
            self.waiting.entry(file).or_default().push_back(change);
            return None;
        }
        self.busy.extend(files(&change).cloned());
        Some(change)
    }
}

/// Returns the files that a change is about.
pub(super) fn files(change: &Change) -> impl Iterator<Item = &FileId> {
    let (first, second) = match change {
        Change::Read { file, .. } | Change::Gone { file } => (file, None),
        Change::Moved { from, to, .. } => (from, Some(to)),
    };
    std::iter::once(first).chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{RelativePath, RootId};

    fn gone(name: &str) -> Change {
        let path = RelativePath::from_bytes(name.as_bytes().to_vec());
        Change::Gone { file: FileId { root: RootId(1), path } }
    }

    fn file(change: &Change) -> FileId {
        files(change).next().unwrap().clone()
    }

    #[test]
    fn live_changes_go_before_the_backlog() {
        let queue = Queue::default();
        assert!(queue.push_backlog(gone("old")));
        assert!(queue.push_live(gone("new")));
        assert_eq!(queue.take(), Some(gone("new")));
        assert_eq!(queue.take(), Some(gone("old")));
    }

    #[test]
    fn a_file_in_the_works_is_not_given_out_again_until_it_is_done() {
        let queue = Queue::default();
        queue.push_live(gone("a"));
        queue.push_live(gone("a"));
        queue.push_live(gone("b"));
        let first = queue.take().unwrap();
        assert_eq!(first, gone("a"));
        assert_eq!(queue.take(), Some(gone("b")), "the second change of a waits");
        queue.done(&file(&first));
        assert_eq!(queue.take(), Some(gone("a")));
        assert_eq!(queue.pending(), 2, "a and b are in the works");
    }

    #[test]
    fn a_content_in_hand_parks_the_next_change_until_it_is_released() {
        let queue = Queue::default();
        let content = ContentHash::of(b"x");
        queue.push_live(gone("a"));
        queue.push_live(gone("b"));
        let (a, b) = (queue.take().unwrap(), queue.take().unwrap());
        assert_eq!(queue.claim(content, &a), Claim::Granted);
        assert_eq!(queue.claim(content, &b), Claim::Parked);
        queue.release(content);
        assert_eq!(queue.take(), Some(b));
    }

    #[test]
    fn a_full_live_lane_refuses() {
        let queue = Queue::default();
        for number in 0..LIVE {
            assert!(queue.push_live(gone(&number.to_string())));
        }
        assert!(!queue.push_live(gone("one more")));
    }

    #[test]
    fn closing_wakes_whoever_waits() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| queue.take());
            let pusher =
                scope.spawn(|| (0..=BACKLOG).all(|number| queue.push_backlog(gone(&number.to_string()))));
            taker.join().unwrap();
            queue.close();
            // One was taken, so that the last push may or may not have found room before the close.
            pusher.join().unwrap();
        });
        assert_eq!(queue.take(), None);
        assert!(!queue.push_live(gone("late")) && !queue.push_backlog(gone("late")));
    }
}
