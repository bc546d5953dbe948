//! Which volume a directory is on, told from every other that may stand at the same path.
//!
//! A volume is recognised by the UUID or serial number of its file system where udev or its superblock tells, else
//! by the file system's own id where that outlives a mount, else by its kind and source. Whether it is still the
//! same mount of it, an [`Anchor`] tells, for the price of one `statx`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What tells a volume from others, and where in it a root is. Kept by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// UUID (or serial number) of the file system, as udev writes it.
    pub uuid: Option<String>,
    /// The file system's id, where it is the same at every mount.
    pub file_system_id: Option<u64>,
    /// Kind of file system, as the mount table names it.
    pub kind: String,
    /// What is mounted, as the mount table names it.
    pub source: String,
    /// Path of the directory inside the volume, absolute, as bytes.
    pub inner_path: Vec<u8>,
}

impl Volume {
    /// Says whether both are the same volume, by the strongest mark that both have.
    pub fn is_same_volume(&self, other: &Self) -> bool {
        if let (Some(mine), Some(theirs)) = (&self.uuid, &other.uuid) {
            return mine == theirs;
        }
        match (self.file_system_id, other.file_system_id) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.kind == other.kind && self.source == other.source,
        }
    }

    /// Says whether there is more than a kind and a device to tell both apart or not. Every card in a reader has those.
    pub fn is_certain(&self, other: &Self) -> bool {
        let is_by_uuid = self.uuid.is_some() && other.uuid.is_some();
        let is_by_id = self.file_system_id.is_some() && other.file_system_id.is_some();
        is_by_uuid || is_by_id || !self.source.starts_with("/dev/")
    }

    /// Says whether both are the same directory of the same volume.
    pub fn is_same_directory(&self, other: &Self) -> bool {
        self.inner_path == other.inner_path && self.is_same_volume(other)
    }

    /// Returns the directory `below` this one, on the same volume.
    pub(super) fn directory(&self, below: &Path) -> Self {
        let inner = Path::new(OsStr::from_bytes(&self.inner_path)).join(below);
        Self { inner_path: inner.as_os_str().as_bytes().to_vec(), ..self.clone() }
    }
}

/// What matters to us of a file system's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Every change in it is seen by this kernel.
    Local,
    /// The same, but inode numbers are made up anew at each mount.
    WithoutInodes,
    /// Others may change it behind this kernel's back. With its name.
    Remote(&'static str),
    /// A program serves it, which may do the same, and makes up inode numbers.
    Fuse,
}

impl FileSystem {
    /// Judges by the magic number that `statfs` returns (`linux/magic.h`).
    pub fn of_magic(magic: u64) -> Self {
        match magic {
            0x4d44 | 0x2011_bab0 => Self::WithoutInodes,
            0x6573_5546 => Self::Fuse,
            0x6969 => Self::Remote("NFS"),
            0xff53_4d42 | 0xfe53_4d42 | 0x517b => Self::Remote("SMB"),
            0x0102_1997 => Self::Remote("9P"),
            0x00c3_6400 => Self::Remote("Ceph"),
            0x5346_414f | 0x6b41_4653 => Self::Remote("AFS"),
            0x7375_7245 => Self::Remote("Coda"),
            0x786f_4256 => Self::Remote("VirtualBox share"),
            0x0bd0_0bd0 => Self::Remote("Lustre"),
            _ => Self::Local,
        }
    }

    /// Says whether an inode number means the same file tomorrow.
    pub fn has_stable_inodes(self) -> bool {
        matches!(self, Self::Local | Self::Remote(_))
    }

    /// Returns its name where it has to be polled.
    pub fn remote_name(self) -> Option<&'static str> {
        match self {
            Self::Local | Self::WithoutInodes => None,
            Self::Remote(name) => Some(name),
            Self::Fuse => Some("FUSE"),
        }
    }
}

/// What is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Which volume, and where in it the path is.
    pub volume: Volume,
    /// What kind of file system.
    pub file_system: FileSystem,
}

/// Tells cheaply that a path still leads to the very directory, in the very mount, to which it led before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Device and inode of the directory.
    pub identity: (u64, u64),
    /// Which mount.
    pub mount: MountId,
    /// Second and nanosecond of the directory's birth; zero where the kernel does not say.
    pub born: (i64, u32),
}

/// Number of a mount, for as long as this kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountId {
    /// Never given to another mount (Linux 6.8 and later).
    Unique(u64),
    /// Given to another mount once this one is gone (Linux 5.8 and later).
    Reused(u64),
    /// Earlier kernels do not say.
    Unknown,
}

/// Knows the volumes. The kernel does ([`MountTable`](super::MountTable)); tests play it.
pub trait Volumes: Send + Sync {
    /// Returns where a path leads, its links resolved.
    ///
    /// # Errors
    /// The path leads nowhere, or its disk does not answer.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Returns the anchor of the directory at `path`. Errors: those of `statx`, and `NotADirectory`.
    ///
    /// # Errors
    /// The system does not say.
    fn anchor(&self, path: &Path) -> io::Result<Anchor>;

    /// Returns what is mounted at `path`.
    ///
    /// # Errors
    /// The system does not say.
    fn at(&self, path: &Path) -> io::Result<Mounted>;

    /// Returns the paths at which the directory `volume.inner_path` of this volume can be found now.
    ///
    /// # Errors
    /// The system does not say.
    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>>;

    /// Returns the places below `path` at which anything is mounted.
    ///
    /// # Errors
    /// The system does not say.
    fn below(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Returns which mount the entry at `path` is on, and whether it is a directory. A link there is not followed.
    ///
    /// # Errors
    /// The system does not say.
    fn mount_of(&self, path: &Path) -> io::Result<(MountId, bool)>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(uuid: Option<&str>, id: Option<u64>, source: &str) -> Volume {
        Volume {
            uuid: uuid.map(str::to_owned),
            file_system_id: id,
            kind: "ext4".into(),
            source: source.into(),
            inner_path: b"/".to_vec(),
        }
    }

    fn check(a: &Volume, b: &Volume, expected: bool) {
        assert_eq!(a.is_same_volume(b), expected, "{a:?} {b:?}");
        assert_eq!(b.is_same_volume(a), expected, "{b:?} {a:?}");
    }

    #[test]
    fn the_strongest_mark_that_both_have_decides() {
        check(&volume(Some("x"), Some(1), "/dev/a"), &volume(Some("x"), Some(2), "/dev/b"), true);
        check(&volume(Some("x"), Some(1), "/dev/a"), &volume(Some("y"), Some(1), "/dev/a"), false);
        // udev had not listed the volume yet when it was first seen.
        check(&volume(None, Some(1), "/dev/a"), &volume(Some("y"), Some(1), "/dev/b"), true);
        check(&volume(None, None, "/dev/a"), &volume(Some("y"), Some(1), "/dev/a"), true);
        check(&volume(None, None, "/dev/a"), &volume(None, None, "/dev/b"), false);
    }
}
