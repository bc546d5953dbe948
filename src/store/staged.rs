//! Writes that are not on the disk yet, in the order of the syncs between them. Pure: no disk is asked.
//!
//! Invariant: an [`Epoch`] is what was written between two syncs. Within one the order of writes does not matter, since
//! a crash may leave any of them; between two it does, and they reach the disk one after the other.

use std::collections::BTreeMap;
use std::io;

use super::disk::Disk;

/// What was written between two syncs.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    /// Bytes by offset. No two overlap.
    extents: BTreeMap<u64, Vec<u8>>,
    /// The last length that was set, and the smallest one.
    len: Option<Lengths>,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    last: u64,
    smallest: u64,
}

impl Epoch {
    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.extents.is_empty() && self.len.is_none()
    }

    /// Returns how many bytes are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts `data` over whatever was written there.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        self.cut(offset, offset + data.len() as u64);
        self.extents.insert(offset, data.to_vec());
        self.bytes += data.len();
    }

    /// Sets the length: what lies behind is gone, and reads as zero if the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        self.cut(len, u64::MAX);
        let smallest = self.len.map_or(len, |known| known.smallest.min(len));
        self.len = Some(Lengths { last: len, smallest });
    }

    /// Puts what was written over `out`, which lies at `offset` and holds what was there before.
    pub(super) fn lay_over(&self, offset: u64, out: &mut [u8]) {
        if let Some(Lengths { smallest, .. }) = self.len {
            let kept = usize::try_from(smallest.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
            out[kept..].fill(0);
        }
        let end = offset + out.len() as u64;
        let first = self.extents.range(..=offset).next_back().map_or(offset, |(&at, _)| at);
        for (&at, data) in self.extents.range(first..end) {
            let (from, to) = (at.max(offset), (at + data.len() as u64).min(end));
            if from < to {
                let range = |base: u64| (from - base) as usize..(to - base) as usize;
                out[range(offset)].copy_from_slice(&data[range(at)]);
            }
        }
    }

    /// Returns what was written from `offset` on, `len` bytes.
    pub(super) fn part(&self, offset: u64, len: usize) -> Self {
        let mut part = Self { len: self.len, ..Self::default() };
        let end = offset + len as u64;
        let first = self.extents.range(..=offset).next_back().map_or(offset, |(&at, _)| at);
        part.extents.extend(self.extents.range(first..end).map(|(&at, data)| (at, data.clone())));
        part
    }

    /// Writes all of it to the disk, without a sync.
    pub(super) fn write_to(&self, disk: &dyn Disk) -> io::Result<()> {
        if let Some(Lengths { smallest, last }) = self.len {
            // Growing from the smallest length makes zeros of what was cut off.
            if disk.len()? > smallest {
                disk.set_len(smallest)?;
            }
            if disk.len()? != last {
                disk.set_len(last)?;
            }
        }
        self.extents.iter().try_for_each(|(&offset, data)| disk.write_at(offset, data))
    }

    /// Forgets what was written from `from` up to `to`.
    fn cut(&mut self, from: u64, to: u64) {
        let first = self.extents.range(..=from).next_back().map_or(from, |(&at, _)| at);
        let touched: Vec<u64> = self.extents.range(first..to).map(|(&at, _)| at).collect();
        for at in touched {
            let Some(mut data) = self.extents.remove(&at) else { continue };
            let end = at + data.len() as u64;
            self.bytes -= data.len();
            let mut keep = |at: u64, part: Vec<u8>| {
                self.bytes += part.len();
                self.extents.insert(at, part);
            };
            if end > to {
                let behind = data.split_off((to.max(at) - at) as usize);
                keep(to.max(at), behind);
            }
            if at < from {
                data.truncate((from - at) as usize);
                keep(at, data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: usize = 64;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write =
            (0..48u64, prop::collection::vec(1u8.., 1..16)).prop_map(|(at, data)| Step::Write(at, data));
        prop::collection::vec(prop_oneof![4 => write, 1 => (0..=SIZE as u64).prop_map(Step::SetLen)], 0..12)
    }

    proptest! {
        #[test]
        fn what_is_laid_over_equals_what_was_written(before in prop::collection::vec(any::<u8>(), SIZE), steps in steps(), from in 0..SIZE, len in 0..SIZE) {
            let (mut expected, mut epoch) = (before.clone(), Epoch::default());
            for step in &steps {
                match step {
                    Step::Write(at, data) => {
                        let at = *at as usize;
                        expected[at..at + data.len()].copy_from_slice(data);
                        epoch.write(at as u64, data);
                    }
                    Step::SetLen(len) => {
                        expected[*len as usize..].fill(0);
                        epoch.set_len(*len);
                    }
                }
            }
            let to = (from + len).min(SIZE);
            let mut out = before[from..to].to_vec();
            let mut of_part = out.clone();
            epoch.lay_over(from as u64, &mut out);
            epoch.part(from as u64, to - from).lay_over(from as u64, &mut of_part);
            prop_assert_eq!(&of_part, &out);
            prop_assert_eq!(out, &expected[from..to]);
            prop_assert_eq!(epoch.bytes(), epoch.extents.values().map(Vec::len).sum::<usize>());
        }
    }
}
