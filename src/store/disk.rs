//! The disk under the store's file, as far as the store asks for it: bytes at an offset, a length, and a sync.
//!
//! [`FileDisk`] is the real one. It also holds the lock that keeps a second daemon out, and opens a file that may
//! only be read for reading, so that a read-only disk takes nothing but writing away.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

/// What the store's file lies on.
pub(super) trait Disk: Send + Sync + std::fmt::Debug {
    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads into `out` what stands at `offset`, and returns how many bytes these are: fewer than wanted only at the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Sets the length; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns once everything written is on the disk.
    fn sync(&self) -> io::Result<()>;

    /// Tries to be one that takes writes. Asked again and again while it takes none.
    fn make_writable(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One that several have.
impl<D: Disk + ?Sized> Disk for Arc<D> {
    fn len(&self) -> io::Result<u64> {
        self.as_ref().len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.as_ref().read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.as_ref().write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.as_ref().set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.as_ref().sync()
    }

    fn make_writable(&self) -> io::Result<()> {
        self.as_ref().make_writable()
    }
}

/// Fills `out` with what stands at `offset`; that there is less is an error.
pub(super) fn read_exact_at(disk: &impl Disk, offset: u64, out: &mut [u8]) -> io::Result<()> {
    if disk.read_at(offset, out)? < out.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// A file, locked for this process as long as it is open.
#[derive(Debug)]
pub(super) struct FileDisk {
    path: PathBuf,
    /// Read from, and the holder of the lock.
    file: File,
    /// Written to. Empty while the file may only be read.
    writable: OnceLock<File>,
}

/// Why the file could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Another process has it.
    InUse,
    /// The system says no.
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl FileDisk {
    /// Opens the file, or makes it, for the owner alone. One that is there and may only be read is opened for reading.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut writing = OpenOptions::new();
        writing.read(true).write(true).create(true).truncate(false).mode(0o600);
        let (file, is_writable) = match writing.open(path) {
            Ok(file) => (file, true),
            Err(error) if is_read_only(&error) => match File::open(path) {
                Ok(file) => (file, false),
                // What is wrong is that it cannot be written.
                Err(_) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse),
            // Network file systems lock only what may be written; nobody can write there.
            Err(TryLockError::Error(error)) if is_writable => return Err(error.into()),
            Err(TryLockError::Error(_)) => {}
        }
        let writable = OnceLock::new();
        if is_writable {
            let _ = writable.set(file.try_clone()?);
        }
        Ok(Self { path: path.to_path_buf(), file, writable })
    }

    /// Opens a file that nobody writes to, for reading. It is not locked.
    pub(super) fn to_read(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_path_buf(), file: File::open(path)?, writable: OnceLock::new() })
    }

    fn writable(&self) -> io::Result<&File> {
        self.writable.get().ok_or_else(|| Errno::ROFS.into())
    }
}

/// Whether a file could not be opened because it must not be written.
fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < out.len() {
            match self.file.read_at(&mut out[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.writable()?.sync_data()
    }

    fn make_writable(&self) -> io::Result<()> {
        if self.writable.get().is_some() {
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let (ours, found) = (self.file.metadata()?, file.metadata()?);
        if (ours.dev(), ours.ino()) != (found.dev(), found.ino()) {
            return Err(io::Error::other("another file has taken its place"));
        }
        // Set by nobody else: only one thread asks.
        let _ = self.writable.set(file);
        Ok(())
    }
}
