use super::*;
use crate::photo::Metric;

const NET: &str = r#"
    name = "net"
    title = "A network"
    licence = "MIT"
    dim = 8
    metric = "l2"
    [preprocessing]
    resize_short_side = 8
    crop = 8
    mean = [0.5, 0.5, 0.5]
    std = [0.5, 0.5, 0.5]
"#;

/// SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

pub fn net_with(sources: &str) -> String {
    format!("{NET}\n{sources}")
}

pub fn source(file: &str) -> String {
    format!("[[source]]\nfile = \"{file}\"\nbytes = 3\nsha256 = \"{ABC}\"\n")
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

pub fn built_in(manifest: String) -> BuiltIn {
    BuiltIn { manifest: leak(manifest), network: None, classifier: None }
}

/// A folder for manifests and two for models.
pub struct Folders {
    _root: tempfile::TempDir,
    pub manifests: PathBuf,
    pub first: PathBuf,
    pub second: PathBuf,
}

impl Folders {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let [manifests, first, second] = ["manifests", "first", "second"].map(|name| {
            let dir = root.path().join(name);
            fs::create_dir(&dir).unwrap();
            dir
        });
        Self { _root: root, manifests, first, second }
    }

    pub fn catalogue(&self, built_in: &[BuiltIn]) -> Result<Catalogue, ModelError> {
        Catalogue::with_built_in(
            built_in,
            std::slice::from_ref(&self.manifests),
            vec![self.first.clone(), self.second.clone()],
        )
    }
}

fn resolve(catalogue: &Catalogue, name: impl AsRef<Path>) -> Result<Model, ModelError> {
    catalogue.resolve(name.as_ref())
}

#[test]
fn every_built_in_manifest_is_whole() {
    let catalogue = Catalogue::new(&[], Vec::new()).unwrap();
    assert_eq!(catalogue.entries.len(), BUILT_IN.len(), "two built-in models share a name");
    for Entry { manifest, network, .. } in &catalogue.entries {
        assert!(!manifest.sources.is_empty(), "{} has no source", manifest.name);
        for source in &manifest.sources {
            assert!(source.bytes.is_some() && source.sha256.is_some(), "{} lacks a digest", source.file);
        }
        if let Some(network) = network {
            assert_eq!(manifest.sources[0].sha256, Some(FileDigest::of(network)), "{}", manifest.name);
            assert_eq!(manifest.sources[0].bytes, Some(network.len() as u64), "{}", manifest.name);
        }
    }
    for name in ["mobilenet_v2", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"] {
        assert!(catalogue.entry(name).is_ok());
    }
    // Dual encoders are known by what their repositories say of them, and nobody has measured their real files.
    assert!(
        catalogue
            .entries
            .iter()
            .all(|entry| entry.manifest.quality.is_some() != entry.manifest.text.is_some())
    );
    assert!(catalogue.entry(FALLBACK).unwrap().network.is_some());
    let model = catalogue.default_model().unwrap().model;
    assert_eq!((model.manifest.name.as_str(), model.path), (FALLBACK, None));
}

#[test]
fn earlier_folders_win_over_later_ones() {
    let folders = Folders::new();
    let catalogue =
        folders.catalogue(&[built_in(net_with(&(source("a.onnx") + &source("b.onnx"))))]).unwrap();
    fs::write(folders.second.join("a.onnx"), "abc").unwrap();
    assert_eq!(resolve(&catalogue, "net").unwrap().path, Some(folders.second.join("a.onnx")));
    fs::write(folders.first.join("b.onnx"), "abc").unwrap();
    let model = resolve(&catalogue, "net").unwrap();
    assert_eq!(model.path, Some(folders.first.join("b.onnx")));
    assert_eq!(model.content.read().unwrap(), b"abc");
}

#[test]
fn a_model_without_a_file_is_told_where_it_was_looked_for() {
    let folders = Folders::new();
    let catalogue = folders.catalogue(&[built_in(net_with(&source("a.onnx")))]).unwrap();
    let text = resolve(&catalogue, "net").unwrap_err().to_string();
    assert!(text.contains("no a.onnx in") && text.contains(folders.second.to_str().unwrap()), "{text}");
    let text = resolve(&catalogue, "nett").unwrap_err().to_string();
    assert!(text.contains("`nett`; known are net."), "{text}");
}

#[test]
fn another_size_or_digest_is_refused() {
    let folders = Folders::new();
    let catalogue = folders.catalogue(&[built_in(net_with(&source("a.onnx")))]).unwrap();
    for (content, expected) in [("abcd", "4 bytes instead of 3"), ("abd", "SHA-256")] {
        fs::write(folders.first.join("a.onnx"), content).unwrap();
        // A good file in a later folder does not hide the wrong one.
        fs::write(folders.second.join("a.onnx"), "abc").unwrap();
        let error = resolve(&catalogue, "net").unwrap_err();
        assert!(matches!(error, ModelError::WrongFile { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn the_users_manifest_hides_the_built_in_one_and_is_searched_for_its_file() {
    let folders = Folders::new();
    fs::write(folders.manifests.join("mine.toml"), net_with("[[source]]\nfile = \"mine.onnx\"")).unwrap();
    fs::write(folders.manifests.join("mine.onnx"), "anything").unwrap();
    let catalogue = folders.catalogue(&[built_in(net_with(&source("a.onnx")))]).unwrap();
    assert_eq!(resolve(&catalogue, "net").unwrap().path, Some(folders.manifests.join("mine.onnx")));
}

#[test]
fn two_manifests_of_the_user_with_one_name_are_refused() {
    let folders = Folders::new();
    for file in ["a.toml", "b.toml"] {
        fs::write(folders.manifests.join(file), net_with(&source("a.onnx"))).unwrap();
    }
    assert!(matches!(folders.catalogue(&[]), Err(ModelError::NameTwice { .. })));
}

#[test]
fn a_broken_manifest_of_the_user_is_refused_with_its_place() {
    let folders = Folders::new();
    let path = folders.manifests.join("mine.toml");
    fs::write(&path, net_with("").replace("dim = 8", "dim = 8\ndin = 9")).unwrap();
    let text = folders.catalogue(&[]).unwrap_err().to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("din") && text.contains("line"), "{text}");
}

#[test]
fn a_folder_of_manifests_may_be_missing() {
    let catalogue =
        Catalogue::with_built_in(&[], &[PathBuf::from("/nonexistent/models")], Vec::new()).unwrap();
    assert!(catalogue.entries.is_empty());
}

#[test]
fn a_file_named_by_its_path_is_described_by_the_manifest_beside_it() {
    let folders = Folders::new();
    let path = folders.first.join("own.onnx");
    fs::write(&path, "anything").unwrap();
    fs::write(path.with_extension("toml"), net_with("")).unwrap();
    let model = resolve(&folders.catalogue(&[]).unwrap(), &path).unwrap();
    assert_eq!((model.manifest.name.as_str(), model.manifest.metric), ("net", Metric::L2));
    assert_eq!(model.content.read().unwrap(), b"anything");

    fs::write(path.with_extension("toml"), net_with(&source("another.onnx"))).unwrap();
    let text = resolve(&folders.catalogue(&[]).unwrap(), &path).unwrap_err().to_string();
    assert!(text.contains("none of its sources has file = \"own.onnx\""), "{text}");
}

#[test]
fn a_file_of_the_catalogue_is_known_under_any_name() {
    let folders = Folders::new();
    let path = folders.first.join("renamed.onnx");
    fs::write(&path, "abc").unwrap();
    let catalogue = folders.catalogue(&[built_in(net_with(&source("a.onnx")))]).unwrap();
    assert_eq!(resolve(&catalogue, &path).unwrap().manifest.name, "net");
}

#[test]
fn an_undescribed_file_is_answered_by_a_manifest_to_start_from() {
    let folders = Folders::new();
    let path = folders.first.join("my net.onnx");
    fs::write(&path, "anything").unwrap();
    let catalogue = folders.catalogue(&[]).unwrap();
    let error = resolve(&catalogue, &path).unwrap_err();
    let ModelError::Undescribed { manifest, template, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains(template));
    fs::write(manifest, template).unwrap();
    assert_eq!(resolve(&catalogue, &path).unwrap().manifest.name, "my_net");
}

#[test]
fn a_missing_or_irregular_file_is_an_error_with_its_path() {
    let folders = Folders::new();
    let catalogue = folders.catalogue(&[]).unwrap();
    for path in [folders.first.join("none.onnx"), folders.first.clone()] {
        let error = resolve(&catalogue, &path).unwrap_err();
        assert!(matches!(error, ModelError::Read { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn weights_beside_the_file_are_read_and_verified_too() {
    let folders = Folders::new();
    let sources = format!(
        "[[source]]\nfile = \"a.onnx\"\n[[source.external]]\nfile = \"w/a.bin\"\nsha256 = \"{ABC}\"\n"
    );
    let catalogue = folders.catalogue(&[built_in(net_with(&sources))]).unwrap();
    fs::write(folders.first.join("a.onnx"), "net").unwrap();
    fs::create_dir(folders.first.join("w")).unwrap();
    fs::write(folders.first.join("w/a.bin"), "abc").unwrap();
    let model = resolve(&catalogue, "net").unwrap();
    let [(file, content)] = model.external.as_slice() else { panic!("{:?}", model.external) };
    assert_eq!((file.as_str(), content.read().unwrap().as_slice()), ("w/a.bin", b"abc".as_slice()));
    fs::write(folders.first.join("w/a.bin"), "abd").unwrap();
    assert!(matches!(resolve(&catalogue, "net"), Err(ModelError::WrongFile { .. })));
}

#[test]
fn a_digest_changes_with_whatever_changes_the_embeddings() {
    let folders = Folders::new();
    let path = folders.first.join("own.onnx");
    let digest = |content: &str, manifest: String| {
        fs::write(&path, content).unwrap();
        fs::write(path.with_extension("toml"), manifest).unwrap();
        resolve(&folders.catalogue(&[]).unwrap(), &path).unwrap().digest
    };
    let first = digest("a", net_with(""));
    assert_eq!(first, digest("a", net_with("").replace("A network", "Another title")));
    let others = [
        digest("b", net_with("")),
        digest("a", net_with("").replace("dim = 8", "dim = 8\noutput = \"features\"")),
        digest("a", net_with("").replace("crop = 8", "crop = 7")),
        digest("a", net_with("").replace("mean = [0.5, 0.5", "mean = [0.5, 0.4")),
        digest("a", net_with("").replace("std = [0.5, 0.5", "std = [0.5, 0.4")),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_ne!(*other, first, "{index}");
        assert!(!others[..index].contains(other), "{index}");
    }
}

#[test]
fn the_default_is_the_best_of_those_installed() {
    let folders = Folders::new();
    let named = |name: &str, file: &str, p_at_5: &str| {
        let bands = "[bands.l2]\nnear = 0.2\nsimilar = 0.3\nrelated = 0.4\n";
        let quality = format!("{bands}[quality]\np_at_5 = {p_at_5}\nnear_shots = 0.5\nrelative_time = 2.0\n");
        net_with(&(quality + &source(file))).replace("\"net\"", &format!("\"{name}\""))
    };
    let built_in = [
        built_in(named("good", "a.onnx", "0.8")),
        built_in(named("better", "c.onnx", "0.9")),
        built_in(net_with(&source("d.onnx")).replace("\"net\"", "\"unmeasured\"")),
        BuiltIn {
            manifest: leak(named("builtin", "b.onnx", "0.6")),
            network: Some(b"abc"),
            classifier: None,
        },
    ];
    let catalogue = folders.catalogue(&built_in).unwrap();
    let default = || {
        let default = catalogue.default_model()?;
        Ok::<_, ModelError>((default.model.manifest.name.clone(), default.is_fallback))
    };
    fs::write(folders.second.join("d.onnx"), "abc").unwrap();
    assert_eq!(default().unwrap(), ("builtin".to_owned(), true));

    fs::write(folders.second.join("a.onnx"), "ab").unwrap();
    assert!(matches!(default(), Err(ModelError::WrongFile { .. })));

    fs::write(folders.second.join("a.onnx"), "abc").unwrap();
    assert_eq!(default().unwrap(), ("good".to_owned(), false));
    fs::write(folders.first.join("c.onnx"), "abc").unwrap();
    assert_eq!(default().unwrap(), ("better".to_owned(), false));
}
