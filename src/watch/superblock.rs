//! The UUID or serial number of a file system, read from its superblock. For where udev does not know: in containers and
//! early at the start. Ordinary users may not read devices, so this fails more often than not.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// All that is looked at lies within the first so many bytes; the superblock of Btrfs is the last.
const READ_BYTES: usize = 0x1_1000;

/// Returns the UUID of the file system on a device as udev writes it.
pub(super) fn uuid_of(device: &Path) -> Option<String> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    File::open(device).ok()?.take(READ_BYTES as u64).read_to_end(&mut bytes).ok()?;
    parse(&bytes)
}

/// Where a file system keeps its magic number, and where its UUID.
const WITH_UUID: [(usize, &[u8], usize); 4] = [
    (0x438, b"\x53\xef", 0x468),         // ext2, 3 and 4
    (0x1_0040, b"_BHRfS_M", 0x1_0020),   // Btrfs
    (0, b"XFSB", 32),                    // XFS
    (0x400, b"\x10\x20\xf5\xf2", 0x46c), // F2FS
];

fn parse(bytes: &[u8]) -> Option<String> {
    let has = |at: usize, magic: &[u8]| bytes.get(at..at + magic.len()) == Some(magic);
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let short = |at: usize| u32_at(at).map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    if has(3, b"EXFAT   ") {
        return short(100);
    }
    if has(3, b"NTFS    ") {
        return Some(format!("{:08X}{:08X}", u32_at(76)?, u32_at(72)?));
    }
    if has(0x1fe, b"\x55\xaa") && has(82, b"FAT32   ") {
        return short(67);
    }
    if has(0x1fe, b"\x55\xaa") && has(54, b"FAT1") {
        return short(39);
    }
    let &(_, _, at) = WITH_UUID.iter().find(|(at, magic, _)| has(*at, magic))?;
    let uuid = u128::from_be_bytes(bytes.get(at..at + 16)?.try_into().ok()?);
    let digits = format!("{uuid:032x}");
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]);
    (uuid != 0).then(|| groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device of zeros but for these bytes.
    fn check(written: &[(usize, &[u8])], expected: Option<&str>) {
        let mut bytes = vec![0; READ_BYTES];
        for (at, text) in written {
            bytes[*at..at + text.len()].copy_from_slice(text);
        }
        assert_eq!(parse(&bytes).as_deref(), expected);
        for length in [0, 1, 40, 0x1ff, 0x440, 0x1_0044] {
            let _ = parse(&bytes[..length]);
        }
    }

    #[test]
    fn two_cards_of_one_kind_are_told_apart_by_their_serial_numbers() {
        let end: (usize, &[u8]) = (0x1fe, b"\x55\xaa");
        check(&[end, (82, b"FAT32   "), (67, b"\x78\x56\x34\x12")], Some("1234-5678"));
        check(&[end, (54, b"FAT16   "), (39, b"\x01\x00\x00\x00")], Some("0000-0001"));
        check(&[(3, b"EXFAT   "), (100, b"\xef\xbe\xad\xde")], Some("DEAD-BEEF"));
        check(&[(3, b"NTFS    "), (72, b"\x01\x02\x03\x04\x05\x06\x07\x08")], Some("0807060504030201"));
    }

    #[test]
    fn uuids_are_written_as_udev_writes_them() {
        let uuid = b"\x10\x1e\x65\x77\x1c\x62\x50\x46\x07\x90\x77\x4d\xa3\x17\x8c\xfb";
        let text = Some("101e6577-1c62-5046-0790-774da3178cfb");
        for (at, magic, uuid_at) in WITH_UUID {
            check(&[(at, magic), (uuid_at, uuid)], text);
            check(&[(at, magic)], None);
        }
        check(&[], None);
    }
}
