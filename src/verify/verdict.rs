//! What a comparison means: one probability, and a word.
//!
//! The probability is a logistic regression. Its weights and the limits below were fitted on 1,833 photos with 177 pairs of
//! shots of one scene, 120 photos with fifteen edits each, and 700 drawn documents, slides, chats, receipts and skies.

use super::comparison::Comparison;

/// Raised with each change of what is said of the same two pictures, so that what was said before is looked at again.
pub const JUDGE: u32 = 3;

/// What two pictures are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same picture, whole, in its tones, at whatever size.
    Copy,
    /// The same picture, cropped, with other tones, or with something over or around it.
    Edit,
    /// The same picture, turned by a quarter, a half or three quarters.
    Turned,
    /// The same picture, mirrored.
    Mirrored,
    /// Another picture of the same scene or thing.
    AnotherShot,
    /// Nothing was found in both, or too little to be sure.
    Different,
}

/// What is said of two pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The word.
    pub verdict: Verdict,
    /// How likely it is that both show the same scene or thing, from 0 to 1.
    pub probability: f32,
    /// Shares of the first and the second picture that the other one shows, from 0 to 1; 0 where they are different.
    pub shared: [f32; 2],
    /// By how many degrees the second one is turned, see [`Comparison::turn`]; 0 where they are different.
    pub turn: f32,
}

impl Judgement {
    /// Returns by how many quarters the second picture is turned clockwise, 0 to 3: the nearest of them.
    pub fn quarter_turns(&self) -> u8 {
        ((self.turn / 90.0).round() as i32).rem_euclid(4) as u8
    }
}

/// Least probability for any word but different. Of the photos that the weights were fitted on, 0.66 of the pairs of shots are
/// above it and 0.975 of the pairs above it are right, each half by the weights of the other half.
const CONFIDENT: f32 = 0.6;

/// Plainness from which on a picture may be a page, of which another one of the same form shows the same but for the words.
const PAGE: f32 = 0.4;

/// Weights by which two pictures are one and the same shot, and not two of one scene: of the logarithms of what the inliers are
/// off in pixels of the smaller picture, of the stretch beyond 1, and of what the correlation of the tones lacks to 1. A camera that
/// moves by a hand's breadth moves what is near by more than what is far. Above 0, 0.93 of the shots are told from 0.96 of
/// the edits, words over a picture and a quarter of its size left out, of which 0.49 and 0.86 are.
const ONE_SHOT: [f32; 3] = [-1.44, -2.05, -0.20];
const ONE_SHOT_BIAS: f32 = -9.06;

/// Least share of each picture that the other one shows, for the whole to be there.
const WHOLE: f32 = 0.96;

/// What is asked of a copy beyond that: share of the keypoints found again, correlation of the tones, and the greatest
/// difference of the thumbnails in levels. JPEG of quality 20 makes up to 12; of the drawn pages with one letterhead none
/// differed by less than 17, since a line of other words is dark where the other page is white.
const COPY: (f32, f32, f32) = (0.6, 0.985, 15.0);

/// Degrees within which a picture is upright.
const UPRIGHT: f32 = 20.0;

/// Says what a comparison means.
pub fn judge(comparison: &Comparison) -> Judgement {
    let probability = probability(comparison);
    if probability < CONFIDENT {
        return Judgement { verdict: Verdict::Different, probability, shared: [0.0; 2], turn: 0.0 };
    }
    let (agreement, correlation, difference) = COPY;
    let is_copy = comparison.overlap.iter().all(|&share| share >= WHOLE)
        && comparison.agreement() >= agreement
        && comparison.correlation >= correlation
        && comparison.largest_difference <= difference;
    let verdict = if !is_one_shot(comparison) {
        Verdict::AnotherShot
    } else if comparison.is_mirrored {
        Verdict::Mirrored
    } else if comparison.turn.abs() > 90.0 - UPRIGHT {
        Verdict::Turned
    } else if is_copy && comparison.turn.abs() < 1.0 {
        Verdict::Copy
    } else {
        Verdict::Edit
    };
    Judgement { verdict, probability, shared: comparison.overlap, turn: comparison.turn }
}

/// Says whether one shot is all that was taken for both.
fn is_one_shot(comparison: &Comparison) -> bool {
    let enlarged = comparison.scale.max(1.0 / comparison.scale.max(0.05));
    let terms = [
        (comparison.residual / enlarged + 0.05).ln(),
        ((comparison.stretch - 1.0).max(0.0) + 0.002).ln(),
        (1.002 - comparison.correlation).ln(),
    ];
    ONE_SHOT.iter().zip(terms).map(|(weight, term)| weight * term).sum::<f32>() + ONE_SHOT_BIAS > 0.0
}

/// Returns how likely it is that both show the same scene or thing.
fn probability(comparison: &Comparison) -> f32 {
    if comparison.inliers == 0 {
        return 0.0;
    }
    let (inliers, matches) = (comparison.inliers as f32, comparison.matches as f32);
    let terms = [
        (WEIGHTS[0], inliers.ln_1p()),
        (WEIGHTS[1], comparison.agreement()),
        (WEIGHTS[2], comparison.correlation),
        (WEIGHTS[3], comparison.supported),
        (WEIGHTS[4], comparison.stretch.max(1.0).ln()),
        (WEIGHTS[5], inliers.ln_1p() * inliers / matches.max(1.0)),
        (WEIGHTS[6], (comparison.plainness - PAGE).max(0.0) * (1.0 - comparison.agreement())),
    ];
    let sum: f32 = terms.iter().map(|(weight, value)| weight * value).sum();
    1.0 / (1.0 + (-(sum + BIAS)).exp())
}

/// Weights of the logarithm of 1 and the inliers, the share of the keypoints found again, the correlation of the tones, the
/// share of the overlap in which something is found, the logarithm of the stretch, the first times the share of the
/// matches that are inliers, and how plain both pictures are times the share of the keypoints that are not found again: few
/// inliers that are nearly all matches say as much as many among many, and what is missing on a page says more than what is
/// missing in a photo.
const WEIGHTS: [f32; 7] = [1.383, -5.990, 7.145, -0.843, -3.031, 3.683, -56.541];
const BIAS: f32 = -8.074;
