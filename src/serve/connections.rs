//! The connections of one listener: how many there may be, and which one goes where a new one needs the room.
//!
//! A connection without calls is worth less than a new one: where there are too many, the one that never called goes first, and
//! of the others the one whose last call is longest ago. So whoever has something to ask is let in, however many
//! connections somebody leaves open. A connection with a call in hand is never closed for that.
//!
//! Who connects and asks nothing is closed after a while; on TCP a call counts from the moment its token was checked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio_util::sync::CancellationToken;

/// Descriptors that are not for connections: the store, the watches, the decoding processes, the photos that are read.
const OTHER_DESCRIPTORS: u64 = 300;

/// How often it is looked for connections that ask nothing.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often the log may say that connections were closed.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Names a connection among those of all listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(pub(super) u64);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time.
    all: usize,
    /// Of these, from one address.
    one_address: usize,
    /// Time until the first call.
    first_call: Duration,
    /// Time without a call.
    idle: Duration,
}

impl Limits {
    /// Those of the owner, on the Unix socket.
    pub(super) fn of_socket() -> Self {
        let all = share_of_descriptors(2, 512);
        let (first_call, idle) = (Duration::from_secs(60), Duration::from_secs(3600));
        Self { all, one_address: all, first_call, idle }
    }

    /// Those of anybody who can reach the TCP address.
    pub(super) fn of_tcp() -> Self {
        let all = share_of_descriptors(8, 128);
        let (first_call, idle) = (Duration::from_secs(5), Duration::from_secs(900));
        Self { all, one_address: all.div_ceil(2), first_call, idle }
    }
}

/// Returns one of so many parts of the descriptors that this process may have, `most` at the most.
fn share_of_descriptors(parts: u64, most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(OTHER_DESCRIPTORS) / parts)
        .map_or(most, |share| share.clamp(8, most))
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<ConnectionId, Open>,
    /// Since the log last said so.
    closed: u64,
    refused: u64,
    said: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    address: Option<IpAddr>,
    sever: CancellationToken,
    /// Calls in hand.
    calls: usize,
    has_called: bool,
    /// When the last call ended, or it connected.
    since: Instant,
}

/// A connection that was let in. Dropping it makes room.
#[derive(Debug)]
pub(super) struct Admitted {
    id: ConnectionId,
    connections: Arc<Connections>,
    /// Cancelled when the connection has to go.
    pub(super) sever: CancellationToken,
}

/// A connection as its calls know it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    id: ConnectionId,
    connections: Arc<Connections>,
}

/// A call in hand. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Call(Peer);

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Lets a connection in, and closes another for it where there are too many. `None` where all have calls in hand.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Option<Admitted> {
        static NEXT: AtomicU64 = AtomicU64::new(1);

        let mut state = self.lock();
        let of_address = state.open.values().filter(|open| open.address == address).count();
        let has_room = (address.is_none()
            || of_address < self.limits.one_address
            || state.close_one(|open| open.address == address))
            && (state.open.len() < self.limits.all || state.close_one(|_| true));
        if !has_room {
            state.refused += 1;
            return None;
        }
        let (id, sever) = (ConnectionId(NEXT.fetch_add(1, Ordering::Relaxed)), CancellationToken::new());
        let open = Open { address, sever: sever.clone(), calls: 0, has_called: false, since: now };
        state.open.insert(id, open);
        Some(Admitted { id, connections: Arc::clone(self), sever })
    }

    /// Closes all connections.
    pub(super) fn close_all(&self) {
        self.lock().open.values().for_each(|open| open.sever.cancel());
    }

    /// Closes those that ask nothing, again and again.
    pub(super) async fn sweep(&self) -> Infallible {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.close_idle(Instant::now());
            self.say(Instant::now());
        }
    }

    fn close_idle(&self, now: Instant) {
        let mut state = self.lock();
        let limits = self.limits;
        state.close_where(|open| {
            let limit = if open.has_called { limits.idle } else { limits.first_call };
            open.calls == 0 && now.saturating_duration_since(open.since) >= limit
        });
    }

    /// Says how many were closed and refused, now and then: whoever connects in a loop must not fill the log.
    fn say(&self, now: Instant) {
        let mut state = self.lock();
        let is_time = state.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
        if state.closed + state.refused == 0 || !is_time {
            return;
        }
        let (closed, refused) = (std::mem::take(&mut state.closed), std::mem::take(&mut state.refused));
        state.said = Some(now);
        drop(state);
        tracing::debug!(
            closed,
            refused,
            "connections that asked nothing were closed, or there were too many"
        );
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes the connection of these that is worth least. False where all have calls in hand.
    fn close_one(&mut self, is_one: impl Fn(&Open) -> bool) -> bool {
        let without_calls = self.open.iter().filter(|(_, open)| open.calls == 0 && is_one(open));
        let least = without_calls.min_by_key(|(id, open)| (open.has_called, open.since, id.0));
        let Some(id) = least.map(|(id, _)| *id) else { return false };
        if let Some(open) = self.open.remove(&id) {
            open.sever.cancel();
            self.closed += 1;
        }
        true
    }

    fn close_where(&mut self, goes: impl Fn(&Open) -> bool) {
        for (_, open) in self.open.extract_if(|_, open| goes(open)) {
            open.sever.cancel();
            self.closed += 1;
        }
    }
}

impl Admitted {
    pub(super) fn peer(&self) -> Peer {
        Peer { id: self.id, connections: Arc::clone(&self.connections) }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
    }
}

impl Peer {
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Counts a call in.
    pub(super) fn call(&self) -> Call {
        if let Some(open) = self.connections.lock().open.get_mut(&self.id) {
            open.calls += 1;
            open.has_called = true;
        }
        Call(self.clone())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(open) = self.0.connections.lock().open.get_mut(&self.0.id) {
            open.calls -= 1;
            open.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connections(all: usize, one_address: usize) -> Arc<Connections> {
        Connections::new(Limits { all, one_address, first_call: 5 * SECOND, idle: 60 * SECOND })
    }

    fn is_open(admitted: &Admitted) -> bool {
        !admitted.sever.is_cancelled()
    }

    #[test]
    fn who_never_called_makes_room_first_and_a_call_in_hand_never() {
        let (connections, now) = (connections(3, 3), Instant::now());
        let admit = || connections.admit(None, now);
        let (calling, called, silent) = (admit().unwrap(), admit().unwrap(), admit().unwrap());
        let _call = calling.peer().call();
        drop(called.peer().call());
        let first = admit().unwrap();
        assert!(is_open(&calling) && is_open(&called) && !is_open(&silent));
        let (_call, second) = (first.peer().call(), admit().unwrap());
        assert!(is_open(&calling) && !is_open(&called) && is_open(&first));
        let _call = second.peer().call();
        assert!(admit().is_none(), "all are at work");
        drop((calling, silent));
        assert!(admit().is_some());
    }

    #[test]
    fn one_address_cannot_take_the_room_of_others() {
        let (connections, now) = (connections(4, 2), Instant::now());
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let quiet = connections.admit(other, now).unwrap();
        let mut flood: Vec<_> = (0..10).map(|_| connections.admit(one, now).unwrap()).collect();
        assert!(is_open(&quiet));
        assert_eq!(flood.iter().filter(|flooded| is_open(flooded)).count(), 2);
        let _calls: Vec<_> = flood.drain(8..).map(|working| (working.peer().call(), working)).collect();
        assert!(connections.admit(one, now).is_none());
        assert!(connections.admit(other, now).is_some());
    }

    #[test]
    fn who_asks_nothing_is_closed_after_a_while() {
        let (connections, now) = (connections(9, 9), Instant::now());
        let (silent, called, calling) = (
            connections.admit(None, now).unwrap(),
            connections.admit(None, now).unwrap(),
            connections.admit(None, now).unwrap(),
        );
        drop(called.peer().call());
        let _call = calling.peer().call();
        connections.close_idle(now + 4 * SECOND);
        assert!(is_open(&silent));
        connections.close_idle(now + 6 * SECOND);
        assert!(!is_open(&silent) && is_open(&called) && is_open(&calling));
        connections.close_idle(now + 3600 * SECOND);
        assert!(!is_open(&called) && is_open(&calling));
    }
}
