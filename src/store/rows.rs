//! Record <-> bytes: what stands in the file, in types of its own.
//!
//! Rows are postcard (<https://postcard.jamesmunns.com/wire-format>): fields in their order, variants by number. No type of
//! another room is among them, so whatever the others do to theirs, old files are read as they were written. What the
//! others count in words, these count in numbers that are written down here ([`format_code`] and the like).
//!
//! Invariant: these are the bytes of [`SCHEMA_VERSION`](super::schema::SCHEMA_VERSION). `golden/rows_N.txt` holds each kind
//! of row of version N; a test reads and writes them, so that a change of a row needs another version.
//!
//! Reading never trusts the bytes: whatever does not parse is [`StoreError::Damaged`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::record::{
    Compared, FailureKind, FailureRecord, FileRecord, FileState, ModelRecord, MountRecord, NearRule,
    PairRecord, PhotoRecord, Reach, RootRecord, Seen, Standing,
};
use crate::appearance::{Appearance, PerceptualHash, PixelHash};
use crate::decode::{Format, PhotoInfo, Position, Taken};
use crate::photo::{ContentHash, Fingerprint, Metric, PhotoId};
use crate::verify::Verdict;
use crate::watch::Volume;

/// A record, and how it stands in the file.
pub(super) trait Record: Sized {
    /// How it stands there.
    type Row: Serialize + DeserializeOwned;

    /// What an error calls it.
    const NAME: &'static str;

    fn row(&self) -> Self::Row;

    /// `None`: a number in it means nothing.
    fn from_row(row: Self::Row) -> Option<Self>;
}

/// Writes a record.
pub(super) fn to_bytes<R: Record>(record: &R) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(&record.row()).map_err(|source| StoreError::Unwritable { what: R::NAME, source })
}

/// Reads a record.
pub(super) fn from_bytes<R: Record>(bytes: &[u8]) -> Result<R, StoreError> {
    let row = postcard::take_from_bytes::<R::Row>(bytes).ok();
    let record = row.filter(|(_, rest)| rest.is_empty()).and_then(|(row, _)| R::from_row(row));
    record.ok_or(StoreError::Damaged { what: R::NAME })
}

/// Gives each variant its number in the file. A new variant does not compile before it has one.
macro_rules! codes {
    ($code:ident, $of_code:ident, $type:ty: $($number:literal $variant:ident),+ $(,)?) => {
        fn $code(value: $type) -> u8 {
            match value {
                $(<$type>::$variant => $number),+
            }
        }

        fn $of_code(code: u8) -> Option<$type> {
            Some(match code {
                $($number => <$type>::$variant,)+
                _ => return None,
            })
        }
    };
}

codes! { format_code, format_of_code, Format:
    0 Jpeg, 1 Png, 2 WebP, 3 Gif, 4 Bmp, 5 Tiff, 6 Heif, 7 Avif, 8 Jxl, 9 Cr2, 10 Cr3, 11 Nef, 12 Arw, 13 Orf,
    14 Rw2, 15 Raf, 16 Pef, 17 Dng, 18 OtherRaw, 19 Ico, 20 Jpeg2000, 21 Psd,
}

codes! { failure_code, failure_of_code, FailureKind:
    0 Corrupt, 1 Unsupported, 2 TooLarge, 3 NotAPhoto, 4 Unreadable, 5 TimedOut, 6 Internal, 7 Passing,
}

codes! { metric_code, metric_of_code, Metric: 0 L2, 1 Cosine }

#[derive(Serialize, Deserialize)]
pub(super) struct FileRow {
    fingerprint: FingerprintRow,
    state: StateRow,
}

#[derive(Serialize, Deserialize)]
struct FingerprintRow {
    len: u64,
    modified_ns: i128,
    changed_ns: i128,
    inode: u64,
}

#[derive(Serialize, Deserialize)]
enum StateRow {
    Photo(u64),
    Failed,
    NotAPhoto,
}

impl Record for FileRecord {
    type Row = FileRow;
    const NAME: &'static str = "a file";

    fn row(&self) -> FileRow {
        let Fingerprint { len, modified_ns, changed_ns, inode } = self.fingerprint;
        FileRow {
            fingerprint: FingerprintRow { len, modified_ns, changed_ns, inode },
            state: match self.state {
                FileState::Photo(photo) => StateRow::Photo(photo.0),
                FileState::Failed => StateRow::Failed,
                FileState::NotAPhoto => StateRow::NotAPhoto,
            },
        }
    }

    fn from_row(row: FileRow) -> Option<Self> {
        let FingerprintRow { len, modified_ns, changed_ns, inode } = row.fingerprint;
        Some(Self {
            fingerprint: Fingerprint { len, modified_ns, changed_ns, inode },
            state: match row.state {
                StateRow::Photo(photo) => FileState::Photo(PhotoId(photo)),
                StateRow::Failed => FileState::Failed,
                StateRow::NotAPhoto => FileState::NotAPhoto,
            },
        })
    }
}

/// The bit beside a format's number that says that a part of the picture is lost.
const DAMAGED: u8 = 0x80;

#[derive(Serialize, Deserialize)]
pub(super) struct PhotoRow {
    content: [u8; 32],
    size_bytes: u64,
    width: u32,
    height: u32,
    /// [`format_code`], and [`DAMAGED`].
    format: u8,
    taken: Option<TakenRow>,
    camera: Option<String>,
    lens: Option<String>,
    position: Option<PositionRow>,
}

#[derive(Serialize, Deserialize)]
struct TakenRow {
    local_seconds: i64,
    nanos: u32,
    offset_minutes: Option<i16>,
}

#[derive(Serialize, Deserialize)]
struct PositionRow {
    latitude: f64,
    longitude: f64,
    altitude: Option<f64>,
}

impl Record for PhotoRecord {
    type Row = PhotoRow;
    const NAME: &'static str = "a photo";

    fn row(&self) -> PhotoRow {
        let PhotoInfo { width, height, format, taken, camera, lens, position, is_damaged } = &self.info;
        PhotoRow {
            content: self.content.0,
            size_bytes: self.size_bytes,
            width: *width,
            height: *height,
            format: format_code(*format) | if *is_damaged { DAMAGED } else { 0 },
            taken: taken.map(|Taken { local_seconds, nanos, offset_minutes }| TakenRow {
                local_seconds,
                nanos,
                offset_minutes,
            }),
            camera: camera.clone(),
            lens: lens.clone(),
            position: position.map(|Position { latitude, longitude, altitude }| PositionRow {
                latitude,
                longitude,
                altitude,
            }),
        }
    }

    fn from_row(row: PhotoRow) -> Option<Self> {
        let info = PhotoInfo {
            width: row.width,
            height: row.height,
            format: format_of_code(row.format & !DAMAGED)?,
            taken: row.taken.map(|TakenRow { local_seconds, nanos, offset_minutes }| Taken {
                local_seconds,
                nanos,
                offset_minutes,
            }),
            camera: row.camera,
            lens: row.lens,
            position: row.position.map(|PositionRow { latitude, longitude, altitude }| Position {
                latitude,
                longitude,
                altitude,
            }),
            is_damaged: row.format & DAMAGED != 0,
        };
        Some(Self { content: ContentHash(row.content), size_bytes: row.size_bytes, info })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct FailureRow {
    kind: u8,
    reason: String,
    at: i64,
    size_bytes: u64,
}

impl Record for FailureRecord {
    type Row = FailureRow;
    const NAME: &'static str = "a failure";

    fn row(&self) -> FailureRow {
        let Self { kind, reason, at, size_bytes } = self;
        FailureRow { kind: failure_code(*kind), reason: reason.clone(), at: *at, size_bytes: *size_bytes }
    }

    fn from_row(row: FailureRow) -> Option<Self> {
        let FailureRow { kind, reason, at, size_bytes } = row;
        Some(Self { kind: failure_of_code(kind)?, reason, at, size_bytes })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct RootRow {
    path: Vec<u8>,
    volume: Option<VolumeRow>,
    kept: bool,
    seen_at: Option<Vec<u8>>,
    mounts: Vec<MountRow>,
}

#[derive(Serialize, Deserialize)]
struct VolumeRow {
    uuid: Option<String>,
    file_system_id: Option<u64>,
    kind: String,
    source: String,
    inner_path: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct MountRow {
    at: Vec<u8>,
    volume: Option<VolumeRow>,
}

impl VolumeRow {
    fn of(volume: &Volume) -> Self {
        let Volume { uuid, file_system_id, kind, source, inner_path } = volume.clone();
        Self { uuid, file_system_id, kind, source, inner_path }
    }

    fn volume(self) -> Volume {
        let Self { uuid, file_system_id, kind, source, inner_path } = self;
        Volume { uuid, file_system_id, kind, source, inner_path }
    }
}

impl Record for RootRecord {
    type Row = RootRow;
    const NAME: &'static str = "a folder";

    fn row(&self) -> RootRow {
        let Self { path, volume, kept, seen_at, mounts } = self;
        RootRow {
            path: path.clone(),
            volume: volume.as_ref().map(VolumeRow::of),
            kept: *kept,
            seen_at: seen_at.clone(),
            mounts: mounts
                .iter()
                .map(|MountRecord { at, volume }| MountRow {
                    at: at.clone(),
                    volume: volume.as_ref().map(VolumeRow::of),
                })
                .collect(),
        }
    }

    fn from_row(row: RootRow) -> Option<Self> {
        let RootRow { path, volume, kept, seen_at, mounts } = row;
        let mounts = mounts
            .into_iter()
            .map(|MountRow { at, volume }| MountRecord { at, volume: volume.map(VolumeRow::volume) });
        Some(Self { path, volume: volume.map(VolumeRow::volume), kept, seen_at, mounts: mounts.collect() })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ModelRow {
    id: u32,
    name: String,
    dim: u32,
    metric: u8,
}

impl Record for ModelRecord {
    type Row = ModelRow;
    const NAME: &'static str = "a network";

    fn row(&self) -> ModelRow {
        let Self { id, name, dim, metric } = self;
        ModelRow { id: *id, name: name.clone(), dim: *dim, metric: metric_code(*metric) }
    }

    fn from_row(row: ModelRow) -> Option<Self> {
        let ModelRow { id, name, dim, metric } = row;
        Some(Self { id, name, dim, metric: metric_of_code(metric)? })
    }
}

const TRANSPARENT: u8 = 1;
const PARTLY_LOST: u8 = 2;

#[derive(Serialize, Deserialize)]
pub(super) struct AppearanceRow {
    /// 32 rows of 32 bits, little endian.
    hash: [[u8; 32]; 4],
    contrast: u16,
    detail: u16,
    aspect: u32,
    mean: [u8; 3],
    /// [`TRANSPARENT`] and [`PARTLY_LOST`].
    flags: u8,
    pixels: Option<[u8; 16]>,
}

impl Record for Appearance {
    type Row = AppearanceRow;
    const NAME: &'static str = "what a photo looks like";

    fn row(&self) -> AppearanceRow {
        let Self { hash, contrast, detail, aspect, mean, is_transparent, is_damaged, pixels } = self;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let mut bytes = [[0; 32]; 4];
        for (four, row) in bytes.as_flattened_mut().as_chunks_mut::<4>().0.iter_mut().zip(hash.0) {
            *four = row.to_le_bytes();
        }
        AppearanceRow {
            hash: bytes,
            contrast: *contrast,
            detail: *detail,
            aspect: *aspect,
            mean: *mean,
            flags: flag(*is_transparent, TRANSPARENT) | flag(*is_damaged, PARTLY_LOST),
            pixels: pixels.map(|hash| hash.0),
        }
    }

    fn from_row(row: AppearanceRow) -> Option<Self> {
        let AppearanceRow { hash: bytes, contrast, detail, aspect, mean, flags, pixels } = row;
        if flags > TRANSPARENT | PARTLY_LOST {
            return None;
        }
        let mut hash = [0; 32];
        for (row, four) in hash.iter_mut().zip(bytes.as_flattened().as_chunks::<4>().0) {
            *row = u32::from_le_bytes(*four);
        }
        let hash = PerceptualHash(hash);
        Some(Self {
            hash,
            contrast,
            detail,
            aspect,
            mean,
            is_transparent: flags & TRANSPARENT != 0,
            is_damaged: flags & PARTLY_LOST != 0,
            pixels: pixels.map(PixelHash),
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct PairRow {
    distance: f32,
    standing: StandingRow,
}

#[derive(Serialize, Deserialize)]
enum StandingRow {
    LooksSame,
    Seen { verdict: u8, probability: u8, shared: [u8; 2], quarter_turns: u8 },
    Candidate { share: f32 },
}

/// Steps of a share or probability of 1.
const STEPS: f32 = 255.0;

impl Record for PairRecord {
    type Row = PairRow;
    const NAME: &'static str = "a pair of photos";

    fn row(&self) -> PairRow {
        let steps = |share: f32| (share * STEPS).round() as u8;
        let standing = match self.standing {
            Standing::LooksSame => StandingRow::LooksSame,
            Standing::Candidate(share) => StandingRow::Candidate { share },
            Standing::Seen(Seen { verdict, probability, shared, quarter_turns }) => StandingRow::Seen {
                verdict: code_of_verdict(verdict),
                probability: steps(probability),
                shared: shared.map(steps),
                quarter_turns,
            },
        };
        PairRow { distance: self.distance, standing }
    }

    fn from_row(row: PairRow) -> Option<Self> {
        let share = |steps: u8| f32::from(steps) / STEPS;
        let standing = match row.standing {
            StandingRow::LooksSame => Standing::LooksSame,
            StandingRow::Candidate { share } => Standing::Candidate(share),
            StandingRow::Seen { quarter_turns: 4.., .. } => return None,
            StandingRow::Seen { verdict, probability, shared, quarter_turns } => Standing::Seen(Seen {
                verdict: verdict_of_code(verdict)?,
                probability: share(probability),
                shared: shared.map(share),
                quarter_turns,
            }),
        };
        Some(Self { distance: row.distance, standing })
    }
}

fn code_of_verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Different => 0,
        Verdict::Copy => 1,
        Verdict::Edit => 2,
        Verdict::Turned => 3,
        Verdict::Mirrored => 4,
        Verdict::AnotherShot => 5,
    }
}

fn verdict_of_code(code: u8) -> Option<Verdict> {
    Some(match code {
        0 => Verdict::Different,
        1 => Verdict::Copy,
        2 => Verdict::Edit,
        3 => Verdict::Turned,
        4 => Verdict::Mirrored,
        5 => Verdict::AnotherShot,
        _ => return None,
    })
}

#[derive(Serialize, Deserialize)]
pub(super) struct ComparedRow {
    candidates: (f32, f32),
    near: (f32, f32),
    judge: u32,
    photos: u64,
    runs: Vec<(u64, u64)>,
}

impl Record for Compared {
    type Row = ComparedRow;
    const NAME: &'static str = "the list of compared photos";

    fn row(&self) -> ComparedRow {
        let runs = self.runs.iter().map(|&(first, last)| (first.0, last.0)).collect();
        let pair = |reach: Reach| (reach.distance, reach.share);
        let NearRule { candidates, near, judge } = self.rule;
        ComparedRow { candidates: pair(candidates), near: pair(near), judge, photos: self.photos, runs }
    }

    fn from_row(row: ComparedRow) -> Option<Self> {
        let runs = row.runs.into_iter().map(|(first, last)| (PhotoId(first), PhotoId(last))).collect();
        let reach = |(distance, share)| Reach { distance, share };
        let rule = NearRule { candidates: reach(row.candidates), near: reach(row.near), judge: row.judge };
        Some(Self { rule, photos: row.photos, runs })
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
