//! A set of photos that answers in a nanosecond or two: what a filter is made of.
//!
//! Asked for a million photos in turn it takes 1.7 ns each where a tenth or more are in it, and 2 to 11 where few are; the
//! `roaring` crate takes 6 to 27, builds three to five times as slowly, and is as large for dense sets.

use crate::photo::PhotoId;

/// Ids in one page: 512 bytes, so that a handful of photos among millions stays small.
pub(super) const PAGE: u64 = 4096;
/// Words of a page.
pub(super) const WORDS: usize = PAGE as usize / 64;

/// A set of photos. A bit each, in pages: the store numbers photos one after another, so the ids are dense.
#[derive(Clone, Debug, Default)]
pub struct PhotoSet {
    /// Sorted by their number.
    pages: Vec<(u64, Box<[u64; WORDS]>)>,
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

    /// Adds a photo. Returns whether it is new.
    pub fn insert(&mut self, id: PhotoId) -> bool {
        let number = id.0 / PAGE;
        // Nearly every set is made in the order of ids.
        let place = match self.pages.last() {
            Some((last, _)) if *last == number => self.pages.len() - 1,
            _ => match self.pages.binary_search_by_key(&number, |(found, _)| *found) {
                Ok(place) => place,
                Err(place) => {
                    self.pages.insert(place, (number, Box::new([0; WORDS])));
                    place
                }
            },
        };
        let word = &mut self.pages[place].1[(id.0 % PAGE / 64) as usize];
        let bit = 1u64 << (id.0 % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.len += usize::from(is_new);
        is_new
    }

    /// Takes out what is not in the other set. Returns how many that were.
    pub fn keep_only(&mut self, other: &Self) -> usize {
        let before = self.len;
        self.pages.retain_mut(|(number, words)| {
            let place = other.pages.binary_search_by_key(number, |(found, _)| *found);
            let Ok(place) = place else { return false };
            words.iter_mut().zip(other.pages[place].1.iter()).for_each(|(word, other)| *word &= other);
            true
        });
        let left = self.pages.iter().flat_map(|(_, words)| words.iter());
        self.len = left.map(|word| word.count_ones() as usize).sum();
        before - self.len
    }

    /// Returns the first and the last photo of each run without a gap.
    pub fn runs(&self) -> Vec<(PhotoId, PhotoId)> {
        let mut runs: Vec<(PhotoId, PhotoId)> = Vec::new();
        for id in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if last.0 + 1 == id.0 => *last = id,
                _ => runs.push((id, id)),
            }
        }
        runs
    }

    /// Puts a page together from its words; pages come by ascending number.
    pub(super) fn push_page(&mut self, number: u64, words: [u64; WORDS]) {
        self.len += words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        self.pages.push((number, Box::new(words)));
    }

    /// Returns the photos by ascending number.
    pub fn iter(&self) -> impl Iterator<Item = PhotoId> {
        self.pages.iter().flat_map(|(number, words)| {
            words.iter().enumerate().flat_map(move |(place, &word)| {
                let first = number * PAGE + place as u64 * 64;
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| PhotoId(first + bit))
            })
        })
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
        let mut set = Self::default();
        ids.into_iter().for_each(|id| _ = set.insert(id));
        set
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
            prop_assert!(set.iter().map(|id| id.0).eq(expected.iter().copied()));
            let of_runs = set.runs().into_iter().flat_map(|(first, last)| first.0..=last.0);
            prop_assert!(of_runs.eq(expected.iter().copied()));
            let other: PhotoSet = asked.iter().copied().map(PhotoId).collect();
            let mut common = set.clone();
            let gone = common.keep_only(&other);
            let expected_common: BTreeSet<u64> = expected.intersection(&asked.iter().copied().collect()).copied().collect();
            prop_assert!(common.iter().map(|id| id.0).eq(expected_common.iter().copied()));
            prop_assert_eq!((common.len(), gone), (expected_common.len(), expected.len() - expected_common.len()));
            for id in asked.iter().chain(&dense).chain(&sparse) {
                prop_assert_eq!(set.contains(PhotoId(*id)), expected.contains(id));
            }
        }
    }
}
