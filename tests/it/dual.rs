//! Free text, with a dual encoder that knows the words red, green and blue and sees mean colours.

use std::fs;

use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, OperatorSetIdProto, TensorProto, tensor_proto::DataType, type_proto,
};

use crate::words::{node, photo, text, value};
use crate::world::World;

const LENGTH: i64 = 6;

/// Embeddings of tokens: nothing for padding and what is not known, then red, green and blue.
const TABLE: [[f32; 3]; 5] = [[0.0; 3], [0.0; 3], [1.0, -0.2, -0.2], [-0.2, 1.0, -0.2], [-0.2, -0.2, 1.0]];

const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"": 0, "?": 1, "red": 2, "green": 3, "blue": 4}}}"#;

fn onnx(graph: GraphProto) -> Vec<u8> {
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 13 }];
    let graph = Some(GraphProto { name: "tiny".to_owned(), ..graph });
    ModelProto { ir_version: 8, opset_import, graph, ..ModelProto::default() }.encode_to_vec()
}

/// The mean colour: a photo's numbers are from -1 to 1.
fn sees() -> Vec<u8> {
    onnx(GraphProto {
        node: vec![
            node("GlobalAveragePool", &["photo"], "mean", None),
            node("Flatten", &["mean"], "output", Some(("axis", 1))),
        ],
        input: vec![value("photo", &[1, 3, 8, 8])],
        output: vec![value("output", &[1, 3])],
        ..GraphProto::default()
    })
}

/// The sum of what the words stand for.
fn reads() -> Vec<u8> {
    let mut tokens = value("tokens", &[1, LENGTH]);
    if let Some(type_proto::Value::TensorType(tensor)) =
        tokens.r#type.as_mut().and_then(|of| of.value.as_mut())
    {
        tensor.elem_type = DataType::Int64 as i32;
    }
    let table = TensorProto {
        name: "table".to_owned(),
        data_type: DataType::Float as i32,
        dims: vec![5, 3],
        raw_data: TABLE.as_flattened().iter().flat_map(|number| number.to_le_bytes()).collect(),
        ..TensorProto::default()
    };
    let axes = TensorProto {
        name: "axes".to_owned(),
        data_type: DataType::Int64 as i32,
        dims: vec![1],
        int64_data: vec![1],
        ..TensorProto::default()
    };
    onnx(GraphProto {
        node: vec![
            node("Gather", &["table", "tokens"], "each", Some(("axis", 0))),
            node("ReduceSum", &["each", "axes"], "output", Some(("keepdims", 0))),
        ],
        initializer: vec![table, axes],
        input: vec![tokens],
        output: vec![value("output", &[1, 3])],
        ..GraphProto::default()
    })
}

fn install(world: &World) {
    let folder = world.path("config/resembled/models");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("sees.onnx"), sees()).unwrap();
    fs::write(folder.join("reads.onnx"), reads()).unwrap();
    fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
    let manifest = "name = \"dual\"\ntitle = \"mean colours and their names\"\nlicence = \"MIT\"\noutput = \"output\"\n\
        dim = 3\nmetric = \"cosine\"\n[preprocessing]\nresize_short_side = 8\ncrop = 8\nsquash = true\n\
        resampling = \"bicubic\"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
        [text]\ncontext_length = 6\nlower_case = true\nencoder = { file = \"reads.onnx\" }\n\
        tokenizer = { file = \"tokenizer.json\" }\n[[source]]\nfile = \"sees.onnx\"\n";
    fs::write(folder.join("dual.toml"), manifest).unwrap();
}

/// Returns the names of the photos that a search finds, in its order.
fn found(world: &World, args: &[&str]) -> Vec<String> {
    let mut all = vec!["search", "--paths"];
    all.extend(args);
    let output = world.resemble(&all);
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", world.log());
    let paths = text(&output).0;
    paths.lines().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_text_finds_photos_by_a_dual_encoder() {
    let world = World::new();
    install(&world);
    for (name, colour) in [
        ("red.png", [250, 5, 5]),
        ("green.png", [5, 250, 5]),
        ("blue.png", [5, 5, 250]),
        ("magenta.png", [250, 5, 250]),
        ("yellow.png", [250, 250, 5]),
    ] {
        photo(&world, name, colour);
    }
    // Another network was used before: the text tower only reads for its own.
    let daemon = world.start().await;
    daemon.wait_for_files(5).await;
    let told = text(&world.resemble(["search", "red"])).1;
    assert!(told.contains("not among the 142 words"), "{told}");
    daemon.stop(&world).await;

    let photos = world.photos();
    let arguments = ["--model".as_ref(), "dual".as_ref(), photos.as_os_str()];
    let daemon = world.start_with(&arguments).await;
    daemon
        .wait_for("the dual encoder to answer", |status| {
            let answering = status.model.as_ref().is_some_and(|model| model.free_text);
            answering && status.state() == resembled::proto::State::Idle
        })
        .await;
    assert!(text(&world.resemble(["status"])).0.contains("any text"));

    assert_eq!(found(&world, &["red"])[0], "red.png");
    assert_eq!(found(&world, &["a BLUE thing"])[0], "blue.png");
    let both = found(&world, &["red and blue"]);
    assert_eq!(
        (both[0].as_str(), both.len()),
        ("magenta.png", 5),
        "all are as near as they are: none is left out"
    );
    let place = |names: &[String], name: &str| names.iter().position(|found| found == name).unwrap();
    let without = found(&world, &["red without blue"]);
    assert!(place(&without, "yellow.png") < place(&without, "magenta.png"), "{without:?}");
    let unlike = found(&world, &["red", "--unlike", "0.5:blue"]);
    assert!(place(&unlike, "yellow.png") < place(&unlike, "magenta.png"), "{unlike:?}");
    let red = world.photo("red.png");
    assert_eq!(found(&world, &["blue", "--like", red.to_str().unwrap()])[0], "magenta.png");
    assert_eq!(found(&world, &["red", "-k", "2"]).len(), 2);

    let (out, told) = text(&world.resemble(["search", "red"]));
    assert!(told.contains("the nearest of 5 photos"), "{told}");
    assert!(out.contains("distance") && !out.contains("likely"), "{out}");
    let (_, told) = text(&world.resemble(["search", "without", "red"]));
    assert!(told.contains("must say what photos show"), "{told}");
    let (_, told) = text(&world.resemble(["words"]));
    assert!(told.contains("takes any text"), "{told}");
    daemon.stop(&world).await;

    let models = world.resembled().args(["models", "list"]).output().unwrap();
    let (out, _) = text(&models);
    assert!(out.contains("dual: mean colours") && out.contains("clip_vit_b32_256: "), "{out}");
    assert_eq!(out.matches("finds by pictures, and by any text").count(), 3, "{out}");
}

#[test]
fn the_list_of_networks_ends_quietly_where_nobody_reads_on() {
    let world = World::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = world.resembled().args(["models", "list"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output).1.as_str()), (Some(0), ""));
}
