use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::encode::{Encoder, Input, Network, OnnxEncoder, Runtime, RuntimeChoice};
use crate::models::torch::checkpoint;
use crate::models::{Content, FileDigest, Manifest, Model};

/// Three stages, one of each kind: without widening, with a step, with a sum.
pub(super) fn tiny() -> Plan {
    let stage =
        |blocks, kernel, stride, expansion, planes| Stage { blocks, kernel, stride, expansion, planes };
    Plan {
        stem: 4,
        stages: vec![stage(1, 3, 1, 1, 3), stage(2, 5, 2, 2, 5), stage(1, 3, 1, 2, 6)],
        head: 8,
        labels: 3,
    }
}

type Weights = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Names, shapes and numbers of a tiny network's weights; numbers that 16-bit floats hold.
fn weights() -> Weights {
    let (mut weights, mut state) = (Weights::new(), 7_u32);
    let mut tensor = |name: String, shape: &[usize], low: f32, high: f32| {
        let values = (0..shape.iter().product::<usize>()).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            low + (high - low) * (state >> 8) as f32 / (1 << 24) as f32
        });
        weights.push((name, shape.to_vec(), values.collect()));
    };
    let mut convolution = |name: String, norm: String, shape: [usize; 4]| {
        tensor(format!("{name}.weight"), &shape, -0.6, 0.7);
        for (part, low, high) in [
            ("weight", 0.5, 1.5),
            ("bias", -0.3, 0.6),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.3, 1.5),
        ] {
            tensor(format!("{norm}.{part}"), &shape[..1], low, high);
        }
    };
    let plan = tiny();
    convolution("_conv_stem".to_owned(), "_bn0".to_owned(), [plan.stem, 3, 3, 3]);
    let (mut planes, mut number) = (plan.stem, 0);
    for stage in &plan.stages {
        for _ in 0..stage.blocks {
            let name = |part: &str| format!("_blocks.{number}.{part}");
            let inside = planes * stage.expansion;
            if stage.expansion != 1 {
                convolution(name("_expand_conv"), name("_bn0"), [inside, planes, 1, 1]);
            }
            convolution(name("_depthwise_conv"), name("_bn1"), [inside, 1, stage.kernel, stage.kernel]);
            convolution(name("_project_conv"), name("_bn2"), [stage.planes, inside, 1, 1]);
            planes = stage.planes;
            number += 1;
        }
    }
    convolution("_conv_head".to_owned(), "_bn1".to_owned(), [plan.head, planes, 1, 1]);
    tensor("_fc.weight".to_owned(), &[plan.labels, plan.head], -1.0, 1.0);
    tensor("_fc.bias".to_owned(), &[plan.labels], -1.0, 1.0);
    weights
}

/// A checkpoint of [`Architecture::Tiny`].
pub(in crate::models) fn tiny_checkpoint() -> Vec<u8> {
    checkpoint(&weights())
}

/// The network computed as the paper has it, number by number, batch norms where they are in training.
struct Reference(HashMap<String, (Vec<usize>, Vec<f32>)>);

struct Planes {
    side: usize,
    planes: Vec<Vec<f32>>,
}

impl Reference {
    fn convolution(&self, input: &Planes, name: &str, norm: &str, stride: usize, groups: usize) -> Planes {
        let (shape, weights) = &self.0[&format!("{name}.weight")];
        let (filters, inputs, kernel) = (shape[0], shape[1], shape[2]);
        let side = input.side.div_ceil(stride);
        let padding = ((side - 1) * stride + kernel).saturating_sub(input.side) / 2;
        let part = |part: &str, filter: usize| self.0[&format!("{norm}.{part}")].1[filter];
        let planes = (0..filters).map(|filter| {
            let first = filter / (filters / groups) * inputs;
            let at = |row: usize, column: usize| {
                let mut sum = 0.0;
                for (plane, y, x) in (0..inputs)
                    .flat_map(|plane| (0..kernel).flat_map(move |y| (0..kernel).map(move |x| (plane, y, x))))
                {
                    let (from_row, from_column) = (row * stride + y, column * stride + x);
                    let inside = (padding..padding + input.side).contains(&from_row)
                        && (padding..padding + input.side).contains(&from_column);
                    if inside {
                        let pixel = (from_row - padding) * input.side + from_column - padding;
                        let weight = ((filter * inputs + plane) * kernel + y) * kernel + x;
                        sum += weights[weight] * input.planes[first + plane][pixel];
                    }
                }
                let deviation = (part("running_var", filter) + 1e-3).sqrt();
                (sum - part("running_mean", filter)) / deviation * part("weight", filter)
                    + part("bias", filter)
            };
            (0..side)
                .flat_map(|row| (0..side).map(move |column| (row, column)))
                .map(|(y, x)| at(y, x))
                .collect()
        });
        Planes { side, planes: planes.collect() }
    }

    fn features(&self, photo: &Input) -> Vec<f32> {
        let relu6 = |mut planes: Planes| {
            planes.planes.iter_mut().flatten().for_each(|value| *value = value.clamp(0.0, 6.0));
            planes
        };
        let side = photo.side as usize;
        let planes = photo.values.chunks_exact(side * side).map(<[f32]>::to_vec).collect();
        let mut tensor = relu6(self.convolution(&Planes { side, planes }, "_conv_stem", "_bn0", 2, 1));
        let mut number = 0;
        for stage in tiny().stages {
            for block in 0..stage.blocks {
                let name = |part: &str| format!("_blocks.{number}.{part}");
                let stride = if block == 0 { stage.stride } else { 1 };
                let wide = match stage.expansion {
                    1 => Planes { side: tensor.side, planes: tensor.planes.clone() },
                    _ => relu6(self.convolution(&tensor, &name("_expand_conv"), &name("_bn0"), 1, 1)),
                };
                let groups = wide.planes.len();
                let each =
                    relu6(self.convolution(&wide, &name("_depthwise_conv"), &name("_bn1"), stride, groups));
                let mut narrow = self.convolution(&each, &name("_project_conv"), &name("_bn2"), 1, 1);
                if stride == 1 && narrow.planes.len() == tensor.planes.len() {
                    for (sum, before) in
                        narrow.planes.iter_mut().flatten().zip(tensor.planes.iter().flatten())
                    {
                        *sum += before;
                    }
                }
                tensor = narrow;
                number += 1;
            }
        }
        let head = relu6(self.convolution(&tensor, "_conv_head", "_bn1", 1, 1));
        head.planes.iter().map(|plane| plane.iter().sum::<f32>() / plane.len() as f32).collect()
    }
}

fn model(onnx: Vec<u8>, side: u32) -> Model {
    let text = format!(
        "name = \"tiny\"\ntitle = \"\"\nlicence = \"\"\ndim = 8\nmetric = \"cosine\"\n[preprocessing]\n\
         resize_short_side = {side}\ncrop = {side}\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n\
         [[source]]\nfile = \"tiny.onnx\"\n"
    );
    let manifest = Manifest::parse(&text).unwrap();
    Model::new(&Arc::new(manifest.clone()), &manifest.sources[0], None, Content::in_memory(onnx), Vec::new())
}

#[test]
fn the_made_network_computes_what_its_weights_say() {
    let reference =
        Reference(weights().into_iter().map(|(name, shape, values)| (name, (shape, values))).collect());
    let onnx = Architecture::Tiny.make(&tiny_checkpoint()).unwrap();
    let runtime = Runtime::start(RuntimeChoice::Tract, &[]).unwrap();
    // An odd side is padded in another way than an even one, and one file is for all sides.
    for side in [12, 13] {
        let network = Network::of(&model(onnx.clone(), side)).unwrap();
        assert_eq!(network.tensor, "features", "`auto` cuts before the classifier");
        let mut encoder = OnnxEncoder::new(&runtime, network).unwrap();
        let values = (0..3 * side * side).map(|at| (at as f32 * 0.37).sin() * 2.0).collect();
        let photo = Input { side, values };
        let found = &encoder.embed(std::slice::from_ref(&photo)).unwrap()[0].0;
        let expected = reference.features(&photo);
        let largest = expected.iter().copied().fold(0.0, f32::max);
        assert!(largest > 0.1, "nothing is computed: {expected:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 0.004 * largest, "side {side}: {found} instead of {expected}");
        }
    }
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    let made = Architecture::Tiny.make(&tiny_checkpoint()).unwrap();
    assert_eq!(made, Architecture::Tiny.make(&tiny_checkpoint()).unwrap());
    // Pinned: a digest in a manifest must hold on every machine.
    assert_eq!(
        FileDigest::of(&made).to_string(),
        "7a218266674a692720c856eb6feb2488a319e438ffdce8719250c6e07dc72e18"
    );
}

#[test]
fn weights_of_another_network_are_refused() {
    let mut more = weights();
    more.push(("_more.weight".to_owned(), vec![1], vec![1.0]));
    let error = Architecture::Tiny.make(&checkpoint(&more)).unwrap_err().to_string();
    assert!(error.contains("_more.weight"), "{error}");
    let mut fewer = weights();
    fewer.retain(|(name, ..)| name != "_fc.bias");
    assert!(Architecture::Tiny.make(&checkpoint(&fewer)).unwrap_err().to_string().contains("_fc.bias"));
    let error = Architecture::EfficientnetLite0.make(&tiny_checkpoint()).unwrap_err().to_string();
    assert!(error.contains("[32, 3, 3, 3] is needed"), "{error}");
    let mut large = weights();
    large[0].2[0] = 1e9;
    assert!(matches!(Architecture::Tiny.make(&checkpoint(&large)), Err(MakeError::TooLarge(_))));
}

#[test]
fn the_plans_are_those_of_the_published_networks() {
    let check = |architecture: Architecture, blocks: usize, planes: [usize; 7]| {
        let plan = architecture.plan();
        assert_eq!(plan.stages.iter().map(|stage| stage.blocks).sum::<usize>(), blocks);
        assert_eq!(plan.stages.iter().map(|stage| stage.planes).collect::<Vec<_>>(), planes);
    };
    check(Architecture::EfficientnetLite0, 16, [16, 24, 40, 80, 112, 192, 320]);
    check(Architecture::EfficientnetLite1, 21, [16, 24, 40, 80, 112, 192, 320]);
    check(Architecture::EfficientnetLite2, 21, [16, 24, 48, 88, 120, 208, 352]);
}
