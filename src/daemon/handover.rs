//! From one network to another: the former one answers until the index of the configured one is full.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::error::DaemonError;
use super::index;
use crate::ingest::{Former, Queue};
use crate::models::{Catalogue, Model};
use crate::photo::PhotoId;
use crate::search::Index;
use crate::serve::{Networks, Served};
use crate::store::{ModelRecord, Reader, Store, StoreError};
use crate::watch::WatchHandle;

/// How often it is looked whether the index is full.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A network that can answer meanwhile.
pub(super) struct Found {
    pub(super) model: Model,
    pub(super) record: ModelRecord,
    pub(super) index: Index,
}

/// Returns the former network, if the configured one, which has encoded `covered` of the library's `photos`, is far from
/// knowing them all, the other one knows more, and its file is still there.
pub(super) fn find(
    store: &Arc<Store>,
    catalogue: &Catalogue,
    configured: &ModelRecord,
    covered: usize,
    photos: usize,
    max_full_vectors: usize,
) -> Result<Option<Found>, DaemonError> {
    if covered >= photos - photos / 10 {
        return Ok(None);
    }
    let reader = store.read()?;
    // The last one that was begun with is the likeliest to know the library.
    for (digest, record) in reader.models()?.into_iter().rev() {
        if record.id == configured.id {
            continue;
        }
        let model = match catalogue.resolve(Path::new(&record.name)) {
            Ok(model) if model.digest == digest => model,
            _ => continue,
        };
        let index = index::load_index(store, &record, &reader, max_full_vectors)?.0;
        if index.len() > covered {
            return Ok(Some(Found { model, record, index }));
        }
    }
    tracing::info!(
        "photos can be found as they are encoded: no other network knows them that is still installed"
    );
    Ok(None)
}

/// Keeps the former network's index in step with the files. `changed` are photos whose files are others than before.
pub(super) fn follow(
    served: &Served,
    reader: &Reader,
    changed: impl Iterator<Item = (PhotoId, bool)>,
) -> Result<(), StoreError> {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let snapshot = served.index.snapshot();
    for (photo, has_files) in changed {
        match (snapshot.contains(photo), has_files) {
            (true, false) => removed.push(photo),
            (false, true) => {
                let mut values = Vec::new();
                if reader.embedding(&served.model, photo, &mut values)? {
                    added.push((photo, values));
                }
            }
            _ => {}
        }
    }
    drop(snapshot);
    let added = added.iter().map(|(photo, values)| (*photo, values.as_slice()));
    served.index.apply(added, &removed).map_err(|error| StoreError::Follow(error.into()))
}

/// What has to be over before the configured network answers, and whom it concerns.
pub(super) struct Handover {
    pub(super) networks: Arc<Networks>,
    pub(super) former: Arc<Former>,
    pub(super) watch: WatchHandle,
    pub(super) queue: Arc<Queue>,
}

impl Handover {
    /// Waits until every file that is there has been encoded, and lets the configured network answer.
    pub(super) async fn when_full(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            if self.is_full() {
                break;
            }
        }
        if let Some(former) = self.networks.former() {
            let configured = self.networks.configured();
            let away = former.index.len().saturating_sub(configured.index.len());
            tracing::info!(
                photos = configured.index.len(),
                "the network {} answers from now on",
                configured.model.name
            );
            if away > 0 {
                tracing::warn!(
                    "{away} photos that only {} has encoded, on drives that are away, are found again once they return",
                    former.model.name
                );
            }
        }
        self.networks.switch();
        self.former.retire();
        drop(self);
        stop.cancelled().await;
        Ok(())
    }

    fn is_full(&self) -> bool {
        // In this order: what leaves one of them enters the next.
        let watching = *self.watch.activity().borrow();
        watching.busy_roots == 0 && watching.settling == 0 && self.queue.pending() == 0
    }
}
