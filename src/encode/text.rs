//! A text in, its embedding out: the other half of a dual encoder.
//!
//! A text becomes tokens as the model's own `tokenizer.json` says, and the text tower makes numbers of them that can be compared
//! with those that the same model gives for photos, by cosine. Whoever searches waits for it, so it has a thread of its own; it
//! is loaded for the first text and given back when none came for a while.

use std::sync::Arc;
use std::time::Duration;

use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;
use tokenizers::{Tokenizer, TruncationParams};
use tokio::sync::{mpsc, oneshot};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{GraphProto, ModelProto, TensorShapeProto, type_proto};

use super::cut::{cut, inline, last_tensors};
use super::error::Cause;
use super::graph::{Graph, each_tensor, tensor_type};
use super::rest::Rest;
use super::runtime::Engine;
use super::thread::wait;
use super::{CutError, EncodeError, Runtime, onnx, tract};
use crate::models::{Output, TextModel, TextTower};
use crate::photo::Embedding;
use crate::threads::{self, Ended, Ends};

/// Texts that may wait.
const QUEUE: usize = 64;

/// An embedding of a text cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file of the tokenizer is none.
    #[error("the tokenizer cannot be used")]
    Tokenizer(#[source] Cause),
    /// The tower is not made as the manifest says.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The runtime refuses the tower.
    #[error("the runtime cannot load the text tower")]
    Load(#[source] Cause),
    /// The tower gives something else than the manifest says.
    #[error("the text tower gives {found} numbers, its manifest says dim = {promised}")]
    WrongDim {
        /// By the manifest.
        promised: usize,
        /// By the tower.
        found: usize,
    },
    /// The tower failed on this text.
    #[error("the text tower failed on this text")]
    Run(#[source] Cause),
    /// The embedding holds a NaN or an infinity.
    #[error("the embedding of this text is not finite")]
    NotFinite,
    /// So many texts wait already that this one was not taken.
    #[error("too many queries at once")]
    Busy,
    /// The thread has ended.
    #[error("the text encoder has stopped")]
    Stopped,
}

/// A tokenizer and a text tower, for one thread.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    network: Tower,
    tower: TextTower,
    dim: usize,
}

enum Tower {
    Plan(Arc<tract::Plan>),
    Session(Session),
}

impl TextEncoder {
    /// Loads both, and tries them on a text.
    ///
    /// # Errors
    /// The tokenizer or the tower cannot be used, or is not as the manifest says.
    pub fn new(runtime: &Runtime, model: &TextModel) -> Result<Self, TextError> {
        let tokenizer = tokenizer(model).map_err(TextError::Tokenizer)?;
        let proto = take_tokens(model)?;
        let network = match &runtime.engine {
            Engine::Tract => Tower::Plan(tract::load(proto).map_err(TextError::Load)?),
            Engine::OnnxRuntime(environment) => {
                let file = proto.encode_to_vec();
                drop(proto);
                let session = onnx::session(environment, &file, 1);
                Tower::Session(session.map_err(|error| TextError::Load(error.into()))?)
            }
        };
        let mut encoder = Self { tokenizer, network, tower: model.tower.clone(), dim: model.dim };
        encoder.embed("a photo")?;
        Ok(encoder)
    }

    /// Returns the embedding of a text. What is longer than the tower can read does not count.
    ///
    /// # Errors
    /// Too many texts wait, the thread has ended, or the tower fails on this text.
    pub fn embed(&mut self, text: &str) -> Result<Embedding, TextError> {
        let tokens = tokens(&self.tokenizer, &self.tower, text).map_err(TextError::Tokenizer)?;
        let values = match &mut self.network {
            Tower::Plan(plan) => tract::run(plan, &[1, tokens.len()], &tokens).map_err(TextError::Run)?,
            Tower::Session(session) => {
                TensorRef::from_array_view(([1, tokens.len() as i64], tokens.as_slice()))
                    .and_then(|tensor| onnx::run(session, tensor.into()))
                    .map_err(|error| TextError::Run(error.into()))?
            }
        };
        if values.len() != self.dim {
            return Err(TextError::WrongDim { promised: self.dim, found: values.len() });
        }
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(Embedding(values)),
            false => Err(TextError::NotFinite),
        }
    }
}

/// Returns as many tokens as the tower takes.
fn tokens(tokenizer: &Tokenizer, tower: &TextTower, text: &str) -> Result<Vec<i64>, Cause> {
    let lower = tower.lower_case.then(|| text.to_lowercase());
    let encoded = tokenizer.encode(lower.as_deref().unwrap_or(text), true)?;
    let mut tokens: Vec<i64> = encoded.get_ids().iter().map(|&token| i64::from(token)).collect();
    tokens.resize(tower.context_length, tower.padding);
    Ok(tokens)
}

#[cfg(test)]
pub(super) fn tokens_of(model: &TextModel, text: &str) -> Result<Vec<i64>, Cause> {
    tokens(&tokenizer(model)?, &model.tower, text)
}

fn tokenizer(model: &TextModel) -> Result<Tokenizer, Cause> {
    let mut tokenizer = Tokenizer::from_bytes(model.tokenizer.read()?)?;
    // The file may say otherwise; marks at the end stay where a text is cut.
    let truncation =
        TruncationParams { max_length: model.tower.context_length, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Reads the tower, which ends at its embedding and takes one row of tokens afterwards.
fn take_tokens(model: &TextModel) -> Result<ModelProto, CutError> {
    let mut proto: ModelProto = model.encoder.decode()?;
    let graph = proto.graph.take().ok_or(CutError::Empty)?;
    let end = end(&graph, model.tower.encoder.output.as_ref().unwrap_or(&Output::Auto))?;
    let mut cut = cut(graph, &end);
    fix_tokens(&mut cut, model.tower.context_length)?;
    each_tensor(&mut cut, &mut |tensor| inline(tensor, &[]))?;
    proto.graph = Some(cut);
    proto.training_info.clear();
    Ok(proto)
}

fn end(graph: &GraphProto, output: &Output) -> Result<String, CutError> {
    let index = Graph::new(graph);
    match (output, graph.output.as_slice()) {
        (Output::Tensor(name), _) if index.producer(name).is_some() && index.varies(name) => Ok(name.clone()),
        (Output::Tensor(name), _) => {
            Err(CutError::NoSuchTensor { name: name.clone(), last: last_tensors(&index) })
        }
        (Output::Auto, [output]) => Ok(output.name.clone()),
        (Output::Auto, []) => Err(CutError::Empty),
        (Output::Auto, several) => {
            Err(CutError::SeveralOutputs(several.iter().map(|output| output.name.clone()).collect()))
        }
    }
}

fn fix_tokens(graph: &mut GraphProto, length: usize) -> Result<(), CutError> {
    let wrong = |found: String| CutError::WrongTokens { found, length };
    let [input] = graph.input.as_mut_slice() else {
        let names: Vec<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        return Err(wrong(format!("{} inputs ({})", names.len(), names.join(", "))));
    };
    let (element, dims) = tensor_type(input).ok_or_else(|| wrong("no tensor".to_owned()))?;
    let fits = dims.is_none_or(|dims| dims.len() == 2 && dims[1].is_none_or(|dim| dim == length as i64));
    if element != DataType::Int64 as i32 || !fits {
        return Err(wrong(format!("another `{}`", input.name)));
    }
    let dim = |size| Dimension { denotation: String::new(), value: Some(Dim::DimValue(size)) };
    let shape = Some(TensorShapeProto { dim: vec![dim(1), dim(length as i64)] });
    let tensor = type_proto::Tensor { elem_type: element, shape };
    if let Some(of) = &mut input.r#type {
        of.value = Some(type_proto::Value::TensorType(tensor));
    }
    Ok(())
}

/// Owns the thread.
#[derive(Debug)]
pub struct TextPool {
    ends: Ends<()>,
}

/// Brings texts to the thread, which ends with the last of its handles.
#[derive(Clone, Debug)]
pub struct TextHandle {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    text: String,
    reply: oneshot::Sender<Result<Embedding, TextError>>,
}

impl TextPool {
    /// Starts the thread, which has nothing loaded yet.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        runtime: Arc<Runtime>,
        model: TextModel,
        give_back_after: Duration,
    ) -> Result<(Self, TextHandle), EncodeError> {
        let (queue, mut inbox) = mpsc::channel::<Job>(QUEUE);
        let (starter, ends) = threads::threads();
        let body = move || {
            let (mut encoder, mut rest) = (None, Rest::new(Some(give_back_after)));
            loop {
                let Some(next) = wait(inbox.recv(), rest.limit(&encoder)) else {
                    rest.begin(&mut encoder);
                    continue;
                };
                let Some(Job { text, reply }) = next else { return };
                rest.end();
                // Whoever asked may have gone meanwhile.
                if !reply.is_closed() {
                    let _ = reply.send(embed(&mut encoder, &runtime, &model, &text));
                }
            }
        };
        starter.start("encoder-text", body).map_err(EncodeError::Thread)?;
        Ok((Self { ends }, TextHandle { queue }))
    }

    /// Waits for the thread to end or to panic.
    ///
    /// # Errors
    /// The thread panicked.
    pub async fn ended(mut self) -> Result<(), EncodeError> {
        while let Some(Ended { name, result }) = self.ends.next().await {
            result.map_err(|_| EncodeError::Panicked(name))?;
        }
        Ok(())
    }
}

fn embed(
    encoder: &mut Option<TextEncoder>,
    runtime: &Runtime,
    model: &TextModel,
    text: &str,
) -> Result<Embedding, TextError> {
    match encoder {
        Some(encoder) => encoder.embed(text),
        empty => empty.insert(TextEncoder::new(runtime, model)?).embed(text),
    }
}

impl TextHandle {
    /// Encodes a text that somebody searches with. Refused as [`TextError::Busy`] where the queue is full; dropping the future
    /// takes the text back.
    ///
    /// # Errors
    /// Too many texts wait, the thread has ended, or the tower fails on this text.
    pub async fn embed(&self, text: String) -> Result<Embedding, TextError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { text, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TextError::Busy,
            mpsc::error::TrySendError::Closed(_) => TextError::Stopped,
        })?;
        answer.await.map_err(|_| TextError::Stopped)?
    }
}
