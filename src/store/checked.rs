//! A checksum for every block of the store's file, so that what a disk has damaged is noticed and never believed.
//!
//! redb trusts what it reads. So its file lies in ours, block by block, and each block is checked when it is read:
//!
//! ```text
//! block 0, 1   the head, twice, never both between two syncs: magic, schema version, length, redb's own header page, checksum
//! group        one block of 1024 checksums, then 1024 blocks of redb's file; the last group is as long as it needs
//! ```
//!
//! A checksum covers the block and its number: zeroed, swapped, cut off and flipped are all noticed, in rows, in the
//! pages that lead to them, and in what is derived from them. It is a CRC-32: any three flipped bits and any damage
//! within 32 bits in a row are noticed for certain, anything else but once in four thousand million times.
//!
//! Invariant: a block that does not pass is [`io::ErrorKind::InvalidData`], never bytes. The first one is written down
//! in the head, so that the next start knows, and told to [`Damage`].

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::disk::Disk;

/// Bytes of a block: a page of redb.
pub(super) const BLOCK: usize = 4096;

/// Checksums in a block, and so data blocks in a group.
const GROUP: u64 = (BLOCK / CHECKSUM) as u64;

/// Bytes of a checksum.
const CHECKSUM: usize = 4;

/// Blocks before the first group.
const HEADS: u64 = 2;

/// Blocks that are checked in one go: their checksums fit on the stack.
const AT_ONCE: u64 = 64;

const MAGIC: [u8; 16] = *b"resembled store\n";

/// Where redb's header page begins in a head, and how much of it there is room for; redb uses 320 bytes.
const PAGE: usize = 64;
const PAGE_BYTES: usize = BLOCK - PAGE - CHECKSUM;

/// The first damaged block that was met, if any.
pub(super) type Damage = watch::Receiver<Option<u64>>;

/// redb's file in ours.
#[derive(Debug)]
pub(super) struct Checked<D> {
    disk: D,
    head: Mutex<Head>,
    damage: watch::Sender<Option<u64>>,
}

/// Why a file is not one of ours.
#[derive(Debug)]
pub(super) enum HeadError {
    /// Of another schema version.
    Version(u64),
    /// Neither head is whole.
    Damaged,
    /// The disk does not give it.
    Io(io::Error),
}

impl From<io::Error> for HeadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What stands in the first two blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    /// The schema of what redb's file holds.
    version: u64,
    /// Raised with each writing: of two whole heads, the younger counts.
    sequence: u64,
    /// Length of redb's file.
    len: u64,
    /// Whether a damaged block was met.
    is_damaged: bool,
    /// The beginning of redb's first page.
    page: Box<[u8; PAGE_BYTES]>,
    /// Where it is written next; not part of it, nor is what follows.
    next: NextHead,
    /// The last sequence that was synced.
    synced: u64,
}

/// Which of the two heads is written. Until the next sync it is always the same one, so that the other one, which was
/// synced, is whole whatever a power cut tears. After the sync it is copied to the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NextHead {
    /// 0 or 1.
    at: u64,
    /// Whether the other one may not have reached the disk yet: it was found at the opening, and a process that was killed
    /// syncs nothing.
    is_first: bool,
}

impl Head {
    fn to_bytes(&self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        bytes[..16].copy_from_slice(&MAGIC);
        bytes[16..24].copy_from_slice(&self.version.to_le_bytes());
        bytes[40] = u8::from(self.is_damaged);
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.len.to_le_bytes());
        bytes[PAGE..PAGE + PAGE_BYTES].copy_from_slice(self.page.as_slice());
        let checksum = crc32fast::hash(&bytes[..BLOCK - CHECKSUM]);
        bytes[BLOCK - CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; BLOCK]) -> Result<Self, HeadError> {
        let checksum = crc32fast::hash(&bytes[..BLOCK - CHECKSUM]).to_le_bytes();
        if bytes[..16] != MAGIC || bytes[BLOCK - CHECKSUM..] != checksum {
            return Err(HeadError::Damaged);
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        let mut page = Box::new([0; PAGE_BYTES]);
        page.copy_from_slice(&bytes[PAGE..PAGE + PAGE_BYTES]);
        Ok(Self {
            version: number(16),
            sequence: number(24),
            len: number(32),
            is_damaged: bytes[40] != 0,
            page,
            next: NextHead { at: 0, is_first: true },
            synced: number(24),
        })
    }
}

/// Says whether a file begins as ours do, whole or not.
pub(super) fn is_ours(disk: &impl Disk) -> io::Result<bool> {
    let mut begins = [0; MAGIC.len()];
    for head in 0..HEADS {
        let at = head * BLOCK as u64;
        if disk.read_at(at, &mut begins)? == MAGIC.len() && begins == MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}

impl<D: Disk> Checked<D> {
    /// Begins a file of a schema version anew, whatever is in it.
    pub(super) fn create(disk: D, version: u64) -> io::Result<Self> {
        disk.set_len(0)?;
        disk.set_len(HEADS * BLOCK as u64)?;
        let page = Box::new([0; PAGE_BYTES]);
        let next = NextHead { at: 0, is_first: true };
        let head = Head { version, sequence: 0, len: 0, is_damaged: false, page, next, synced: 0 };
        (0..HEADS).try_for_each(|at| disk.write_at(at * BLOCK as u64, &head.to_bytes()))?;
        Ok(Self { disk, head: Mutex::new(head), damage: watch::Sender::new(None) })
    }

    /// Opens a file of a schema version.
    pub(super) fn open(disk: D, version: u64) -> Result<Self, HeadError> {
        let read = |at: u64| -> Result<Head, HeadError> {
            let mut bytes = [0; BLOCK];
            match disk.read_at(at * BLOCK as u64, &mut bytes)? {
                // The other one is written next.
                BLOCK => Head::from_bytes(&bytes)
                    .map(|head| Head { next: NextHead { at: 1 - at, is_first: true }, ..head }),
                _ => Err(HeadError::Damaged),
            }
        };
        let head = match (read(0), read(1)) {
            (Ok(one), Ok(other)) => {
                if one.sequence >= other.sequence {
                    one
                } else {
                    other
                }
            }
            (Ok(one), Err(HeadError::Damaged)) | (Err(HeadError::Damaged), Ok(one)) => {
                tracing::warn!("one of the two heads of the store's file is damaged; the other one is used");
                one
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if head.version != version {
            return Err(HeadError::Version(head.version));
        }
        Ok(Self { disk, head: Mutex::new(head), damage: watch::Sender::new(None) })
    }

    /// Says whether a damaged block was met, now or in a former life.
    pub(super) fn is_damaged(&self) -> bool {
        self.head().is_damaged
    }

    /// Returns the number of the first damaged block that is met, from now on.
    pub(super) fn damage(&self) -> Damage {
        self.damage.subscribe()
    }

    /// Reads all that was ever written, and checks it.
    ///
    /// # Errors
    /// The first block that is damaged, or cannot be read.
    pub(super) fn check_all(&self) -> io::Result<()> {
        let mut bytes = vec![0; AT_ONCE as usize * BLOCK];
        // redb's first block is in the head.
        let blocks = self.head().len.div_ceil(BLOCK as u64).saturating_sub(1);
        runs(1, blocks).try_for_each(|(block, count)| self.read_blocks(block, &mut bytes[..count * BLOCK]))
    }

    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the head that is not the last one to be synced: if a crash cuts it short, the other one is whole.
    fn write_head(&self, head: &mut Head) -> io::Result<()> {
        if head.next.is_first {
            self.disk.sync()?;
            head.next.is_first = false;
        }
        head.sequence += 1;
        let written = self.disk.write_at(head.next.at * BLOCK as u64, &head.to_bytes());
        if written.is_err() {
            // A sync that follows has kept none of it.
            head.sequence -= 1;
        }
        written
    }

    /// Writes down and tells that a block is damaged, and returns the error that stands for its bytes.
    fn damaged(&self, block: u64) -> io::Error {
        let mut head = self.head();
        if !head.is_damaged {
            head.is_damaged = true;
            // A disk that does not take it will show the damage again.
            let _ = self.write_head(&mut head);
        }
        drop(head);
        self.damage.send_if_modified(|first| first.is_none() && first.replace(block).is_none());
        io::Error::new(io::ErrorKind::InvalidData, format!("block {block} is damaged"))
    }

    /// Reads some blocks of one group and checks them.
    fn read_blocks(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        let mut found = [0; AT_ONCE as usize * CHECKSUM];
        let found = &mut found[..out.len() / BLOCK * CHECKSUM];
        let (read, sums_read) =
            (self.disk.read_at(position(first), out)?, self.disk.read_at(checksum_position(first), found)?);
        if read < out.len() || sums_read < found.len() {
            // Cut off.
            return Err(self.damaged(first + (read / BLOCK).min(sums_read / CHECKSUM) as u64));
        }
        for ((block, bytes), found) in (first..).zip(out.chunks_exact_mut(BLOCK)).zip(found.as_chunks().0) {
            if *found == unwritten(block) {
                bytes.fill(0);
            } else if *found != checksum(block, bytes) {
                return Err(self.damaged(block));
            }
        }
        Ok(())
    }

    /// Writes some blocks of one group, then their checksums.
    fn write_blocks(&self, first: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write_at(position(first), data)?;
        let mut sums = [0; AT_ONCE as usize * CHECKSUM];
        for ((block, bytes), sum) in (first..).zip(data.chunks_exact(BLOCK)).zip(sums.as_chunks_mut().0) {
            *sum = checksum(block, bytes);
        }
        self.disk.write_at(checksum_position(first), &sums[..data.len() / BLOCK * CHECKSUM])
    }
}

/// Where a block of redb's file lies in ours.
fn position(block: u64) -> u64 {
    (HEADS + block / GROUP * (GROUP + 1) + 1 + block % GROUP) * BLOCK as u64
}

fn checksum_position(block: u64) -> u64 {
    (HEADS + block / GROUP * (GROUP + 1)) * BLOCK as u64 + block % GROUP * CHECKSUM as u64
}

fn checksum(block: u64, bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}

/// What stands for the checksum of a block that was not written yet. Not zero, so that a run of zeros is damage.
fn unwritten(block: u64) -> [u8; CHECKSUM] {
    checksum(block, b"unwritten")
}

/// The length of our file where redb's has this one.
fn outer_len(len: u64) -> u64 {
    match len.div_ceil(BLOCK as u64) {
        0 => HEADS * BLOCK as u64,
        blocks => position(blocks - 1) + BLOCK as u64,
    }
}

/// Cuts a run of blocks into such that lie in one group and are checked in one go: the first and how many.
fn runs(first: u64, blocks: u64) -> impl Iterator<Item = (u64, usize)> {
    let mut next = first;
    std::iter::from_fn(move || {
        let at = next;
        let count = (first + blocks - at).min(AT_ONCE).min(GROUP - at % GROUP);
        next += count;
        (count > 0).then_some((at, count as usize))
    })
}

/// redb reads and writes whole pages, but for its header.
fn misaligned(offset: u64, len: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{len} bytes at {offset} are no whole blocks"))
}

fn whole_blocks(offset: u64, len: usize) -> io::Result<(u64, u64)> {
    if !offset.is_multiple_of(BLOCK as u64) || !len.is_multiple_of(BLOCK) {
        return Err(misaligned(offset, len));
    }
    Ok((offset / BLOCK as u64, (len / BLOCK) as u64))
}

impl<D: Disk> Disk for Checked<D> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.head().len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let there = {
            let head = self.head();
            let there = head.len.saturating_sub(offset).min(out.len() as u64) as usize;
            if offset < BLOCK as u64 {
                let range = offset as usize..offset as usize + there;
                out[..there].copy_from_slice(head.page.get(range).ok_or_else(|| misaligned(offset, there))?);
                return Ok(there);
            }
            there
        };
        let (first, blocks) = whole_blocks(offset, there)?;
        let mut rest = &mut out[..there];
        for (block, count) in runs(first, blocks) {
            let (now, later) = rest.split_at_mut(count * BLOCK);
            self.read_blocks(block, now)?;
            rest = later;
        }
        Ok(there)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset < BLOCK as u64 {
            let range = offset as usize..offset as usize + data.len();
            let mut head = self.head();
            head.page.get_mut(range).ok_or_else(|| misaligned(offset, data.len()))?.copy_from_slice(data);
            return self.write_head(&mut head);
        }
        let (first, blocks) = whole_blocks(offset, data.len())?;
        let mut rest = data;
        for (block, count) in runs(first, blocks) {
            let (now, later) = rest.split_at(count * BLOCK);
            self.write_blocks(block, now)?;
            rest = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.head().len;
        if len < before {
            // First the head: a crash in between leaves a file that is too long, which does no harm.
            let mut head = self.head();
            head.len = len;
            self.write_head(&mut head)?;
            return self.disk.set_len(outer_len(len));
        }
        self.disk.set_len(outer_len(len))?;
        let (first, end) = (before.div_ceil(BLOCK as u64), len.div_ceil(BLOCK as u64));
        for (block, count) in runs(first, end - first) {
            let sums: Vec<u8> = (block..block + count as u64).flat_map(unwritten).collect();
            self.disk.write_at(checksum_position(block), &sums)?;
        }
        let mut head = self.head();
        head.len = len;
        self.write_head(&mut head)
    }

    fn sync(&self) -> io::Result<()> {
        let written = self.head().sequence;
        self.disk.sync()?;
        let mut head = self.head();
        // One that was written meanwhile may not be on the disk.
        if written == head.sequence && written != head.synced {
            head.synced = written;
            head.next.at = 1 - head.next.at;
            // The other one becomes the same, so that damage to either costs nothing. A disk that does not take it does
            // not take the next one either, and that one is told of.
            let _ = self.disk.write_at(head.next.at * BLOCK as u64, &head.to_bytes());
        }
        Ok(())
    }

    fn make_writable(&self) -> io::Result<()> {
        self.disk.make_writable()
    }
}

#[cfg(test)]
#[path = "checked_tests.rs"]
mod tests;
