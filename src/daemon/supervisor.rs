//! The owner of the daemon's rooms: each is a task with a name. Threads belong to the rooms that start them.
//!
//! A room that ends before it was asked to, or panics, is a failure with a name, and stops the daemon. After the stop all
//! rooms together have the grace period to finish; whoever overruns it is named.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How a room ended.
type Ended = Result<(), Box<dyn Error + Send + Sync>>;

/// Owns the tasks.
pub struct Supervisor {
    tasks: JoinSet<Ended>,
    running: Vec<(Id, &'static str)>,
    stop: CancellationToken,
}

/// Why the daemon did not end as it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A room failed.
    #[error("{room} failed")]
    Failed {
        /// Its name.
        room: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },

    /// A room ended although nobody asked it to.
    #[error("{room} ended unexpectedly")]
    EndedEarly {
        /// Its name.
        room: &'static str,
    },

    /// A room panicked.
    #[error("{room} panicked")]
    Panicked {
        /// Its name.
        room: &'static str,
        /// What it said.
        source: tokio::task::JoinError,
    },

    /// Rooms did not stop within the grace period.
    #[error("not stopped within {grace:?}: {rooms}")]
    Overran {
        /// Their names.
        rooms: String,
        /// How long they had.
        grace: Duration,
    },
}

impl Supervisor {
    /// Supervises nothing yet. Cancelling `stop` is the order to end.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), running: Vec::new(), stop }
    }

    /// Runs a room under its name.
    pub fn start<E>(&mut self, room: &'static str, task: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let task = self.tasks.spawn(async move { task.await.map_err(Into::into) });
        self.running.push((task.id(), room));
    }

    /// Waits until `stop` is cancelled, or cancels it when a room ends before that. Returns the first failure.
    pub async fn watch(&mut self) -> Result<(), SupervisorError> {
        let first = tokio::select! {
            // Rooms end as soon as they are asked to, which is not early.
            biased;
            () = self.stop.cancelled() => return Ok(()),
            Some(ended) = self.tasks.join_next_with_id() => ended,
        };
        self.stop.cancel();
        self.judge(first, true)
    }

    /// Waits for all rooms to end, after the stop.
    pub async fn join(&mut self, grace: Duration) -> Result<(), SupervisorError> {
        let mut first = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let judged = self.judge(ended, false);
                if first.is_ok() {
                    first = judged;
                }
            }
        };
        match tokio::time::timeout(grace, all).await {
            Ok(()) => first,
            Err(_) => {
                let rooms: Vec<&str> = self.running.iter().map(|(_, room)| *room).collect();
                Err(SupervisorError::Overran { rooms: rooms.join(", "), grace })
            }
        }
    }

    fn judge(&mut self, ended: Result<(Id, Ended), JoinError>, early: bool) -> Result<(), SupervisorError> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let at = self.running.iter().position(|(running, _)| *running == id);
        let (_, room) = self.running.remove(at.expect("each task was started under a name"));
        match ended {
            Err(source) => Err(SupervisorError::Panicked { room, source }),
            Ok((_, Err(source))) => Err(SupervisorError::Failed { room, source }),
            Ok((_, Ok(()))) if early => Err(SupervisorError::EndedEarly { room }),
            Ok((_, Ok(()))) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::*;

    #[tokio::test]
    async fn a_room_that_ends_before_it_was_asked_to_stops_the_daemon() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.start("short", async { Ok::<_, Infallible>(()) });
        assert!(matches!(supervisor.watch().await, Err(SupervisorError::EndedEarly { room: "short" })));
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_failure_has_the_name_of_its_room() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.start("bad", async { Err::<(), _>(io::Error::other("broken")) });
        assert!(matches!(supervisor.watch().await, Err(SupervisorError::Failed { room: "bad", .. })));
    }

    #[tokio::test]
    async fn a_panic_has_the_name_of_its_room() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.start("mad", async { if true { panic!("on purpose") } else { Ok::<_, Infallible>(()) } });
        assert!(matches!(supervisor.watch().await, Err(SupervisorError::Panicked { room: "mad", .. })));
    }

    #[tokio::test]
    async fn whoever_overruns_the_grace_period_is_named() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        supervisor.start("slow", std::future::pending::<Result<(), Infallible>>());
        supervisor.start("quick", async move {
            stop.cancelled().await;
            Ok::<_, Infallible>(())
        });
        supervisor.stop.cancel();
        supervisor.watch().await.unwrap();
        let error = supervisor.join(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().ends_with(": slow"), "{error}");
    }
}
