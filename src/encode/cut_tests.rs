use super::*;
use crate::encode::contract::{self, noise};
use crate::encode::test_networks::{Batch, Builder, DIM, SIDE, features, int, ints, model, value};
use crate::encode::{Encoder, OnnxEncoder, Runtime, RuntimeChoice};

/// A way to end a network, and what the cut must find there.
struct Case {
    name: &'static str,
    batch: Batch,
    build: fn(&mut Builder),
    output: &'static str,
    tensor: &'static str,
    has_head: bool,
}

impl Case {
    const fn auto(name: &'static str, build: fn(&mut Builder), tensor: &'static str) -> Self {
        Self { name, batch: Batch::Symbol, build, output: "auto", tensor, has_head: true }
    }

    const fn as_it_is(name: &'static str, build: fn(&mut Builder), tensor: &'static str) -> Self {
        Self { has_head: false, ..Self::auto(name, build, tensor) }
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::backbone(self.batch);
        (self.build)(&mut builder);
        builder
    }
}

fn gemm(b: &mut Builder, input: &str) {
    b.some_weights("classes", &[7, 4]).some_weights("bias", &[7]);
    b.node("Gemm", &[input, "classes", "bias"], "logits", vec![int("transB", 1)]);
}

fn flat_gemm(b: &mut Builder) {
    b.node("Flatten", &["pool"], "features", vec![]);
    gemm(b, "features");
}

const CASES: &[Case] = &[
    Case::auto(
        "a Gemm behind Flatten",
        |b| {
            flat_gemm(b);
            b.output("logits");
        },
        "features",
    ),
    Case::auto(
        "a softmax after the Gemm",
        |b| {
            flat_gemm(b);
            b.node("Softmax", &["logits"], "classes of the photo", vec![int("axis", 1)])
                .output("classes of the photo");
        },
        "features",
    ),
    Case::auto(
        "MatMul and Add",
        |b| {
            b.node("Flatten", &["pool"], "features", vec![])
                .some_weights("classes", &[4, 7])
                .some_weights("bias", &[7]);
            b.node("MatMul", &["features", "classes"], "product", vec![]);
            // The bias comes first in some files.
            b.node("Add", &["bias", "product"], "logits", vec![]).output("logits");
        },
        "features",
    ),
    Case::auto(
        "MatMul alone",
        |b| {
            b.node("Flatten", &["pool"], "features", vec![]).some_weights("classes", &[4, 7]);
            b.node("MatMul", &["features", "classes"], "logits", vec![]).output("logits");
        },
        "features",
    ),
    Case::auto(
        "Reshape and Dropout before the Gemm",
        |b| {
            b.integers("shape", &[-1, 4]).node("Reshape", &["pool", "shape"], "features", vec![]);
            b.node("Dropout", &["features"], "dropped", vec![]);
            gemm(b, "dropped");
            b.output("logits");
        },
        "features",
    ),
    Case::auto(
        "a shape that is computed",
        |b| {
            b.integers("zero", &[0]).integers("rest", &[-1]);
            b.node("Shape", &["pool"], "all", vec![]).node("Gather", &["all", "zero"], "batch", vec![]);
            b.node("Concat", &["batch", "rest"], "shape", vec![int("axis", 0)]);
            b.node("Reshape", &["pool", "shape"], "features", vec![]);
            gemm(b, "features");
            b.output("logits");
        },
        "features",
    ),
    Case::auto(
        "Squeeze, cast and odd names",
        |b| {
            b.integers("axes", &[2, 3]).node("Squeeze", &["pool", "axes"], "/top/Squeeze:0 é", vec![]);
            gemm(b, "/top/Squeeze:0 é");
            b.node("Cast", &["logits"], "output.1", vec![int("to", DataType::Float as i64)])
                .output("output.1");
        },
        "/top/Squeeze:0 é",
    ),
    Case::auto(
        "a 1x1 convolution as classifier",
        |b| {
            b.some_weights("classes", &[7, 4, 1, 1]).node("Conv", &["pool", "classes"], "conv2", vec![]);
            b.node("Flatten", &["conv2"], "logits", vec![]).output("logits");
        },
        "pool",
    ),
    Case::auto(
        "class maps that are pooled",
        |b| {
            b.some_weights("classes", &[7, 4, 1, 1]).node("Conv", &["relu", "classes"], "maps", vec![]);
            b.node("Relu", &["maps"], "maps2", vec![]).node("GlobalAveragePool", &["maps2"], "means", vec![]);
            b.node("Flatten", &["means"], "logits", vec![])
                .node("Softmax", &["logits"], "out", vec![])
                .output("out");
        },
        "relu",
    ),
    Case {
        batch: Batch::Fixed(1),
        ..Case::auto(
            "a batch of one",
            |b| {
                b.integers("shape", &[1, 4]).node("Reshape", &["pool", "shape"], "features", vec![]);
                gemm(b, "features");
                b.output("logits");
            },
            "features",
        )
    },
    Case {
        batch: Batch::Fixed(8),
        ..Case::auto(
            "a batch of eight",
            |b| {
                b.integers("shape", &[8, -1]).node("Reshape", &["pool", "shape"], "features", vec![]);
                gemm(b, "features");
                b.output("logits");
            },
            "features",
        )
    },
    Case {
        batch: Batch::Fixed(8),
        ..Case::auto(
            "a batch of eight in a constant",
            |b| {
                let shape = AttributeProto {
                    name: "value".to_owned(),
                    r#type: AttributeType::Tensor as i32,
                    t: Some(integer_tensor("", &[8, -1])),
                    ..AttributeProto::default()
                };
                b.node("Constant", &[], "shape", vec![shape]).node(
                    "Reshape",
                    &["pool", "shape"],
                    "features",
                    vec![],
                );
                gemm(b, "features");
                b.output("logits");
            },
            "features",
        )
    },
    Case::auto(
        "weights among the inputs",
        |b| {
            flat_gemm(b);
            let weights = b.graph.initializer.clone();
            b.graph.input.extend(weights.iter().map(|weight| value(&weight.name, DataType::Float, None)));
            b.output("logits");
        },
        "features",
    ),
    Case {
        has_head: false,
        ..Case::auto(
            "weights that are computed",
            |b| {
                b.node("Flatten", &["pool"], "features", vec![]).some_weights("seeds", &[7, 4]);
                b.node("Transpose", &["seeds"], "turned", vec![]);
                b.node("MatMul", &["features", "turned"], "logits", vec![]).output("logits");
            },
            "features",
        )
    },
    Case::as_it_is(
        "an end in pooling",
        |b| {
            b.output("pool");
        },
        "pool",
    ),
    Case::as_it_is(
        "an end in Flatten",
        |b| {
            b.node("Flatten", &["pool"], "features", vec![]).output("features");
        },
        "features",
    ),
    Case {
        output: "features",
        ..Case::as_it_is(
            "a tensor by its name",
            |b| {
                flat_gemm(b);
                b.output("logits").output("features");
            },
            "features",
        )
    },
    Case {
        output: "relu",
        ..Case::as_it_is(
            "a map by its name is pooled",
            |b| {
                flat_gemm(b);
                b.output("logits");
            },
            "relu",
        )
    },
    Case {
        output: "features",
        ..Case::as_it_is(
            "another input that the tensor does not need",
            |b| {
                flat_gemm(b);
                b.graph.input.push(value("text", DataType::Int64, None));
                b.node("Identity", &["text"], "text2", vec![]).output("logits").output("text2");
            },
            "features",
        )
    },
];

/// Cuts every network and runs it in `runtime`.
pub fn check_all(runtime: &Runtime) {
    for case in CASES {
        let network =
            Network::of(&case.builder().model(case.output)).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        assert_eq!(network.tensor, case.tensor, "{}", case.name);
        assert_eq!(network.head.is_some(), case.has_head, "{}", case.name);
        check_features(runtime, network, case.name);
    }
}

fn check_features(runtime: &Runtime, network: Network, name: &str) {
    let mut encoder = OnnxEncoder::new(runtime, network).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    contract::check(&mut encoder);
    let photo = noise(SIDE, 3);
    let embedding = encoder.embed(std::slice::from_ref(&photo)).unwrap().remove(0);
    for (found, expected) in embedding.0.iter().zip(features(&photo)) {
        assert!((found - expected).abs() < 1e-5, "{name}: {found} instead of {expected}");
    }
}

fn tract() -> Arc<Runtime> {
    Runtime::start(RuntimeChoice::Tract, &[]).unwrap()
}

use std::sync::Arc;

fn error(model: &Model) -> String {
    Network::of(model).unwrap_err().to_string()
}

#[test]
fn every_kind_of_end_is_cut() {
    check_all(&tract());
}

#[test]
fn what_the_embedding_does_not_need_is_dropped() {
    let mut builder = Builder::backbone(Batch::Symbol);
    flat_gemm(&mut builder);
    builder.output("logits");
    builder.graph.value_info = vec![value("logits", DataType::Float, None)];
    let network = Network::of(&builder.model("auto")).unwrap();
    let graph = network.proto.graph.unwrap();
    let ops: Vec<&str> = graph.node.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(ops, ["Conv", "Relu", "GlobalAveragePool", "Flatten"]);
    let weights: Vec<&str> = graph.initializer.iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(weights, ["filters"]);
    assert!(graph.value_info.is_empty());
    assert_eq!(graph.output[0].name, "features");
}

#[test]
fn an_end_that_is_no_rows_is_made_into_rows_under_a_free_name() {
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.node("Relu", &["pool"], "embedding", vec![]).output("embedding");
    check_features(&tract(), Network::of(&builder.model("auto")).unwrap(), "free name");
}

#[test]
fn channels_last_and_half_floats_get_a_layer_in_front() {
    let pixels = || Dim::DimValue(i64::from(SIDE));
    let dims = vec![Dim::DimParam("N".to_owned()), pixels(), pixels(), Dim::DimValue(3)];
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.graph.input = vec![value("last", DataType::Float, Some(dims))];
    let transpose = NodeProto {
        op_type: "Transpose".to_owned(),
        input: vec!["last".to_owned()],
        output: vec!["photo".to_owned()],
        attribute: vec![ints("perm", &[0, 3, 1, 2])],
        ..NodeProto::default()
    };
    builder.graph.node.insert(0, transpose);
    builder.output("pool");
    check_features(&tract(), Network::of(&builder.model("auto")).unwrap(), "channels last");
}

#[test]
fn half_floats_are_turned_into_floats() {
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.graph.input[0] = {
        let dims = [1, 3, i64::from(SIDE), i64::from(SIDE)].map(Dim::DimValue).to_vec();
        value("photo16", DataType::Float16, Some(dims))
    };
    let to_float = NodeProto {
        op_type: "Cast".to_owned(),
        input: vec!["photo16".to_owned()],
        output: vec!["photo".to_owned()],
        attribute: vec![int("to", DataType::Float as i64)],
        ..NodeProto::default()
    };
    builder.graph.node.insert(0, to_float);
    builder.node("Cast", &["pool"], "half", vec![int("to", DataType::Float16 as i64)]);
    builder.graph.output = vec![value("half", DataType::Float16, None)];
    let network = Network::of(&builder.model("half")).unwrap();
    let mut encoder = OnnxEncoder::new(&tract(), network).unwrap();
    let photo = noise(SIDE, 3);
    let embedding = encoder.embed(std::slice::from_ref(&photo)).unwrap().remove(0);
    for (found, expected) in embedding.0.iter().zip(features(&photo)) {
        assert!((found - expected).abs() < 5e-3, "{found} instead of {expected}");
    }
}

#[test]
fn weights_beside_the_file_are_taken_in() {
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.output("pool");
    let filters = std::mem::take(&mut builder.graph.initializer[0].raw_data);
    let entry = |key: &str, value: &str| tract_onnx::pb::StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    builder.graph.initializer[0].data_location = Some(DataLocation::External as i32);
    builder.graph.initializer[0].external_data =
        vec![entry("location", "./w/net.bin"), entry("offset", "4"), entry("length", "48")];
    let mut model = builder.model("auto");
    assert!(error(&model).contains("keeps weights in `./w/net.bin`"), "{}", error(&model));

    let mut beside = [&[0; 4], &*filters].concat();
    model.external = vec![("w/net.bin".to_owned(), Content::in_memory(beside.clone()))];
    check_features(&tract(), Network::of(&model).unwrap(), "external");

    beside.pop();
    model.external[0].1 = Content::in_memory(beside);
    assert!(error(&model).contains("past the end"), "{}", error(&model));
}

#[test]
fn what_cannot_be_cut_is_refused_with_what_to_do() {
    let check = |expected: &str, output: &str, build: fn(&mut Builder)| {
        let mut builder = Builder::backbone(Batch::Symbol);
        build(&mut builder);
        let text = error(&builder.model(output));
        assert!(text.contains(expected), "{expected:?} is not in: {text}");
    };
    check("outputs logits, features", "auto", |b| {
        flat_gemm(b);
        b.output("logits").output("features");
    });
    check("no tensor `feature`; the last ones are features, pool, relu", "feature", |b| {
        b.node("Flatten", &["pool"], "features", vec![]).output("features");
    });
    // Weights are there, but they are no embedding of a photo.
    check("no tensor `filters`", "filters", |b| {
        b.output("pool");
    });
    check("name the tensor", "auto", |b| {
        b.node("Exp", &["pool"], "exp", vec![]).node("Softmax", &["exp"], "out", vec![]).output("out");
    });
    check("no network", "auto", |_| {});
    check("no network", "auto", |b| {
        b.output("photo");
    });
    check("2 inputs instead of one photo: photo, other", "auto", |b| {
        b.graph.input.push(value("other", DataType::Float, None));
        b.node("Add", &["pool", "other"], "sum", vec![]).output("sum");
    });
    check("`photo` is [?, 3, 8, 8]", "auto", |b| {
        let dims = [0, 3, 8, 8].map(Dim::DimValue).to_vec();
        b.graph.input[0] = value("photo", DataType::Float, Some(dims));
        b.output("pool");
    });
    check("`photo` is not of floats", "auto", |b| {
        b.graph.input[0] = value("photo", DataType::Uint8, None);
        b.output("pool");
    });

    assert!(error(&model(b"not onnx".to_vec(), "auto", SIDE, DIM)).contains("not an ONNX file"));
    assert!(error(&model(Vec::new(), "auto", SIDE, DIM)).contains("no network"));
}

#[test]
fn another_dimension_than_the_manifest_says_is_refused_at_the_start() {
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.output("pool");
    let network = Network { dim: 5, ..Network::of(&builder.model("auto")).unwrap() };
    let error = OnnxEncoder::new(&tract(), network).unwrap_err();
    assert!(error.to_string().contains("4 numbers for a photo, its manifest says dim = 5"), "{error}");
}
