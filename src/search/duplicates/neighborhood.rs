//! How close together photos lie around a photo: what a distance is held against before two photos count as near.
//!
//! Where thousands of receipts lie side by side, the next receipt is nearer than the next shot of a scene is elsewhere. So a
//! distance is divided by the radius of both photos' neighborhoods: the distance to the tenth nearest of at most two
//! thousand photos. A library of any size is looked at through so few, evenly from all of it, so that the radius is the
//! same whether it has two thousand photos or a million, and a burst is not a neighborhood of its own.

use super::pairs::Pair;
use crate::photo::{Metric, PhotoId};
use crate::search::error::SearchError;
use crate::search::index::Snapshot;
use crate::search::kernels;
use crate::search::query::Scorer;

/// Photos that a library is looked at through.
pub const SAMPLE: usize = 2000;

/// Which of the nearest is at the radius.
const NEIGHBOR: usize = 10;

/// The photos of a library that stand for all.
#[derive(Debug)]
pub struct Neighborhood {
    dim: usize,
    metric: Metric,
    photos: usize,
    ids: Vec<PhotoId>,
    rows: Vec<f32>,
    inverse_norms: Vec<f32>,
}

impl Snapshot {
    /// Reads the photos that stand for all.
    ///
    /// # Errors
    /// [`SearchError::Vectors`].
    pub fn neighborhood(&self, metric: Metric) -> Result<Neighborhood, SearchError> {
        let all = self.ids_after(None);
        let count = all.len().min(SAMPLE);
        let sample: Vec<PhotoId> = (0..count).map(|place| all[place * all.len() / count]).collect();
        let mut read = Neighborhood {
            dim: self.dim,
            metric,
            photos: all.len(),
            ids: Vec::with_capacity(count),
            rows: Vec::with_capacity(count * self.dim),
            inverse_norms: Vec::with_capacity(count),
        };
        self.fetch(&sample, &mut |id, vector| {
            read.ids.push(id);
            read.rows.extend_from_slice(vector);
            read.inverse_norms.push(kernels::inverse_norm(kernels::norm(vector).unwrap_or(0.0)));
        })?;
        Ok(read)
    }

    /// Returns for each pair its distance as a share of the mean radius around its photos; 0 where so few photos are known that
    /// there is no radius. Pairs of photos that have gone are left out.
    ///
    /// # Errors
    /// [`SearchError::Vectors`] and [`SearchError::Cancelled`].
    pub fn shares(
        &self,
        pairs: &[Pair],
        metric: Metric,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<(Pair, f32)>, SearchError> {
        let neighborhood = self.neighborhood(metric)?;
        let mut photos: Vec<PhotoId> = pairs.iter().flat_map(|pair| [pair.first, pair.second]).collect();
        photos.sort_unstable();
        photos.dedup();
        let mut radii: Vec<(PhotoId, Option<f32>)> = Vec::with_capacity(photos.len());
        for photos in photos.chunks(64) {
            if cancelled() {
                return Err(SearchError::Cancelled);
            }
            let mut failed = Ok(());
            self.fetch(photos, &mut |id, vector| match neighborhood.radius(&[id], vector) {
                Ok(radius) => radii.push((id, radius)),
                Err(error) => failed = Err(error),
            })?;
            failed?;
        }
        radii.sort_unstable_by_key(|(id, _)| *id);
        let radius = |id| radii.binary_search_by_key(&id, |(id, _)| *id).ok().map(|place| radii[place].1);
        let of_pair = |pair: &Pair| {
            let share = share(pair.distance, radius(pair.first)?, radius(pair.second)?);
            Some((*pair, share))
        };
        Ok(pairs.iter().filter_map(of_pair).collect())
    }
}

/// Returns a distance as a share of the mean of two radii; 0 where one of them is not known.
pub fn share(distance: f32, one: Option<f32>, other: Option<f32>) -> f32 {
    match one.zip(other) {
        // Copies of copies all around: whatever is at no distance is at no share of it either.
        Some((one, other)) if distance > 0.0 => distance / (one * other).sqrt(),
        _ => 0.0,
    }
}

impl Neighborhood {
    /// Returns how many photos the library had.
    pub fn photos(&self) -> usize {
        self.photos
    }

    /// Returns the metric of its distances.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Returns the distance of a vector to its tenth nearest, itself and what else it stands for left out; `None` where there are
    /// not as many others.
    ///
    /// # Errors
    /// [`SearchError::WrongDimension`] and [`SearchError::QueryNotFinite`].
    pub fn radius(&self, itself: &[PhotoId], vector: &[f32]) -> Result<Option<f32>, SearchError> {
        let scorer = Scorer::new(vector, self.dim, self.metric)?;
        let mut distances = vec![0.0; self.ids.len()];
        scorer.distances(&self.rows, &self.inverse_norms, &mut distances);
        let mut others: Vec<f32> = distances
            .into_iter()
            .zip(&self.ids)
            .filter(|(_, other)| !itself.contains(other))
            .map(|(d, _)| d)
            .collect();
        if others.len() < NEIGHBOR {
            return Ok(None);
        }
        let (_, radius, _) = others.select_nth_unstable_by(NEIGHBOR - 1, f32::total_cmp);
        Ok(Some(*radius))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Index;

    /// Photos on a line.
    fn snapshot(places: &[f32]) -> Snapshot {
        let index = Index::new(1);
        let vectors: Vec<[f32; 1]> = places.iter().map(|place| [*place]).collect();
        let photos = (0..).map(PhotoId).zip(vectors.iter().map(|vector| &vector[..]));
        index.apply(photos, &[]).unwrap();
        index.snapshot()
    }

    fn shares(places: &[f32], pairs: &[(u64, u64)]) -> Vec<f32> {
        let pairs: Vec<Pair> = pairs
            .iter()
            .map(|&(first, second)| Pair {
                first: PhotoId(first),
                second: PhotoId(second),
                distance: (places[first as usize] - places[second as usize]).abs(),
            })
            .collect();
        let shares = snapshot(places).shares(&pairs, Metric::L2, &|| false).unwrap();
        shares.into_iter().map(|(_, share)| share).collect()
    }

    #[test]
    fn a_distance_counts_for_less_among_many_neighbors() {
        // Fifteen in a heap, a step of 1 apart, and a row of fifteen, a step of 100 apart.
        let heap = (0..15).map(|place| place as f32);
        let row = (0..15).map(|place| 10_000.0 + 100.0 * place as f32);
        let mut places: Vec<f32> = heap.chain(row).collect();
        places.push(10_001.0);
        let found = shares(&places, &[(0, 1), (15, 30)]);
        assert!(found[0] > 0.09 && found[1] < 0.002, "{found:?}");
    }

    #[test]
    fn among_few_there_is_no_radius_and_copies_are_at_no_share_of_any() {
        assert_eq!(shares(&[0.0, 1.0, 5.0], &[(0, 1)]), [0.0]);
        assert_eq!(shares(&[3.0; 20], &[(0, 1)]), [0.0]);
    }

    #[test]
    fn a_photo_that_has_gone_is_in_no_pair() {
        let gone = Pair { first: PhotoId(0), second: PhotoId(99), distance: 1.0 };
        assert!(snapshot(&[0.0; 12]).shares(&[gone], Metric::L2, &|| false).unwrap().is_empty());
    }
}
