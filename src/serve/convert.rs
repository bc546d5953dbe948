//! What the answers have in common, put together from our types; and names and paths of requests, read into them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use prost_types::Timestamp;
use resembled_api::uri;
use tonic::Status;

use super::files::Identity;
use super::{Api, Phase, Served, refuse};
use crate::decode::{Position, Taken};
use crate::ingest::{Encoding, Hold, first_wait};
use crate::models::Bands;
use crate::photo::{ContentHash, FileId, Fingerprint, Metric, PhotoId, RootId};
use crate::proto;
use crate::search::Recall;
use crate::store::{
    FailureKind, FailureRecord, Mended, PhotoRecord, Photos, ProblemKind, Reader, StoreError,
};
use crate::watch::{OfflineReason, Omission, OmissionKind, RootState, RootStatus, Watching};

/// Prefix of a photo's resource name.
const PHOTOS: &str = "photos/";

/// Prefix of a root's resource name.
const ROOTS: &str = "roots/";

pub(super) fn photo_name(content: ContentHash) -> String {
    format!("{PHOTOS}{content}")
}

pub(super) fn root_name(root: RootId) -> String {
    format!("{ROOTS}{}", root.0)
}

/// Reads `photos/{content}`.
pub(super) fn parse_photo_name(field: &str, name: &str) -> Result<ContentHash, Status> {
    name.strip_prefix(PHOTOS)
        .and_then(|content| content.parse().ok())
        .ok_or_else(|| refuse::field(field, "must be photos/ and 64 hexadecimal digits"))
}

/// Reads `roots/{number}`.
pub(super) fn parse_root_name(field: &str, name: &str) -> Result<RootId, Status> {
    name.strip_prefix(ROOTS)
        .and_then(|number| number.parse().ok())
        .map(RootId)
        .ok_or_else(|| refuse::field(field, "must be roots/ and a number, as ListRoots gives it"))
}

/// Reads an absolute path.
pub(super) fn parse_path(field: &str, bytes: &[u8]) -> Result<PathBuf, Status> {
    let path = Path::new(OsStr::from_bytes(bytes));
    if !path.is_absolute() {
        return Err(refuse::field(
            field,
            "must be an absolute path: the daemon does not know your directory",
        ));
    }
    if bytes.contains(&0) {
        return Err(refuse::field(field, "a path holds no zero byte"));
    }
    Ok(path.to_path_buf())
}

/// Reads the absolute path of a URI.
pub(super) fn parse_uri(field: &str, text: &str) -> Result<PathBuf, Status> {
    let path = uri::to_path(text).map_err(|error| refuse::field(field, error))?;
    parse_path(field, &path)
}

/// Reads an absolute path, given as bytes or as text.
pub(super) fn parse_path_or_uri(path: &[u8], text: &str) -> Result<PathBuf, Status> {
    match (path.is_empty(), text.is_empty()) {
        (_, true) => parse_path("path", path),
        (true, false) => parse_uri("uri", text),
        (false, false) => Err(refuse::field("uri", "only one of path and uri may be set")),
    }
}

/// Reads a metric; unspecified is the network's own.
pub(super) fn parse_metric(value: i32, default: Metric) -> Result<Metric, Status> {
    match proto::Metric::try_from(value) {
        Ok(proto::Metric::Unspecified) => Ok(default),
        Ok(proto::Metric::L2) => Ok(Metric::L2),
        Ok(proto::Metric::Cosine) => Ok(Metric::Cosine),
        Err(_) => Err(refuse::field("metric", format_args!("{value} is not a metric of this version"))),
    }
}

pub(super) fn metric(metric: Metric) -> proto::Metric {
    match metric {
        Metric::L2 => proto::Metric::L2,
        Metric::Cosine => proto::Metric::Cosine,
    }
}

pub(super) fn recall(recall: Recall) -> proto::Recall {
    proto::Recall {
        share: recall.share,
        k: u32::try_from(recall.k).unwrap_or(u32::MAX),
        queries: u32::try_from(recall.queries).unwrap_or(u32::MAX),
        photos: recall.photos as u64,
    }
}

/// Names the band of a distance. `same` is said of pictures that look the same all over, never of a distance: two pages of text
/// are as near each other as a photo and its copy. The network has only to agree that both show a similar thing.
pub(super) fn band(bands: Option<Bands>, distance: f32, looks_same: bool, is_near: bool) -> proto::Band {
    let Some(bands) = bands else { return proto::Band::Unspecified };
    if looks_same && distance <= bands.similar {
        return proto::Band::Same;
    }
    if is_near && distance <= bands.near {
        return proto::Band::Near;
    }
    [(bands.similar, proto::Band::Similar), (bands.related, proto::Band::Related)]
        .into_iter()
        .find(|&(limit, _)| distance <= limit)
        .map_or(proto::Band::Unspecified, |(_, band)| band)
}

/// The watched folders at one moment, for many files of one answer.
pub(super) struct Roots(HashMap<RootId, RootStatus>);

impl Roots {
    pub(super) fn of(api: &Api) -> Self {
        Self(api.watch.roots().into_iter().map(|root| (root.id, root)).collect())
    }

    /// Returns a root, if it is still watched.
    pub(super) fn get(&self, root: RootId) -> Option<&RootStatus> {
        self.0.get(&root)
    }

    /// Returns the absolute path and whether it can be reached. A root that is just being removed has neither.
    pub(super) fn file(&self, file: &FileId) -> Option<proto::File> {
        let root = self.0.get(&file.root)?;
        let path = file.path.under(&root.path);
        Some(proto::File {
            uri: uri::of_path(path.as_os_str().as_bytes()),
            path: path.as_os_str().as_bytes().to_vec(),
            online: root.is_reachable(&file.path),
            ..proto::File::default()
        })
    }
}

/// Reads what tells a file from others.
pub(super) fn parse_identity(identity: &proto::FileIdentity) -> Identity {
    let ns = |time: Option<Timestamp>| {
        time.map_or(0, |time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos))
    };
    Identity {
        device: identity.device,
        fingerprint: Fingerprint {
            len: identity.size_bytes,
            modified_ns: ns(identity.modify_time),
            changed_ns: ns(identity.change_time),
            inode: identity.inode,
        },
    }
}

/// Puts a photo together. `None` where it is gone since the index was asked.
pub(super) fn photo(photos: &Photos, roots: &Roots, id: PhotoId) -> Result<Option<proto::Photo>, StoreError> {
    let Some(PhotoRecord { content, size_bytes, info }) = photos.get(id)? else { return Ok(None) };
    let mut files: Vec<_> = photos.files_of(id)?.iter().filter_map(|file| roots.file(file)).collect();
    if files.is_empty() {
        return Ok(None);
    }
    files.sort_by(|a, b| b.online.cmp(&a.online).then_with(|| a.path.cmp(&b.path)));
    Ok(Some(proto::Photo {
        name: photo_name(content),
        files,
        size_bytes,
        width: info.width,
        height: info.height,
        media_type: info.format.media_type().to_owned(),
        capture_time: info.taken.as_ref().map(capture_time),
        capture_time_is_local: info.taken.as_ref().is_some_and(|taken| taken.offset_minutes.is_none()),
        camera: info.camera.unwrap_or_default(),
        lens: info.lens.unwrap_or_default(),
        position: info.position.map(|Position { latitude, longitude, altitude }| proto::Position {
            latitude,
            longitude,
            altitude_metres: altitude,
        }),
        damaged: info.is_damaged,
    }))
}

fn capture_time(taken: &Taken) -> Timestamp {
    let offset = i64::from(taken.offset_minutes.unwrap_or(0)) * 60;
    Timestamp { seconds: taken.local_seconds - offset, nanos: i32::try_from(taken.nanos).unwrap_or(0) }
}

/// Puts a failure together. `None` where its root is just being removed.
pub(super) fn failure(roots: &Roots, file: &FileId, record: FailureRecord) -> Option<proto::Failure> {
    let proto::File { path, uri, .. } = roots.file(file)?;
    Some(proto::Failure {
        path,
        uri,
        reason: record.reason,
        kind: failure_kind(record.kind).into(),
        failure_time: Some(Timestamp { seconds: record.at, nanos: 0 }),
        size_bytes: record.size_bytes,
        retried: first_wait(record.kind).is_some(),
    })
}

fn failure_kind(kind: FailureKind) -> proto::FailureKind {
    match kind {
        FailureKind::Corrupt => proto::FailureKind::Corrupt,
        FailureKind::Unsupported => proto::FailureKind::Unsupported,
        FailureKind::TooLarge => proto::FailureKind::TooLarge,
        FailureKind::NotAPhoto => proto::FailureKind::NotAPhoto,
        FailureKind::Unreadable => proto::FailureKind::Unreadable,
        FailureKind::TimedOut => proto::FailureKind::TimedOut,
        FailureKind::Internal => proto::FailureKind::Internal,
        FailureKind::Passing => proto::FailureKind::Passing,
    }
}

pub(super) fn model(served: &Served) -> proto::Model {
    proto::Model {
        name: served.model.name.clone(),
        digest: served.digest.to_string(),
        dimensions: served.model.dim,
        default_metric: metric(served.manifest.metric).into(),
        input_pixels: served.encoding.preprocessing.crop,
        words: served.words.as_ref().map_or(0, |words| words.vocabulary.len() as u32),
        free_text: served.text.is_some(),
    }
}

/// Puts together what the decoding processes gave away. `None` while none could be started.
pub(super) fn decoder(encoding: &Encoding) -> Option<proto::Decoder> {
    let Encoding { decoders, query_decoders, .. } = encoding;
    let protection = query_decoders.last_protection().or(decoders.last_protection())?;
    Some(proto::Decoder {
        seccomp: protection.system_calls,
        landlock: protection.files,
        memory_limit: protection.memory,
        processes_lost: decoders.lost() + query_decoders.lost(),
    })
}

pub(super) fn mended(mended: Mended) -> proto::MendedStore {
    proto::MendedStore {
        mend_time: Some(Timestamp { seconds: mended.at, nanos: 0 }),
        lost_photos: mended.lost_photos,
        lost_files: mended.lost_files,
    }
}

pub(super) fn phase(phase: Phase) -> proto::State {
    match phase {
        Phase::Scanning => proto::State::Scanning,
        Phase::Indexing => proto::State::Indexing,
        Phase::Idle => proto::State::Idle,
        Phase::Paused => proto::State::Paused,
        Phase::Stopping => proto::State::Stopping,
    }
}

pub(super) fn pause(hold: Hold) -> proto::Pause {
    match hold {
        Hold::Asked => proto::Pause::Asked,
        Hold::OnBattery => proto::Pause::OnBattery,
        Hold::UnderPressure => proto::Pause::UnderPressure,
        Hold::CannotWrite => proto::Pause::CannotWrite,
    }
}

pub(super) fn write_problem(error: &StoreError) -> Option<proto::WriteProblem> {
    let StoreError::CannotWrite { problem, .. } = error else { return None };
    let kind = match problem.kind {
        ProblemKind::Full => proto::WriteProblemKind::DiskFull,
        ProblemKind::ReadOnly => proto::WriteProblemKind::ReadOnly,
        ProblemKind::Failing | ProblemKind::Unreadable => proto::WriteProblemKind::DiskFailing,
    };
    Some(proto::WriteProblem {
        kind: kind.into(),
        message: error.to_string(),
        start_time: Some(problem.since.into()),
    })
}

pub(super) fn omission(omission: Omission) -> proto::Omission {
    proto::Omission {
        path: omission.path.into_os_string().into_vec(),
        kind: omission_kind(omission.kind).into(),
        reason: omission.reason,
    }
}

fn omission_kind(kind: OmissionKind) -> proto::OmissionKind {
    match kind {
        OmissionKind::UnreadableFolder => proto::OmissionKind::UnreadableFolder,
        OmissionKind::UnreadableFile => proto::OmissionKind::UnreadableFile,
        OmissionKind::Link => proto::OmissionKind::Link,
        OmissionKind::Ignored => proto::OmissionKind::Ignored,
        OmissionKind::TooLong => proto::OmissionKind::TooLong,
        OmissionKind::HeldBack => proto::OmissionKind::HeldBack,
    }
}

fn omissions(status: &RootStatus) -> Vec<proto::OmissionCount> {
    let count = |kind| match kind {
        OmissionKind::HeldBack => status.held_back.map_or(0, |held| held.missing),
        kind => status.omissions.of(kind),
    };
    OmissionKind::ALL
        .into_iter()
        .map(|kind| proto::OmissionCount { kind: omission_kind(kind).into(), count: count(kind) })
        .filter(|counted| counted.count > 0)
        .collect()
}

/// Puts a root together.
pub(super) fn root(api: &Api, reader: &Reader, status: &RootStatus) -> Result<proto::Root, StoreError> {
    let (state, detail) = root_state(&status.path, &status.state, &status.watching);
    let mut mounts = Vec::with_capacity(status.mounts.len());
    for mount in &status.mounts {
        let path = mount.at.under(&status.path);
        let (state, detail) = match &status.state {
            // What becomes of it is not known while the folder itself is away.
            RootState::Offline(_) => (proto::RootState::Offline, String::new()),
            _ => root_state(&path, &mount.state, &mount.watching),
        };
        mounts.push(proto::Mount {
            path: path.into_os_string().into_vec(),
            state: state.into(),
            detail,
            files: reader.count_below(status.id, &mount.at)?,
        });
    }
    Ok(proto::Root {
        name: root_name(status.id),
        path: status.path.as_os_str().as_bytes().to_vec(),
        uri: uri::of_path(status.path.as_os_str().as_bytes()),
        state: state.into(),
        detail,
        files: reader.counts(status.id)?.files,
        configured: api.is_configured(status.id),
        configured_path: status.configured.as_os_str().as_bytes().to_vec(),
        mounts,
        omissions: omissions(status),
    })
}

/// Says how it stands with a root, or a volume mounted in it, and why.
fn root_state(path: &Path, state: &RootState, watching: &Watching) -> (proto::RootState, String) {
    match (state, watching) {
        (RootState::Offline(reason @ OfflineReason::NotAnswering), _) => {
            (proto::RootState::NotAnswering, reason.explain(path))
        }
        (RootState::Offline(reason), _) => (proto::RootState::Offline, reason.explain(path)),
        (_, Watching::Polling(reason)) => (proto::RootState::Polled, reason.to_string()),
        (_, Watching::Inotify) => (proto::RootState::Online, String::new()),
    }
}
