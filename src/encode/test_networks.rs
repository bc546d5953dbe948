//! Small networks for tests, built node by node.
//!
//! All begin with the same backbone: a 1×1 convolution with [`FILTERS`], ReLU, and the mean over all pixels, which
//! gives 4 numbers that [`features`] computes without ONNX. What follows is up to the test.

use std::sync::Arc;

use prost::Message;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType, type_proto,
};

use super::Input;
use crate::models::{Content, Manifest, Model, Output, Preprocessing};
use crate::photo::{Metric, ModelDigest};

/// Pixels a side of the photos that the networks take.
pub const SIDE: u32 = 4;

/// Numbers that the backbone gives.
pub const DIM: usize = 4;

/// Weights of the backbone: output × colour.
pub const FILTERS: [[f32; 3]; DIM] =
    [[1.0, 0.5, -0.25], [-0.5, 1.0, 0.75], [0.25, -1.0, 1.0], [0.5, 0.5, 0.5]];

/// Says which dimension the batch has in the file.
#[derive(Clone, Copy)]
pub enum Batch {
    Symbol,
    Fixed(i64),
}

pub struct Builder {
    pub graph: GraphProto,
}

impl Builder {
    /// Returns the backbone, which gives `pool` `[N, 4, 1, 1]` from `photo`.
    pub fn backbone(batch: Batch) -> Self {
        let batch = match batch {
            Batch::Symbol => Dim::DimParam("N".to_owned()),
            Batch::Fixed(size) => Dim::DimValue(size),
        };
        let pixels = || Dim::DimValue(i64::from(SIDE));
        let input = value("photo", DataType::Float, Some(vec![batch, Dim::DimValue(3), pixels(), pixels()]));
        let mut builder = Self { graph: GraphProto { input: vec![input], ..GraphProto::default() } };
        builder.weights("filters", &[DIM as i64, 3, 1, 1], FILTERS.as_flattened());
        builder.node("Conv", &["photo", "filters"], "conv", vec![ints("kernel_shape", &[1, 1])]);
        builder.node("Relu", &["conv"], "relu", vec![]);
        builder.node("GlobalAveragePool", &["relu"], "pool", vec![]);
        builder
    }

    pub fn node(
        &mut self,
        op: &str,
        input: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> &mut Self {
        self.graph.node.push(NodeProto {
            op_type: op.to_owned(),
            // Every node has the name of the input: the format only asks that tensors differ.
            name: "photo".to_owned(),
            input: input.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        self
    }

    pub fn weights(&mut self, name: &str, dims: &[i64], values: &[f32]) -> &mut Self {
        assert_eq!(dims.iter().product::<i64>(), values.len() as i64);
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            data_type: DataType::Float as i32,
            dims: dims.to_vec(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        self
    }

    /// Adds weights that are 0.1, 0.2 and so on.
    pub fn some_weights(&mut self, name: &str, dims: &[i64]) -> &mut Self {
        let values: Vec<f32> = (1..=dims.iter().product()).map(|number: i64| number as f32 / 10.0).collect();
        self.weights(name, dims, &values)
    }

    pub fn integers(&mut self, name: &str, numbers: &[i64]) -> &mut Self {
        self.graph.initializer.push(super::graph::integer_tensor(name, numbers));
        self
    }

    pub fn output(&mut self, name: &str) -> &mut Self {
        self.graph.output.push(value(name, DataType::Float, None));
        self
    }

    pub fn onnx(&self) -> Vec<u8> {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
        let graph = Some(GraphProto { name: "test".to_owned(), ..self.graph.clone() });
        ModelProto { ir_version: 7, opset_import, graph, ..ModelProto::default() }.encode_to_vec()
    }

    pub fn model(&self, output: &str) -> Model {
        model(self.onnx(), output, SIDE, DIM)
    }
}

/// Describes an ONNX file.
pub fn model(onnx: Vec<u8>, output: &str, side: u32, dim: usize) -> Model {
    let output = Output::from(output.to_owned());
    let manifest = Manifest {
        name: "test".to_owned(),
        title: String::new(),
        licence: String::new(),
        output: output.clone(),
        dim,
        metric: Metric::Cosine,
        preprocessing: Preprocessing {
            resize_short_side: side,
            crop: side,
            mean: [0.0; 3],
            std: [1.0; 3],
            squash: false,
            resampling: Default::default(),
        },
        bands: Default::default(),
        text: None,
        labels: None,
        quality: None,
        known: None,
        sources: Vec::new(),
    };
    Model {
        manifest: Arc::new(manifest),
        path: None,
        content: Content::in_memory(onnx),
        external: Vec::new(),
        output,
        classifier: None,
        text: None,
        digest: ModelDigest([0; 32]),
    }
}

pub fn value(name: &str, element: DataType, dims: Option<Vec<Dim>>) -> ValueInfoProto {
    let dim = |value| Dimension { denotation: String::new(), value: Some(value) };
    let shape = dims.map(|dims| TensorShapeProto { dim: dims.into_iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: element as i32, shape };
    let tensor = TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(tensor), doc_string: String::new() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// What the backbone gives for `photo`.
pub fn features(photo: &Input) -> [f32; DIM] {
    let pixels = (SIDE * SIDE) as usize;
    FILTERS.map(|filter| {
        let conv =
            |pixel: usize| (0..3).map(|colour| filter[colour] * photo.values[colour * pixels + pixel]).sum();
        (0..pixels).map(|pixel| f32::max(conv(pixel), 0.0)).sum::<f32>() / pixels as f32
    })
}
