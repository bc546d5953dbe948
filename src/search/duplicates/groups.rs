//! Groups of photos that are near one another: near-duplicates, and with a condition on the time, bursts.
//!
//! What counts as near is decided by the caller, who hands in the pairs. Groups are stars: the nearest pairs come first, and two
//! groups become one where a photo of theirs, a center, is near all others of both. Of shots of one scene, and of the edits of
//! one photo, not each two need to be near; what is near none of the centers is something else.
//!
//! Measured on 1,833 photos (`models/evaluation/duplicates.py`) with MobileNetV2: stars find 0.68 of the pairs of shots of one
//! scene at a precision of 0.92, complete linkage (each two are near) 0.54 at 0.90, single linkage (chains) 0.70 at 0.82.
//!
//! Invariant: a center of each group is near all others of it, and no two that are told apart are in one group. The groups
//! depend on the pairs, not on their order.

use std::collections::{HashMap, HashSet};

use super::pairs::Pair;
use crate::photo::PhotoId;

/// Photos of one scene or thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// First the center with the lowest id, near which all others are; those by ascending id. Two and more.
    pub photos: Vec<PhotoId>,
    /// The pairs of it, lower id first and in ascending order, that are not near each other.
    pub not_near: Vec<(PhotoId, PhotoId)>,
}

/// Returns the groups of two photos and more that the pairs make, in the order of their lowest ids. Each pair must be given
/// once. Photos are in one group at most. Two that are told apart (lower id first) are in none together, and not near.
pub fn groups(mut pairs: Vec<Pair>, apart: &HashSet<(PhotoId, PhotoId)>) -> Vec<Group> {
    pairs.retain(|pair| !apart.contains(&(pair.first, pair.second)));
    pairs.sort_unstable_by(Pair::order);
    let mut photos: Vec<PhotoId> = pairs.iter().flat_map(|pair| [pair.first, pair.second]).collect();
    photos.sort_unstable();
    photos.dedup();
    let find = |photo: PhotoId| photos.binary_search(&photo);
    let place = |photo| find(photo).expect("photos holds those of all pairs");
    let pairs: Vec<(usize, usize)> =
        pairs.iter().map(|pair| (place(pair.first), place(pair.second))).collect();
    let apart = apart.iter().filter_map(|&(a, b)| Some((find(a).ok()?, find(b).ok()?)));

    let mut linked = Linked::new(photos.len(), &pairs, apart);
    for (a, b) in pairs {
        linked.join(a, b);
    }
    let mut groups: Vec<Vec<usize>> = linked.end();
    groups.sort_unstable_by_key(|group| group.iter().min().copied());
    groups.into_iter().map(|group| linked.named(&group, &photos)).collect()
}

/// Groups on their way. A photo is its place among all of them.
struct Linked {
    /// What is near each photo, ascending.
    near: Vec<Vec<usize>>,
    apart: HashMap<usize, Vec<usize>>,
    /// A group has the number of one of its photos.
    group_of: Vec<usize>,
    members: Vec<Vec<usize>>,
    /// Of each group, the photos that are near all others of it.
    centers: Vec<Vec<usize>>,
    /// Groups that could not be joined, and how many photos they had then.
    refused: HashMap<(usize, usize), (usize, usize)>,
}

impl Linked {
    fn new(
        photos: usize,
        pairs: &[(usize, usize)],
        told_apart: impl Iterator<Item = (usize, usize)>,
    ) -> Self {
        let (mut near, mut apart) = (vec![Vec::new(); photos], HashMap::<_, Vec<_>>::new());
        for &(a, b) in pairs {
            near[a].push(b);
            near[b].push(a);
        }
        near.iter_mut().for_each(|near| near.sort_unstable());
        for (a, b) in told_apart {
            apart.entry(a).or_default().push(b);
            apart.entry(b).or_default().push(a);
        }
        let alone: Vec<Vec<usize>> = (0..photos).map(|photo| vec![photo]).collect();
        Self {
            near,
            apart,
            group_of: (0..photos).collect(),
            members: alone.clone(),
            centers: alone,
            refused: HashMap::new(),
        }
    }

    /// Joins the groups of two photos if they have a center together.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.group_of[a], self.group_of[b]);
        let (into, from) = if self.members[a].len() >= self.members[b].len() { (a, b) } else { (b, a) };
        let sizes = (self.members[into].len(), self.members[from].len());
        if a == b || self.refused.get(&(into, from)) == Some(&sizes) {
            return;
        }
        let mut centers = self.centers_near(into, from);
        centers.extend(self.centers_near(from, into));
        if centers.is_empty() || self.are_told_apart(from, into) {
            self.refused.insert((into, from), sizes);
            return;
        }
        let moved = std::mem::take(&mut self.members[from]);
        for &photo in &moved {
            self.group_of[photo] = into;
        }
        self.members[into].extend(moved);
        self.centers[into] = centers;
    }

    /// Returns the centers of a group that are near all of another.
    fn centers_near(&self, group: usize, other: usize) -> Vec<usize> {
        let centers = self.centers[group].iter().copied();
        centers
            .filter(|&center| self.members[other].iter().all(|&photo| self.are_near(center, photo)))
            .collect()
    }

    fn are_near(&self, a: usize, b: usize) -> bool {
        self.near[a].binary_search(&b).is_ok()
    }

    fn are_told_apart(&self, group: usize, other: usize) -> bool {
        let of = |photo| self.apart.get(photo).into_iter().flatten();
        !self.apart.is_empty()
            && self.members[group].iter().flat_map(of).any(|&photo| self.group_of[photo] == other)
    }

    /// Returns the groups that have become of it, each by ascending place after its first center.
    fn end(&mut self) -> Vec<Vec<usize>> {
        let members = std::mem::take(&mut self.members);
        let groups = members.into_iter().enumerate().filter(|(_, group)| group.len() > 1);
        let mut ended = Vec::new();
        for (number, mut group) in groups {
            self.centers[number].sort_unstable();
            let first = self.centers[number][0];
            group.sort_unstable_by_key(|&photo| (photo != first, photo));
            ended.push(group);
        }
        ended
    }

    fn named(&self, group: &[usize], photos: &[PhotoId]) -> Group {
        let centers = &self.centers[self.group_of[group[0]]];
        let mut others: Vec<usize> =
            group.iter().copied().filter(|photo| centers.binary_search(photo).is_err()).collect();
        others.sort_unstable();
        let pairs =
            others.iter().enumerate().flat_map(|(at, &a)| others[at + 1..].iter().map(move |&b| (a, b)));
        let not_near = pairs.filter(|&(a, b)| !self.are_near(a, b)).map(|(a, b)| (photos[a], photos[b]));
        Group { not_near: not_near.collect(), photos: group.iter().map(|&photo| photos[photo]).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: fn(usize) -> PhotoId = |place| PhotoId(place as u64);

    /// Photos on a line, near where they are at most 10 apart.
    fn pairs(places: &[i32]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (first, a) in places.iter().enumerate() {
            for (second, b) in
                places.iter().enumerate().skip(first + 1).filter(|(_, b)| a.abs_diff(**b) <= 10)
            {
                pairs.push(Pair { first: ID(first), second: ID(second), distance: a.abs_diff(*b) as f32 });
            }
        }
        pairs
    }

    proptest! {
        #[test]
        fn all_are_near_a_center_none_is_with_what_it_was_told_apart_from_and_nobody_near_is_left_alone(
            places in prop::collection::vec(-60i32..60, 1..40),
            told in prop::collection::hash_set((0usize..40, 0usize..40), 0..10),
            shuffle in any::<u64>(),
        ) {
            let apart: HashSet<_> =
                told.into_iter().filter(|(a, b)| a < b).map(|(a, b)| (ID(a), ID(b))).collect();
            let mut mixed = pairs(&places);
            let found = groups(mixed.clone(), &apart);
            mixed.sort_by_key(|pair| (pair.first.0 * 31 + pair.second.0).wrapping_mul(shuffle | 1));
            prop_assert_eq!(&groups(mixed, &apart), &found, "the order of the pairs does not matter");
            let place = |photo: &PhotoId| places[photo.0 as usize];
            let in_order = |a: PhotoId, b: PhotoId| (a.min(b), a.max(b));
            let are_near = |a: &PhotoId, b: &PhotoId| {
                place(a).abs_diff(place(b)) <= 10 && !apart.contains(&in_order(*a, *b))
            };
            let mut seen = Vec::new();
            for Group { photos, not_near } in &found {
                let (center, others) = photos.split_first().unwrap();
                prop_assert!(!others.is_empty() && others.is_sorted());
                prop_assert!(others.iter().all(|photo| are_near(center, photo)), "{photos:?}");
                let earlier = others.iter().filter(|photo| *photo < center);
                for photo in earlier {
                    prop_assert!(photos.iter().any(|other| other != photo && !are_near(photo, other)), "an earlier center");
                }
                let mut expected = Vec::new();
                for (at, a) in photos.iter().enumerate() {
                    for b in &photos[at + 1..] {
                        prop_assert!(!apart.contains(&in_order(*a, *b)), "{a:?} and {b:?} were told apart");
                        if !are_near(a, b) {
                            expected.push(in_order(*a, *b));
                        }
                    }
                }
                expected.sort_unstable();
                prop_assert_eq!(not_near, &expected);
                seen.extend(photos.iter().map(|photo| photo.0 as usize));
            }
            let grouped = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), grouped, "a photo is in one group");
            let alone: Vec<PhotoId> = (0..places.len()).filter(|photo| !seen.contains(photo)).map(ID).collect();
            for a in &alone {
                prop_assert!(alone.iter().all(|b| a == b || !are_near(a, b)));
            }
        }
    }

    #[test]
    fn what_is_near_the_middle_one_is_in_its_group_and_a_chain_ends_there() {
        // 0 and 8 are near, 8 and 14 are nearer, 0 and 14 are not near; 24 is near 14 alone.
        let found = groups(pairs(&[0, 8, 14, 24]), &HashSet::new());
        let expected = Group { photos: vec![ID(1), ID(0), ID(2)], not_near: vec![(ID(0), ID(2))] };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn two_that_are_told_apart_are_not_brought_together_by_a_third() {
        let apart = HashSet::from([(ID(0), ID(2))]);
        let found = groups(pairs(&[0, 1, 5]), &apart);
        assert_eq!(found, [Group { photos: vec![ID(0), ID(1)], not_near: Vec::new() }]);
    }

    #[test]
    fn ten_thousand_pictures_of_one_scene_are_in_groups_around_pictures_near_them() {
        // Each is near the hundred before it and the hundred after.
        let line: Vec<Pair> = (0..10_000u64)
            .flat_map(|first| (first + 1..first + 100).map(move |second| (first, second)))
            .map(|(first, second)| Pair {
                first: PhotoId(first),
                second: PhotoId(second),
                distance: (second - first) as f32,
            })
            .collect();
        let found = groups(line, &HashSet::new());
        assert!(
            found
                .iter()
                .all(|Group { photos, .. }| photos.iter().all(|photo| photo.0.abs_diff(photos[0].0) < 100))
        );
        let mut grouped: Vec<u64> =
            found.iter().flat_map(|group| &group.photos).map(|photo| photo.0).collect();
        grouped.sort_unstable();
        grouped.dedup();
        assert!(grouped.len() > 9_900, "{} in {} groups", grouped.len(), found.len());
    }
}
