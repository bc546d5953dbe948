//! Paths that a client named: they may lie anywhere, also on a disk that does not answer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tonic::{Code, Status};

use super::refuse;
use super::refuse::Reason;
use crate::deadline::{self, Pulse};
use crate::ingest::{self, Contents};

/// Asks the disk, and waits no longer than a sleeping one takes to wake up.
///
/// # Errors
/// `UNAVAILABLE` where the disk does not answer, or too many do not.
pub(super) async fn ask<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Pulse) -> T + Send + 'static,
) -> Result<T, Status> {
    deadline::ask(path, deadline::PATIENCE, call).await.map_err(|error| refuse::no_answer(&error))
}

/// Waits until the disk of a path says something of it, whatever that is.
pub(super) async fn wake(path: &Path) -> Result<(), Status> {
    let asked = path.to_path_buf();
    ask(path, move |_| drop(asked.symlink_metadata())).await
}

/// Returns the names by which a file is known: the one given, and the one without links in its folder.
pub(super) async fn names(path: &Path) -> Result<Vec<PathBuf>, Status> {
    let mut names = vec![path.to_path_buf()];
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
        let asked = folder.to_path_buf();
        let real = ask(folder, move |_| asked.canonicalize()).await?;
        names.extend(real.ok().map(|folder| folder.join(name)).filter(|real| real != path));
    }
    Ok(names)
}

/// Reads a file that is searched for.
pub(super) async fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Status> {
    match contents(path, max_bytes).await? {
        Contents::Whole { bytes, .. } => Ok(bytes),
        Contents::Vanished => Err(refuse::not_found("file", &path.display().to_string())),
        Contents::NotAPhoto { .. } => Err(refuse::field("path", "not a picture that can be read")),
        Contents::Changing => Err(refuse::busy("the file is being written")),
        Contents::TooLarge { .. } => {
            let mib = max_bytes >> 20;
            Err(refuse::because(
                Code::ResourceExhausted,
                Reason::TooLarge,
                format!("the file is larger than the limit of {mib} MiB"),
            ))
        }
        Contents::NoAnswer(error) => Err(refuse::no_answer(&error)),
        Contents::Unreadable { error } => Err(refuse::because(
            Code::PermissionDenied,
            Reason::Unreadable,
            format!("the daemon cannot read {}: {error}; send the picture itself", path.display()),
        )),
    }
}

/// Reads a file, whatever comes of it.
pub(super) async fn contents(path: &Path, max_bytes: u64) -> Result<Contents, Status> {
    let asked = path.to_path_buf();
    ask(path, move |pulse| ingest::read_beating(&asked, max_bytes, &|| pulse.beat())).await
}

/// Returns a folder without links in its path, if it can be listed.
pub(super) async fn folder(path: &Path) -> Result<PathBuf, Status> {
    let asked = path.to_path_buf();
    let listed = move |_: &Pulse| -> io::Result<PathBuf> {
        let folder = asked.canonicalize()?;
        fs::read_dir(&folder)?;
        Ok(folder)
    };
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotADirectory => {
            refuse::field("path", format_args!("{} is not a folder", path.display()))
        }
        _ => refuse::field("path", format_args!("{} cannot be read: {error}", path.display())),
    };
    ask(path, listed).await?.map_err(refused)
}
