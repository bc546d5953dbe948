//! What the user means: flags over environment over file over defaults, as absolute paths and durations, one
//! part for each room.
//!
//! The environment and the home directory come in as arguments, so that every case is a plain unit test.

mod file;
mod paths;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use self::file::{
    DecodeSection, EncoderSection, File, IngestSection, MetricsSection, ThumbnailSection, WatchSection,
};
pub use resembled_api::dirs::{Dirs, Environment, NoHome};

use crate::cli;
use crate::encode::Candidate;
use crate::search::MAX_FULL_VECTORS;

/// Everything the daemon needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folders to watch, absolute.
    pub roots: Vec<PathBuf>,
    /// Name or path of the network; `None` for the best one that is there.
    pub model: Option<String>,
    /// Folders that are searched for model files, in this order.
    pub model_dirs: Vec<PathBuf>,
    /// Folder of the user's own manifests.
    pub manifest_dir: PathBuf,
    /// Folder that `models pull` writes to.
    pub pull_dir: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// Where thumbnails are kept.
    pub thumbnail_dir: PathBuf,
    /// Unix socket.
    pub socket: PathBuf,
    /// TCP address, only on request.
    pub listen: Option<SocketAddr>,
    /// Where the bearer token of TCP is kept.
    pub token: PathBuf,
    /// Log filter.
    pub log: String,
    /// Up to how many photos full embeddings stay in memory.
    pub max_full_vectors: usize,
    /// Where the library of ONNX Runtime is downloaded to.
    pub runtime_dir: PathBuf,
    /// Candidates for the library of ONNX Runtime, in this order.
    pub onnxruntime: Vec<Candidate>,
    /// The other parts, as they stand in the file.
    pub encoder: EncoderSection,
    /// Limits of decoding.
    pub decode: DecodeSection,
    /// What is watched, and how.
    pub watch: WatchSection,
    /// How much indexing may take.
    pub ingest: IngestSection,
    /// How many thumbnails are kept.
    pub thumbnails: ThumbnailSection,
    /// Where Prometheus finds the daemon's numbers.
    pub metrics: MetricsSection,
}

/// What is wrong with the configuration. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// The file is not valid; the source names line and key.
    #[error("the configuration {} is not valid", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },

    /// Nothing says where data belongs.
    #[error(transparent)]
    NoHome(#[from] NoHome),

    /// A value that makes no sense.
    #[error("{key} = {value}: {problem}")]
    Value {
        /// Where it stands.
        key: &'static str,
        /// What it is.
        value: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// A relative path cannot be made absolute.
    #[error("the current directory cannot be found out, so a relative path has no meaning")]
    CurrentDirectory(#[source] io::Error),
}

impl Config {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// The file cannot be read or is wrong, or a folder cannot be found; the text says where and what to do.
    pub fn load(
        flags: &cli::Run,
        file: Option<&Path>,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let dirs = Dirs::find(environment)?;
        let (path, required) = match file {
            Some(path) => (path.to_path_buf(), true),
            None => (dirs.config.join("config.toml"), false),
        };
        let file = match fs::read_to_string(&path) {
            Ok(text) => File::parse(&text)
                .map_err(|source| ConfigError::Parse { path: path.clone(), source: Box::new(source) })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => File::default(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::combine(flags, file, &base, &dirs, environment)
    }

    fn combine(
        flags: &cli::Run,
        file: File,
        file_dir: &Path,
        dirs: &Dirs,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        let here = std::env::current_dir().map_err(ConfigError::CurrentDirectory)?;
        let in_file = |path: &Path| paths::expand(path, dirs, file_dir);
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);

        let mut roots: Vec<PathBuf> = flags.roots.iter().map(|root| here.join(root)).collect();
        roots.extend(file.roots.iter().map(|root| in_file(root)));
        let roots = roots.iter().map(|root| paths::normalise(root)).collect();

        let mut model_dirs: Vec<PathBuf> =
            variable("RESEMBLED_MODEL_DIR").map(|dir| here.join(dir)).into_iter().collect();
        model_dirs.extend(file.model_dirs.iter().map(|dir| in_file(dir)));
        let pull_dir = dirs.data.join("models");
        model_dirs.push(pull_dir.clone());

        let named = file.encoder.onnxruntime_library.iter().map(|path| in_file(path));
        let mut onnxruntime: Vec<Candidate> = named
            .chain(variable("ORT_DYLIB_PATH").map(|path| here.join(path)))
            .map(Candidate::File)
            .collect();
        let executable = std::env::current_exe().ok();
        let beside = executable.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        onnxruntime.extend(beside.map(Candidate::Folder));
        onnxruntime.push(Candidate::Folder(dirs.data.clone()));
        onnxruntime.push(Candidate::System);

        file.decode.check()?;
        file.ingest.check()?;
        file.metrics.check()?;
        let metrics = MetricsSection { socket: file.metrics.socket.as_deref().map(in_file), ..file.metrics };
        Ok(Self {
            roots,
            model: flags.model.clone().filter(|model| !model.is_empty()).or(file.model),
            model_dirs,
            manifest_dir: dirs.config.join("models"),
            pull_dir,
            store: dirs.data.join("resembled.redb"),
            thumbnail_dir: dirs.cache.join("thumbnails"),
            socket: match (&flags.socket, &file.socket) {
                (Some(path), _) => here.join(path),
                (None, Some(path)) => in_file(path),
                (None, None) => dirs.runtime.join("resembled.sock"),
            },
            listen: flags.listen.or(file.listen),
            token: dirs.data.join("token"),
            log: flags
                .log
                .clone()
                .filter(|log| !log.is_empty())
                .or(file.log)
                .unwrap_or_else(|| "info".to_owned()),
            max_full_vectors: flags.max_full_vectors.unwrap_or(MAX_FULL_VECTORS),
            runtime_dir: dirs.data.clone(),
            onnxruntime,
            encoder: file.encoder,
            decode: file.decode,
            watch: file.watch,
            ingest: file.ingest,
            thumbnails: file.thumbnails,
            metrics,
        })
    }
}

#[cfg(test)]
mod tests;
