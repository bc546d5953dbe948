//! A network in the hands of the runtime, whose weights are in memory once, however many encoders use it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use super::onnx::{self, OnnxEncoder};
use super::runtime::Engine;
use super::{EncodeError, Encoder, LoadEncoder, Network, Runtime, tract};
use crate::models::Model;

/// Networks of so many bytes and more are given back while there is nothing to encode. Smaller ones are loaded in a tenth of a
/// second and take less than the rest of the daemon, so they stay.
pub(super) const LARGE: u64 = 64 << 20;

/// What encoders of one network share.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(super) engine: LoadedEngine,
    pub(super) side: u32,
    pub(super) dim: usize,
}

#[derive(Clone, Debug)]
pub(super) enum LoadedEngine {
    Tract(Arc<tract::Plan>),
    OnnxRuntime(onnx::Shared),
}

impl Loaded {
    /// Loads and optimises a network. Where all encoders compute with one session, that has so many threads.
    pub(super) fn new(runtime: &Runtime, network: Network, threads: usize) -> Result<Self, EncodeError> {
        let Network { proto, side, dim, .. } = network;
        let engine = match &runtime.engine {
            Engine::Tract => LoadedEngine::Tract(tract::load(proto).map_err(EncodeError::Load)?),
            Engine::OnnxRuntime(environment) => LoadedEngine::OnnxRuntime(
                onnx::Shared::new(environment, proto, threads)
                    .map_err(|error| EncodeError::Load(error.into()))?,
            ),
        };
        Ok(Self { engine, side, dim })
    }
}

/// Loads a network when an encoder is needed, and forgets a large one when the last of its encoders is gone.
#[derive(Debug)]
pub struct Loader {
    runtime: Arc<Runtime>,
    model: Model,
    threads: usize,
    /// As [`PoolOptions::enter_background`](super::PoolOptions::enter_background). The threads of a session have the priority
    /// of the thread that makes it, whoever asks later.
    enter_background: fn(),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is cut already, for the first time.
    cut: Option<Network>,
    /// What is kept, as it is small.
    kept: Option<Arc<Loaded>>,
    /// What encoders have.
    used: Weak<Loaded>,
}

impl Loader {
    /// Takes over a network that was cut already, to be computed by so many threads.
    pub fn new(
        runtime: Arc<Runtime>,
        model: Model,
        network: Network,
        threads: usize,
        enter_background: fn(),
    ) -> Self {
        let state = Mutex::new(State { cut: Some(network), kept: None, used: Weak::new() });
        Self { runtime, model, threads, enter_background, state }
    }

    /// Whether it is worth giving back.
    pub fn is_large(&self) -> bool {
        let external = self.model.external.iter().map(|(_, content)| content.bytes());
        self.model.content.bytes() + external.sum::<u64>() >= LARGE
    }

    /// How many encoders photos are to be brought to.
    pub fn encoders(&self) -> usize {
        if self.is_large() && self.runtime.is_onnx_runtime() { 1 } else { self.threads }
    }

    /// Returns what makes encoders.
    pub fn into_load(self) -> LoadEncoder {
        Arc::new(move || Ok(Box::new(OnnxEncoder::of(self.get()?)?) as Box<dyn Encoder>))
    }

    /// Others who need it wait meanwhile: they need the same.
    fn get(&self) -> Result<Arc<Loaded>, EncodeError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = state.used.upgrade() {
            return Ok(loaded);
        }
        let cut = state.cut.take();
        let loaded = Arc::new(self.load_in_background(cut)?);
        state.used = Arc::downgrade(&loaded);
        if !self.is_large() {
            state.kept = Some(Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    fn load_in_background(&self, cut: Option<Network>) -> Result<Loaded, EncodeError> {
        let load = || {
            (self.enter_background)();
            let network = match cut {
                Some(network) => network,
                None => Network::of(&self.model).map_err(|error| EncodeError::Load(error.into()))?,
            };
            Loaded::new(&self.runtime, network, self.threads)
        };
        thread::scope(|scope| {
            let name = "encoder-load".to_owned();
            let loading = thread::Builder::new().name(name.clone()).spawn_scoped(scope, load);
            let loading = loading.map_err(EncodeError::Thread)?;
            loading.join().map_err(|_| EncodeError::Panicked(name))?
        })
    }
}
