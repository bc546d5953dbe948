//! Which matches of a search are near: by their distance, and for how close together photos lie around.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::query::Query;
use crate::models::Bands;
use crate::photo::{Metric, PhotoId};
use crate::search::{Neighbor, Neighborhood, SearchError, Snapshot, share};

/// Matches looked at. Where more lie within the distance, they lie close together, and those beyond are not near.
const MOST: usize = 100;

/// By which share a library may change before its neighborhood is read anew.
const GROWTH: f64 = 1.1;

/// The neighborhood of the network that answers, read when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Neighborhoods(Mutex<Option<(u32, Arc<Neighborhood>)>>);

/// What decides whether a match is near.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) neighborhoods: &'a Neighborhoods,
    /// Number of the network that answers.
    pub(super) model: u32,
    /// What its distances mean, where that is known.
    pub(super) bands: Option<Bands>,
}

impl Around<'_> {
    /// Returns the photos among the neighbors, nearest first, that are near the query. `None` where the distance alone decides.
    pub(super) fn near(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        neighbors: &[Neighbor],
        metric: Metric,
    ) -> Result<Option<HashSet<PhotoId>>, SearchError> {
        let Some(bands) = self.bands else { return Ok(None) };
        let Some(most) = bands.near_share else { return Ok(None) };
        let within = neighbors.iter().take_while(|neighbor| neighbor.distance <= bands.near).take(MOST);
        let mut within: Vec<Neighbor> = within.copied().collect();
        if within.is_empty() {
            return Ok(Some(HashSet::new()));
        }
        within.sort_unstable_by_key(|neighbor| neighbor.id);
        let neighborhood = self.neighborhoods.of(self.model, snapshot, metric)?;
        let around_query = neighborhood.radius(&query.photos, &query.embedding.0)?;
        let ids: Vec<PhotoId> = within.iter().map(|neighbor| neighbor.id).collect();
        let (mut near, mut failed) = (HashSet::new(), Ok(()));
        snapshot.fetch(&ids, &mut |id, vector| {
            let distance =
                within.binary_search_by_key(&id, |neighbor| neighbor.id).map(|at| within[at].distance);
            match (distance, neighborhood.radius(&[id], vector)) {
                (Ok(distance), Ok(around)) if share(distance, around_query, around) <= most => {
                    near.insert(id);
                }
                (_, Err(error)) => failed = Err(error),
                _ => {}
            }
        })?;
        failed.map(|()| Some(near))
    }
}

impl Neighborhoods {
    fn of(&self, model: u32, snapshot: &Snapshot, metric: Metric) -> Result<Arc<Neighborhood>, SearchError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let photos = snapshot.len() as f64;
        let is_fresh = |of: &Neighborhood| {
            let then = of.photos() as f64;
            of.metric() == metric && photos <= then * GROWTH && then <= photos * GROWTH
        };
        match kept {
            Some((of, neighborhood)) if of == model && is_fresh(&neighborhood) => Ok(neighborhood),
            // Two calls may both read it; what they read is the same.
            _ => {
                let read = Arc::new(snapshot.neighborhood(metric)?);
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((model, Arc::clone(&read)));
                Ok(read)
            }
        }
    }
}
