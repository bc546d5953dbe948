//! One worker on the thread of the test: a change in, what the store holds after its commit out.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::decode::{Decoders, Limits, Program};
use crate::encode::fake::FakeEncoder;
use crate::encode::{EncoderPool, PoolOptions};
use crate::ingest::Again;
use crate::models::Preprocessing;
use crate::photo::{Metric, ModelDigest, RelativePath, RootId};
use crate::store::Writer;

/// A folder, a store that knows it as a root, and a worker on this thread.
struct World {
    directory: TempDir,
    worker: Worker,
    root: RootId,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("s.redb")).unwrap());
        let encoder = FakeEncoder::new(8, 1);
        let model = store.ensure_model(ModelDigest([1; 32]), "fake", 3, Metric::L2).unwrap();
        let root = store.add_root(directory.path(), true).unwrap();
        let queue = Arc::new(Queue::default());
        let progress = Arc::new(Progress::default());
        let options = PoolOptions {
            threads: 1,
            queue_len: 1,
            query_queue_len: 1,
            enter_background: || {},
            give_back_after: None,
        };
        let load = Arc::new(move || Ok(Box::new(encoder.clone()) as Box<dyn crate::encode::Encoder>));
        let (_, encoder) = EncoderPool::start(options, load).unwrap();
        let (queue_of_writer, progress_of_writer) = (Arc::clone(&queue), Arc::clone(&progress));
        let (_, writer) = Writer::start(Arc::clone(&store), model.clone(), move |writes, _, _| {
            crate::ingest::committed(writes, &queue_of_writer, &progress_of_writer, &Again::default());
            Ok(())
        })
        .unwrap();
        let preprocessing = Preprocessing {
            resize_short_side: 8,
            crop: 8,
            mean: [0.0; 3],
            std: [1.0; 3],
            squash: false,
            resampling: Default::default(),
        };
        let decoders = Decoders::new(Program::of_tests("decode"), Limits::default());
        let query_decoders = decoders.clone();
        let encoding = Encoding { encoder, preprocessing, decoders, query_decoders };
        let folder = directory.path().to_path_buf();
        let is_gone: IsGone = Arc::new(move |file| !file.path.under(&folder).exists());
        let former = Arc::default();
        Self {
            directory,
            worker: Worker { queue, store, model, writer, encoding, former, progress, is_gone },
            root,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str) -> FileId {
        FileId { root: self.root, path: RelativePath::from_bytes(name.as_bytes().to_vec()) }
    }

    /// Writes a photo of one colour, always the same length.
    fn put(&self, name: &str, colour: u8) {
        image::RgbImage::from_pixel(9, 9, image::Rgb([colour, 0, 0])).save(self.path(name)).unwrap();
    }

    fn seen(&self, name: &str) -> Fingerprint {
        Fingerprint::of(&self.path(name).symlink_metadata().unwrap())
    }

    /// Queues a change, works on it and waits for its commit.
    fn handle(&self, change: Change) {
        assert!(self.worker.queue.push_live(change));
        let change = self.worker.queue.take().unwrap();
        self.worker.handle(change).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.worker.writer.flush()).unwrap();
        assert_eq!(self.worker.queue.pending(), 0, "the works on it are over");
    }

    fn read(&self, name: &str, fingerprint: Fingerprint) {
        self.handle(Change::Read { file: self.file(name), path: self.path(name), fingerprint });
    }

    fn moved(&self, from: &str, to: &str) {
        let (path, fingerprint) = (self.path(to), self.seen(to));
        self.handle(Change::Moved { from: self.file(from), to: self.file(to), path, fingerprint });
    }

    fn content(&self, name: &str) -> Option<ContentHash> {
        let reader = self.worker.store.read().unwrap();
        match reader.file(&self.file(name)).unwrap()?.state {
            crate::store::FileState::Photo(photo) => {
                let photos = reader.list_photos(None, usize::MAX).unwrap();
                photos.into_iter().find(|(id, _)| *id == photo).map(|(_, content)| content)
            }
            _ => None,
        }
    }
}

#[test]
fn a_moved_photo_is_adopted_without_being_read() {
    let world = World::new();
    world.put("a.bmp", 1);
    world.read("a.bmp", world.seen("a.bmp"));
    let content = world.content("a.bmp");
    fs::rename(world.path("a.bmp"), world.path("b.bmp")).unwrap();
    world.moved("a.bmp", "b.bmp");
    assert!(content.is_some());
    assert_eq!((world.content("a.bmp"), world.content("b.bmp")), (None, content));
    assert_eq!(world.worker.progress.photos_encoded(), 1);
}

/// What waited said that they were gone, and they were back: they were lost until a rescan.
#[test]
fn a_photo_that_is_back_before_its_loss_is_written_down_stays() {
    let world = World::new();
    world.put("a.bmp", 1);
    world.read("a.bmp", world.seen("a.bmp"));
    let content = world.content("a.bmp");
    world.handle(Change::Gone { file: world.file("a.bmp") });
    assert_eq!(world.content("a.bmp"), content);
    // Moved away, copied back.
    fs::rename(world.path("a.bmp"), world.path("b.bmp")).unwrap();
    fs::copy(world.path("b.bmp"), world.path("a.bmp")).unwrap();
    world.moved("a.bmp", "b.bmp");
    assert_eq!((world.content("a.bmp"), world.content("b.bmp")), (content, content));
    fs::remove_file(world.path("a.bmp")).unwrap();
    world.handle(Change::Gone { file: world.file("a.bmp") });
    assert_eq!((world.content("a.bmp"), world.content("b.bmp")), (None, content));
}

/// It was overwritten, its size and time kept, and moved before the change was read: under its new name it looked
/// like the old photo.
#[test]
fn a_photo_that_changed_and_moved_before_it_was_read_is_read_at_its_new_place() {
    let world = World::new();
    world.put("a.bmp", 1);
    let before = world.seen("a.bmp");
    world.read("a.bmp", before);
    let modified = fs::metadata(world.path("a.bmp")).unwrap().modified().unwrap();
    world.put("a.bmp", 2);
    fs::File::options().write(true).open(world.path("a.bmp")).unwrap().set_modified(modified).unwrap();
    let changed = Fingerprint { changed_ns: before.changed_ns + 1, ..world.seen("a.bmp") };
    fs::rename(world.path("a.bmp"), world.path("b.bmp")).unwrap();
    world.read("a.bmp", changed);
    world.moved("a.bmp", "b.bmp");
    let now = ContentHash::of(&fs::read(world.path("b.bmp")).unwrap());
    assert_eq!((world.content("a.bmp"), world.content("b.bmp")), (None, Some(now)));
}

#[test]
fn a_photo_that_is_not_there_and_never_changed_is_not_doubted() {
    let world = World::new();
    world.put("a.bmp", 1);
    let seen = world.seen("a.bmp");
    world.read("a.bmp", seen);
    fs::remove_file(world.path("a.bmp")).unwrap();
    world.read("a.bmp", seen);
    let known = world.worker.store.read().unwrap().file(&world.file("a.bmp")).unwrap();
    assert_eq!(known.map(|record| record.fingerprint), Some(seen));
}

#[test]
fn a_new_photo_is_encoded_for_the_network_that_answers_meanwhile_too() {
    let mut world = World::new();
    let former = world.worker.store.ensure_model(ModelDigest([2; 32]), "former", 3, Metric::L2).unwrap();
    world.worker.former = Arc::new(Former::new(former.clone(), world.worker.encoding.clone()));
    let knows = |world: &World, model: &ModelRecord, name: &str| {
        let reader = world.worker.store.read().unwrap();
        let photo = reader.photo_with(world.content(name).unwrap()).unwrap().unwrap();
        reader.has_embedding(model, photo).unwrap()
    };
    world.put("a.bmp", 1);
    world.read("a.bmp", world.seen("a.bmp"));
    assert!(knows(&world, &former, "a.bmp") && knows(&world, &world.worker.model, "a.bmp"));
    world.worker.former.retire();
    world.put("b.bmp", 2);
    world.read("b.bmp", world.seen("b.bmp"));
    assert!(!knows(&world, &former, "b.bmp") && knows(&world, &world.worker.model, "b.bmp"));
}

/// Photos that were indexed before anybody looked at the whole of them could not be the same as any.
#[test]
fn a_photo_that_nobody_looked_at_is_looked_at_and_not_encoded_again() {
    let world = World::new();
    world.put("a.bmp", 1);
    let store = &world.worker.store;
    let content = ContentHash::of(&fs::read(world.path("a.bmp")).unwrap());
    let info = decode::decode(
        &fs::read(world.path("a.bmp")).unwrap(),
        decode::Need::full(),
        world.worker.encoding.decoders.limits(),
    );
    let before = Write::Encoded {
        file: world.file("a.bmp"),
        fingerprint: world.seen("a.bmp"),
        photo: PhotoRecord { content, size_bytes: 1, info: info.unwrap().info },
        appearance: None,
        embedding: crate::photo::Embedding(vec![1.0, 2.0, 3.0]),
        former: None,
    };
    let photo = store.commit(&world.worker.model, &[before], 0).unwrap().added[0].0;
    let is_looked_at = || store.read().unwrap().appearances().unwrap().has(photo).unwrap();
    assert!(!is_looked_at());
    world.read("a.bmp", world.seen("a.bmp"));
    assert!(is_looked_at());
    assert_eq!(world.worker.progress.photos_encoded(), 0);
    // What holds the same content is known from then on without being decoded.
    fs::copy(world.path("a.bmp"), world.path("b.bmp")).unwrap();
    world.read("b.bmp", world.seen("b.bmp"));
    assert_eq!(world.content("b.bmp"), Some(content));
}
