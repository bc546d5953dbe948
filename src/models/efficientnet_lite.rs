//! The weights of an EfficientNet-Lite in, its ONNX file out.
//!
//! A checkpoint holds numbers and no network. The network is Google's EfficientNet without squeeze-and-excitation and with
//! ReLU6 (<https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>); its plan is written down here.
//! The weights are those of the package `efficientnet-lite-pytorch` by name and shape.
//!
//! Batch norms are folded into the convolutions before them, and weights are kept as 16-bit floats, which the first nodes of
//! the graph widen: half the bytes, and no photo is found less. The same weights give the same bytes on every machine.
//! The classifier stays in the file; the encode room cuts it off.

use half::f16;
use prost::Message;
use serde::Deserialize;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, type_proto,
};

use super::torch::{StateDict, StateError};

/// Added to each variance, as in training.
const EPSILON: f64 = 1e-3;

/// A network whose plan is known, so that it can be made of its weights alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 4.7 million weights, for 224×224 pixels.
    EfficientnetLite0,
    /// 5.4 million weights, for 240×240 pixels.
    EfficientnetLite1,
    /// 6.1 million weights, for 260×260 pixels.
    EfficientnetLite2,
    /// So small that a test can make its weights.
    #[cfg(test)]
    Tiny,
}

/// Weights that are not those of the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// The checkpoint cannot be read, or belongs to another network.
    #[error(transparent)]
    State(#[from] StateError),
    /// A weight has no 16-bit float near it.
    #[error("the weights of `{0}` are too large, or no numbers")]
    TooLarge(String),
}

/// Layers that give planes of one size.
#[derive(Clone, Copy)]
struct Stage {
    blocks: usize,
    kernel: usize,
    /// Of the first block.
    stride: usize,
    /// How many times wider a block is inside.
    expansion: usize,
    planes: usize,
}

struct Plan {
    /// Planes behind the first convolution.
    stem: usize,
    stages: Vec<Stage>,
    /// Numbers in an embedding.
    head: usize,
    labels: usize,
}

impl Architecture {
    fn plan(self) -> Plan {
        let (width, depth) = match self {
            Self::EfficientnetLite0 => (1.0, 1.0),
            Self::EfficientnetLite1 => (1.0, 1.1),
            Self::EfficientnetLite2 => (1.1, 1.2),
            #[cfg(test)]
            Self::Tiny => return tests::tiny(),
        };
        let stage =
            |blocks, kernel, stride, expansion, planes| Stage { blocks, kernel, stride, expansion, planes };
        let mut stages = vec![
            stage(1, 3, 1, 1, 16),
            stage(2, 3, 2, 6, 24),
            stage(2, 5, 2, 6, 40),
            stage(3, 3, 2, 6, 80),
            stage(3, 5, 1, 6, 112),
            stage(4, 5, 2, 6, 192),
            stage(1, 3, 1, 6, 320),
        ];
        let last = stages.len() - 1;
        for (number, stage) in stages.iter_mut().enumerate() {
            stage.planes = widen(stage.planes, width);
            // The Lite variants leave stem, head and the stages next to them as they are.
            if number != 0 && number != last {
                stage.blocks = (stage.blocks as f64 * depth).ceil() as usize;
            }
        }
        Plan { stem: 32, stages, head: 1280, labels: 1000 }
    }

    /// Makes the ONNX file of the whole classifier from a checkpoint's bytes.
    pub(super) fn make(self, checkpoint: &[u8]) -> Result<Vec<u8>, MakeError> {
        let plan = self.plan();
        let mut writer = Writer { state: StateDict::read(checkpoint)?, graph: GraphProto::default() };
        writer.constant("zero", 0.0);
        writer.constant("six", 6.0);
        let stem = Convolution { planes: (3, plan.stem), kernel: 3, stride: 2, groups: 1 };
        let mut tensor = writer.convolution("photo", "_conv_stem", "_bn0", stem)?;
        tensor = writer.relu6(tensor);
        let mut planes = plan.stem;
        let mut number = 0;
        for stage in plan.stages {
            for block in 0..stage.blocks {
                let stride = if block == 0 { stage.stride } else { 1 };
                tensor = writer.block(number, tensor, planes, &Stage { stride, ..stage })?;
                planes = stage.planes;
                number += 1;
            }
        }
        let head = Convolution { planes: (planes, plan.head), kernel: 1, stride: 1, groups: 1 };
        tensor = writer.convolution(&tensor, "_conv_head", "_bn1", head)?;
        tensor = writer.relu6(tensor);
        writer.node("GlobalAveragePool", &[&tensor], "pool", vec![]);
        writer.node("Flatten", &["pool"], "features", vec![integer("axis", 1)]);
        writer.classifier(plan.head, plan.labels)?;
        Ok(writer.finish()?)
    }
}

/// Rounds a scaled number of planes to eights, and never down by more than a tenth.
fn widen(planes: usize, width: f64) -> usize {
    let scaled = planes as f64 * width;
    let rounded = ((scaled + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * scaled { rounded + 8 } else { rounded }
}

/// A convolution with what normalises its output.
#[derive(Clone, Copy)]
struct Convolution {
    /// In and out.
    planes: (usize, usize),
    kernel: usize,
    stride: usize,
    groups: usize,
}

struct Writer<'a> {
    state: StateDict<'a>,
    graph: GraphProto,
}

impl Writer<'_> {
    /// An inverted bottleneck: wider by a 1×1 convolution, a convolution on each plane, narrower again.
    fn block(
        &mut self,
        number: usize,
        input: String,
        planes: usize,
        stage: &Stage,
    ) -> Result<String, MakeError> {
        let name = |part: &str| format!("_blocks.{number}.{part}");
        let inside = planes * stage.expansion;
        let mut tensor = input.clone();
        if stage.expansion != 1 {
            let wider = Convolution { planes: (planes, inside), kernel: 1, stride: 1, groups: 1 };
            tensor = self.convolution(&tensor, &name("_expand_conv"), &name("_bn0"), wider)?;
            tensor = self.relu6(tensor);
        }
        let (kernel, stride) = (stage.kernel, stage.stride);
        let each = Convolution { planes: (inside, inside), kernel, stride, groups: inside };
        tensor = self.convolution(&tensor, &name("_depthwise_conv"), &name("_bn1"), each)?;
        tensor = self.relu6(tensor);
        let narrower = Convolution { planes: (inside, stage.planes), kernel: 1, stride: 1, groups: 1 };
        tensor = self.convolution(&tensor, &name("_project_conv"), &name("_bn2"), narrower)?;
        if stride == 1 && planes == stage.planes {
            let sum = name("sum");
            self.node("Add", &[&tensor, &input], &sum, vec![]);
            tensor = sum;
        }
        Ok(tensor)
    }

    /// Writes a convolution with its batch norm folded in, and returns what it makes.
    fn convolution(
        &mut self,
        input: &str,
        name: &str,
        norm: &str,
        convolution: Convolution,
    ) -> Result<String, MakeError> {
        let Convolution { planes: (planes, filters), kernel, stride, groups } = convolution;
        let shape = [filters, planes / groups, kernel, kernel];
        let mut weights = self.state.take(&format!("{name}.weight"), &shape)?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.state.take(&format!("{norm}.{part}"), &[filters]));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let mut bias = Vec::with_capacity(filters);
        for (filter, weights) in weights.chunks_exact_mut(shape[1..].iter().product()).enumerate() {
            let scale = f64::from(gamma[filter]) / (f64::from(variance[filter]) + EPSILON).sqrt();
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
            bias.push((f64::from(beta[filter]) - f64::from(mean[filter]) * scale) as f32);
        }
        let weights = self.weights(name, &shape, &weights)?;
        let bias = self.bias(name, bias)?;
        let attributes = vec![
            // As TensorFlow pads, and for any size of a photo: the odd row below and on the right.
            AttributeProto {
                name: "auto_pad".to_owned(),
                r#type: AttributeType::String as i32,
                s: b"SAME_UPPER".to_vec(),
                ..AttributeProto::default()
            },
            integer("group", groups),
            integers("kernel_shape", &[kernel, kernel]),
            integers("strides", &[stride, stride]),
        ];
        self.node("Conv", &[input, &weights, &bias], name, attributes);
        Ok(name.to_owned())
    }

    fn relu6(&mut self, tensor: String) -> String {
        let output = format!("{tensor}.relu6");
        self.node("Clip", &[&tensor, "zero", "six"], &output, vec![]);
        output
    }

    fn classifier(&mut self, dim: usize, labels: usize) -> Result<(), MakeError> {
        let weights = self.state.take("_fc.weight", &[labels, dim])?;
        let weights = self.weights("_fc", &[labels, dim], &weights)?;
        let bias = self.state.take("_fc.bias", &[labels])?;
        let bias = self.bias("_fc", bias)?;
        self.node("Gemm", &["features", &weights, &bias], "labels", vec![integer("transB", 1)]);
        Ok(())
    }

    /// Writes weights as 16-bit floats and the node that widens them, and returns the wide ones.
    fn weights(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<String, MakeError> {
        let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
        if halves.iter().any(|half| !half.is_finite()) {
            return Err(MakeError::TooLarge(name.to_owned()));
        }
        let (narrow, wide) = (format!("{name}.half"), format!("{name}.weight"));
        self.graph.initializer.push(TensorProto {
            name: narrow.clone(),
            data_type: DataType::Float16 as i32,
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            raw_data: halves.iter().flat_map(|half| half.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        self.node("Cast", &[&narrow], &wide, vec![integer("to", DataType::Float as usize)]);
        Ok(wide)
    }

    fn bias(&mut self, name: &str, values: Vec<f32>) -> Result<String, MakeError> {
        if values.iter().any(|value| !value.is_finite()) {
            return Err(MakeError::TooLarge(name.to_owned()));
        }
        let name = format!("{name}.bias");
        self.floats(&name, vec![values.len() as i64], &values);
        Ok(name)
    }

    fn constant(&mut self, name: &str, value: f32) {
        self.floats(name, vec![], &[value]);
    }

    fn floats(&mut self, name: &str, dims: Vec<i64>, values: &[f32]) {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            data_type: DataType::Float as i32,
            dims,
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    fn node(&mut self, op: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>) {
        self.graph.node.push(NodeProto {
            op_type: op.to_owned(),
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }

    /// Returns the file, if no weight is left over.
    fn finish(self) -> Result<Vec<u8>, StateError> {
        self.state.finish()?;
        let symbol = |name: &str| Some(Dim::DimParam(name.to_owned()));
        let photo = [symbol("photos"), Some(Dim::DimValue(3)), symbol("height"), symbol("width")];
        let graph = GraphProto {
            name: "efficientnet_lite".to_owned(),
            input: vec![floats("photo", photo.into())],
            output: vec![floats("labels", vec![symbol("photos"), None])],
            ..self.graph
        };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
            producer_name: "resembled".to_owned(),
            graph: Some(graph),
            ..ModelProto::default()
        };
        Ok(model.encode_to_vec())
    }
}

fn floats(name: &str, dims: Vec<Option<Dim>>) -> ValueInfoProto {
    let dim = dims.into_iter().map(|value| Dimension { denotation: String::new(), value }).collect();
    let shape = Some(TensorShapeProto { dim });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let tensor = TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(tensor), doc_string: String::new() }
}

fn integer(name: &str, value: usize) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value as i64,
        ..AttributeProto::default()
    }
}

fn integers(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|&value| value as i64).collect(),
        ..AttributeProto::default()
    }
}

#[cfg(test)]
#[path = "efficientnet_lite_tests.rs"]
pub(super) mod tests;
