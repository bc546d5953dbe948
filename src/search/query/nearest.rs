//! The best `k` of a stream of candidates, in the one order this room knows.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::photo::PhotoId;

/// A photo and how far it is from the query. Ordered by distance, then by id; the nearest is the least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// Which photo.
    pub id: PhotoId,
    /// In the metric that was asked for; smaller is closer.
    pub distance: f32,
}

impl Eq for Neighbor {}

impl Ord for Neighbor {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Neighbor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Keeps the least `k` of what it is offered, and nothing farther than a limit.
#[derive(Debug)]
pub struct Nearest {
    k: usize,
    /// Nothing at or beyond it is kept once `k` are: the worst of the kept, or all there is before that.
    bound: f32,
    kept: BinaryHeap<Neighbor>,
}

impl Nearest {
    /// Keeps nothing farther than `max_distance`.
    pub fn new(k: usize, max_distance: f32) -> Self {
        Self { k, bound: max_distance, kept: BinaryHeap::new() }
    }

    /// Returns the distance beyond which an offer is in vain. At the bound itself, the id decides.
    #[inline]
    pub fn bound(&self) -> f32 {
        self.bound
    }

    /// Keeps the candidate if it belongs to the least `k` so far.
    pub fn offer(&mut self, candidate: Neighbor) {
        if self.k == 0 || candidate.distance.is_nan() || candidate.distance > self.bound {
            return;
        }
        if self.kept.len() < self.k {
            self.kept.push(candidate);
        } else if let Some(mut worst) = self.kept.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
        if self.kept.len() == self.k
            && let Some(worst) = self.kept.peek()
        {
            self.bound = worst.distance;
        }
    }

    /// Takes over what another one kept.
    pub fn absorb(&mut self, other: Self) {
        for candidate in other.kept {
            self.offer(candidate);
        }
    }

    /// Returns the kept, nearest first.
    pub fn into_sorted(self) -> Vec<Neighbor> {
        self.kept.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_what_sorting_would_put_first(
            // Few distinct distances, so that ties are common.
            distances in prop::collection::vec((0u8..6).prop_map(f32::from), 0..60),
            k in 0usize..20,
            limit in (0u8..8).prop_map(f32::from),
            split in 0usize..60,
        ) {
            let all: Vec<_> =
                (0u64..).zip(&distances).map(|(id, &distance)| Neighbor { id: PhotoId(id * 7 % 61), distance }).collect();
            let mut nearest = Nearest::new(k, limit);
            let mut other = Nearest::new(k, limit);
            let (left, right) = all.split_at(split.min(all.len()));
            left.iter().for_each(|&n| nearest.offer(n));
            right.iter().for_each(|&n| other.offer(n));
            nearest.absorb(other);

            let mut expected: Vec<_> = all.iter().copied().filter(|n| n.distance <= limit).collect();
            expected.sort();
            expected.truncate(k);
            prop_assert_eq!(nearest.into_sorted(), expected);
        }
    }

    #[test]
    fn a_distance_that_is_not_a_number_is_never_kept() {
        let mut nearest = Nearest::new(2, f32::INFINITY);
        nearest.offer(Neighbor { id: PhotoId(1), distance: f32::NAN });
        nearest.offer(Neighbor { id: PhotoId(2), distance: f32::INFINITY });
        assert_eq!(nearest.into_sorted(), vec![Neighbor { id: PhotoId(2), distance: f32::INFINITY }]);
    }
}
