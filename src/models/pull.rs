//! Downloads of models: a name in, a verified file in the data directory out.
//!
//! Bytes go to `FILE.part`, which survives whatever interrupts the download and is continued by the next one. The file
//! takes its name only when size and digest are the manifest's, and everything is on the disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, Proxy};

use super::{Catalogue, FileDigest, ModelError};

/// How far a download is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Already in the part file.
    pub done: u64,
    /// Of the whole file.
    pub total: u64,
}

/// A model was not downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The catalogue does not have it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No source has an address.
    #[error("nothing says where `{0}` can be downloaded")]
    NoUrl(String),
    /// Another download writes to the part file.
    #[error("{} is being downloaded already", .0.display())]
    Busy(PathBuf),
    /// The disk does not do what it should.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server cannot be reached, or does not speak HTTP.
    #[error("cannot download {url}")]
    Http {
        /// The address.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// The server refuses.
    #[error("{url}: the server answers {status}")]
    Status {
        /// The address.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The server has another file.
    #[error("{url} has {offered} bytes, the manifest says {promised}: this is another file")]
    OtherLength {
        /// The address.
        url: String,
        /// By the server; at least so many where it did not say beforehand.
        offered: u64,
        /// By the manifest.
        promised: u64,
    },
    /// The connection broke.
    #[error(
        "the connection broke after {done} of {total} bytes; run the same command again to go on from there"
    )]
    Interrupted {
        /// Bytes in the part file.
        done: u64,
        /// Of the whole file.
        total: u64,
        /// What went wrong; `None` where the server just stopped.
        source: Option<io::Error>,
    },
    /// All bytes are there, and they are wrong.
    #[error("{url} gave a file with the SHA-256 {found}, the manifest says {promised}. The file was deleted")]
    OtherDigest {
        /// The address.
        url: String,
        /// By the manifest.
        promised: FileDigest,
        /// Of the bytes.
        found: FileDigest,
    },
}

impl Catalogue {
    /// Downloads the model `name` into `dir`, which is made if need be, and returns the path of the file. A good file
    /// that is there already is left as it is. Blocks, and calls `progress` at the start and a few times a megabyte.
    pub fn pull(
        &self,
        name: &str,
        dir: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, PullError> {
        let entry = self.entry(name)?;
        for source in &entry.manifest.sources {
            if let (Some(url), Some(bytes), Some(sha256)) = (&source.url, source.bytes, source.sha256) {
                let target = dir.join(&source.file);
                let download = Download { url, bytes, sha256, target: &target };
                download.run(&agent(true, Proxy::try_from_env()), progress)?;
                return Ok(target);
            }
        }
        Err(PullError::NoUrl(name.to_owned()))
    }
}

fn agent(https_only: bool, proxy: Option<Proxy>) -> Agent {
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
    Agent::config_builder()
        .https_only(https_only)
        .proxy(proxy)
        .http_status_as_error(false)
        .user_agent(concat!("resembled/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(PATIENCE)
        .timeout_recv_response(PATIENCE)
        .timeout_per_read(PATIENCE)
        .build()
        .into()
}

struct Download<'a> {
    url: &'a str,
    bytes: u64,
    sha256: FileDigest,
    target: &'a Path,
}

impl Download<'_> {
    fn run(&self, agent: &Agent, progress: &mut dyn FnMut(Progress)) -> Result<(), PullError> {
        if self.is_there() {
            return Ok(());
        }
        let dir = self.target.parent().unwrap_or(Path::new("."));
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| PullError::Write { path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let mut part_name = OsString::from(self.target);
        part_name.push(".part");
        let part_path = PathBuf::from(part_name);
        let mut part = self.open(&part_path)?;
        self.fill(&mut part, &part_path, agent, progress)?;

        part.rewind().map_err(failed(&part_path))?;
        let (found, _) = FileDigest::of_reader(&part).map_err(failed(&part_path))?;
        if found != self.sha256 {
            fs::remove_file(&part_path).map_err(failed(&part_path))?;
            return Err(PullError::OtherDigest { url: self.url.to_owned(), promised: self.sha256, found });
        }
        part.sync_all().map_err(failed(&part_path))?;
        fs::rename(&part_path, self.target).map_err(failed(self.target))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
    }

    fn is_there(&self) -> bool {
        let digest = File::open(self.target).and_then(FileDigest::of_reader);
        digest.is_ok_and(|(digest, _)| digest == self.sha256)
    }

    /// Opens the part file, alone.
    fn open(&self, path: &Path) -> Result<File, PullError> {
        let failed = |source| PullError::Write { path: path.to_path_buf(), source };
        let part = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let part = part.map_err(failed)?;
        match part.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PullError::Busy(self.target.to_path_buf())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Another download may have given the file its name between our opening and our lock.
        let ours = part.metadata().map_err(failed)?.ino();
        match fs::metadata(path) {
            Ok(metadata) if metadata.ino() == ours => Ok(part),
            _ => Err(PullError::Busy(self.target.to_path_buf())),
        }
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
            status => return Err(PullError::Status { url: self.url.to_owned(), status }),
        }
        let other_length =
            |offered| PullError::OtherLength { url: self.url.to_owned(), offered, promised: self.bytes };
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
        let mut request = agent.get(self.url);
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request
            .call()
            .map_err(|source| PullError::Http { url: self.url.to_owned(), source: Box::new(source) })
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
#[path = "pull_tests.rs"]
mod tests;
