//! The pause that a user asks for: until it is ended, or until a time; forgotten at the daemon's end, or kept for the next start
//! in a file beside the index.
//!
//! Invariant: a pause with an end ends by the clock on the wall, whether the machine slept or the daemon was started anew.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Hold, Queue};

/// A clock that is set, and a machine that sleeps, are noticed after this time.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// When a pause ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It does not.
    Resumed,
    /// At this time.
    Time(Timestamp),
}

impl Until {
    /// As it stands in the file.
    fn line(self) -> String {
        match self {
            Self::Resumed => "paused until resumed\n".to_owned(),
            Self::Time(time) => format!("paused until {time}\n"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_prefix("paused until ")? {
            "resumed" => Some(Self::Resumed),
            time => time.parse().ok().map(Self::Time),
        }
    }

    /// How long it goes on; `None` for ever.
    fn left(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Resumed => None,
            Self::Time(time) => Some(time.duration_since(now).try_into().unwrap_or(Duration::ZERO)),
        }
    }
}

/// Whether a user has asked for a pause.
pub struct Pause {
    queue: Arc<Queue>,
    file: PathBuf,
    until: watch::Sender<Option<Until>>,
    /// Held by whoever begins or ends one, the file included.
    changing: Mutex<()>,
}

impl Pause {
    /// Goes on with a pause that was to outlive the daemon.
    pub fn load(queue: Arc<Queue>, file: PathBuf) -> Self {
        let kept = match fs::read_to_string(&file) {
            Ok(text) => Until::parse(&text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{} cannot be read: {error}", file.display());
                }
                None
            }
        };
        if let Some(until) = kept {
            queue.hold(Hold::Asked, true);
            tracing::info!("indexing is {}", until.line().trim());
        }
        Self { queue, file, until: watch::Sender::new(kept), changing: Mutex::new(()) }
    }

    /// Begins a pause, in place of one that there is. One that is `kept` outlives the daemon.
    ///
    /// # Errors
    /// The file that keeps it cannot be written; then nothing has changed.
    pub fn begin(&self, until: Until, kept: bool) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if kept {
            self.keep(until)?;
        } else {
            self.forget()?;
        }
        self.until.send_replace(Some(until));
        self.queue.hold(Hold::Asked, true);
        tracing::info!("indexing is {}; `resemble resume` ends it", until.line().trim());
        Ok(())
    }

    /// Ends the pause, if there is one.
    ///
    /// # Errors
    /// The file that keeps it cannot be removed. Indexing goes on all the same, until the next start.
    pub fn end(&self) -> io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.until.send_replace(None);
        if self.queue.hold(Hold::Asked, false) {
            tracing::info!("indexing goes on");
        }
        self.forget()
    }

    /// Returns when it ends by itself; `None` where there is none, or it does not.
    pub fn end_time(&self) -> Option<SystemTime> {
        match *self.until.borrow() {
            Some(Until::Time(time)) => Some(time.into()),
            Some(Until::Resumed) | None => None,
        }
    }

    fn keep(&self, until: Until) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, until.line())?;
        fs::rename(&new, &self.file)
    }

    fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends each pause when its time is over, until `stop`.
    ///
    /// # Errors
    /// The file of the pause cannot be removed, so that it would be in force again after a restart.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), io::Error> {
        let mut until = self.until.subscribe();
        loop {
            let left = until.borrow_and_update().map(|until| until.left(Timestamp::now()));
            let over = async {
                match left {
                    Some(Some(left)) => sleep(left.min(LOOK_EVERY)).await,
                    Some(None) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = until.changed() => {}
                () = over => self.end_if_over().await,
            }
        }
    }

    async fn end_if_over(self: &Arc<Self>) {
        let is_over = |until: Until| until.left(Timestamp::now()) == Some(Duration::ZERO);
        if !self.until.borrow().is_some_and(is_over) {
            return;
        }
        let ended = Arc::clone(self);
        let ended = tokio::task::spawn_blocking(move || ended.end());
        if let Ok(Err(error)) = ended.await {
            tracing::warn!("{} cannot be removed: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Until {
        Until::Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_pause_that_is_kept_outlives_the_daemon_and_another_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Pause::load(Arc::default(), directory.path().join("paused"));
        let check = |expected: Option<Until>| {
            let pause = load();
            assert_eq!(*pause.until.borrow(), expected);
            assert_eq!(pause.queue.holds(), expected.map_or(Vec::new(), |_| vec![Hold::Asked]));
        };
        check(None);
        load().begin(Until::Resumed, true).unwrap();
        check(Some(Until::Resumed));
        load().begin(at(4_000_000_000), true).unwrap();
        check(Some(at(4_000_000_000)));
        load().end().unwrap();
        check(None);
        load().begin(Until::Resumed, false).unwrap();
        check(None);
        fs::write(directory.path().join("paused"), "nonsense").unwrap();
        check(None);
    }

    #[tokio::test]
    async fn a_pause_ends_when_its_time_is_over_even_while_the_daemon_was_away() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("paused");
        fs::write(&file, at(1).line()).unwrap();
        let pause = Arc::new(Pause::load(Arc::default(), file.clone()));
        let stop = CancellationToken::new();
        let mut until = pause.until.subscribe();
        let ends = async {
            until.wait_for(Option::is_none).await.unwrap();
            stop.cancel();
        };
        let (ran, ()) = tokio::join!(Arc::clone(&pause).run(stop.clone()), ends);
        ran.unwrap();
        assert!(pause.queue.holds().is_empty());
        assert!(!file.exists());
    }

    #[test]
    fn what_is_over_has_nothing_left() {
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(at(99).left(now), Some(Duration::ZERO));
        assert_eq!(at(160).left(now), Some(Duration::from_secs(60)));
        assert_eq!(Until::Resumed.left(now), None);
    }
}
