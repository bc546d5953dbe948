//! Errors of the models room. Each says what to do; none is about a photo.

use std::io;
use std::path::PathBuf;

use super::FileDigest;

/// A model cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The user's manifest cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The user's manifest is wrong; the text says where.
    #[error("the model manifest {} is wrong: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Two of the user's manifests give one name.
    #[error("the model name `{name}` is given by both {} and {}: rename one", first.display(), second.display())]
    NameTwice {
        /// The name.
        name: String,
        /// One manifest.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },

    /// No manifest has this name.
    #[error("there is no model `{name}`; known are {}. A file is named by its path, with a slash", known.join(", "))]
    UnknownName {
        /// What was asked for.
        name: String,
        /// All names of the catalogue.
        known: Vec<String>,
    },

    /// The catalogue knows the model, but none of its files was found.
    #[error("the model `{name}` is not installed: no {} in {}. {advice}",
        files.join(" or "),
        if searched.is_empty() { "any folder".to_owned() } else { searched.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ") })]
    NotInstalled {
        /// The model.
        name: String,
        /// Files that would do.
        files: Vec<String>,
        /// Folders that were searched.
        searched: Vec<PathBuf>,
        /// How to get it.
        advice: String,
    },

    /// A model file that nothing describes.
    #[error("the catalogue does not know {}. Describe it in {}:\n\n{template}", path.display(), manifest.display())]
    Undescribed {
        /// The model file.
        path: PathBuf,
        /// Where its manifest belongs.
        manifest: PathBuf,
        /// What to write there.
        template: String,
    },

    /// The file is not the one that the manifest promises.
    #[error("{} is not the file that the manifest of `{name}` describes: {difference}. {advice}", path.display())]
    WrongFile {
        /// The model.
        name: String,
        /// The refused file.
        path: PathBuf,
        /// Size or digest, promised and found.
        difference: Box<Difference>,
        /// What to do.
        advice: String,
    },
}

/// How a file differs from its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// Another size.
    #[error("it has {found} bytes instead of {promised}")]
    Bytes {
        /// By the manifest.
        promised: u64,
        /// By the file system.
        found: u64,
    },
    /// Another content.
    #[error("its SHA-256 is {found} instead of {promised}")]
    Digest {
        /// By the manifest.
        promised: FileDigest,
        /// Of the bytes.
        found: FileDigest,
    },
}
