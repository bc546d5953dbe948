//! The local features of a picture: up to [`MAX_KEYPOINTS`] corners over all levels of the pyramid, spread over the picture,
//! each with its place, direction, level and descriptor.

use std::cmp::Reverse;

use super::corners::{Corner, corners, harris};
use super::descriptor::{Descriptor, Direction, RADIUS, describe, direction};
use super::plane::{LEVELS, Plane, SCALE_STEP, scale_of};

/// Most keypoints of a picture.
pub const MAX_KEYPOINTS: usize = 500;

/// By how many levels of brightness the circle around a corner differs from it. ORB starts at 20; a dull or dark copy has
/// fainter corners, and ranking leaves them out where there are better ones.
const THRESHOLD: u8 = 10;

/// Cells that a level is divided into along each side, so that one busy corner of the picture does not take all keypoints.
const CELLS: u32 = 6;

/// How many times its equal share of a level's keypoints one cell may have.
const CROWDING: usize = 3;

/// How many times as many corners are ranked by Harris' response as are taken (ORB, section 3.1).
const SHORTLIST: usize = 2;

/// Side of the thumbnail in pixels.
pub const THUMBNAIL_SIDE: u32 = 32;

/// Steps of a place a pixel.
const STEPS: f32 = 64.0;

/// One corner that has a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keypoint {
    /// Place in the picture with its long side at [`LONG_SIDE`](super::plane::LONG_SIDE), in 1/64 of a pixel.
    place: [u16; 2],
    /// Where its patch points.
    pub direction: Direction,
    /// Level of the pyramid it was found in.
    pub level: u8,
}

impl Keypoint {
    fn new(corner: Corner, direction: Direction, level: usize) -> Self {
        let scale = scale_of(level as u8);
        // The centre of a pixel of the level, in those of the picture.
        let place = [corner.x, corner.y].map(|at| (((at as f32 + 0.5) * scale - 0.5) * STEPS).round() as u16);
        Self { place, direction, level: level as u8 }
    }

    /// Returns it as it was at [`place`](Self::place).
    pub(super) fn at(place: [u16; 2], direction: Direction, level: u8) -> Self {
        Self { place, direction, level }
    }

    /// Returns column and row in 1/64 of a pixel.
    pub(super) fn place(&self) -> [u16; 2] {
        self.place
    }

    /// Returns column and row in pixels.
    pub fn position(&self) -> [f32; 2] {
        self.place.map(|at| f32::from(at) / STEPS)
    }

    /// Returns how many pixels of the picture one of its level is wide.
    pub fn scale(&self) -> f32 {
        scale_of(self.level)
    }
}

/// What geometric verification keeps of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFeatures {
    /// Pixels a row, the long side being [`LONG_SIDE`](super::plane::LONG_SIDE).
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// The corners.
    pub keypoints: Vec<Keypoint>,
    /// One for each keypoint.
    pub descriptors: Vec<Descriptor>,
    /// The picture itself stretched to a square of a few pixels a side: brightness.
    pub thumbnail: Vec<u8>,
}

impl LocalFeatures {
    /// Finds the features of an upright picture of any size.
    pub fn of(picture: &Plane) -> Self {
        let picture = picture.at_feature_size();
        let levels = picture.pyramid();
        let (mut keypoints, mut descriptors) = (Vec::new(), Vec::new());
        for (number, level) in levels.iter().enumerate() {
            let chosen = choose(level, corners(level, THRESHOLD, RADIUS as u32 + 1), share_of(number));
            if chosen.is_empty() {
                continue;
            }
            let smoothed = level.smoothed();
            for corner in chosen {
                let direction = direction(level, corner.x, corner.y);
                keypoints.push(Keypoint::new(corner, direction, number));
                descriptors.push(describe(&smoothed, corner.x, corner.y, direction));
            }
        }
        let thumbnail = picture.resized(THUMBNAIL_SIDE, THUMBNAIL_SIDE).pixels;
        Self { width: picture.width as u16, height: picture.height as u16, keypoints, descriptors, thumbnail }
    }

    /// Returns the greatest share of the picture that is of about one brightness, from 0 to 1: pages of text have 0.45 and more,
    /// half of all photos less than 0.22.
    pub fn plainness(&self) -> f32 {
        /// Levels of brightness that are about one.
        const ABOUT: usize = 17;
        let mut counts = [0u32; 256];
        self.thumbnail.iter().for_each(|&level| counts[usize::from(level)] += 1);
        let most = counts.windows(ABOUT).map(|levels| levels.iter().sum::<u32>()).max().unwrap_or(0);
        most as f32 / self.thumbnail.len().max(1) as f32
    }

    /// Returns the features of the mirrored picture, as good as if it had been looked at.
    pub fn mirrored(&self) -> Self {
        let right = (self.width.saturating_sub(1) as f32 * STEPS) as u16;
        let keypoint = |keypoint: &Keypoint| Keypoint {
            place: [right.saturating_sub(keypoint.place[0]), keypoint.place[1]],
            direction: keypoint.direction.mirrored(),
            level: keypoint.level,
        };
        let rows = self.thumbnail.chunks_exact(THUMBNAIL_SIDE as usize);
        Self {
            keypoints: self.keypoints.iter().map(keypoint).collect(),
            descriptors: self.descriptors.iter().map(Descriptor::mirrored).collect(),
            thumbnail: rows.flat_map(|row| row.iter().rev().copied()).collect(),
            ..*self
        }
    }
}

/// Returns how many keypoints a level has at most: as many as its area is of all levels' (ORB, section 6.1).
fn share_of(level: usize) -> usize {
    let area = |level: usize| SCALE_STEP.powi(-2 * level as i32);
    let all: f32 = (0..LEVELS).map(area).sum();
    (MAX_KEYPOINTS as f32 * area(level) / all) as usize
}

/// Chooses `most` corners: of the strongest the best by Harris' response, spread over the level.
fn choose(level: &Plane, mut corners: Vec<Corner>, most: usize) -> Vec<Corner> {
    corners.sort_by_key(|corner| (Reverse(corner.strength), corner.y, corner.x));
    let mut strongest: Vec<_> = spread(level, corners, most * SHORTLIST)
        .into_iter()
        .map(|corner| (harris(level, corner.x, corner.y), corner))
        .collect();
    strongest.sort_by(|(a, one), (b, other)| b.total_cmp(a).then((one.y, one.x).cmp(&(other.y, other.x))));
    spread(level, strongest.into_iter().map(|(_, corner)| corner).collect(), most)
}

/// Takes `most` corners in their order, but no more than [`CROWDING`] times its share from one cell.
fn spread(level: &Plane, corners: Vec<Corner>, most: usize) -> Vec<Corner> {
    let limit = (most * CROWDING).div_ceil((CELLS * CELLS) as usize);
    let mut taken = [0; (CELLS * CELLS) as usize];
    let fits = |corner: &Corner| {
        let cell = corner.y * CELLS / level.height * CELLS + corner.x * CELLS / level.width;
        taken[cell as usize] += 1;
        taken[cell as usize] <= limit
    };
    corners.into_iter().filter(fits).take(most).collect()
}
