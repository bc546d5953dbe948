//! The volumes of this machine, out of `/proc/self/mountinfo`, udev's links and, where udev does not know and we may, the
//! superblock of the device.
//!
//! The table is read here: crates that do so take its lines for UTF-8 and leave the octal digits in its paths.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, makedev, statfs, statvfs, statx};

use super::superblock;
use super::volume::{Anchor, FileSystem, MountId, Mounted, Volume, Volumes};

/// The mounts of this process, one a line; whoever polls it hears when they change.
pub(super) const MOUNT_TABLE: &str = "/proc/self/mountinfo";

/// What an anchor is made of.
pub(super) const WANTED: StatxFlags =
    StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// `STATX_MNT_ID_UNIQUE`: the number of the mount is one that is never given twice. Asked of an earlier kernel, it
/// changes nothing.
pub(super) const UNIQUE_MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The volumes of this machine, out of `/proc/self/mountinfo`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountTable;

/// File systems whose id is made of their UUID, so that it outlives a mount: ext, Btrfs, ZFS, bcachefs, tmpfs
/// (whose UUID is drawn at each mount, which is right: so is its content).
const LASTING_IDS: [u64; 5] = [0xef53, 0x9123_683e, 0x2fc1_2fc1, 0xca45_1a4e, 0x0102_1994];

impl Volumes for MountTable {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn anchor(&self, path: &Path) -> io::Result<Anchor> {
        let stat = statx(CWD, path, AtFlags::empty(), WANTED | UNIQUE_MOUNT_ID)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(anchor_of(&stat))
    }

    fn at(&self, path: &Path) -> io::Result<Mounted> {
        let path = fs::canonicalize(path)?;
        // The table knows the numbers that are used again.
        let anchor = anchor_of(&statx(CWD, &path, AtFlags::empty(), WANTED)?);
        let mounts = parse(&fs::read(MOUNT_TABLE)?);
        let mount = mounts
            .iter()
            .find(|mount| MountId::Reused(mount.id) == anchor.mount && path.starts_with(&mount.point))
            .or_else(|| covering(&mounts, &path))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no mount covers the path"))?;
        describe(mount, &path, anchor.identity.0)
    }

    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>> {
        let inner = Path::new(OsStr::from_bytes(&volume.inner_path));
        let mut found = Vec::new();
        for mount in parse(&fs::read(MOUNT_TABLE)?) {
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

    fn below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let points = parse(&fs::read(MOUNT_TABLE)?).into_iter().map(|mount| mount.point);
        let mut below: Vec<_> = points.filter(|point| point.starts_with(path) && point != path).collect();
        below.sort_unstable();
        below.dedup();
        Ok(below)
    }

    fn mount_of(&self, path: &Path) -> io::Result<(MountId, bool)> {
        let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, WANTED | UNIQUE_MOUNT_ID)?;
        let is_directory = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        Ok((anchor_of(&stat).mount, is_directory))
    }
}

/// Reads an anchor out of an answer to what [`WANTED`] asks.
pub(super) fn anchor_of(stat: &Statx) -> Anchor {
    let mount = match StatxFlags::from_bits_retain(stat.stx_mask) {
        said if said.contains(UNIQUE_MOUNT_ID) => MountId::Unique(stat.stx_mnt_id),
        said if said.contains(StatxFlags::MNT_ID) => MountId::Reused(stat.stx_mnt_id),
        _ => MountId::Unknown,
    };
    Anchor {
        identity: (makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino),
        mount,
        born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
    }
}

fn describe(mount: &Mount, path: &Path, device: u64) -> io::Result<Mounted> {
    let magic = statfs(path)?.f_type;
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a 32-bit magic number")]
    let magic = u64::from(magic as u32);
    let rest = path.strip_prefix(&mount.point).unwrap_or(Path::new(""));
    let inner = if rest.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(rest) };
    let source = fs::metadata(&mount.source).ok().filter(|source| source.file_type().is_block_device());
    let source_device = source.as_ref().map_or(0, MetadataExt::rdev);
    Ok(Mounted {
        volume: Volume {
            uuid: uuid_of(&[device, source_device])
                .or_else(|| source.and_then(|_| superblock::uuid_of(Path::new(&mount.source)))),
            file_system_id: LASTING_IDS
                .contains(&magic)
                .then(|| statvfs(path).map(|stat| stat.f_fsid).unwrap_or(0))
                .filter(|&id| id != 0),
            kind: mount.kind.clone(),
            source: mount.source.clone(),
            inner_path: inner.as_os_str().as_bytes().to_vec(),
        },
        file_system: FileSystem::of_magic(magic),
    })
}

/// Asks udev.
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
