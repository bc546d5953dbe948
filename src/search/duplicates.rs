//! Groups of photos that are near one another: near-duplicates, and with a second condition on the time, bursts.
//!
//! What counts as near is decided by the caller, who says which photos are near which ([`Duplicates::insert`]): within a
//! band, taken seconds apart, not told apart by the user. This file only makes groups of it.
//!
//! Invariant: any two photos of a group are near each other; no chain joins photos that are not. The groups depend on
//! what is near what, not on the order in which it was learnt.

use std::collections::{BTreeMap, BTreeSet};

use super::nearest::Neighbor;
use crate::photo::PhotoId;

/// Which photos are near which, and the groups that follow from it.
#[derive(Clone, Debug, Default)]
pub struct Duplicates {
    near: BTreeMap<PhotoId, BTreeMap<PhotoId, f32>>,
}

impl Duplicates {
    /// Adds a photo with the photos that are near it, or more of them. Those need not have been inserted before; the
    /// distance is the same from either side.
    pub fn insert(&mut self, photo: PhotoId, near: impl IntoIterator<Item = Neighbor>) {
        for Neighbor { id, distance } in near {
            if id != photo {
                self.near.entry(photo).or_default().insert(id, distance);
                self.near.entry(id).or_default().insert(photo, distance);
            }
        }
    }

    /// Takes a photo out. The photos it was grouped with may come to be grouped otherwise.
    pub fn remove(&mut self, photo: PhotoId) {
        for other in self.near.remove(&photo).into_iter().flatten().map(|(other, _)| other) {
            if let Some(near) = self.near.get_mut(&other) {
                near.remove(&photo);
                if near.is_empty() {
                    self.near.remove(&other);
                }
            }
        }
    }

    /// Returns the group of a photo, by ascending id, itself included; `None` where it is in none.
    pub fn group_of(&self, photo: PhotoId) -> Option<Vec<PhotoId>> {
        self.split(&self.reachable(photo)).into_iter().find(|group| group.contains(&photo))
    }

    /// Returns all groups of two photos and more, each by ascending id, in the order of their first photos.
    pub fn groups(&self) -> Vec<Vec<PhotoId>> {
        let mut seen = BTreeSet::new();
        let mut groups = Vec::new();
        for &photo in self.near.keys() {
            if !seen.contains(&photo) {
                let reachable = self.reachable(photo);
                groups.extend(self.split(&reachable));
                seen.extend(reachable);
            }
        }
        groups.sort();
        groups
    }

    fn is_near(&self, a: PhotoId, b: PhotoId) -> bool {
        self.near.get(&a).is_some_and(|near| near.contains_key(&b))
    }

    /// Returns the photos that a chain joins with this one: no group reaches beyond them.
    fn reachable(&self, photo: PhotoId) -> BTreeSet<PhotoId> {
        let mut found = BTreeSet::from([photo]);
        let mut open = vec![photo];
        while let Some(photo) = open.pop() {
            for &other in self.near.get(&photo).into_iter().flat_map(BTreeMap::keys) {
                if found.insert(other) {
                    open.push(other);
                }
            }
        }
        found
    }

    /// Makes groups by complete linkage: the nearest pairs come first, and two groups become one where every photo of
    /// the one is near every photo of the other.
    fn split(&self, photos: &BTreeSet<PhotoId>) -> Vec<Vec<PhotoId>> {
        let mut pairs: Vec<(f32, PhotoId, PhotoId)> = Vec::new();
        for &a in photos {
            let later = self.near.get(&a).into_iter().flatten().filter(|(b, _)| **b > a);
            pairs.extend(later.map(|(&b, &distance)| (distance, a, b)));
        }
        pairs.sort_by(|x, y| x.0.total_cmp(&y.0).then((x.1, x.2).cmp(&(y.1, y.2))));

        let mut group_of: BTreeMap<PhotoId, usize> = photos.iter().copied().zip(0..).collect();
        let mut groups: Vec<Vec<PhotoId>> = photos.iter().map(|&photo| vec![photo]).collect();
        for (_, a, b) in pairs {
            let (into, from) = (group_of[&a], group_of[&b]);
            let all_near = || groups[into].iter().all(|&x| groups[from].iter().all(|&y| self.is_near(x, y)));
            if into != from && all_near() {
                let moved = std::mem::take(&mut groups[from]);
                moved.iter().for_each(|&photo| _ = group_of.insert(photo, into));
                groups[into].extend(moved);
            }
        }
        groups.retain(|group| group.len() > 1);
        groups.iter_mut().for_each(|group| group.sort());
        groups
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Photos on a line, near where they are at most 10 apart.
    fn near(places: &[i32], photo: usize, among: usize) -> Vec<Neighbor> {
        (0..among)
            .filter(|&other| places[other].abs_diff(places[photo]) <= 10)
            .map(|other| Neighbor {
                id: PhotoId(other as u64),
                distance: places[other].abs_diff(places[photo]) as f32,
            })
            .collect()
    }

    fn all_at_once(places: &[i32], without: &[usize]) -> Vec<Vec<PhotoId>> {
        let mut duplicates = Duplicates::default();
        for photo in (0..places.len()).filter(|photo| !without.contains(photo)) {
            let near = near(places, photo, places.len()).into_iter();
            duplicates.insert(photo_id(photo), near.filter(|n| !without.contains(&(n.id.0 as usize))));
        }
        duplicates.groups()
    }

    fn photo_id(photo: usize) -> PhotoId {
        PhotoId(photo as u64)
    }

    proptest! {
        #[test]
        fn groups_found_one_by_one_are_those_found_at_once(
            places in prop::collection::vec(-60i32..60, 1..40),
            removed in prop::collection::vec(0usize..40, 0..10),
        ) {
            let mut duplicates = Duplicates::default();
            for photo in 0..places.len() {
                duplicates.insert(photo_id(photo), near(&places, photo, photo));
            }
            let removed: Vec<usize> = removed.into_iter().filter(|&photo| photo < places.len()).collect();
            removed.iter().for_each(|&photo| duplicates.remove(photo_id(photo)));
            let groups = duplicates.groups();
            prop_assert_eq!(&groups, &all_at_once(&places, &removed));
            for group in &groups {
                prop_assert!(group.len() > 1);
                for &photo in group {
                    prop_assert_eq!(duplicates.group_of(photo), Some(group.clone()));
                }
                let place = |photo: &PhotoId| places[photo.0 as usize];
                let (low, high) = (group.iter().map(place).min().unwrap(), group.iter().map(place).max().unwrap());
                prop_assert!(high - low <= 10, "a chain joined {low} and {high}");
            }
            // Nobody is left alone beside somebody else who is, if the two are near.
            let alone: Vec<usize> = (0..places.len())
                .filter(|photo| !removed.contains(photo) && duplicates.group_of(photo_id(*photo)).is_none())
                .collect();
            for &a in &alone {
                prop_assert!(alone.iter().all(|&b| a == b || places[a].abs_diff(places[b]) > 10));
            }
        }
    }

    #[test]
    fn the_nearest_pair_comes_together_first() {
        // 0 and 8 are near, 8 and 14 are nearer, 0 and 14 are not near.
        assert_eq!(all_at_once(&[0, 8, 14], &[]), [[PhotoId(1), PhotoId(2)]]);
    }
}
