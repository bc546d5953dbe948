//! How many files stand where: the last line of `check`, and its exit code.

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::Finding;
use super::walk::NoPhoto;
use crate::Answer;
use crate::output::counted;

/// Kinds of files that are named one by one.
const MAX_KINDS: usize = 6;

/// Counts of what was found.
#[derive(Debug, Default)]
pub(super) struct Summary {
    copies: u64,
    offline: u64,
    without: u64,
    unreadable: u64,
    /// Files that are no photos, by what they are.
    others: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn count(&mut self, file: &Path, finding: &Finding) {
        match finding {
            Finding::Copy(_) => self.copies += 1,
            Finding::CopyOffline(_) => self.offline += 1,
            Finding::Only(_) | Finding::Missing(_) | Finding::NotComparable(_) => self.without += 1,
            Finding::Unreadable(_) => self.unreadable += 1,
            Finding::NoPhoto(why) => *self.others.entry(kind(file, *why)).or_default() += 1,
        }
    }

    /// Returns [`Answer::Found`] where there is a copy of each photo. What could not be read may be anything.
    pub(super) fn answer(&self, trust_offline: bool) -> Answer {
        let is_missing = self.without > 0 || self.offline > 0 && !trust_offline;
        match (self.unreadable, is_missing) {
            (1.., _) => Answer::Incomplete,
            (0, true) => Answer::Nothing,
            (0, false) => Answer::Found,
        }
    }

    pub(super) fn text(&self) -> String {
        let photos = self.copies + self.offline + self.without;
        let mut text = format!("{}: {} with a copy", counted(photos, "photo"), self.copies);
        if self.offline > 0 {
            text.push_str(&format!(", {} with one on a drive that is away or does not answer", self.offline));
        }
        text.push_str(&format!(", {} without", self.without));
        if !self.others.is_empty() {
            text.push_str(&format!("; not compared, since they are no photos: {}", self.others()));
        }
        if self.unreadable > 0 {
            text.push_str(&format!("; {} could not be read", counted(self.unreadable, "file")));
        }
        text
    }

    /// Names the most frequent kinds.
    fn others(&self) -> String {
        let mut kinds: Vec<(&String, &u64)> = self.others.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut named: Vec<String> =
            kinds.iter().take(MAX_KINDS).map(|(kind, count)| format!("{count} {kind}")).collect();
        let rest: u64 = kinds.iter().skip(MAX_KINDS).map(|(_, count)| **count).sum();
        if rest > 0 {
            named.push(format!("{rest} others"));
        }
        named.join(", ")
    }
}

fn kind(file: &Path, why: NoPhoto) -> String {
    match why {
        NoPhoto::LeftOut => "in trash and system folders".to_owned(),
        NoPhoto::NoFile => "links and devices".to_owned(),
        NoPhoto::OtherContent => match file.extension().and_then(|extension| extension.to_str()) {
            Some(extension) if extension.chars().all(char::is_alphanumeric) => {
                format!(".{}", extension.to_lowercase())
            }
            _ => "without an extension".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(findings: &[(&str, Finding)]) -> Summary {
        let mut summary = Summary::default();
        findings.iter().for_each(|(file, finding)| summary.count(Path::new(file), finding));
        summary
    }

    #[test]
    fn the_exit_code_is_of_photos_and_what_could_not_be_read_outweighs_all() {
        let copy = || ("a.jpg", Finding::Copy(Default::default()));
        let offline = || ("b.jpg", Finding::CopyOffline(Default::default()));
        let film = || ("c.MOV", Finding::NoPhoto(NoPhoto::OtherContent));
        let only = || ("d.jpg", Finding::Only(Vec::new()));
        let unreadable = || ("e.jpg", Finding::Unreadable("broken".into()));
        let check = |findings: &[(&str, Finding)], trusting, expected| {
            assert_eq!(summary(findings).answer(trusting), expected);
        };
        check(&[], false, Answer::Found);
        check(&[copy(), film()], false, Answer::Found);
        check(&[copy(), offline()], false, Answer::Nothing);
        check(&[copy(), offline()], true, Answer::Found);
        check(&[copy(), only()], true, Answer::Nothing);
        check(&[copy(), only(), unreadable()], true, Answer::Incomplete);
        let text = summary(&[copy(), film(), film(), unreadable()]).text();
        assert_eq!(
            text,
            "1 photo: 1 with a copy, 0 without; not compared, since they are no photos: 2 .mov; 1 file could not be read"
        );
    }
}
