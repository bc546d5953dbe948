//! What the command line asks for: words or a picture.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use resembled_api::proto;
use resembled_api::proto::example;
use resembled_api::proto::search_photos_request::Query;

use crate::cli::Weighted;
use crate::{output, search};

/// Words, or a picture file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Words(String),
    File(PathBuf),
}

impl Asked {
    /// What is a file is the file; what looks like the path of one was meant as one. All else is words, a folder's name too:
    /// no folder is a picture.
    pub(crate) fn of(given: &[PathBuf], is_text: bool) -> anyhow::Result<Self> {
        if let ([file], false) = (given, is_text)
            && (looks_like_a_path(file) || is_file(file))
        {
            return Ok(Self::File(file.clone()));
        }
        if let Some(file) = given.iter().find(|part| !is_text && looks_like_a_path(part)) {
            anyhow::bail!("{} is not alone: `--like {0}` adds a picture to the first", file.display());
        }
        let parts = given.iter().map(|part| part.to_str().context("words must be UTF-8"));
        Ok(Self::Words(parts.collect::<anyhow::Result<Vec<&str>>>()?.join(" ")))
    }

    pub(crate) fn title(&self) -> String {
        match self {
            Self::Words(text) => format!("Photos that show {text}"),
            Self::File(file) => {
                format!("Photos that resemble {}", output::shown(file.as_os_str().as_bytes()))
            }
        }
    }

    /// Returns the query for this and more examples, liked and not.
    pub(crate) fn query(self, liked: &[Weighted], unlike: &[Weighted]) -> anyhow::Result<Query> {
        if liked.is_empty() && unlike.is_empty() {
            return match self {
                Self::Words(text) => Ok(Query::Text(text)),
                Self::File(file) => search::query(&file),
            };
        }
        let more = |given: &Weighted, sign: f32| {
            Self::of(std::slice::from_ref(&given.file), false)?.example(sign * given.weight)
        };
        let liked = liked.iter().map(|liked| more(liked, 1.0));
        let unlike = unlike.iter().map(|unlike| more(unlike, -1.0));
        let examples = std::iter::once(self.example(1.0)).chain(liked).chain(unlike);
        let mut examples = examples.collect::<anyhow::Result<Vec<_>>>()?;
        balance(&mut examples);
        Ok(Query::Examples(proto::Examples { examples }))
    }

    fn example(self, weight: f32) -> anyhow::Result<proto::Example> {
        match self {
            Self::Words(text) => {
                Ok(proto::Example { query: Some(example::Query::Text(text)), weight: Some(weight) })
            }
            Self::File(file) => search::example(&file, weight),
        }
    }
}

/// Lowers the weights of disliked pictures so far that all of them weigh half as much as the liked ones at the most: pictures
/// that weigh nothing together ask for nothing. Of words only the sign counts.
pub(crate) fn balance(examples: &mut [proto::Example]) {
    let is_word = |example: &proto::Example| matches!(example.query, Some(example::Query::Text(_)));
    let pictures = examples.iter().filter(|example| !is_word(example));
    let (liked, disliked) = pictures.fold((0.0f32, 0.0f32), |(liked, disliked), example| {
        let weight = example.weight.unwrap_or(1.0);
        (liked + weight.max(0.0), disliked - weight.min(0.0))
    });
    if liked <= 0.0 || disliked <= liked / 2.0 {
        return;
    }
    for example in examples.iter_mut().filter(|example| !is_word(example)) {
        if let Some(weight) = example.weight.as_mut().filter(|weight| **weight < 0.0) {
            *weight *= liked / 2.0 / disliked;
        }
    }
}

/// Whether nothing but words are asked for.
pub(crate) fn is_worded(query: &Query) -> bool {
    match query {
        Query::Text(_) => true,
        Query::Examples(examples) => {
            examples.examples.iter().all(|example| matches!(example.query, Some(example::Query::Text(_))))
        }
        _ => false,
    }
}

fn is_file(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| !metadata.is_dir())
}

/// `-`, `a/b`, `cat.jpg`; but not `St. Bernard`.
pub(crate) fn looks_like_a_path(file: &Path) -> bool {
    let has_extension = file.extension().and_then(OsStr::to_str).is_some_and(|extension| {
        (1..=5).contains(&extension.len()) && extension.bytes().all(|letter| letter.is_ascii_alphanumeric())
    });
    file.as_os_str() == "-" || has_extension || file.components().count() != 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disliked_pictures_weigh_half_of_what_is_liked_at_the_most() {
        let check = |weights: &[f32], expected: &[f32]| {
            let picture = |&weight: &f32| proto::Example {
                query: Some(example::Query::Photo("photos/a".into())),
                weight: Some(weight),
            };
            let mut examples: Vec<_> = weights.iter().map(picture).collect();
            let word = Some(example::Query::Text("dog".into()));
            examples.push(proto::Example { query: word, weight: Some(-1.0) });
            balance(&mut examples);
            let balanced: Vec<f32> = examples.iter().filter_map(|example| example.weight).collect();
            assert_eq!(balanced, [expected, &[-1.0]].concat(), "{weights:?}");
        };
        check(&[1.0, -0.25], &[1.0, -0.25]);
        check(&[1.0, -1.0], &[1.0, -0.5]);
        check(&[1.0, -1.0, -3.0], &[1.0, -0.125, -0.375]);
        check(&[1.0, 1.0, -1.0], &[1.0, 1.0, -1.0]);
        check(&[-1.0], &[-1.0]);
    }

    #[test]
    fn a_path_is_told_from_words() {
        for path in ["-", "cat.jpg", "a/cat", "./cat", "/cat", "Cargo.toml", "missing.JPEG", "../cat"] {
            assert_eq!(Asked::of(&[path.into()], false).unwrap(), Asked::File(path.into()), "{path}");
        }
        for words in ["dog", "golden retriever", "St. Bernard", "src"] {
            assert_eq!(Asked::of(&[words.into()], false).unwrap(), Asked::Words(words.into()), "{words}");
        }
        let several = [PathBuf::from("golden"), PathBuf::from("retriever")];
        assert_eq!(Asked::of(&several, false).unwrap(), Asked::Words("golden retriever".into()));
        assert_eq!(Asked::of(&["cat.jpg".into()], true).unwrap(), Asked::Words("cat.jpg".into()));
        let error = Asked::of(&["a.jpg".into(), "b.jpg".into()], false).unwrap_err();
        assert!(error.to_string().contains("--like a.jpg"), "{error}");
    }
}
