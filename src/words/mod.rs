//! Words: what a photo shows by the classifier that a network was trained with, and a word in, the photos that show it out.
//!
//! A classifier knows a thousand labels and no words. WordNet knows what stands above each label: a golden retriever is a dog,
//! a carnivore, an animal. A [`Vocabulary`] holds those words; a word becomes the [`Meaning`] with all labels below it, and a
//! photo shows it as likely as it shows one of those. A line of several words becomes [`Term`]s that all must hold. A [`Head`]
//! is the classifier, cut off the network: an embedding in, the likeliest [`TopLabels`] out. A [`LabelTable`] keeps them for all
//! photos in memory.
//!
//! Only the ten likeliest labels of a photo are kept, in 40 bytes: of all 1,000, a word at 100,000 photos would cost as much as
//! encoding a few hundred, of the embeddings that are in memory in short form nothing could be said exactly, and a photo whose
//! eleventh label is a word's only one does not show it anyway.

mod head;
mod phrase;
mod table;
mod vocabulary;

pub use head::Head;
pub use phrase::Term;
pub use table::{LabelTable, Labels, Shown, TopLabels, Wanted};
pub use vocabulary::{Meaning, Sense, Unknown, Vocabulary};

use crate::models::LabelSet;

/// What a network needs to answer words.
#[derive(Debug)]
pub struct Words {
    /// The classifier that was cut off it.
    pub head: Head,
    /// The words of its labels.
    pub vocabulary: &'static Vocabulary,
    /// What its photos show.
    pub labels: LabelTable,
}

impl Words {
    /// Puts them together. `None` where the classifier has another number of labels.
    pub fn new(head: Head, labels: LabelSet) -> Option<Self> {
        let vocabulary = Vocabulary::of(labels);
        let fits = vocabulary.labels() == head.labels();
        fits.then(|| Self { head, vocabulary, labels: LabelTable::default() })
    }
}

/// A photo shows a word where that is at least so likely. Measured by `models/evaluation/words.py` on 1,694 photos of 77 classes:
/// of the photos that are above it, 0.92 show one of 64 things asked for by name (MobileNetV2: 0.90), and of those that show it
/// 0.72 are above; of 27 broader words 0.93 and 0.84.
pub const SHOWN_FROM: f32 = 0.2;
