//! All manifests together, and the way from a name or a path to verified bytes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::built_in::{BUILT_IN, BuiltIn, FALLBACK};
use super::error::Difference;
use super::{Content, FileDigest, Manifest, ModelError, Output, Quality, Source, TextTower};
use crate::decode::Resampling;
use crate::photo::ModelDigest;

/// A network whose bytes are the ones that its manifest promises.
#[derive(Clone, Debug)]
pub struct Model {
    /// What is known of it.
    pub manifest: Arc<Manifest>,
    /// The file it was read from, or `None` for one in the executable.
    pub path: Option<PathBuf>,
    /// The ONNX file.
    pub content: Content,
    /// Files of weights that the ONNX file refers to, by the name it uses.
    pub external: Vec<(String, Content)>,
    /// The tensor that is the embedding.
    pub output: Output,
    /// The classifier of its embeddings, an ONNX file, where the network itself has none.
    pub classifier: Option<Content>,
    /// What reads texts, where the model has that and its files are there.
    pub text: Option<TextModel>,
    /// Says which embeddings may be compared: SHA-256 over the digests of all files, the output and the
    /// preprocessing. The title, the bands and the place of the file do not change it.
    pub digest: ModelDigest,
}

/// The files of a text tower, which are those that the manifest promises.
#[derive(Clone, Debug)]
pub struct TextModel {
    /// How they are used.
    pub tower: TextTower,
    /// The ONNX file.
    pub encoder: Content,
    /// The file of the tokenizer.
    pub tokenizer: Content,
    /// Numbers in an embedding, as of a photo.
    pub dim: usize,
}

/// The model that serves where the configuration names none.
#[derive(Debug)]
pub struct DefaultModel {
    /// The model.
    pub model: Model,
    /// Better ones are in the catalogue, and none of them is installed.
    pub is_fallback: bool,
}

/// Everything that has a manifest.
#[derive(Clone, Debug)]
pub struct Catalogue {
    pub(super) entries: Vec<Entry>,
    /// Searched for files of models, in this order.
    pub(super) model_dirs: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub manifest: Arc<Manifest>,
    /// The first source's bytes, in the executable.
    pub network: Option<&'static [u8]>,
    /// The classifier of its embeddings, in the executable.
    pub classifier: Option<&'static [u8]>,
    /// The user's manifest, whose folder is searched for the files too.
    pub written_in: Option<PathBuf>,
}

impl Catalogue {
    /// Reads the user's manifests, `*.toml` in each of `manifest_dirs`, and adds the built-in ones. A folder that
    /// does not exist is empty. A manifest of the user hides the built-in one of the same name. Files of models are
    /// searched in `model_dirs`, in order, then beside the user's manifest.
    ///
    /// # Errors
    /// A manifest of the user cannot be read or is wrong, or two give one name.
    pub fn new(manifest_dirs: &[PathBuf], model_dirs: Vec<PathBuf>) -> Result<Self, ModelError> {
        Self::with_built_in(BUILT_IN, manifest_dirs, model_dirs)
    }

    pub(super) fn with_built_in(
        built_in: &[BuiltIn],
        manifest_dirs: &[PathBuf],
        model_dirs: Vec<PathBuf>,
    ) -> Result<Self, ModelError> {
        let mut entries: Vec<Entry> = Vec::new();
        for path in manifest_files(manifest_dirs)? {
            let manifest = read_manifest(&path)?;
            if let Some(Entry { written_in: Some(first), .. }) =
                entries.iter().find(|entry| entry.manifest.name == manifest.name)
            {
                let (name, first) = (manifest.name, first.clone());
                return Err(ModelError::NameTwice { name, first, second: path });
            }
            if manifest.sources.is_empty() {
                let reason = "it needs a [[source]] with the `file` of the model".to_owned();
                return Err(ModelError::Manifest { path, reason });
            }
            let manifest = Arc::new(manifest);
            entries.push(Entry { manifest, network: None, classifier: None, written_in: Some(path) });
        }
        for &BuiltIn { manifest, network, classifier } in built_in {
            let manifest = Manifest::parse(manifest).expect("a test reads every built-in manifest");
            if entries.iter().all(|entry| entry.manifest.name != manifest.name) {
                let manifest = Arc::new(manifest);
                entries.push(Entry { manifest, network, classifier, written_in: None });
            }
        }
        Ok(Self { entries, model_dirs })
    }

    /// Finds a model by its name, or by the path of its ONNX file: whatever has a slash or ends in `.onnx`.
    ///
    /// A file named by its path is described by the TOML file of the same name beside it; where there is none, by the
    /// manifest of the catalogue that has the file's digest.
    ///
    /// # Errors
    /// Nothing of that name is known, or its file is missing or another one; the text says how to get it.
    pub fn resolve(&self, name_or_path: &Path) -> Result<Model, ModelError> {
        match name_or_path.to_str() {
            Some(name) if !name.contains('/') && !name.ends_with(".onnx") => self.resolve_name(name),
            _ => self.resolve_path(name_or_path),
        }
    }

    /// Returns the best of the networks that are installed, by their quality in the catalogue, else the built-in encoder.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn default_model(&self) -> Result<DefaultModel, ModelError> {
        let installed = self.by_quality().into_iter().find(|entry| self.find(entry).is_some());
        match installed {
            Some(entry) => {
                Ok(DefaultModel { model: self.resolve_name(&entry.manifest.name)?, is_fallback: false })
            }
            None => Ok(DefaultModel { model: self.resolve_name(FALLBACK)?, is_fallback: true }),
        }
    }

    /// Returns the encoder in the executable.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn built_in(&self) -> Result<Model, ModelError> {
        self.resolve_name(FALLBACK)
    }

    /// Returns the networks whose quality and bands are known, except those in the executable, the best first. Without
    /// bands, duplicates could not be told.
    pub(super) fn by_quality(&self) -> Vec<&Entry> {
        let quality = |entry: &&Entry| entry.manifest.quality.map_or(0.0, Quality::overall);
        let measured = |entry: &&Entry| {
            let manifest = &entry.manifest;
            entry.network.is_none()
                && manifest.quality.is_some()
                && manifest.bands.of(manifest.metric).is_some()
        };
        let mut entries: Vec<&Entry> = self.entries.iter().filter(measured).collect();
        entries.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
        entries
    }

    pub(super) fn entry(&self, name: &str) -> Result<&Entry, ModelError> {
        self.entries.iter().find(|entry| entry.manifest.name == name).ok_or_else(|| ModelError::UnknownName {
            name: name.to_owned(),
            known: self.entries.iter().map(|entry| entry.manifest.name.clone()).collect(),
        })
    }

    fn resolve_name(&self, name: &str) -> Result<Model, ModelError> {
        let entry = self.entry(name)?;
        if let Some(network) = entry.network {
            let source = &entry.manifest.sources[0];
            let content = Content::in_executable(network);
            let model = Model::new(&entry.manifest, source, None, content, Vec::new());
            return Ok(model.with_classifier(entry.classifier));
        }
        match self.find(entry) {
            Some((source, path)) => Model::read(&entry.manifest, source, path),
            None => Err(ModelError::NotInstalled {
                name: name.to_owned(),
                files: entry.manifest.sources.iter().map(|source| source.file.clone()).collect(),
                searched: self.folders(entry).map(Path::to_path_buf).collect(),
                advice: advice(&entry.manifest, "Get it"),
            }),
        }
    }

    /// Returns the first file of the model that exists: by folder first, then by preference.
    pub(super) fn find<'a>(&'a self, entry: &'a Entry) -> Option<(&'a Source, PathBuf)> {
        self.folders(entry)
            .flat_map(|dir| entry.manifest.sources.iter().map(move |source| (source, dir.join(&source.file))))
            .find(|(_, path)| path.is_file())
    }

    pub(super) fn folders<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Path> {
        let beside = entry.written_in.as_deref().and_then(Path::parent);
        self.model_dirs.iter().map(PathBuf::as_path).chain(beside)
    }

    fn resolve_path(&self, path: &Path) -> Result<Model, ModelError> {
        let written = path.with_extension("toml");
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        if written.is_file() {
            let mut manifest = read_manifest(&written)?;
            if manifest.sources.is_empty() {
                manifest.sources.push(Source::of_file(&file_name));
            }
            let Some(source) = manifest.sources.iter().find(|source| source.file == file_name).cloned()
            else {
                let reason = format!("none of its sources has file = {file_name:?}");
                return Err(ModelError::Manifest { path: written, reason });
            };
            return Model::read(&Arc::new(manifest), &source, path.to_path_buf());
        }
        let content = open(path)?;
        let digest = content.digest();
        for entry in &self.entries {
            if let Some(source) = entry.manifest.sources.iter().find(|source| source.sha256 == Some(digest)) {
                let external = read_external(&entry.manifest, source, path)?;
                let model = Model::new(&entry.manifest, source, Some(path.to_path_buf()), content, external);
                let model = model.with_classifier(entry.classifier);
                return model.with_text(path.parent().unwrap_or(Path::new("")));
            }
        }
        Err(ModelError::Undescribed {
            path: path.to_path_buf(),
            manifest: written,
            template: template(path, &file_name, content.bytes(), digest),
        })
    }
}

impl Model {
    fn read(manifest: &Arc<Manifest>, source: &Source, path: PathBuf) -> Result<Self, ModelError> {
        let content = open_verified(manifest, &path, source.bytes, source.sha256)?;
        let external = read_external(manifest, source, &path)?;
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Self::new(manifest, source, Some(path), content, external).with_text(&dir)
    }

    pub(super) fn new(
        manifest: &Arc<Manifest>,
        source: &Source,
        path: Option<PathBuf>,
        content: Content,
        external: Vec<(String, Content)>,
    ) -> Self {
        let output = source.output.as_ref().unwrap_or(&manifest.output).clone();
        let digest = encoder_digest(manifest, &content, &external, &output);
        let manifest = Arc::clone(manifest);
        Self { manifest, path, content, external, output, classifier: None, text: None, digest }
    }

    /// Adds the classifier that is in the executable.
    fn with_classifier(mut self, classifier: Option<&'static [u8]>) -> Self {
        self.classifier = classifier.map(Content::in_executable);
        self
    }

    /// Adds the text tower where all its files are in `dir`.
    pub(super) fn with_text(mut self, dir: &Path) -> Result<Self, ModelError> {
        let Some(tower) = self.manifest.text.clone() else { return Ok(self) };
        if tower.files().iter().all(|source| dir.join(&source.file).is_file()) {
            let open = |source: &Source| {
                open_verified(&self.manifest, &dir.join(&source.file), source.bytes, source.sha256)
            };
            let (encoder, tokenizer) = (open(&tower.encoder)?, open(&tower.tokenizer)?);
            self.text = Some(TextModel { tower, encoder, tokenizer, dim: self.manifest.dim });
        }
        Ok(self)
    }
}

impl Source {
    fn of_file(file: &str) -> Self {
        let external = Vec::new();
        Self {
            file: file.to_owned(),
            bytes: None,
            sha256: None,
            url: None,
            wheel: None,
            output: None,
            external,
        }
    }
}

/// The number in the first line changes when the same file starts to give other embeddings, because the rule
/// behind `auto` or the preprocessing has changed.
fn encoder_digest(
    manifest: &Manifest,
    content: &Content,
    external: &[(String, Content)],
    output: &Output,
) -> ModelDigest {
    let mut sha = Sha256::new_with_prefix("resembled encoder 1\n");
    let mut text = |text: &str| {
        sha.update((text.len() as u64).to_le_bytes());
        sha.update(text);
    };
    text(&content.digest().to_string());
    for (file, content) in external {
        text(file);
        text(&content.digest().to_string());
    }
    text(&output.to_string());
    let preprocessing = &manifest.preprocessing;
    for number in [preprocessing.resize_short_side, preprocessing.crop] {
        sha.update(number.to_le_bytes());
    }
    for number in preprocessing.mean.iter().chain(&preprocessing.std) {
        sha.update(number.to_le_bytes());
    }
    // Written only where it is used: digests are older than this.
    if preprocessing.squash || preprocessing.resampling != Resampling::default() {
        sha.update([
            u8::from(preprocessing.squash),
            u8::from(preprocessing.resampling == Resampling::Bicubic),
        ]);
    }
    ModelDigest(sha.finalize().into())
}

fn manifest_files(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, ModelError> {
    let mut files = Vec::new();
    for dir in dirs {
        let unreadable = |source| ModelError::Read { path: dir.clone(), source };
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read_manifest(path: &Path) -> Result<Manifest, ModelError> {
    let text =
        fs::read_to_string(path).map_err(|source| ModelError::Read { path: path.to_path_buf(), source })?;
    Manifest::parse(&text)
        .map_err(|error| ModelError::Manifest { path: path.to_path_buf(), reason: error.to_string() })
}

fn read_external(
    manifest: &Manifest,
    source: &Source,
    model: &Path,
) -> Result<Vec<(String, Content)>, ModelError> {
    let beside = |file: &str| model.parent().unwrap_or(Path::new("")).join(file);
    source
        .external
        .iter()
        .map(|file| {
            Ok((file.file.clone(), open_verified(manifest, &beside(&file.file), file.bytes, file.sha256)?))
        })
        .collect()
}

fn open_verified(
    manifest: &Manifest,
    path: &Path,
    bytes: Option<u64>,
    sha256: Option<FileDigest>,
) -> Result<Content, ModelError> {
    let content = open(path)?;
    let difference = match (bytes, sha256) {
        (Some(promised), _) if promised != content.bytes() => {
            Difference::Bytes { promised, found: content.bytes() }
        }
        (_, Some(promised)) if promised != content.digest() => {
            Difference::Digest { promised, found: content.digest() }
        }
        _ => return Ok(content),
    };
    Err(ModelError::WrongFile {
        name: manifest.name.clone(),
        path: path.to_path_buf(),
        difference: Box::new(difference),
        advice: advice(manifest, "Remove the file and get it again"),
    })
}

/// Completes `what` by the way to do it.
fn advice(manifest: &Manifest, what: &str) -> String {
    if manifest.sources.iter().any(Source::is_to_be_had) {
        format!("{what}: resembled models pull {}", manifest.name)
    } else {
        format!("{what}: it has no address to download it from, so copy the file there yourself")
    }
}

fn open(path: &Path) -> Result<Content, ModelError> {
    Content::of_file(path).map_err(|source| ModelError::Read { path: path.to_path_buf(), source })
}

fn template(path: &Path, file_name: &str, bytes: u64, digest: FileDigest) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!(
        r#"name = {name:?}
title = "what it is, in one line"
licence = "licence of the weights"
output = "auto" # the layer before the classifier, or the name of a tensor
dim = 1280 # numbers in that tensor
metric = "cosine" # or "l2"

[preprocessing]
resize_short_side = 256
crop = 224 # side of the network's input
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[[source]]
file = {file_name:?}
bytes = {bytes}
sha256 = "{digest}"
"#
    )
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
pub(super) mod tests;
