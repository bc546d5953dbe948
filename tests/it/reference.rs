//! Our embeddings against those that Pillow and ONNX Runtime gave in Python (`tests/reference/make.py`).
//!
//! The photos and the network are not ours to commit: where they are missing, this says so and ends.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use resembled::decode::{self, Limits, Need};
use resembled::encode::preprocess::Preprocessor;
use resembled::encode::{Candidate, Encoder, Network, OnnxEncoder, Runtime, RuntimeChoice};
use resembled::models::Catalogue;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    photos: Vec<Photo>,
}

#[derive(Deserialize)]
struct Photo {
    path: PathBuf,
    norm: f64,
    /// What one step of `int16` is worth.
    scale: f64,
    /// The embedding as little-endian 16-bit numbers in base64.
    int16: String,
}

impl Photo {
    fn embedding(&self) -> Vec<f32> {
        let bytes = from_base64(&self.int16);
        let steps = bytes.as_chunks::<2>().0.iter().map(|&raw| i16::from_le_bytes(raw));
        steps.map(|step| (f64::from(step) * self.scale) as f32).collect()
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|&digit| digit != b'=').map(value).collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let word =
            group.iter().fold(0u32, |word, &digit| word << 6 | u32::from(digit)) << (6 * (4 - group.len()));
        bytes.extend(&word.to_be_bytes()[1..group.len()]);
    }
    bytes
}

fn folder(variable: &str, default: &str, needed: &str) -> Option<PathBuf> {
    let dir = env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from);
    if dir.join(needed).exists() {
        return Some(dir);
    }
    eprintln!("SKIPPED: no {needed} in {}; set {variable}", dir.display());
    None
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

fn l2_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>().sqrt()
}

fn cosine_similarity(a: &[f32], b: &[f32]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    dot / (length(a) * length(b))
}

#[test]
fn embeddings_are_those_of_pillow_and_onnx_runtime() {
    let Some(models) = folder("RESEMBLED_MODEL_DIR", "../shared/models", "mobilenet_v2_features.onnx") else {
        return;
    };
    let Some(photos) = folder("RESEMBLED_PHOTO_DIR", "../shared/photos", "fullres") else { return };
    let reference: Reference = serde_json::from_str(include_str!("../reference/embeddings.json")).unwrap();
    let model = Catalogue::new(&[], vec![models]).unwrap().resolve(Path::new("mobilenet_v2")).unwrap();
    let library = env::var_os("ORT_DYLIB_PATH").map(|path| Candidate::File(path.into()));
    let runtime = Runtime::start(RuntimeChoice::Auto, &Vec::from_iter(library)).unwrap();
    let mut encoder = OnnxEncoder::new(&runtime, &Network::of(&model).unwrap()).unwrap();
    let preprocessing = model.manifest.preprocessing.clone();
    let scaled = Need::short_side(preprocessing.needed_short_side());
    let mut preprocessor = Preprocessor::new(preprocessing).unwrap();

    let mut embed = |file: &[u8], need: Need| {
        let decoded = decode::decode(file, need, &Limits::default()).unwrap();
        let input = preprocessor.run(&decoded.image).unwrap();
        encoder.embed(&[input]).unwrap().remove(0).0
    };
    let mut sum = 0.0;
    let mut pairs: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
    for photo in &reference.photos {
        let name = photo.path.display();
        let file = fs::read(photos.join(&photo.path)).unwrap();
        let expected = photo.embedding();
        assert!(
            (length(&expected) / photo.norm - 1.0).abs() < 1e-3,
            "{name}: the reference is not read right"
        );

        let full = embed(&file, Need::full());
        let similarity = cosine_similarity(&full, &expected);
        assert!(similarity >= 0.999, "{name}, decoded in full: {similarity}");
        for (other, other_expected) in &pairs {
            let (found, wanted) = (l2_distance(&full, other), l2_distance(&expected, other_expected));
            assert!((found / wanted - 1.0).abs() < 0.01, "{name}: distance {found} to another, not {wanted}");
        }
        pairs.push((full, expected.clone()));

        let similarity = cosine_similarity(&embed(&file, scaled), &expected);
        assert!(similarity >= 0.995, "{name}, scaled: {similarity}");
        sum += similarity;
    }
    let mean = sum / reference.photos.len() as f64;
    assert!(mean >= 0.999, "scaled, the mean: {mean}");
}
