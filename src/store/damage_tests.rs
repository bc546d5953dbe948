//! Damaged copies of a store: whatever a disk does to the file, an answer is right or there is none.
//!
//! The oracle is the whole store: what a damaged copy says, without having said that it was damaged, must be the same;
//! what a mended copy says must be a part of it, and all of it once the photos were read again.
//!
//! `cargo test --release --lib -- --ignored --nocapture store::damage_tests` damages 400 copies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::checked::BLOCK;
use super::*;
use crate::decode::{Format, PhotoInfo};
use crate::photo::{ContentHash, Embedding, FileId, Fingerprint, PhotoId, RelativePath};

const DIM: usize = 256;
const PHOTOS: u32 = 350;
const ROOTS: [(&str, bool); 3] = [("/photos", false), ("/added/by a call", true), ("/other", false)];

/// Those whose files are gone; the photos wait for their return.
const GONE: [u32; 2] = [7, 8];

/// xorshift, so that a seed gives the same copies everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

fn content(number: u32) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

fn embedding(number: u32) -> Embedding {
    let mut random = Random(u64::from(number) + 1);
    Embedding((0..DIM).map(|_| random.below(1000) as f32 / 64.0).collect()).rounded()
}

fn file(roots: &[RootId], number: u32) -> FileId {
    let path = format!("{}/{}/{number}.jpg", number % 5, number % 11);
    FileId { root: roots[number as usize % roots.len()], path: RelativePath::from_bytes(path.into_bytes()) }
}

fn write(roots: &[RootId], number: u32) -> Write {
    let (file, len) = (file(roots, number), u64::from(number));
    let fingerprint = Fingerprint { len, modified_ns: len.into(), changed_ns: 1, inode: len + 1000 };
    match number % 20 {
        18 => {
            let failure = FailureRecord {
                kind: FailureKind::Corrupt,
                reason: format!("number {number}"),
                at: 5,
                size_bytes: len,
            };
            Write::Failed { file, fingerprint, failure }
        }
        19 => Write::NotAPhoto { file, fingerprint },
        _ => {
            // Every tenth photo has two files.
            let number = if number % 10 == 1 { number - 1 } else { number };
            let info = PhotoInfo {
                width: number,
                height: 3,
                format: Format::Jpeg,
                taken: None,
                camera: Some(format!("camera {}", number % 3)),
                lens: None,
                position: None,
                is_damaged: false,
            };
            let photo = PhotoRecord { content: content(number), size_bytes: number.into(), info };
            Write::Encoded {
                file,
                fingerprint,
                photo,
                embedding: embedding(number),
                appearance: None,
                former: None,
            }
        }
    }
}

/// The store that is damaged: with everything in it that can be.
fn fill(path: &Path) {
    let store = Store::open(path).unwrap();
    let model = model(&store).unwrap();
    let roots = ROOTS.map(|(path, kept)| store.add_root(Path::new(path), kept).unwrap());
    for batch in (0..PHOTOS).collect::<Vec<_>>().chunks(64) {
        let writes: Vec<_> = batch.iter().map(|&number| write(&roots, number)).collect();
        store.commit(&model, &writes, 1_000).unwrap();
    }
    store.commit(&model, &GONE.map(|number| Write::Gone { file: file(&roots, number) }), 2_000).unwrap();
    let marked: Vec<_> = (20..26).map(content).collect();
    store.tell_apart(&marked, true).unwrap();
    store.keep_codes(&model, 3, (1..200).map(|photo| (PhotoId(photo), [7u8; 160]))).unwrap();
    store.keep_quantizer(&model, 3, &[9; 30_000]).unwrap();
    store.keep_labels(&model, (1..200).map(|photo| (PhotoId(photo), [5u8; 40]))).unwrap();
    let compared = Compared { rule: NearRule::default(), photos: 3, runs: vec![(PhotoId(1), PhotoId(200))] };
    let pair = |number| {
        let standing = if number % 2 == 0 { Standing::LooksSame } else { Standing::Candidate(0.5) };
        let record = PairRecord { distance: 0.25, standing };
        NearPair { first: PhotoId(1), second: PhotoId(number), record }
    };
    store.keep_pairs(&model, (2..90).map(pair), &compared).unwrap();
}

fn model(store: &Store) -> Result<ModelRecord, StoreError> {
    store.ensure_model(ModelDigest([1; 32]), "network", DIM, Metric::L2)
}

/// Path of a root, and a path below it.
type Place = (Vec<u8>, Vec<u8>);

/// All that can be asked of a store, by names that no mending changes.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    roots: BTreeSet<(Vec<u8>, bool)>,
    /// By root and path: what the comparison with the disk sees.
    files: BTreeMap<Place, String>,
    /// By content: what an answer says of a photo.
    photos: BTreeMap<ContentHash, (String, BTreeSet<Place>)>,
    /// The same, as a start reads it.
    listed: BTreeMap<ContentHash, BTreeSet<Place>>,
    embeddings: BTreeMap<ContentHash, Vec<f32>>,
    /// The same, as a search reads them.
    fetched: BTreeMap<ContentHash, Vec<f32>>,
    failures: BTreeMap<Place, String>,
    marks: BTreeSet<(ContentHash, ContentHash)>,
    counts: BTreeMap<Vec<u8>, (u64, u64)>,
}

fn view(store: &Store) -> Result<View, StoreError> {
    let reader = store.read()?;
    let model = model(store)?;
    let mut view = View::default();
    let roots: BTreeMap<RootId, Vec<u8>> = reader
        .roots()?
        .into_iter()
        .map(|(id, root)| {
            view.roots.insert((root.path.clone(), root.kept));
            (id, root.path)
        })
        .collect();
    let name = |file: &FileId| (roots[&file.root].clone(), file.path.as_bytes().to_vec());
    let known = reader.photos()?;
    let content_of = |photo: PhotoId| -> Result<ContentHash, StoreError> {
        Ok(known.get(photo)?.map_or(ContentHash([0; 32]), |photo| photo.content))
    };
    for (&root, path) in &roots {
        let mut directories = vec![RelativePath::default()];
        while let Some(directory) = directories.pop() {
            let children = reader.children(root, &directory)?;
            directories.extend(children.directories.iter().map(|name| directory.join(name)));
            for (file_name, record) in children.files {
                let file = FileId { root, path: directory.join(&file_name) };
                assert_eq!(reader.file(&file)?.as_ref(), Some(&record));
                let state = match record.state {
                    FileState::Photo(photo) => {
                        let moved = reader.same_inode(record.fingerprint.inode)?;
                        assert!(moved.iter().any(|(other, _)| *other == file));
                        format!("{}", content_of(photo)?)
                    }
                    state => format!("{state:?}"),
                };
                view.files.insert(name(&file), format!("{:?} {state}", record.fingerprint));
            }
        }
        let counts = reader.counts(root)?;
        view.counts.insert(path.clone(), (counts.files, counts.failures));
    }
    let mut after = None;
    loop {
        let page = reader.list_photos(after, 50)?;
        let Some(&(_, last)) = page.last() else { break };
        after = Some(last);
        for (photo, content) in page {
            assert_eq!(reader.photo_with(content)?, Some(photo));
            let Some(record) = known.get(photo)? else { panic!("{content} is listed and unknown") };
            let files = known.files_of(photo)?.iter().map(name).collect();
            view.photos.insert(content, (format!("{record:?}"), files));
            let mut values = Vec::new();
            if reader.embedding(&model, photo, &mut values)? {
                view.fetched.insert(content, values);
            }
        }
    }
    let mut listed = Vec::new();
    reader.each_photo(|_, record, files| listed.push((record.content, files.iter().map(name).collect())))?;
    view.listed.extend(listed);
    let mut embeddings = Vec::new();
    reader.each_embedding(&model, |photo, values| -> Result<(), StoreError> {
        embeddings.push((content_of(photo)?, values.to_vec()));
        Ok(())
    })?;
    view.embeddings.extend(embeddings);
    for (file, failure) in reader.list_failures(None, 1000)? {
        view.failures.insert(name(&file), format!("{failure:?}"));
    }
    for (one, other) in reader.told_apart()? {
        let (one, other) = (content_of(one)?, content_of(other)?);
        view.marks.insert((one.min(other), one.max(other)));
    }
    // What the search keeps must be readable or made again; what it is worth is its own matter.
    reader.each_pair(&model, |_| ())?;
    reader.each_code(&model, 3, |_, _| ())?;
    reader.each_label(&model, |photo, _| assert!(known.get(photo).is_ok_and(|photo| photo.is_some())))?;
    reader.quantizer(&model)?;
    Ok(view)
}

impl View {
    /// Asserts that both are the same, and names the first thing that is not.
    fn assert_is(&self, whole: &Self, case: &str) {
        fn same<K: Ord + std::fmt::Debug, V: PartialEq>(
            one: &BTreeMap<K, V>,
            other: &BTreeMap<K, V>,
            case: &str,
        ) {
            let differs = |(key, value): &(&K, &V)| other.get(*key) != Some(*value);
            assert_eq!(one.iter().find(differs).map(|(key, _)| key), None, "{case}: there is another one");
            assert_eq!(other.keys().find(|&key| !one.contains_key(key)), None, "{case}: it is missing");
        }
        assert_eq!(self.roots, whole.roots, "{case}");
        same(&self.files, &whole.files, &format!("{case}, files"));
        same(&self.photos, &whole.photos, &format!("{case}, photos"));
        same(&self.listed, &whole.listed, &format!("{case}, listed"));
        same(&self.embeddings, &whole.embeddings, &format!("{case}, embeddings"));
        same(&self.fetched, &whole.fetched, &format!("{case}, fetched"));
        same(&self.failures, &whole.failures, &format!("{case}, failures"));
        assert_eq!(self.marks, whole.marks, "{case}");
        assert_eq!(self.counts, whole.counts, "{case}");
    }
}

/// Whatever is known after mending is true, and what only the user knows is all there.
fn check_part(part: &View, whole: &View, case: &str) {
    let kept = |view: &View| view.roots.iter().filter(|(_, kept)| *kept).cloned().collect::<Vec<_>>();
    assert_eq!(kept(part), kept(whole), "{case}: a folder that was added is gone");
    assert!(part.roots.is_subset(&whole.roots), "{case}");
    for (file, state) in &part.files {
        assert_eq!(Some(state), whole.files.get(file), "{case}");
    }
    for (content, (record, files)) in &part.photos {
        let (record_of_whole, files_of_whole) = &whole.photos[content];
        assert_eq!(record, record_of_whole, "{case}");
        assert!(files.is_subset(files_of_whole), "{case}");
        assert_eq!(part.listed.get(content), Some(files), "{case}");
        assert!(files.iter().all(|file| part.files.contains_key(file)), "{case}: a ghost");
    }
    assert_eq!(part.listed.len(), part.photos.len(), "{case}");
    for (content, values) in &part.embeddings {
        assert_eq!(Some(values), whole.embeddings.get(content), "{case}");
    }
    assert_eq!(part.fetched, part.embeddings, "{case}");
    for (file, failure) in &part.failures {
        assert_eq!(Some(failure), whole.failures.get(file), "{case}");
    }
    for (path, &(files, failures)) in &part.counts {
        let of = |photo: bool| {
            let is_one = |state: &String| {
                if photo {
                    !state.ends_with("Failed") && !state.ends_with("NotAPhoto")
                } else {
                    state.ends_with("Failed")
                }
            };
            part.files.iter().filter(|((root, _), state)| root == path && is_one(state)).count() as u64
        };
        assert_eq!((files, failures), (of(true), of(false)), "{case}");
    }
}

/// Does what the daemon does after a start: compares with the disk and reads what is not known.
fn read_again(store: &Store, gone: &[u32]) {
    let model = model(store).unwrap();
    let roots = ROOTS.map(|(path, kept)| store.add_root(Path::new(path), kept).unwrap());
    let reader = store.read().unwrap();
    let missing: Vec<_> = (0..PHOTOS)
        .filter(|&number| {
            let file = file(&roots, number);
            let is_searchable = |photo| reader.has_embedding(&model, photo).unwrap();
            !gone.contains(&number)
                && match reader.file(&file).unwrap().map(|record| record.state) {
                    Some(FileState::Photo(photo)) => !is_searchable(photo),
                    Some(_) => false,
                    None => true,
                }
        })
        .map(|number| write(&roots, number))
        .collect();
    store.commit(&model, &missing, 3_000).unwrap();
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> &'static str {
    let blocks = bytes.len() / BLOCK;
    let at = |random: &mut Random| random.below(blocks) * BLOCK;
    match random.below(8) {
        0 | 1 => {
            for _ in 0..1 + random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            "some bits flipped"
        }
        2 => {
            let at = at(random);
            bytes[at..at + BLOCK].fill(0);
            "a page of zeros"
        }
        3 => {
            let at = random.below(bytes.len());
            let end = (at + 1 + random.below(40 * BLOCK)).min(bytes.len());
            bytes[at..end].fill(if random.below(2) == 0 { 0 } else { 0xff });
            "a run overwritten"
        }
        4 => {
            bytes.truncate(random.below(bytes.len()));
            "the end cut off"
        }
        5 => {
            let (one, other) = (at(random), at(random));
            let copy = bytes[one..one + BLOCK].to_vec();
            bytes.copy_within(other..other + BLOCK, one);
            bytes[other..other + BLOCK].copy_from_slice(&copy);
            "two pages swapped"
        }
        6 => {
            let (one, other) = (at(random), at(random));
            bytes.copy_within(other..other + BLOCK, one);
            "a page written to another place"
        }
        _ => {
            let at = at(random);
            bytes[at..at + BLOCK].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            "a page of noise"
        }
    }
}

/// What became of the copies.
#[derive(Debug, Default)]
struct Outcomes {
    harmless: u32,
    mended_at_opening: u32,
    mended_after_an_error: u32,
    repaired: u32,
}

fn campaign(seed: u64, copies: u32) -> Outcomes {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original.redb");
    fill(&original);
    let whole = view(&Store::open(&original).unwrap()).unwrap();
    assert_eq!((whole.marks.len(), whole.photos.len() > 250), (10, true));
    let bytes = fs::read(&original).unwrap();
    let decisions = fs::read(original.with_extension("decisions")).unwrap();
    let mut outcomes = Outcomes::default();
    for copy in 0..copies {
        let mut random = Random((seed << 20) + u64::from(copy) + 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let mut bytes = bytes.clone();
        let kind = damage(&mut bytes, &mut random);
        let case = format!("seed {seed}, copy {copy}: {kind}");
        fs::write(&path, bytes).unwrap();
        fs::write(path.with_extension("decisions"), &decisions).unwrap();
        let examined = catch_unwind(AssertUnwindSafe(|| examine(&path, &whole, &case, &mut outcomes)));
        assert!(examined.is_ok(), "{case}");
    }
    outcomes
}

fn examine(path: &Path, whole: &View, case: &str, outcomes: &mut Outcomes) {
    let store = match Store::open(path) {
        Ok(store) => store,
        Err(StoreError::Refused { .. }) => {
            // What the message says to do.
            let Repair::Done { moved_to, .. } = repair(path).unwrap() else {
                panic!("{case}: refused and whole")
            };
            assert!(moved_to.exists());
            outcomes.repaired += 1;
            Store::open(path).unwrap()
        }
        Err(error) => panic!("{case}: {error}"),
    };
    let store = if store.read().unwrap().mended().unwrap().is_some() {
        outcomes.mended_at_opening += 1;
        store
    } else {
        match view(&store) {
            Ok(found) => {
                found.assert_is(whole, &format!("{case}: wrong without a word"));
                outcomes.harmless += 1;
                return;
            }
            Err(_) => {
                assert!(store.damage().borrow().is_some(), "{case}: no word of damage");
                drop(store);
                outcomes.mended_after_an_error += 1;
                Store::open(path).unwrap()
            }
        }
    };
    assert!(store.read().unwrap().mended().unwrap().is_some(), "{case}");
    let part = view(&store).unwrap();
    check_part(&part, whole, case);
    read_again(&store, &GONE);
    let mut again = view(&store).unwrap();
    // Contents of which no file is left are gone with what was lost; and marks on them are of no use until they return.
    again.marks = whole.marks.clone();
    again.assert_is(whole, &format!("{case}: not all is there again"));
}

#[test]
fn a_damaged_copy_answers_rightly_or_says_so() {
    let outcomes = campaign(1, 24);
    assert!(outcomes.mended_at_opening + outcomes.mended_after_an_error > 0, "{outcomes:?}");
}

#[test]
#[ignore = "takes minutes"]
fn four_hundred_damaged_copies_answer_rightly_or_say_so() {
    let outcomes = campaign(2, 400);
    println!("damaged copies: 400, wrong without a word: 0, panics: 0, {outcomes:?}");
}

#[test]
fn what_is_no_store_is_refused_with_what_to_do_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    fs::write(&path, "not a store at all").unwrap();
    let error = Store::open(&path).err().unwrap().to_string();
    assert!(error.contains("Run `resembled repair`"), "{error}");
    assert!(matches!(repair(&path).unwrap(), Repair::Done { .. }));
    assert_eq!(fs::read_to_string(folder.path().join("s.redb.damaged")).unwrap(), "not a store at all");
    Store::open(&path).unwrap();
    assert!(matches!(repair(&path).unwrap(), Repair::NotNeeded));
    fs::remove_file(&path).unwrap();
    assert!(matches!(repair(&path), Err(StoreError::NoStore { .. })));
}

#[test]
fn a_store_that_is_gone_or_new_has_what_the_user_decided() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    fill(&path);
    let whole = view(&Store::open(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();
    let store = Store::open(&path).unwrap();
    let roots = store.read().unwrap().roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].1.path, Path::new(ROOTS[1].0).as_os_str().as_bytes());
    read_again(&store, &[]);
    assert_eq!(view(&store).unwrap().marks, whole.marks);
    store.commit(&model(&store).unwrap(), &[Write::RemoveRoot { root: roots[0].0 }], 0).unwrap();
    store.tell_apart(&[content(20), content(22)], false).unwrap();
    drop(store);
    fs::remove_file(&path).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.read().unwrap().roots().unwrap(), []);
    read_again(&store, &[]);
    assert_eq!(view(&store).unwrap().marks.len(), whole.marks.len() - 1);
}

#[test]
fn what_a_first_start_that_was_cut_short_has_left_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let mut header = vec![0; 1 << 20];
    header[9..300].fill(7);
    let whole_of_version1 = {
        let path = folder.path().join("v1.redb");
        drop(redb::Database::create(&path).unwrap());
        fs::read(path).unwrap()
    };
    // Empty, as long as it was to be, without the first bytes that redb writes last, and without a table.
    for left in [vec![], vec![0; 1 << 20], header, whole_of_version1] {
        fs::write(&path, left).unwrap();
        assert_eq!(Store::open(&path).unwrap().read().unwrap().roots().unwrap(), []);
        fs::write(folder.path().join("s.redb.new"), [1; 5000]).unwrap();
        fs::remove_file(&path).unwrap();
        Store::open(&path).unwrap();
    }
}

#[test]
fn a_store_of_each_version_ever_made_opens() {
    for version in 1..=schema::SCHEMA_VERSION {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let golden = format!("{}/tests/data/stores/version_{version}.redb.gz", env!("CARGO_MANIFEST_DIR"));
        let mut packed = flate2::read::GzDecoder::new(fs::File::open(golden).unwrap());
        std::io::copy(&mut packed, &mut fs::File::create(&path).unwrap()).unwrap();
        let store = Store::open(&path).unwrap();
        let reader = store.read().unwrap();
        assert_eq!(reader.total().unwrap(), Counts { files: 300, failures: 2 }, "{version}");
        assert_eq!(reader.told_apart().unwrap().len(), 2, "{version}");
        let roots = reader.roots().unwrap();
        assert_eq!((roots.len(), roots.iter().filter(|(_, root)| root.kept).count()), (2, 1), "{version}");
        assert_eq!((reader.orphan_count().unwrap(), reader.mended().unwrap()), (1, None), "{version}");
    }
}

#[test]
fn a_store_that_has_shrunk_gives_its_room_back_at_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    fill(&path);
    let whole = view(&Store::open(&path).unwrap()).unwrap();
    let store = Store::open(&path).unwrap();
    let (model, roots) =
        (model(&store).unwrap(), ROOTS.map(|(path, kept)| store.add_root(Path::new(path), kept).unwrap()));
    let more = 1000..4000;
    store
        .commit(&model, &more.clone().map(|number| write(&roots, number)).collect::<Vec<_>>(), 2_500)
        .unwrap();
    store
        .commit(
            &model,
            &more.map(|number| Write::Gone { file: file(&roots, number) }).collect::<Vec<_>>(),
            2_500,
        )
        .unwrap();
    while store.read().unwrap().has_orphans(2_600).unwrap() {
        store.commit(&model, &[Write::PurgeOrphans { before: 2_600 }], 2_600).unwrap();
    }
    assert_eq!(store.read().unwrap().orphan_count().unwrap(), 0);
    view(&store).unwrap().assert_is(&whole, "purged");
    drop(store);
    let large = fs::metadata(&path).unwrap().len();
    let store = Store::open(&path).unwrap();
    let small = fs::metadata(&path).unwrap().len();
    assert!(small < large / 2, "{large} bytes became {small}");
    view(&store).unwrap().assert_is(&whole, "packed");
    assert_eq!(store.read().unwrap().quantizer(&model).unwrap(), Some((3, vec![9; 30_000])));
}

#[test]
#[ignore = "measures"]
fn the_file_takes_so_many_bytes_a_photo() {
    const PHOTOS: u32 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.redb");
    let store = Store::open(&path).unwrap();
    let model = store.ensure_model(ModelDigest([1; 32]), "mobilenet_v2", 1280, Metric::L2).unwrap();
    let root = store.add_root(Path::new("/photos"), false).unwrap();
    let mut random = Random(7);
    for batch in (0..PHOTOS).collect::<Vec<_>>().chunks(256) {
        let mut writes = Vec::new();
        for &number in batch {
            let values = (0..1280).map(|_| random.below(6000) as f32 / 1000.0).collect();
            let path = format!("2024/{:02}/IMG_{number:05}.jpg", number % 12 + 1);
            let mut write = write(&[root], number * 20);
            if let Write::Encoded { file, embedding, .. } = &mut write {
                *file = FileId { root, path: RelativePath::from_bytes(path.into_bytes()) };
                *embedding = Embedding(values).rounded();
            }
            writes.push(write);
        }
        store.commit(&model, &writes, 1_000).unwrap();
    }
    drop(store);
    let bytes = |path: &Path| fs::metadata(path).unwrap().len() / u64::from(PHOTOS);
    let grown = bytes(&path);
    let opened = open::open(&path).unwrap();
    let mut from = source::Source::open(Arc::clone(&opened.db));
    let none = decisions::Decided::default();
    beside::build_beside(&path, |db| rebuild::fill(db, &mut from, rebuild::Kind::Pack, &none, 0)).unwrap();
    println!(
        "{PHOTOS} photos of 1280 numbers: {grown} bytes a photo as it grew, {} packed",
        bytes(&beside::new_name(&path))
    );
}
