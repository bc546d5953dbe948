//! Words: what they stand for, which photos show them, and what a picture shows.

use std::sync::Arc;

use tonic::Status;

use super::{Api, Served, filter, refuse};
use crate::photo::Metric;
use crate::proto;
use crate::search::{Filter, Neighbor, SearchError};
use crate::words::{Meaning, SHOWN_FROM, Sense, Shown, Unknown, Words};

/// The longest text that is looked up.
const MAX_TEXT_BYTES: usize = 200;

/// What was found for a word.
pub(super) struct Spoken {
    /// The photos, by how little likely they show it.
    pub(super) neighbors: Vec<Neighbor>,
    /// For each, the label that speaks for it.
    pub(super) labels: Vec<u16>,
    pub(super) meaning: proto::WordMeaning,
    /// Photos that meet the filter.
    pub(super) searched: usize,
}

/// Returns what answers words, or says what to do where the network knows none.
pub(super) fn of(served: &Served) -> Result<&Arc<Words>, Status> {
    served.words.as_ref().ok_or_else(|| {
        Status::failed_precondition(format!(
            "the network {} knows no words: `resembled models pull` gets one that does, and a restart of the daemon takes it",
            served.model.name
        ))
    })
}

/// Looks a word up.
pub(super) fn find<'a>(words: &'a Words, text: &str) -> Result<Meaning<'a>, Status> {
    if text.trim().is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(refuse::field("text", format_args!("must be 1 to {MAX_TEXT_BYTES} bytes")));
    }
    words.vocabulary.find(text).map_err(|unknown| not_known(text.trim(), &unknown))
}

fn not_known(text: &str, Unknown { nearest, words }: &Unknown) -> Status {
    let near = match nearest.as_slice() {
        [] => String::new(),
        nearest => format!("; near it are: {}", nearest.join(", ")),
    };
    Status::not_found(format!(
        "\"{text}\" is not among the {words} words of this network{near}; `resemble words` lists them"
    ))
}

/// Finds the photos that show a word. All that are within `max_distance`, or where that is not given, likely enough.
pub(super) fn search(
    api: &Api,
    words: &Words,
    meaning: &Meaning<'_>,
    filter: &Filter,
    max_distance: Option<f32>,
    k: usize,
) -> Result<Spoken, SearchError> {
    let passing = match filter.is_empty() {
        true => None,
        false => Some(filter.photos(&api.facts.snapshot(), &filter::roots(api))?),
    };
    let from = max_distance.map_or(SHOWN_FROM, |distance| 1.0 - distance);
    let lowest = from.min(SHOWN_FROM);
    let mut shown = words.labels.showing(&meaning.sense.labels, lowest, passing.as_ref());
    let photos_showing = shown.iter().filter(|shown| shown.likely >= SHOWN_FROM).count() as u64;
    shown.retain(|shown| shown.likely >= from);
    shown.truncate(k);
    let all = words.labels.photos().len();
    let neighbor = |shown: &Shown| Neighbor { id: shown.photo, distance: 1.0 - shown.likely };
    Ok(Spoken {
        neighbors: shown.iter().map(neighbor).collect(),
        labels: shown.iter().map(|shown| shown.label).collect(),
        searched: passing.map_or(all, |passing| passing.len().min(all)),
        meaning: proto::WordMeaning {
            word: meaning.word.to_owned(),
            gloss: meaning.sense.gloss.clone(),
            labels: meaning.sense.labels.len() as u32,
            photos_showing,
            other_meanings: meaning.others.iter().map(|sense| explained(sense)).collect(),
        },
    })
}

/// Similarities of words are likelihoods, and so are those of cosines: 1 less the distance.
pub(super) const METRIC: Metric = Metric::Cosine;

fn explained(sense: &Sense) -> String {
    match sense.words.first() {
        Some(word) => format!("{word}: {}", sense.gloss),
        None => sense.gloss.clone(),
    }
}

/// Lists words.
pub(super) fn list(words: &Words, prefix: &str) -> proto::ListWordsResponse {
    proto::ListWordsResponse {
        words: words.vocabulary.words(prefix).map(str::to_owned).collect(),
        total_size: words.vocabulary.words("").count() as u32,
    }
}

/// Says what an embedding's photo shows.
pub(super) fn describe(words: &Words, embedding: &[f32]) -> Result<proto::DescribePhotoResponse, Status> {
    if embedding.len() != words.head.dim() {
        let dim = words.head.dim();
        return Err(refuse::field("embedding", format_args!("must have {dim} numbers")));
    }
    let label = |(label, likelihood): (u16, f32)| {
        let word = words.vocabulary.label(label).unwrap_or_default().to_owned();
        proto::Label { word, likelihood }
    };
    Ok(proto::DescribePhotoResponse { labels: words.head.top_labels(embedding).iter().map(label).collect() })
}
