//! One file over HTTP: what is there of it is continued, what comes is held against size and digest.
//!
//! Bytes go to `FILE.part`, which survives whatever interrupts the download and is continued by the next one. The file
//! takes its name when the caller says so.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::index::{get, without_password};
use super::{Progress, PullError};
use crate::models::FileDigest;

/// A file that is to be fetched.
pub(super) struct Download<'a> {
    pub url: &'a str,
    pub bytes: u64,
    pub sha256: FileDigest,
    /// Its name once it is kept.
    pub target: &'a Path,
}

/// The part file of a download, which nobody else writes to.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Part {
    /// Opens the part file of `target`, alone.
    pub fn open(target: &Path) -> Result<Self, PullError> {
        let mut name = OsString::from(target);
        name.push(".part");
        let path = PathBuf::from(name);
        let failed = |source| PullError::Write { path: path.clone(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PullError::Busy(target.to_path_buf())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Another download may have given the file its name between our opening and our lock.
        let ours = file.metadata().map_err(failed)?.ino();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.ino() == ours => Ok(Self { file, path, target: target.to_path_buf() }),
            _ => Err(PullError::Busy(target.to_path_buf())),
        }
    }

    /// Returns where its bytes are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file, to be read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens the part file of `target`, and writes the whole of it.
    pub fn holding(target: &Path, bytes: &[u8]) -> Result<Self, PullError> {
        let mut part = Self::open(target)?;
        let written = part.file.set_len(0).and_then(|()| part.file.write_all(bytes));
        written.map_err(|source| part.failed(source))?;
        Ok(part)
    }

    /// Gives the file its name, once everything is on the disk.
    pub fn keep(self) -> Result<(), PullError> {
        let dir = self.target.parent().unwrap_or(Path::new("."));
        self.file.sync_all().map_err(|source| self.failed(source))?;
        fs::rename(&self.path, &self.target).map_err(|source| self.failed(source))?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| PullError::Write { path: dir.to_path_buf(), source })
    }

    /// Deletes it.
    pub fn discard(self) -> Result<(), PullError> {
        fs::remove_file(&self.path).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> PullError {
        PullError::Write { path: self.path.clone(), source }
    }
}

impl Download<'_> {
    /// Fetches what is missing, and compares the whole with size and digest. What is of another digest is deleted.
    pub fn fetch(&self, agent: &Agent, progress: &mut dyn FnMut(Progress)) -> Result<Part, PullError> {
        let mut part = Part::open(self.target)?;
        let path = part.path.clone();
        self.fill(&mut part.file, &path, agent, progress)?;
        part.file.rewind().map_err(|source| part.failed(source))?;
        let (found, _) = FileDigest::of_reader(&part.file).map_err(|source| part.failed(source))?;
        if found != self.sha256 {
            part.discard()?;
            return Err(PullError::OtherDigest { url: self.shown(), promised: self.sha256, found });
        }
        Ok(part)
    }

    /// Returns the address for people.
    fn shown(&self) -> String {
        without_password(self.url)
    }

    /// Downloads what is missing in the part file.
    fn fill(
        &self,
        part: &mut File,
        path: &Path,
        agent: &Agent,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), PullError> {
        let failed = |source| PullError::Write { path: path.to_path_buf(), source };
        let mut done = part.metadata().map_err(failed)?.len();
        if done == self.bytes {
            return Ok(());
        }
        let response = match done {
            begun if begun > 0 && begun < self.bytes => {
                let response = self.get(agent, Some(begun))?;
                match continues_at(&response) {
                    Some(start) if start == begun => response,
                    // The server has nothing from there on, or sends something else.
                    _ if response.status() != StatusCode::OK => self.get(agent, None)?,
                    _ => response,
                }
            }
            _ => self.get(agent, None)?,
        };
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            StatusCode::OK => done = 0,
            status => return Err(PullError::Status { url: self.shown(), status }),
        }
        let other_length =
            |offered| PullError::OtherLength { url: self.shown(), offered, promised: self.bytes };
        let coming = header(&response, CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if let Some(coming) = coming.filter(|&coming| coming != self.bytes - done) {
            return Err(other_length(done.saturating_add(coming)));
        }
        part.set_len(done).map_err(failed)?;
        part.seek(SeekFrom::Start(done)).map_err(failed)?;
        progress(Progress { done, total: self.bytes });

        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        let interrupted = |done, source| PullError::Interrupted { done, total: self.bytes, source };
        while done < self.bytes {
            match body.read(&mut buffer) {
                Ok(0) => return Err(interrupted(done, None)),
                Ok(count) if done + count as u64 > self.bytes => {
                    fs::remove_file(path).map_err(failed)?;
                    return Err(other_length(done + count as u64));
                }
                Ok(count) => {
                    part.write_all(&buffer[..count]).map_err(failed)?;
                    done += count as u64;
                    progress(Progress { done, total: self.bytes });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(interrupted(done, Some(error))),
            }
        }
        // Where the server gave no length, the end must come now.
        match body.read(&mut buffer) {
            Ok(count) if count > 0 => {
                fs::remove_file(path).map_err(failed)?;
                Err(other_length(done + count as u64))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, agent: &Agent, from: Option<u64>) -> Result<Response<Body>, PullError> {
        let get = get(agent, self.url, |request| match from {
            Some(from) => request.header(RANGE, format!("bytes={from}-")),
            None => request,
        });
        get.map_err(|source| PullError::Http { url: self.shown(), source: Box::new(source) })
    }
}

/// Returns the first byte of a partial answer.
fn continues_at(response: &Response<Body>) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let (start, _) = header(response, CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

fn header(response: &Response<Body>, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
