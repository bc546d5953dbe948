//! Texts for a network that reads any: each becomes an embedding, and stands among the examples.
//!
//! How near a photo must be to show what a text says, nobody knows of such a network: texts are farther from all photos than
//! photos are from each other. So the nearest are returned, and nothing is said of them.

use tonic::Status;

use super::query::Line;
use super::{refuse, words};
use crate::encode::{TextError, TextHandle};
use crate::photo::Metric;

/// What a text that is not meant weighs beside one that is. As much would leave nothing to search for.
const DISLIKED: f32 = -0.5;

/// Refuses what cannot be encoded, before anything is.
pub(super) fn check(lines: &[Line], has_pictures: bool, metric: Metric) -> Result<(), Status> {
    for Line { text, .. } in lines {
        if text.trim().is_empty() || text.len() > words::MAX_TEXT_BYTES {
            let most = words::MAX_TEXT_BYTES;
            return Err(refuse::field("text", format_args!("must be 1 to {most} bytes")));
        }
    }
    if !lines.is_empty() && metric != Metric::Cosine {
        return Err(refuse::field("metric", "texts and photos are compared by cosine"));
    }
    let is_meant = |line: &Line| !line.is_disliked && parts(&line.text).0.is_some();
    if !has_pictures && !lines.iter().any(is_meant) {
        return Err(refuse::field("text", "must say what photos show, not only what they do not"));
    }
    Ok(())
}

/// Returns the embeddings of texts with their weights.
pub(super) async fn embed(text: &TextHandle, lines: &[Line]) -> Result<Vec<(Vec<f32>, f32)>, Status> {
    let (mut meant, mut not_meant) = (Vec::new(), Vec::new());
    for line in lines {
        let (shown, not_shown) = parts(&line.text);
        if line.is_disliked { &mut not_meant } else { &mut meant }.extend(shown);
        not_meant.extend(not_shown);
    }
    let share = DISLIKED / not_meant.len().max(1) as f32;
    let weighted =
        meant.into_iter().map(|text| (text, 1.0)).chain(not_meant.into_iter().map(|text| (text, share)));
    let mut embeddings = Vec::new();
    for (part, weight) in weighted {
        let embedding = text.embed(part).await.map_err(|error| match error {
            TextError::Busy => refuse::busy("too many queries at once"),
            TextError::Stopped => refuse::stopping(),
            error => refuse::internal("the network failed on the text", &error),
        })?;
        embeddings.push((embedding.0, weight));
    }
    Ok(embeddings)
}

/// Parts a text at each `without`: what shall be shown, and what shall not. All else is a part of the sentence.
fn parts(text: &str) -> (Option<String>, Vec<String>) {
    let mut parts = vec![Vec::new()];
    for word in text.split_whitespace() {
        match word.eq_ignore_ascii_case("without") {
            true => parts.push(Vec::new()),
            false => parts.last_mut().expect("there is one from the start").push(word),
        }
    }
    let mut parts = parts.into_iter().map(|words| Some(words.join(" ")).filter(|part| !part.is_empty()));
    let shown = parts.next().flatten();
    (shown, parts.flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_sentence_up_to_without() {
        let check = |text, shown: Option<&str>, not_shown: &[&str]| {
            assert_eq!(
                parts(text),
                (shown.map(str::to_owned), not_shown.iter().map(|&s| s.to_owned()).collect())
            );
        };
        check("dog on  a beach", Some("dog on a beach"), &[]);
        check("a dog Without a leash without people", Some("a dog"), &["a leash", "people"]);
        check("without snow", None, &["snow"]);
        check("dog without", Some("dog"), &[]);
    }

    #[test]
    fn a_query_must_mean_something() {
        let line = |text: &str, is_disliked| Line { text: text.to_owned(), is_disliked };
        let refused = |lines: &[Line], has_pictures| check(lines, has_pictures, Metric::Cosine).is_err();
        assert!(!refused(&[line("dog", false)], false));
        assert!(refused(&[line("dog", true)], false));
        assert!(!refused(&[line("dog", true)], true));
        assert!(refused(&[line("without dog", false)], false));
        assert!(refused(&[line(" ", false)], true));
        assert!(check(&[line("dog", false)], false, Metric::L2).is_err());
    }
}
