//! The words that every room shares: which photo, which file, which bytes.
//!
//! Three things are told apart throughout. A **file** is a place on a disk ([`FileId`]: a root and a path
//! below it). Its **content** is its bytes ([`ContentHash`]). A **photo** is one content, however many files
//! hold it ([`PhotoId`]). An embedding belongs to a photo, never to a file.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
pub use resembled_api::content::{ContentHash, NotAHash};
use serde::{Deserialize, Serialize};

/// Number of a watched folder, given by the store when the root is added and never used again after its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RootId(pub u32);

/// Number of a photo, given by the store in the order of indexing. Ties in a search are broken by it, smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PhotoId(pub u64);

/// A path below a root, as the bytes the file system gave: relative, no leading or trailing slash, not
/// necessarily UTF-8. Empty for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// Returns `path` below `root`, or `None` where it is not below it.
    pub fn strip(root: &Path, path: &Path) -> Option<Self> {
        path.strip_prefix(root).ok().map(|rest| Self(rest.as_os_str().as_bytes().to_vec()))
    }

    /// Wraps bytes that were taken from [`Self::as_bytes`].
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes as the file system gave them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path as the standard library sees it.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Returns the entry `name` of this directory.
    pub fn join(&self, name: &OsStr) -> Self {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        Self(bytes)
    }

    /// Returns the directory that holds this entry, or `None` for the root itself.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Returns the absolute path under `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        if self.0.is_empty() { root.to_path_buf() } else { root.join(self.as_path()) }
    }
}

/// Says whether two paths are the same, or one lies below the other.
pub fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Where a file is: a root and a path below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// The watched folder.
    pub root: RootId,
    /// The path below it.
    pub path: RelativePath,
}

/// What `lstat` says of a file. Two equal fingerprints of one path mean the same bytes; any difference means
/// that the file is read again. Change time and inode are there because `rsync -t` and `touch -r` keep the
/// modification time of changed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Size in bytes.
    pub len: u64,
    /// Modification time, nanoseconds since 1970; negative before.
    pub modified_ns: i128,
    /// Change time of the inode, nanoseconds since 1970.
    pub changed_ns: i128,
    /// Inode number, or 0 on file systems that make them up anew at each mount (FAT, exFAT).
    pub inode: u64,
}

impl Fingerprint {
    /// The fingerprint that no file has. A file known under it is read again, and never taken for one that moved.
    pub const STALE: Self = Self { len: u64::MAX, modified_ns: 0, changed_ns: 0, inode: 0 };

    /// Reads the fingerprint out of what `stat` returned.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            len: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// SHA-256 of a model file: says which network an embedding came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelDigest(pub [u8; 32]);

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDigest({self})")
    }
}

/// An upright photo: 8-bit sRGB, rows from the top, three bytes a pixel, no padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub pixels: Vec<u8>,
}

impl fmt::Debug for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rgb({}x{})", self.width, self.height)
    }
}

/// One vector of one photo: not normalised, `dim` numbers, as precise as the store keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(pub Vec<f32>);

impl Embedding {
    /// Greatest share of an embedding's length that rounding may change. Half precision changes about 2e-4.
    const ROUNDING: f32 = 1e-3;

    /// Rounds what a network gave to half precision, in which the store keeps it in half the room. Where that would
    /// change it by more than a thousandth (numbers beyond 65504, or all of them tiny), it stays as it is.
    ///
    /// Done once, where embeddings come from the network, so that whatever is compared later was rounded alike: the
    /// distance between two photos is exact for what is stored, and that between equal contents is 0.
    #[must_use]
    pub fn rounded(mut self) -> Self {
        let rounded = |value: f32| half::f16::from_f32(value).to_f32();
        let squares = |value: f32| value * value;
        let error: f32 = self.0.iter().map(|&value| squares(value - rounded(value))).sum();
        let length: f32 = self.0.iter().copied().map(squares).sum();
        if error.is_finite() && error <= length * Self::ROUNDING * Self::ROUNDING {
            self.0.iter_mut().for_each(|value| *value = rounded(*value));
        }
        self
    }
}

/// How far apart two embeddings are. For both, smaller is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Euclidean distance of the raw embeddings: `|a - b|`, from 0.
    L2,
    /// `1 - cos(a, b)`, from 0 to 2.
    Cosine,
}

impl Metric {
    /// Turns a distance into a similarity, where greater is closer and 1 is the same: the cosine itself, or
    /// `1 / (1 + distance)` for [`Metric::L2`].
    pub fn similarity(self, distance: f32) -> f32 {
        match self {
            Self::L2 => 1.0 / (1.0 + distance),
            Self::Cosine => 1.0 - distance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_join_and_part() {
        let root = RelativePath::default();
        let file = root.join(OsStr::new("a")).join(OsStr::from_bytes(b"\xff.jpg"));
        assert_eq!(file.as_bytes(), b"a/\xff.jpg");
        assert_eq!(file.parent(), Some(RelativePath::from_bytes(b"a".to_vec())));
        assert_eq!(file.parent().and_then(|dir| dir.parent()), Some(root.clone()));
        assert_eq!(root.parent(), None);
        assert_eq!(RelativePath::strip(Path::new("/p"), &file.under(Path::new("/p"))), Some(file));
    }

    #[test]
    fn an_embedding_is_rounded_once_unless_that_would_change_it() {
        let rounded = |values: &[f32]| Embedding(values.to_vec()).rounded().0;
        let once = rounded(&[0.1, 3.25, 0.0, 5.999]);
        assert_eq!(once, [0.099_975_586, 3.25, 0.0, 6.0]);
        assert_eq!(rounded(&once), once);
        for kept in [[1e6, 0.3], [1e-9, 3e-9], [f32::MAX, 0.1]] {
            assert_eq!(rounded(&kept), kept);
        }
    }
}
