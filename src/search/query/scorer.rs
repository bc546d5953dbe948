//! A query vector, checked and prepared for one metric.

use crate::photo::Metric;
use crate::search::error::SearchError;
use crate::search::kernels;

/// Numbers of a vector that are read before it is asked whether the others still matter.
const READ_BEFORE_EXIT: usize = 256;

/// More than the order in which a sum is made can change it.
const SUMMATION_MARGIN: f32 = 1.001;

/// What a full vector is measured against.
#[derive(Clone, Debug)]
pub struct Scorer {
    metric: Metric,
    /// The query; brought to norm 1 for [`Metric::Cosine`], unless it has no direction.
    vector: Vec<f32>,
    has_direction: bool,
}

impl Scorer {
    /// Checks the query against the dimension of the index.
    pub fn new(query: &[f32], dim: usize, metric: Metric) -> Result<Self, SearchError> {
        if query.len() != dim {
            return Err(SearchError::WrongDimension { expected: dim, found: query.len() });
        }
        let scale = kernels::inverse_norm(kernels::norm(query).ok_or(SearchError::QueryNotFinite)?);
        let vector = match metric {
            Metric::L2 => query.to_vec(),
            Metric::Cosine => query.iter().map(|x| x * scale).collect(),
        };
        Ok(Self { metric, vector, has_direction: scale > 0.0 })
    }

    /// Writes the distance to each of `out.len()` rows of `dim` numbers. `inverse_norms` has 1 / norm of each, or 0 where it
    /// has no direction; such a row is at cosine distance 1 from everything.
    pub fn distances(&self, rows: &[f32], inverse_norms: &[f32], out: &mut [f32]) {
        match self.metric {
            Metric::L2 => {
                kernels::squared_l2(&self.vector, rows, out);
                out.iter_mut().for_each(|out| *out = out.sqrt());
            }
            Metric::Cosine if self.has_direction => {
                kernels::squared_l2_scaled(&self.vector, rows, inverse_norms, out);
                for (out, &scale) in out.iter_mut().zip(inverse_norms) {
                    *out = if scale == 0.0 { 1.0 } else { (*out * 0.5).min(2.0) };
                }
            }
            Metric::Cosine => out.fill(1.0),
        }
    }

    /// Returns the distance to a vector of this inverse norm, unless it is beyond `limit`: most vectors that
    /// are show it before all of their numbers have been read.
    pub fn distance_within(&self, vector: &[f32], inverse_norm: f32, limit: f32) -> Option<f32> {
        let bound = SUMMATION_MARGIN
            * match self.metric {
                Metric::L2 => limit * limit,
                Metric::Cosine => 2.0 * limit,
            };
        let mut squared = 0.0;
        if self.metric == Metric::L2 || (self.has_direction && inverse_norm > 0.0) {
            for (query, vector) in self.vector.chunks(READ_BEFORE_EXIT).zip(vector.chunks(READ_BEFORE_EXIT)) {
                let mut more = [0.0];
                match self.metric {
                    Metric::L2 => kernels::squared_l2(query, vector, &mut more),
                    Metric::Cosine => kernels::squared_l2_scaled(query, vector, &[inverse_norm], &mut more),
                }
                squared += more[0];
                if squared > bound {
                    return None;
                }
            }
        }
        // Summed up as it is everywhere else, so that the distance is the same to the last bit.
        let mut distance = [f32::NAN];
        self.distances(vector, &[inverse_norm], &mut distance);
        Some(distance[0]).filter(|distance| *distance <= limit)
    }

    /// Returns the distance to one vector.
    pub fn distance(&self, vector: &[f32]) -> f32 {
        let inverse_norm = match self.metric {
            Metric::L2 => 1.0,
            Metric::Cosine => kernels::inverse_norm(kernels::norm(vector).unwrap_or(0.0)),
        };
        let mut distance = [f32::NAN];
        self.distances(vector, &[inverse_norm], &mut distance);
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
            query in prop::collection::vec(-1f32..1.0, 3 * READ_BEFORE_EXIT - 50),
            mut vector in prop::collection::vec(-1f32..1.0, 3 * READ_BEFORE_EXIT - 50),
            likeness in 0f32..1.0,
            share in 0.5f32..1.5,
            metric in prop::sample::select(vec![Metric::L2, Metric::Cosine]),
            is_nothing in prop::bool::weighted(0.1),
        ) {
            for (x, of_query) in vector.iter_mut().zip(&query) {
                *x = if is_nothing { 0.0 } else { likeness * of_query + (1.0 - likeness) * *x };
            }
            let scorer = Scorer::new(&query, query.len(), metric).unwrap();
            let inverse_norm = kernels::inverse_norm(kernels::norm(&vector).unwrap());
            let distance = scorer.distance(&vector);
            for limit in [share * distance, distance, distance.next_down()] {
                let expected = Some(distance).filter(|distance| *distance <= limit);
                prop_assert_eq!(scorer.distance_within(&vector, inverse_norm, limit), expected);
            }
        }
    }
}
