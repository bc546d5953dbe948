//! A set of photos that answers in a nanosecond or two: what a filter is made of.

use std::collections::BTreeMap;

use crate::photo::PhotoId;

/// Ids in one page: 512 bytes, so that a handful of photos among millions stays small.
const PAGE: u64 = 4096;

/// A set of photos. A bit each, in pages: the store numbers photos one after another, so the ids are dense.
#[derive(Clone, Debug, Default)]
pub struct PhotoSet {
    /// Sorted by their number.
    pages: Vec<(u64, Box<[u64; PAGE as usize / 64]>)>,
    len: usize,
}

impl PhotoSet {
    /// Returns whether the photo is in the set.
    #[inline]
    pub fn contains(&self, id: PhotoId) -> bool {
        let number = id.0 / PAGE;
        // Dense sets have page n at place n less the first; others are searched.
        let guess = self
            .pages
            .first()
            .and_then(|(first, _)| number.checked_sub(*first))
            .and_then(|n| usize::try_from(n).ok());
        let page = match guess.and_then(|place| self.pages.get(place)) {
            Some((found, page)) if *found == number => page,
            _ => match self.pages.binary_search_by_key(&number, |(found, _)| *found) {
                Ok(place) => &self.pages[place].1,
                Err(_) => return false,
            },
        };
        let bit = id.0 % PAGE;
        page[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Returns the number of photos.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no photo.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl FromIterator<PhotoId> for PhotoSet {
    fn from_iter<I: IntoIterator<Item = PhotoId>>(ids: I) -> Self {
        let mut pages: BTreeMap<u64, Box<[u64; PAGE as usize / 64]>> = BTreeMap::new();
        let mut len = 0;
        for id in ids {
            let bit = id.0 % PAGE;
            let page = pages.entry(id.0 / PAGE).or_insert_with(|| Box::new([0; PAGE as usize / 64]));
            let word = &mut page[(bit / 64) as usize];
            len += usize::from(*word >> (bit % 64) & 1 == 0);
            *word |= 1 << (bit % 64);
        }
        Self { pages: pages.into_iter().collect(), len }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(
            dense in prop::collection::vec(0u64..20_000, 0..200),
            sparse in prop::collection::vec(any::<u64>(), 0..20),
            asked in prop::collection::vec(prop_oneof![0u64..20_000, any::<u64>()], 0..200),
        ) {
            let expected: BTreeSet<u64> = dense.iter().chain(&sparse).copied().collect();
            let set: PhotoSet = dense.iter().chain(&sparse).copied().map(PhotoId).collect();
            prop_assert_eq!(set.len(), expected.len());
            for id in asked.iter().chain(&dense).chain(&sparse) {
                prop_assert_eq!(set.contains(PhotoId(*id)), expected.contains(id));
            }
        }
    }
}
