//! Huffman tables, prepared for three ways of reading: a symbol, a coefficient, or many to be skipped.

use super::bits::{Bits, extend};

/// Bits that one look into a table covers. Longer codes are rare and take the slow way.
const LOOK: u32 = 11;
/// Bits that one look for skipping covers.
const SKIP_LOOK: u32 = 12;

/// A code book from a DHT segment.
pub(super) struct Table {
    /// By the next [`LOOK`] bits: length of the code in the high byte, symbol in the low one; 0 for longer codes.
    symbols: Box<[u16; 1 << LOOK]>,
    /// By the length of a code: the first number of [`LOOK`] + 1 to 16 bits that is beyond the codes of this
    /// length, shifted to 16 bits; and where its symbols are.
    limits: [u32; 17],
    deltas: [i32; 17],
    values: Vec<u8>,
    /// By the next [`LOOK`] bits, a whole coefficient; see [`Coefficient`].
    coefficients: Box<[u32; 1 << LOOK]>,
    /// By the next [`SKIP_LOOK`] bits, as many coefficients as they hold; see [`Skip`]. Empty until asked for.
    skips: Vec<u16>,
}

/// The code book breaks the rules.
#[derive(Debug, PartialEq)]
pub(super) struct Impossible;

/// A coefficient, packed: bits to take in 0..5, zeros before it in 5..9, in 9..13 the size of a value that
/// must still be read, [`END`], and in 16..32 the value that was read.
type Coefficient = u32;
const END: Coefficient = 1 << 13;

/// What a look for skipping found, packed: bits to take in 0..4, coefficients in 4..11, [`SKIP_END`].
type Skip = u16;
const SKIP_END: Skip = 1 << 15;

impl Table {
    /// Builds the tables from how many codes there are of each length 1 to 16, and their symbols.
    pub(super) fn new(counts: &[u8; 16], values: &[u8]) -> Result<Self, Impossible> {
        let mut symbols = Box::new([0u16; 1 << LOOK]);
        let (mut limits, mut deltas) = ([0; 17], [0; 17]);
        let (mut code, mut index) = (0u32, 0usize);
        for len in 1..=16u32 {
            let count = usize::from(counts[len as usize - 1]);
            deltas[len as usize] = index as i32 - code as i32;
            if code + count as u32 > 1 << len {
                return Err(Impossible);
            }
            for &value in values.get(index..index + count).ok_or(Impossible)? {
                if len <= LOOK {
                    let first = (code << (LOOK - len)) as usize;
                    symbols[first..first + (1 << (LOOK - len))].fill((len as u16) << 8 | u16::from(value));
                }
                code += 1;
            }
            index += count;
            limits[len as usize] = code << (16 - len);
            code <<= 1;
        }
        let mut table = Self {
            symbols,
            limits,
            deltas,
            values: values[..index].to_vec(),
            coefficients: Box::new([0; 1 << LOOK]),
            skips: Vec::new(),
        };
        for window in 0..1 << LOOK {
            table.coefficients[window] = table.coefficient_of(window as u32);
        }
        Ok(table)
    }

    fn coefficient_of(&self, window: u32) -> Coefficient {
        let entry = u32::from(self.symbols[window as usize]);
        let (len, run, size) = (entry >> 8, entry >> 4 & 15, entry & 15);
        if len == 0 {
            return 0;
        }
        if size == 0 {
            return if run == 15 { len | run << 5 } else { len | END };
        }
        if len + size > LOOK {
            return len | run << 5 | size << 9;
        }
        let value = extend((window >> (LOOK - len - size) & ((1 << size) - 1)) as i32, size);
        (len + size) | run << 5 | (value as u32) << 16
    }

    /// Prepares [`Self::skip`].
    pub(super) fn prepare_skips(&mut self) {
        if !self.skips.is_empty() {
            return;
        }
        self.skips = (0..1u32 << SKIP_LOOK).map(|window| self.skip_of(window)).collect();
    }

    fn skip_of(&self, window: u32) -> Skip {
        let (mut taken, mut passed) = (0, 0);
        loop {
            let rest = window << taken & ((1 << SKIP_LOOK) - 1);
            let entry = u32::from(self.symbols[(rest >> (SKIP_LOOK - LOOK)) as usize]);
            let (len, run, size) = (entry >> 8, entry >> 4 & 15, entry & 15);
            if len == 0 || taken + len + size > SKIP_LOOK {
                break (taken | passed << 4) as Skip;
            }
            if size == 0 && run != 15 {
                break (taken + len | passed << 4) as Skip | SKIP_END;
            }
            if passed + run + 1 > 63 {
                break (taken | passed << 4) as Skip;
            }
            taken += len + size;
            passed += run + 1;
        }
    }

    /// Reads one symbol; `None` where the bits are no code of this book.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Option<u32> {
        let entry = u32::from(self.symbols[bits.peek(LOOK)]);
        if entry == 0 {
            return self.long_symbol(bits);
        }
        bits.consume(entry >> 8);
        Some(entry & 0xff)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut Bits<'_>) -> Option<u32> {
        let code = bits.peek(16) as u32;
        let len = (LOOK + 1..=16).find(|&len| code < self.limits[len as usize])?;
        bits.consume(len);
        let index = (code >> (16 - len)) as i32 + self.deltas[len as usize];
        self.values.get(index as usize).map(|&value| u32::from(value))
    }

    /// Reads the coefficients of a block from `k` to `last` in zigzag order and gives each that is not zero
    /// to `found`; of sixteen zeros in a row the last one too. Returns the place where it stopped, above `last`, or 64 where the block ended; `None`
    /// where the bits are no code.
    #[inline(always)]
    pub(super) fn coefficients(
        &self,
        bits: &mut Bits<'_>,
        mut k: usize,
        last: usize,
        mut found: impl FnMut(usize, i32),
    ) -> Option<usize> {
        while k <= last {
            bits.refill();
            let mut entry = self.coefficients[bits.peek(LOOK)];
            if entry == 0 {
                let symbol = self.long_symbol(bits)?;
                entry = match symbol {
                    _ if symbol & 15 != 0 => symbol >> 4 << 5 | (symbol & 15) << 9,
                    0xf0 => 15 << 5,
                    _ => END,
                };
            }
            bits.consume(entry & 31);
            if entry & END != 0 {
                return Some(64);
            }
            k += (entry >> 5 & 15) as usize;
            let size = entry >> 9 & 15;
            let value = if size == 0 { entry as i32 >> 16 } else { extend(bits.take(size), size) };
            if k <= last {
                found(k, value);
            }
            k += 1;
        }
        Some(k)
    }

    /// Reads to the end of a block from `k` on without looking at the values. `None` where the bits are no code.
    #[inline(always)]
    pub(super) fn skip(&self, bits: &mut Bits<'_>, mut k: usize) -> Option<()> {
        while k <= 63 {
            bits.refill();
            let entry = self.skips[bits.peek(SKIP_LOOK)];
            let passed = usize::from(entry >> 4 & 127);
            // What oversteps the block belongs to the next one in part; so does what is too long for a look.
            if entry == 0 || k + passed > 63 {
                k = self.coefficients(bits, k, k, |_, _| ())?;
                continue;
            }
            bits.consume(u32::from(entry & 15));
            if entry & SKIP_END != 0 {
                break;
            }
            k += passed;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::unstuff;
    use super::*;

    /// Codes: 0 -> end of block, 10 -> a value of 1 bit, 110 -> two zeros and a value of 2 bits, and a code
    /// of 13 bits, 1110 0000 0000 0 -> 16 zeros.
    fn table() -> Table {
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2], counts[12]) = (1, 1, 1, 1);
        Table::new(&counts, &[0x00, 0x01, 0x22, 0xf0]).unwrap()
    }

    fn with_bits<T>(text: &str, read: impl FnOnce(&mut Bits<'_>) -> T) -> T {
        let digits: String = text.chars().filter(|digit| *digit != ' ').collect();
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks(8)
            .map(|chunk| chunk.iter().enumerate().map(|(at, digit)| (digit - b'0') << (7 - at)).sum())
            .collect();
        let mut clean = Vec::new();
        unstuff(&bytes, 0, &mut clean);
        let mut bits = Bits::new(&clean);
        bits.refill();
        read(&mut bits)
    }

    #[test]
    fn coefficients_are_read_up_to_the_end_of_the_block() {
        let read = |text: &str, last: usize| {
            let mut found = Vec::new();
            let stop = with_bits(text, |bits| {
                table().coefficients(bits, 1, last, |k, value| found.push((k, value)))
            });
            (found, stop)
        };
        assert_eq!(read("10 1 110 00 0", 63), (vec![(1, 1), (4, -3)], Some(64)));
        assert_eq!(read("10 0 10 1 0", 1), (vec![(1, -1)], Some(2)));
        assert_eq!(read("1110000000000 10 1 0", 63), (vec![(16, 0), (17, 1)], Some(64)));
        assert_eq!(read("1110111100000000", 63).1, None);
    }

    #[test]
    fn skipping_takes_the_same_bits_as_reading() {
        let mut table = table();
        table.prepare_skips();
        for text in
            ["0", "10 1 0", "10 1 10 0 110 11 0", "1110000000000 10 1 0", "110 01 110 10 110 11 10 1 0"]
        {
            let all = format!("{text} 10 1");
            let (mut read, mut skipped) = (None, None);
            with_bits(&all, |bits| {
                table.coefficients(bits, 1, 63, |_, _| ()).unwrap();
                bits.refill();
                read = Some(bits.peek(3));
            });
            with_bits(&all, |bits| {
                table.skip(bits, 1).unwrap();
                bits.refill();
                skipped = Some(bits.peek(3));
            });
            assert_eq!(read, Some(0b101), "{text}");
            assert_eq!(skipped, read, "{text}");
        }
    }

    #[test]
    fn an_oversubscribed_book_is_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert_eq!(Table::new(&counts, &[1, 2, 3]).err(), Some(Impossible));
        counts[0] = 2;
        assert_eq!(Table::new(&counts, &[1]).err(), Some(Impossible));
    }
}
