//! Groups of photos that are near one another: near-duplicates, and with a condition on the time, bursts.
//!
//! What counts as near is decided by the caller, who hands in the pairs. Groups are made by complete linkage: the nearest
//! pairs come first, and two groups become one where every photo of the one is near every photo of the other.
//!
//! Invariant: any two photos of a group are near each other; no chain joins photos that are not. The groups depend on
//! the pairs, not on their order.

use std::collections::HashMap;

use super::pairs::Pair;
use crate::photo::PhotoId;

/// Returns the groups of two photos and more that the pairs make, each by ascending id, in the order of their first
/// photos. Each pair must be given once. Photos are in one group at most.
pub fn groups(mut pairs: Vec<Pair>) -> Vec<Vec<PhotoId>> {
    pairs.sort_unstable_by(Pair::order);
    let mut photos: Vec<PhotoId> = pairs.iter().flat_map(|pair| [pair.first, pair.second]).collect();
    photos.sort_unstable();
    photos.dedup();
    let place = |photo| photos.binary_search(&photo).expect("photos holds those of all pairs");
    let pairs: Vec<(usize, usize)> =
        pairs.iter().map(|pair| (place(pair.first), place(pair.second))).collect();

    let mut linked = Linked::new(&photos, &pairs);
    for (a, b) in pairs {
        linked.join(a, b);
    }
    let mut groups: Vec<Vec<PhotoId>> = linked.members.into_iter().filter(|group| group.len() > 1).collect();
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups.sort_unstable();
    groups
}

/// Groups on their way.
struct Linked {
    group_of: Vec<usize>,
    places: HashMap<PhotoId, usize>,
    members: Vec<Vec<PhotoId>>,
    /// For each group, with how many pairs it is linked to each other group.
    links: Vec<HashMap<usize, usize>>,
}

impl Linked {
    fn new(photos: &[PhotoId], pairs: &[(usize, usize)]) -> Self {
        let mut links = vec![HashMap::new(); photos.len()];
        for &(a, b) in pairs {
            links[a].insert(b, 1);
            links[b].insert(a, 1);
        }
        Self {
            group_of: (0..photos.len()).collect(),
            places: photos.iter().copied().zip(0..).collect(),
            members: photos.iter().map(|&photo| vec![photo]).collect(),
            links,
        }
    }

    /// Joins the groups of two photos if all of the one are linked to all of the other. Otherwise they never will be.
    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.group_of[a], self.group_of[b]);
        let wanted = self.members[a].len() * self.members[b].len();
        if a == b || self.links[a].get(&b) != Some(&wanted) {
            return;
        }
        let (into, from) = if self.links[a].len() >= self.links[b].len() { (a, b) } else { (b, a) };
        for (other, count) in std::mem::take(&mut self.links[from]) {
            self.links[other].remove(&from);
            if other != into {
                *self.links[into].entry(other).or_insert(0) += count;
                *self.links[other].entry(into).or_insert(0) += count;
            }
        }
        let moved = std::mem::take(&mut self.members[from]);
        for photo in &moved {
            self.group_of[self.places[photo]] = into;
        }
        self.members[into].extend(moved);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Photos on a line, near where they are at most 10 apart.
    fn pairs(places: &[i32]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (first, a) in places.iter().enumerate() {
            for (second, b) in
                places.iter().enumerate().skip(first + 1).filter(|(_, b)| a.abs_diff(**b) <= 10)
            {
                let [first, second] = [first, second].map(|place| PhotoId(place as u64));
                pairs.push(Pair { first, second, distance: a.abs_diff(*b) as f32 });
            }
        }
        pairs
    }

    proptest! {
        #[test]
        fn no_chain_joins_what_is_not_near_and_nobody_near_is_left_alone(
            places in prop::collection::vec(-60i32..60, 1..40),
            shuffle in any::<u64>(),
        ) {
            let mut mixed = pairs(&places);
            let found = groups(mixed.clone());
            mixed.sort_by_key(|pair| (pair.first.0 * 31 + pair.second.0).wrapping_mul(shuffle | 1));
            prop_assert_eq!(&groups(mixed), &found, "the order of the pairs does not matter");
            let mut seen = Vec::new();
            for group in &found {
                prop_assert!(group.len() > 1 && group.is_sorted());
                let place = |photo: &PhotoId| places[photo.0 as usize];
                let (low, high) = (group.iter().map(place).min().unwrap(), group.iter().map(place).max().unwrap());
                prop_assert!(high - low <= 10, "a chain joined {low} and {high}");
                seen.extend(group.iter().map(|photo| photo.0 as usize));
            }
            let grouped = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), grouped, "a photo is in one group");
            let alone: Vec<usize> = (0..places.len()).filter(|photo| !seen.contains(photo)).collect();
            for &a in &alone {
                prop_assert!(alone.iter().all(|&b| a == b || places[a].abs_diff(places[b]) > 10));
            }
        }
    }

    #[test]
    fn the_nearest_pair_comes_together_first() {
        // 0 and 8 are near, 8 and 14 are nearer, 0 and 14 are not near.
        assert_eq!(groups(pairs(&[0, 8, 14])), [[PhotoId(1), PhotoId(2)]]);
    }

    #[test]
    fn ten_thousand_pictures_of_one_scene_are_all_grouped_with_pictures_near_them() {
        // Each is near the hundred before it and the hundred after.
        let line: Vec<Pair> = (0..10_000u64)
            .flat_map(|first| (first + 1..first + 100).map(move |second| (first, second)))
            .map(|(first, second)| Pair {
                first: PhotoId(first),
                second: PhotoId(second),
                distance: (second - first) as f32,
            })
            .collect();
        let found = groups(line);
        assert!(found.iter().all(|group| group[group.len() - 1].0 - group[0].0 < 100));
        let mut grouped: Vec<u64> = found.iter().flatten().map(|photo| photo.0).collect();
        grouped.sort_unstable();
        assert_eq!(
            grouped,
            (0..10_000).collect::<Vec<_>>(),
            "each has neighbors, so none is left alone, or twice"
        );
    }
}
