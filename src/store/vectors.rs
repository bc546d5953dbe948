//! Embeddings <-> rows: some photos of one network together, each number in half precision where that loses nothing.
//!
//! A page of the file has 4096 bytes, and a row larger than that has pages of its own. A MobileNetV2 embedding takes 2560
//! bytes as f16: alone it would leave a third of its page empty, three fill two pages. So a row holds the photos whose
//! numbers share a quotient, as many as fill its pages best.
//!
//! ```text
//! present: u16   bit n: the photo with remainder n is there        little endian
//! wide:    u16   bit n: its numbers are f32, since f16 would change them
//! numbers        of the photos that are there, in their order
//! ```
//!
//! Invariant: what is read is bit for bit what was written. The loss of precision lies before, where embeddings come
//! from the network, see [`Embedding::rounded`](crate::photo::Embedding::rounded): so memory, file and query agree.

use half::f16;
use half::slice::HalfFloatSliceExt;
use redb::ReadableTable;

use super::{ModelRecord, StoreError};
use crate::photo::PhotoId;

/// Bytes before the numbers.
const HEAD: usize = 4;

/// What redb's page takes for itself around one row, generously.
const OVERHEAD: usize = 64;

const PAGE: usize = 4096;

/// Pages of the largest row. Reading one photo reads its row.
const MOST_PAGES: usize = 4;

/// Photos in a row at the most.
const MOST_PHOTOS: usize = 16;

/// Returns how many photos share a row, where an embedding has `dim` numbers. Part of the layout: another number for a
/// `dim` that is in use needs another schema version.
pub(super) fn photos_in_row(dim: usize) -> u64 {
    let bytes = dim.max(1) * size_of::<f16>();
    let (mut best, mut best_used) = (1, 0.0);
    for pages in [1, 2, MOST_PAGES] {
        let room = pages * PAGE - OVERHEAD;
        let photos = (room / bytes).min(MOST_PHOTOS);
        let used = (photos * bytes) as f64 / (pages * PAGE) as f64;
        if pages == 1 && photos == MOST_PHOTOS {
            // Several such rows share a page.
            return MOST_PHOTOS as u64;
        }
        // More pages only for a good deal more of them used.
        if photos > 0 && used > best_used + 0.1 {
            (best, best_used) = (photos, used);
        }
    }
    best as u64
}

/// Reads an embedding into `values`. False where the network has not encoded the photo.
pub(super) fn read(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    model: &ModelRecord,
    photo: PhotoId,
    values: &mut Vec<f32>,
) -> Result<bool, StoreError> {
    let dim = model.dim as usize;
    let (number, place) = place(photo, photos_in_row(dim));
    let Some(bytes) = table.get((model.id, number))? else { return Ok(false) };
    Ok(Row::parse(bytes.value(), dim)?.read(place, values))
}

/// Says whether the network has encoded the photo.
pub(super) fn has(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    model: &ModelRecord,
    photo: PhotoId,
) -> Result<bool, StoreError> {
    let dim = model.dim as usize;
    let (number, place) = place(photo, photos_in_row(dim));
    let Some(bytes) = table.get((model.id, number))? else { return Ok(false) };
    Ok(Row::parse(bytes.value(), dim)?.has(place))
}

/// Returns the row of a photo, and its place there.
pub(super) fn place(photo: PhotoId, in_row: u64) -> (u64, u32) {
    // Below 16.
    (photo.0 / in_row, (photo.0 % in_row) as u32)
}

/// A row, as it is in the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    present: u16,
    wide: u16,
    numbers: &'a [u8],
    dim: usize,
}

impl<'a> Row<'a> {
    /// Reads the row's head. A row that is not as long as it says is refused.
    pub(super) fn parse(bytes: &'a [u8], dim: usize) -> Result<Self, StoreError> {
        let damaged = StoreError::VectorRow { len: bytes.len(), dim };
        let (&[a, b, c, d], numbers) = bytes.split_first_chunk::<HEAD>().ok_or(damaged)?;
        let row =
            Self { present: u16::from_le_bytes([a, b]), wide: u16::from_le_bytes([c, d]), numbers, dim };
        if row.wide & !row.present != 0 || row.start(16) != numbers.len() {
            return Err(StoreError::VectorRow { len: bytes.len(), dim });
        }
        Ok(row)
    }

    /// Where the numbers of a place begin, or would.
    fn start(&self, place: u32) -> usize {
        let below = if place >= 16 { u16::MAX } else { (1 << place) - 1 };
        let halves = (self.present & below).count_ones() + (self.wide & below).count_ones();
        halves as usize * self.dim * size_of::<f16>()
    }

    /// Says whether the photo at the place is there.
    pub(super) fn has(&self, place: u32) -> bool {
        self.present >> place & 1 == 1
    }

    /// Reads the embedding at a place into `values`. False where there is none.
    pub(super) fn read(&self, place: u32, values: &mut Vec<f32>) -> bool {
        if !self.has(place) {
            return false;
        }
        values.clear();
        let numbers = &self.numbers[self.start(place)..self.start(place + 1)];
        if self.wide >> place & 1 == 1 {
            values.extend(numbers.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
            return true;
        }
        values.resize(self.dim, 0.0);
        // In pieces on the stack, which the processor's own conversion takes.
        for (numbers, values) in numbers.chunks(2 * PIECE).zip(values.chunks_mut(PIECE)) {
            let mut halves = [f16::ZERO; PIECE];
            for (half, &bytes) in halves.iter_mut().zip(numbers.as_chunks().0) {
                *half = f16::from_le_bytes(bytes);
            }
            halves[..values.len()].convert_to_f32_slice(values);
        }
        true
    }

    /// Returns the places that are there, in their order.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + use<> {
        let present = self.present;
        (0..16).filter(move |place| present >> place & 1 == 1)
    }
}

/// Numbers converted in one go.
const PIECE: usize = 64;

/// Writes an embedding into its place of a row, which may be new.
pub(super) fn put(row: Option<Row<'_>>, place: u32, values: &[f32]) -> Vec<u8> {
    let is_wide = values.iter().any(|&value| !is_half(value));
    let mut numbers = Vec::with_capacity(size_of_val(values));
    for &value in values {
        if is_wide {
            numbers.extend(value.to_le_bytes());
        } else {
            numbers.extend(f16::from_f32(value).to_le_bytes());
        }
    }
    let row = row.unwrap_or(Row { present: 0, wide: 0, numbers: &[], dim: values.len() });
    splice(&row, place, Some(is_wide), &numbers)
}

/// Removes an embedding from its row. `None`: nothing is left in it.
pub(super) fn remove(row: &Row<'_>, place: u32) -> Option<Vec<u8>> {
    let row = splice(row, place, None, &[]);
    (row[..2] != [0, 0]).then_some(row)
}

/// Puts numbers, wide or not, or nothing, where a place had its own.
fn splice(row: &Row<'_>, place: u32, new: Option<bool>, numbers: &[u8]) -> Vec<u8> {
    let bit = 1 << place;
    let present = if new.is_some() { row.present | bit } else { row.present & !bit };
    let wide = if new == Some(true) { row.wide | bit } else { row.wide & !bit };
    let (before, after) = (&row.numbers[..row.start(place)], &row.numbers[row.start(place + 1)..]);
    [&present.to_le_bytes()[..], &wide.to_le_bytes(), before, numbers, after].concat()
}

/// Says whether half precision holds this very number.
fn is_half(value: f32) -> bool {
    f16::from_f32(value).to_f32().to_bits() == value.to_bits()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<f32>> {
        let half = any::<u16>().prop_map(|bits| f16::from_bits(bits).to_f32());
        prop_oneof![prop::collection::vec(half, 3), prop::collection::vec(any::<f32>(), 3)]
    }

    proptest! {
        /// A row against a map, over any sequence of puts and removals, bit for bit.
        #[test]
        fn a_row_agrees_with_a_map(steps in prop::collection::vec((0u32..16, prop::option::weighted(0.7, numbers())), 1..40)) {
            let mut expected = BTreeMap::new();
            let mut bytes: Option<Vec<u8>> = None;
            for (place, values) in steps {
                let row = bytes.as_deref().map(|bytes| Row::parse(bytes, 3).unwrap());
                bytes = match &values {
                    Some(values) => Some(put(row, place, values)),
                    None => row.and_then(|row| remove(&row, place)),
                };
                match values {
                    Some(values) => _ = expected.insert(place, values),
                    None => _ = expected.remove(&place),
                }
                let row = bytes.as_deref().map(|bytes| Row::parse(bytes, 3).unwrap());
                prop_assert_eq!(row.is_none(), expected.is_empty());
                let Some(row) = row else { continue };
                prop_assert_eq!(row.places().collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
                for (&place, values) in &expected {
                    let mut read = Vec::new();
                    prop_assert!(row.read(place, &mut read));
                    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                    prop_assert_eq!(bits(&read), bits(values));
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), dim in 0usize..5) {
            if let Ok(row) = Row::parse(&bytes, dim) {
                for place in row.places() {
                    prop_assert!(row.read(place, &mut Vec::new()));
                }
            }
        }
    }

    #[test]
    fn rows_fill_their_pages() {
        for (dim, photos) in [(1280, 3), (512, 7), (768, 5), (1024, 7), (2048, 3), (2, 16), (128, 15)] {
            assert_eq!(photos_in_row(dim), photos, "{dim}");
        }
        assert_eq!(photos_in_row(1_000_000), 1);
    }
}
