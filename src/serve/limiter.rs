//! How many calls may take the processor at a time, and whose turn is next.
//!
//! Calls wait in line by connection, and connections take turns: whoever sends a thousand calls at once waits for them
//! alone. A call is refused only when it has waited for long, or so many wait that it would.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tonic::Status;

use super::connections::ConnectionId;
use super::refuse;

/// How long a call waits for its turn. A picture takes some 50 ms of a core, so that many hundred can go before it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls that may wait, for each that may run.
const WAITING: usize = 1024;

/// Limits the calls that run at a time. Clones share the limit.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
    patience: Duration,
}

struct Shared {
    state: Mutex<State>,
    most_waiting: usize,
}

struct State {
    free: usize,
    /// The connections with calls that wait, the next first.
    turns: VecDeque<ConnectionId>,
    /// Their calls, the first first. Whoever gave up is still among them, closed.
    waiting: HashMap<ConnectionId, VecDeque<oneshot::Sender<Permit>>>,
}

/// The right to run. Dropping it lets the next one run.
pub(super) struct Permit {
    /// `None` once it is given back.
    of: Option<Arc<Shared>>,
}

impl Default for Limiter {
    /// One call a core, and a bounded number in front.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with(cores, cores * WAITING, PATIENCE)
    }
}

impl Limiter {
    fn with(running: usize, most_waiting: usize, patience: Duration) -> Self {
        let state = State { free: running, turns: VecDeque::new(), waiting: HashMap::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), most_waiting }), patience }
    }

    /// Waits for the turn of a call of this connection. `RESOURCE_EXHAUSTED` where that takes too long.
    pub(super) async fn enter(&self, connection: ConnectionId) -> Result<Permit, Status> {
        let busy = || refuse::busy("too many queries at once");
        let turn = match self.shared.take_or_wait(connection) {
            Ok(permit) => return Ok(permit),
            Err(Some(turn)) => turn,
            Err(None) => return Err(busy()),
        };
        match tokio::time::timeout(self.patience, turn).await {
            // Whoever has the other end gives it up with the permit, or to make room.
            Ok(permit) => permit.map_err(|_| busy()),
            Err(_) => Err(busy()),
        }
    }
}

impl Shared {
    /// Takes a permit where nobody waits; else returns where it will come, unless too many wait.
    fn take_or_wait(
        self: &Arc<Self>,
        connection: ConnectionId,
    ) -> Result<Permit, Option<oneshot::Receiver<Permit>>> {
        let mut state = self.lock();
        if state.free > 0 && state.turns.is_empty() {
            state.free -= 1;
            return Ok(Permit { of: Some(Arc::clone(self)) });
        }
        if state.waiting.values().map(VecDeque::len).sum::<usize>() >= self.most_waiting {
            state.forget_those_who_gave_up();
            if state.waiting.values().map(VecDeque::len).sum::<usize>() >= self.most_waiting
                && !state.refuse_one_of_more_than(connection)
            {
                return Err(None);
            }
        }
        let (sender, turn) = oneshot::channel();
        let own = state.waiting.entry(connection).or_default();
        own.push_back(sender);
        if own.len() == 1 {
            state.turns.push_back(connection);
        }
        Err(Some(turn))
    }

    /// Hands a permit to whoever is next.
    fn pass_on(self: &Arc<Self>) {
        let mut state = self.lock();
        while let Some(next) = state.next() {
            match next.send(Permit { of: Some(Arc::clone(self)) }) {
                Ok(()) => return,
                // It gave up. Its permit must not be given back, since that is what happens here.
                Err(mut permit) => permit.of = None,
            }
        }
        state.free += 1;
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the first call of the connection whose turn it is, which then is the last in line.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        let connection = self.turns.pop_front()?;
        let calls = self.waiting.get_mut(&connection)?;
        let next = calls.pop_front();
        if calls.is_empty() {
            self.waiting.remove(&connection);
        } else {
            self.turns.push_back(connection);
        }
        next
    }

    /// Refuses the last call of the connection with the most, if those are more than this one would have.
    fn refuse_one_of_more_than(&mut self, connection: ConnectionId) -> bool {
        let own = self.waiting.get(&connection).map_or(0, VecDeque::len);
        let most = self.waiting.values_mut().max_by_key(|calls| calls.len());
        // With two or more, none is left without a turn.
        most.filter(|calls| calls.len() > own + 1).and_then(VecDeque::pop_back).is_some()
    }

    fn forget_those_who_gave_up(&mut self) {
        self.waiting.retain(|_, calls| {
            calls.retain(|call| !call.is_closed());
            !calls.is_empty()
        });
        self.turns.retain(|connection| self.waiting.contains_key(connection));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(of) = self.of.take() {
            of.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn whoever_fills_the_line_makes_room_for_others() {
        let limiter = Limiter::with(1, 3, LONG);
        let _permit = limiter.enter(ConnectionId(0)).await.ok();
        let mut greedy: Vec<_> = (0..3).map(|_| Box::pin(limiter.enter(ConnectionId(1)))).collect();
        assert!(greedy.iter_mut().all(|call| poll(call.as_mut()).is_pending()));
        let mut honest = pin!(limiter.enter(ConnectionId(2)));
        assert!(poll(honest.as_mut()).is_pending(), "let in");
        let refused = greedy.iter_mut().map(|call| poll(call.as_mut()).is_ready()).collect::<Vec<_>>();
        assert_eq!(refused, [false, false, true], "the last call of who has the most");
        assert!(limiter.enter(ConnectionId(1)).await.is_err(), "nobody has more than this one would");
    }

    #[tokio::test]
    async fn connections_take_turns_however_many_calls_one_has() {
        let limiter = Limiter::with(1, 100, LONG);
        let mut permit = limiter.enter(ConnectionId(0)).await.ok();
        let mut waiting = Vec::new();
        for connection in [1, 1, 1, 1, 2, 3, 3] {
            let mut call = Box::pin(limiter.enter(ConnectionId(connection)));
            assert!(poll(call.as_mut()).is_pending());
            waiting.push((connection, call));
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(permit.take());
            let next = waiting.iter_mut().position(|(_, call)| match poll(call.as_mut()) {
                Poll::Ready(entered) => {
                    permit = entered.ok();
                    true
                }
                Poll::Pending => false,
            });
            order.push(waiting.remove(next.expect("somebody is let in")).0);
        }
        assert_eq!(order, [1, 2, 3, 1, 3, 1, 1]);
    }

    #[tokio::test]
    async fn who_gives_up_costs_nobody_a_turn() {
        let limiter = Limiter::with(1, 2, LONG);
        let permit = limiter.enter(ConnectionId(0)).await.ok();
        for _ in 0..10 {
            assert!(poll(pin!(limiter.enter(ConnectionId(1)))).is_pending());
        }
        let mut patient = Box::pin(limiter.enter(ConnectionId(2)));
        assert!(poll(patient.as_mut()).is_pending(), "those who gave up take no room");
        drop(permit);
        // A permit that comes to somebody who gives up in that moment goes on too.
        drop(patient.await.ok());
        assert!(matches!(poll(pin!(limiter.enter(ConnectionId(3)))), Poll::Ready(Ok(_))));
    }

    #[tokio::test]
    async fn a_call_is_refused_when_it_has_waited_for_long_or_too_many_wait() {
        let limiter = Limiter::with(1, 1, Duration::from_millis(50));
        let _permit = limiter.enter(ConnectionId(0)).await.ok();
        let mut first = Box::pin(limiter.enter(ConnectionId(1)));
        assert!(poll(first.as_mut()).is_pending());
        let crowded = limiter.enter(ConnectionId(2)).await.err().map(|status| status.code());
        assert_eq!(crowded, Some(tonic::Code::ResourceExhausted));
        let waited = first.await.err().map(|status| status.code());
        assert_eq!(waited, Some(tonic::Code::ResourceExhausted));
    }
}
