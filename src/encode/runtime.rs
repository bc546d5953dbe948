//! Which library computes: ONNX Runtime where one is found, else tract, which is compiled in.
//!
//! tract is called by itself, not through the crate that has ONNX Runtime's interface for both (`ort-tract`): that one takes the
//! network as a file in memory, has a copy of the weights for each thread, and one thread at a time would not do.
//!
//! A process has one runtime, from the first start to its end: that is so in ONNX Runtime's own interface and in the
//! crate we reach it through. The first [`Runtime::start`] decides, later ones get the same.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use serde::Deserialize;

use super::library::{self, Candidate, PassedOver};

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

/// The runtime of this process. Its text is for the log and the status: `ONNX Runtime 1.32.0 (/path)`.
pub struct Runtime {
    /// `ONNX Runtime` or `tract`.
    pub name: &'static str,
    /// The version of the library that was loaded; `None` for tract, which is compiled in.
    pub version: Option<String>,
    /// The library that was loaded; `None` for tract.
    pub library: Option<PathBuf>,
    /// Libraries that could not be used, to be told to the user.
    pub passed_over: Vec<PassedOver>,
    pub(super) engine: Engine,
}

/// What computes.
pub(super) enum Engine {
    Tract,
    OnnxRuntime(Environment),
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
    ///
    /// # Errors
    /// ONNX Runtime was asked for and is not there or does not start, or another choice was made earlier.
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
            if let Some(found) = library::find(candidates, &mut passed_over) {
                let builder = ort::init_from(&found.path).map_err(|error| broken(ONNX_RUNTIME, error))?;
                let environment = builder.with_telemetry(false).build();
                return Ok(Self {
                    name: ONNX_RUNTIME,
                    version: Some(found.version),
                    library: Some(found.path),
                    passed_over,
                    engine: Engine::OnnxRuntime(environment.map_err(|error| broken(ONNX_RUNTIME, error))?),
                });
            }
            if choice == RuntimeChoice::OnnxRuntime {
                return Err(RuntimeError::NotFound(passed_over));
            }
        }
        Ok(Self { name: TRACT, version: None, library: None, passed_over, engine: Engine::Tract })
    }

    /// Says whether ONNX Runtime computes.
    pub fn is_onnx_runtime(&self) -> bool {
        self.name == ONNX_RUNTIME
    }
}

fn broken(name: &'static str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RuntimeError {
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

fn explain(passed_over: &[PassedOver]) -> String {
    if passed_over.is_empty() {
        return "none of the places that were searched has a libonnxruntime.so".to_owned();
    }
    passed_over.iter().map(PassedOver::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn onnx_runtime_or_nothing_is_an_error_that_tells_every_reason() {
        // Without success this starts nothing, so it does not disturb other tests of this process.
        let start = |candidates: &[Candidate]| {
            Runtime::start_first(RuntimeChoice::OnnxRuntime, candidates).unwrap_err().to_string()
        };
        let text = start(&[Candidate::File(PathBuf::from("/nonexistent/a.so"))]);
        assert!(text.starts_with("ONNX Runtime was not found: /nonexistent/a.so: "), "{text}");
        assert!(start(&[]).contains("none of the places"), "{}", start(&[]));
    }

    #[test]
    fn a_choice_is_written_in_lower_case() {
        for (text, choice) in [
            ("auto", RuntimeChoice::Auto),
            ("onnxruntime", RuntimeChoice::OnnxRuntime),
            ("tract", RuntimeChoice::Tract),
        ] {
            assert_eq!(RuntimeChoice::deserialize(toml::Value::from(text)).unwrap(), choice);
        }
    }
}
