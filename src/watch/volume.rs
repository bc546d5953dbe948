//! Which volume a root is on, told from every other that may stand at the same path.
//!
//! A volume is recognised by the UUID of its file system where udev knows it, else by the file system's own id
//! where that outlives a mount, else by its kind and source. The mount table and these files are the only
//! things read; nothing is mounted and no device is opened.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statfs, statvfs, statx};
use serde::{Deserialize, Serialize};

/// What tells a volume from others, and where in it a root is. Kept by the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// UUID (or serial number) of the file system, where udev lists it.
    pub uuid: Option<String>,
    /// The file system's id, where it is the same at every mount.
    pub file_system_id: Option<u64>,
    /// Kind of file system, as the mount table names it.
    pub kind: String,
    /// What is mounted, as the mount table names it.
    pub source: String,
    /// Path of the root inside the volume, absolute, as bytes.
    pub inner_path: Vec<u8>,
    /// Directories of the root, relative, as bytes, on which other volumes were mounted.
    pub mounts: Vec<Vec<u8>>,
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

/// Tells cheaply that a path still leads to the very directory it led to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Device and inode of the directory.
    pub identity: (u64, u64),
    /// Number of the mount, and second and nanosecond of the directory's birth, where the kernel says.
    pub mount: (u64, i64, u32),
}

/// Knows the volumes. The kernel does ([`MountTable`]); tests play it.
pub trait Volumes: Send + Sync {
    /// Returns the anchor of the directory at `path`. Errors: those of `statx`, and `NotADirectory`.
    fn anchor(&self, path: &Path) -> io::Result<Anchor>;

    /// Returns what is mounted at `path`.
    fn at(&self, path: &Path) -> io::Result<Mounted>;

    /// Returns the paths at which the directory `volume.inner_path` of this volume can be found now.
    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>>;
}

/// The volumes of this machine, out of `/proc/self/mountinfo`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountTable;

/// File systems whose id is made of their UUID, so that it outlives a mount: ext, Btrfs, ZFS, bcachefs, tmpfs
/// (whose UUID is drawn at each mount, which is right: so is its content).
const LASTING_IDS: [u64; 5] = [0xef53, 0x9123_683e, 0x2fc1_2fc1, 0xca45_1a4e, 0x0102_1994];

impl Volumes for MountTable {
    fn anchor(&self, path: &Path) -> io::Result<Anchor> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let stat = statx(CWD, path, AtFlags::empty(), wanted)?;
        if rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()) != rustix::fs::FileType::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Anchor {
            identity: (makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino),
            mount: (stat.stx_mnt_id, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
        })
    }

    fn at(&self, path: &Path) -> io::Result<Mounted> {
        let path = fs::canonicalize(path)?;
        let anchor = self.anchor(&path)?;
        let mounts = parse(&fs::read("/proc/self/mountinfo")?);
        let mount = mounts
            .iter()
            .find(|mount| mount.id == anchor.mount.0 && path.starts_with(&mount.point))
            .or_else(|| covering(&mounts, &path))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no mount covers the path"))?;
        describe(mount, &path, anchor.identity.0)
    }

    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>> {
        let inner = Path::new(OsStr::from_bytes(&volume.inner_path));
        let mut found = Vec::new();
        for mount in parse(&fs::read("/proc/self/mountinfo")?) {
            let Ok(rest) = inner.strip_prefix(&mount.root) else { continue };
            // Asking a file system of another kind is in vain, and one on a network may make us wait.
            if mount.kind != volume.kind {
                continue;
            }
            let path = if rest.as_os_str().is_empty() { mount.point.clone() } else { mount.point.join(rest) };
            let is_same = self.at(&path).is_ok_and(|mounted| mounted.volume.is_same_volume(volume));
            if is_same {
                found.push(path);
            }
        }
        Ok(found)
    }
}

fn describe(mount: &Mount, path: &Path, device: u64) -> io::Result<Mounted> {
    let magic = statfs(path)?.f_type;
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a 32-bit magic number")]
    let magic = u64::from(magic as u32);
    let rest = path.strip_prefix(&mount.point).unwrap_or(Path::new(""));
    let inner = if rest.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(rest) };
    let source_device = fs::metadata(&mount.source).map(|metadata| metadata.rdev()).unwrap_or(0);
    Ok(Mounted {
        volume: Volume {
            uuid: uuid_of(&[device, source_device]),
            file_system_id: LASTING_IDS
                .contains(&magic)
                .then(|| statvfs(path).map(|stat| stat.f_fsid).unwrap_or(0))
                .filter(|&id| id != 0),
            kind: mount.kind.clone(),
            source: mount.source.clone(),
            inner_path: inner.as_os_str().as_bytes().to_vec(),
            mounts: Vec::new(),
        },
        file_system: FileSystem::of_magic(magic),
    })
}

fn uuid_of(devices: &[u64]) -> Option<String> {
    let entries = fs::read_dir("/dev/disk/by-uuid").ok()?;
    entries.flatten().find_map(|entry| {
        let device = fs::metadata(entry.path()).ok()?.rdev();
        (device != 0 && devices.contains(&device)).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    root: PathBuf,
    point: PathBuf,
    kind: String,
    source: String,
}

/// Returns the mount that hides all others at `path`: the last of those with the longest mount point.
fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// Reads the format of `/proc/[pid]/mountinfo` (proc(5)); lines it does not understand are left out.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let root = unescape(fields.nth(2)?);
    let point = unescape(fields.next()?);
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = unescape(after_dash.next()?);
    let source = unescape(after_dash.next()?);
    Some(Mount {
        id,
        root: PathBuf::from(OsStr::from_bytes(&root)),
        point: PathBuf::from(OsStr::from_bytes(&point)),
        kind: String::from_utf8_lossy(&kind).into_owned(),
        source: String::from_utf8_lossy(&source).into_owned(),
    })
}

/// Undoes the three octal digits that stand for blank, tab, line feed and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    bytes
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
            mounts: Vec::new(),
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

    #[test]
    fn mount_points_with_blanks_and_optional_fields_are_understood() {
        let line = br"36 35 98:0 /photos /mnt/my\040card rw,noatime master:1 shared:2 - vfat /dev/sdb1 rw";
        let mounts = parse(line);
        assert_eq!(
            mounts,
            [Mount {
                id: 36,
                root: "/photos".into(),
                point: "/mnt/my card".into(),
                kind: "vfat".into(),
                source: "/dev/sdb1".into()
            }]
        );
    }

    #[test]
    fn the_deepest_mount_covers_a_path() {
        let text = b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /mnt rw - ext4 /dev/b rw\n";
        let mounts = parse(text);
        assert_eq!(covering(&mounts, Path::new("/mnt/x")).map(|mount| mount.id), Some(2));
        assert_eq!(covering(&mounts, Path::new("/mntx")).map(|mount| mount.id), Some(1));
    }

    #[test]
    fn a_directory_of_this_machine_is_found_again_on_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let mounted = MountTable.at(&path).unwrap();
        assert!(MountTable.find(&mounted.volume).unwrap().contains(&path), "{mounted:?}");
    }
}
