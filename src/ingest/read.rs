//! Path -> bytes, without ever waiting for the wrong kind of file, nor for ever for a disk that does not answer.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::deadline::{self, NoAnswer};
use crate::decode::{SNIFFED_BYTES, sniff};
use crate::photo::Fingerprint;
use crate::watch;

/// What reading a file came to.
#[derive(Debug)]
pub enum Contents {
    /// The whole file, and what the disk said of it before and after.
    Whole {
        /// The bytes.
        bytes: Vec<u8>,
        /// The same before and after reading.
        fingerprint: Fingerprint,
    },
    /// It changed while it was read. The change brings an event of its own.
    Changing,
    /// It is gone, or no regular file any more.
    Vanished,
    /// Its name claims nothing, and its first bytes are no photo's; the rest was not read.
    NotAPhoto {
        /// What the disk says.
        fingerprint: Fingerprint,
    },
    /// Larger than allowed; nothing was read.
    TooLarge {
        /// What the disk says.
        fingerprint: Fingerprint,
    },
    /// The disk does not give it.
    Unreadable {
        /// What the system says.
        error: io::Error,
    },
    /// The disk says nothing at all.
    NoAnswer(NoAnswer),
}

/// Bytes read at a time: what a disk that is alive gives well within its patience.
const CHUNK_BYTES: usize = 1 << 20;

/// Shows that bytes are coming.
struct Beating<'a> {
    file: File,
    beat: &'a dyn Fn(),
}

impl Read for Beating<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at_once = buffer.len().min(CHUNK_BYTES);
        let length = self.file.read(&mut buffer[..at_once])?;
        (self.beat)();
        Ok(length)
    }
}

/// Reads a regular file of at most `max_bytes`. Opening does not block on a FIFO, follow a link, or keep a
/// device awake: whatever is not a regular file is let go unread. Of a file without an extension, more than the
/// first bytes is read only if these are a photo's.
///
/// Blocks until all is read, but not on a disk that has been silent for [`deadline::PATIENCE`].
pub fn read(path: &Path, max_bytes: u64) -> Contents {
    let asked = path.to_path_buf();
    deadline::ask_blocking(path, deadline::PATIENCE, move |pulse| {
        read_beating(&asked, max_bytes, &|| pulse.beat())
    })
    .unwrap_or_else(Contents::NoAnswer)
}

/// Returns what stands at `path`, whose disk may not answer either.
pub(super) fn look(path: &Path) -> Option<Metadata> {
    let asked = path.to_path_buf();
    deadline::ask_blocking(path, deadline::PATIENCE, move |_| asked.symlink_metadata()).ok()?.ok()
}

/// Does the same on whatever thread it is called, and calls `beat` whenever something came from the disk.
pub fn read_beating(path: &Path, max_bytes: u64, beat: &dyn Fn()) -> Contents {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("open flags fit an int");
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => read_open(Beating { file, beat }, path.extension().is_some(), max_bytes),
        Err(error) => of_error(error),
    }
}

fn read_open(opened: Beating<'_>, claims_to_be_a_photo: bool, max_bytes: u64) -> Contents {
    match opened.file.metadata() {
        Ok(metadata) if metadata.is_file() => {
            read_as_seen(opened, Fingerprint::of(&metadata), claims_to_be_a_photo, max_bytes)
        }
        Ok(_) => Contents::Vanished,
        Err(error) => of_error(error),
    }
}

/// Reads a file that looked like `before` when it was opened.
fn read_as_seen(
    mut opened: Beating<'_>,
    before: Fingerprint,
    claims_to_be_a_photo: bool,
    max_bytes: u64,
) -> Contents {
    let mut bytes = Vec::new();
    if !claims_to_be_a_photo {
        if let Err(error) = (&mut opened).take(SNIFFED_BYTES as u64).read_to_end(&mut bytes) {
            return of_error(error);
        }
        if sniff(&bytes).is_none() {
            return Contents::NotAPhoto { fingerprint: before };
        }
    }
    if before.len > max_bytes {
        return Contents::TooLarge { fingerprint: before };
    }
    let rest = before.len.saturating_sub(bytes.len() as u64);
    bytes.reserve_exact(usize::try_from(rest).unwrap_or(0) + 1);
    // One byte more than there should be: a file that grows is noticed without reading all of it.
    if let Err(error) = (&mut opened).take(rest + 1).read_to_end(&mut bytes) {
        return of_error(error);
    }
    match opened.file.metadata() {
        // A hard link made meanwhile changes the inode, not the bytes.
        Ok(metadata) if watch::is_unchanged(&before, &metadata) && bytes.len() as u64 == before.len => {
            Contents::Whole { bytes, fingerprint: before }
        }
        Ok(_) => Contents::Changing,
        Err(error) => of_error(error),
    }
}

fn of_error(error: io::Error) -> Contents {
    let gone = [rustix::io::Errno::LOOP, rustix::io::Errno::NXIO, rustix::io::Errno::NOTDIR];
    let is_gone = error.kind() == io::ErrorKind::NotFound
        || gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    if is_gone { Contents::Vanished } else { Contents::Unreadable { error } }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_regular_file_is_read_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jpg");
        fs::write(&path, b"bytes").unwrap();
        let Contents::Whole { bytes, fingerprint } = read(&path, 5) else { panic!("not whole") };
        assert_eq!((bytes.as_slice(), fingerprint.len), (&b"bytes"[..], 5));
        assert!(matches!(read(&path, 4), Contents::TooLarge { .. }));
    }

    #[test]
    fn of_a_file_without_an_extension_the_first_bytes_decide() {
        let directory = tempfile::tempdir().unwrap();
        let (photo, text) = (directory.path().join("photo"), directory.path().join("Makefile"));
        let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 1000]].concat();
        fs::write(&photo, &png).unwrap();
        fs::write(&text, "all:\n").unwrap();
        assert!(matches!(read(&photo, 2000), Contents::Whole { bytes, .. } if bytes == png));
        assert!(matches!(read(&text, 2000), Contents::NotAPhoto { .. }));
    }

    #[test]
    fn a_file_that_shrinks_grows_or_is_overwritten_while_it_is_read_is_left_for_its_next_event() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jpg");
        for meanwhile in [b"".as_slice(), b"sho", b"longer than before", b"other"] {
            fs::write(&path, b"bytes").unwrap();
            let file = File::open(&path).unwrap();
            let before = Fingerprint::of(&file.metadata().unwrap());
            fs::write(&path, meanwhile).unwrap();
            // A clock too coarse to tell the two writes apart must not decide the test.
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
            File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
            let contents = read_as_seen(Beating { file, beat: &|| () }, before, true, 100);
            assert!(matches!(contents, Contents::Changing), "{meanwhile:?}: {contents:?}");
        }
    }

    #[test]
    fn fifos_sockets_devices_links_and_folders_are_let_go_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
        for path in
            [at("fifo"), at("socket"), at("link"), at("missing"), directory.path().into(), "/dev/zero".into()]
        {
            assert!(matches!(read(&path, 100), Contents::Vanished), "{}", path.display());
        }
    }
}
