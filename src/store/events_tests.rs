//! Events against the rows that they tell of: over random writes, restarts, copies of the file, and more of them than are kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::decisions::Decided;
use super::super::tests::{fingerprint, photo};
use super::super::{FailureKind, ModelRecord, Store, Write, beside, open, rebuild, source};
use super::*;
use crate::photo::{Embedding, Metric, ModelDigest};

/// What a client keeps: files by their paths, with what they hold.
type List = BTreeMap<String, Option<ContentHash>>;

fn apply(list: &mut List, event: EventRecord) {
    let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
    let path = text(event.path);
    match event.happened {
        Happened::Added { content } => {
            let before = list.insert(path, Some(content));
            assert_eq!(before.flatten(), None, "added twice");
        }
        Happened::Changed { content, before } => {
            assert_eq!(list.insert(path, Some(content)), Some(Some(before)));
        }
        Happened::Moved { content, from } => {
            assert_eq!(list.remove(&text(from)), Some(content));
            assert_eq!(list.insert(path, content), None, "moved over another");
        }
        Happened::Removed { content } => assert_eq!(list.remove(&path), Some(content)),
        Happened::Failed { before, .. } => {
            assert_eq!(list.insert(path, None).flatten(), before);
        }
        Happened::Unwatched => list.retain(|file, _| !file.starts_with(&format!("{path}/"))),
        Happened::Offline | Happened::Online { .. } => {}
    }
}

struct World {
    store: Store,
    model: ModelRecord,
    root: RootId,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("s.redb")).unwrap();
        let model = store.ensure_model(ModelDigest([1; 32]), "fake", 2, Metric::L2).unwrap();
        let root = store.add_root(Path::new("/photos"), true).unwrap();
        Self { store, model, root, directory }
    }

    fn reopened(self) -> Self {
        let Self { store, model, root, directory } = self;
        drop(store);
        let store = Store::open(&directory.path().join("s.redb")).unwrap();
        Self { store, model, root, directory }
    }

    fn file(&self, name: u8) -> FileId {
        FileId { root: self.root, path: RelativePath::from_bytes(format!("{name}.jpg").into_bytes()) }
    }

    fn write(&self, act: Act) -> Write {
        match act {
            Act::Encode(name, content) => Write::Encoded {
                file: self.file(name),
                fingerprint: fingerprint(content),
                photo: photo(content),
                embedding: Embedding(vec![f32::from(content), 1.0]),
                appearance: None,
                former: None,
            },
            Act::Know(name, content) => Write::Known {
                file: self.file(name),
                fingerprint: fingerprint(content),
                content: photo(content).content,
                appearance: None,
            },
            Act::Move(from, to) => {
                Write::Moved { from: self.file(from), to: self.file(to), fingerprint: fingerprint(to) }
            }
            Act::Fail(name, reason) => Write::Failed {
                file: self.file(name),
                fingerprint: fingerprint(name),
                failure: super::super::FailureRecord {
                    kind: FailureKind::Corrupt,
                    reason: reason.to_string(),
                    at: 0,
                    size_bytes: 1,
                },
            },
            Act::NoPhoto(name) => Write::NotAPhoto { file: self.file(name), fingerprint: fingerprint(name) },
            Act::Doubt(name) => Write::Doubtful { file: self.file(name) },
            Act::Gone(name) => Write::Gone { file: self.file(name) },
            Act::AllFailures(decoder) => Write::TryFailuresAgain { decoder },
        }
    }

    fn commit(&self, writes: &[Write]) -> Option<u64> {
        self.store.commit(&self.model, writes, 1_000).unwrap().last_event
    }

    /// What the store knows.
    fn files(&self) -> List {
        let reader = self.store.read().unwrap();
        let photos = reader.photos().unwrap();
        let path = |file: &FileId| format!("/photos/{}", file.path.as_path().display());
        let mut files = List::new();
        for (id, content) in reader.list_photos(None, usize::MAX).unwrap() {
            files.extend(photos.files_of(id).unwrap().iter().map(|file| (path(file), Some(content))));
        }
        files.extend(
            reader.list_failures(None, usize::MAX).unwrap().iter().map(|(file, _)| (path(file), None)),
        );
        files
    }

    fn events(&self, after: u64) -> Option<Vec<(u64, EventRecord)>> {
        self.store.read().unwrap().events(after, u64::MAX, usize::MAX).unwrap()
    }

    fn last(&self) -> u64 {
        self.store.read().unwrap().last_event().unwrap()
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Encode(u8, u8),
    Know(u8, u8),
    Move(u8, u8),
    Fail(u8, u8),
    NoPhoto(u8),
    Doubt(u8),
    Gone(u8),
    AllFailures(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let (name, content) = (0u8..6, 1u8..5);
    prop_oneof![
        3 => (name.clone(), content.clone()).prop_map(|(name, content)| Act::Encode(name, content)),
        1 => (name.clone(), content.clone()).prop_map(|(name, content)| Act::Know(name, content)),
        2 => (name.clone(), name.clone()).prop_filter("moved onto itself", |(from, to)| from != to)
            .prop_map(|(from, to)| Act::Move(from, to)),
        1 => (name.clone(), content).prop_map(|(name, reason)| Act::Fail(name, reason)),
        1 => name.clone().prop_map(Act::NoPhoto),
        1 => name.clone().prop_map(Act::Doubt),
        2 => name.prop_map(Act::Gone),
        1 => (1u64..3).prop_map(Act::AllFailures),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whoever_applies_the_events_has_what_the_store_has(
        batches in prop::collection::vec(prop::collection::vec(act(), 1..6), 1..12),
    ) {
        let mut world = World::new();
        let (mut list, mut after) = (List::new(), 0);
        for (round, batch) in batches.into_iter().enumerate() {
            let writes: Vec<Write> = batch.into_iter().map(|act| world.write(act)).collect();
            let last = world.commit(&writes);
            for (number, event) in world.events(after).unwrap() {
                prop_assert!(after == 0 || number == after + 1, "{number} after {after}");
                apply(&mut list, event);
                after = number;
            }
            prop_assert_eq!(last.unwrap_or(after), after);
            prop_assert_eq!(&list, &world.files());
            if round % 4 == 3 {
                world = world.reopened();
            }
        }
        world.commit(&[Write::RemoveRoot { root: world.root }]);
        world.events(after).unwrap().into_iter().for_each(|(_, event)| apply(&mut list, event));
        prop_assert_eq!(list, List::new());
    }
}

#[test]
fn a_folder_is_told_to_be_away_and_back_once_and_at_its_new_place() {
    let world = World::new();
    let place = |at: &str, path: &str, is_online| Write::Place {
        root: world.root,
        at: RelativePath::from_bytes(at.as_bytes().to_vec()),
        path: PathBuf::from(path),
        is_online,
    };
    let told = |write: Write| {
        let after = world.last();
        world.commit(&[write]);
        let events = world.events(after).unwrap().into_iter();
        events.map(|(_, event)| (String::from_utf8(event.path).unwrap(), event.happened)).collect::<Vec<_>>()
    };
    world.commit(&[]);
    let came = |from: Option<&str>| Happened::Online { from: from.map(|from| from.as_bytes().to_vec()) };
    assert_eq!(told(place("", "/photos", true)), []);
    assert_eq!(told(place("", "/photos", false)), [("/photos".to_owned(), Happened::Offline)]);
    assert_eq!(told(place("", "/photos", false)), []);
    assert_eq!(told(place("card", "/photos/card", false)), [("/photos/card".to_owned(), Happened::Offline)]);
    assert_eq!(told(place("", "/media/x", true)), [("/media/x".to_owned(), came(Some("/photos")))]);
    assert_eq!(
        told(place("card", "/media/x/card", true)),
        [("/media/x/card".to_owned(), came(Some("/photos/card")))]
    );
    assert_eq!(told(place("", "/media/y", true)), [("/media/y".to_owned(), came(Some("/media/x")))]);
    assert_eq!(world.store.read().unwrap().places().unwrap().len(), 2);
    // Its files are there too.
    let events = told(world.write(Act::Encode(1, 1)));
    assert_eq!(events[0].0, "/media/y/1.jpg");
    assert_eq!(told(Write::RemoveRoot { root: world.root }), [("/media/y".to_owned(), Happened::Unwatched)]);
    assert_eq!(world.store.read().unwrap().places().unwrap(), []);
    assert_eq!(told(place("", "/media/y", false)), [], "nobody watches it");
}

#[test]
fn the_latest_events_are_kept_and_who_asks_for_older_ones_is_told() {
    let world = World::new();
    let begin = world.last();
    assert!(begin >= first_number(1_700_000_000), "a log begins beyond all that was before");
    assert_eq!((world.events(0), world.events(7)), (Some(vec![]), None));
    assert_eq!(
        (world.events(begin), world.events(begin - 1), world.events(begin + 1)),
        (Some(vec![]), None, None)
    );
    let writes: Vec<Write> = (0..u32::try_from(KEPT / 100).unwrap())
        .map(|n| world.write(Act::Encode(0, n as u8 % 2 + 1)))
        .collect();
    for round in 1..=101 {
        assert_eq!(world.commit(&writes), Some(begin + round * KEPT / 100));
    }
    let oldest = begin + KEPT / 100;
    let kept = world.events(oldest).unwrap();
    assert_eq!((kept.len() as u64, kept[0].0), (KEPT, oldest + 1));
    assert_eq!(world.events(oldest - 1), None);
    assert_eq!(world.events(0).unwrap(), kept);
    let some = world.store.read().unwrap().events(oldest, oldest + 5, 3).unwrap().unwrap();
    assert_eq!(some, kept[..3]);
}

#[test]
fn a_store_that_is_packed_goes_on_and_one_that_is_mended_begins_a_new_log() {
    let world = World::new();
    world.commit(&[world.write(Act::Encode(1, 1)), world.write(Act::Encode(2, 2))]);
    let (last, events) = (world.last(), world.events(0).unwrap());
    let path = world.directory.path().join("s.redb");
    drop(world.store);
    use rebuild::Kind::{Mend, Pack, Restore};

    for (kind, now) in [(Pack, 2_000), (Mend, 2_000), (Mend, 0), (Restore, 2_000)] {
        let opened = open::open(&path).unwrap();
        let mut from = source::Source::open(Arc::clone(&opened.db));
        let decided = Decided::default();
        beside::build_beside(&path, |db| rebuild::fill(db, &mut from, kind, &decided, now)).unwrap();
        drop((from, opened));
        let copied = world.directory.path().join("copy.redb");
        std::fs::rename(beside::new_name(&path), &copied).unwrap();
        let store = Store::open(&copied).unwrap();
        let reader = store.read().unwrap();
        if kind == rebuild::Kind::Pack {
            assert_eq!(reader.last_event().unwrap(), last);
            assert_eq!(reader.events(0, u64::MAX, 9).unwrap().unwrap(), events);
        } else {
            assert!(reader.last_event().unwrap() > last, "also where the clock was set back");
            assert_eq!(reader.events(last, u64::MAX, 9).unwrap(), None);
        }
    }
}
