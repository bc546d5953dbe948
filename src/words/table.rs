//! The likeliest labels of every photo, in memory, and the pass over them that answers a word.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::SHOWN_FROM;
use crate::photo::PhotoId;
use crate::search::PhotoSet;

/// Labels kept of a photo.
const KEPT: usize = 10;

/// Bytes of a row in the store.
const ROW: usize = KEPT * 4;

/// Stands where a classifier has fewer labels.
const NONE: u16 = u16::MAX;

/// The likeliest labels of one photo, the likeliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopLabels([(u16, u16); KEPT]);

impl TopLabels {
    /// Takes the likeliest of all labels, which come in their order.
    pub(super) fn of(likelihoods: impl Iterator<Item = f32>) -> Self {
        let mut top = [(NONE, 0); KEPT];
        for (label, likely) in likelihoods.enumerate() {
            let likely = (likely * f32::from(u16::MAX)).round() as u16;
            // Of equally likely ones the first stays in front.
            let place = top.partition_point(|&(other, than)| other != NONE && than >= likely);
            if place < KEPT {
                top[place..].rotate_right(1);
                top[place] = (label as u16, likely);
            }
        }
        Self(top)
    }

    /// Returns each label and how likely it is, from 0 to 1.
    pub fn iter(&self) -> impl Iterator<Item = (u16, f32)> {
        let known = self.0.iter().filter(|(label, _)| *label != NONE);
        known.map(|&(label, likely)| (label, f32::from(likely) / f32::from(u16::MAX)))
    }

    /// Returns how likely one of `labels` is shown, from 0 to 1, as far as they are among these.
    pub fn share_of(&self, labels: &Labels) -> f32 {
        // Whole numbers, and one division: a word is looked for in every photo. `NONE` is in no set.
        let share: u32 =
            self.0.iter().map(|&(label, share)| u32::from(labels.contains(label)) * u32::from(share)).sum();
        (share as f32 / f32::from(u16::MAX)).min(1.0)
    }

    /// Returns the likeliest of `labels`, if any of them is among these.
    pub fn likeliest_of(&self, labels: &Labels) -> Option<u16> {
        self.iter().find(|(label, _)| labels.contains(*label)).map(|(label, _)| label)
    }

    /// Writes a row of the store.
    pub fn to_bytes(&self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        for (four, (label, likely)) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            four[..2].copy_from_slice(&label.to_le_bytes());
            four[2..].copy_from_slice(&likely.to_le_bytes());
        }
        bytes
    }

    /// Reads a row of the store; `None` where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let four = <&[u8; ROW]>::try_from(bytes).ok()?.as_chunks::<4>().0;
        let mut top = [(NONE, 0); KEPT];
        for (entry, &[a, b, c, d]) in top.iter_mut().zip(four) {
            *entry = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        }
        top.is_sorted_by(|a, b| a.1 >= b.1).then_some(Self(top))
    }
}

/// A set of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<u64>);

impl Labels {
    /// Adds one.
    pub fn insert(&mut self, label: u16) {
        let word = usize::from(label / 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (label % 64);
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Says whether it is in the set.
    pub fn contains(&self, label: u16) -> bool {
        self.0.get(usize::from(label / 64)).is_some_and(|word| word >> (label % 64) & 1 == 1)
    }

    /// Returns them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..self.0.len() as u16 * 64).filter(|&label| self.contains(label))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What photos shall show.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Labels of which one each must be shown.
    pub all: Vec<Labels>,
    /// Labels that must not be shown.
    pub none: Labels,
}

impl Wanted {
    /// Returns how likely a photo shows it all: as likely as it shows what it shows least. `None` where it shows what it shall
    /// not.
    fn likelihood(&self, top: &TopLabels) -> Option<f32> {
        if top.share_of(&self.none) >= SHOWN_FROM {
            return None;
        }
        Some(self.all.iter().map(|labels| top.share_of(labels)).fold(1.0, f32::min))
    }
}

/// A photo that shows what was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// The photo.
    pub photo: PhotoId,
    /// How likely it shows it, from 0 to 1.
    pub likely: f32,
}

/// The labels of all photos that one network has encoded.
#[derive(Debug, Default)]
pub struct LabelTable {
    rows: RwLock<BTreeMap<PhotoId, TopLabels>>,
}

impl LabelTable {
    /// Adds photos, or replaces their labels.
    pub fn insert(&self, rows: impl IntoIterator<Item = (PhotoId, TopLabels)>) {
        self.rows.write().unwrap_or_else(PoisonError::into_inner).extend(rows);
    }

    /// Removes photos.
    pub fn remove(&self, photos: &[PhotoId]) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        photos.iter().for_each(|photo| _ = rows.remove(photo));
    }

    /// Returns the labels of a photo.
    pub fn get(&self, photo: PhotoId) -> Option<TopLabels> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).get(&photo).copied()
    }

    /// Returns how many photos are in it.
    pub fn len(&self) -> usize {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the photos in it, in order.
    pub fn photos(&self) -> Vec<PhotoId> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Returns all photos that show what is wanted at least as likely as `from`, the likeliest first; of equally likely
    /// ones, the lower id first. Only photos of `among` are looked at, where it is given.
    pub fn showing(&self, wanted: &Wanted, from: f32, among: Option<&PhotoSet>) -> Vec<Shown> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let shown = |(&photo, top): (&PhotoId, &TopLabels)| {
            let likely = wanted.likelihood(top).filter(|likely| *likely >= from && *likely > 0.0)?;
            among.is_none_or(|among| among.contains(photo)).then_some(Shown { photo, likely })
        };
        let mut all: Vec<Shown> = rows.iter().filter_map(shown).collect();
        drop(rows);
        all.sort_by(|a, b| b.likely.total_cmp(&a.likely).then(a.photo.cmp(&b.photo)));
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(list: &[u16]) -> Labels {
        let mut labels = Labels::default();
        list.iter().for_each(|&label| labels.insert(label));
        labels
    }

    #[test]
    fn photos_that_show_a_label_come_by_how_likely_that_is() {
        let table = LabelTable::default();
        let top = |shares: &[f32]| TopLabels::of(shares.iter().copied());
        table.insert([
            (PhotoId(1), top(&[0.1, 0.5, 0.4])),
            (PhotoId(2), top(&[0.0, 0.2, 0.8])),
            (PhotoId(3), top(&[0.9, 0.05, 0.05])),
        ]);
        let found = |all: &[&[u16]], none: &[u16], from: f32, among: Option<&PhotoSet>| {
            let wanted = Wanted { all: all.iter().map(|list| labels(list)).collect(), none: labels(none) };
            let shown = table.showing(&wanted, from, among);
            shown
                .iter()
                .map(|shown| (shown.photo.0, (shown.likely * 100.0).round() as u32))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&[&[1, 2]], &[], 0.2, None), [(2, 100), (1, 90)]);
        assert_eq!(found(&[&[1]], &[], 0.2, None), [(1, 50), (2, 20)]);
        let among: PhotoSet = [PhotoId(1), PhotoId(3)].into_iter().collect();
        assert_eq!(found(&[&[0, 1, 2]], &[], 0.2, Some(&among)).len(), 2);
        assert_eq!(found(&[&[7]], &[], 0.0, None), [], "no photo shows what is not among its labels");
        // Two things at once, and one without another.
        assert_eq!(found(&[&[1], &[2]], &[], 0.1, None), [(1, 40), (2, 20)]);
        assert_eq!(found(&[&[2]], &[1], 0.01, None), [(3, 5)]);
        assert_eq!(found(&[], &[2], 0.0, None), [(3, 100)]);
        let top = table.get(PhotoId(1)).unwrap();
        assert_eq!((top.likeliest_of(&labels(&[0, 2])), top.likeliest_of(&labels(&[9]))), (Some(2), None));
        table.remove(&[PhotoId(2)]);
        assert_eq!(table.photos(), [PhotoId(1), PhotoId(3)]);
    }

    proptest! {
        #[test]
        fn the_top_labels_are_those_of_sorting(values in prop::collection::vec(0_u16..50, 1..40)) {
            let top = TopLabels::of(values.iter().map(|&value| f32::from(value) / 50.0));
            let mut sorted: Vec<(u16, u16)> = (0..).zip(values.iter().copied()).collect();
            sorted.sort_by_key(|&(label, value)| (std::cmp::Reverse(value), label));
            let expected: Vec<u16> = sorted.iter().take(KEPT).map(|(label, _)| *label).collect();
            prop_assert_eq!(top.iter().map(|(label, _)| label).collect::<Vec<_>>(), expected);
            prop_assert_eq!(TopLabels::from_bytes(&top.to_bytes()), Some(top));
        }
    }

    #[test]
    fn a_row_of_another_length_or_order_is_none() {
        assert_eq!(TopLabels::from_bytes(&[0; 39]), None);
        let mut bytes = TopLabels::of([0.7, 0.3].into_iter()).to_bytes();
        bytes[2..4].fill(0);
        assert_eq!(TopLabels::from_bytes(&bytes), None);
    }
}
