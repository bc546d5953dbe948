//! Several words in one line: `dog and cat`, `dog or wolf`, `dog without leash`, `golden retriever`.
//!
//! What is a word of the vocabulary as a whole is that word. Otherwise the line is read from left to right, and the longest
//! run that is a word of the vocabulary is taken each time, so that quotes and connectives may be left out.

use super::table::Labels;
use super::vocabulary::{Meaning, Unknown, Vocabulary};

/// Words of a line at the most, whatever they mean.
const MOST: usize = 60;

/// Between words that shall all be shown.
const AND: [&str; 10] = ["and", "with", "in", "on", "at", "near", "by", "beside", "under", "but"];
/// Before a word that shall not be shown.
const NOT: [&str; 3] = ["not", "without", "no"];
/// Of no meaning.
const EMPTY: [&str; 4] = ["a", "an", "the", "some"];

/// One thing that shall be shown, or not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term<'a> {
    /// The words that stand for it, any of which will do; at least one.
    pub meanings: Vec<Meaning<'a>>,
    /// Whether photos that show it are not meant.
    pub is_excluded: bool,
}

impl Term<'_> {
    /// Returns the labels that are it.
    pub fn labels(&self) -> Labels {
        let mut labels = Labels::default();
        self.meanings.iter().for_each(|meaning| labels.extend(&meaning.sense.labels));
        labels
    }
}

impl Vocabulary {
    /// Reads a line of words. There is at least one term in it.
    ///
    /// # Errors
    ///
    /// [`Unknown`] where a part of it is no word of this vocabulary.
    pub fn read(&self, line: &str) -> Result<Vec<Term<'_>>, Unknown<'_>> {
        if let Some(meaning) = self.meaning(line) {
            return Ok(vec![Term { meanings: vec![meaning], is_excluded: false }]);
        }
        let spaced = line.replace([',', '+', '&'], " and ").replace(" -", " not ").to_lowercase();
        let parts: Vec<&str> = spaced.split_whitespace().take(MOST).collect();
        let mut terms: Vec<Term<'_>> = Vec::new();
        let (mut is_excluded, mut is_other) = (false, false);
        let mut rest = parts.as_slice();
        while let Some((&part, behind)) = rest.split_first() {
            if let Some((meaning, taken)) = self.longest(rest) {
                match terms.last_mut().filter(|_| is_other) {
                    Some(term) => term.meanings.push(meaning),
                    None => terms.push(Term { meanings: vec![meaning], is_excluded }),
                }
                (is_excluded, is_other) = (false, false);
                rest = &rest[taken..];
                continue;
            }
            match part {
                _ if NOT.contains(&part) => (is_excluded, is_other) = (true, false),
                "or" => is_other = true,
                _ if AND.contains(&part) || EMPTY.contains(&part) => {}
                _ => return Err(self.unknown(&unknown_part(rest))),
            }
            rest = behind;
        }
        if terms.is_empty() { Err(self.unknown(line.trim())) } else { Ok(terms) }
    }

    /// Returns the longest word that begins here, and of how many parts it is.
    fn longest<'a>(&'a self, parts: &[&str]) -> Option<(Meaning<'a>, usize)> {
        let most = parts.len().min(self.longest_word());
        (1..=most).rev().find_map(|taken| Some((self.meaning(&parts[..taken].join(" "))?, taken)))
    }
}

/// Returns what is not known: all up to the next connective.
fn unknown_part(parts: &[&str]) -> String {
    let is_connective = |part: &&&str| AND.contains(part) || NOT.contains(part) || **part == "or";
    parts.iter().take_while(|part| !is_connective(part)).copied().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::LabelSet;

    /// Words that stand for one thing are joined by `|`; what is not meant begins with `!`.
    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let vocabulary = Vocabulary::of(LabelSet::ImageNet1k);
        let found: Vec<String> = vocabulary
            .read(line)
            .unwrap_or_else(|unknown| panic!("{line}: {unknown:?}"))
            .iter()
            .map(|term| {
                let words: Vec<&str> = term.meanings.iter().map(|meaning| meaning.word).collect();
                format!("{}{}", if term.is_excluded { "!" } else { "" }, words.join("|"))
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn several_words_are_read_with_and_without_connectives() {
        check("dog", &["dog"]);
        check("Golden Retriever", &["golden retriever"]);
        check("dog and cats", &["dog", "cat"]);
        check("dog, cat", &["dog", "cat"]);
        check("dog cat", &["dog", "cat"]);
        check("golden retriever tennis ball", &["golden retriever", "tennis ball"]);
        check("dog or wolf and no sleds", &["dog|wolf", "!sled"]);
        check("bird without cock", &["bird", "!cock"]);
        check("a dog with a ball", &["dog", "ball"]);
        check("dog but not dalmatian", &["dog", "!dalmatian"]);
        check("dog -dalmatian", &["dog", "!dalmatian"]);
        check("not dog", &["!dog"]);
    }

    #[test]
    fn connectives_within_a_word_are_of_that_word() {
        let vocabulary = Vocabulary::of(LabelSet::ImageNet1k);
        let odd: Vec<&str> =
            vocabulary.words("").filter(|word| word.contains(" and ") || word.contains("-in-")).collect();
        assert!(!odd.is_empty());
        for word in odd {
            check(word, &[word]);
        }
    }

    #[test]
    fn every_word_is_found_as_it_is_listed() {
        let vocabulary = Vocabulary::of(LabelSet::ImageNet1k);
        for word in vocabulary.words("") {
            check(word, &[word]);
        }
    }

    #[test]
    fn the_part_that_is_not_known_is_said() {
        let vocabulary = Vocabulary::of(LabelSet::ImageNet1k);
        let part = |line: &str| vocabulary.read(line).unwrap_err().word;
        assert_eq!(part("dog on a sunny shore"), "sunny shore");
        assert_eq!(part("selfie"), "selfie");
        assert_eq!(part("dog and selfie or wolf"), "selfie");
        assert_eq!(part("and the"), "and the");
        assert_eq!(part("  "), "");
    }
}
