//! The basis of a library: the axes along which its photos differ, learnt from a sample of its vectors.
//!
//! Two vectors are estimated to be `|p - q|² + r² + s² - 2 * kinship * r * s` apart (squared), with `p` and `q` their
//! positions along the components, `r` and `s` their lengths outside of them, and `kinship` the cosine between what lies
//! outside, which is learnt from pairs of near neighbors. On MobileNetV2 embeddings of 22,538 photos, leaving the
//! outside out finds 0.957 of the ten nearest among the best 20 (cosine: 0.950); with it, 0.976 (0.971).

use serde::{Deserialize, Serialize};

use super::estimate;
use super::kernels;
use super::principal;
use super::sketch::{COMPONENTS, LEAD, Lead, Rest, Sketch};

/// Standard deviations of the first component that the steps of a byte reach, to either side.
const REACH: f32 = 4.0;

/// Vectors to learn from: more do not move the components noticeably.
pub(super) const SAMPLE: usize = 4096;

/// What a library's vectors have in common. Sketches of one basis are of no use in another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    dim: usize,
    learnt_from: u64,
    mean: Vec<f32>,
    /// [`COMPONENTS`] rows of `dim` numbers, orthonormal; zeros where there are fewer components.
    directions: Vec<f32>,
    step: f32,
    typical_length: f32,
    kinship: f32,
    lead_kinship: f32,
}

impl Basis {
    /// Learns the basis of a library of `learnt_from` photos from some of its vectors, rows of `dim` numbers. Takes a
    /// second or two for [`SAMPLE`] rows of 1280.
    pub(super) fn learn(sample: &[f32], dim: usize, learnt_from: u64) -> Self {
        let principal = principal::components(sample, dim, COMPONENTS);
        let mut directions = principal.directions;
        directions.resize(COMPONENTS * dim, 0.0);
        let rows = (sample.len() / dim.max(1)).max(1);
        let typical_length =
            sample.chunks_exact(dim.max(1)).filter_map(kernels::length).sum::<f32>() / rows as f32;
        let deviation = principal.variances.first().copied().unwrap_or(0.0).sqrt();
        // One photo many times over has no deviation; there must be a step all the same.
        let reach = (REACH * deviation).max(typical_length * 1e-3).max(1e-12);
        let mut basis = Self {
            dim,
            learnt_from,
            mean: principal.mean,
            directions,
            step: reach / f32::from(i8::MAX),
            typical_length,
            kinship: 0.0,
            lead_kinship: 0.0,
        };
        (basis.lead_kinship, basis.kinship) = basis.kinships(sample);
        basis
    }

    /// Returns the cosines of near neighbors outside of the leading and of all components: those with which the
    /// estimates of some photos' distances to their ten nearest add up to the true ones.
    fn kinships(&self, sample: &[f32]) -> (f32, f32) {
        const PROBES: usize = 48;
        const NEIGHBORS: usize = 10;
        let rows = sample.len() / self.dim.max(1);
        let row = |place: usize| &sample[place * self.dim..][..self.dim];
        let mut distances = vec![0f32; rows];
        let (mut lead, mut all) = ([0f64; 2], [0f64; 2]);
        for probe in (0..rows).step_by((rows / PROBES).max(1)) {
            kernels::squared_l2(row(probe), sample, &mut distances);
            let mut order: Vec<usize> = (0..rows).filter(|&other| distances[other] > 0.0).collect();
            order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
            let here = self.sketch(row(probe));
            for &near in order.iter().take(NEIGHBORS) {
                let there = self.sketch(row(near));
                let true_distance = f64::from(distances[near]);
                let steps = f64::from(self.step) * f64::from(self.step);
                let lead_dot = f64::from(estimate::lead_dot(&here.lead, &there.lead));
                let dot = lead_dot + f64::from(estimate::rest_dot(&here.rest, &there.rest));
                let unrelated = f64::from(here.lead.bias) + f64::from(there.lead.bias);
                lead[0] += unrelated - 2.0 * steps * lead_dot - true_distance;
                lead[1] += 2.0 * f64::from(here.lead.outside) * f64::from(there.lead.outside);
                all[0] += unrelated - 2.0 * steps * dot - true_distance;
                all[1] += 2.0 * f64::from(here.rest.outside) * f64::from(there.rest.outside);
            }
        }
        let cosine = |[excess, lengths]: [f64; 2]| {
            if lengths > 0.0 { (excess / lengths).clamp(0.0, 1.0) as f32 } else { 0.0 }
        };
        (cosine(lead), cosine(all))
    }

    /// Returns the sketch of a vector of [`Self::dim`] finite numbers.
    pub fn sketch(&self, vector: &[f32]) -> Sketch {
        assert_eq!(vector.len(), self.dim, "the caller checks the dimension");
        let centred: Vec<f32> = vector.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let mut position = [0f32; COMPONENTS];
        kernels::dot(&centred, &self.directions, &mut position);
        // A float that does not fit saturates.
        let codes = position.map(|x| (x / self.step).round().clamp(-127.0, 127.0) as i8);
        let stepped = codes.map(|code| f32::from(code) * self.step);
        let squares = |numbers: &[f32]| numbers.iter().map(|x| x * x).sum::<f32>();

        let distance = kernels::length(&centred).unwrap_or(f32::MAX);
        let outside = (distance * distance - squares(&position)).max(0.0);
        let missed: Vec<f32> = position.iter().zip(&stepped).map(|(x, y)| x - y).collect();
        Sketch {
            lead: Lead {
                codes: std::array::from_fn(|place| codes[place]),
                bias: squares(&stepped) + outside,
                outside: (outside + squares(&stepped[LEAD..])).sqrt(),
                to_unit: kernels::to_unit(kernels::length(vector).unwrap_or(f32::MAX)),
                slack: squares(&missed).sqrt(),
            },
            rest: Rest { codes: std::array::from_fn(|place| codes[LEAD + place]), outside: outside.sqrt() },
        }
    }

    /// Returns the numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns how many photos the library had when the basis was learnt.
    pub fn learnt_from(&self) -> u64 {
        self.learnt_from
    }

    /// Returns a number that tells this basis from others: sketches are kept with it.
    pub fn version(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for number in
            self.mean.iter().chain(&self.directions).chain([&self.step, &self.kinship, &self.lead_kinship])
        {
            hasher.update(&number.to_le_bytes());
        }
        let hash = hasher.finalize();
        hash.as_bytes()[..8].iter().fold(0, |version, &byte| version << 8 | u64::from(byte))
    }

    /// Returns whether every number is finite and every length is the one that sketching relies on: whether a basis
    /// that was read from somewhere can be used.
    pub fn is_sound(&self) -> bool {
        let numbers = [self.step, self.typical_length, self.kinship, self.lead_kinship];
        self.mean.len() == self.dim
            && Some(self.directions.len()) == self.dim.checked_mul(COMPONENTS)
            && self.mean.iter().chain(&self.directions).chain(&numbers).all(|x| x.is_finite())
            && self.step > 0.0
    }

    pub(super) fn step(&self) -> f32 {
        self.step
    }

    pub(super) fn typical_length(&self) -> f32 {
        self.typical_length
    }

    /// For the leading components, and for all.
    pub(super) fn kinship(&self) -> (f32, f32) {
        (self.lead_kinship, self.kinship)
    }
}
