//! Signals in the daemon's own words.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Listens until it is dropped.
pub(super) struct Listener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Has SIGTERM and SIGINT cancel `stop` and say so on `stopped`, and SIGHUP notify `reload`. A second SIGTERM or SIGINT ends the process
    /// at once.
    #[expect(clippy::disallowed_methods, reason = "the handle is kept, and dropping joins it")]
    pub(super) fn start(
        stop: CancellationToken,
        stopped: Sender<()>,
        reload: Arc<Notify>,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
            flag::register(signal, Arc::clone(&stopping))?;
        }
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    reload.notify_one();
                } else {
                    stop.cancel();
                    // Full: it was said before.
                    let _ = stopped.try_send(());
                }
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It has nothing that could panic; and if it did, there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}
