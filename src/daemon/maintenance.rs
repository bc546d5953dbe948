//! Maintenance of the index: one thread of low priority that does for the search what nobody waits for.
//!
//! It trains a quantizer when the library has outgrown the one it has, writes new codes down, looks what new photos
//! show, compares them with all others so that duplicates are known, has those that may be near looked at side by side
//! ([`second_look`]), and measures recall in idle time. A commit wakes it; at rest it sleeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio_util::sync::CancellationToken;

use super::candidates::{candidates, that_look_same, with_contrast};
use super::error::DaemonError;
use super::index::Written;
use super::priority;
use super::second_look::{self, Eyes, SecondLook};
use crate::memory;
use crate::photo::PhotoId;
use crate::search::{Index, Pair, PhotoSet, Quantizer, SAMPLE, SUFFICIENT_RECALL, SearchError, Snapshot};
use crate::store::{Compared, ModelRecord, NearPair, NearRule, PairRecord, Standing, Store, StoreError};
use crate::threads::{self, Ends};
use crate::words::Words;

/// How often it is looked whether there is time, while something is due: to measure recall, or to compare photos.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long it sleeps where nothing is due. What a commit brings does not wait: it wakes the thread.
const SLEEP: Duration = Duration::from_secs(3600);

/// New codes are written down when so many have come together: to make fewer at the next start takes less than a
/// tenth of a second.
const UNWRITTEN: usize = 1000;

/// Embeddings read at a time to look what photos show: some megabytes.
const LABELLED_AT_ONCE: usize = 512;

/// Candidates looked at before it is asked again whether there is other work.
const LOOKED_AT_ONCE: usize = 64;

/// Photos compared with the library at a time: a share of it, so that a large one is not read more often than about a
/// hundred times, within bounds for memory. What was found is on the disk after each.
fn compared_at_once(photos: usize) -> usize {
    (photos / 100).clamp(2048, 8192)
}

/// Recall is measured anew after this time, or when the library has grown by this share.
const MEASURE_EVERY: Duration = Duration::from_secs(24 * 3600);
const GROWTH: f64 = 1.1;
const RECALL_AT: usize = 10;
const RECALL_QUERIES: usize = 50;

/// What is maintained, and with what.
pub(super) struct Parts {
    pub(super) index: Arc<Index>,
    pub(super) store: Arc<Store>,
    pub(super) model: ModelRecord,
    /// What answers words, which needs the labels of each photo.
    pub(super) words: Option<Arc<Words>>,
    /// What is near; `None` where the network's bands are not known.
    pub(super) near: Option<NearRule>,
    pub(super) written: Written,
    /// Whether there is nothing else to do.
    pub(super) is_idle: Box<dyn Fn() -> bool + Send>,
    /// Whether work waits, since the user or the configuration says so.
    pub(super) is_held: Box<dyn Fn() -> bool + Send>,
    pub(super) stop: CancellationToken,
}

/// The thread.
pub(super) struct MaintenanceThread {
    ends: Ends<Result<(), DaemonError>>,
    waker: Waker,
}

/// Tells the thread that something has changed.
#[derive(Clone)]
pub(super) struct Waker(Sender<()>);

impl Waker {
    pub(super) fn wake(&self) {
        // Full: it has been told and has not looked yet. Disconnected: it has ended.
        let _ = self.0.try_send(());
    }
}

/// What the thread sleeps on.
pub(super) struct WakeReceiver(Receiver<()>);

/// Returns both ends, before there is a thread, so that the store's writer can have the [`Waker`].
pub(super) fn waker() -> (Waker, WakeReceiver) {
    let (sender, receiver) = bounded(1);
    (Waker(sender), WakeReceiver(receiver))
}

impl MaintenanceThread {
    /// Starts the thread.
    pub(super) fn start(
        parts: Parts,
        eyes: Eyes,
        waker: Waker,
        receiver: WakeReceiver,
    ) -> Result<Self, DaemonError> {
        let (starter, ends) = threads::threads();
        let body = move || {
            priority::lower();
            match Maintenance::new(parts, eyes)?.until_stopped(&receiver) {
                Err(DaemonError::Search(SearchError::Cancelled)) => Ok(()),
                ended => ended,
            }
        };
        starter.start("maintenance", body).map_err(DaemonError::StartMaintenance)?;
        Ok(Self { ends, waker })
    }

    /// Waits for the stop, then for the thread to end.
    pub(super) async fn ended(mut self, stop: CancellationToken) -> Result<(), DaemonError> {
        let ended = tokio::select! {
            ended = self.ends.next() => ended,
            () = stop.cancelled() => {
                self.waker.wake();
                self.ends.next().await
            }
        };
        ended.map_or(Ok(()), |ended| ended.result.unwrap_or(Err(DaemonError::MaintenancePanicked)))
    }
}

struct Maintenance {
    parts: Parts,
    second_look: SecondLook,
    compared: PhotoSet,
    /// Photos whose labels are not in the store.
    unwritten: Vec<PhotoId>,
    /// When recall was measured last.
    measured: Option<Instant>,
}

impl Maintenance {
    fn new(parts: Parts, eyes: Eyes) -> Result<Self, DaemonError> {
        let compared = compared_so_far(&parts)?;
        let second_look = SecondLook::new(eyes, Arc::clone(&parts.store));
        Ok(Self { compared, parts, second_look, unwritten: Vec::new(), measured: None })
    }

    fn until_stopped(mut self, receiver: &WakeReceiver) -> Result<(), DaemonError> {
        while !self.parts.stop.is_cancelled() {
            let rest = match self.turn() {
                Ok(rest) => rest,
                // It is done again when there is room: what the store has of it by then counts.
                Err(DaemonError::Store(StoreError::CannotWrite { .. })) => {
                    self.compared = compared_so_far(&self.parts)?;
                    LOOK_EVERY
                }
                Err(error) => return Err(error),
            };
            // A timeout is a turn like any other; the writer may have ended before us.
            let _ = receiver.0.recv_timeout(if self.measuring_is_due() { LOOK_EVERY } else { rest });
        }
        Ok(())
    }

    /// Does what is due. Returns how long it may sleep.
    fn turn(&mut self) -> Result<Duration, DaemonError> {
        if self.parts.index.training_is_due() {
            self.train()?;
        }
        self.write_codes()?;
        self.label()?;
        if self.measuring_is_due() && (self.parts.is_idle)() {
            self.measure()?;
        }
        let Some(near) = self.parts.near else { return Ok(SLEEP) };
        let some_wait = self.compare(near)?;
        let rest = self.look()?;
        Ok(if some_wait { LOOK_EVERY } else { rest })
    }

    fn train(&self) -> Result<(), DaemonError> {
        let begun = Instant::now();
        let Parts { index, stop, .. } = &self.parts;
        index.train(&|| stop.is_cancelled())?;
        tracing::info!(photos = index.len(), "made the sketches anew in {:.1?}", begun.elapsed());
        Ok(())
    }

    /// Writes down the codes of new photos, or all of a new quantizer.
    fn write_codes(&mut self) -> Result<(), DaemonError> {
        let Parts { index, store, model, written, .. } = &mut self.parts;
        let snapshot = index.snapshot();
        let Some(quantizer) = snapshot.quantizer() else { return Ok(()) };
        let version = quantizer.version();
        let is_new = written.version != Some(version);
        let after = if is_new { None } else { written.newest };
        let unwritten = snapshot.ids_after(after);
        if !is_new && unwritten.len() < UNWRITTEN {
            return Ok(());
        }
        let codes = unwritten.iter().filter_map(|&id| Some((id, snapshot.code_of(id)?.to_bytes())));
        store.keep_codes(model, version, codes)?;
        if is_new {
            keep_quantizer(store, model, quantizer)?;
        }
        *written = Written { version: Some(version), newest: unwritten.last().copied().or(written.newest) };
        Ok(())
    }

    /// Looks what new photos show by the network's classifier, so that words find them.
    fn label(&mut self) -> Result<(), DaemonError> {
        let Parts { index, store, model, words, stop, .. } = &self.parts;
        let Some(words) = words else { return Ok(()) };
        let present: PhotoSet = index.snapshot().ids_after(None).into_iter().collect();
        let (kept, gone): (Vec<PhotoId>, Vec<PhotoId>) =
            words.labels.photos().into_iter().partition(|&id| present.contains(id));
        words.labels.remove(&gone);
        let labelled: PhotoSet = kept.into_iter().collect();
        let new: Vec<PhotoId> = present.iter().filter(|&id| !labelled.contains(id)).collect();
        for photos in new.chunks(LABELLED_AT_ONCE) {
            if stop.is_cancelled() {
                return Ok(());
            }
            let mut rows = Vec::with_capacity(photos.len());
            store.read()?.embeddings(model, photos, &mut |photo, values| {
                rows.push((photo, words.head.top_labels(values)));
            })?;
            self.unwritten.extend(rows.iter().map(|(photo, _)| photo));
            words.labels.insert(rows);
            if self.unwritten.len() >= UNWRITTEN {
                let rows =
                    self.unwritten.iter().filter_map(|&id| Some((id, words.labels.get(id)?.to_bytes())));
                store.keep_labels(model, rows)?;
                self.unwritten.clear();
            }
        }
        Ok(())
    }

    /// Compares photos that are new since the last time with all others. Returns whether some may wait.
    fn compare(&mut self, near: NearRule) -> Result<bool, DaemonError> {
        let mut worked = false;
        loop {
            // Comparing a large library takes hours; words shall not wait for that.
            self.label()?;
            let Parts { index, store, model, is_idle, is_held, stop, .. } = &self.parts;
            if is_held() {
                return Ok(true);
            }
            let snapshot = index.snapshot();
            let photos = snapshot.len() as u64;
            let known = store.read()?.compared(model)?.filter(|known| is_in_force(known, near, photos));
            if known.is_none() {
                store.drop_pairs(model)?;
                self.compared = PhotoSet::default();
            }
            let present: PhotoSet = snapshot.ids_after(None).into_iter().collect();
            // One that goes is compared again when it returns: others may have come meanwhile.
            let gone = self.compared.keep_only(&present);
            let seen = store.read()?.appearances()?;
            // What a photo looks like may become known yet, while files are read.
            let (mut new, mut waiting) = (PhotoSet::default(), false);
            let idle = is_idle();
            for id in uncompared(&snapshot, &self.compared).take(compared_at_once(snapshot.len())) {
                let is_ready = idle || seen.has(id)?;
                waiting |= !is_ready;
                if is_ready {
                    new.insert(id);
                }
            }
            if new.is_empty() && gone == 0 {
                if worked && idle {
                    memory::give_back();
                }
                return Ok(waiting);
            }
            worked = true;
            let cancelled = || stop.is_cancelled();
            let reach = near.candidates.distance.max(near.near.distance);
            let near_by = snapshot.pairs_of(&new, &self.compared, reach, model.metric, &cancelled)?;
            let pairs = with_contrast(snapshot.shares(&near_by, model.metric, &cancelled)?, &seen)?;
            new.iter().for_each(|id| _ = self.compared.insert(id));
            let same = that_look_same(&seen, &new, &self.compared)?;
            let same = snapshot.distances(&same, model.metric, &cancelled)?;
            let photos = known.map_or(photos, |known| known.photos);
            let compared = Compared { rule: near, photos, runs: self.compared.runs() };
            let candidates = candidates(pairs, near).into_iter();
            let candidates = candidates.map(|(pair, share)| near_pair(pair, Standing::Candidate(share)));
            // Last: what looks the same need not be looked at again.
            let same = same.into_iter().map(|pair| near_pair(pair, Standing::LooksSame));
            store.keep_pairs(model, candidates.chain(same), &compared)?;
        }
    }

    /// Has candidates looked at in idle time. Returns how long it may sleep.
    fn look(&mut self) -> Result<Duration, DaemonError> {
        let Self { parts, second_look, .. } = self;
        let Parts { index, store, model, is_idle, is_held, stop, .. } = parts;
        let is_stopped = || stop.is_cancelled();
        let (mut after, mut looked, mut left) = (None, false, false);
        while !is_stopped() {
            let candidates = store.read()?.candidates(model, after.as_ref(), LOOKED_AT_ONCE)?;
            let Some(last) = candidates.last() else {
                second_look.rest();
                if looked {
                    memory::give_back();
                }
                return Ok(if left { second_look::AGAIN } else { SLEEP });
            };
            if is_held() || !is_idle() {
                return Ok(LOOK_EVERY);
            }
            after = Some(*last);
            let snapshot = index.snapshot();
            // One that has gone is compared again when it returns.
            let (there, gone): (Vec<NearPair>, Vec<NearPair>) = candidates
                .iter()
                .partition(|pair| snapshot.contains(pair.first) && snapshot.contains(pair.second));
            let decided = second_look.decide(&there, &is_stopped)?;
            left |= decided.len() < there.len();
            looked |= !decided.is_empty();
            let decided: Vec<_> =
                decided.into_iter().chain(gone.into_iter().map(|pair| (pair, None))).collect();
            if !decided.is_empty() {
                store.decide_pairs(model, decided)?;
            }
        }
        Ok(SLEEP)
    }

    fn measuring_is_due(&self) -> bool {
        let index = &self.parts.index;
        if index.quantizer().is_none() {
            return false;
        }
        match (index.recall(), self.measured) {
            (Some(recall), Some(at)) => {
                at.elapsed() > MEASURE_EVERY || index.len() as f64 > recall.photos as f64 * GROWTH
            }
            _ => true,
        }
    }

    /// Measures recall, and sees to it that the quantizer suits the library.
    fn measure(&mut self) -> Result<(), DaemonError> {
        let Parts { index, store, model, stop, .. } = &self.parts;
        let cancelled = || stop.is_cancelled();
        if let Some(quantizer) = index.calibrate(&cancelled)?
            && self.parts.written.version == Some(quantizer.version())
        {
            keep_quantizer(store, model, &quantizer)?;
        }
        let turn = self.measured.map_or(0, |at| at.elapsed().as_secs() as usize);
        let recall = index.measure_recall(RECALL_AT, model.metric, RECALL_QUERIES, turn, &cancelled)?;
        self.measured = Some(Instant::now());
        memory::give_back();
        tracing::debug!(recall = recall.share, photos = recall.photos, "measured recall");
        if recall.share < SUFFICIENT_RECALL {
            tracing::warn!(recall = recall.share, "the sketches do not suit the library any more");
            // Training on the same photos once more would give the same quantizer.
            let trained_on = index.quantizer().map_or(0, |quantizer| quantizer.trained_on());
            if index.len() as f64 > trained_on as f64 * GROWTH {
                self.train()?;
                self.write_codes()?;
            }
        }
        Ok(())
    }
}

/// Returns the photos whose pairs the store has.
fn compared_so_far(parts: &Parts) -> Result<PhotoSet, StoreError> {
    let known = parts.store.read()?.compared(&parts.model)?;
    Ok(match (known, parts.near) {
        (Some(known), Some(near)) if is_in_force(&known, near, parts.index.len() as u64) => {
            known.runs.iter().flat_map(|(first, last)| (first.0..=last.0).map(PhotoId)).collect()
        }
        _ => PhotoSet::default(),
    })
}

fn keep_quantizer(store: &Store, model: &ModelRecord, quantizer: &Quantizer) -> Result<(), StoreError> {
    let bytes = postcard::to_stdvec(quantizer)
        .map_err(|source| StoreError::Unwritable { what: "the quantizer of the sketches", source })?;
    store.keep_quantizer(model, quantizer.version(), &bytes)
}

/// Says whether pairs were found by this rule. A small library that has doubled since has other neighborhoods.
fn is_in_force(known: &Compared, near: NearRule, photos: u64) -> bool {
    let is_outgrown = known.photos < SAMPLE as u64 && photos >= 2 * known.photos.max(1);
    known.rule == near && !is_outgrown
}

fn near_pair(Pair { first, second, distance }: Pair, standing: Standing) -> NearPair {
    NearPair { first, second, record: PairRecord { distance, standing } }
}

/// Returns the photos that are still to be compared.
fn uncompared(snapshot: &Snapshot, compared: &PhotoSet) -> impl Iterator<Item = PhotoId> {
    snapshot.ids_after(None).into_iter().filter(|&id| !compared.contains(id))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::decode::{Decoders, Limits, Program};
    use crate::photo::{Metric, ModelDigest};
    use crate::store::Reach;
    use crate::thumbnails::{Cache, Thumbnails};

    /// Sees no photo.
    fn blind(folder: &Path) -> Eyes {
        Eyes {
            thumbnails: Arc::new(Thumbnails::new(Cache::new(folder.join("kept"), 0))),
            decoders: Decoders::new(Program::this(), Limits::default()),
            place: Box::new(|_| None),
        }
    }

    #[test]
    fn photos_are_compared_once_nothing_holds_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("store.redb")).unwrap());
        let model = store.ensure_model(ModelDigest([7; 32]), "of the test", 2, Metric::L2).unwrap();
        let index = Arc::new(Index::new(2));
        index.apply([(PhotoId(1), &[0.0, 1.0][..]), (PhotoId(2), &[0.0, 1.5])], &[]).unwrap();
        let within = Reach { distance: 1.0, share: f32::INFINITY };
        let near = NearRule { candidates: within, near: within, judge: 1 };
        let held = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&held);
        let parts = Parts {
            index,
            store: Arc::clone(&store),
            model: model.clone(),
            words: None,
            near: Some(near),
            written: Written { version: None, newest: None },
            is_idle: Box::new(|| true),
            is_held: Box::new(move || asked.load(Ordering::Relaxed)),
            stop: CancellationToken::new(),
        };
        let mut maintenance = Maintenance::new(parts, blind(folder.path())).unwrap();

        assert!(maintenance.compare(near).unwrap(), "they wait");
        assert!(store.read().unwrap().compared(&model).unwrap().is_none());
        held.store(false, Ordering::Relaxed);
        assert!(!maintenance.compare(near).unwrap(), "none waits any more");
        let compared = store.read().unwrap().compared(&model).unwrap().unwrap();
        assert_eq!(compared.runs, [(PhotoId(1), PhotoId(2))]);
    }
}
