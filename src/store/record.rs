//! What the rest of the daemon has of the store's rows. How they stand in the file says [`rows`](super::rows).

use crate::decode::PhotoInfo;
use crate::photo::{ContentHash, Fingerprint, Metric, PhotoId};
use crate::verify::Verdict;
use crate::watch::Volume;

/// What the store knows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// What the disk said when it was read.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub state: FileState,
}

/// What became of a file that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It holds this photo.
    Photo(PhotoId),
    /// It could not be indexed; the failure record says why.
    Failed,
    /// It is no photo, and its name does not claim that it is one.
    NotAPhoto,
}

/// One content.
#[derive(Clone, Debug, PartialEq)]
pub struct PhotoRecord {
    /// Hash of the bytes.
    pub content: ContentHash,
    /// How many bytes.
    pub size_bytes: u64,
    /// What the photo says of itself.
    pub info: PhotoInfo,
}

/// Why a file could not be indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRecord {
    /// What the user can do about it.
    pub kind: FailureKind,
    /// What is wrong, for a person.
    pub reason: String,
    /// When it was tried, seconds since 1970.
    pub at: i64,
    /// Size of the file then.
    pub size_bytes: u64,
}

/// Kinds of failures, by what the user can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The content is damaged.
    Corrupt,
    /// A format, or a variant of it, that is not supported.
    Unsupported,
    /// Over the configured limits.
    TooLarge,
    /// Named like a photo, but something else.
    NotAPhoto,
    /// The disk did not give it.
    Unreadable,
    /// Decoding took too long.
    TimedOut,
    /// The decoder or the network failed on it.
    Internal,
    /// No fault of the file's: the machine ran short, or the decoder was stopped from outside.
    Passing,
}

/// A watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRecord {
    /// Absolute path as it was configured or added, links included, as bytes.
    pub path: Vec<u8>,
    /// The volume it was on when it was last seen.
    pub volume: Option<Volume>,
    /// Added by a call, so that it stays without being configured.
    pub kept: bool,
    /// Where it was last seen, as bytes; none where that was at its path.
    pub seen_at: Option<Vec<u8>>,
    /// Other volumes that were mounted below it when they were last seen.
    pub mounts: Vec<MountRecord>,
}

impl RootRecord {
    /// A folder of which nothing was seen yet.
    pub(super) fn new(path: Vec<u8>, kept: bool) -> Self {
        Self { path, volume: None, kept, seen_at: None, mounts: Vec::new() }
    }
}

/// A volume mounted below a watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRecord {
    /// Where, relative to the watched folder, as bytes.
    pub at: Vec<u8>,
    /// Which; none where an earlier version wrote the record, which kept the place only.
    pub volume: Option<Volume>,
}

/// A network whose embeddings are, or were, in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// Key of its embeddings.
    pub id: u32,
    /// Name at the time.
    pub name: String,
    /// Numbers in an embedding.
    pub dim: u32,
    /// Metric the network was used with by default.
    pub metric: Metric,
}

/// How far two photos may be from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reach {
    /// Greatest distance.
    pub distance: f32,
    /// Greatest share that the distance may be of the mean radius of both photos' neighborhoods; infinite where it does not
    /// matter.
    pub share: f32,
}

impl Reach {
    /// Says whether a pair is within it.
    pub fn holds(&self, distance: f32, share: f32) -> bool {
        distance <= self.distance && share <= self.share
    }
}

/// Which pairs are near. Those that look the same are near at any distance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NearRule {
    /// Within this, two photos are looked at side by side, which decides.
    pub candidates: Reach,
    /// Within this they count as near until they are looked at.
    pub near: Reach,
    /// Who looks: another number, another judgement.
    pub judge: u32,
}

/// What is said of two photos that were looked at side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The word; never [`Verdict::Different`], of which nothing is kept.
    pub verdict: Verdict,
    /// How likely it is that both show the same scene or thing, from 0 to 1, in steps of 1/255.
    pub probability: f32,
    /// Shares of the lower and of the higher one that the other one shows, in the same steps.
    pub shared: [f32; 2],
    /// By how many quarters the higher one is turned clockwise against the lower one, 0 to 3; of mirrored ones, after mirroring
    /// the lower one from left to right.
    pub quarter_turns: u8,
}

/// Two photos that are near, or may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearPair {
    /// The one with the lower number.
    pub first: PhotoId,
    /// The other.
    pub second: PhotoId,
    /// What is known of both.
    pub record: PairRecord,
}

/// What is known of two photos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairRecord {
    /// By the network.
    pub distance: f32,
    /// Why they are near.
    pub standing: Standing,
}

/// Why two photos are near.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// The whole of both looks the same.
    LooksSame,
    /// They were looked at side by side.
    Seen(Seen),
    /// They will be; the share that their distance is of the mean radius of their neighborhoods.
    Candidate(f32),
}

/// Which photos a network's near pairs are known of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// What was kept.
    pub rule: NearRule,
    /// How many photos there were when the first of them were compared.
    pub photos: u64,
    /// First and last photo of each run of compared ones.
    pub runs: Vec<(PhotoId, PhotoId)>,
}

/// One change, as whoever follows the library is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// When it was written down, in seconds since 1970.
    pub at: i64,
    /// Absolute path of the file or folder.
    pub path: Vec<u8>,
    /// What happened.
    pub happened: Happened,
}

/// What happened to a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A file holds a photo, and was not known or held none.
    Added {
        /// The photo.
        content: ContentHash,
    },
    /// A file holds another photo.
    Changed {
        /// The photo.
        content: ContentHash,
        /// The one before.
        before: ContentHash,
    },
    /// A file that holds a photo, or could not be indexed, has another path.
    Moved {
        /// The photo, if it is one.
        content: Option<ContentHash>,
        /// The path before.
        from: Vec<u8>,
    },
    /// A file that held a photo, or could not be indexed, is gone or holds none.
    Removed {
        /// What it held.
        content: Option<ContentHash>,
    },
    /// A file could not be indexed.
    Failed {
        /// Why, for a person.
        reason: String,
        /// What it held.
        before: Option<ContentHash>,
    },
    /// A folder, or a volume mounted in one, cannot be reached.
    Offline,
    /// It can be again, or is at another place.
    Online {
        /// The place before, if it was another one.
        from: Option<Vec<u8>>,
    },
    /// A folder is not watched any more.
    Unwatched,
}
