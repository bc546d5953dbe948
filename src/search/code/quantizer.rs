//! The quantizer of a library: the axes along which its photos differ, learnt from a sample of its vectors, and the steps in
//! which positions along them are kept.

use serde::{Deserialize, Serialize};

use super::calibration::{CalibrationPair, ResidualCosines, Scales};
use super::layout::{
    COARSE_COMPONENTS, COARSE_MAX, COMPONENTS, CoarseCode, Code, FINE_COMPONENTS, FINE_MAX, FineCode,
};
use super::pca;
use crate::search::fitted::{
    CALIBRATION_NEIGHBORS, CALIBRATION_QUERIES_IN_SAMPLE, COARSE_DEVIATIONS, FINE_DEVIATIONS,
};
use crate::search::kernels;

/// What a library's vectors have in common. Codes of one quantizer are of no use with another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantizer {
    dim: usize,
    trained_on: u64,
    mean: Vec<f32>,
    /// [`COMPONENTS`] rows of `dim` numbers, in units of `component_unit`; zeros where there are fewer components. Orthogonal
    /// and of norm 1 but for rounding, and all of them together make no vector longer: that is what bounds rely on.
    components: Vec<i16>,
    component_unit: f32,
    /// Between two levels, in the unit of the embeddings.
    coarse_step: f32,
    fine_step: f32,
    /// Mean norm of the sample's vectors.
    typical_norm: f32,
    residual_cosines: ResidualCosines,
}

impl Quantizer {
    /// Learns the quantizer of a library of `trained_on` photos from some of its vectors, rows of `dim` numbers. Takes a
    /// second or two for 4096 rows of 1280.
    pub(in crate::search) fn train(sample: &[f32], dim: usize, trained_on: u64) -> Self {
        let principal = pca::principal_components(sample, dim, COMPONENTS);
        let (mut components, component_unit) = rounded(&principal.components);
        components.resize(COMPONENTS * dim, 0);
        let rows = (sample.len() / dim.max(1)).max(1);
        let typical_norm =
            sample.chunks_exact(dim.max(1)).filter_map(kernels::norm).sum::<f32>() / rows as f32;
        let deviation = |place: usize| principal.variances.get(place).copied().unwrap_or(0.0).sqrt();
        // One photo many times over has no deviation; there must be a step all the same.
        let reach = |reach: f32| reach.max(typical_norm * 1e-3).max(1e-12);
        let quantizer = Self {
            dim,
            trained_on,
            mean: principal.mean,
            components,
            component_unit,
            coarse_step: reach(COARSE_DEVIATIONS * deviation(0)) / COARSE_MAX,
            fine_step: reach(FINE_DEVIATIONS * deviation(COARSE_COMPONENTS)) / FINE_MAX,
            typical_norm,
            residual_cosines: ResidualCosines::UNKNOWN,
        };
        let pairs = quantizer.pairs_in_sample(sample);
        quantizer.calibrated(&pairs)
    }

    /// Returns pairs of near neighbors within the sample: closer ones are found once the whole library has codes.
    fn pairs_in_sample(&self, sample: &[f32]) -> Vec<CalibrationPair> {
        let rows = sample.len() / self.dim.max(1);
        let row = |place: usize| &sample[place * self.dim..][..self.dim];
        let mut distances = vec![0f32; rows];
        let mut pairs = Vec::new();
        for query in (0..rows).step_by((rows / CALIBRATION_QUERIES_IN_SAMPLE).max(1)) {
            kernels::squared_l2(row(query), sample, &mut distances);
            let mut order: Vec<usize> = (0..rows).filter(|&other| distances[other] > 0.0).collect();
            order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
            order.truncate(CALIBRATION_NEIGHBORS);
            let neighbors: Vec<(&[f32], f32)> =
                order.iter().map(|&other| (row(other), distances[other])).collect();
            pairs.extend(self.calibration_pairs(row(query), &neighbors));
        }
        pairs
    }

    /// Returns what the codes of a photo and of its neighbors, nearest first, each with its true squared distance, say.
    pub(in crate::search) fn calibration_pairs(
        &self,
        photo: &[f32],
        neighbors: &[(&[f32], f32)],
    ) -> Vec<CalibrationPair> {
        let neighbors: Vec<(Code, f32)> =
            neighbors.iter().map(|(vector, squared)| (self.encode(vector), *squared)).collect();
        CalibrationPair::of_neighbors(&self.encode(photo), &neighbors, self.scales()).collect()
    }

    /// Returns this quantizer with residual cosines as near neighbors of the library have them. Codes stay valid.
    pub(in crate::search) fn calibrated(self, pairs: &[CalibrationPair]) -> Self {
        Self { residual_cosines: ResidualCosines::fit(pairs), ..self }
    }

    /// Returns this quantizer without pruning: as nothing is known of neighbors, no candidate is too far by its lower bound.
    pub(in crate::search) fn without_pruning(&self) -> Self {
        let residual_cosines = ResidualCosines { max: ResidualCosines::UNKNOWN.max, ..self.residual_cosines };
        Self { residual_cosines, ..self.clone() }
    }

    /// Returns the code of a vector of [`Self::dim`] finite numbers.
    ///
    /// # Panics
    ///
    /// Where the vector has another dimension; the index checks it.
    pub fn encode(&self, vector: &[f32]) -> Code {
        assert_eq!(vector.len(), self.dim, "the caller checks the dimension");
        let centred: Vec<f32> = vector.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let mut position = [0f32; COMPONENTS];
        kernels::dot_i16(&centred, &self.components, &mut position);
        position.iter_mut().for_each(|along| *along *= self.component_unit);
        // A float that does not fit saturates.
        let level =
            |place: usize, step: f32, most: f32| (position[place] / step).round().clamp(-most, most) as i8;
        let coarse: [i8; COARSE_COMPONENTS] =
            std::array::from_fn(|place| level(place, self.coarse_step, COARSE_MAX));
        let fine: [i8; FINE_COMPONENTS] =
            std::array::from_fn(|place| level(COARSE_COMPONENTS + place, self.fine_step, FINE_MAX));
        let mut quantized = [0f32; COMPONENTS];
        for (place, quantized) in quantized.iter_mut().enumerate() {
            *quantized = match place.checked_sub(COARSE_COMPONENTS) {
                None => f32::from(coarse[place]) * self.coarse_step,
                Some(place) => f32::from(fine[place]) * self.fine_step,
            };
        }
        let squares = |numbers: &[f32]| numbers.iter().map(|x| x * x).sum::<f32>();

        let norm = kernels::norm(&centred).unwrap_or(f32::MAX);
        // By Pythagoras: the components are orthonormal.
        let residual = (norm * norm - squares(&position)).max(0.0);
        let errors: Vec<f32> = position.iter().zip(&quantized).map(|(x, y)| x - y).collect();
        Code {
            coarse: CoarseCode {
                levels: coarse,
                squared_norm: squares(&quantized) + residual,
                residual_norm: (residual + squares(&quantized[COARSE_COMPONENTS..])).sqrt(),
                inverse_norm: kernels::inverse_norm(kernels::norm(vector).unwrap_or(f32::MAX)),
                quantization_error: squares(&errors[..COARSE_COMPONENTS]).sqrt(),
            },
            fine: FineCode {
                nibbles: FineCode::packed(&fine),
                residual_norm: residual.sqrt(),
                quantization_error: squares(&errors).sqrt(),
            },
        }
    }

    /// Returns the numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns how many photos the library had when the quantizer was trained.
    pub fn trained_on(&self) -> u64 {
        self.trained_on
    }

    /// Returns a number that tells this quantizer from others: codes are kept with it. Residual cosines make no difference.
    pub fn version(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for number in self.mean.iter().chain([&self.component_unit, &self.coarse_step, &self.fine_step]) {
            hasher.update(&number.to_le_bytes());
        }
        for number in &self.components {
            hasher.update(&number.to_le_bytes());
        }
        let hash = hasher.finalize();
        hash.as_bytes()[..8].iter().fold(0, |version, &byte| version << 8 | u64::from(byte))
    }

    /// Returns whether every number is finite and every vector as long as encoding relies on: whether a quantizer that was
    /// read from somewhere can be used.
    pub fn is_valid(&self) -> bool {
        let ResidualCosines { all, coarse, max } = self.residual_cosines;
        let numbers =
            [self.component_unit, self.coarse_step, self.fine_step, self.typical_norm, all, coarse, max];
        self.mean.len() == self.dim
            && Some(self.components.len()) == self.dim.checked_mul(COMPONENTS)
            && self.mean.iter().chain(&numbers).all(|x| x.is_finite())
            && self.component_unit > 0.0
            && self.coarse_step > 0.0
            && self.fine_step > 0.0
    }

    pub(in crate::search) fn coarse_step(&self) -> f32 {
        self.coarse_step
    }

    pub(super) fn scales(&self) -> Scales {
        Scales {
            coarse: 2.0 * self.coarse_step * self.coarse_step,
            fine: 2.0 * self.fine_step * self.fine_step,
        }
    }

    pub(super) fn typical_norm(&self) -> f32 {
        self.typical_norm
    }

    pub(super) fn residual_cosines(&self) -> ResidualCosines {
        self.residual_cosines
    }
}

/// Returns orthonormal components as whole numbers, and the unit that they are in: a little less than would be nearest, so
/// that rounding makes no vector longer.
fn rounded(components: &[f32]) -> (Vec<i16>, f32) {
    let greatest = components.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
    let unit = greatest.max(f32::MIN_POSITIVE) / f32::from(i16::MAX);
    // It fits: the greatest becomes the greatest.
    let whole: Vec<i16> = components.iter().map(|x| (x / unit).round() as i16).collect();
    let off = |(x, &whole): (&f32, &i16)| f64::from(x - f32::from(whole) * unit).powi(2);
    // The Frobenius norm of what was rounded: no vector becomes longer by more than this share.
    let longer = components.iter().zip(&whole).map(off).sum::<f64>().sqrt();
    (whole, unit / (1.0 + longer as f32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rounded_components_keep_lengths_and_make_none_longer(
            angle in 0f32..7.0,
            tilt in 0f32..7.0,
            vector in prop::array::uniform3(-5f32..5.0),
        ) {
            let ((s, c), (t, d)) = (angle.sin_cos(), tilt.sin_cos());
            // Two turns, one after the other: all components there are, so that every length is kept.
            let components = [c, -s * d, s * t, s, c * d, -c * t, 0.0, t, d];
            let (whole, unit) = rounded(&components);
            let mut along = [0f32; 3];
            kernels::dot_i16(&vector, &whole, &mut along);
            let length = |vector: &[f32; 3]| vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let (before, after) = (length(&vector), length(&along.map(|x| x * unit)));
            prop_assert!(after <= before * (1.0 + 1e-6) && after >= before * 0.999, "{before} becomes {after}");
        }
    }
}
