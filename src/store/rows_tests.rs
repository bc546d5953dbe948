//! Rows against the golden bytes of this version, and against bytes that are none.
//!
//! `golden/rows_N.txt` is written once for each version, by `cargo test --release --lib -- --ignored golden_rows_are_written`. While
//! version N has not been released it may be made anew; after that, a row that changes needs version N + 1, a
//! migration, and golden rows of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::record::{EventRecord, Happened};
use super::super::schema::SCHEMA_VERSION;
use super::super::vectors;
use super::*;

fn golden_file() -> PathBuf {
    let below = format!("src/store/golden/rows_{SCHEMA_VERSION}.txt");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Every golden row must be this very record, and this record must be written as that very row.
struct Golden {
    rows: BTreeMap<String, Vec<u8>>,
    written: Vec<(String, Vec<u8>)>,
}

impl Golden {
    fn check<R: Record + PartialEq + std::fmt::Debug>(&mut self, name: &str, record: &R) {
        let bytes = to_bytes(record).unwrap();
        if let Some(golden) = self.rows.get(name) {
            assert_eq!(
                &from_bytes::<R>(golden).unwrap(),
                record,
                "{name} of the golden rows is read as another"
            );
        }
        self.written.push((name.to_owned(), bytes));
    }

    /// Goes through every kind of row and every variant in it.
    fn check_all(&mut self) {
        let fingerprint =
            Fingerprint { len: 300, modified_ns: -5, changed_ns: 1_700_000_000_123_456_789, inode: 7 };
        for (name, state) in [
            ("file.photo", FileState::Photo(PhotoId(1000))),
            ("file.failed", FileState::Failed),
            ("file.not_a_photo", FileState::NotAPhoto),
        ] {
            self.check(name, &FileRecord { fingerprint, state });
        }
        let info = PhotoInfo {
            width: 4000,
            height: 3000,
            format: Format::Jpeg,
            taken: Some(Taken { local_seconds: -1, nanos: 5, offset_minutes: Some(-120) }),
            camera: Some("A camera".to_owned()),
            lens: Some("A lens".to_owned()),
            position: Some(Position { latitude: 48.5, longitude: -11.25, altitude: Some(519.0) }),
            is_damaged: false,
        };
        let photo = |info| PhotoRecord { content: ContentHash([0xab; 32]), size_bytes: 1 << 33, info };
        self.check("photo.full", &photo(info.clone()));
        self.check("photo.damaged", &photo(PhotoInfo { is_damaged: true, ..info.clone() }));
        let bare = PhotoInfo { taken: None, camera: None, lens: None, position: None, ..info };
        for code in 0..=u8::MAX {
            let Some(format) = format_of_code(code) else { continue };
            self.check(
                &format!("photo.{}", format.media_type()),
                &photo(PhotoInfo { format, ..bare.clone() }),
            );
        }
        for code in 0..=u8::MAX {
            let Some(kind) = failure_of_code(code) else { continue };
            let failure = FailureRecord { kind, reason: "why".to_owned(), at: -1, size_bytes: 12 };
            self.check(&format!("failure.{kind:?}"), &failure);
        }
        for code in 0..=u8::MAX {
            let Some(metric) = metric_of_code(code) else { continue };
            let model = ModelRecord { id: 3, name: "a network".to_owned(), dim: 1280, metric };
            self.check(&format!("model.{metric:?}"), &model);
        }
        let volume = Volume {
            uuid: Some("1234-ABCD".to_owned()),
            file_system_id: Some(99),
            kind: "ext4".to_owned(),
            source: "/dev/sdb1".to_owned(),
            inner_path: b"/pictures".to_vec(),
        };
        let mounts = vec![
            MountRecord { at: b"card".to_vec(), volume: Some(volume.clone()) },
            MountRecord { at: b"old".to_vec(), volume: None },
        ];
        let root = RootRecord::new(b"/media/\xff".to_vec(), true);
        self.check("root.never_seen", &RootRecord { kept: false, ..root.clone() });
        let seen_at = Some(b"/run/media/x".to_vec());
        self.check("root.seen", &RootRecord { volume: Some(volume), seen_at, mounts, ..root });
        let runs = vec![(PhotoId(1), PhotoId(300)), (PhotoId(302), PhotoId(302))];
        let hash = PerceptualHash(std::array::from_fn(|row| 0x0123_4567 << (row % 8)));
        let looked_at = Appearance {
            hash,
            contrast: 3000,
            detail: 200,
            aspect: 5461,
            mean: [1, 2, 255],
            is_transparent: true,
            is_damaged: false,
            pixels: Some(PixelHash([0xcd; 16])),
        };
        self.check("appearance.with_pixels", &looked_at);
        self.check("appearance.damaged", &Appearance { is_damaged: true, ..looked_at.clone() });
        self.check("appearance.without", &Appearance { pixels: None, is_transparent: false, ..looked_at });
        let rule = NearRule {
            candidates: Reach { distance: 0.25, share: 0.75 },
            near: Reach { distance: 0.125, share: 0.5 },
            judge: 2,
        };
        self.check("compared", &Compared { rule, photos: 3, runs });
        let pair = |standing| PairRecord { distance: 0.5, standing };
        self.check("pair.looks_same", &pair(Standing::LooksSame));
        self.check("pair.candidate", &pair(Standing::Candidate(0.25)));
        for code in 0..=u8::MAX {
            let Some(verdict) = verdict_of_code(code) else { continue };
            let seen = Seen { verdict, probability: 0.8, shared: [1.0, 0.0], quarter_turns: 3 };
            self.check(&format!("pair.{verdict:?}"), &pair(Standing::Seen(seen)));
        }

        let (content, before) = (ContentHash([0xab; 32]), ContentHash([0xcd; 32]));
        for (name, happened) in [
            ("added", Happened::Added { content }),
            ("changed", Happened::Changed { content, before }),
            ("moved", Happened::Moved { content: Some(content), from: b"/a".to_vec() }),
            ("removed", Happened::Removed { content: None }),
            ("failed", Happened::Failed { reason: "why".to_owned(), before: Some(before) }),
            ("offline", Happened::Offline),
            ("online", Happened::Online { from: Some(b"/b".to_vec()) }),
            ("unwatched", Happened::Unwatched),
        ] {
            let event = EventRecord { at: 1_700_000_000, path: b"/photos/\xff.jpg".to_vec(), happened };
            self.check(&format!("event.{name}"), &event);
        }

        let row = vectors::put(None, 2, &[0.5, -2.0, 1024.0]);
        let row = vectors::put(Some(vectors::Row::parse(&row, 3).unwrap()), 0, &[0.1, 1e9, 0.0]);
        self.written.push(("vectors".to_owned(), row));
    }
}

#[test]
fn rows_are_the_golden_ones() {
    let text = std::fs::read_to_string(golden_file()).unwrap();
    let rows = text.lines().map(|line| line.split_once(' ').unwrap());
    let rows = rows.map(|(name, bytes)| (name.to_owned(), unhex(bytes))).collect();
    let mut golden = Golden { rows, written: Vec::new() };
    golden.check_all();
    let written: BTreeMap<_, _> = golden.written.into_iter().collect();
    assert_eq!(written, golden.rows, "a row has changed: raise SCHEMA_VERSION, and migrate");
    let row = vectors::Row::parse(&golden.rows["vectors"], 3).unwrap();
    for (place, expected) in [(0, [0.1, 1e9, 0.0]), (2, [0.5, -2.0, 1024.0])] {
        let mut values = Vec::new();
        assert!(row.read(place, &mut values));
        assert_eq!(values, expected);
    }
}

#[test]
#[ignore = "writes the golden rows of this version"]
fn golden_rows_are_written() {
    let mut golden = Golden { rows: BTreeMap::new(), written: Vec::new() };
    golden.check_all();
    let lines: String =
        golden.written.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    std::fs::create_dir_all(golden_file().parent().unwrap()).unwrap();
    std::fs::write(golden_file(), lines).unwrap();
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_bytes::<FileRecord>(&bytes);
        let _ = from_bytes::<PhotoRecord>(&bytes);
        let _ = from_bytes::<FailureRecord>(&bytes);
        let _ = from_bytes::<RootRecord>(&bytes);
        let _ = from_bytes::<ModelRecord>(&bytes);
        let _ = from_bytes::<Compared>(&bytes);
        let _ = from_bytes::<PairRecord>(&bytes);
        let _ = from_bytes::<Appearance>(&bytes);
        let _ = from_bytes::<EventRecord>(&bytes);
    }
}
