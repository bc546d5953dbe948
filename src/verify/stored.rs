//! Features as bytes, about 20 KB a picture, so that a picture need not be decoded again to be compared with another one.
//!
//! They begin with the number of what is drawn and measured, [`KIND`], and end with a checksum: whatever else lies at their place is
//! refused, and they are made again.

use super::descriptor::{Descriptor, Direction};
use super::keypoints::{Keypoint, LocalFeatures, MAX_KEYPOINTS, THUMBNAIL_SIDE};
use super::plane::LEVELS;

/// Raised with each change of what the features of a picture are.
const KIND: u32 = 1;

/// Bytes of the checksum.
const SUM: usize = 8;

/// Bytes of the picture in small.
const THUMBNAIL: usize = (THUMBNAIL_SIDE * THUMBNAIL_SIDE) as usize;

/// Bytes of a keypoint with its descriptor: column, row, direction, level, 256 bits.
const KEYPOINT: usize = 2 + 2 + 1 + 1 + 32;

fn sum(bytes: &[u8]) -> [u8; SUM] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

impl LocalFeatures {
    /// Returns them as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + THUMBNAIL + self.keypoints.len() * KEYPOINT + SUM);
        bytes.extend(KIND.to_le_bytes());
        bytes.extend(self.width.to_le_bytes());
        bytes.extend(self.height.to_le_bytes());
        bytes.extend(&self.thumbnail);
        for (keypoint, descriptor) in self.keypoints.iter().zip(&self.descriptors) {
            let [x, y] = keypoint.place();
            bytes.extend(x.to_le_bytes());
            bytes.extend(y.to_le_bytes());
            bytes.extend([keypoint.direction.0, keypoint.level]);
            descriptor.0.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        }
        let sum = sum(&bytes);
        bytes.extend(sum);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written; `None` where it is anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bytes, found) = bytes.split_last_chunk::<SUM>()?;
        let (kind, rest) = bytes.split_first_chunk()?;
        if u32::from_le_bytes(*kind) != KIND || sum(bytes) != *found {
            return None;
        }
        let (width, rest) = rest.split_first_chunk()?;
        let (height, rest) = rest.split_first_chunk()?;
        let (thumbnail, rest) = rest.split_at_checked(THUMBNAIL)?;
        let (rows, rest) = rest.as_chunks::<KEYPOINT>();
        if !rest.is_empty() || rows.len() > MAX_KEYPOINTS {
            return None;
        }
        let (mut keypoints, mut descriptors) =
            (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in rows {
            let ([x, x_high, y, y_high, direction, level], words) = row.split_first_chunk()?;
            if usize::from(*level) >= LEVELS {
                return None;
            }
            let place = [u16::from_le_bytes([*x, *x_high]), u16::from_le_bytes([*y, *y_high])];
            keypoints.push(Keypoint::at(place, Direction(*direction), *level));
            let mut descriptor = [0; 4];
            for (word, bytes) in descriptor.iter_mut().zip(words.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            descriptors.push(Descriptor(descriptor));
        }
        Some(Self {
            width: u16::from_le_bytes(*width),
            height: u16::from_le_bytes(*height),
            keypoints,
            descriptors,
            thumbnail: thumbnail.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::verify::Plane;

    fn features() -> LocalFeatures {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 24
        };
        let blocks: Vec<u8> = (0..40 * 30).map(|_| next() as u8).collect();
        let pixels = (0..240 * 320).map(|at: usize| blocks[at / 320 / 8 * 40 + at % 320 / 8]).collect();
        LocalFeatures::of(&Plane::new(320, 240, pixels).unwrap())
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let features = features();
        assert!(features.keypoints.len() > 100, "{}", features.keypoints.len());
        let bytes = features.to_bytes();
        assert!(bytes.len() < 21_000);
        assert_eq!(LocalFeatures::from_bytes(&bytes), Some(features));
        let nothing = LocalFeatures::of(&Plane::new(9, 9, vec![3; 81]).unwrap());
        assert_eq!(LocalFeatures::from_bytes(&nothing.to_bytes()), Some(nothing));
    }

    proptest! {
        #[test]
        fn whatever_is_not_what_was_written_is_refused(
            place in any::<prop::sample::Index>(),
            by in 1u8..,
            length in any::<prop::sample::Index>(),
        ) {
            static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| features().to_bytes());
            let bytes = &*BYTES;
            let mut changed = bytes.clone();
            changed[place.index(bytes.len())] ^= by;
            prop_assert_eq!(LocalFeatures::from_bytes(&changed), None);
            prop_assert_eq!(LocalFeatures::from_bytes(&bytes[..length.index(bytes.len())]), None);
        }
    }
}
