//! The Unix socket: systemd's if it gave one, else ours; a stale file is replaced, a live one is not.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::UnixListener;

use crate::private;

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    listener: Listener,
    file: Option<SocketFile>,
}

/// What callers wait at. Dropping it before it was served turns them away: systemd holds the socket it passed, and would
/// start us for them again and again, while each of them waits for ever.
#[derive(Debug)]
struct Listener(Option<UnixListener>);

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(listener) = &self.0 {
            turn_away(listener);
        }
    }
}

/// The socket's file, where we made it. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error("another resembled answers on {}: stop it, or choose another --socket", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },

    /// Something that is not a socket stands there.
    #[error("{} is not a socket: move it away, or choose another --socket", path.display())]
    NotASocket {
        /// What stands there.
        path: PathBuf,
    },

    /// The socket cannot be made.
    #[error("cannot listen on {}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// What systemd gave is not what the unit promises.
    #[error("the socket that systemd passed cannot be used")]
    Passed(#[source] io::Error),
}

impl Socket {
    /// Takes the socket that systemd passed, if it did.
    ///
    /// # Errors
    /// What systemd passed is no such socket.
    pub fn from_systemd() -> Result<Option<Self>, SocketError> {
        let passed = ListenFd::from_env().take_unix_listener(0).map_err(SocketError::Passed)?;
        passed.map(|listener| Self::new(listener, None).map_err(SocketError::Passed)).transpose()
    }

    /// Binds `path` with mode 0600, in a folder of mode 0700 if that has to be made.
    ///
    /// # Errors
    /// Another daemon answers there, something else stands there, or the socket cannot be made.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Bind { path: path.to_path_buf(), source };
        if let Some(directory) = path.parent() {
            private::create_directory(directory).map_err(failed)?;
        }
        Self::refuse_taken(path)?;
        // Bound beside its place and renamed, so that nobody connects before its mode is set, and a stale file
        // is replaced in one step.
        let beside = path.with_extension(format!("{}", std::process::id()));
        let bind = || -> io::Result<Self> {
            let _ = fs::remove_file(&beside);
            let listener = StdListener::bind(&beside)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
            fs::rename(&beside, path)?;
            Self::new(listener, Some(SocketFile(path.to_path_buf())))
        };
        bind().map_err(|source| {
            let _ = fs::remove_file(&beside);
            failed(source)
        })
    }

    /// Leaves alone what somebody answers on, and what is no socket.
    fn refuse_taken(path: &Path) -> Result<(), SocketError> {
        use std::os::unix::fs::FileTypeExt;

        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                Err(SocketError::NotASocket { path: path.to_path_buf() })
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                Err(SocketError::InUse { path: path.to_path_buf() })
            }
            _ => Ok(()),
        }
    }

    fn new(listener: StdListener, file: Option<SocketFile>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: Listener(Some(UnixListener::from_std(listener)?)), file })
    }

    /// Returns where it is, if we bound it.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.0.as_path())
    }

    /// Parts the listener from the file, which stays until it is dropped.
    pub(super) fn into_parts(self) -> (UnixListener, Option<SocketFile>) {
        let Self { mut listener, file } = self;
        let listener = listener.0.take().expect("it is taken once, and with it the socket");
        (listener, file)
    }
}

/// Turns away who waits at the socket that systemd passed, where the daemon has not taken it and never will.
pub fn turn_callers_away() {
    if let Ok(Some(listener)) = ListenFd::from_env().take_unix_listener(0)
        && listener.set_nonblocking(true).is_ok()
    {
        turn_away(&listener);
    }
}

/// Closes the connections that wait. The listener must not block.
fn turn_away(listener: impl AsFd) {
    // A connection that was taken is closed by being dropped.
    while rustix::net::accept(&listener).is_ok() {}
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever removed it before us did our work.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/s.sock");
        let live = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse { .. })));
        drop(live);
        assert!(!path.exists());

        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "a stale file is left by a killed daemon");
        Socket::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn who_waits_at_a_socket_that_is_never_served_is_turned_away() {
        use std::io::Read;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let listener = StdListener::bind(&path).unwrap();
        // As systemd does, which keeps the socket open.
        let passed = Socket::new(listener.try_clone().unwrap(), None).unwrap();
        let mut waiting = UnixStream::connect(&path).unwrap();
        drop(passed);
        assert_eq!(waiting.read(&mut [0]).unwrap(), 0, "closed");
        // The next one waits for the next daemon.
        let _waiting = UnixStream::connect(&path).unwrap();
        let (served, _) = Socket::new(listener.try_clone().unwrap(), None).unwrap().into_parts();
        assert!(served.accept().await.is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }
}
