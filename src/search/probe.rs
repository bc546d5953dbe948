//! A query vector, checked and prepared for one metric.

use super::error::SearchError;
use super::kernels;
use crate::photo::Metric;

/// Numbers of a vector that are read before it is asked whether the others still matter.
const READ_AT_ONCE: usize = 256;

/// More than the order in which a sum is made can change it.
const ROUNDED_UP: f32 = 1.001;

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

    /// Returns the distance to a vector that `to_unit` brings to length 1, unless it is beyond `limit`: most vectors that
    /// are show it before all of their numbers have been read.
    pub fn distance_within(&self, vector: &[f32], to_unit: f32, limit: f32) -> Option<f32> {
        let bound = ROUNDED_UP
            * match self.metric {
                Metric::L2 => limit * limit,
                Metric::Cosine => 2.0 * limit,
            };
        let mut squared = 0.0;
        if self.metric == Metric::L2 || (self.has_direction && to_unit > 0.0) {
            for (query, vector) in self.vector.chunks(READ_AT_ONCE).zip(vector.chunks(READ_AT_ONCE)) {
                let mut more = [0.0];
                match self.metric {
                    Metric::L2 => kernels::squared_l2(query, vector, &mut more),
                    Metric::Cosine => kernels::squared_l2_scaled(query, vector, &[to_unit], &mut more),
                }
                squared += more[0];
                if squared > bound {
                    return None;
                }
            }
        }
        // Summed up as it is everywhere else, so that the distance is the same to the last bit.
        let mut distance = [f32::NAN];
        self.distances(vector, &[to_unit], &mut distance);
        Some(distance[0]).filter(|distance| *distance <= limit)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_distance_within_a_limit_is_the_distance(
            query in prop::collection::vec(-1f32..1.0, 3 * READ_AT_ONCE - 50),
            mut vector in prop::collection::vec(-1f32..1.0, 3 * READ_AT_ONCE - 50),
            likeness in 0f32..1.0,
            share in 0.5f32..1.5,
            metric in prop::sample::select(vec![Metric::L2, Metric::Cosine]),
            is_nothing in prop::bool::weighted(0.1),
        ) {
            for (x, of_query) in vector.iter_mut().zip(&query) {
                *x = if is_nothing { 0.0 } else { likeness * of_query + (1.0 - likeness) * *x };
            }
            let probe = Probe::new(&query, query.len(), metric).unwrap();
            let to_unit = kernels::to_unit(kernels::length(&vector).unwrap());
            let distance = probe.distance(&vector);
            for limit in [share * distance, distance, distance.next_down()] {
                let expected = Some(distance).filter(|distance| *distance <= limit);
                prop_assert_eq!(probe.distance_within(&vector, to_unit, limit), expected);
            }
        }
    }
}
