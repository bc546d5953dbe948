//! Which keypoints of two pictures look like the same point: mutual nearest neighbors by Hamming distance.
//!
//! A keypoint may match the same corner found at a neighboring level, so there is no ratio of the two nearest to pass: that
//! test (Lowe, *Distinctive image features*, IJCV 2004) would refuse the best corners, which are found at many levels.
//! Instead the geometry decides.

use multiversion::multiversion;

use super::descriptor::Descriptor;
use super::keypoints::LocalFeatures;

/// Greatest distance of a match, in bits. Of unrelated patches fewer than one in ten thousand is as near.
pub const MAX_DISTANCE: u16 = 76;

/// Two keypoints that look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Number of the keypoint in the first picture.
    pub first: usize,
    /// Number of the keypoint in the second one.
    pub second: usize,
    /// Bits that differ.
    pub distance: u16,
}

/// Finds the pairs that are each other's nearest, closest first.
pub fn mutual_matches(first: &LocalFeatures, second: &LocalFeatures) -> Vec<Match> {
    let (a, b) = (&first.descriptors, &second.descriptors);
    let mut nearest_to_second = vec![(u16::MAX, usize::MAX); b.len()];
    let mut nearest_to_first = Vec::with_capacity(a.len());
    let mut distances = vec![0u16; b.len()];
    for (number, descriptor) in a.iter().enumerate() {
        hamming_distances(descriptor, b, &mut distances);
        let mut nearest = (u16::MAX, usize::MAX);
        for (other, (&distance, best)) in distances.iter().zip(&mut nearest_to_second).enumerate() {
            if distance < nearest.0 {
                nearest = (distance, other);
            }
            if distance < best.0 {
                *best = (distance, number);
            }
        }
        nearest_to_first.push(nearest);
    }
    let mut matches: Vec<_> = nearest_to_first
        .into_iter()
        .enumerate()
        .filter(|&(first, (distance, second))| {
            distance <= MAX_DISTANCE && nearest_to_second[second].1 == first
        })
        .map(|(first, (distance, second))| Match { first, second, distance })
        .collect();
    matches.sort_by_key(|found| (found.distance, found.first));
    matches
}

/// Writes the distance of `descriptor` to each of the others.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq+popcnt",
    "x86_64+avx2+popcnt",
    "x86_64+popcnt",
    "aarch64+neon"
))]
fn hamming_distances(descriptor: &Descriptor, others: &[Descriptor], out: &mut [u16]) {
    let [a, b, c, d] = descriptor.0;
    for (other, out) in others.iter().zip(out) {
        let [e, f, g, h] = other.0;
        let bits = (a ^ e).count_ones() + (b ^ f).count_ones() + (c ^ g).count_ones() + (d ^ h).count_ones();
        *out = bits as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Plane;

    fn with_descriptors(descriptors: &[[u64; 4]]) -> LocalFeatures {
        let mut features = LocalFeatures::of(&Plane::new(1, 1, vec![0]).unwrap());
        features.descriptors = descriptors.iter().copied().map(Descriptor).collect();
        features
    }

    #[test]
    fn only_mutual_and_close_neighbors_match() {
        let (near, nearer) = ([0b111, 0, 0, 0], [0b1, 0, 0, 0]);
        let far = [u64::MAX, u64::MAX, 0, 0];
        let first = with_descriptors(&[near, far, nearer]);
        let second = with_descriptors(&[[0; 4], [0, 0, u64::MAX, 0]]);
        let found = mutual_matches(&first, &second);
        assert_eq!(found, [Match { first: 2, second: 0, distance: 1 }]);
        assert_eq!(mutual_matches(&first, &with_descriptors(&[])), []);
    }

    #[test]
    fn the_kernel_counts_what_the_definition_says() {
        let descriptors: Vec<_> = (0..37u64)
            .map(|number| {
                Descriptor([number, number << 40, !number, number.wrapping_mul(0x9e37_79b9_7f4a_7c15)])
            })
            .collect();
        let mut distances = vec![0; descriptors.len()];
        hamming_distances(&descriptors[5], &descriptors, &mut distances);
        for (other, distance) in descriptors.iter().zip(distances) {
            assert_eq!(u32::from(distance), descriptors[5].hamming_distance(other));
        }
    }
}
