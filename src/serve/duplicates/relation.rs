//! What the photos of a group are to its first one, as far as that is known.
//!
//! All pixels tell more than the whole picture, and that more than places found in both.

use super::super::convert;
use crate::appearance::{Appearance, Turn};
use crate::photo::PhotoId;
use crate::proto;
use crate::proto::RelationKind as Kind;
use crate::store::{Appearances, ModelRecord, PairRecord, Reader, Seen, Standing, Store, StoreError};
use crate::verify::Verdict;

/// Looks relations up.
pub(super) struct Relations<'a> {
    model: &'a ModelRecord,
    reader: Reader,
    looks: Appearances,
}

impl<'a> Relations<'a> {
    pub(super) fn of(store: &Store, model: &'a ModelRecord) -> Result<Self, StoreError> {
        let reader = store.read()?;
        Ok(Self { model, looks: reader.appearances()?, reader })
    }

    /// Says what each photo but the first is to the first.
    pub(super) fn of_group(&self, photos: &[proto::Photo]) -> Result<Vec<proto::Relation>, StoreError> {
        let Some((first, others)) = photos.split_first() else { return Ok(Vec::new()) };
        let first = self.photo(first)?;
        others
            .iter()
            .map(|other| match (first, self.photo(other)?) {
                (Some(first), Some(other)) => self.of_pair(first, other),
                // Gone meanwhile.
                _ => Ok(proto::Relation::default()),
            })
            .collect()
    }

    fn photo(&self, photo: &proto::Photo) -> Result<Option<PhotoId>, StoreError> {
        let content = convert::parse_photo_name("photos", &photo.name);
        content.map_or(Ok(None), |content| self.reader.photo_with(content))
    }

    fn of_pair(&self, first: PhotoId, other: PhotoId) -> Result<proto::Relation, StoreError> {
        let looks = (self.looks.get(first)?, self.looks.get(other)?);
        if let (Some(first), Some(other)) = &looks
            && let Some(relation) = by_looks(first, other)
        {
            return Ok(relation);
        }
        let pair = self.reader.pair(self.model, first, other)?;
        Ok(match pair.map(|pair| pair.record) {
            Some(PairRecord { standing: Standing::Seen(seen), .. }) => by_features(seen, first < other),
            Some(_) => kind(Kind::Near),
            None => proto::Relation::default(),
        })
    }
}

fn kind(kind: Kind) -> proto::Relation {
    proto::Relation { kind: kind.into(), ..Default::default() }
}

/// `None` where they do not look the same as a whole.
fn by_looks(first: &Appearance, other: &Appearance) -> Option<proto::Relation> {
    let (kind, turn) = match first.turn_to(other) {
        _ if first.pixels.is_some() && first.pixels == other.pixels => (Kind::Pixels, Turn::Upright),
        Some(turn) if first.has_other_colours_than(other) => (Kind::Colours, turn),
        Some(turn) => (Kind::Copy, turn),
        None => return None,
    };
    let turn = match turn {
        Turn::Upright => proto::Turn::Upright,
        Turn::Mirrored => proto::Turn::Mirrored,
        Turn::UpsideDown => proto::Turn::UpsideDown,
        Turn::Flipped => proto::Turn::Flipped,
        Turn::Right => proto::Turn::Right,
        Turn::Left => proto::Turn::Left,
        Turn::Transposed => proto::Turn::Transposed,
        Turn::Transversed => proto::Turn::Transversed,
    };
    Some(proto::Relation { kind: kind.into(), turn: turn.into(), ..Default::default() })
}

/// `is_in_order`: the first of the group is the first of the pair, too.
fn by_features(seen: Seen, is_in_order: bool) -> proto::Relation {
    let Seen { verdict, probability, shared, quarter_turns } = seen;
    let is_mirrored = verdict == Verdict::Mirrored;
    let [of_first, of_other] = if is_in_order { shared } else { [shared[1], shared[0]] };
    // Mirroring and then turning is undone by the same: only turns have another way back.
    let quarters = if is_in_order || is_mirrored { quarter_turns } else { (4 - quarter_turns) % 4 };
    let turn = match (is_mirrored, quarters) {
        (false, 0) => proto::Turn::Upright,
        (false, 1) => proto::Turn::Right,
        (false, 2) => proto::Turn::UpsideDown,
        (false, _) => proto::Turn::Left,
        (true, 0) => proto::Turn::Mirrored,
        (true, 1) => proto::Turn::Transversed,
        (true, 2) => proto::Turn::Flipped,
        (true, _) => proto::Turn::Transposed,
    };
    let kind = match verdict {
        Verdict::Copy => Kind::Copy,
        Verdict::Edit => Kind::Edit,
        Verdict::Turned => Kind::Turned,
        Verdict::Mirrored => Kind::Mirrored,
        Verdict::AnotherShot => Kind::AnotherShot,
        Verdict::Different => Kind::Near,
    };
    proto::Relation {
        kind: kind.into(),
        turn: turn.into(),
        probability,
        share_of_this: of_other,
        share_of_other: of_first,
    }
}
