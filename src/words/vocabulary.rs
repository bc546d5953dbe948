//! The words of a classifier: a word in, its meanings and the labels below them out.
//!
//! The table is made from WordNet by `scripts/make_wordnet_table.py`, whose head says what is in it; that of broad words is made
//! of it by `models/training/classifier.py`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use super::table::Labels;
use crate::models::LabelSet;

/// Words above the 1,000 classes of ImageNet.
const IMAGENET: &[u8] = include_bytes!("wordnet.tsv.gz");

/// Words above groups of them.
const BROAD: &[u8] = include_bytes!("broad.tsv.gz");

/// Other words named to who asks for one that is not known.
const SUGGESTED: usize = 5;

/// All words of one set of labels.
#[derive(Debug)]
pub struct Vocabulary {
    senses: Vec<Sense>,
    /// By word in small letters: rank of the meaning, the everyday one first, and its number.
    by_word: BTreeMap<String, Vec<(u8, usize)>>,
    /// Irregular plurals.
    singulars: HashMap<String, String>,
    /// Words that no label stands for, and the meaning that comes nearest.
    strangers: HashMap<String, usize>,
    /// By label, the number of its meaning.
    by_label: Vec<usize>,
    /// Parts of the longest word, as spaces part them.
    longest: usize,
}

/// A meaning that several words may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    /// The words, the usual one first.
    pub words: Vec<String>,
    /// What it is.
    pub gloss: String,
    /// The labels that are it, or a kind of it.
    pub labels: Labels,
}

/// What a word stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// The word as it is in the vocabulary.
    pub word: &'a str,
    /// Its everyday meaning.
    pub sense: &'a Sense,
    /// Other meanings of the same word.
    pub others: Vec<&'a Sense>,
}

/// A word that the labels know nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown<'a> {
    /// The word as it was asked for.
    pub word: String,
    /// The meaning above it that the labels know something of: of a giraffe, that of a ruminant.
    pub kind: Option<&'a Sense>,
    /// Words of the vocabulary that are written alike, or are a part of what was asked.
    pub nearest: Vec<String>,
    /// Words of the vocabulary.
    pub words: usize,
}

impl Vocabulary {
    /// Returns the words of these labels.
    pub fn of(labels: LabelSet) -> &'static Self {
        static IMAGENET_1K: OnceLock<Vocabulary> = OnceLock::new();
        static IMAGENET_BROAD: OnceLock<Vocabulary> = OnceLock::new();
        let (words, packed) = match labels {
            LabelSet::ImageNet1k => (&IMAGENET_1K, IMAGENET),
            LabelSet::ImageNetBroad => (&IMAGENET_BROAD, BROAD),
        };
        words.get_or_init(|| {
            let mut text = String::new();
            let unpacked = GzDecoder::new(packed).read_to_string(&mut text);
            unpacked.ok().and_then(|_| Self::parse(&text)).expect("a test reads the built-in table")
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (table, rest) = text.split_once("\n\n")?;
        let (plurals, strangers) = rest.split_once("\n\n")?;
        let (mut senses, mut parents, mut labels) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut by_word: BTreeMap<String, Vec<(u8, usize)>> = BTreeMap::new();
        for (number, line) in table.lines().enumerate() {
            let [above, classes, gloss, words] = *line.split('\t').collect::<Vec<_>>() else { return None };
            let above: Option<Vec<usize>> =
                above.split_whitespace().map(|parent| parent.parse().ok()).collect();
            parents.push(above.filter(|above| above.iter().all(|&parent| parent < number))?);
            let mut below = Labels::default();
            for label in classes.split_whitespace() {
                let label: u16 = label.parse().ok()?;
                below.insert(label);
                labels.insert(label, number);
            }
            let mut named = Vec::new();
            for word in words.split('|') {
                let (word, rank) = word.rsplit_once('=')?;
                let rank = rank.parse().ok()?;
                by_word.entry(word.to_lowercase()).or_default().push((rank, number));
                if !named.contains(&word.to_owned()) {
                    named.push(word.to_owned());
                }
            }
            senses.push(Sense { words: named, gloss: gloss.to_owned(), labels: below });
        }
        // Parents stand before their children, so that from the end each is whole when it is added to its parents.
        for number in (0..senses.len()).rev() {
            let below = senses[number].labels.clone();
            parents[number].iter().for_each(|&parent| senses[parent].labels.extend(&below));
        }
        for ranked in by_word.values_mut() {
            ranked.sort_unstable();
            let together = ranked.partition_point(|(rank, _)| *rank == 0);
            if together > 1 {
                let mut all = senses[ranked[0].1].clone();
                ranked[1..together].iter().for_each(|&(_, other)| all.labels.extend(&senses[other].labels));
                ranked.splice(..together, [(0, senses.len())]);
                senses.push(all);
            }
        }
        let singulars = plurals.lines().filter_map(|line| line.split_once('\t'));
        let singulars = singulars.map(|(plural, word)| (plural.to_owned(), word.to_owned())).collect();
        let strangers: Option<HashMap<String, usize>> = strangers
            .lines()
            .map(|line| {
                let (word, number) = line.split_once('\t')?;
                Some((word.to_owned(), number.parse().ok().filter(|number| *number < parents.len())?))
            })
            .collect();
        let strangers = strangers?;
        let by_label: Vec<usize> = labels.values().copied().collect();
        let is_whole = labels.keys().copied().eq(0..labels.len() as u16);
        let longest = by_word.keys().map(|word| word.split(' ').count()).max()?;
        is_whole.then_some(Self { senses, by_word, singulars, strangers, by_label, longest })
    }

    /// Returns what a word stands for; capitals, plurals, hyphens and underscores do not matter.
    ///
    /// # Errors
    ///
    /// [`Unknown`] where it is no word of this vocabulary.
    pub fn find(&self, text: &str) -> Result<Meaning<'_>, Unknown<'_>> {
        self.meaning(text).ok_or_else(|| self.unknown(text.trim()))
    }

    /// The same, without looking for other words where it is not known.
    pub(super) fn meaning(&self, text: &str) -> Option<Meaning<'_>> {
        // Some words of WordNet have a hyphen of their own.
        let written = text.trim().to_lowercase();
        let plain = written.replace(['_', '-'], " ");
        let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        let known = self.by_word.get_key_value(written.as_str());
        let (word, ranked) = known.or_else(|| {
            let forms = self.forms(&plain);
            forms.iter().find_map(|form| self.by_word.get_key_value(form.as_str()))
        })?;
        let mut senses = ranked.iter().map(|&(_, number)| &self.senses[number]).collect::<Vec<_>>();
        let sense = senses.remove(0);
        senses.retain(|other| *other != sense);
        Some(Meaning { word, sense, others: senses })
    }

    /// Returns the answer to who asks for a word that is not known.
    pub(super) fn unknown(&self, word: &str) -> Unknown<'_> {
        let plain = word.to_lowercase();
        let forms = self.forms(&plain);
        let kind = forms.iter().find_map(|form| self.strangers.get(form.as_str()));
        let kind = kind.map(|&number| &self.senses[number]);
        Unknown { word: word.to_owned(), kind, nearest: self.nearest(&plain), words: self.by_word.len() }
    }

    /// Returns of how many parts the longest word is.
    pub(super) fn longest_word(&self) -> usize {
        self.longest
    }

    /// Returns the word itself, and what it may be the plural of.
    fn forms(&self, word: &str) -> Vec<String> {
        let mut forms = vec![word.to_owned()];
        forms.extend(self.singulars.get(word).cloned());
        let endings = [
            ("ies", "y"),
            ("ses", "s"),
            ("xes", "x"),
            ("zes", "z"),
            ("ches", "ch"),
            ("shes", "sh"),
            ("men", "man"),
            ("s", ""),
        ];
        for (plural, singular) in endings {
            forms.extend(word.strip_suffix(plural).map(|stem| format!("{stem}{singular}")));
        }
        forms
    }

    /// Returns words that were perhaps meant: parts of what was asked, and words with a letter or two changed.
    fn nearest(&self, text: &str) -> Vec<String> {
        let mut nearest: Vec<String> = Vec::new();
        for part in text.split(' ').filter(|part| part.len() > 2 && text.contains(' ')) {
            nearest.extend(self.forms(part).into_iter().find(|form| self.by_word.contains_key(form)));
        }
        let length = text.chars().count();
        let most = match length {
            0..=2 => 0,
            3..=6 => 1,
            _ => 2,
        };
        let mut alike: Vec<(usize, &String)> = self
            .by_word
            .keys()
            .filter(|word| word.chars().count().abs_diff(length) <= most)
            .map(|word| (edits(text, word), word))
            .filter(|(edits, _)| *edits <= most)
            .collect();
        alike.sort_unstable();
        nearest.extend(alike.into_iter().map(|(_, word)| word.clone()));
        nearest.dedup();
        nearest.truncate(SUGGESTED);
        nearest
    }

    /// Returns the usual word for a label.
    pub fn label(&self, label: u16) -> Option<&str> {
        let number = *self.by_label.get(usize::from(label))?;
        self.senses[number].words.first().map(String::as_str)
    }

    /// Returns how many words there are.
    pub fn len(&self) -> usize {
        self.by_word.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_word.is_empty()
    }

    /// Returns how many labels it has words for.
    pub fn labels(&self) -> usize {
        self.by_label.len()
    }

    /// Returns all words that begin with `prefix`, in small letters, in order.
    pub fn words<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a str> {
        let prefix = prefix.to_lowercase();
        self.by_word
            .range(prefix.clone()..)
            .map(|(word, _)| word.as_str())
            .take_while(move |word| word.starts_with(&prefix))
    }
}

/// Letters that must be changed, added or left out.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, &b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imagenet() -> &'static Vocabulary {
        Vocabulary::of(LabelSet::ImageNet1k)
    }

    #[test]
    fn the_table_is_whole() {
        let vocabulary = imagenet();
        assert_eq!(
            (vocabulary.senses.len(), vocabulary.by_word.len(), vocabulary.labels()),
            (1875, 3212, 1000)
        );
        assert_eq!(vocabulary.senses[0].labels.len(), 1000, "everything is an entity");
        assert_eq!(vocabulary.label(0), Some("tench"));
        assert_eq!(vocabulary.label(999), Some("toilet tissue"));
        assert_eq!(vocabulary.label(1000), None);
    }

    #[test]
    fn broad_words_are_those_of_the_groups_and_others_have_a_nearest_kind() {
        let broad = Vocabulary::of(LabelSet::ImageNetBroad);
        assert_eq!((broad.by_word.len(), broad.labels()), (142, 77));
        let labels = |word: &str| &broad.find(word).unwrap().sense.labels;
        assert_eq!(labels("entity").len(), 77);
        assert!(labels("dogs").iter().all(|label| labels("animal").contains(label)));
        assert!(labels("dog").iter().all(|label| !labels("vehicle").contains(label)));
        // Each word is one of the whole vocabulary too.
        assert!(broad.words("").all(|word| imagenet().find(word).is_ok()));
        for (word, kind) in [("dalmatian", Some("dog")), ("puma", Some("wildcat")), ("sunset", None)] {
            let unknown = broad.find(word).unwrap_err();
            assert_eq!(unknown.kind.map(|kind| kind.words[0].as_str()), kind, "{word}");
        }
    }

    #[test]
    fn a_word_has_the_labels_of_all_that_is_a_kind_of_it() {
        let labels = |word: &str| imagenet().find(word).unwrap().sense.labels.len();
        assert_eq!(labels("dog"), 118);
        assert_eq!(labels("golden retriever"), 1);
        assert!(labels("animal") > 390);
        let dalmatian = &imagenet().find("dalmatian").unwrap().sense.labels;
        assert!(
            (0..1000).any(|label| dalmatian.contains(label) && imagenet().label(label) == Some("dalmatian"))
        );
    }

    #[test]
    fn plurals_capitals_and_hyphens_do_not_matter() {
        let dog = imagenet().find("dog").unwrap();
        for written in ["dogs", "Dog", " DOGS "] {
            assert_eq!(imagenet().find(written).unwrap().sense, dog.sense, "{written}");
        }
        for (plural, word) in [
            ("mice", "mouse"),
            ("buses", "bus"),
            ("butterflies", "butterfly"),
            ("wolves", "wolf"),
            ("churches", "church"),
        ] {
            assert_eq!(imagenet().find(plural).unwrap().word, word);
        }
        assert_eq!(imagenet().find("golf-ball").unwrap().word, "golf ball");
        assert_eq!(imagenet().find("electric_guitar").unwrap().word, "electric guitar");
    }

    #[test]
    fn the_everyday_meaning_comes_first_and_others_are_named() {
        let cat = imagenet().find("cat").unwrap();
        assert!(cat.sense.words.contains(&"domestic cat".to_owned()), "{:?}", cat.sense);
        let lions = cat.others.iter().any(|other| other.words.contains(&"big cat".to_owned()));
        assert!(lions, "{:?}", cat.others);
        // Two meanings that nobody tells apart are meant together.
        let lamp = imagenet().find("lamp").unwrap();
        assert!(lamp.sense.labels.contains(846) && lamp.sense.labels.contains(470), "{lamp:?}");
        assert!(lamp.others.is_empty());
        // What the photos of a class show counts, not what the class was named after.
        let cup = imagenet().find("cup").unwrap();
        assert!(cup.sense.gloss.contains("open container"), "{cup:?}");
        assert!(imagenet().find("crockery").unwrap().sense.labels.contains(968));
        assert_eq!(imagenet().find("sunglasses").unwrap().sense.labels.len(), 2);
        let crane = imagenet().find("crane").unwrap();
        assert!(!crane.others.is_empty(), "a bird and a machine");
    }

    #[test]
    fn what_is_not_known_is_said_and_what_is_near_is_named() {
        for word in
            ["beach ball party", "sunset", "wedding", "selfie", "birthday", "helicopter", "sunflower", ""]
        {
            let unknown = imagenet().find(word).unwrap_err();
            assert_eq!(unknown.words, 3212, "{word}");
        }
        let kind = |word: &str| imagenet().find(word).unwrap_err().kind.map(|kind| kind.words[0].clone());
        assert_eq!(kind("giraffes").as_deref(), Some("ruminant"));
        assert_eq!(kind("sunset"), None);
        assert!(imagenet().find("dalmation").unwrap_err().nearest.contains(&"dalmatian".to_owned()));
        assert_eq!(imagenet().find("dog on grass").unwrap_err().nearest[0], "dog");
    }

    #[test]
    fn words_are_listed_by_what_they_begin_with() {
        let found: Vec<&str> = imagenet().words("Dalm").collect();
        assert_eq!(found, ["dalmatian"]);
        assert_eq!(imagenet().words("").count(), 3212);
    }
}
