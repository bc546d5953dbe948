use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::decode::{Format, PhotoInfo};
use crate::photo::{ContentHash, Embedding, FileId, Fingerprint, PhotoId, RelativePath};

const DIM: usize = 2;

struct World {
    _directory: TempDir,
    path: PathBuf,
    store: Store,
    model: ModelRecord,
    root: RootId,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/s.redb");
        let store = Store::open(&path).unwrap();
        let model = store.ensure_model(ModelDigest([1; 32]), "fake", DIM, Metric::Cosine).unwrap();
        let root = store.add_root(Path::new("/photos"), false).unwrap();
        Self { _directory: directory, path, store, model, root }
    }

    fn file(&self, name: &str) -> FileId {
        FileId { root: self.root, path: RelativePath::from_bytes(name.as_bytes().to_vec()) }
    }

    fn encoded(&self, name: &str, content: u8) -> Write {
        Write::Encoded {
            file: self.file(name),
            fingerprint: fingerprint(content),
            photo: photo(content),
            embedding: embedding(content),
            appearance: None,
            former: None,
        }
    }

    fn gone(&self, name: &str) -> Write {
        Write::Gone { file: self.file(name) }
    }

    fn commit(&self, writes: &[Write]) -> Committed {
        self.store.commit(&self.model, writes, 1_000).unwrap()
    }

    /// Returns what is searchable: content by file, from the tables that a list reads.
    fn searchable(&self) -> BTreeMap<String, ContentHash> {
        let reader = self.store.read().unwrap();
        let photos = reader.photos().unwrap();
        let mut found = BTreeMap::new();
        for (photo, content) in reader.list_photos(None, usize::MAX).unwrap() {
            for file in photos.files_of(photo).unwrap() {
                found.insert(String::from_utf8(file.path.as_bytes().to_vec()).unwrap(), content);
            }
        }
        found
    }
}

pub(super) fn fingerprint(content: u8) -> Fingerprint {
    Fingerprint { len: u64::from(content), modified_ns: 5, changed_ns: 6, inode: u64::from(content) }
}

pub(super) fn photo(content: u8) -> PhotoRecord {
    PhotoRecord {
        content: ContentHash::of(&[content]),
        size_bytes: 1,
        info: PhotoInfo {
            width: 4,
            height: 3,
            format: Format::Png,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        },
    }
}

fn embedding(content: u8) -> Embedding {
    Embedding(vec![f32::from(content), 1.0])
}

#[test]
fn a_moved_photo_keeps_its_number_and_embedding() {
    let world = World::new();
    let added = world.commit(&[world.encoded("a.jpg", 1)]).added;
    let (from, to) = (world.file("a.jpg"), world.file("b/c.jpg"));
    let moved = world.commit(&[Write::Moved { from, to, fingerprint: fingerprint(1) }]);
    assert_eq!((moved.added.len(), moved.removed.len()), (0, 0), "the index hears nothing of a move");
    assert_eq!(moved.changed, [added[0].0], "the facts do");
    assert_eq!(world.searchable(), [("b/c.jpg".to_owned(), ContentHash::of(&[1]))].into());
    assert_eq!(world.store.read().unwrap().photo_with(ContentHash::of(&[1])).unwrap(), Some(added[0].0));
}

#[test]
fn two_copies_share_one_photo_until_the_last_is_gone() {
    let world = World::new();
    let known = Write::Known {
        file: world.file("b"),
        fingerprint: fingerprint(1),
        content: ContentHash::of(&[1]),
        appearance: None,
    };
    let added = world.commit(&[world.encoded("a", 1), known]).added;
    assert_eq!(added.len(), 1);
    let gone = world.commit(&[world.gone("a")]);
    assert_eq!((gone.added.len(), gone.removed.len()), (0, 0));
    assert_eq!(world.commit(&[world.gone("b")]).removed, [added[0].0]);
    let orphans = world.store.read().unwrap().orphan_count().unwrap();
    assert_eq!(orphans, 1, "the embedding waits for its return");
    let back = Write::Known {
        file: world.file("c"),
        fingerprint: fingerprint(1),
        content: ContentHash::of(&[1]),
        appearance: None,
    };
    assert_eq!(world.commit(&[back]).added, added);
}

#[test]
fn a_purge_drops_only_what_has_been_an_orphan_for_long_enough() {
    let world = World::new();
    world.commit(&[world.encoded("a", 1), world.encoded("b", 2)]);
    world.commit(&[world.gone("a")]);
    world.commit(&[Write::PurgeOrphans { before: 1_000 }]);
    let has = |content: u8| {
        let reader = world.store.read().unwrap();
        let photo = reader.photo_with(ContentHash::of(&[content])).unwrap();
        photo.is_some_and(|photo| reader.has_embedding(&world.model, photo).unwrap())
    };
    assert!(has(1) && has(2));
    world.commit(&[Write::PurgeOrphans { before: 1_001 }]);
    assert!(!has(1) && has(2));
}

#[test]
fn a_failure_is_listed_until_its_file_changes_or_goes() {
    let world = World::new();
    let failed = |name: &str| Write::Failed {
        file: world.file(name),
        fingerprint: fingerprint(1),
        failure: FailureRecord { kind: FailureKind::Corrupt, reason: "no end".into(), at: 9, size_bytes: 1 },
    };
    world.commit(&[failed("a"), failed("b"), failed("c")]);
    let (from, to) = (world.file("c"), world.file("d"));
    world.commit(&[world.encoded("a", 1), Write::Moved { from, to, fingerprint: fingerprint(1) }]);
    let listed = world.store.read().unwrap().list_failures(None, 10).unwrap();
    let names: Vec<_> = listed.iter().map(|(file, _)| file.path.as_bytes()).collect();
    assert_eq!(names, [b"b", b"d"]);
    assert_eq!(world.store.read().unwrap().counts(world.root).unwrap(), Counts { files: 1, failures: 2 });
    let next = world.store.read().unwrap().list_failures(Some(&world.file("b")), 10).unwrap();
    assert_eq!(next.len(), 1, "a page goes on after its token");
}

#[test]
fn what_gave_no_photo_is_tried_again_once_by_another_decoder() {
    let world = World::new();
    let fail = || {
        let failure =
            FailureRecord { kind: FailureKind::Unsupported, reason: "new".into(), at: 9, size_bytes: 1 };
        let (file, fingerprint) = (world.file("b"), fingerprint(2));
        let text = Write::NotAPhoto { file: world.file("c"), fingerprint };
        world.commit(&[world.encoded("a", 1), Write::Failed { file, fingerprint, failure }, text]);
    };
    let known = |name: &str| world.store.read().unwrap().file(&world.file(name)).unwrap().is_some();
    world.commit(&[Write::TryFailuresAgain { decoder: 7 }]);
    fail();
    world.commit(&[Write::TryFailuresAgain { decoder: 7 }]);
    assert!(known("a") && known("b") && known("c"), "the same decoder would fail again");
    world.commit(&[Write::TryFailuresAgain { decoder: 8 }]);
    assert!(known("a") && !known("b") && !known("c"));
    assert_eq!(world.store.read().unwrap().counts(world.root).unwrap(), Counts { files: 1, failures: 0 });
    fail();
    world.commit(&[Write::TryFailuresAgain { decoder: 8 }]);
    assert!(known("b") && known("c"), "and is not tried in a loop");
}

#[test]
fn a_removed_root_takes_its_files_and_refuses_late_ones() {
    let world = World::new();
    world.commit(&[world.encoded("a", 1)]);
    let removed = world.commit(&[Write::RemoveRoot { root: world.root }, world.encoded("late", 2)]).removed;
    assert_eq!(removed.len(), 1);
    assert!(world.searchable().is_empty());
    assert!(world.store.read().unwrap().roots().unwrap().is_empty());
    assert_ne!(
        world.store.add_root(Path::new("/photos"), false).unwrap(),
        world.root,
        "numbers are not reused"
    );
}

#[test]
fn children_are_those_of_one_directory() {
    let world = World::new();
    let names = ["a.d/x", "a/x", "a/y/z", "a", "b", "c/d/e/f", "a0"];
    let writes: Vec<_> = (1..).zip(names).map(|(content, name)| world.encoded(name, content)).collect();
    world.commit(&writes);
    let check = |directory: &str, files: &[&str], directories: &[&str]| {
        let directory = RelativePath::from_bytes(directory.as_bytes().to_vec());
        let children = world.store.read().unwrap().children(world.root, &directory).unwrap();
        let names: Vec<_> = children.files.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, files);
        let names: Vec<_> = children.directories.iter().map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, directories);
    };
    check("", &["a", "a0", "b"], &["a", "a.d", "c"]);
    check("a", &["x"], &["y"]);
    check("c/d", &[], &["e"]);
    check("nowhere", &[], &[]);
}

#[test]
fn an_embedding_of_another_length_fails_the_whole_batch() {
    let world = World::new();
    let mut wrong = world.encoded("b", 2);
    if let Write::Encoded { embedding, .. } = &mut wrong {
        embedding.0.push(0.0);
    }
    assert!(world.store.commit(&world.model, &[world.encoded("a", 1), wrong], 0).is_err());
    assert!(world.searchable().is_empty());
}

#[test]
fn a_second_daemon_is_refused_in_plain_words() {
    let world = World::new();
    let error = Store::open(&world.path).err().unwrap().to_string();
    assert!(error.contains("another resembled runs"), "{error}");
}

#[test]
fn a_newer_format_is_refused() {
    let world = World::new();
    let World { store, path, _directory, .. } = world;
    drop(store);
    let (disk, newer) = (disk::FileDisk::open(&path).unwrap(), schema::SCHEMA_VERSION + 1);
    drop(Checked::create(disk, newer).unwrap());
    for refused in [Store::open(&path).err(), repair(&path).err()] {
        assert!(matches!(refused, Some(StoreError::Newer { found, .. }) if found == newer));
    }
}

#[test]
fn embeddings_of_two_models_live_side_by_side() {
    let world = World::new();
    world.commit(&[world.encoded("a", 1)]);
    let other = world.store.ensure_model(ModelDigest([2; 32]), "other", DIM, Metric::L2).unwrap();
    assert_ne!(other.id, world.model.id);
    let count = |model| {
        let mut count = 0;
        let visit = |_: PhotoId, _: &[f32]| -> Result<(), StoreError> {
            count += 1;
            Ok(())
        };
        world.store.read().unwrap().each_embedding(model, visit).unwrap();
        count
    };
    assert_eq!((count(&world.model), count(&other)), (1, 0));
}

/// What a random test does to a file.
#[derive(Clone, Debug)]
enum Step {
    Put { name: u8, content: u8 },
    Gone { name: u8 },
    Move { from: u8, to: u8 },
    Commit,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6, 0u8..4).prop_map(|(name, content)| Step::Put { name, content }),
        2 => (0u8..6).prop_map(|name| Step::Gone { name }),
        2 => (0u8..6, 0u8..6).prop_map(|(from, to)| Step::Move { from, to }),
        2 => Just(Step::Commit),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The store against a map, and the deltas of the commits against what is searchable.
    #[test]
    fn agrees_with_a_map_over_any_sequence(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let mut expected: BTreeMap<String, ContentHash> = BTreeMap::new();
        let mut index: BTreeSet<PhotoId> = BTreeSet::new();
        let mut batch = Vec::new();
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Put { name, content } => {
                    batch.push(world.encoded(&name.to_string(), content));
                    expected.insert(name.to_string(), ContentHash::of(&[content]));
                }
                Step::Gone { name } => {
                    batch.push(world.gone(&name.to_string()));
                    expected.remove(&name.to_string());
                }
                Step::Move { from, to } if from != to => {
                    let (source, target) = (world.file(&from.to_string()), world.file(&to.to_string()));
                    batch.push(Write::Moved { from: source, to: target, fingerprint: fingerprint(9) });
                    if let Some(content) = expected.remove(&from.to_string()) {
                        expected.insert(to.to_string(), content);
                    }
                }
                Step::Move { .. } => {}
                Step::Commit | Step::Reopen => {
                    let committed = world.commit(&std::mem::take(&mut batch));
                    for (photo, _) in &committed.added {
                        prop_assert!(index.insert(*photo), "added twice");
                    }
                    for photo in &committed.removed {
                        prop_assert!(index.remove(photo), "removed without being there");
                    }
                    if matches!(step, Step::Reopen) {
                        let World { _directory, path, store, model, root } = world;
                        drop(store);
                        let store = Store::open(&path).unwrap();
                        world = World { _directory, path, store, model, root };
                    }
                    prop_assert_eq!(&world.searchable(), &expected);
                    let contents: BTreeSet<_> = expected.values().collect();
                    prop_assert_eq!(index.len(), contents.len());
                    let counts = world.store.read().unwrap().counts(world.root).unwrap();
                    prop_assert_eq!(counts.files as usize, expected.len());
                }
            }
        }
    }
}

#[test]
fn neighbors_in_the_table_are_read_like_each_of_them_alone() {
    let world = World::new();
    let writes: Vec<Write> =
        (0..120).map(|content| world.encoded(&format!("{content:03}"), content)).collect();
    let ids: Vec<PhotoId> = world.commit(&writes).added.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 120);
    let reader = world.store.read().unwrap();
    let read = |photos: &[PhotoId]| {
        let mut found = Vec::new();
        let mut visit = |photo: PhotoId, values: &[f32]| found.push((photo, values.to_vec()));
        reader.embeddings(&world.model, photos, &mut visit).unwrap();
        found
    };
    let with_gaps: Vec<PhotoId> = ids.iter().copied().filter(|id| id.0 % 3 != 1).collect();
    let with_unknown = [&ids[30..], &[PhotoId(ids[119].0 + 2), PhotoId(ids[119].0 + 3)]].concat();
    for wanted in [&ids[..], &ids[..64], &ids[56..], &ids[20..84], &with_gaps, &with_unknown] {
        let singly: Vec<_> = wanted.iter().flat_map(|&id| read(&[id])).collect();
        assert_eq!(singly.len(), wanted.iter().filter(|id| ids.contains(id)).count());
        assert_eq!(read(wanted), singly);
    }
}
