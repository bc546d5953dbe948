//! Rows of equal width in the order of their ids, in chunks that snapshots share.
//!
//! A clone shares every chunk. A change copies the one chunk it touches, unless no clone holds it, so the work of an
//! insert or a removal does not grow with the number of rows, apart from one pointer a chunk.
//!
//! Invariant: ids ascend within a chunk and from chunk to chunk, no chunk is empty, and none is over its capacity.

use std::sync::Arc;

use crate::photo::PhotoId;

/// Bytes in a full chunk: small enough to copy within some tens of microseconds, large enough that a
/// million codes are a few hundred pointers.
const CHUNK_BYTES: usize = 256 << 10;
/// Rows in a chunk at the most.
pub const MOST_ROWS: usize = 4096;

/// Some rows: for the i-th, its id, its `width` values and its note.
#[derive(Clone, Debug)]
pub struct Chunk<T, N> {
    ids: Vec<PhotoId>,
    values: Vec<T>,
    notes: Vec<N>,
}

impl<T, N> Chunk<T, N> {
    /// Returns the ids, ascending.
    pub fn ids(&self) -> &[PhotoId] {
        &self.ids
    }

    /// Returns the values of all rows, one row after another.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Returns the notes of all rows.
    pub fn notes(&self) -> &[N] {
        &self.notes
    }
}

/// Rows in the order of their ids.
#[derive(Clone, Debug)]
pub struct Chunks<T, N> {
    width: usize,
    capacity: usize,
    len: usize,
    chunks: Vec<Arc<Chunk<T, N>>>,
}

impl<T: Copy, N: Copy> Chunks<T, N> {
    /// Starts without rows; each will have `width` values.
    pub fn new(width: usize) -> Self {
        Self::with_capacity(
            width,
            (CHUNK_BYTES / (width * size_of::<T>() + size_of::<N>()).max(1)).clamp(16, MOST_ROWS),
        )
    }

    fn with_capacity(width: usize, capacity: usize) -> Self {
        Self { width, capacity, len: 0, chunks: Vec::new() }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the chunks, by ascending id.
    pub fn chunks(&self) -> &[Arc<Chunk<T, N>>] {
        &self.chunks
    }

    /// Returns the values and the note of a row.
    pub fn get(&self, id: PhotoId) -> Option<(&[T], N)> {
        let chunk = self.chunks.get(self.chunk_of(id)?)?;
        let row = chunk.ids.binary_search(&id).ok()?;
        Some((&chunk.values[row * self.width..][..self.width], chunk.notes[row]))
    }

    /// Inserts a row, or replaces the one with this id. `values` must have the width of the rows.
    pub fn insert(&mut self, id: PhotoId, values: &[T], note: N) {
        assert_eq!(values.len(), self.width, "the caller checks the width");
        let Some(last) = self.chunks.last() else {
            return self.append(id, values, note);
        };
        // Ids grow with time, so nearly every insert is here: the last chunk is filled up instead of split in halves.
        if last.ids.len() == self.capacity && last.ids.last() < Some(&id) {
            return self.append(id, values, note);
        }
        let place = self.chunk_of(id).unwrap_or(0);
        let width = self.width;
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        match chunk.ids.binary_search(&id) {
            Ok(row) => {
                chunk.values[row * width..][..width].copy_from_slice(values);
                chunk.notes[row] = note;
            }
            Err(row) => {
                chunk.ids.insert(row, id);
                chunk.values.splice(row * width..row * width, values.iter().copied());
                chunk.notes.insert(row, note);
                self.len += 1;
                if chunk.ids.len() > self.capacity {
                    self.split(place);
                }
            }
        }
    }

    /// Removes a row. Returns whether there was one.
    pub fn remove(&mut self, id: PhotoId) -> bool {
        let Some(place) = self.chunk_of(id) else { return false };
        let Ok(row) = self.chunks[place].ids.binary_search(&id) else { return false };
        self.len -= 1;
        if self.chunks[place].ids.len() == 1 {
            self.chunks.remove(place);
            return true;
        }
        let width = self.width;
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        chunk.ids.remove(row);
        chunk.values.drain(row * width..(row + 1) * width);
        chunk.notes.remove(row);
        self.merge(place);
        true
    }

    /// Returns the place of the chunk that holds this id, or would: the last one that starts at or before it.
    fn chunk_of(&self, id: PhotoId) -> Option<usize> {
        self.chunks.partition_point(|chunk| chunk.ids[0] <= id).checked_sub(1)
    }

    /// Starts a chunk with room for all it will hold: growing by doubling would leave up to half of it unused.
    fn append(&mut self, id: PhotoId, values: &[T], note: N) {
        let mut chunk = Chunk {
            ids: Vec::with_capacity(self.capacity),
            values: Vec::with_capacity(self.capacity * self.width),
            notes: Vec::with_capacity(self.capacity),
        };
        chunk.ids.push(id);
        chunk.values.extend_from_slice(values);
        chunk.notes.push(note);
        self.chunks.push(Arc::new(chunk));
        self.len += 1;
    }

    fn split(&mut self, place: usize) {
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        let half = chunk.ids.len() / 2;
        let upper = Chunk {
            ids: chunk.ids.split_off(half),
            values: chunk.values.split_off(half * self.width),
            notes: chunk.notes.split_off(half),
        };
        self.chunks.insert(place + 1, Arc::new(upper));
    }

    /// Joins a chunk that removals left nearly empty with the one after it, so that their number follows the rows'.
    fn merge(&mut self, place: usize) {
        let joined = |at: usize| {
            let (left, right) = (self.chunks.get(at)?, self.chunks.get(at + 1)?);
            (left.ids.len() + right.ids.len() <= self.capacity / 2).then_some(at)
        };
        let Some(at) = joined(place).or_else(|| place.checked_sub(1).and_then(joined)) else { return };
        let right = self.chunks.remove(at + 1);
        let left = Arc::make_mut(&mut self.chunks[at]);
        left.ids.extend_from_slice(&right.ids);
        left.values.extend_from_slice(&right.values);
        left.notes.extend_from_slice(&right.notes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u64, i32),
        Remove(u64),
        RemoveRange(u64, u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (0u64..200, any::<i32>()).prop_map(|(id, value)| Change::Insert(id, value)),
            3 => (0u64..200).prop_map(Change::Remove),
            1 => (0u64..200, 0u64..60).prop_map(|(from, many)| Change::RemoveRange(from, from + many)),
        ]
    }

    fn content(rows: &Chunks<i32, i32>) -> Vec<(u64, i32)> {
        rows.chunks()
            .iter()
            .flat_map(|c| c.ids().iter().map(|id| id.0).zip(c.notes().iter().copied()))
            .collect()
    }

    proptest! {
        #[test]
        fn rows_follow_a_sorted_map_and_clones_do_not_change(
            changes in prop::collection::vec(change(), 0..300),
            at in 0usize..300,
        ) {
            let mut rows = Chunks::with_capacity(2, 8);
            let mut expected = BTreeMap::new();
            let mut earlier = None;
            for (step, change) in changes.into_iter().enumerate() {
                if step == at {
                    earlier = Some((rows.clone(), content(&rows)));
                }
                match change {
                    Change::Insert(id, value) => {
                        rows.insert(PhotoId(id), &[value, !value], value);
                        expected.insert(id, value);
                    }
                    Change::Remove(id) => {
                        prop_assert_eq!(rows.remove(PhotoId(id)), expected.remove(&id).is_some());
                    }
                    Change::RemoveRange(from, to) => {
                        for id in from..to {
                            rows.remove(PhotoId(id));
                            expected.remove(&id);
                        }
                    }
                }
                prop_assert!(rows.chunks().iter().all(|c| !c.ids().is_empty() && c.ids().len() <= 8));
            }
            prop_assert_eq!(rows.len(), expected.len());
            prop_assert_eq!(content(&rows), expected.iter().map(|(&id, &value)| (id, value)).collect::<Vec<_>>());
            for chunk in rows.chunks() {
                let values: Vec<i32> = chunk.notes().iter().flat_map(|&v| [v, !v]).collect();
                prop_assert_eq!(chunk.values(), values.as_slice());
            }
            for id in 0..200 {
                let found = rows.get(PhotoId(id)).map(|(values, note)| (values.to_vec(), note));
                prop_assert_eq!(found, expected.get(&id).map(|&value| (vec![value, !value], value)));
            }
            if let Some((clone, before)) = earlier {
                prop_assert_eq!(content(&clone), before);
            }
        }
    }

    #[test]
    fn chunks_are_given_back_when_their_rows_go() {
        let mut rows = Chunks::with_capacity(1, 8);
        (0..800).for_each(|id| rows.insert(PhotoId(id), &[0], ()));
        assert_eq!(rows.chunks().len(), 100);
        (0..800).filter(|id| id % 10 != 0).for_each(|id| assert!(rows.remove(PhotoId(id))));
        assert!(rows.chunks().len() <= 80 / 2, "{} chunks for 80 rows", rows.chunks().len());
    }
}
