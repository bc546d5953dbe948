//! The first so many of all rows, by a number that grows with their distance.

use crate::search::rows::MOST_ROWS;

/// Bits of an address that tell the row within its chunk.
const ROW_BITS: u32 = MOST_ROWS.ilog2();

/// Where a row is: its chunk, and its number in there. Ordered as the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowAddress(u32);

impl RowAddress {
    /// Names a row. A library of more chunks than fit has no room in any memory.
    pub fn new(chunk: usize, row: usize) -> Self {
        debug_assert!(chunk < 1 << (u32::BITS - ROW_BITS) && row < MOST_ROWS, "{chunk}, {row}");
        Self((chunk as u32) << ROW_BITS | row as u32)
    }

    /// Returns the number of the chunk.
    pub fn chunk(self) -> usize {
        (self.0 >> ROW_BITS) as usize
    }

    /// Returns the number of the row in its chunk.
    pub fn row(self) -> usize {
        self.0 as usize % MOST_ROWS
    }
}

/// A row and the number it is ranked by, as one integer that is ordered like both: by the number as
/// [`f32::total_cmp`] has it, then by address. Sorting out thousands of integers takes a fraction of the time that pairs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RankedRow(u64);

/// The sign bit.
const SIGN: u32 = 1 << 31;

impl RankedRow {
    /// Ranks a row.
    #[inline(always)]
    pub fn new(key: f32, address: RowAddress) -> Self {
        let bits = key.to_bits();
        // Of negative numbers, the greater bits are the lesser number.
        let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
        Self(u64::from(ordered) << 32 | u64::from(address.0))
    }

    /// Returns the number.
    pub fn key(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(if ordered & SIGN == 0 { !ordered } else { ordered ^ SIGN })
    }

    /// Returns where the row is.
    pub fn address(self) -> RowAddress {
        RowAddress(self.0 as u32)
    }
}

/// The first `wanted` rows of those offered. Cheaper than a heap for thousands: it sorts out only once twice as many
/// have come together.
pub struct Shortlist {
    wanted: usize,
    /// Nothing beyond it is among the first `wanted`.
    bound: f32,
    rows: Vec<RankedRow>,
}

impl Shortlist {
    /// Starts empty. At least one row is wanted.
    pub fn new(wanted: usize) -> Self {
        Self { wanted: wanted.max(1), bound: f32::INFINITY, rows: Vec::new() }
    }

    /// Offers the rows of a chunk, by their keys; those that `accepts` refuses are passed over.
    pub fn offer(&mut self, chunk: usize, keys: &[f32], accepts: Option<&dyn Fn(usize) -> bool>) {
        let (before, bound) = (self.rows.len(), self.bound);
        self.rows.resize(before + keys.len(), RankedRow(0));
        let mut taken = 0;
        let room = &mut self.rows[before..];
        // Written in any case and kept if it counts: nobody could guess which do.
        for (row, &key) in keys.iter().enumerate() {
            room[taken] = RankedRow::new(key, RowAddress::new(chunk, row));
            taken += usize::from(key <= bound);
        }
        self.rows.truncate(before + taken);
        if let Some(accepts) = accepts {
            let mut place = 0;
            self.rows.retain(|ranked| {
                place += 1;
                place <= before || accepts(ranked.address().row())
            });
        }
        if self.rows.len() >= self.wanted.saturating_mul(2) {
            self.sort_out();
        }
    }

    fn sort_out(&mut self) {
        if self.rows.len() > self.wanted {
            let (_, last, _) = self.rows.select_nth_unstable(self.wanted - 1);
            self.bound = last.key();
            self.rows.truncate(self.wanted);
        }
    }

    /// Returns the first `wanted` of what these were offered, in no order.
    pub fn merged(wanted: usize, parts: Vec<Self>) -> Vec<RankedRow> {
        let mut all = Self::new(wanted);
        all.rows = parts.into_iter().flat_map(|part| part.rows).collect();
        all.sort_out();
        all.rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_rows_are_those_of_a_plain_sort(
            chunks in prop::collection::vec(prop::collection::vec(-4i32..5, 0..50), 0..30),
            wanted in 1usize..60,
            threads in 1usize..4,
            modulus in 1usize..4,
        ) {
            let passes = |row: usize| row.is_multiple_of(modulus);
            let accepts: Option<&dyn Fn(usize) -> bool> = if modulus > 1 { Some(&passes) } else { None };
            let mut parts: Vec<Shortlist> = (0..threads).map(|_| Shortlist::new(wanted)).collect();
            let mut expected = Vec::new();
            for (chunk, keys) in chunks.iter().enumerate() {
                let keys: Vec<f32> = keys.iter().map(|&key| key as f32 * 0.5).collect();
                parts[chunk % threads].offer(chunk, &keys, accepts);
                expected.extend(keys.iter().copied().enumerate().filter(|(row, _)| passes(*row)).map(|(row, key)| (key, chunk, row)));
            }
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            expected.truncate(wanted);
            let mut found = Shortlist::merged(wanted, parts);
            found.sort_unstable();
            let found: Vec<_> = found.iter().map(|r| (r.key(), r.address().chunk(), r.address().row())).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn ranks_are_ordered_like_their_numbers_and_places(a in any::<f32>(), b in any::<f32>(), at in 0usize..9000, other in 0usize..9000) {
            let place = |at: usize| RowAddress::new(at / 90, at % 90 * 40);
            let (one, two) = (RankedRow::new(a, place(at)), RankedRow::new(b, place(other)));
            prop_assert_eq!(one.cmp(&two), a.total_cmp(&b).then(at.cmp(&other)));
            prop_assert_eq!(one.key().to_bits(), a.to_bits());
            prop_assert_eq!((one.address().chunk(), one.address().row()), (at / 90, at % 90 * 40));
        }
    }

    #[test]
    fn a_number_that_is_none_is_in_no_list() {
        let mut shortlist = Shortlist::new(3);
        shortlist.offer(0, &[f32::NAN, 1.0, f32::INFINITY], None);
        let found = Shortlist::merged(3, vec![shortlist]);
        assert_eq!(found.iter().map(|ranked| ranked.key()).collect::<Vec<_>>(), [1.0, f32::INFINITY]);
    }
}
