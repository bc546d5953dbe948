//! Which file it is, whatever its path.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use crate::photo::Fingerprint;

/// No time on FAT or exFAT is finer than 10 milliseconds.
const FAT_TICK_NS: i128 = 10_000_000;

/// Which file, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Identity {
    pub(in crate::serve) device: u64,
    /// Its inode is that of the moment, also on file systems that make inodes up at each mount.
    pub(in crate::serve) fingerprint: Fingerprint,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), fingerprint: Fingerprint::of(metadata) }
    }

    /// What no two files have in common at a time.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.device, self.fingerprint.inode)
    }

    /// Says whether both are one file. One file shows under two devices where a network file system is mounted twice, or
    /// where a program or an overlay shows the files of others: then its times are the same, and no program can set the
    /// change time.
    pub(in crate::serve) fn is_same_file(&self, other: &Self, same_machine: bool) -> bool {
        if same_machine && self.device == other.device {
            return self.place() == other.place();
        }
        has_same_times(&self.fingerprint, &other.fingerprint)
            && (self.fingerprint.inode == other.fingerprint.inode || is_telling(&self.fingerprint))
    }
}

/// Size, modification time and change time.
pub(super) fn times(fingerprint: &Fingerprint) -> (u64, i128, i128) {
    (fingerprint.len, fingerprint.modified_ns, fingerprint.changed_ns)
}

pub(super) fn has_same_times(one: &Fingerprint, other: &Fingerprint) -> bool {
    times(one) == times(other)
}

/// Says whether the change time is of the moment. On FAT and exFAT it is the modification time, which copies share.
fn is_telling(fingerprint: &Fingerprint) -> bool {
    fingerprint.changed_ns % FAT_TICK_NS != 0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::serve::files) const NS: i128 = 1_000_000_000;

    pub(in crate::serve::files) fn print(inode: u64, changed_ns: i128) -> Fingerprint {
        Fingerprint { len: 7, modified_ns: NS, changed_ns, inode }
    }

    pub(in crate::serve::files) fn identity(device: u64, inode: u64, changed_ns: i128) -> Identity {
        Identity { device, fingerprint: print(inode, changed_ns) }
    }

    #[test]
    fn a_file_is_known_again_by_its_place_or_by_times_that_no_program_can_set() {
        let check = |one: Identity, other: Identity, same_machine: bool, expected: bool| {
            assert_eq!(one.is_same_file(&other, same_machine), expected, "{one:?} {other:?}");
            assert_eq!(other.is_same_file(&one, same_machine), expected, "{other:?} {one:?}");
        };
        let fine = 5 * NS + 1;
        check(identity(1, 8, fine), identity(1, 8, 6 * NS), true, true);
        // Copies that were made within one tick of the clock.
        check(identity(1, 8, fine), identity(1, 9, fine), true, false);
        check(identity(1, 8, fine), identity(2, 8, fine + 1), true, false);
        // A network mounted twice; a pool of disks with inodes of its own.
        check(identity(1, 8, NS), identity(2, 8, NS), true, true);
        check(identity(1, 8, fine), identity(2, 9, fine), true, true);
        // Copies on two FAT disks, with the times of the original.
        check(identity(1, 8, NS), identity(2, 9, NS), true, false);
        // Numbers of devices on two machines mean nothing.
        check(identity(1, 8, fine), identity(1, 8, 6 * NS), false, false);
        check(identity(1, 8, fine), identity(7, 8, fine), false, true);
    }
}
