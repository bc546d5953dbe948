//! An ONNX classifier in, an encoder out: the graph ends at its penultimate tensor, takes one photo, needs no
//! other file.
//!
//! The rule behind `auto`. From the output backwards, softmax, sigmoid, casts, reshapings and dropout are passed.
//! If the walk then meets a layer with weights (`Gemm`, `MatMul`, either followed by the `Add` of a bias, or a 1×1
//! `Conv`), that layer is the classifier and what it reads is the embedding. Behind a softmax, pooling and an
//! activation are passed too, as networks without a dense layer pool their class maps. If the walk meets anything
//! else (pooling, a norm, an activation), the network already ends in its embedding and is used as it is; except
//! behind a softmax, where that is an error. An encoder that ends in a dense projection looks like a classifier:
//! its manifest names the output.
//!
//! Invariant: every name that the cut graph reads is made in it, and its one output is `[1, dim]` numbers of 32 bits.

use std::collections::HashSet;
use std::io::{self, ErrorKind};

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataLocation, tensor_proto::DataType,
    type_proto,
};

use super::graph::{Graph, attribute, each_tensor, inputs, integer_tensor, integers, tensor_type, used_by};
use super::head;
use crate::models::{Content, ContentError, Model, Output};
use crate::words::Head;

/// An ONNX network ready for a runtime: one input `[1, 3, side, side]`, one output `[1, dim]`, both of 32-bit floats.
#[derive(Clone, Debug)]
pub struct Network {
    /// The ONNX file in parts; holds all its weights.
    pub(super) proto: ModelProto,
    /// Pixels a side of the input.
    pub side: u32,
    /// Numbers in the output, as the manifest says.
    pub dim: usize,
    /// The tensor of the original file that is the embedding.
    pub tensor: String,
    /// The classifier that was cut off, or has a file of its own; `None` where there is none, or its weights are not written
    /// as floats.
    pub head: Option<Head>,
}

/// A file that cannot be made into an encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// Not an ONNX file.
    #[error("this is not an ONNX file")]
    Malformed(#[source] prost::DecodeError),
    /// The file is there, and its bytes are not to be had any more.
    #[error("the file of the network cannot be read")]
    Read(#[source] io::Error),
    /// An ONNX file without a graph.
    #[error("the ONNX file holds no network")]
    Empty,
    /// `auto` needs to know where to begin.
    #[error("the network has the outputs {}: name the tensor to use as `output` in the manifest", .0.join(", "))]
    SeveralOutputs(Vec<String>),
    /// A softmax, and no layer of weights right before it.
    #[error("no classification layer was found: name the tensor to use as `output` in the manifest; the last ones are {}", .last.join(", "))]
    NoClassifier {
        /// Names near the end of the graph.
        last: Vec<String>,
    },
    /// The manifest names a tensor that the network does not compute from a photo.
    #[error("the network computes no tensor `{name}`; the last ones are {}", .last.join(", "))]
    NoSuchTensor {
        /// The name in the manifest.
        name: String,
        /// Names near the end of the graph.
        last: Vec<String>,
    },
    /// More than one input is left.
    #[error("the network takes {} inputs instead of one photo: {}", .0.len(), .0.join(", "))]
    NotOneInput(Vec<String>),
    /// The input is no photo.
    #[error(
        "the input `{name}` is {found}, where 3 planes of {side}x{side} numbers are needed; the manifest's `crop` sets the side"
    )]
    WrongInput {
        /// Name of the input.
        name: String,
        /// Its type, for people.
        found: String,
        /// By the manifest.
        side: u32,
    },
    /// What reads a text takes something else.
    #[error("the network takes {found}, where one row of {length} tokens (int64) is needed")]
    WrongTokens {
        /// What it takes, for people.
        found: String,
        /// By the manifest.
        length: usize,
    },
    /// Weights in a file that the manifest does not list.
    #[error("the network keeps weights in `{0}`: add that file to the manifest, under [[source.external]]")]
    Unlisted(String),
    /// Weights that lie outside of their file.
    #[error("the network reads weights past the end of `{0}`")]
    PastEnd(String),
}

impl From<ContentError> for CutError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Malformed(error) => Self::Malformed(error),
            ContentError::Read(error) => Self::Read(error),
        }
    }
}

impl Network {
    /// Cuts the network of `model` as its manifest says. Its weights are in memory once, here.
    ///
    /// # Errors
    /// The file cannot be read, is no network, or has no tensor to use.
    pub fn of(model: &Model) -> Result<Self, CutError> {
        let (side, dim) = (model.manifest.preprocessing.crop, model.manifest.dim);
        let mut proto: ModelProto = model.content.decode()?;
        let graph = proto.graph.take().ok_or(CutError::Empty)?;
        let end = end(&Graph::new(&graph), &model.output)?;
        let mut cut = cut(graph, &end.tensor);
        take_one_photo(&mut cut, side)?;
        each_tensor(&mut cut, &mut |tensor| inline(tensor, &model.external))?;
        proto.graph = Some(cut);
        proto.training_info.clear();
        let head = match &model.classifier {
            Some(classifier) => read_classifier(classifier)?,
            None => end.head,
        };
        let head = head.filter(|head| head.dim() == dim);
        Ok(Self { proto, side, dim, tensor: end.tensor, head })
    }
}

/// Reads a classifier that is in a file of its own: one layer. `None` where its weights are not written in it as floats.
///
/// # Errors
/// There is no such layer in it.
fn read_classifier(content: &Content) -> Result<Option<Head>, CutError> {
    let proto: ModelProto = content.decode()?;
    let graph = proto.graph.ok_or(CutError::Empty)?;
    Ok(end(&Graph::new(&graph), &Output::Auto)?.head)
}

struct End {
    tensor: String,
    head: Option<Head>,
}

fn end(graph: &Graph<'_>, output: &Output) -> Result<End, CutError> {
    match output {
        Output::Tensor(name) if graph.producer(name).is_some() && graph.varies(name) => {
            Ok(End { tensor: name.clone(), head: None })
        }
        Output::Tensor(name) => Err(CutError::NoSuchTensor { name: name.clone(), last: last_tensors(graph) }),
        Output::Auto => match graph.proto.output.as_slice() {
            [] => Err(CutError::Empty),
            [output] => penultimate(graph, &output.name),
            several => {
                Err(CutError::SeveralOutputs(several.iter().map(|output| output.name.clone()).collect()))
            }
        },
    }
}

pub(super) fn last_tensors(graph: &Graph<'_>) -> Vec<String> {
    const SHOWN: usize = 8;
    let outputs = graph.proto.node.iter().rev().filter_map(|node| node.output.first());
    outputs.filter(|name| graph.varies(name)).take(SHOWN).cloned().collect()
}

/// The rule behind `auto`; see the head of this file.
fn penultimate(graph: &Graph<'_>, output: &str) -> Result<End, CutError> {
    let as_it_is = End { tensor: output.to_owned(), head: None };
    let mut tensor = output;
    let (mut is_classifier, mut is_pooled) = (false, false);
    while let Some(node) = graph.producer(tensor) {
        let Some(data) = node.input.iter().find(|name| graph.varies(name)) else { break };
        match node.op_type.as_str() {
            "Softmax" | "LogSoftmax" | "Sigmoid" => is_classifier = true,
            "Identity" | "Cast" | "Dropout" | "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze"
            | "QuantizeLinear" | "DequantizeLinear" => {}
            "Add" if has_weights(graph, node) => {}
            "GlobalAveragePool" | "AveragePool" | "ReduceMean" if is_classifier => is_pooled = true,
            "Relu" | "Clip" if is_pooled => {}
            "Gemm" | "MatMul" if has_weights(graph, node) => return Ok(before(graph, node)),
            "Conv" if is_dense(graph, node) => return Ok(before(graph, node)),
            _ => break,
        }
        tensor = data;
    }
    match is_classifier {
        true => Err(CutError::NoClassifier { last: last_tensors(graph) }),
        false if graph.producer(output).is_none() => Err(CutError::Empty),
        false => Ok(as_it_is),
    }
}

/// One operand is the photo's, the other is not.
fn has_weights(graph: &Graph<'_>, node: &NodeProto) -> bool {
    matches!(node.input.as_slice(), [data, weights, ..] if graph.varies(data) && !graph.varies(weights))
        || node.op_type == "Add" && node.input.iter().filter(|name| graph.varies(name)).count() == 1
}

/// Says whether a convolution is a dense layer on each pixel: a 1×1 kernel, and every channel sees all others.
fn is_dense(graph: &Graph<'_>, node: &NodeProto) -> bool {
    let kernel = attribute(node, "kernel_shape").map(|kernel| kernel.ints.clone()).or_else(|| {
        let weights = graph.constant(node.input.get(1)?)?;
        Some(weights.dims.get(2..)?.to_vec())
    });
    let group = attribute(node, "group").map_or(1, |group| group.i);
    group == 1
        && has_weights(graph, node)
        && kernel.is_some_and(|kernel| kernel.iter().all(|&size| size == 1))
}

fn before(graph: &Graph<'_>, classifier: &NodeProto) -> End {
    let mut tensor = &classifier.input[0];
    // Dropout does nothing after training, so what it reads is the same embedding under a better name.
    while let Some(node) = graph.producer(tensor)
        && matches!(node.op_type.as_str(), "Dropout" | "Identity")
    {
        tensor = &node.input[0];
    }
    End { tensor: tensor.clone(), head: head::of(graph, classifier) }
}

/// Leaves the part of the graph that `tensor` needs, with `tensor` as rows of 32-bit floats at its end.
pub(super) fn cut(graph: GraphProto, tensor: &str) -> GraphProto {
    let rank = Graph::new(&graph).rank(tensor);
    let is_half = graph
        .output
        .iter()
        .chain(inputs(&graph))
        .any(|value| tensor_type(value).is_some_and(|(of, _)| of == DataType::Float16 as i32));
    let mut cut = GraphProto { input: inputs(&graph).cloned().collect(), ..GraphProto::default() };
    let mut needed = HashSet::from([tensor.to_owned()]);
    for mut node in graph.node.into_iter().rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(used_by(&node).map(str::to_owned));
            // A node is allowed the name of an input, and tract would then take the one for the other. Without a name it
            // goes by its output, and those are unique.
            node.name.clear();
            cut.node.push(node);
        }
    }
    cut.node.reverse();
    cut.name = graph.name;
    cut.input.retain(|input| needed.contains(&input.name));
    cut.initializer = graph.initializer;
    cut.initializer.retain(|weight| needed.contains(&weight.name));
    cut.sparse_initializer = graph.sparse_initializer;
    cut.sparse_initializer
        .retain(|weight| weight.values.as_ref().is_some_and(|values| needed.contains(&values.name)));
    let mut end = tensor.to_owned();
    if rank == Some(4) {
        end = push(&mut cut, "GlobalAveragePool", end, None);
    }
    if rank != Some(2) {
        end = push(&mut cut, "Flatten", end, Some(integer_attribute("axis", 1)));
    }
    if is_half {
        end = push(&mut cut, "Cast", end, Some(integer_attribute("to", DataType::Float as i64)));
    }
    cut.output = vec![float_value(&end, None)];
    cut
}

/// Appends a node that reads `input`, and returns the name of what it makes.
fn push(graph: &mut GraphProto, op: &str, input: String, attribute: Option<AttributeProto>) -> String {
    let output = unused_name(graph, "embedding");
    graph.node.push(node(op, input, output.clone(), attribute));
    output
}

fn node(op: &str, input: String, output: String, attribute: Option<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        input: vec![input],
        output: vec![output],
        attribute: attribute.into_iter().collect(),
        ..NodeProto::default()
    }
}

fn unused_name(graph: &GraphProto, wish: &str) -> String {
    let taken: HashSet<&str> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(String::as_str).chain(used_by(node)))
        .chain(graph.initializer.iter().map(|weight| weight.name.as_str()))
        .chain(graph.input.iter().map(|input| input.name.as_str()))
        .collect();
    let mut name = wish.to_owned();
    while taken.contains(name.as_str()) {
        name.push('_');
    }
    name
}

/// Makes the graph's input one photo `[1, 3, side, side]` of 32-bit floats.
///
/// A network that wants its channels last, or half floats, gets a layer in front. tract needs 10 times as long for a
/// batch whose size it does not know.
fn take_one_photo(graph: &mut GraphProto, side: u32) -> Result<(), CutError> {
    let [input] = graph.input.as_slice() else {
        return Err(CutError::NotOneInput(graph.input.iter().map(|input| input.name.clone()).collect()));
    };
    let name = input.name.clone();
    let wrong = |found: String| CutError::WrongInput { name: name.clone(), found, side };
    let (element, dims) = tensor_type(input).ok_or_else(|| wrong("no tensor".to_owned()))?;
    let is_half = element == DataType::Float16 as i32;
    if !is_half && element != DataType::Float as i32 {
        return Err(wrong("not of floats".to_owned()));
    }
    let dims = dims.unwrap_or_else(|| vec![None; 4]);
    let pixels = i64::from(side);
    let fits = |wanted: [i64; 3]| {
        dims.len() == 4
            && dims[1..].iter().zip(wanted).all(|(dim, wanted)| dim.is_none_or(|dim| dim == wanted))
    };
    // Where no dimension is told, channels come first, as in the files that PyTorch writes.
    let is_channels_last = match (fits([3, pixels, pixels]), fits([pixels, pixels, 3])) {
        (true, _) => false,
        (false, true) => true,
        (false, false) => {
            let shown = dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string()));
            return Err(wrong(format!("[{}]", shown.collect::<Vec<_>>().join(", "))));
        }
    };
    if let Some(batch) = dims[0].filter(|&batch| batch > 1) {
        fix_reshapes(graph, batch);
    }
    let mut first = name;
    if is_half {
        first = prepend(graph, "Cast", first, integer_attribute("to", DataType::Float16 as i64));
    }
    if is_channels_last {
        first = prepend(graph, "Transpose", first, integers_attribute("perm", &[0, 2, 3, 1]));
    }
    graph.input = vec![float_value(&first, Some([1, 3, pixels, pixels]))];
    Ok(())
}

/// Puts a node in front of everything that makes `output`, and returns the name of what it reads.
fn prepend(graph: &mut GraphProto, op: &str, output: String, attribute: AttributeProto) -> String {
    let input = unused_name(graph, "photo");
    graph.node.insert(0, node(op, input.clone(), output, Some(attribute)));
    input
}

/// Networks written for a fixed batch have its size in the shapes they reshape to.
fn fix_reshapes(graph: &mut GraphProto, batch: i64) {
    let mut shapes: Vec<(usize, Vec<i64>)> = Vec::new();
    let index = Graph::new(graph);
    for (at, node) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "Reshape") {
        let shape = node.input.get(1).and_then(|shape| index.constant(shape)).map(integers);
        if let Some(mut shape) = shape.filter(|shape| shape.first() == Some(&batch)) {
            shape[0] = 1;
            shapes.push((at, shape));
        }
    }
    for (at, shape) in shapes {
        // A new weight: the old one may be read elsewhere.
        let name = unused_name(graph, "shape");
        graph.initializer.push(integer_tensor(&name, &shape));
        graph.node[at].input[1] = name;
    }
}

pub(super) fn inline(tensor: &mut TensorProto, external: &[(String, Content)]) -> Result<(), CutError> {
    if tensor.data_location != Some(DataLocation::External as i32) {
        return Ok(());
    }
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
    let location = entry("location").unwrap_or_default();
    let past_end = || CutError::PastEnd(location.to_owned());
    let number = |key: &str| entry(key).map(|text| text.parse::<u64>().map_err(|_| past_end())).transpose();
    // The manifest's names are checked, so only a file below the model's folder can be equal to this one.
    let plain = location.strip_prefix("./").unwrap_or(location);
    let (_, content) = external
        .iter()
        .find(|(file, _)| file == plain)
        .ok_or_else(|| CutError::Unlisted(location.to_owned()))?;
    let offset = number("offset")?.unwrap_or(0);
    let rest = content.bytes().checked_sub(offset).ok_or_else(past_end)?;
    let length = number("length")?.unwrap_or(rest);
    tensor.raw_data = content.range(offset, length).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => past_end(),
        _ => CutError::Read(error),
    })?;
    tensor.data_location = None;
    tensor.external_data.clear();
    Ok(())
}

fn integer_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn integers_attribute(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn float_value(name: &str, dims: Option<[i64; 4]>) -> ValueInfoProto {
    let dim = |size| Dimension { denotation: String::new(), value: Some(Dim::DimValue(size)) };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: dims.map(|dims| TensorShapeProto { dim: dims.map(dim).to_vec() }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        doc_string: String::new(),
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
pub(super) mod tests;
