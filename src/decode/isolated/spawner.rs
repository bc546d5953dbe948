//! The thread that starts the processes.
//!
//! A process dies with the *thread* that started it (`PR_SET_PDEATHSIG`, see `worker`), and threads that call for photos come
//! and go. So one thread starts all processes of a pool and stays until the pool goes. They take its priority too.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Starts processes on a thread of its own, which begins with the first of them and ends when this is dropped.
#[derive(Debug)]
pub(super) struct Spawner {
    name: &'static str,
    /// Called first on the thread: the place to lower its priority.
    prepare: fn(),
    requests: Mutex<Option<Sender<Request>>>,
}

struct Request {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

impl Spawner {
    pub(super) fn new(name: &'static str, prepare: fn()) -> Self {
        Self { name, prepare, requests: Mutex::new(None) }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// As those of [`Command::spawn`], and where the system gives no thread.
    pub(super) fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = sync_channel(1);
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.requests()?.send(Request { command, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    #[expect(clippy::disallowed_methods, reason = "ends with its pool; nothing of it outlives the processes")]
    fn requests(&self) -> io::Result<Sender<Request>> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(requests) = &*requests {
            return Ok(requests.clone());
        }
        let (sender, inbox) = channel::<Request>();
        let prepare = self.prepare;
        thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            prepare();
            for Request { mut command, reply } in inbox {
                // Whoever asked waits for it.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(requests.insert(sender).clone())
    }
}
