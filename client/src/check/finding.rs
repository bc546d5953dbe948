//! Where a file stands: what `check` says of it, in a word for scripts and with all that it knows.

use resembled_api::proto;
use serde_json::{Map, Value, json};

use super::walk::NoPhoto;
use crate::{output, search};

/// Where a file stands.
pub(super) enum Finding {
    /// Another file of the index holds the same bytes now; the photo's first file.
    Copy(proto::Photo),
    /// One did when its drive was last seen.
    CopyOffline(proto::Photo),
    /// The index knows this very file, and no other with its bytes.
    Only(Vec<proto::File>),
    /// No file holds the same bytes; this is the nearest photo, if one is in the band `SAME` or `NEAR`.
    Missing(Option<Near>),
    /// No file does, and it is no picture that could be compared.
    NotComparable(String),
    /// It is none of what `check` is about.
    NoPhoto(NoPhoto),
    Unreadable(String),
}

/// A photo that is near a file.
pub(super) struct Near {
    pub(super) band: proto::Band,
    pub(super) photo: proto::Photo,
    /// What was seen when both were looked at side by side, for people and for programs.
    pub(super) seen: Option<String>,
    pub(super) second_look: Map<String, Value>,
}

impl Finding {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Copy(_) => "copy",
            Self::CopyOffline(_) => "copy-offline",
            Self::Only(_) => "only",
            Self::Missing(Some(near)) => search::band(near.band).unwrap_or("new"),
            Self::Missing(None) => "new",
            Self::NotComparable(_) => "other",
            Self::NoPhoto(_) => "no-photo",
            Self::Unreadable(_) => "unreadable",
        }
    }

    pub(super) fn photo(&self) -> Option<&proto::Photo> {
        match self {
            Self::Copy(photo) | Self::CopyOffline(photo) | Self::Missing(Some(Near { photo, .. })) => {
                Some(photo)
            }
            Self::Only(_)
            | Self::Missing(None)
            | Self::NotComparable(_)
            | Self::NoPhoto(_)
            | Self::Unreadable(_) => None,
        }
    }

    pub(super) fn seen(&self) -> Option<&str> {
        match self {
            Self::Missing(Some(near)) => near.seen.as_deref(),
            _ => None,
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::NotComparable(reason) | Self::Unreadable(reason) => Some(reason),
            Self::NoPhoto(why) => Some(why.reason()),
            _ => None,
        }
    }

    /// Says whether it must not be thrown away: `None` where it is not a photo.
    pub(super) fn is_missing(&self, trust_offline: bool) -> Option<bool> {
        match self {
            Self::Copy(_) => Some(false),
            Self::CopyOffline(_) => Some(!trust_offline),
            Self::NoPhoto(_) => None,
            Self::Only(_) | Self::Missing(_) | Self::NotComparable(_) | Self::Unreadable(_) => Some(true),
        }
    }

    /// Returns what a script may want of the file.
    pub(super) fn json(&self, file: &[u8]) -> Map<String, Value> {
        let mut object = Map::new();
        output::put_path(&mut object, file);
        object.extend(output::object(json!({ "state": self.word() })));
        if let Some(reason) = self.reason() {
            object.extend(output::object(json!({ "reason": reason })));
        }
        if let Some(photo) = self.photo() {
            object.extend(output::object(json!({ "photo": search::photo_json(photo) })));
        }
        if let Self::Missing(Some(near)) = self {
            object.extend(near.second_look.clone());
        }
        if let Self::Only(files) = self {
            let files: Vec<_> = files.iter().map(output::file_json).collect();
            object.extend(output::object(json!({ "indexed_as": files })));
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_must_not_be_thrown_away_but_where_a_copy_is_seen_or_trusted() {
        let check = |finding: Finding, expected: [Option<bool>; 2]| {
            let word = finding.word();
            assert_eq!([false, true].map(|trusting| finding.is_missing(trusting)), expected, "{word}");
        };
        check(Finding::Copy(Default::default()), [Some(false); 2]);
        check(Finding::CopyOffline(Default::default()), [Some(true), Some(false)]);
        check(Finding::Only(Vec::new()), [Some(true); 2]);
        check(Finding::Missing(None), [Some(true); 2]);
        check(Finding::NotComparable("damaged".into()), [Some(true); 2]);
        check(Finding::Unreadable("damaged".into()), [Some(true); 2]);
        check(Finding::NoPhoto(NoPhoto::OtherContent), [None; 2]);
    }
}
