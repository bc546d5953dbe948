//! Reading an ONNX graph: who makes a tensor, what depends on the photo, what is used.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType, type_proto,
};

/// A graph with an index over its tensors.
pub(super) struct Graph<'a> {
    pub proto: &'a GraphProto,
    producer: HashMap<&'a str, &'a NodeProto>,
    varying: HashSet<&'a str>,
}

impl<'a> Graph<'a> {
    pub fn new(proto: &'a GraphProto) -> Self {
        let mut producer = HashMap::new();
        let mut varying: HashSet<&str> = inputs(proto).map(|input| input.name.as_str()).collect();
        // Nodes come in topological order, by the specification of the format.
        for node in &proto.node {
            let varies = used_by(node).any(|name| varying.contains(name));
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                producer.insert(name.as_str(), node);
                if varies {
                    varying.insert(name);
                }
            }
        }
        Self { proto, producer, varying }
    }

    /// Returns the node that makes `tensor`, or `None` for inputs, weights and unknown names.
    pub fn producer(&self, tensor: &str) -> Option<&'a NodeProto> {
        self.producer.get(tensor).copied()
    }

    /// Says whether `tensor` depends on the photo. Weights do not, however they are computed.
    pub fn varies(&self, tensor: &str) -> bool {
        self.varying.contains(tensor)
    }

    /// Returns the value of a weight that is written in the file as it is.
    pub fn constant(&self, tensor: &str) -> Option<&'a TensorProto> {
        self.proto.initializer.iter().find(|weight| weight.name == tensor).or_else(|| {
            let node = self.producer(tensor).filter(|node| node.op_type == "Constant")?;
            attribute(node, "value")?.t.as_ref()
        })
    }

    /// Returns the rank of `tensor` where a few simple rules give it; the graph's input is an image of rank 4.
    pub fn rank(&self, tensor: &str) -> Option<usize> {
        let mut tensor = tensor;
        let mut at_least = 0;
        let rank = loop {
            let Some(node) = self.producer(tensor) else {
                break inputs(self.proto).any(|input| input.name == tensor).then_some(4)?;
            };
            match node.op_type.as_str() {
                "Gemm" | "Flatten" => break 2,
                "Conv" | "GlobalAveragePool" | "GlobalMaxPool" | "AveragePool" | "MaxPool" => break 4,
                "Reshape" => break integers(self.constant(node.input.get(1)?)?).len(),
                // These keep the rank of their first operand, unless a weight of a higher rank is spread over it.
                "Relu" | "Clip" | "HardSwish" | "HardSigmoid" | "Sigmoid" | "LeakyRelu" | "PRelu"
                | "BatchNormalization" | "Dropout" | "Identity" | "Cast" | "Softmax" | "Concat"
                | "LpNormalization" | "LRN" | "Pad" => tensor = node.input.first()?,
                "Add" | "Mul" | "Sub" | "Div" => {
                    for weight in node.input.iter().filter(|operand| !self.varies(operand)) {
                        at_least = at_least.max(self.constant(weight)?.dims.len());
                    }
                    tensor = node.input.iter().find(|operand| self.varies(operand))?;
                }
                _ => return None,
            }
        };
        Some(rank.max(at_least))
    }
}

/// Returns the inputs that are not weights; old files list their weights among the inputs.
pub(super) fn inputs(graph: &GraphProto) -> impl Iterator<Item = &ValueInfoProto> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|weight| weight.name.as_str()).collect();
    graph.input.iter().filter(move |input| !weights.contains(input.name.as_str()))
}

pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Returns every tensor that `node` reads, those inside its branches and loop bodies included.
pub(super) fn used_by(node: &NodeProto) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(graph.node.iter().flat_map(used_by));
            names.extend(graph.output.iter().map(|output| output.name.as_str()));
        }
    }
    names.into_iter().filter(|name| !name.is_empty())
}

/// Calls `each` on every tensor written in the graph: weights, constants, and those of inner graphs.
pub(super) fn each_tensor<E>(
    graph: &mut GraphProto,
    each: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    graph.initializer.iter_mut().try_for_each(&mut *each)?;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *each)?;
        for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            each_tensor(inner, each)?;
        }
    }
    Ok(())
}

/// Returns the numbers of an int64 tensor that is written in the file itself.
pub(super) fn integers(tensor: &TensorProto) -> Vec<i64> {
    if tensor.raw_data.is_empty() {
        return tensor.int64_data.clone();
    }
    let eight = tensor.raw_data.as_chunks::<8>().0;
    eight.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}

/// Writes an int64 tensor of one dimension.
pub(super) fn integer_tensor(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: DataType::Int64 as i32,
        dims: vec![numbers.len() as i64],
        int64_data: numbers.to_vec(),
        ..TensorProto::default()
    }
}

/// Returns element type and dimensions of an input or output. A dimension is `None` where it is a symbol or missing.
pub(super) fn tensor_type(value: &ValueInfoProto) -> Option<(i32, Option<Vec<Option<i64>>>)> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref().map(|shape| {
        let size = |dim: &_| match dim {
            Some(Dim::DimValue(size)) if *size > 0 => Some(*size),
            _ => None,
        };
        shape.dim.iter().map(|dim| size(&dim.value)).collect()
    });
    Some((tensor.elem_type, dims))
}
