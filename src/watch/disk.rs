//! The disk as it is now: what stands at a path, what stands in a directory. No decision is made here.
//!
//! Nothing is followed but the root itself, nothing is opened but directories, so that neither a FIFO nor a
//! symbolic link can make anybody wait or leave the root. Every call is counted ([`DiskCosts`]), and noted while it is
//! on its way ([`ask`]), since the disk itself may make us wait.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, statx};

use super::asking::ask;
use super::mount_table::{UNIQUE_MOUNT_ID, WANTED, anchor_of};
use super::volume::{Anchor, FileSystem};
use crate::photo::Fingerprint;

/// How often the disk was asked, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCosts {
    /// Entries looked at (`stat` and its like).
    pub stats: u64,
    /// Directories opened and read.
    pub directories: u64,
}

/// Counts what the room asks of the disk.
#[derive(Debug, Default)]
pub(super) struct Costs {
    stats: AtomicU64,
    directories: AtomicU64,
}

impl Costs {
    pub(super) fn stat(&self) {
        self.stats.fetch_add(1, Ordering::Relaxed);
    }

    fn directory(&self) {
        self.directories.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn so_far(&self) -> DiskCosts {
        DiskCosts {
            stats: self.stats.load(Ordering::Relaxed),
            directories: self.directories.load(Ordering::Relaxed),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    /// FIFOs, sockets, devices.
    Other,
}

/// Which directory, whatever its path: device and inode.
pub(super) type Identity = (u64, u64);

/// What `lstat` said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) fingerprint: Fingerprint,
}

impl Seen {
    #[expect(clippy::unnecessary_cast, reason = "the fields of `stat` differ in width between architectures")]
    fn new(stat: &Stat, file_system: &FileSystem) -> Self {
        let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        Self {
            kind,
            fingerprint: Fingerprint {
                len: stat.st_size as u64,
                modified_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
                changed_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
                inode: if file_system.has_stable_inodes() { stat.st_ino as u64 } else { 0 },
            },
        }
    }
}

/// Says whether `metadata` is still the file that `fingerprint` was taken of. The change time does not count: a
/// hard link made elsewhere moves it without an event, and whatever moves it by writing causes another change.
/// Nor does the inode where the file system makes inodes up, which the watching room records as 0.
pub fn is_unchanged(fingerprint: &Fingerprint, metadata: &std::fs::Metadata) -> bool {
    let now = Fingerprint::of(metadata);
    let is_same_inode = fingerprint.inode == 0 || fingerprint.inode == now.inode;
    is_same_inode && (now.len, now.modified_ns) == (fingerprint.len, fingerprint.modified_ns)
}

/// Returns what stands at `path`, or none where nothing does.
pub(super) fn look(path: &Path, file_system: &FileSystem, costs: &Costs) -> io::Result<Option<Seen>> {
    costs.stat();
    match ask(|| rustix::fs::lstat(path)) {
        Ok(stat) => Ok(Some(Seen::new(&stat, file_system))),
        Err(error) => absent(error.into()).map(|()| None),
    }
}

/// Turns "there is no such thing" into `Ok`.
pub(super) fn absent(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
        _ => Err(error),
    }
}

/// An open directory.
pub(super) struct Directory {
    fd: OwnedFd,
    anchor: Anchor,
}

/// Names in a directory, sorted by their bytes. FIFOs, sockets and devices are left out.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<OsString>,
    pub(super) directories: Vec<OsString>,
    /// Symbolic links, whatever they lead to.
    pub(super) links: Vec<OsString>,
    /// Whether there is any entry at all.
    pub(super) is_empty: bool,
}

impl Directory {
    /// Opens `path`; a symbolic link there is followed only for a root.
    pub(super) fn open(path: &Path, is_root: bool, costs: &Costs) -> io::Result<Self> {
        let follow = if is_root { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | follow;
        let fd = ask(|| rustix::fs::open(path, flags, Mode::empty()))?;
        costs.directory();
        let stat = ask(|| statx(&fd, "", AtFlags::EMPTY_PATH, WANTED | UNIQUE_MOUNT_ID))?;
        Ok(Self { fd, anchor: anchor_of(&stat) })
    }

    pub(super) fn identity(&self) -> Identity {
        self.anchor.identity
    }

    /// Says whether it is in this mount, or is this very directory where the kernel does not number mounts.
    pub(super) fn is_in(&self, mount: Anchor, is_its_top: bool) -> bool {
        self.anchor.mount == mount.mount && (!is_its_top || self.anchor.identity == mount.identity)
    }

    /// Reads the names that `keep` accepts among those of files, and all of directories.
    pub(super) fn list(&self, keep: impl Fn(&OsStr) -> bool, costs: &Costs) -> io::Result<Listing> {
        let mut listing = Listing { is_empty: true, ..Listing::default() };
        let mut entries = ask(|| Dir::read_from(&self.fd))?;
        while let Some(entry) = ask(|| entries.next()) {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            listing.is_empty = false;
            let kind = match entry.file_type() {
                FileType::Unknown => match self.look(name, &FileSystem::Local, costs)? {
                    Some(seen) => seen.kind,
                    None => continue,
                },
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Link,
                _ => Kind::Other,
            };
            match kind {
                Kind::File if keep(name) => listing.files.push(name.to_os_string()),
                Kind::Directory => listing.directories.push(name.to_os_string()),
                Kind::Link => listing.links.push(name.to_os_string()),
                Kind::File | Kind::Other => {}
            }
        }
        listing.files.sort_unstable();
        listing.directories.sort_unstable();
        listing.links.sort_unstable();
        Ok(listing)
    }

    /// Returns where the symbolic link `name` in this directory leads to, as it was written.
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = ask(|| rustix::fs::readlinkat(&self.fd, name, Vec::new()))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Returns what stands under `name` in this directory, or none where nothing does.
    pub(super) fn look(
        &self,
        name: &OsStr,
        file_system: &FileSystem,
        costs: &Costs,
    ) -> io::Result<Option<Seen>> {
        costs.stat();
        match ask(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(Seen::new(&stat, file_system))),
            Err(error) => absent(error.into()).map(|()| None),
        }
    }
}
