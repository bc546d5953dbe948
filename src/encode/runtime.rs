//! Which library computes: ONNX Runtime where one is found, else tract, which is compiled in.
//!
//! A process has one runtime, from the first start to its end: that is so in ONNX Runtime's own interface and in the
//! crate we reach it through. The first [`Runtime::start`] decides, later ones get the same.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use serde::Deserialize;

/// What the configuration says about the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeChoice {
    /// ONNX Runtime where it is found, else tract.
    #[default]
    Auto,
    /// ONNX Runtime or nothing.
    OnnxRuntime,
    /// tract, without looking for a library.
    Tract,
}

/// A place where ONNX Runtime's library may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// This file; somebody has named it, so it is worth a warning where it cannot be used.
    File(PathBuf),
    /// `libonnxruntime.so` or `libonnxruntime.so.*` in this folder, the greatest version first.
    Folder(PathBuf),
    /// The system's library path.
    System,
}

/// A library that was there, or was named, and could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The library.
    pub library: PathBuf,
    /// Why not.
    pub reason: String,
}

/// The runtime of this process. Its text is for the log and the status: `ONNX Runtime 1.32.0 (/path)`.
pub struct Runtime {
    /// `ONNX Runtime` or `tract`.
    pub name: &'static str,
    /// Its version, where the library tells.
    pub version: Option<String>,
    /// The library that was loaded; `None` for tract.
    pub library: Option<PathBuf>,
    /// Libraries that could not be used, to be told to the user.
    pub passed_over: Vec<PassedOver>,
    pub(super) environment: Environment,
}

/// No runtime as asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// ONNX Runtime was asked for, and no library can be used.
    #[error("ONNX Runtime was not found: {}", explain(.0))]
    NotFound(Vec<PassedOver>),
    /// Another choice was made earlier in this process.
    #[error("this process computes with {0} already")]
    Started(&'static str),
    /// The runtime fails at its start.
    #[error("{name} does not start")]
    Broken {
        /// Which one.
        name: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

const ONNX_RUNTIME: &str = "ONNX Runtime";
const TRACT: &str = "tract";

static STARTED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

impl Runtime {
    /// Starts the first candidate that can be loaded, or tract, as `choice` says.
    ///
    /// Once one has started, every later call returns it, or an error where `choice` excludes it.
    pub fn start(choice: RuntimeChoice, candidates: &[Candidate]) -> Result<Arc<Self>, RuntimeError> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*started {
            let fits = match choice {
                RuntimeChoice::Auto => true,
                RuntimeChoice::OnnxRuntime => runtime.name == ONNX_RUNTIME,
                RuntimeChoice::Tract => runtime.name == TRACT,
            };
            return if fits { Ok(Arc::clone(runtime)) } else { Err(RuntimeError::Started(runtime.name)) };
        }
        let runtime = Arc::new(Self::start_first(choice, candidates)?);
        *started = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    fn start_first(choice: RuntimeChoice, candidates: &[Candidate]) -> Result<Self, RuntimeError> {
        let mut passed_over = Vec::new();
        if choice != RuntimeChoice::Tract {
            for library in candidates.iter().flat_map(Candidate::libraries) {
                match ort::init_from(&library.path) {
                    Ok(builder) => {
                        let environment = builder.with_telemetry(false).build();
                        let environment = environment.map_err(|error| broken(ONNX_RUNTIME, error))?;
                        let path = loaded_library().unwrap_or(library.path);
                        return Ok(Self {
                            name: ONNX_RUNTIME,
                            version: version_of(&path),
                            library: Some(path),
                            passed_over,
                            environment,
                        });
                    }
                    Err(_) if !library.is_expected => {}
                    Err(error) => {
                        passed_over.push(PassedOver { library: library.path, reason: error.to_string() });
                    }
                }
            }
            if choice == RuntimeChoice::OnnxRuntime {
                return Err(RuntimeError::NotFound(passed_over));
            }
        }
        ort::set_api(ort_tract::api());
        let environment = ort::init().with_telemetry(false).build().map_err(|error| broken(TRACT, error))?;
        let version = ort::info().split_once("version=").map(|(_, version)| version.to_owned());
        Ok(Self { name: TRACT, version, library: None, passed_over, environment })
    }

    /// Says whether ONNX Runtime computes.
    pub fn is_onnx_runtime(&self) -> bool {
        self.name == ONNX_RUNTIME
    }
}

fn broken(name: &'static str, error: ort::Error) -> RuntimeError {
    RuntimeError::Broken { name, source: error.into() }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        if let Some(library) = &self.library {
            write!(f, " ({})", library.display())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runtime({self})")
    }
}

struct Library {
    path: PathBuf,
    /// Its failure is worth telling.
    is_expected: bool,
}

impl Candidate {
    fn libraries(&self) -> Vec<Library> {
        match self {
            Self::File(path) => vec![Library { path: path.clone(), is_expected: true }],
            Self::Folder(dir) => {
                let mut paths: Vec<PathBuf> = fs::read_dir(dir)
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| is_library(path))
                    .collect();
                paths.sort_by_key(|path| std::cmp::Reverse(numbers(version_of(path))));
                paths.into_iter().map(|path| Library { path, is_expected: true }).collect()
            }
            Self::System => ["libonnxruntime.so.1", "libonnxruntime.so"]
                .map(|name| Library { path: PathBuf::from(name), is_expected: false })
                .into(),
        }
    }
}

const LIBRARY: &str = "libonnxruntime.so";

fn is_library(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str()?.strip_prefix(LIBRARY))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the version at the end of the file's name.
fn version_of(library: &Path) -> Option<String> {
    let version = library.file_name()?.to_str()?.strip_prefix(LIBRARY)?.strip_prefix('.')?;
    Some(version.to_owned())
}

fn numbers(version: Option<String>) -> Vec<u64> {
    version.unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Returns where the loader found the library: under its own name where a link or only a bare name led there.
fn loaded_library() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    path.into_iter().find(|path| is_library(path)).map(Path::to_path_buf)
}

fn explain(passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return "none of the places that were searched has a libonnxruntime.so".to_owned();
    }
    let reasons =
        passed_over.iter().map(|PassedOver { library, reason }| format!("{}: {reason}", library.display()));
    reasons.collect::<Vec<_>>().join("; ")
}
