//! What the residuals of near neighbors have in common: calibrated on pairs of them.
//!
//! In: for pairs of near neighbors, their codes and their true squared distance. Out: the cosines between residuals that
//! `estimate` assumes. Solving its formula `|x - y|² = a - 2 c r s` for `c`, with `a` what the codes say where residuals are
//! at right angles, gives the cosine of one pair; of many, it is `sum(a - |x - y|²) / sum(2 r s)`, which weighs pairs by what
//! their cosine matters.

use serde::{Deserialize, Serialize};

use super::layout::Code;
use crate::search::fitted::{CLOSER_NEIGHBORS, COVERED_NEIGHBORS};

/// Twice the squared steps: the factors that turn dot products of levels into twice the dot products of positions.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    pub coarse: f32,
    pub fine: f32,
}

/// Cosines between the residuals of near neighbors, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResidualCosines {
    /// As a rule, outside of all components.
    pub all: f32,
    /// As a rule, outside of the coarse components.
    pub coarse: f32,
    /// What [`COVERED_NEIGHBORS`] of the near neighbors need at the most, outside of all components.
    pub max: f32,
}

/// What the codes of two near neighbors say, coarse and whole: by how much their squared distance is less than if their
/// residuals were at right angles, and the product of the residual norms.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationPair {
    /// How many neighbors are closer.
    closer: usize,
    coarse: (f32, f32),
    all: (f32, f32),
    /// Residual cosine with which the squared distance would seem to be that of the farthest neighbor.
    needed: f32,
}

impl CalibrationPair {
    /// Compares what the codes of a photo and of its neighbors, nearest first, say with the true squared distances.
    pub fn of_neighbors(
        photo: &Code,
        neighbors: &[(Code, f32)],
        scales: Scales,
    ) -> impl Iterator<Item = Self> {
        let farthest = neighbors.last().map_or(0.0, |(_, squared)| *squared);
        let levels = photo.fine.unpacked();
        neighbors.iter().enumerate().map(move |(closer, (other, squared))| {
            let coarse_at_right_angles = photo.coarse.squared_norm + other.coarse.squared_norm
                - scales.coarse * photo.coarse.dot(&other.coarse) as f32;
            let at_right_angles = coarse_at_right_angles - scales.fine * other.fine.dot(&levels) as f32;
            let norms = photo.fine.residual_norm * other.fine.residual_norm;
            let coarse_norms = photo.coarse.residual_norm * other.coarse.residual_norm;
            Self {
                closer,
                coarse: (coarse_at_right_angles - squared, coarse_norms),
                all: (at_right_angles - squared, norms),
                needed: if norms > 0.0 { (at_right_angles - farthest) / (2.0 * norms) } else { 0.0 },
            }
        })
    }
}

impl ResidualCosines {
    /// Nothing is known of neighbors.
    pub const UNKNOWN: Self = Self { all: 0.0, coarse: 0.0, max: 1.0 };

    /// Fits them to pairs of near neighbors.
    pub fn fit(pairs: &[CalibrationPair]) -> Self {
        let cosine = |parts: &dyn Fn(&CalibrationPair) -> (f32, f32)| {
            let (mut excess, mut norms) = (0f64, 0f64);
            for (more, norm) in pairs.iter().filter(|pair| pair.closer >= CLOSER_NEIGHBORS).map(parts) {
                excess += f64::from(more);
                norms += 2.0 * f64::from(norm);
            }
            if norms > 0.0 { (excess / norms).clamp(0.0, 1.0) as f32 } else { 0.0 }
        };
        let all = cosine(&|pair| pair.all);
        let mut needed: Vec<f32> = pairs.iter().map(|pair| pair.needed).collect();
        needed.sort_by(f32::total_cmp);
        let place = ((needed.len() as f64 * COVERED_NEIGHBORS) as usize).min(needed.len().saturating_sub(1));
        Self {
            all,
            coarse: cosine(&|pair| pair.coarse),
            max: needed.get(place).map_or(1.0, |cosine| cosine.clamp(all, 1.0)),
        }
    }
}
