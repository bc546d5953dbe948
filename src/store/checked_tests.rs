use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

/// A disk in memory, whose bytes can be got at.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap()
    }
}

impl Disk for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes();
        let found = bytes.get(offset as usize..).unwrap_or(&[]);
        let there = found.len().min(out.len());
        out[..there].copy_from_slice(&found[..there]);
        Ok(there)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const VERSION: u64 = 7;

/// A file of some blocks, each of one byte.
fn filled(blocks: u64) -> (Memory, Checked<Memory>) {
    let memory = Memory::default();
    let checked = Checked::create(memory.clone(), VERSION).unwrap();
    checked.set_len((blocks + 1) * BLOCK as u64).unwrap();
    checked.write_at(0, &[0xaa; 320]).unwrap();
    for block in 1..=blocks {
        checked.write_at(block * BLOCK as u64, &[block as u8; BLOCK]).unwrap();
    }
    checked.sync().unwrap();
    (memory, checked)
}

fn read(checked: &Checked<Memory>, block: u64) -> Option<u8> {
    let mut bytes = [0; BLOCK];
    match checked.read_at(block * BLOCK as u64, &mut bytes) {
        Ok(read) => {
            assert_eq!(read, BLOCK);
            assert!(bytes.iter().all(|&byte| byte == bytes[0]));
            Some(bytes[0])
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            None
        }
    }
}

#[test]
fn what_was_written_is_read_across_groups() {
    let blocks = GROUP + 3;
    let (memory, checked) = filled(blocks);
    drop(checked);
    let checked = Checked::open(memory.clone(), VERSION).unwrap();
    assert_eq!(checked.len().unwrap(), (blocks + 1) * BLOCK as u64);
    assert_eq!(memory.len().unwrap(), outer_len((blocks + 1) * BLOCK as u64));
    let mut all = vec![0; blocks as usize * BLOCK];
    checked.read_at(BLOCK as u64, &mut all).unwrap();
    assert!((1..=blocks).zip(all.chunks(BLOCK)).all(|(block, bytes)| bytes == [block as u8; BLOCK]));
    let mut header = [0; 320];
    checked.read_at(0, &mut header).unwrap();
    assert_eq!(header, [0xaa; 320]);
    checked.check_all().unwrap();
    assert!(!checked.is_damaged());
}

#[test]
fn what_grows_again_is_empty() {
    let (_, checked) = filled(9);
    checked.set_len(4 * BLOCK as u64).unwrap();
    checked.set_len(10 * BLOCK as u64).unwrap();
    assert_eq!(
        (1..10).map(|block| read(&checked, block).unwrap()).collect::<Vec<_>>(),
        [1, 2, 3, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn another_version_is_told_from_damage() {
    let (memory, _) = filled(2);
    assert!(matches!(Checked::open(memory.clone(), VERSION + 1), Err(HeadError::Version(VERSION))));
    memory.bytes()[16] ^= 1;
    assert!(Checked::open(memory.clone(), VERSION).is_ok(), "the other head is whole");
    memory.bytes()[BLOCK + 16] ^= 1;
    assert!(matches!(Checked::open(memory, VERSION), Err(HeadError::Damaged)));
}

#[test]
fn the_younger_of_two_heads_counts() {
    let (memory, checked) = filled(2);
    let old = memory.bytes()[BLOCK..2 * BLOCK].to_vec();
    checked.write_at(0, &[0xbb; 320]).unwrap();
    checked.sync().unwrap();
    memory.bytes()[BLOCK..2 * BLOCK].copy_from_slice(&old);
    let mut header = [0; 320];
    Checked::open(memory, VERSION).unwrap().read_at(0, &mut header).unwrap();
    assert_eq!(header, [0xbb; 320]);
}

#[test]
fn damage_is_told_once_and_known_at_the_next_opening() {
    let (memory, checked) = filled(5);
    let damage = checked.damage();
    memory.bytes()[position(3) as usize + 17] ^= 0x10;
    assert_eq!((read(&checked, 2), read(&checked, 3), read(&checked, 4)), (Some(2), None, Some(4)));
    assert_eq!(*damage.borrow(), Some(3));
    assert!(checked.check_all().is_err());
    assert!(Checked::open(memory, VERSION).unwrap().is_damaged());
}

proptest! {
    /// Bits flipped, runs of zeros and of ones, an end cut off, blocks swapped: each block is what it was, or refused.
    #[test]
    fn no_damage_is_believed(kind in 0..5, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), len in 1usize..3 * BLOCK) {
        const BLOCKS: u64 = 12;
        let (memory, _) = filled(BLOCKS);
        {
            let mut bytes = memory.bytes();
            let at = at.index(bytes.len());
            let end = (at + len).min(bytes.len());
            match kind {
                0 => bytes[at] ^= 1 << (len % 8),
                1 => bytes[at..end].fill(0),
                2 => bytes[at..end].fill(0xff),
                3 => bytes.truncate(at),
                _ => {
                    let (one, other) = (at / BLOCK * BLOCK, other.index(bytes.len()) / BLOCK * BLOCK);
                    for place in 0..BLOCK {
                        bytes.swap(one + place, other + place);
                    }
                }
            }
        }
        let Ok(checked) = Checked::open(memory, VERSION) else { return Ok(()) };
        let mut refused = 0;
        for block in 1..=BLOCKS {
            match read(&checked, block) {
                Some(byte) => prop_assert_eq!(u64::from(byte), block),
                None => refused += 1,
            }
        }
        prop_assert_eq!(checked.is_damaged(), refused > 0);
        prop_assert_eq!(checked.check_all().is_err(), refused > 0);
    }
}

/// Of what was not synced, a power cut may tear all: both heads, if both were among it.
#[test]
fn between_two_syncs_one_head_stays_as_it_is() {
    let (memory, _) = filled(2);
    let heads = || [0, 1].map(|at| memory.bytes()[at * BLOCK..(at + 1) * BLOCK].to_vec());
    for round in 0..2 {
        let checked = Checked::open(memory.clone(), VERSION).unwrap();
        let before = heads();
        assert_eq!(before[0], before[1]);
        for number in 0..3 {
            checked.write_at(0, &[10 * round + number; 320]).unwrap();
            checked.set_len((5 + u64::from(number)) * BLOCK as u64).unwrap();
        }
        let touched = heads().iter().zip(&before).filter(|(now, before)| now != before).count();
        assert_eq!(touched, 1);
        checked.sync().unwrap();
    }
}
