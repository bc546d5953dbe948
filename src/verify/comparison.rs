//! Two pictures' features in, what geometry says of them out.

use super::agreement::{Agreement, agreement, tones};
use super::consensus::{Consensus, consensus};
use super::keypoints::LocalFeatures;
use super::matching::mutual_matches;
use super::transform::{Point, Transform};

/// Inliers below which the mirrored picture is tried too.
const CLEAR: u32 = 25;

/// What geometry says of two pictures. All of it is 0 where no map was found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Keypoints that look alike.
    pub matches: u32,
    /// Those that agree with the map, no two at one place.
    pub inliers: u32,
    /// Median of what the inliers are off, in pixels.
    pub residual: f32,
    /// Keypoints that should be found again, and were: both ways.
    pub visible: u32,
    /// See there.
    pub found: u32,
    /// Share of the overlap in which something is found again, the lesser of both ways.
    pub supported: f32,
    /// Share of the first and of the second picture that the other one shows, from 0 to 1.
    pub overlap: [f32; 2],
    /// Correlation of the brightness where they overlap, from -1 to 1.
    pub correlation: f32,
    /// Greatest difference of the brightness there, in levels, over a square of a thirty-second of the picture.
    pub largest_difference: f32,
    /// Share of the plainer pixels, see [`LocalFeatures::plainness`], of the picture that is less plain.
    pub plainness: f32,
    /// Whether the second picture is mirrored.
    pub is_mirrored: bool,
    /// By how many degrees the second picture is turned, clockwise, from -180 to 180. Of a mirrored one, after mirroring the
    /// first from left to right.
    pub turn: f32,
    /// By how much the second picture is enlarged.
    pub scale: f32,
    /// How much more it is stretched in one direction than in another, 1 and more.
    pub stretch: f32,
}

impl Comparison {
    /// Returns the share of the keypoints that were found again, from 0 to 1.
    pub fn agreement(&self) -> f32 {
        if self.visible == 0 { 0.0 } else { self.found as f32 / self.visible as f32 }
    }
}

/// Compares two pictures: the second as it is and, where that does not say much, mirrored.
pub fn compare(first: &LocalFeatures, second: &LocalFeatures) -> Comparison {
    let upright = compare_unmirrored(first, second);
    if upright.inliers >= CLEAR {
        return upright;
    }
    let mirrored = compare_unmirrored(&first.mirrored(), second);
    if mirrored.inliers > upright.inliers { Comparison { is_mirrored: true, ..mirrored } } else { upright }
}

fn compare_unmirrored(first: &LocalFeatures, second: &LocalFeatures) -> Comparison {
    let matches = mutual_matches(first, second);
    let nothing = Comparison { matches: matches.len() as u32, ..Comparison::default() };
    let Some(Consensus { transform, inliers }) = consensus(first, second, &matches) else { return nothing };
    let centre =
        [0, 1].map(|axis| inliers.iter().map(|(from, _)| from[axis]).sum::<f64>() / inliers.len() as f64);
    let (Some(back), Some([[a, b], [c, d]])) = (transform.inverse(), transform.derivative(centre)) else {
        return nothing;
    };
    let there = agreement(first, second, &transform);
    let here = agreement(second, first, &back);
    let tones = tones(first, second, &transform);
    let mut errors: Vec<_> = inliers
        .iter()
        .filter_map(|&(from, to)| transform.apply(from).map(|[x, y]| (x - to[0]).hypot(y - to[1])))
        .collect();
    errors.sort_by(f64::total_cmp);
    let determinant = (a * d - b * c).abs();
    let squares = a * a + b * b + c * c + d * d;
    let spread = (squares * squares - 4.0 * determinant * determinant).max(0.0).sqrt();
    Comparison {
        inliers: inliers.len() as u32,
        residual: errors.get(errors.len() / 2).copied().unwrap_or_default() as f32,
        visible: there.visible + here.visible,
        found: there.found + here.found,
        supported: [there, here].iter().map(|Agreement { supported, .. }| *supported).fold(1.0, f32::min),
        overlap: [overlap(first, second, &transform), overlap(second, first, &back)],
        correlation: tones.correlation,
        largest_difference: tones.largest_difference,
        plainness: first.plainness().min(second.plainness()),
        is_mirrored: false,
        turn: (c - b).atan2(a + d).to_degrees() as f32,
        scale: determinant.sqrt() as f32,
        stretch: ((squares + spread) / (squares - spread).max(1e-9)).sqrt() as f32,
        ..nothing
    }
}

/// Returns the share of `first` whose image lies within `second`, on a grid of points.
fn overlap(first: &LocalFeatures, second: &LocalFeatures, transform: &Transform) -> f32 {
    const POINTS: usize = 32;
    let (width, height) = (f64::from(first.width), f64::from(first.height));
    let at = |number: usize, side: f64| (number as f64 + 0.5) / POINTS as f64 * side - 0.5;
    // Half a pixel of rounding at the edges is no crop.
    let inside = |[x, y]: Point| {
        (-2.0..=f64::from(second.width) + 1.0).contains(&x)
            && (-2.0..=f64::from(second.height) + 1.0).contains(&y)
    };
    let points = (0..POINTS).flat_map(|y| (0..POINTS).map(move |x| [at(x, width), at(y, height)]));
    let shown = points.filter(|&point| transform.apply(point).is_some_and(inside)).count();
    shown as f32 / (POINTS * POINTS) as f32
}
