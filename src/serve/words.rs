//! Words: what they stand for, which photos show them, and what a picture shows.

use std::sync::Arc;

use tonic::{Code, Status};

use super::query::Line;
use super::refuse::Reason;
use super::{Served, refuse};
use crate::models::LabelSet;
use crate::photo::{Metric, PhotoId};
use crate::proto;
use crate::search::{Neighbor, PhotoSet};
use crate::words::{Labels, Meaning, SHOWN_FROM, Sense, Term, Unknown, Vocabulary, Wanted, Words};

/// The longest text that is looked up.
pub(super) const MAX_TEXT_BYTES: usize = 200;

/// Kinds of a thing that are named.
const NAMED_KINDS: usize = 5;

/// Similarities of words are likelihoods, and so are those of cosines: 1 less the distance.
pub(super) const METRIC: Metric = Metric::Cosine;

/// What words were taken for, and how many photos show it.
pub(super) struct Spoken {
    words: Arc<Words>,
    wanted: Wanted,
    pub(super) meanings: Vec<proto::WordMeaning>,
    pub(super) photos_showing: u64,
}

/// Returns what answers words, or says what to do where the network knows none.
pub(super) fn of(served: &Served) -> Result<&Arc<Words>, Status> {
    served.words.as_ref().ok_or_else(|| {
        let name = &served.model.name;
        if served.text.is_some() {
            return refuse::because(Code::FailedPrecondition, Reason::NoWords, format!(
                "the network {name} takes any text, so it has no list of words, and names nothing that it sees"
            ));
        }
        refuse::because(Code::FailedPrecondition, Reason::NoWords, format!(
            "the network {} knows no words: `resembled models pull` gets one that does, and a restart of the daemon takes it",
            name
        ))
    })
}

impl Spoken {
    /// Looks words up. `None` where there are none.
    pub(super) fn of(served: &Served, lines: &[Line]) -> Result<Option<Self>, Status> {
        if lines.is_empty() {
            return Ok(None);
        }
        let words = Arc::clone(of(served)?);
        let (mut wanted, mut meanings) = (Wanted::default(), Vec::new());
        let mut number = 0;
        for Line { text, is_disliked } in lines {
            if text.trim().is_empty() || text.len() > MAX_TEXT_BYTES {
                return Err(refuse::field("text", format_args!("must be 1 to {MAX_TEXT_BYTES} bytes")));
            }
            let terms =
                words.vocabulary.read(text).map_err(|unknown| not_known(words.vocabulary, &unknown))?;
            if *is_disliked && (terms.len() > 1 || terms[0].is_excluded) {
                let problem = format_args!("\"{text}\" is disliked, so it must be one thing");
                return Err(refuse::field("text", problem));
            }
            for term in &terms {
                let is_excluded = term.is_excluded || *is_disliked;
                match is_excluded {
                    true => wanted.none.extend(&term.labels()),
                    false => wanted.all.push(term.labels()),
                }
                meanings.extend(explained(words.vocabulary, term, is_excluded, number));
                number += 1;
            }
        }
        Ok(Some(Self { words, wanted, meanings, photos_showing: 0 }))
    }

    /// Whether there is something that photos shall show.
    pub(super) fn wants_something(&self) -> bool {
        !self.wanted.all.is_empty()
    }

    /// Returns photos by how little likely they show it: all that are within `max_distance`, or where that is not given,
    /// likely enough. Only photos of `among` are looked at, where it is given.
    pub(super) fn search(&mut self, max_distance: Option<f32>, among: Option<&PhotoSet>) -> Vec<Neighbor> {
        let from = max_distance.map_or(SHOWN_FROM, |distance| 1.0 - distance);
        let mut shown = self.words.labels.showing(&self.wanted, from.min(SHOWN_FROM), among);
        self.photos_showing = shown.iter().filter(|shown| shown.likely >= SHOWN_FROM).count() as u64;
        shown.retain(|shown| shown.likely >= from);
        shown.iter().map(|shown| Neighbor { id: shown.photo, distance: 1.0 - shown.likely }).collect()
    }

    /// Returns the photos that show it, for a search by something else.
    pub(super) fn photos(&mut self, among: Option<&PhotoSet>) -> PhotoSet {
        let shown = self.words.labels.showing(&self.wanted, SHOWN_FROM, among);
        self.photos_showing = shown.len() as u64;
        shown.into_iter().map(|shown| shown.photo).collect()
    }

    /// Returns how many photos it is known of what they show.
    pub(super) fn photos_known(&self) -> usize {
        self.words.labels.len()
    }

    /// Returns, of each thing that is shown, the label that speaks for this photo.
    pub(super) fn labels(&self, photo: PhotoId) -> Vec<String> {
        let Some(top) = self.words.labels.get(photo) else { return Vec::new() };
        let label = |labels: &Labels| {
            let label = top.likeliest_of(labels).and_then(|label| self.words.vocabulary.label(label));
            label.unwrap_or_default().to_owned()
        };
        self.wanted.all.iter().map(label).collect()
    }
}

fn not_known(vocabulary: &Vocabulary, Unknown { word, kind, nearest, words }: &Unknown<'_>) -> Status {
    let mut told = format!("\"{word}\" is not among the {words} words of this network");
    if let Some(kind) = kind {
        let kinds: Vec<&str> =
            kind.labels.iter().filter_map(|label| vocabulary.label(label)).take(NAMED_KINDS).collect();
        let more = if kind.labels.len() > kinds.len() { ", ..." } else { "" };
        told += &format!("; the nearest kind of thing is: {} ({}{more})", kind.words[0], kinds.join(", "));
    }
    if !nearest.is_empty() {
        told += &format!("; written alike: {}", nearest.join(", "));
    }
    let most = Vocabulary::of(LabelSet::ImageNet1k).len();
    told += &match *words < most {
        true => format!("; `resemble words` lists them, and `resembled models pull` gets a network that knows {most}"),
        false => "; `resemble words` lists them, and `resembled models pull clip_vit_b32_256` gets a network that takes any text"
            .to_owned(),
    };
    refuse::because(Code::NotFound, Reason::UnknownWord, told)
}

fn explained<'a>(
    vocabulary: &'a Vocabulary,
    term: &'a Term<'_>,
    excluded: bool,
    number: u32,
) -> impl Iterator<Item = proto::WordMeaning> + 'a {
    term.meanings.iter().map(move |Meaning { word, sense, others }| {
        let kinds = sense.labels.iter().filter_map(|label| vocabulary.label(label));
        proto::WordMeaning {
            word: (*word).to_owned(),
            gloss: sense.gloss.clone(),
            labels: sense.labels.len() as u32,
            kinds: kinds.take(NAMED_KINDS).map(str::to_owned).collect(),
            other_meanings: others.iter().map(|sense| in_words(sense)).collect(),
            excluded,
            term: number,
        }
    })
}

fn in_words(sense: &Sense) -> String {
    match sense.words.first() {
        Some(word) => format!("{word}: {}", sense.gloss),
        None => sense.gloss.clone(),
    }
}

/// Lists words.
pub(super) fn list(words: &Words, prefix: &str) -> proto::ListWordsResponse {
    proto::ListWordsResponse {
        words: words.vocabulary.words(prefix).map(str::to_owned).collect(),
        total_size: words.vocabulary.len() as u32,
    }
}

/// Says what an embedding's photo shows.
pub(super) fn describe(
    words: &Words,
    embedding: &[f32],
    model_digest: String,
) -> Result<proto::DescribePhotoResponse, Status> {
    if embedding.len() != words.head.dim() {
        let dim = words.head.dim();
        return Err(refuse::field("embedding", format_args!("must have {dim} numbers")));
    }
    let label = |(label, likelihood): (u16, f32)| {
        let word = words.vocabulary.label(label).unwrap_or_default().to_owned();
        proto::Label { word, likelihood }
    };
    let labels = words.head.top_labels(embedding).iter().map(label).collect();
    Ok(proto::DescribePhotoResponse { labels, model_digest })
}
