//! From two codes, the distance between their vectors: an estimate, and a lower bound.
//!
//! Let `x` and `y` be two vectors less the mean (`dim` numbers, in the unit of the embeddings), `p` and `q` their positions
//! along the orthonormal components (384 numbers), and `u` and `v` their residuals, of norms `r` and `s`. Then
//!
//! ```text
//! |x - y|² = |p - q|² + |u - v|² = (|p|² + r²) + (|q|² + s²) - 2 p·q - 2 c r s      c: cosine between u and v
//! ```
//!
//! - **Estimate.** A code has `|p|² + r²` as its squared norm, with `p` quantized; `2 p·q` is a dot product of integers times
//!   the scale `2 step²`, one for coarse and one for fine components; and `c` is what near neighbors have as a rule
//!   ([`ResidualCosines`]). The coarse code alone gives the same with the fine components counted to the residual.
//! - **Lower bound for candidates.** The same with the greatest `c` that all but the rarest neighbors need, and less what
//!   quantization may add: the errors `e` and `f` of the two positions point anywhere, so that along the line between them
//!   they deviate by `sqrt((e² + f²) / 384)`, and the squared distance by `2 |x - y|` times that.
//! - **Lower bound that is never wrong** ([`EncodedQuery::may_be_within`]). By the triangle inequality, `|p - q|` is at least
//!   the distance between the quantized positions less `e + f`, and `|u - v|` at least `|r - s|`.
//!
//! What is compared are *keys*, which need no root: the squared distance for [`Metric::L2`], the distance itself for
//! [`Metric::Cosine`], since `|a - b|² = |a|² + |b|² - 2 |a| |b| (1 - distance)`.
//!
//! Invariant: [`EncodedQuery::may_be_within`] never says no of a vector that is within.

use multiversion::multiversion;

use super::calibration::{ResidualCosines, Scales};
use super::layout::{COMPONENTS, CoarseCode, Code, FINE_COMPONENTS, FineCode};
use super::quantizer::Quantizer;
use crate::photo::Metric;
use crate::search::fitted::QUANTIZATION_DEVIATIONS;
use crate::search::kernels;

/// Share of the squared norms involved that rounding may cost an `f32`, with room.
const ROUNDING: f32 = 1e-4;

/// What a code says of a distance, as keys.
#[derive(Clone, Copy, Debug)]
pub struct DistanceEstimate {
    pub estimate: f32,
    /// Less it is not, for all but the rarest neighbors.
    pub lower_bound: f32,
}

/// A query's code, prepared for one metric.
#[derive(Clone, Debug)]
pub struct EncodedQuery {
    metric: Metric,
    coarse: CoarseCode,
    fine_levels: [i8; FINE_COMPONENTS],
    /// Outside of all components, and over all of them.
    residual_norm: f32,
    quantization_error: f32,
    scales: Scales,
    /// Twice the query's residual norm times the residual cosine `c`: to be multiplied with a row's residual norm.
    coarse_residual_factor: f32,
    residual_factor: f32,
    max_residual_factor: f32,
    /// Of the query itself, mean and all.
    squared_norm: f32,
}

impl EncodedQuery {
    /// Encodes the query, which has been checked before.
    pub fn new(quantizer: &Quantizer, query: &[f32], metric: Metric) -> Self {
        let code = match metric {
            Metric::L2 => quantizer.encode(query),
            // Only its direction matters, and a norm like the others' is where the steps are fine.
            Metric::Cosine => {
                let scale =
                    kernels::inverse_norm(kernels::norm(query).unwrap_or(0.0)) * quantizer.typical_norm();
                quantizer.encode(&query.iter().map(|x| x * scale).collect::<Vec<f32>>())
            }
        };
        Self::from_code(quantizer, code, metric)
    }

    /// Takes a photo's own code as the query.
    pub fn from_code(quantizer: &Quantizer, code: Code, metric: Metric) -> Self {
        let ResidualCosines { all, coarse, max } = quantizer.residual_cosines();
        let norm = if code.coarse.inverse_norm > 0.0 { 1.0 / code.coarse.inverse_norm } else { 0.0 };
        Self {
            metric,
            scales: quantizer.scales(),
            coarse_residual_factor: 2.0 * coarse * code.coarse.residual_norm,
            residual_factor: 2.0 * all * code.fine.residual_norm,
            max_residual_factor: 2.0 * max * code.fine.residual_norm,
            squared_norm: norm * norm,
            coarse: code.coarse,
            fine_levels: code.fine.unpacked(),
            residual_norm: code.fine.residual_norm,
            quantization_error: code.fine.quantization_error,
        }
    }

    /// Writes, for each row, an estimate of the key of its distance, by the coarse code alone. `out` is as long as `rows`.
    pub fn estimate_coarse(&self, rows: &[CoarseCode], out: &mut [f32]) {
        match self.metric {
            Metric::L2 => estimate_coarse_l2(self, rows, out),
            Metric::Cosine => estimate_coarse_cosine(self, rows, out),
        }
    }

    /// Adds, for each row, an estimate and a lower bound of the key of its distance, by the whole code.
    pub fn estimate(&self, rows: &[(&CoarseCode, &FineCode)], out: &mut Vec<DistanceEstimate>) {
        // They lie apart, where no other row has been read. Asking for all of them at once before computing with the first
        // takes half the time of waiting for each in turn.
        std::hint::black_box(rows.iter().map(|(coarse, fine)| coarse.touch() + fine.touch()).sum::<u32>());
        estimate_all(self, rows, out);
    }

    #[inline(always)]
    fn estimate_one(&self, coarse: &CoarseCode, fine: &FineCode) -> DistanceEstimate {
        let at_right_angles = self.coarse.squared_norm + coarse.squared_norm - self.twice_dot(coarse, fine);
        let estimate = at_right_angles - self.residual_factor * fine.residual_norm;
        let lower_bound = at_right_angles - self.max_residual_factor * fine.residual_norm;
        // Residual cosines were learnt from codes, so that the residual allows for quantization too, where there is much.
        let own = self.quantization_error;
        let deviation =
            ((own * own + fine.quantization_error * fine.quantization_error) / COMPONENTS as f32).sqrt();
        let off = 2.0 * QUANTIZATION_DEVIATIONS * deviation * estimate.max(0.0).sqrt();
        let lower_bound = lower_bound.min(estimate - off);
        match self.metric {
            Metric::L2 => DistanceEstimate { estimate, lower_bound },
            Metric::Cosine => DistanceEstimate {
                estimate: self.as_cosine(coarse, estimate),
                lower_bound: self.as_cosine(coarse, lower_bound),
            },
        }
    }

    /// Returns the key of a distance in the metric: what is estimated.
    pub fn key(&self, distance: f32) -> f32 {
        match self.metric {
            Metric::L2 => distance * distance,
            Metric::Cosine => distance,
        }
    }

    /// Turns an estimated squared distance into an estimated cosine distance.
    #[inline(always)]
    fn as_cosine(&self, row: &CoarseCode, squared: f32) -> f32 {
        if row.inverse_norm == 0.0 {
            return 1.0;
        }
        let norm = 1.0 / row.inverse_norm;
        1.0 - (self.squared_norm + norm * norm - squared)
            * 0.5
            * (self.coarse.inverse_norm * row.inverse_norm)
    }

    /// Writes, for each row, by how much it is beyond `limit` at least, by the coarse code: a row above 0 is not within. In the
    /// unit of squared distances. `out` is as long as `rows`.
    pub fn excess_over(&self, limit: f32, rows: &[CoarseCode], out: &mut [f32]) {
        match self.metric {
            Metric::L2 => excess_over_l2(self, limit, rows, out),
            Metric::Cosine => excess_over_cosine(self, limit, rows, out),
        }
    }

    #[inline(always)]
    fn excess_of_one(&self, squared_limit: f32, row: &CoarseCode) -> f32 {
        let squared_positions = self.coarse.squared_norm
            - self.coarse.residual_norm * self.coarse.residual_norm
            + row.squared_norm
            - row.residual_norm * row.residual_norm;
        let along = squared_positions - self.scales.coarse * self.coarse.dot(row) as f32;
        let rounding = ROUNDING * (self.coarse.squared_norm + row.squared_norm);
        let reach = (squared_limit.max(0.0) + rounding).sqrt()
            + self.coarse.quantization_error
            + row.quantization_error;
        along - reach * reach - rounding
    }

    /// Returns whether the row may be within `limit` of the query, in the metric. Where it says no, it is not.
    pub fn may_be_within(&self, limit: f32, coarse: &CoarseCode, fine: &FineCode) -> bool {
        may_be_within(self, limit, coarse, fine)
    }

    #[inline(always)]
    fn may_one_be_within(&self, limit: f32, coarse: &CoarseCode, fine: &FineCode) -> bool {
        let Some(allowed) = self.squared_limit(limit, coarse) else { return true };
        let allowed = allowed + ROUNDING * (self.coarse.squared_norm + coarse.squared_norm);
        let errors = self.quantization_error + fine.quantization_error;
        // What cancels here is bounded by `ROUNDING`.
        let squared_positions = self.coarse.squared_norm - self.residual_norm * self.residual_norm
            + coarse.squared_norm
            - fine.residual_norm * fine.residual_norm;
        let along = ((squared_positions - self.twice_dot(coarse, fine)).max(0.0).sqrt() - errors).max(0.0);
        // Components are rounded, so that a little of the position may have been counted to the residual.
        let across = ((self.residual_norm - fine.residual_norm).abs() - errors).max(0.0);
        along * along + across * across <= allowed
    }

    /// Returns twice the dot product of the quantized positions.
    #[inline(always)]
    fn twice_dot(&self, coarse: &CoarseCode, fine: &FineCode) -> f32 {
        self.scales.coarse * self.coarse.dot(coarse) as f32
            + self.scales.fine * fine.dot(&self.fine_levels) as f32
    }

    /// Returns the squared Euclidean distance that a limit in the metric stands for; `None` for all of them.
    #[inline(always)]
    fn squared_limit(&self, limit: f32, row: &CoarseCode) -> Option<f32> {
        match self.metric {
            Metric::L2 => limit.is_finite().then_some(limit * limit),
            Metric::Cosine if row.inverse_norm == 0.0 || self.squared_norm == 0.0 => None,
            Metric::Cosine => {
                let (own, norm) = (self.squared_norm.sqrt(), 1.0 / row.inverse_norm);
                Some(self.squared_norm + norm * norm - 2.0 * own * norm * (1.0 - limit))
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn may_be_within(query: &EncodedQuery, limit: f32, coarse: &CoarseCode, fine: &FineCode) -> bool {
    query.may_one_be_within(limit, coarse, fine)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn estimate_all(query: &EncodedQuery, rows: &[(&CoarseCode, &FineCode)], out: &mut Vec<DistanceEstimate>) {
    out.extend(rows.iter().map(|(coarse, fine)| query.estimate_one(coarse, fine)));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn estimate_coarse_l2(query: &EncodedQuery, rows: &[CoarseCode], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = query.coarse.squared_norm + row.squared_norm
            - query.scales.coarse * query.coarse.dot(row) as f32
            - query.coarse_residual_factor * row.residual_norm;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn estimate_coarse_cosine(query: &EncodedQuery, rows: &[CoarseCode], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        let squared = query.coarse.squared_norm + row.squared_norm
            - query.scales.coarse * query.coarse.dot(row) as f32
            - query.coarse_residual_factor * row.residual_norm;
        *out = query.as_cosine(row, squared);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn excess_over_l2(query: &EncodedQuery, limit: f32, rows: &[CoarseCode], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = query.excess_of_one(limit * limit, row);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn excess_over_cosine(query: &EncodedQuery, limit: f32, rows: &[CoarseCode], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = query.squared_limit(limit, row).map_or(0.0, |allowed| query.excess_of_one(allowed, row));
    }
}
