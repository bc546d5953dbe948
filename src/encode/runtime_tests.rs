//! Tests that need real networks, or ONNX Runtime.
//!
//! One process computes with one runtime. The tests of this crate use tract; for ONNX Runtime, the test executable
//! starts itself again and runs nothing but [`in_another_process`].

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::contract::{self, noise};
use super::preprocess::preprocess;
use super::test_networks::{Batch, Builder, int, model};
use super::text_tests;
use super::{Candidate, Encoder, Input, Network, OnnxEncoder, Runtime, RuntimeChoice, cut};
use crate::models::Catalogue;
use crate::photo::Rgb;
use crate::words::Head;

const RUNTIME: &str = "RESEMBLED_TEST_RUNTIME";
const ANSWER: &str = "RESEMBLED_TEST_ANSWER";

fn tract() -> Arc<Runtime> {
    Runtime::start(RuntimeChoice::Tract, &[]).unwrap()
}

/// Returns ONNX Runtime's library where this machine has it.
fn library() -> Option<PathBuf> {
    let named = env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).filter(|path| path.is_file());
    let data = env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let data = data.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/share")));
    named.or_else(|| {
        let entries = fs::read_dir(data?.join("resembled")).ok()?;
        entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
        })
    })
}

/// Returns the folder of real networks, or tells that there is none.
fn model_dir() -> Option<PathBuf> {
    let dir = env::var_os("RESEMBLED_MODEL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models"), PathBuf::from);
    if dir.join("mobilenet_v2_features.onnx").is_file() {
        return Some(dir);
    }
    eprintln!("SKIPPED: no mobilenet_v2_features.onnx in {}; set RESEMBLED_MODEL_DIR", dir.display());
    None
}

/// Returns a photo of soft shapes, as noise is unlike anything that a network was trained on.
fn shapes(side: u32, seed: u32) -> Input {
    let plane = |colour: u32| {
        (0..side * side).map(move |at| {
            let (y, x) = ((at / side) as f32, (at % side) as f32);
            ((x * (seed + 1) as f32 / 19.0).sin() + (y * (colour + 2) as f32 / 31.0).cos()) * 1.2
        })
    };
    Input { side, values: (0..3).flat_map(plane).collect() }
}

fn cosine_similarity(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn embed(runtime: &Runtime, network: &Network, photos: &[Input]) -> Vec<Vec<f32>> {
    let mut encoder = OnnxEncoder::new(runtime, network.clone()).unwrap();
    encoder.embed(photos).unwrap().into_iter().map(|embedding| embedding.0).collect()
}

/// A network of the tests, the built-in encoder, and MobileNetV2 where this machine has it.
fn networks() -> Vec<Network> {
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.node("Flatten", &["pool"], "features", vec![]).some_weights("classes", &[7, 4]);
    builder.node("Gemm", &["features", "classes"], "logits", vec![int("transB", 1)]).output("logits");
    let mut networks = vec![Network::of(&builder.model("auto")).unwrap()];
    let dir = model_dir();
    let names = if dir.is_some() { ["builtin", "mobilenet_v2"].as_slice() } else { &["builtin"] };
    let catalogue = Catalogue::new(&[], dir.into_iter().collect()).unwrap();
    for name in names {
        networks.push(Network::of(&catalogue.resolve(Path::new(name)).unwrap()).unwrap());
    }
    networks
}

fn answers(runtime: &Runtime) -> Vec<Vec<f32>> {
    let photos = |side| [noise(side, 1), shapes(side, 1), shapes(side, 5)];
    networks().iter().flat_map(|network| embed(runtime, network, &photos(network.side))).collect()
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn in_another_process() {
    let library = PathBuf::from(env::var_os(RUNTIME).expect("the parent names the library"));
    let runtime = Runtime::start(RuntimeChoice::OnnxRuntime, &[Candidate::File(library.clone())]).unwrap();
    assert!(runtime.is_onnx_runtime() && runtime.library.is_some(), "{runtime}");
    assert!(Runtime::start(RuntimeChoice::Tract, &[]).is_err());
    cut::tests::check_all(&runtime);
    text_tests::check(&runtime);
    for network in networks() {
        contract::check(&mut OnnxEncoder::new(&runtime, network).unwrap());
    }
    let answer = env::var_os(ANSWER).expect("the parent names the file of the answer");
    fs::write(answer, serde_json::to_vec(&answers(&runtime)).unwrap()).unwrap();
}

#[test]
fn both_runtimes_give_the_same_embeddings() {
    let Some(library) = library() else {
        eprintln!("SKIPPED: no ONNX Runtime; set ORT_DYLIB_PATH or run `resembled runtime pull`");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let answer = dir.path().join("answer.json");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "encode::runtime_tests::in_another_process", "--ignored", "--nocapture"])
        .env(RUNTIME, library)
        .env(ANSWER, &answer)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<Vec<f32>> = serde_json::from_slice(&fs::read(answer).unwrap()).unwrap();
    let ours = answers(&tract());
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        let similarity = cosine_similarity(theirs, ours);
        assert!(similarity >= 0.9999, "cosine {similarity}");
    }
}

#[test]
fn every_network_keeps_the_contract() {
    for network in networks() {
        contract::check(&mut OnnxEncoder::new(&tract(), network).unwrap());
    }
}

/// Draws one of a few scenes: bars, rings, blobs or a chequered floor, in colours of its own.
fn scene(kind: u32, width: u32, height: u32) -> Rgb {
    let mut pixels = Vec::new();
    for at in 0..width * height {
        let (x, y) = ((at % width) as f32 / width as f32, (at / width) as f32 / height as f32);
        let shape = match kind % 4 {
            0 => (x * (14.0 + kind as f32)).sin(),
            1 => ((x - 0.5).hypot(y - 0.4) * (20.0 + kind as f32)).cos(),
            2 => (x * 7.0).sin() * (y * (5.0 + kind as f32)).cos(),
            _ => ((x * 9.0).floor() + (y * 9.0).floor()) % 2.0 * 2.0 - 1.0,
        };
        let hues = [0.7, 2.1, 4.2].map(|hue| (hue + kind as f32 * 0.9 + y).sin());
        pixels.extend(hues.map(|hue| (127.0 + 60.0 * shape + 60.0 * hue) as u8));
    }
    Rgb { width, height, pixels }
}

/// Makes a photo half as large, a fifth brighter, and shifts it a little.
fn change(photo: &Rgb) -> Rgb {
    let (width, height) = (photo.width / 2 - 3, photo.height / 2 - 3);
    let mut pixels = Vec::new();
    for at in 0..width * height {
        let start = ((at / width * 2 + 5) * photo.width + at % width * 2 + 5) as usize * 3;
        pixels.extend(photo.pixels[start..start + 3].iter().map(|&level| level.saturating_add(level / 5)));
    }
    Rgb { width, height, pixels }
}

#[test]
fn the_built_in_encoder_finds_the_original_of_a_changed_photo() {
    let model = Catalogue::new(&[], Vec::new()).unwrap().default_model().unwrap().model;
    let network = Network::of(&model).unwrap();
    let preprocessing = &model.manifest.preprocessing;
    let photos: Vec<Rgb> = (0..12).map(|kind| scene(kind, 320, 240)).collect();
    let embed_all = |photos: Vec<Rgb>| {
        let inputs: Vec<Input> =
            photos.iter().map(|photo| preprocess(photo, preprocessing).unwrap()).collect();
        embed(&tract(), &network, &inputs)
    };
    let changed = embed_all(photos.iter().map(change).collect());
    let originals = embed_all(photos);
    for (kind, changed) in changed.iter().enumerate() {
        let similarity = |original: &Vec<f32>| cosine_similarity(original, changed);
        let best = (0..12).max_by(|&a, &b| similarity(&originals[a]).total_cmp(&similarity(&originals[b])));
        assert_eq!(best, Some(kind));
    }
}

#[test]
fn the_real_classifier_is_cut_to_the_real_features() {
    let Some(dir) = model_dir() else { return };
    let classifier = dir.join("mobilenet_v2_classifier.onnx");
    if !classifier.is_file() {
        eprintln!("SKIPPED: no {}", classifier.display());
        return;
    }
    let cut = Network::of(&model(fs::read(classifier).unwrap(), "auto", 224, 1280)).unwrap();
    assert_eq!((cut.tensor.as_str(), cut.head.as_ref().map(Head::labels)), ("features", Some(1000)));
    let features = fs::read(dir.join("mobilenet_v2_features.onnx")).unwrap();
    let features = Network::of(&model(features, "features", 224, 1280)).unwrap();
    let photos = [shapes(224, 2)];
    let similarity =
        cosine_similarity(&embed(&tract(), &cut, &photos)[0], &embed(&tract(), &features, &photos)[0]);
    assert!(similarity > 0.999_999, "cosine {similarity}");
}

#[test]
fn a_network_the_runtime_does_not_know_is_an_error_and_no_crash() {
    let mut builder = Builder::backbone(Batch::Symbol);
    builder.node("NoSuchOperator", &["pool"], "odd", vec![]).output("odd");
    let network = Network::of(&builder.model("auto")).unwrap();
    assert!(matches!(OnnxEncoder::new(&tract(), network), Err(super::EncodeError::Load(_))));
    let mut damaged = Network::of(&Builder::backbone(Batch::Symbol).output("pool").model("auto")).unwrap();
    damaged.proto.graph.as_mut().unwrap().initializer.clear();
    assert!(matches!(OnnxEncoder::new(&tract(), damaged), Err(super::EncodeError::Load(_))));
}
