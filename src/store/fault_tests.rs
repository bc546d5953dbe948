//! The store on a disk that refuses writes, or loses its power, at every step of a short history.

use std::fmt::Write as _;
use std::sync::Arc;

use rustix::io::Errno;

use super::disk::FileDisk;
use super::faulty::{Fault, FaultyDisk};
use super::*;
use crate::decode::{Format, PhotoInfo};
use crate::photo::{ContentHash, Embedding, FileId, Fingerprint, PhotoId, RelativePath};

const PATH: &str = "/no/store.redb";

/// A store on a disk in memory, with what every act needs.
struct World {
    store: Store,
    disk: FaultyDisk,
    model: ModelRecord,
    root: RootId,
}

/// One step of the history. Each may be repeated.
type Act = fn(&World) -> Result<(), StoreError>;

/// Covers each kind of write, and pages that are freed and used again.
const HISTORY: [Act; 15] = [
    |world| world.commit(&(0..20).map(|n| world.encoded(n, n)).collect::<Vec<_>>()),
    |world| world.commit(&[world.encoded(30, 1), world.gone(2), world.gone(3)]),
    |world| world.store.add_root(Path::new("/photos/more"), true).map(drop),
    |world| world.commit(&[world.moved(4, 40), world.moved(5, 41), world.doubtful(6)]),
    |world| world.commit(&[world.failed(7), world.failed(50)]),
    |world| world.store.keep_codes(&world.model, 3, (1..15).map(|id| (PhotoId(id), vec![id as u8; 40]))),
    |world| world.store.keep_labels(&world.model, (1..15).map(|id| (PhotoId(id), vec![id as u8; 40]))),
    |world| world.store.keep_quantizer(&world.model, 3, &[3; 3000]),
    |world| {
        let compared =
            Compared { rule: NearRule::default(), photos: 3, runs: vec![(PhotoId(1), PhotoId(15))] };
        world.store.keep_pairs(&world.model, [9, 10].map(candidate), &compared)
    },
    |world| world.store.decide_pairs(&world.model, [(candidate(9), Some(Standing::LooksSame))]),
    |world| world.store.tell_apart(&[content(1), content(8)], true),
    |world| world.commit(&[Write::PurgeOrphans { before: 5_000 }]),
    |world| world.store.drop_pairs(&world.model),
    |world| world.commit(&(60..90).map(|n| world.encoded(n, n)).collect::<Vec<_>>()),
    |world| world.commit(&[Write::TryFailuresAgain { decoder: 7 }, world.gone(60), world.encoded(0, 99)]),
];

fn candidate(second: u64) -> NearPair {
    let record = PairRecord { distance: 0.25, standing: Standing::Candidate(0.5) };
    NearPair { first: PhotoId(1), second: PhotoId(second), record }
}

impl World {
    fn open(disk: FaultyDisk) -> Self {
        let store = Store::open_on(disk.clone(), Path::new(PATH)).unwrap();
        let model = store.ensure_model(ModelDigest([1; 32]), "fake", 300, Metric::Cosine).unwrap();
        let root = store.add_root(Path::new("/photos"), false).unwrap();
        Self { store, disk, model, root }
    }

    fn file(&self, name: u8) -> FileId {
        FileId { root: self.root, path: RelativePath::from_bytes(format!("d/{name}.jpg").into_bytes()) }
    }

    fn encoded(&self, name: u8, number: u8) -> Write {
        let info = PhotoInfo {
            width: 4,
            height: 3,
            format: Format::Png,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        };
        Write::Encoded {
            file: self.file(name),
            fingerprint: fingerprint(number),
            photo: PhotoRecord { content: content(number), size_bytes: 1, info },
            embedding: Embedding(vec![f32::from(number); 300]),
            appearance: None,
            former: None,
        }
    }

    fn gone(&self, name: u8) -> Write {
        Write::Gone { file: self.file(name) }
    }

    fn moved(&self, from: u8, to: u8) -> Write {
        Write::Moved { from: self.file(from), to: self.file(to), fingerprint: fingerprint(from) }
    }

    fn doubtful(&self, name: u8) -> Write {
        Write::Doubtful { file: self.file(name) }
    }

    fn failed(&self, name: u8) -> Write {
        let failure =
            FailureRecord { kind: FailureKind::Corrupt, reason: "torn".into(), at: 0, size_bytes: 1 };
        Write::Failed { file: self.file(name), fingerprint: fingerprint(name), failure }
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.store.commit(&self.model, writes, 1_000).map(drop)
    }

    /// Everything that is in the store, as text.
    fn dump(&self) -> String {
        let reader = self.store.read().unwrap();
        let photos = reader.photos().unwrap();
        let mut text = String::new();
        for (photo, content) in reader.list_photos(None, usize::MAX).unwrap() {
            let mut embedding = Vec::new();
            assert!(reader.embedding(&self.model, photo, &mut embedding).unwrap());
            let files = photos.files_of(photo).unwrap();
            writeln!(text, "{photo:?} {content} {} {files:?} {:?}", embedding[0], photos.get(photo)).unwrap();
            for file in files {
                assert!(
                    matches!(reader.file(&file).unwrap().unwrap().state, FileState::Photo(of) if of == photo)
                );
            }
        }
        let totals = (reader.total().unwrap(), reader.orphan_count().unwrap());
        let children = reader.children(self.root, &RelativePath::from_bytes(b"d".to_vec())).unwrap();
        writeln!(text, "{totals:?} {:?} {children:?}", reader.roots().unwrap()).unwrap();
        writeln!(text, "{:?} {:?}", reader.list_failures(None, 99).unwrap(), reader.told_apart().unwrap())
            .unwrap();
        writeln!(
            text,
            "{:?} {:?}",
            reader.compared(&self.model).unwrap(),
            reader.quantizer(&self.model).unwrap()
        )
        .unwrap();
        reader.each_pair(&self.model, |pair| writeln!(text, "{pair:?}").unwrap()).unwrap();
        reader
            .each_code(&self.model, 3, |photo, code| writeln!(text, "{photo:?} {code:?}").unwrap())
            .unwrap();
        reader
            .each_label(&self.model, |photo, labels| writeln!(text, "{photo:?} {labels:?}").unwrap())
            .unwrap();
        text
    }
}

fn content(number: u8) -> ContentHash {
    ContentHash::of(&[number])
}

fn fingerprint(number: u8) -> Fingerprint {
    Fingerprint { len: u64::from(number), modified_ns: 5, changed_ns: 6, inode: u64::from(number) }
}

/// A store that was made and closed in good order.
fn made() -> Vec<u8> {
    let disk = FaultyDisk::default();
    drop(World::open(disk.clone()));
    disk.after_power_cut(0)
}

/// What the store holds before the history and after each act, and how many steps the disk made until then.
fn undisturbed(made: &[u8]) -> (Vec<String>, usize) {
    let world = World::open(FaultyDisk::holding(made.to_vec()));
    let mut dumps = vec![world.dump()];
    let begun = world.disk.steps();
    for act in HISTORY {
        act(&world).unwrap();
        dumps.push(world.dump());
    }
    (dumps, world.disk.steps() - begun)
}

/// Lets an act that waits for the disk end where the test fails; nobody would mend the disk any more.
struct EndsWithUs<'a>(&'a World);

impl Drop for EndsWithUs<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store.give_up();
        }
    }
}

/// A full, read-only or failing disk used to end the daemon, and to keep it from starting.
#[test]
fn a_disk_that_refuses_from_any_step_on_takes_nothing_but_writing_away_until_it_heals() {
    let made = made();
    let (dumps, steps) = undisturbed(&made);
    assert!(steps > HISTORY.len() * 3, "{steps}");
    for step in 0..steps {
        let errno = [Errno::NOSPC, Errno::ROFS, Errno::IO][step % 3];
        let world = World::open(FaultyDisk::holding(made.clone()));
        world.disk.fails_after(step, Fault::Refuses(errno));
        let mut refusals = 0;
        for (number, act) in HISTORY.iter().enumerate() {
            let (before, after) = (&dumps[number], &dumps[number + 1]);
            let is_either = |dump: &String| dump == before || dump == after;
            std::thread::scope(|scope| {
                let acting = scope.spawn(|| act(&world));
                let _ends = EndsWithUs(&world);
                // An act that waits for the disk meets it well again; one that does not says so.
                while !acting.is_finished() {
                    if world.store.problem().is_none() {
                        std::thread::yield_now();
                        continue;
                    }
                    refusals += 1;
                    assert!(is_either(&world.dump()), "reading goes on, step {step}, act {number}");
                    assert!(!world.store.retry(), "the disk refuses still");
                    let crashed = World::open(FaultyDisk::holding(world.disk.after_power_cut(step as u64)));
                    assert!(is_either(&crashed.dump()), "after a power cut, step {step}, act {number}");
                    world.disk.heal();
                    assert!(world.store.retry());
                }
                match acting.join().unwrap() {
                    Ok(()) => {}
                    Err(StoreError::CannotWrite { .. }) => {
                        refusals += 1;
                        assert!(is_either(&world.dump()), "reading goes on, step {step}, act {number}");
                        world.disk.heal();
                        assert!(world.store.retry());
                        act(&world).unwrap();
                    }
                    Err(error) => panic!("step {step}, act {number}: {error:?}"),
                }
            });
            assert_eq!(world.dump(), *after, "step {step}, act {number}");
        }
        // The last step copies a head that is on the disk already; that it is refused is no matter before the next write.
        assert!(refusals > 0 || step + 1 == steps, "step {step} of {steps} was refused");
        let crashed = World::open(FaultyDisk::holding(world.disk.after_power_cut(step as u64)));
        assert_eq!(crashed.dump(), dumps[HISTORY.len()], "all of it is on the disk, step {step}");
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_the_last_commit_whole() {
    let made = made();
    let (dumps, steps) = undisturbed(&made);
    for step in 0..steps {
        let world = World::open(FaultyDisk::holding(made.clone()));
        world.disk.fails_after(step, Fault::PowerCut);
        let mut acknowledged = 0;
        for act in HISTORY {
            act(&world).unwrap();
            if world.disk.is_off() {
                break;
            }
            acknowledged += 1;
        }
        for seed in 0..3 {
            let found = World::open(FaultyDisk::holding(world.disk.after_power_cut(seed))).dump();
            let is_next = dumps.get(acknowledged + 1) == Some(&found);
            assert!(found == dumps[acknowledged] || is_next, "step {step}, {acknowledged} acts acknowledged");
        }
    }
}

#[test]
fn what_waits_for_a_disk_that_refuses_lets_go_when_it_is_given_up() {
    let world = World::open(FaultyDisk::default());
    world.disk.fails_after(0, Fault::Refuses(Errno::NOSPC));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| HISTORY[0](&world));
        while world.store.problem().is_none() {
            std::thread::yield_now();
        }
        let problem = world.store.problem().unwrap();
        assert_eq!(problem.kind, ProblemKind::Full);
        assert!(matches!(
            world.store.add_root(Path::new("/more"), true),
            Err(StoreError::CannotWrite { .. })
        ));
        world.store.give_up();
        assert!(matches!(waiting.join().unwrap(), Err(StoreError::CannotWrite { .. })));
    });
}

#[test]
fn a_file_that_may_only_be_read_is_opened_and_written_once_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    drop(Store::open(&path).unwrap());
    let read_only = ReadOnlyUntilTold { disk: FileDisk::open(&path).unwrap(), told: Default::default() };
    let told = Arc::clone(&read_only.told);
    let store = Store::open_on(read_only, &path).unwrap();
    assert_eq!(store.problem().unwrap().kind, ProblemKind::ReadOnly);
    assert_eq!(store.read().unwrap().roots().unwrap(), []);
    assert!(matches!(store.add_root(Path::new("/a"), true), Err(StoreError::CannotWrite { .. })));
    assert!(!store.retry());
    told.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(store.retry());
    store.add_root(Path::new("/a"), true).unwrap();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().read().unwrap().roots().unwrap().len(), 1);
}

/// Root may write whatever it likes, so modes of files prove nothing.
#[derive(Debug)]
struct ReadOnlyUntilTold {
    disk: FileDisk,
    told: Arc<std::sync::atomic::AtomicBool>,
}

impl ReadOnlyUntilTold {
    fn writable(&self) -> std::io::Result<()> {
        if self.told.load(std::sync::atomic::Ordering::Relaxed) { Ok(()) } else { Err(Errno::ROFS.into()) }
    }
}

impl Disk for ReadOnlyUntilTold {
    fn len(&self) -> std::io::Result<u64> {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        self.disk.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.writable().and_then(|()| self.disk.write_at(offset, data))
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.writable().and_then(|()| self.disk.set_len(len))
    }

    fn sync(&self) -> std::io::Result<()> {
        self.writable().and_then(|()| self.disk.sync())
    }

    fn make_writable(&self) -> std::io::Result<()> {
        self.writable()
    }
}
