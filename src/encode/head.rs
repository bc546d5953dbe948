//! The classifier that the cut leaves out of the graph: its weights as a matrix, labels × numbers in an embedding.

use std::borrow::Cow;

use half::f16;
use tract_onnx::pb::{NodeProto, TensorProto, tensor_proto::DataType};

use super::graph::{Graph, attribute};
use crate::words::Head;

/// Reads the layer that `classifier` computes. `None` where its weights are not written in the file as floats.
pub(super) fn of(graph: &Graph<'_>, classifier: &NodeProto) -> Option<Head> {
    let weights = weights(graph, classifier.input.get(1)?)?;
    let (rows, columns) = match weights.dims.as_slice() {
        [rows, columns] => (usize::try_from(*rows).ok()?, usize::try_from(*columns).ok()?),
        // A 1×1 convolution.
        [rows, columns, rest @ ..] if rest.iter().all(|&dim| dim == 1) => {
            (usize::try_from(*rows).ok()?, usize::try_from(*columns).ok()?)
        }
        _ => return None,
    };
    let factor = |name: &str| attribute(classifier, name).map_or(1.0, |factor| factor.f);
    let is_gemm = classifier.op_type == "Gemm";
    let is_by_label = match classifier.op_type.as_str() {
        "Gemm" => attribute(classifier, "transB").is_some_and(|transposed| transposed.i != 0),
        "Conv" => true,
        _ => false,
    };
    let mut values = floats(weights)?.into_owned();
    if values.len() != rows.checked_mul(columns)? {
        return None;
    }
    let (labels, dim) = if is_by_label { (rows, columns) } else { (columns, rows) };
    if !is_by_label {
        values = (0..labels)
            .flat_map(|label| (0..dim).map(move |at| at * labels + label))
            .map(|at| values[at])
            .collect();
    }
    let mut bias = match classifier.input.get(2).filter(|name| !name.is_empty()) {
        Some(bias) => floats(self::weights(graph, bias)?)?.into_owned(),
        None => added(graph, classifier)?.unwrap_or_else(|| vec![0.0; labels]),
    };
    if is_gemm {
        let (alpha, beta) = (factor("alpha"), factor("beta"));
        values.iter_mut().for_each(|value| *value *= alpha);
        bias.iter_mut().for_each(|value| *value *= beta);
    }
    Head::new(dim, values, bias).filter(|head| head.labels() == labels)
}

/// Returns what the next node adds, if it adds weights; `None` where they cannot be read.
fn added(graph: &Graph<'_>, classifier: &NodeProto) -> Option<Option<Vec<f32>>> {
    let output = classifier.output.first()?;
    let reads = |node: &&NodeProto| node.op_type == "Add" && node.input.contains(output);
    let Some(add) = graph.proto.node.iter().find(reads) else { return Some(None) };
    let bias = add.input.iter().find(|input| *input != output)?;
    if graph.varies(bias) {
        return Some(None);
    }
    Some(Some(floats(weights(graph, bias)?)?.into_owned()))
}

/// Returns weights that are written in the file, or widened from what is.
fn weights<'a>(graph: &Graph<'a>, tensor: &str) -> Option<&'a TensorProto> {
    graph.constant(tensor).or_else(|| {
        let cast =
            graph.producer(tensor).filter(|node| matches!(node.op_type.as_str(), "Cast" | "Identity"))?;
        graph.constant(cast.input.first()?)
    })
}

fn floats(tensor: &TensorProto) -> Option<Cow<'_, [f32]>> {
    if !tensor.external_data.is_empty() {
        return None;
    }
    let raw = &tensor.raw_data;
    if tensor.data_type == DataType::Float as i32 {
        return Some(match raw.is_empty() {
            true => Cow::Borrowed(&tensor.float_data),
            false => raw.as_chunks::<4>().0.iter().map(|&four| f32::from_le_bytes(four)).collect(),
        });
    }
    if tensor.data_type == DataType::Float16 as i32 {
        return Some(match raw.is_empty() {
            true => tensor.int32_data.iter().map(|&bits| f16::from_bits(bits as u16).to_f32()).collect(),
            false => raw.as_chunks::<2>().0.iter().map(|&two| f16::from_le_bytes(two).to_f32()).collect(),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::test_networks::{Batch, Builder, int, model};
    use super::super::{Network, test_networks};
    use crate::words::Head;

    /// Three labels of four numbers, by label.
    const WEIGHTS: [f32; 12] = [1.0, 2.0, 3.0, 4.0, 0.5, 0.0, -1.0, 2.0, 1.0, -1.0, 1.0, -1.0];
    const BIAS: [f32; 3] = [0.25, -0.5, 1.0];

    fn by_dimension() -> Vec<f32> {
        (0..4).flat_map(|at| (0..3).map(move |label| WEIGHTS[label * 4 + at])).collect()
    }

    #[track_caller]
    fn check(builder: &Builder, expected: Option<Head>) {
        let dim = test_networks::DIM;
        let network = Network::of(&model(builder.onnx(), "auto", test_networks::SIDE, dim)).unwrap();
        assert_eq!(network.head, expected);
    }

    fn whole() -> Option<Head> {
        Head::new(4, WEIGHTS.to_vec(), BIAS.to_vec())
    }

    #[test]
    fn the_classifier_is_the_same_however_it_is_written() {
        let flat = || {
            let mut builder = Builder::backbone(Batch::Symbol);
            builder.node("Flatten", &["pool"], "flat", vec![int("axis", 1)]);
            builder
        };
        let mut gemm = flat();
        gemm.weights("w", &[3, 4], &WEIGHTS).weights("b", &[3], &BIAS);
        gemm.node("Gemm", &["flat", "w", "b"], "labels", vec![int("transB", 1)]).output("labels");
        check(&gemm, whole());

        let mut transposed = flat();
        transposed.weights("w", &[4, 3], &by_dimension()).weights("b", &[3], &BIAS);
        transposed.node("Gemm", &["flat", "w", "b"], "labels", vec![]).output("labels");
        check(&transposed, whole());

        let mut matmul = flat();
        matmul.weights("w", &[4, 3], &by_dimension()).weights("b", &[3], &BIAS);
        matmul.node("MatMul", &["flat", "w"], "product", vec![]);
        matmul.node("Add", &["product", "b"], "sum", vec![]).node("Softmax", &["sum"], "labels", vec![]);
        matmul.output("labels");
        check(&matmul, whole());

        let mut convolution = Builder::backbone(Batch::Symbol);
        convolution.weights("w", &[3, 4, 1, 1], &WEIGHTS).weights("b", &[3], &BIAS);
        convolution.node("Conv", &["pool", "w", "b"], "planes", vec![]);
        convolution.node("Flatten", &["planes"], "labels", vec![int("axis", 1)]).output("labels");
        check(&convolution, whole());

        let mut unbiased = flat();
        unbiased.weights("w", &[3, 4], &WEIGHTS);
        unbiased.node("Gemm", &["flat", "w"], "labels", vec![int("transB", 1)]).output("labels");
        check(&unbiased, Head::new(4, WEIGHTS.to_vec(), vec![0.0; 3]));
    }

    #[test]
    fn a_network_that_ends_in_its_embedding_has_none() {
        check(Builder::backbone(Batch::Symbol).output("pool"), None);
    }
}
