//! Entropy-coded bytes -> bits.
//!
//! The stuffing (a 0 after each 255) is taken out of a whole segment first, so that reading bits never
//! looks for markers: one unaligned load refills eight bytes.

/// Zeros behind the data, so that a refill at its end finds eight bytes to load.
const PADDING: usize = 16;

/// Puts the bytes from `at` to the next marker into `clean`, without stuffing and with padding behind them.
/// Returns where the marker stands; the end of `bytes` where there is none.
pub(super) fn unstuff(bytes: &[u8], mut at: usize, clean: &mut Vec<u8>) -> usize {
    clean.clear();
    let end = loop {
        let rest = &bytes[at.min(bytes.len())..];
        let Some(run) = memchr::memchr(0xff, rest) else {
            clean.extend_from_slice(rest);
            break bytes.len();
        };
        match rest.get(run + 1) {
            Some(0) => {
                clean.extend_from_slice(&rest[..=run]);
                at += run + 2;
            }
            // Fill bytes: any number of 255 may stand before a marker.
            Some(0xff) => {
                clean.extend_from_slice(&rest[..run]);
                at += run + 1;
            }
            Some(_) => {
                clean.extend_from_slice(&rest[..run]);
                break at + run;
            }
            None => {
                clean.extend_from_slice(&rest[..run]);
                break bytes.len();
            }
        }
    };
    clean.resize(clean.len() + PADDING, 0);
    end
}

/// Reads bits, the highest first. Behind the end there are zeros; [`Self::is_overrun`] tells.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The bits to come, from the top.
    window: u64,
    /// How many of them are valid.
    have: u32,
}

impl<'a> Bits<'a> {
    /// Takes what [`unstuff`] made.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, window: 0, have: 0 }
    }

    /// Makes at least 56 bits valid.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let next = match self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(&raw) => u64::from_be_bytes(raw),
            None => 0,
        };
        self.window |= next >> self.have;
        let bytes = (63 - self.have) >> 3;
        self.at += bytes as usize;
        self.have += bytes * 8;
    }

    /// Returns the next 1 to 16 bits without taking them. A refill comes before.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> usize {
        (self.window >> (64 - count)) as usize
    }

    /// Takes bits that were peeked at, 32 at most after one refill.
    #[inline(always)]
    pub(super) fn consume(&mut self, count: u32) {
        self.window <<= count;
        self.have = self.have.wrapping_sub(count);
    }

    /// Takes 0 to 16 bits. A refill comes before.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> i32 {
        // Two shifts, since one by 64 is not defined.
        let value = (self.window >> 1 >> (63 - count)) as i32;
        self.consume(count);
        value
    }

    /// Takes one bit, refilling where needed.
    #[inline(always)]
    pub(super) fn bit(&mut self) -> bool {
        if self.have == 0 {
            self.refill();
        }
        let bit = self.window >> 63 == 1;
        self.consume(1);
        bit
    }

    /// Says whether more bits were taken than the segment has.
    pub(super) fn is_overrun(&self) -> bool {
        self.at * 8 - self.have as usize > (self.data.len() - PADDING) * 8
    }
}

/// Extends `size` bits to the number they stand for: those without the top bit are negative.
#[inline(always)]
pub(super) fn extend(value: i32, size: u32) -> i32 {
    let negative = value < (1 << size >> 1);
    if negative { value - (1 << size) + 1 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffing_goes_and_a_marker_ends_the_segment() {
        let check = |bytes: &[u8], expected: &[u8], end: usize| {
            let mut clean = Vec::new();
            assert_eq!(unstuff(bytes, 0, &mut clean), end, "{bytes:02x?}");
            assert_eq!(&clean[..clean.len() - PADDING], expected, "{bytes:02x?}");
        };
        check(&[1, 0xff, 0, 2, 0xff, 0xd9], &[1, 0xff, 2], 4);
        check(&[1, 0xff, 0xff, 0xff, 0xd0, 9], &[1], 3);
        check(&[1, 2], &[1, 2], 2);
        check(&[1, 0xff], &[1], 2);
        check(&[], &[], 0);
    }

    #[test]
    fn bits_come_highest_first_and_zeros_behind_the_end() {
        let mut clean = Vec::new();
        unstuff(&[0b1010_0000, 0x0f], 0, &mut clean);
        let mut bits = Bits::new(&clean);
        bits.refill();
        assert_eq!(bits.take(3), 0b101);
        assert_eq!(bits.take(0), 0);
        assert_eq!(bits.take(13), 0x0f);
        assert!(!bits.is_overrun());
        assert_eq!(bits.take(9), 0);
        assert!(bits.is_overrun());
        for _ in 0..1000 {
            assert!(!bits.bit());
        }
    }

    #[test]
    fn values_are_extended_to_their_sign() {
        assert_eq!([extend(0, 0), extend(0, 1), extend(1, 1)], [0, -1, 1]);
        assert_eq!([extend(0, 3), extend(3, 3), extend(4, 3), extend(7, 3)], [-7, -4, 4, 7]);
    }
}
