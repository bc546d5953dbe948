//! The catalogue for people: what there is, what is installed, what is damaged.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalogue::{Catalogue, Entry};
use super::error::Difference;
use super::{FileDigest, Manifest, Source, TextTower};

/// One model of the catalogue.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// What is known of it.
    pub manifest: Arc<Manifest>,
    /// Whether it can be used now.
    pub state: ModelState,
}

/// Whether a model can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// In the executable.
    BuiltIn,
    /// This file is there; its digest was not looked at.
    Installed(PathBuf),
    /// Not there; it can be downloaded, so many bytes.
    Pullable(u64),
    /// Not there, and nobody says where it can be had.
    Missing,
}

/// One file of a model, read to its end.
#[derive(Debug)]
pub struct VerifyRow {
    /// The model.
    pub name: String,
    /// The file, or `None` for a network in the executable.
    pub path: Option<PathBuf>,
    /// What was found.
    pub verdict: Verdict,
}

/// What became of one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Size and digest are the manifest's.
    Good,
    /// The manifest has no digest to compare this one with.
    Unpromised(FileDigest),
    /// It differs from the manifest.
    Wrong(Difference),
    /// It cannot be read.
    Unreadable(io::Error),
}

impl Catalogue {
    /// Returns every model, the user's first. Looks at the names of files, not into them.
    pub fn list(&self) -> Vec<ModelRow> {
        let row =
            |entry: &Entry| ModelRow { manifest: Arc::clone(&entry.manifest), state: self.state(entry) };
        self.entries.iter().map(row).collect()
    }

    fn state(&self, entry: &Entry) -> ModelState {
        if entry.network.is_some() {
            return ModelState::BuiltIn;
        }
        if let Some((_, path)) = self.find(entry) {
            return ModelState::Installed(path);
        }
        let pullable = entry.manifest.sources.iter().find(|source| source.is_to_be_had());
        let beside = entry.manifest.text.iter().flat_map(TextTower::files).filter_map(Source::download_bytes);
        let bytes = pullable.and_then(Source::download_bytes).map(|bytes| bytes + beside.sum::<u64>());
        bytes.map_or(ModelState::Missing, ModelState::Pullable)
    }

    /// Reads every file of every model that is there, in all folders, and compares it with its manifest.
    pub fn verify(&self) -> Vec<VerifyRow> {
        let mut rows = Vec::new();
        for entry in &self.entries {
            let name = || entry.manifest.name.clone();
            if let (Some(network), Some(source)) = (entry.network, entry.manifest.sources.first()) {
                let verdict = compare(source.bytes, source.sha256, network);
                rows.push(VerifyRow { name: name(), path: None, verdict: verdict.into() });
            }
            for dir in self.folders(entry) {
                let beside = entry.manifest.text.iter().flat_map(TextTower::files);
                for (path, bytes, sha256) in
                    entry.manifest.sources.iter().chain(beside).flat_map(|source| files(dir, source))
                {
                    // `Err` is a row too: somebody has to be told of a file that cannot even be looked at.
                    if path.try_exists().unwrap_or(true) {
                        let verdict = open(&path).and_then(|file| compare(bytes, sha256, file));
                        rows.push(VerifyRow { name: name(), path: Some(path), verdict: verdict.into() });
                    }
                }
            }
        }
        rows
    }
}

impl From<io::Result<Verdict>> for Verdict {
    fn from(result: io::Result<Verdict>) -> Self {
        result.unwrap_or_else(Verdict::Unreadable)
    }
}

fn files<'a>(
    dir: &'a Path,
    source: &'a Source,
) -> impl Iterator<Item = (PathBuf, Option<u64>, Option<FileDigest>)> + 'a {
    let external = source.external.iter().map(move |file| (dir.join(&file.file), file.bytes, file.sha256));
    std::iter::once((dir.join(&source.file), source.bytes, source.sha256)).chain(external)
}

fn open(path: &Path) -> io::Result<File> {
    // A FIFO would block for ever.
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

fn compare(bytes: Option<u64>, sha256: Option<FileDigest>, content: impl io::Read) -> io::Result<Verdict> {
    let (found, length) = FileDigest::of_reader(content)?;
    Ok(match (bytes, sha256) {
        (Some(promised), _) if promised != length => {
            Verdict::Wrong(Difference::Bytes { promised, found: length })
        }
        (_, Some(promised)) if promised != found => Verdict::Wrong(Difference::Digest { promised, found }),
        (_, Some(_)) => Verdict::Good,
        (_, None) => Verdict::Unpromised(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::built_in::BuiltIn;
    use crate::models::catalogue::tests::{Folders, built_in, net_with, source};

    fn states(catalogue: &Catalogue) -> Vec<(String, ModelState)> {
        catalogue.list().into_iter().map(|row| (row.manifest.name.clone(), row.state)).collect()
    }

    #[test]
    fn the_list_says_what_can_be_used() {
        let folders = Folders::new();
        let pullable = source("b.onnx") + "url = \"https://example.org/b.onnx\"\n";
        let inside = built_in(net_with(&source("c.onnx")).replace("\"net\"", "\"inside\""));
        let built_in = [
            built_in(net_with(&source("a.onnx"))),
            built_in(net_with(&pullable).replace("\"net\"", "\"far\"")),
            BuiltIn { network: Some(b"abc"), ..inside },
        ];
        let catalogue = folders.catalogue(&built_in).unwrap();
        let mut expected = vec![
            ("net".to_owned(), ModelState::Missing),
            ("far".to_owned(), ModelState::Pullable(3)),
            ("inside".to_owned(), ModelState::BuiltIn),
        ];
        assert_eq!(states(&catalogue), expected);
        fs::write(folders.second.join("a.onnx"), "ab").unwrap();
        expected[0].1 = ModelState::Installed(folders.second.join("a.onnx"));
        assert_eq!(states(&catalogue), expected);
    }

    #[test]
    fn verifying_reads_every_copy() {
        let folders = Folders::new();
        let sources = source("a.onnx") + &source("b.onnx") + "[[source]]\nfile = \"c.onnx\"\n";
        let inside = built_in(net_with(&source("d.onnx")).replace("\"net\"", "\"inside\""));
        let built_in = [built_in(net_with(&sources)), BuiltIn { network: Some(b"abd"), ..inside }];
        let catalogue = folders.catalogue(&built_in).unwrap();
        fs::write(folders.first.join("a.onnx"), "abc").unwrap();
        fs::write(folders.second.join("a.onnx"), "abd").unwrap();
        fs::write(folders.second.join("c.onnx"), "anything").unwrap();
        fs::create_dir(folders.second.join("b.onnx")).unwrap();
        let rows = catalogue.verify();
        let verdict = |path: Option<PathBuf>| &rows.iter().find(|row| row.path == path).unwrap().verdict;
        assert_eq!(rows.len(), 5);
        assert!(matches!(verdict(Some(folders.first.join("a.onnx"))), Verdict::Good));
        assert!(matches!(
            verdict(Some(folders.second.join("a.onnx"))),
            Verdict::Wrong(Difference::Digest { .. })
        ));
        assert!(matches!(verdict(Some(folders.second.join("b.onnx"))), Verdict::Unreadable(_)));
        assert!(matches!(verdict(Some(folders.second.join("c.onnx"))), Verdict::Unpromised(_)));
        assert!(matches!(verdict(None), Verdict::Wrong(_)), "a network in the executable is read too");
    }
}
