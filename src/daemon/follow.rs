//! What follows each commit, on the thread that made it: facts, index, and then the files are out of the works.

use std::sync::Arc;

use tokio::sync::watch;

use super::handover;
use super::maintenance::Waker;
use crate::ingest::{self, Again, Progress, Queue, Step};
use crate::photo::Embedding;
use crate::search::FactTable;
use crate::serve::Networks;
use crate::store::{Committed, ModelRecord, Store, StoreError, Write, Writer, WriterHandle};

/// What follows each commit.
pub(super) struct Follow {
    pub(super) store: Arc<Store>,
    pub(super) networks: Arc<Networks>,
    pub(super) facts: Arc<FactTable>,
    pub(super) queue: Arc<Queue>,
    pub(super) progress: Arc<Progress>,
    pub(super) again: Arc<Again>,
    pub(super) waker: Waker,
    /// The number of the last event that can be told.
    pub(super) last_event: watch::Sender<u64>,
}

impl Follow {
    /// Facts come first, so that whatever is searchable can be filtered; then the index, and then the files are out of
    /// the works.
    fn commit(&self, writes: &[Write], committed: &Committed) -> Result<(), StoreError> {
        if !committed.changed.is_empty() {
            let reader = self.store.read()?;
            let photos = reader.photos()?;
            let mut changed = Vec::with_capacity(committed.changed.len());
            for &photo in &committed.changed {
                if let Some(record) = photos.get(photo)? {
                    changed.push((photo, record.info, photos.files_of(photo)?));
                }
            }
            self.facts.change(|facts| {
                changed.iter().for_each(|(photo, info, files)| facts.set(*photo, info, files))
            });
            if let Some(former) = self.networks.former() {
                let changed = changed.iter().map(|(photo, _, files)| (*photo, !files.is_empty()));
                handover::follow(&former, &reader, changed)?;
            }
        }
        let added = committed.added.iter().map(|(photo, Embedding(values))| (*photo, values.as_slice()));
        self.networks
            .configured()
            .index
            .apply(added, &committed.removed)
            .map_err(|error| StoreError::Follow(error.into()))?;
        if !committed.added.is_empty() || !committed.removed.is_empty() {
            self.waker.wake();
        }
        // Last: whoever hears of a photo finds it.
        if let Some(last) = committed.last_event {
            self.last_event.send_replace(last);
        }
        ingest::committed(writes, &self.queue, &self.progress, &self.again);
        Ok(())
    }
}

/// Starts the store's writer.
pub(super) fn start_writer(
    model: &ModelRecord,
    follow: Follow,
) -> Result<(Writer, WriterHandle), StoreError> {
    let store = Arc::clone(&follow.store);
    Writer::start(store, model.clone(), move |writes: &[Write], committed: Committed, took| {
        follow.commit(writes, &committed)?;
        follow.progress.spent(Step::Store, took);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::daemon::maintenance;
    use crate::decode::{Decoders, Format, Limits, PhotoInfo, Program};
    use crate::encode::fake::FakeEncoder;
    use crate::encode::{Encoder, EncoderPool, PoolOptions};
    use crate::ingest::Encoding;
    use crate::models::{Catalogue, Preprocessing};
    use crate::photo::{ContentHash, FileId, Fingerprint, Metric, ModelDigest, RelativePath};
    use crate::search::Index;
    use crate::serve::Served;
    use crate::store::PhotoRecord;

    const DIM: usize = 3;

    fn follow(store: &Arc<Store>, model: &ModelRecord) -> Follow {
        let options = PoolOptions {
            threads: 1,
            queue_len: 1,
            query_queue_len: 1,
            enter_background: || {},
            give_back_after: None,
        };
        let encoder = FakeEncoder::new(8, 1);
        let load = Arc::new(move || Ok(Box::new(encoder.clone()) as Box<dyn Encoder>));
        let (_, encoder) = EncoderPool::start(options, load).unwrap();
        let decoders = Decoders::new(Program::of_tests("decode"), Limits::default());
        let preprocessing = Preprocessing {
            resize_short_side: 8,
            crop: 8,
            mean: [0.0; 3],
            std: [1.0; 3],
            squash: false,
            resampling: Default::default(),
        };
        let encoding = Encoding { encoder, preprocessing, query_decoders: decoders.clone(), decoders };
        let served = Served {
            words: None,
            text: None,
            model: model.clone(),
            manifest: Catalogue::new(&[], Vec::new()).unwrap().default_model().unwrap().model.manifest,
            digest: ModelDigest([1; 32]),
            index: Arc::new(Index::new(DIM)),
            encoding,
        };
        Follow {
            store: Arc::clone(store),
            networks: Arc::new(Networks::new(served, None)),
            facts: Arc::default(),
            queue: Arc::default(),
            progress: Arc::default(),
            again: Arc::default(),
            waker: maintenance::waker().0,
            last_event: watch::Sender::new(0),
        }
    }

    /// Had the index come first, a query between the two would have found a photo that no filter knows.
    #[test]
    fn a_photo_has_its_facts_before_it_is_searchable() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("s.redb")).unwrap());
        let model = store.ensure_model(ModelDigest([1; 32]), "fake", DIM, Metric::L2).unwrap();
        let root = store.add_root(Path::new("/photos"), true).unwrap();
        let info = PhotoInfo {
            width: 1,
            height: 1,
            format: Format::Png,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        };
        let write = Write::Encoded {
            file: FileId { root, path: RelativePath::from_bytes(b"a.png".to_vec()) },
            fingerprint: Fingerprint { len: 1, modified_ns: 0, changed_ns: 0, inode: 1 },
            photo: PhotoRecord { content: ContentHash::of(b"a"), size_bytes: 1, info },
            embedding: Embedding(vec![1.0; DIM]),
            appearance: None,
            former: None,
        };
        let committed = store.commit(&model, std::slice::from_ref(&write), 0).unwrap();
        let follow = follow(&store, &model);
        let mut refused = committed.clone();
        refused.added[0].1.0.pop();
        assert!(follow.commit(std::slice::from_ref(&write), &refused).is_err(), "the index does not take it");
        assert_eq!(follow.facts.snapshot().len(), 1, "and the facts were there before");
        assert!(follow.networks.configured().index.is_empty());
        follow.commit(&[write], &committed).unwrap();
        assert_eq!(follow.networks.configured().index.len(), 1);
    }
}
