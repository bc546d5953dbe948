//! The queue between watching and reading: changes in, one at a time out. Live ones go first, and of these the
//! newest, so that one new photo does not wait behind the ten thousand of a card.
//!
//! Invariant: of one file, at most one change is in a lane or in the works at a time, until its write is committed;
//! later ones wait for it in their order. So workers never write about the same file in the wrong order, whatever
//! order the lanes have. Invariant: one content is encoded once, however many files hold it: whoever meets a
//! content that another worker has in hand parks its change until that one is done.
//!
//! What waits here is a part of what is known: a file whose [`Outlook`] is that it leaves is no longer known to whoever
//! compares the disk with the store, so that its return is a change like any other.
//!
//! Both lanes are bounded, and so is what waits behind a busy file. Full, the live lane refuses, and the watcher rescans;
//! the backlog lane lets the scanner wait. Of one file, a later change replaces those that wait and that it makes needless.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::photo::{ContentHash, FileId, RelativePath, RootId};
use crate::watch::Change;

/// Live changes that may wait. A burst beyond that is cheaper as one scan.
const LIVE: usize = 20_000;

/// Changes of a scan that may wait: some 15 MB.
const BACKLOG: usize = 50_000;

/// Changes that may wait behind busy files, of whichever lane.
const WAITING: usize = 20_000;

/// The queue. All methods may be called from any thread.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Signalled when a change can be taken, also because nothing holds the queue any more, or the queue is closed.
    filled: Condvar,
    /// Signalled when the backlog has room, or the queue is closed.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    /// Taken from the end.
    live: Vec<Change>,
    /// Taken from the front.
    backlog: VecDeque<Change>,
    /// Files with a change in a lane or in the works, and what that will come to.
    busy: BTreeMap<FileId, Outlook>,
    /// Later changes of busy files, in their order. None is without one.
    waiting: HashMap<FileId, Vec<(Lane, Change)>>,
    /// How many these are together.
    waiting_len: usize,
    /// Contents in the works, with the changes parked for them. Their files stay busy.
    contents: HashMap<ContentHash, Vec<Change>>,
    /// While there is one, nothing is taken.
    holds: BTreeSet<Hold>,
    closed: bool,
}

/// Why changes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// A client asked for it.
    Asked,
    /// The machine runs on its battery.
    OnBattery,
    /// Others wait for the machine.
    UnderPressure,
    /// The disk under the store takes no writes, so that what was read could not be kept.
    CannotWrite,
}

impl Hold {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Asked, Self::OnBattery, Self::UnderPressure, Self::CannotWrite];

    /// Returns its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::OnBattery => "on_battery",
            Self::UnderPressure => "under_pressure",
            Self::CannotWrite => "cannot_write",
        }
    }
}

/// What the changes that wait will make of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It will be read, so that what is known of it may be another then.
    Read,
    /// It will not be known any more.
    Leaves,
    /// It will be known as one that has to be read again.
    Doubtful,
}

#[derive(Clone, Copy)]
enum Lane {
    Live,
    Backlog,
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
        if state.closed || state.live.len() >= LIVE || state.waiting_len >= WAITING {
            return false;
        }
        state.enter(Lane::Live, change);
        self.filled.notify_one();
        true
    }

    /// Adds a change of a scan; waits while the lane is full. False when the queue is closed.
    pub fn push_backlog(&self, change: Change) -> bool {
        let mut state = self.lock();
        while (state.backlog.len() >= BACKLOG || state.waiting_len >= WAITING) && !state.closed {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.enter(Lane::Backlog, change);
        self.filled.notify_one();
        true
    }

    /// Lets nothing be taken any more for this reason, or gives the reason up. What is in the works is finished.
    /// False when that changes nothing.
    pub fn hold(&self, why: Hold, is_held: bool) -> bool {
        let mut state = self.lock();
        let is_news = if is_held { state.holds.insert(why) } else { state.holds.remove(&why) };
        self.filled.notify_all();
        is_news
    }

    /// Returns why nothing is taken now; empty while all goes its way.
    pub fn holds(&self) -> Vec<Hold> {
        self.lock().holds.iter().copied().collect()
    }

    /// Takes the next change, and waits for one. `None` once the queue is closed. Its files are busy until
    /// [`Queue::done`].
    pub fn take(&self) -> Option<Change> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let is_held = !state.holds.is_empty();
            if !is_held && let Some(change) = state.live.pop() {
                return Some(change);
            }
            if !is_held && let Some(change) = state.backlog.pop_front() {
                self.drained.notify_one();
                return Some(change);
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

    /// Gives a claimed content back, after its commit or its failure. The changes parked for it go next.
    pub fn release(&self, content: ContentHash) {
        let mut state = self.lock();
        let parked = state.contents.remove(&content).unwrap_or_default();
        // Their files were busy all the while.
        state.live.extend(parked);
        self.filled.notify_all();
    }

    /// Ends the works on a file. What came for it meanwhile may go now.
    pub fn done(&self, file: &FileId) {
        let mut state = self.lock();
        state.busy.remove(file);
        let waited = state.waiting.remove(file).unwrap_or_default();
        state.waiting_len -= waited.len();
        for (lane, change) in waited {
            state.enter(lane, change);
        }
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Returns what the last change that waits, or is in the works, will make of a file; `None` where there is none.
    ///
    /// To be asked before the store is: what leaves here is there already.
    pub fn outlook(&self, file: &FileId) -> Option<Outlook> {
        self.lock().outlook(file)
    }

    /// Returns the outlook of each file below a directory for which there is one.
    pub fn outlooks(&self, root: RootId, directory: &RelativePath) -> HashMap<FileId, Outlook> {
        let mut below = directory.as_bytes().to_vec();
        if !below.is_empty() {
            below.push(b'/');
        }
        let first = FileId { root, path: RelativePath::from_bytes(below.clone()) };
        let state = self.lock();
        // All that begins with the same bytes stands together.
        let files = state.busy.range(&first..).map(|(file, _)| file);
        let files = files.take_while(|file| file.root == root && file.path.as_bytes().starts_with(&below));
        files.filter_map(|file| Some((file.clone(), state.outlook(file)?))).collect()
    }

    /// Returns the files of a root that are queued or in the works, in no order.
    pub fn in_works(&self, root: RootId) -> Vec<FileId> {
        self.outlooks(root, &RelativePath::default()).into_keys().collect()
    }

    /// Returns how many files are queued or in the works.
    pub fn pending(&self) -> usize {
        let state = self.lock();
        state.busy.len() + state.waiting_len
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
    fn outlook(&self, file: &FileId) -> Option<Outlook> {
        let of_change =
            |change: &Change| outlooks(change).find(|(of, _)| *of == file).map(|(_, outlook)| outlook);
        let waiting = self.waiting.get(file).into_iter().flatten().rev();
        waiting.map(|(_, change)| change).find_map(of_change).or_else(|| self.busy.get(file).copied())
    }

    /// Puts a change into its lane, or behind an earlier change of one of its files. A move that waits for one file
    /// does not hold the other: whoever takes it looks at the disk again.
    fn enter(&mut self, lane: Lane, change: Change) {
        let blocking = files(&change).find(|file| self.busy.contains_key(*file)).cloned();
        if let Some(file) = blocking {
            let waiting = self.waiting.entry(file).or_default();
            self.waiting_len -= waiting.len();
            // A move, or a doubt that a later move must see, is never needless.
            let is_needless = |earlier: &Change| matches!(earlier, Change::Read { .. } | Change::Gone { .. });
            let makes_needless = matches!(change, Change::Read { .. } | Change::Gone { .. });
            while waiting
                .last()
                .is_some_and(|(_, last)| *last == change || (makes_needless && is_needless(last)))
            {
                waiting.pop();
            }
            waiting.push((lane, change));
            self.waiting_len += waiting.len();
            return;
        }
        self.busy.extend(outlooks(&change).map(|(file, outlook)| (file.clone(), outlook)));
        match lane {
            Lane::Live => self.live.push(change),
            Lane::Backlog => self.backlog.push_back(change),
        }
    }
}

/// Returns the files that a change is about, and what it will make of them.
fn outlooks(change: &Change) -> impl Iterator<Item = (&FileId, Outlook)> {
    let (first, second) = match change {
        Change::Read { file, .. } => ((file, Outlook::Read), None),
        Change::Doubtful { file } => ((file, Outlook::Doubtful), None),
        Change::Gone { file } => ((file, Outlook::Leaves), None),
        Change::Moved { from, to, .. } => ((from, Outlook::Leaves), Some((to, Outlook::Read))),
    };
    std::iter::once(first).chain(second)
}

/// Returns the files that a change is about.
pub(super) fn files(change: &Change) -> impl Iterator<Item = &FileId> {
    outlooks(change).map(|(file, _)| file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::{Fingerprint, RelativePath};

    fn gone(name: &str) -> Change {
        let path = RelativePath::from_bytes(name.as_bytes().to_vec());
        Change::Gone { file: FileId { root: RootId(1), path } }
    }

    fn file(change: &Change) -> FileId {
        files(change).next().unwrap().clone()
    }

    #[test]
    fn live_changes_go_before_the_backlog_and_the_newest_first() {
        let queue = Queue::default();
        for name in ["old", "older"] {
            assert!(queue.push_backlog(gone(name)));
        }
        for name in ["new", "newer"] {
            assert!(queue.push_live(gone(name)));
        }
        for name in ["newer", "new", "old", "older"] {
            assert_eq!(queue.take(), Some(gone(name)));
        }
    }

    #[test]
    fn the_changes_of_one_file_keep_their_order_in_whatever_lane() {
        let queue = Queue::default();
        let moved = Change::Moved {
            from: file(&gone("a")),
            to: file(&gone("b")),
            path: "/b".into(),
            fingerprint: Fingerprint { len: 0, modified_ns: 0, changed_ns: 0, inode: 0 },
        };
        queue.push_backlog(gone("a"));
        queue.push_live(moved.clone());
        queue.push_live(gone("b"));
        assert_eq!(queue.pending(), 3, "a, b, and the move that waits for a");
        assert_eq!(queue.take(), Some(gone("b")), "the newest, and b is free");
        queue.done(&file(&gone("b")));
        assert_eq!(queue.take(), Some(gone("a")));
        queue.done(&file(&gone("a")));
        assert_eq!(queue.take(), Some(moved));
        queue.push_live(gone("b"));
        assert_eq!(queue.pending(), 3);
        queue.done(&file(&gone("a")));
        queue.done(&file(&gone("b")));
        assert_eq!(queue.take(), Some(gone("b")));
    }

    fn read(name: &str, len: u64) -> Change {
        let fingerprint = Fingerprint { len, modified_ns: 0, changed_ns: 0, inode: 0 };
        Change::Read { file: file(&gone(name)), path: format!("/{name}").into(), fingerprint }
    }

    /// A file that was rewritten while indexing was paused took memory for each time.
    #[test]
    fn of_a_file_that_changes_again_and_again_only_what_still_counts_waits() {
        let queue = Queue::default();
        let doubtful = Change::Doubtful { file: file(&gone("a")) };
        queue.push_live(read("a", 0));
        for len in 1..1000 {
            assert!(queue.push_live(gone("a")) && queue.push_live(read("a", len)));
        }
        assert_eq!(queue.pending(), 2, "the one in the lane, and the newest");
        queue.push_live(doubtful.clone());
        queue.push_live(read("a", 7));
        queue.push_live(gone("a"));
        assert_eq!(queue.pending(), 4, "a doubt is not needless");
        for next in [read("a", 0), read("a", 999), doubtful, gone("a")] {
            assert_eq!(queue.take(), Some(next));
            queue.done(&file(&gone("a")));
        }
        assert_eq!(queue.pending(), 0);
    }

    #[test]
    fn what_waits_behind_busy_files_is_bounded() {
        let queue = Queue::default();
        let names: Vec<String> = (0..LIVE / 2).map(|number| number.to_string()).collect();
        names.iter().for_each(|name| assert!(queue.push_live(gone(name))));
        let doubt = |name: &String| Change::Doubtful { file: file(&gone(name)) };
        names.iter().for_each(|name| assert!(queue.push_live(doubt(name)) && queue.push_live(gone(name))));
        assert!(!queue.push_live(gone("one more")));
        let taken = queue.take().unwrap();
        queue.done(&file(&taken));
        assert!(queue.push_live(gone("one more")));
    }

    #[test]
    fn the_last_change_that_waits_says_what_becomes_of_a_file() {
        let queue = Queue::default();
        let (a, b) = (file(&gone("a")), file(&gone("b")));
        let outlooks = |queue: &Queue| (queue.outlook(&a), queue.outlook(&b));
        assert_eq!(outlooks(&queue), (None, None));
        let fingerprint = Fingerprint { len: 0, modified_ns: 0, changed_ns: 0, inode: 0 };
        queue.push_live(Change::Moved { from: a.clone(), to: b.clone(), path: "/b".into(), fingerprint });
        assert_eq!(outlooks(&queue), (Some(Outlook::Leaves), Some(Outlook::Read)));
        queue.push_live(read("a", 1));
        queue.push_live(gone("b"));
        assert_eq!(outlooks(&queue), (Some(Outlook::Read), Some(Outlook::Leaves)));
        queue.take().unwrap();
        assert_eq!(
            outlooks(&queue),
            (Some(Outlook::Read), Some(Outlook::Leaves)),
            "in the works is not done"
        );
        queue.done(&a);
        queue.push_live(Change::Doubtful { file: a.clone() });
        queue.done(&b);
        assert_eq!(outlooks(&queue), (Some(Outlook::Doubtful), Some(Outlook::Leaves)));
        queue.push_live(gone("d/c"));
        let outlooks = |root: u32, directory: &[u8]| {
            let mut found: Vec<_> = queue
                .outlooks(RootId(root), &RelativePath::from_bytes(directory.to_vec()))
                .into_iter()
                .collect();
            found.sort_by(|one, other| one.0.cmp(&other.0));
            found
        };
        let in_d = (file(&gone("d/c")), Outlook::Leaves);
        assert_eq!(outlooks(1, b"d"), std::slice::from_ref(&in_d));
        assert_eq!(outlooks(1, b""), [(a, Outlook::Doubtful), (b, Outlook::Leaves), in_d]);
        assert_eq!((outlooks(1, b"c"), outlooks(2, b"")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_content_in_hand_parks_the_next_change_until_it_is_released() {
        let queue = Queue::default();
        let content = ContentHash::of(b"x");
        queue.push_live(gone("a"));
        queue.push_live(gone("b"));
        let (b, a) = (queue.take().unwrap(), queue.take().unwrap());
        assert_eq!(queue.claim(content, &b), Claim::Granted);
        assert_eq!(queue.claim(content, &a), Claim::Parked);
        queue.release(content);
        assert_eq!(queue.take(), Some(a));
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
    fn nothing_is_taken_while_one_reason_holds_the_queue() {
        let queue = Queue::default();
        assert!(queue.hold(Hold::Asked, true) && queue.hold(Hold::OnBattery, true));
        assert!(!queue.hold(Hold::Asked, true), "it was held for that already");
        queue.push_backlog(gone("a"));
        queue.push_live(gone("b"));
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| (queue.take(), queue.holds()));
            assert!(queue.hold(Hold::Asked, false));
            queue.push_live(gone("c"));
            assert_eq!(queue.pending(), 3, "the other reason is still there");
            queue.hold(Hold::OnBattery, false);
            assert_eq!(taker.join().unwrap(), (Some(gone("c")), Vec::new()));
        });
        queue.hold(Hold::Asked, true);
        queue.close();
        assert_eq!(queue.take(), None, "closing does not wait for it");
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
