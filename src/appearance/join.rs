//! Pairs of pictures that are the same, turned or mirrored too, among all of a library.
//!
//! Two hashes that differ in at most 31 of 256 bits differ in at most one bit of at least one of their 16 pieces. So each new
//! picture, in each of the eight ways in which it can lie, is looked up by each piece and each piece with one bit
//! changed; what is found that way is compared. None is missed, and of a million pictures a few thousand are compared.

use super::{Appearance, MOST_COARSE_BITS, PerceptualHash, Turn};
use crate::photo::PhotoId;

/// Pictures found for one new picture by one piece, at the most. Where as many are the same, any of them will do.
const MOST_A_PIECE: usize = 256;

/// Pieces of a hash, and bits of one.
const PIECES: usize = 16;
const PIECE_BITS: u32 = 16;

const _: () = assert!(MOST_COARSE_BITS < 2 * PIECES as u32, "one piece differs in one bit at the most");

/// The coarse hashes of a library.
#[derive(Default)]
pub struct Library {
    ids: Vec<PhotoId>,
    hashes: Vec<[u16; PIECES]>,
}

impl Library {
    /// Adds a picture, with a greater number than all before it. One without contrast is left out.
    pub fn add(&mut self, id: PhotoId, seen: &Appearance) {
        if seen.has_contrast() {
            self.ids.push(id);
            self.hashes.push(seen.hash.coarse());
        }
    }

    /// Returns the pairs, lower number first, of a picture that `is_new` and another one that may be the same by their coarse
    /// hashes: whoever has both in full decides with [`Appearance::turn_to`].
    pub fn candidates(&self, is_new: impl Fn(PhotoId) -> bool) -> Vec<(PhotoId, PhotoId)> {
        let new: Vec<usize> = (0..self.ids.len()).filter(|&place| is_new(self.ids[place])).collect();
        let mut found = Vec::new();
        for piece in 0..PIECES {
            let buckets = Buckets::of(&self.hashes, piece);
            for &one in &new {
                let hash = PerceptualHash::of_coarse(self.hashes[one]);
                let turned = Turn::ALL.map(|turn| hash.turned(turn).coarse());
                let others = turned.iter().flat_map(|turned| {
                    let changed = std::iter::once(0).chain((0..PIECE_BITS).map(|bit| 1 << bit));
                    let others = changed.flat_map(|bit: u16| buckets.with(turned[piece] ^ bit));
                    others.map(|&other| other as usize).filter(move |&other| {
                        other != one && differing(turned, &self.hashes[other]) <= MOST_COARSE_BITS
                    })
                });
                let (one, ids) = (self.ids[one], &self.ids);
                found.extend(
                    others.take(MOST_A_PIECE).map(|other| (one.min(ids[other]), one.max(ids[other]))),
                );
            }
            // After each piece, so that what several find is kept once.
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}

fn differing(one: &[u16; PIECES], other: &[u16; PIECES]) -> u32 {
    one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum()
}

/// The places of hashes, by one of their pieces.
struct Buckets {
    starts: Vec<u32>,
    places: Vec<u32>,
}

impl Buckets {
    fn of(hashes: &[[u16; PIECES]], piece: usize) -> Self {
        let mut starts = vec![0u32; (1 << PIECE_BITS) + 1];
        for hash in hashes {
            starts[usize::from(hash[piece]) + 1] += 1;
        }
        for value in 0..1 << PIECE_BITS {
            starts[value + 1] += starts[value];
        }
        let (mut next, mut places) = (starts.clone(), vec![0; hashes.len()]);
        for (place, hash) in (0..).zip(hashes) {
            let at = &mut next[usize::from(hash[piece])];
            places[*at as usize] = place;
            *at += 1;
        }
        Self { starts, places }
    }

    fn with(&self, value: u16) -> &[u32] {
        let value = usize::from(value);
        &self.places[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(hash: PerceptualHash) -> Appearance {
        Appearance { hash, contrast: 64 * 40, ..Appearance::blank() }
    }

    proptest! {
        #[test]
        fn each_pair_that_is_the_same_is_found(
            rows in prop::collection::vec(any::<[u32; 32]>(), 1..6),
            copies in prop::collection::vec((0usize..6, 0usize..8, prop::collection::vec(0usize..256, 0..36)), 0..12),
            new in any::<u32>(),
        ) {
            let mut all: Vec<PerceptualHash> = rows.into_iter().map(PerceptualHash).collect();
            for (of, turn, flipped) in copies {
                let PerceptualHash(mut rows) = all[of % all.len()].turned(Turn::ALL[turn]);
                flipped.into_iter().for_each(|bit| rows[bit / 16] ^= 1 << (bit % 16));
                all.push(PerceptualHash(rows));
            }
            let all: Vec<Appearance> = all.into_iter().map(seen).collect();
            let mut library = Library::default();
            for (id, one) in (0..).zip(&all) {
                library.add(PhotoId(id), one);
            }
            let is_new = |id: PhotoId| new >> (id.0 % 32) & 1 == 1;
            let found = library.candidates(is_new);
            let mut expected = Vec::new();
            for (first, one) in (0..).zip(&all) {
                for (second, other) in (0..).zip(&all).skip(first as usize + 1) {
                    let is_meant = is_new(PhotoId(first)) || is_new(PhotoId(second));
                    let distance = |turn| one.hash.turned(turn).coarse_distance(&other.hash);
                    if is_meant && Turn::ALL.into_iter().any(|turn| distance(turn) <= MOST_COARSE_BITS) {
                        expected.push((PhotoId(first), PhotoId(second)));
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
