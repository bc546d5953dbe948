//! Bursts: what was taken within seconds, before anybody compares pictures.
//!
//! Shots of one scene within seconds are farther apart for a network than an edit is from its original, and few photos lie so
//! close in time by chance. So time decides first, and the network has only to agree that both show a similar thing.

use crate::photo::PhotoId;
use crate::search::filter::TakenAt;

/// Shots that a shot is paired with at the most, those just after it. Cameras whose clock stands still give all their photos
/// one time.
const MOST_A_SHOT: usize = 256;

/// A photo that says when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Which.
    pub photo: PhotoId,
    /// When.
    pub taken: TakenAt,
    /// Number of the camera; 0 where the photo does not tell.
    pub camera: u32,
}

/// Returns the pairs of photos taken within seconds by one camera, or by one that is not known, as programs that edit photos
/// may leave it. Lower number first, ascending.
pub fn shots_within(seconds: u32, mut shots: Vec<Shot>) -> Vec<(PhotoId, PhotoId)> {
    // Edited shots have lost their offset, and stand among the others by the clock alone.
    shots.sort_unstable_by_key(|shot| (shot.taken.by_clock(), shot.photo));
    let mut pairs = Vec::new();
    for (place, one) in shots.iter().enumerate() {
        let is_soon =
            |other: &&Shot| other.taken.by_clock().abs_diff(one.taken.by_clock()) <= u64::from(seconds);
        let is_with_it = |other: &&Shot| {
            one.taken.seconds_apart(other.taken) <= u64::from(seconds)
                && (one.camera == other.camera || one.camera == 0 || other.camera == 0)
        };
        let after = shots[place + 1..].iter().take_while(is_soon).filter(is_with_it).take(MOST_A_SHOT);
        pairs.extend(after.map(|other| (one.photo.min(other.photo), one.photo.max(other.photo))));
    }
    pairs.sort_unstable();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(shots: &[(u64, i64, Option<i16>, u32)]) -> Vec<(u64, u64)> {
        let shots = shots.iter().map(|&(photo, clock, offset, camera)| Shot {
            photo: PhotoId(photo),
            taken: TakenAt::new(clock, offset),
            camera,
        });
        shots_within(10, shots.collect()).into_iter().map(|(one, other)| (one.0, other.0)).collect()
    }

    #[test]
    fn shots_of_one_camera_come_together_and_edits_come_with_them() {
        let hour = 3600;
        assert_eq!(found(&[(2, 0, None, 1), (1, 10, None, 1), (3, 21, None, 1)]), [(1, 2)]);
        assert!(found(&[(1, 0, None, 1), (2, 3, None, 2)]).is_empty(), "two cameras at one event");
        assert_eq!(found(&[(1, 0, None, 1), (2, 3, None, 0)]), [(1, 2)]);
        assert_eq!(found(&[(1, 2 * hour, Some(120), 1), (2, 2 * hour + 1, None, 1)]), [(1, 2)]);
        assert!(found(&[(1, hour, Some(120), 1), (2, hour, Some(60), 1)]).is_empty(), "an hour apart");
    }

    #[test]
    fn a_clock_that_stands_still_makes_no_million_pairs() {
        let shots: Vec<_> = (0..2000).map(|photo| (photo, 0, None, 1)).collect();
        assert!(found(&shots).len() <= 2000 * MOST_A_SHOT);
    }
}
