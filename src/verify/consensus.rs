//! The map on which most matches agree.
//!
//! A keypoint has a place, a direction and a level, so one match alone proposes a similarity. Each match proposes, and the
//! others say whether they agree: at most a few hundred proposals, the same answer each time, and it works where few of the
//! matches are right (Philbin, Chum, Isard, Sivic and Zisserman, *Object retrieval with large vocabularies and fast spatial
//! matching*, CVPR 2007, section 4; there is nothing random about it, as there is in the RANSAC of Fischler and Bolles,
//! 1981). The best proposals are fitted anew to those that agree, first as affine maps, then as homographies, as in the
//! locally optimised RANSAC of Chum, Matas and Kittler (DAGM 2003).

use std::f64::consts::{PI, TAU};

use super::keypoints::LocalFeatures;
use super::matching::Match;
use super::transform::{Point, Transform};

/// Matches that propose, the closest first.
const PROPOSALS: usize = 250;

/// Proposals that are fitted anew.
const REFINED: usize = 6;

/// What a proposal of one match may be wrong by: pixels, and pixels for each pixel of distance from that match, since its
/// direction and its scale are known to a few degrees and a tenth.
const PROPOSAL_TOLERANCE: (f64, f64) = (4.0, 0.12);

/// How far two directions of one corner may be apart, in radians.
pub const DIRECTION_TOLERANCE: f64 = 30.0 * PI / 180.0;

/// By which factor two scales of one corner may differ: two levels and a half.
pub const SCALE_TOLERANCE: f64 = 1.6;

/// Pixels that a match may be off in each round of fitting; for one of a level above the lowest more.
const FIT_TOLERANCES: [f64; 4] = [9.0, 6.0, 4.0, 3.5];

/// Fewest matches that agree for a homography instead of an affine map.
const HOMOGRAPHY_INLIERS: usize = 12;

/// Fewest matches on which a map can be fitted.
pub const MIN_INLIERS: usize = 4;

/// Most that a map may enlarge or shrink, and that it may stretch more in one direction than in another.
const MAX_SCALE: f64 = 6.0;
const MAX_STRETCH: f64 = 3.0;

/// Inliers nearer to each other than this are one, in pixels: a corner is found at many levels.
const DISTINCT: f64 = 3.0;

/// A map, and the matches that agree with it.
#[derive(Clone, Debug)]
pub struct Consensus {
    /// From the first picture to the second.
    pub transform: Transform,
    /// Places in the two pictures of the matches that agree, no two at the same place.
    pub inliers: Vec<(Point, Point)>,
}

/// One match, as far as geometry needs it.
struct Pair {
    from: Point,
    to: Point,
    turn: f64,
    scale: f64,
    /// By how much more than one of the lowest level it may be off.
    slack: f64,
}

/// Finds the map that most matches agree with, or `None` where no [`MIN_INLIERS`] do.
pub fn consensus(first: &LocalFeatures, second: &LocalFeatures, matches: &[Match]) -> Option<Consensus> {
    let pairs: Vec<_> = matches.iter().map(|found| pair(first, second, found)).collect();
    let mut proposals: Vec<_> = pairs
        .iter()
        .take(PROPOSALS)
        .map(|proposer| {
            let transform = Transform::similarity(proposer.turn, proposer.scale, proposer.from, proposer.to);
            let agreeing = pairs.iter().filter(|pair| agrees(proposer, &transform, pair)).count();
            (agreeing, transform, proposer)
        })
        .filter(|(agreeing, ..)| *agreeing >= MIN_INLIERS)
        .collect();
    proposals.sort_by_key(|(agreeing, ..)| std::cmp::Reverse(*agreeing));

    let mut best: Option<Consensus> = None;
    let mut refined: Vec<Transform> = Vec::new();
    for (_, transform, proposer) in proposals {
        if refined.len() == REFINED {
            break;
        }
        // A match that agrees with a map already found would lead to that map again.
        if refined.iter().any(|transform| error(transform, proposer) <= FIT_TOLERANCES[1] * proposer.slack) {
            continue;
        }
        let Some((transform, inliers)) = refine(transform, proposer, &pairs) else { continue };
        refined.push(transform);
        let inliers = distinct(inliers);
        if inliers.len() >= MIN_INLIERS.max(best.as_ref().map_or(0, |best| best.inliers.len() + 1)) {
            best = Some(Consensus { transform, inliers });
        }
    }
    best
}

fn pair(first: &LocalFeatures, second: &LocalFeatures, found: &Match) -> Pair {
    let (a, b) = (&first.keypoints[found.first], &second.keypoints[found.second]);
    let turn = f64::from(b.direction.radians() - a.direction.radians());
    let scale = f64::from(b.scale()) / f64::from(a.scale());
    let slack = f64::from(b.scale()).max(1.0).sqrt();
    Pair { from: a.position().map(f64::from), to: b.position().map(f64::from), turn, scale, slack }
}

/// Returns the smallest angle between two directions, in radians.
pub fn angle_between(a: f64, b: f64) -> f64 {
    let difference = (a - b).rem_euclid(TAU);
    difference.min(TAU - difference)
}

/// Says whether a match fits what one other proposes.
fn agrees(proposer: &Pair, transform: &Transform, pair: &Pair) -> bool {
    let ratio = pair.scale / proposer.scale;
    if !(1.0 / SCALE_TOLERANCE..=SCALE_TOLERANCE).contains(&ratio) {
        return false;
    }
    let distance = (pair.to[0] - proposer.to[0]).hypot(pair.to[1] - proposer.to[1]);
    let tolerance = PROPOSAL_TOLERANCE.0 * pair.slack + PROPOSAL_TOLERANCE.1 * distance;
    error(transform, pair) <= tolerance && angle_between(pair.turn, proposer.turn) <= DIRECTION_TOLERANCE
}

/// Returns by how many pixels of the second picture a match is off.
fn error(transform: &Transform, pair: &Pair) -> f64 {
    transform.apply(pair.from).map_or(f64::INFINITY, |[x, y]| (x - pair.to[0]).hypot(y - pair.to[1]))
}

/// Fits the map again and again to those that agree with it, within less and less.
fn refine(proposed: Transform, proposer: &Pair, pairs: &[Pair]) -> Option<(Transform, Vec<(Point, Point)>)> {
    let within = |transform: &Transform, tolerance: f64| -> (Vec<Point>, Vec<Point>) {
        pairs
            .iter()
            .filter(|pair| error(transform, pair) <= tolerance * pair.slack)
            .map(|pair| (pair.from, pair.to))
            .unzip()
    };
    let (mut from, mut to) = pairs
        .iter()
        .filter(|pair| agrees(proposer, &proposed, pair))
        .map(|pair| (pair.from, pair.to))
        .unzip::<_, _, Vec<_>, Vec<_>>();
    let mut transform = proposed;
    for tolerance in FIT_TOLERANCES {
        if from.len() < MIN_INLIERS {
            return None;
        }
        transform = Transform::fit_affine(&from, &to)?;
        if !is_sane(&transform, &from) {
            return None;
        }
        if from.len() >= HOMOGRAPHY_INLIERS
            && let Some(homography) = Transform::fit_homography(&from, &to)
            && is_sane(&homography, &from)
            && within(&homography, tolerance).0.len() >= within(&transform, tolerance).0.len()
        {
            transform = homography;
        }
        (from, to) = within(&transform, tolerance);
    }
    (from.len() >= MIN_INLIERS).then(|| (transform, from.into_iter().zip(to).collect()))
}

/// Says whether two shots of one scene may be related like that around these points: nothing mirrored, nothing enlarged or
/// stretched beyond measure.
fn is_sane(transform: &Transform, points: &[Point]) -> bool {
    points.iter().all(|&point| {
        transform.derivative(point).is_some_and(|[[a, b], [c, d]]| {
            let determinant = a * d - b * c;
            // The two singular values of the derivative.
            let squares = a * a + b * b + c * c + d * d;
            let spread = (squares * squares - 4.0 * determinant * determinant).max(0.0).sqrt();
            let (largest, smallest) =
                (((squares + spread) / 2.0).sqrt(), ((squares - spread) / 2.0).max(0.0).sqrt());
            determinant > 0.0
                && largest <= MAX_SCALE
                && smallest >= 1.0 / MAX_SCALE
                && largest <= smallest * MAX_STRETCH
        })
    })
}

/// Leaves out inliers that are where another one is, in one of the pictures: the first stays.
fn distinct(inliers: Vec<(Point, Point)>) -> Vec<(Point, Point)> {
    let near = |a: Point, b: Point| (a[0] - b[0]).hypot(a[1] - b[1]) < DISTINCT;
    let mut kept: Vec<(Point, Point)> = Vec::new();
    for (from, to) in inliers {
        if !kept.iter().any(|&(other_from, other_to)| near(from, other_from) || near(to, other_to)) {
            kept.push((from, to));
        }
    }
    kept
}
