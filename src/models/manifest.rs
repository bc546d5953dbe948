//! One manifest: TOML text in, a checked description of a network out.

use std::fmt;

use serde::Deserialize;

use super::{FileDigest, Preprocessing};
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
    /// Overrides [`Manifest::output`] for this file.
    pub output: Option<Output>,
    /// Files beside it that hold weights the ONNX file only refers to.
    #[serde(default)]
    pub external: Vec<External>,
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
    /// The same shot.
    pub same: f32,
    /// An edit, or the next shot of a burst.
    pub near: f32,
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
            let limits = [0.0, bands.same, bands.near, bands.similar, bands.related];
            if !limits.is_sorted() || !limits.iter().all(|limit| limit.is_finite()) {
                return Err("bands: same, near, similar, related must ascend from 0".to_owned());
            }
        }
        self.sources.iter().try_for_each(Source::check)
    }
}

impl Source {
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
        if let Some(url) = &self.url {
            if !url.starts_with("https://") {
                return Err(format!("source: url = {url:?}: https:// is needed"));
            }
            if self.bytes.is_none() || self.sha256.is_none() || !self.external.is_empty() {
                return Err(format!(
                    "source: {file} has a url, so it needs bytes and sha256 and must hold its weights itself"
                ));
            }
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
        same = 0.01
        near = 0.1
        similar = 0.3
        related = 0.5
        [[source]]
        file = "net.onnx"
        bytes = 3
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        url = "https://example.org/net.onnx"
        [[source]]
        file = "other.onnx"
        output = "auto"
        external = [{ file = "weights/other.bin" }]
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
            ("file = \"net.onnx\"", "file = \"../net.onnx\"", "without a folder"),
            ("weights/other.bin", "../other.bin", "leaves the folder"),
            ("weights/other.bin", "/etc/passwd", "leaves the folder"),
            ("https:", "http:", "https"),
            ("bytes = 3", "", "needs bytes and sha256"),
            ("sha256 = \"ba", "sha256 = \"zz", "64 hexadecimal digits"),
            ("metric = \"cosine\"", "metric = \"dot\"", "unknown variant"),
        ] {
            assert!(WHOLE.contains(good), "{good}");
            let error = Manifest::parse(&WHOLE.replacen(good, bad, 1)).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad} gave: {error}");
        }
    }
}
