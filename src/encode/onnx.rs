//! A network in ONNX Runtime, and the encoder for one thread in either runtime.

use std::fmt;
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use prost::Message;
use tokio::sync::Mutex;
use tract_onnx::pb::ModelProto;

use super::loaded::{LARGE, LoadedEngine};
use super::{EncodeError, Encoder, Input, Loaded, Network, Runtime, check_embedding, check_input, tract};
use crate::photo::Embedding;

/// A network as sessions are made of it.
///
/// A session has a copy of the weights, packed as the processor likes them; unpacked, in memory that sessions could share, a
/// photo took half as long again (CLIP ViT-B/32: 160 ms instead of 104). A small network has a session for each thread, which
/// is quicker than one that all threads compute. Of a large one there is one session, for one thread at a time.
#[derive(Clone)]
pub(super) enum Shared {
    File { environment: Environment, onnx: Arc<Vec<u8>> },
    Session(Arc<Mutex<Session>>),
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "File",
            Self::Session(_) => "Session",
        })
    }
}

impl Shared {
    /// A session for all computes with so many threads.
    pub fn new(environment: &Environment, proto: ModelProto, threads: usize) -> ort::Result<Self> {
        let onnx = proto.encode_to_vec();
        drop(proto);
        match (onnx.len() as u64) < LARGE {
            true => Ok(Self::File { environment: environment.clone(), onnx: Arc::new(onnx) }),
            false => Ok(Self::Session(Arc::new(Mutex::new(session(environment, &onnx, threads)?)))),
        }
    }

    fn get(&self) -> ort::Result<Arc<Mutex<Session>>> {
        match self {
            Self::File { environment, onnx } => Ok(Arc::new(Mutex::new(session(environment, onnx, 1)?))),
            Self::Session(session) => Ok(Arc::clone(session)),
        }
    }
}

pub(super) fn session(environment: &Environment, onnx: &[u8], threads: usize) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // Its arena of memory stays on: without it, two sessions of MobileNetV2 grew to 340-470 MB of fragments
        // instead of 100 MB, and were no faster.
        .with_intra_threads(threads)?
        .commit_from_memory(onnx)
}

/// An encoder for one thread.
#[derive(Debug)]
pub struct OnnxEncoder {
    run: Run,
    side: u32,
    dim: usize,
    /// What others use too; gone with the last of them.
    _loaded: Arc<Loaded>,
}

#[derive(Debug)]
enum Run {
    /// Whoever waits longest is the next to compute.
    Session(Arc<Mutex<Session>>),
    Plan(Arc<tract::Plan>),
}

impl OnnxEncoder {
    /// Loads and optimises the network, and tries it on a photo of one colour.
    ///
    /// # Errors
    /// The runtime refuses the network, or it gives something else than its manifest says.
    pub fn new(runtime: &Runtime, network: Network) -> Result<Self, EncodeError> {
        Self::of(Arc::new(Loaded::new(runtime, network, 1)?))
    }

    /// Makes one of a network that is loaded, and tries it likewise.
    pub(super) fn of(loaded: Arc<Loaded>) -> Result<Self, EncodeError> {
        let run = match &loaded.engine {
            LoadedEngine::Tract(plan) => Run::Plan(Arc::clone(plan)),
            LoadedEngine::OnnxRuntime(shared) => {
                Run::Session(shared.get().map_err(|error| EncodeError::Load(error.into()))?)
            }
        };
        let (side, dim) = (loaded.side, loaded.dim);
        let encoder = Self { run, side, dim, _loaded: loaded };
        let values = vec![0.0; 3 * side as usize * side as usize];
        match encoder.run(&Input { side, values }) {
            Ok(_) => Ok(encoder),
            Err(EncodeError::Run(error)) => Err(EncodeError::Load(error)),
            Err(error) => Err(error),
        }
    }

    fn run(&self, photo: &Input) -> Result<Vec<f32>, EncodeError> {
        let side = self.side as usize;
        let values = match &self.run {
            Run::Plan(plan) => {
                tract::run(plan, &[1, 3, side, side], &photo.values).map_err(EncodeError::Run)?
            }
            Run::Session(session) => {
                let shape = [1, 3, i64::from(self.side), i64::from(self.side)];
                TensorRef::from_array_view((shape, photo.values.as_slice()))
                    .and_then(|tensor| run(&mut session.blocking_lock(), tensor.into()))
                    .map_err(|error| EncodeError::Run(error.into()))?
            }
        };
        match values.len() == self.dim {
            true => Ok(values),
            false => Err(EncodeError::WrongDim { promised: self.dim, found: values.len() }),
        }
    }
}

/// Computes the one output from the one input.
pub(super) fn run(session: &mut Session, input: SessionInputValue<'_>) -> ort::Result<Vec<f32>> {
    let outputs = session.run([input])?;
    let (_, values) = outputs[0].try_extract_tensor::<f32>()?;
    Ok(values.to_vec())
}

impl Encoder for OnnxEncoder {
    fn dim(&self) -> usize {
        self.dim
    }

    fn side(&self) -> u32 {
        self.side
    }

    fn embed(&mut self, photos: &[Input]) -> Result<Vec<Embedding>, EncodeError> {
        // One by one: a batch of 8 saved a tenth of the time in ONNX Runtime, and its memory grows with the batch.
        photos
            .iter()
            .map(|photo| {
                check_input(photo, self.side)?;
                check_embedding(self.run(photo)?)
            })
            .collect()
    }
}
