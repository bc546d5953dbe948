//! Which pairs of photos are looked at side by side: the nearest of each photo in its neighborhood, but for empty frames. What looks
//! the same as a whole is known without.

use crate::appearance::Library;
use crate::photo::PhotoId;
use crate::search::{Pair, PhotoSet};
use crate::store::{Appearances, NearRule, Reach, StoreError};

/// Candidates of a photo among those before it: the nearest. Of those that count as near until they are looked at, more:
/// a burst shall be one group.
const CANDIDATES: usize = 10;
const NEAR_CANDIDATES: usize = 32;

/// Chooses the pairs that are to be looked at, each with its share of the radius around.
pub(super) fn candidates(mut pairs: Vec<(Pair, f32)>, rule: NearRule) -> Vec<(Pair, f32)> {
    pairs.sort_by(|(one, share), (other, other_share)| {
        one.second.cmp(&other.second).then(share.total_cmp(other_share)).then(one.first.cmp(&other.first))
    });
    let of_one = pairs.chunk_by(|(one, _), (other, _)| one.second == other.second);
    let chosen = of_one.flat_map(|pairs| {
        pairs.iter().enumerate().filter(|(place, (pair, share))| {
            let is_within = |reach: &Reach, most| *place < most && reach.holds(pair.distance, *share);
            is_within(&rule.candidates, CANDIDATES) || is_within(&rule.near, NEAR_CANDIDATES)
        })
    });
    chosen.map(|(_, pair)| *pair).collect()
}

/// Leaves out pairs with a photo in which there is nothing to be seen: all empty frames are near one another.
pub(super) fn with_contrast(
    pairs: Vec<(Pair, f32)>,
    seen: &Appearances,
) -> Result<Vec<(Pair, f32)>, StoreError> {
    let mut kept = Vec::with_capacity(pairs.len());
    for (pair, share) in pairs {
        let is_flat =
            |photo| Ok::<_, StoreError>(seen.get(photo)?.is_some_and(|looks| !looks.has_contrast()));
        if !is_flat(pair.first)? && !is_flat(pair.second)? {
            kept.push((pair, share));
        }
    }
    Ok(kept)
}

/// Returns the pairs of a new photo and one that was compared, or of two new ones, that look the same, turned or mirrored too.
pub(super) fn that_look_same(
    seen: &Appearances,
    new: &PhotoSet,
    compared: &PhotoSet,
) -> Result<Vec<(PhotoId, PhotoId)>, StoreError> {
    let mut library = Library::default();
    seen.each(|photo, looks| {
        if compared.contains(photo) {
            library.add(photo, &looks);
        }
    })?;
    let mut same = Vec::new();
    for (first, second) in library.candidates(|photo| new.contains(photo)) {
        if let (Some(one), Some(other)) = (seen.get(first)?, seen.get(second)?)
            && one.turn_to(&other).is_some()
        {
            same.push((first, second));
        }
    }
    Ok(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_few_are_candidates_and_of_a_burst_more() {
        let rule = NearRule {
            candidates: Reach { distance: 0.5, share: 0.8 },
            near: Reach { distance: 0.2, share: 0.3 },
            judge: 1,
        };
        let pairs = |distance: f32, share: f32| {
            let pair = move |first| Pair { first: PhotoId(first), second: PhotoId(100), distance };
            (1..=60).map(|first| (pair(first), share)).collect::<Vec<_>>()
        };
        let chosen = |pairs: Vec<(Pair, f32)>| candidates(pairs, rule).len();
        assert_eq!(chosen(pairs(0.4, 0.7)), CANDIDATES);
        assert_eq!(chosen(pairs(0.1, 0.2)), NEAR_CANDIDATES);
        assert_eq!(chosen(pairs(0.4, 0.9)), 0);
        assert_eq!(chosen(pairs(0.6, 0.2)), 0);
        // Each photo has its own.
        let mut both = pairs(0.4, 0.7);
        both.extend(
            pairs(0.4, 0.5).into_iter().map(|(pair, share)| (Pair { second: PhotoId(99), ..pair }, share)),
        );
        both.reverse();
        assert_eq!(chosen(both), 2 * CANDIDATES);
        let mut nearer = pairs(0.4, 0.7);
        nearer[40].1 = 0.1;
        assert_eq!(candidates(nearer, rule)[0].0.first, PhotoId(41), "by the share, not by the number");
    }
}
