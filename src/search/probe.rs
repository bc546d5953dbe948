//! A query vector, checked and prepared for one metric.

use super::error::SearchError;
use super::kernels;
use crate::photo::Metric;

/// What a full vector is measured against.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    metric: Metric,
    /// The query; brought to length 1 for [`Metric::Cosine`], unless it has no direction.
    vector: Vec<f32>,
    has_direction: bool,
}

impl Probe {
    /// Checks the query against the dimension of the index.
    pub fn new(query: &[f32], dim: usize, metric: Metric) -> Result<Self, SearchError> {
        if query.len() != dim {
            return Err(SearchError::WrongDimension { expected: dim, found: query.len() });
        }
        let length = kernels::length(query).ok_or(SearchError::QueryNotFinite)?;
        let scale = kernels::to_unit(length);
        let vector = match metric {
            Metric::L2 => query.to_vec(),
            Metric::Cosine => query.iter().map(|x| x * scale).collect(),
        };
        Ok(Self { metric, vector, has_direction: scale > 0.0 })
    }

    /// Writes the distance to each of `out.len()` rows. `to_unit` holds, for each row, the factor that brings it to
    /// length 1, or 0 where it has no direction; such a row is at cosine distance 1 from everything.
    pub fn distances(&self, rows: &[f32], to_unit: &[f32], out: &mut [f32]) {
        match self.metric {
            Metric::L2 => {
                kernels::squared_l2(&self.vector, rows, out);
                out.iter_mut().for_each(|out| *out = out.sqrt());
            }
            Metric::Cosine if self.has_direction => {
                kernels::squared_l2_scaled(&self.vector, rows, to_unit, out);
                for (out, &scale) in out.iter_mut().zip(to_unit) {
                    *out = if scale == 0.0 { 1.0 } else { (*out * 0.5).min(2.0) };
                }
            }
            Metric::Cosine => out.fill(1.0),
        }
    }

    /// Returns the distance to one vector.
    pub fn distance(&self, vector: &[f32]) -> f32 {
        let to_unit = match self.metric {
            Metric::L2 => 1.0,
            Metric::Cosine => kernels::to_unit(kernels::length(vector).unwrap_or(0.0)),
        };
        let mut distance = [f32::NAN];
        self.distances(vector, &[to_unit], &mut distance);
        distance[0]
    }
}
