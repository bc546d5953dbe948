//! Who may decode: so many processes for all callers together, whoever searches before what is indexed.
//!
//! Each use has one place that the other cannot take, so that nobody who searches waits behind a long photo of an import,
//! and an import goes on however many search. A process that waits for its next photo counts as well: where another use
//! needs the room, it goes.
//!
//! Invariant: busy and idle processes together are no more than there are places.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cancel::Cancel;

/// What is decoded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Photos of the watched folders, in the background.
    Indexing = 0,
    /// Pictures that somebody searches with, and waits.
    Queries = 1,
}

/// The decoding was given up, by its caller or because nothing is decoded any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp;

/// The places of all uses.
#[derive(Debug)]
pub(super) struct Places<P> {
    state: Mutex<State<P>>,
    /// Signalled when somebody who waits might go on.
    changed: Condvar,
}

#[derive(Debug)]
struct State<P> {
    places: usize,
    /// By use.
    uses: [UseState<P>; 2],
    /// Somebody indexes alone.
    is_alone: bool,
}

#[derive(Debug)]
struct UseState<P> {
    /// The decodings in the works.
    busy: Vec<Cancel>,
    /// Processes, and since when they wait.
    idle: Vec<(P, Instant)>,
    waiting: usize,
    is_closed: bool,
}

/// A place to decode at. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place<P> {
    places: Arc<Places<P>>,
    of: Use,
    is_alone: bool,
    cancel: Cancel,
    /// The process that waits there, if one does.
    pub(super) process: Option<P>,
}

impl<P: Send + 'static> Places<P> {
    /// So many processes at a time; two at least, one for each use.
    pub(super) fn new(places: usize) -> Self {
        let empty = || UseState { busy: Vec::new(), idle: Vec::new(), waiting: 0, is_closed: false };
        let state = State { places: places.max(2), uses: [empty(), empty()], is_alone: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a place. `alone` waits until nothing else is indexed, and keeps others from it; it holds nobody up who
    /// searches.
    pub(super) fn enter(
        self: &Arc<Self>,
        of: Use,
        alone: bool,
        cancel: &Cancel,
    ) -> Result<Place<P>, GivenUp> {
        let alone = alone && of == Use::Indexing;
        let waker = Arc::clone(self);
        let (process, surplus) = cancel.during(move || waker.wake(), || self.wait(of, alone, cancel))?;
        // Ended without the lock: that takes a moment.
        drop(surplus);
        let places = Arc::clone(self);
        Ok(Place { places, of, is_alone: alone, cancel: cancel.clone(), process })
    }

    /// Returns the process that waited, and one that has to go instead.
    fn wait(&self, of: Use, alone: bool, cancel: &Cancel) -> Result<(Option<P>, Option<P>), GivenUp> {
        let mut state = self.lock();
        state.uses[of as usize].waiting += 1;
        while !cancel.is_cancelled() && !state.uses[of as usize].is_closed && !state.has_room(of, alone) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let own = &mut state.uses[of as usize];
        own.waiting -= 1;
        if cancel.is_cancelled() || own.is_closed {
            return Err(GivenUp);
        }
        own.busy.push(cancel.clone());
        let process = own.idle.pop().map(|(process, _)| process);
        state.is_alone |= alone;
        Ok((process, state.surplus()))
    }

    /// Wakes everybody who waits, to look again.
    fn wake(&self) {
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// Gives up all decodings of a use, and lets none begin.
    pub(super) fn close(&self, of: Use) {
        let mut state = self.lock();
        let own = &mut state.uses[of as usize];
        own.is_closed = true;
        let (busy, idle) = (own.busy.clone(), mem::take(&mut own.idle));
        self.changed.notify_all();
        drop(state);
        busy.iter().for_each(Cancel::cancel);
        drop(idle);
    }

    /// Takes out the processes that have waited for that long.
    pub(super) fn take_idle_for(&self, time: Duration) -> Vec<P> {
        let mut state = self.lock();
        let (mut old, now) = (Vec::new(), Instant::now());
        for own in &mut state.uses {
            let is_old = |since: &Instant| now.saturating_duration_since(*since) >= time;
            old.extend(own.idle.extract_if(.., |(_, since)| is_old(since)).map(|(process, _)| process));
        }
        old
    }

    /// Looks at the processes that wait.
    pub(super) fn each_idle<T>(&self, mut look: impl FnMut(&mut P) -> T) -> Vec<T> {
        let mut state = self.lock();
        state.uses.iter_mut().flat_map(|own| &mut own.idle).map(|(process, _)| look(process)).collect()
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> State<P> {
    fn has_room(&self, of: Use, alone: bool) -> bool {
        let [indexing, queries] = &self.uses;
        let busy = indexing.busy.len() + queries.busy.len();
        match of {
            Use::Queries => busy < self.places && queries.busy.len() < self.places - 1,
            Use::Indexing if self.is_alone || (alone && !indexing.busy.is_empty()) => false,
            // One goes on whoever searches; more give way to those who wait.
            Use::Indexing if indexing.busy.is_empty() => busy < self.places,
            Use::Indexing => {
                busy < self.places - usize::from(queries.busy.is_empty()) && queries.waiting == 0
            }
        }
    }

    /// Takes out the process that has waited longest, where there are more than places.
    fn surplus(&mut self) -> Option<P> {
        let all: usize = self.uses.iter().map(|own| own.busy.len() + own.idle.len()).sum();
        if all <= self.places {
            return None;
        }
        let longest =
            self.uses.iter_mut().filter(|own| !own.idle.is_empty()).min_by_key(|own| own.idle[0].1)?;
        Some(longest.idle.remove(0).0)
    }
}

impl<P> Place<P> {
    /// Gives the place back, with a process that waits there for the next.
    pub(super) fn keep(mut self, process: P) {
        self.process = Some(process);
    }
}

impl<P> Drop for Place<P> {
    fn drop(&mut self) {
        let mut state = self.places.state.lock().unwrap_or_else(PoisonError::into_inner);
        let own = &mut state.uses[self.of as usize];
        if let Some(at) = own.busy.iter().position(|cancel| cancel.is(&self.cancel)) {
            own.busy.swap_remove(at);
        }
        if !own.is_closed {
            own.idle.extend(self.process.take().map(|process| (process, Instant::now())));
        }
        state.is_alone &= !self.is_alone;
        self.places.changed.notify_all();
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn places(count: usize) -> Arc<Places<&'static str>> {
        Arc::new(Places::new(count))
    }

    fn enter(places: &Arc<Places<&'static str>>, of: Use) -> Place<&'static str> {
        places.enter(of, false, &Cancel::default()).unwrap()
    }

    /// Whether somebody would be let in at once.
    fn has_room(places: &Places<&'static str>, of: Use, alone: bool) -> bool {
        places.lock().has_room(of, alone)
    }

    #[test]
    fn each_use_has_a_place_that_the_other_cannot_take() {
        let full = places(3);
        let _indexing = [Use::Indexing; 2].map(|of| enter(&full, of));
        assert!(!has_room(&full, Use::Indexing, false) && has_room(&full, Use::Queries, false));
        let full = places(3);
        let _queries = [Use::Queries; 2].map(|of| enter(&full, of));
        assert!(!has_room(&full, Use::Queries, false) && has_room(&full, Use::Indexing, false));
        let _indexing = enter(&full, Use::Indexing);
        assert!(!has_room(&full, Use::Indexing, false) && !has_room(&full, Use::Queries, false));
    }

    #[test]
    fn who_indexes_alone_waits_for_others_and_keeps_them_away_but_nobody_who_searches() {
        let places = places(5);
        let first = enter(&places, Use::Indexing);
        assert!(!has_room(&places, Use::Indexing, true));
        drop(first);
        let alone = places.enter(Use::Indexing, true, &Cancel::default()).unwrap();
        assert!(!has_room(&places, Use::Indexing, false) && has_room(&places, Use::Queries, false));
        drop(alone);
        assert!(has_room(&places, Use::Indexing, false));
    }

    #[test]
    fn a_process_that_waits_is_taken_again_and_goes_where_the_room_is_needed() {
        let places = places(3);
        let (one, two) = (enter(&places, Use::Indexing), enter(&places, Use::Indexing));
        one.keep("one");
        two.keep("two");
        let again = enter(&places, Use::Indexing);
        assert_eq!(again.process, Some("two"), "the latest, whose memory is warm");
        again.keep("two");
        let queries = [Use::Queries; 2].map(|of| enter(&places, of));
        assert_eq!(queries.each_ref().map(|place| place.process), [None, None], "they start their own");
        assert_eq!(places.each_idle(|process| *process), ["two"], "three in all");
        drop(queries);
        assert_eq!(places.take_idle_for(Duration::ZERO), ["two"]);
    }

    #[test]
    fn whoever_waits_is_let_in_by_the_next_who_leaves_and_ends_when_it_is_given_up_or_closed() {
        let places = places(2);
        for end in ["leave", "give up", "close"] {
            let inside = enter(&places, Use::Queries);
            let (cancel, (told, told_to)) = (Cancel::default(), mpsc::channel());
            thread::scope(|scope| {
                let (places, cancel) = (&places, &cancel);
                scope.spawn(move || {
                    let entered = places.enter(Use::Queries, false, cancel).map(|_| ());
                    told.send(entered).unwrap();
                });
                while places.lock().uses[Use::Queries as usize].waiting == 0 {
                    thread::yield_now();
                }
                match end {
                    "leave" => drop(inside),
                    "give up" => cancel.cancel(),
                    _ => places.close(Use::Queries),
                }
                let expected = if end == "leave" { Ok(()) } else { Err(GivenUp) };
                assert_eq!(told_to.recv().unwrap(), expected, "{end}");
            });
        }
    }
}
