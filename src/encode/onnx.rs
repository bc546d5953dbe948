//! A network in a session of the runtime.

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use super::{EncodeError, Encoder, Input, Network, Runtime, check_embedding, check_input};
use crate::photo::Embedding;

/// An encoder for one thread: the session computes on the thread that calls it and starts none.
#[derive(Debug)]
pub struct OnnxEncoder {
    session: Session,
    side: u32,
    dim: usize,
}

impl OnnxEncoder {
    /// Loads and optimises the network, and tries it on a photo of one colour.
    pub fn new(runtime: &Runtime, network: &Network) -> Result<Self, EncodeError> {
        let session = session(runtime, network).map_err(|error| EncodeError::Load(error.into()))?;
        let mut encoder = Self { session, side: network.side, dim: network.dim };
        let values = vec![0.0; 3 * network.side as usize * network.side as usize];
        match encoder.run(&Input { side: network.side, values }) {
            Ok(_) => Ok(encoder),
            Err(EncodeError::Run(error)) => Err(EncodeError::Load(error)),
            Err(error) => Err(error),
        }
    }

    fn run(&mut self, photo: &Input) -> Result<Vec<f32>, EncodeError> {
        let failed = |error: ort::Error| EncodeError::Run(error.into());
        let side = i64::from(self.side);
        let tensor =
            TensorRef::from_array_view(([1, 3, side, side], photo.values.as_slice())).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(failed)?;
        let (_, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        match values.len() == self.dim {
            true => Ok(values.to_vec()),
            false => Err(EncodeError::WrongDim { promised: self.dim, found: values.len() }),
        }
    }
}

fn session(runtime: &Runtime, network: &Network) -> ort::Result<Session> {
    let mut builder =
        Session::builder(&runtime.environment)?.with_optimization_level(GraphOptimizationLevel::All)?;
    // tract has no such option; it computes on the calling thread anyway.
    if runtime.is_onnx_runtime() {
        // Its arena of memory stays on: without it, two sessions of MobileNetV2 grew to 340-470 MB of fragments
        // instead of 100 MB, and were no faster.
        builder = builder.with_intra_threads(1)?;
    }
    builder.commit_from_memory(&network.onnx)
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
