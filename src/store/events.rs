//! What happened to files and folders, numbered, and written in the transaction of the change itself.
//!
//! Invariant: whoever applies all events to a list of files has what the store has. So each change of what a file holds is
//! one event, found by comparing the file's row before and after; the number of an event is one more than that of the one before.
//!
//! Only the latest [`KEPT`] are kept. A new log begins with a number that is made of the time, so that it is greater than any of
//! a former one: who goes on after an event of an index that was lost is told so, and never given others for it.

use std::collections::HashMap;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::batch::Batch;
use super::reader::Reader;
use super::record::{EventRecord, FileState, Happened, PhotoRecord, RootRecord};
use super::rows::{Record, from_bytes, to_bytes};
use super::schema::{EVENTS, META, META_NEXT_EVENT, PLACES, ROOTS};
use crate::photo::{ContentHash, FileId, PhotoId, RelativePath, RootId};

/// Events that are kept: some 200 bytes each.
pub(super) const KEPT: u64 = 100_000;

/// Numbers that a second has room for, where a log begins. A log that grows faster than that all its life is none.
const NUMBERS_A_SECOND: u64 = 1_000;

/// The number with which a log begins that is made at this second.
pub(super) fn first_number(now: i64) -> u64 {
    u64::try_from(now).unwrap_or(0).saturating_mul(NUMBERS_A_SECOND).max(1)
}

/// What a batch has to tell.
#[derive(Default)]
pub(super) struct Telling {
    events: Vec<EventRecord>,
    /// Where roots are, as far as it was asked for.
    roots: HashMap<RootId, Vec<u8>>,
}

impl Batch<'_> {
    fn tell(&mut self, path: Vec<u8>, happened: Happened) {
        let at = self.now;
        self.telling.events.push(EventRecord { at, path, happened });
    }

    /// Tells what became of a file that was in another state before, if it is.
    pub(super) fn tell_of(&mut self, file: &FileId, before: Option<FileState>) -> Result<(), StoreError> {
        let after = self.state(file)?;
        let happened = match (before, after) {
            (before, after) if before == after => return Ok(()),
            (Some(FileState::Photo(before)), Some(FileState::Photo(photo))) => {
                Happened::Changed { content: self.content_of(photo)?, before: self.content_of(before)? }
            }
            (_, Some(FileState::Photo(photo))) => Happened::Added { content: self.content_of(photo)? },
            (Some(FileState::Photo(before)), _) => {
                Happened::Removed { content: Some(self.content_of(before)?) }
            }
            (Some(FileState::Failed), _) => Happened::Removed { content: None },
            _ => return Ok(()),
        };
        let path = self.path_of(file)?;
        self.tell(path, happened);
        Ok(())
    }

    /// Tells that a file could not be indexed.
    pub(super) fn tell_failed(
        &mut self,
        file: &FileId,
        before: Option<FileState>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let before = match before {
            Some(FileState::Photo(photo)) => Some(self.content_of(photo)?),
            _ => None,
        };
        let path = self.path_of(file)?;
        self.tell(path, Happened::Failed { reason: reason.to_owned(), before });
        Ok(())
    }

    /// Tells that what was known at one path is at another one now.
    pub(super) fn tell_moved(
        &mut self,
        from: &FileId,
        to: &FileId,
        state: FileState,
    ) -> Result<(), StoreError> {
        let content = match state {
            FileState::Photo(photo) => Some(self.content_of(photo)?),
            FileState::Failed => None,
            FileState::NotAPhoto => return Ok(()),
        };
        let (from, to) = (self.path_of(from)?, self.path_of(to)?);
        self.tell(to, Happened::Moved { content, from });
        Ok(())
    }

    /// Tells that a folder is not watched any more, while it still is.
    pub(super) fn tell_unwatched(&mut self, root: RootId) -> Result<(), StoreError> {
        let path = self.root_path(root)?.to_vec();
        self.tell(path, Happened::Unwatched);
        self.telling.roots.remove(&root);
        let places = (root.0, &[][..])..(root.0 + 1, &[][..]);
        self.transaction.open_table(PLACES)?.retain_in(places, |_, _| false)?;
        Ok(())
    }

    /// Writes down whether a folder, or a volume mounted in one, can be reached, and where, and tells it if that is news.
    pub(super) fn put_place(
        &mut self,
        root: RootId,
        at: &RelativePath,
        path: &Path,
        is_online: bool,
    ) -> Result<(), StoreError> {
        let (key, path) = ((root.0, at.as_bytes()), path.as_os_str().as_bytes());
        let mut places = self.transaction.open_table(PLACES)?;
        let before = places.get(key)?.map(|row| (row.value().0, row.value().1.to_vec()));
        let is_known = before.is_some();
        let (was_online, was_at) = before.unwrap_or_else(|| (true, path.to_vec()));
        if !was_online && !is_online {
            // Where it was when it went is what its return is compared with.
            return Ok(());
        }
        if !is_known || (was_online, was_at.as_slice()) != (is_online, path) {
            places.insert(key, (is_online, path))?;
        }
        drop(places);
        if at.as_bytes().is_empty() {
            self.telling.roots.insert(root, path.to_vec());
        }
        match (was_online, is_online) {
            (_, false) => self.tell(path.to_vec(), Happened::Offline),
            (true, true) if was_at == path => {}
            (_, true) => {
                let from = (was_at != path).then_some(was_at);
                self.tell(path.to_vec(), Happened::Online { from });
            }
        }
        Ok(())
    }

    fn content_of(&self, photo: PhotoId) -> Result<ContentHash, StoreError> {
        let row = self.photos.get(photo.0)?.ok_or(StoreError::Damaged { what: "the photo of a file" })?;
        Ok(from_bytes::<PhotoRecord>(row.value())?.content)
    }

    fn path_of(&mut self, file: &FileId) -> Result<Vec<u8>, StoreError> {
        Ok([self.root_path(file.root)?, b"/", file.path.as_bytes()].concat())
    }

    /// Where a root was seen last.
    fn root_path(&mut self, root: RootId) -> Result<&[u8], StoreError> {
        if !self.telling.roots.contains_key(&root) {
            let places = self.transaction.open_table(PLACES)?;
            let seen = places.get((root.0, &[][..]))?.map(|row| row.value().1.to_vec());
            let path = match seen {
                Some(path) => path,
                None => match self.transaction.open_table(ROOTS)?.get(root.0)? {
                    Some(row) => {
                        let RootRecord { path, seen_at, .. } = from_bytes(row.value())?;
                        seen_at.unwrap_or(path)
                    }
                    None => Vec::new(),
                },
            };
            self.telling.roots.insert(root, path);
        }
        Ok(&self.telling.roots[&root])
    }
}

impl Telling {
    /// Writes the events down, and drops those that are too old. Returns the number of the last one, where there is one.
    pub(super) fn keep(self, transaction: &WriteTransaction, now: i64) -> Result<Option<u64>, StoreError> {
        let mut meta = transaction.open_table(META)?;
        let known = meta.get(META_NEXT_EVENT)?.map(|number| number.value());
        if known.is_some() && self.events.is_empty() {
            return Ok(None);
        }
        let mut next = known.unwrap_or_else(|| first_number(now));
        let mut events = transaction.open_table(EVENTS)?;
        for event in &self.events {
            events.insert(next, to_bytes(event)?.as_slice())?;
            next += 1;
        }
        meta.insert(META_NEXT_EVENT, next)?;
        let oldest = next.saturating_sub(KEPT);
        if events.first()?.is_some_and(|(first, _)| first.value() < oldest) {
            events.retain_in(..oldest, |_, _| false)?;
        }
        Ok((!self.events.is_empty()).then(|| next - 1))
    }
}

impl Reader {
    /// Returns the number of the last event; 0 where no log was begun.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        let meta = self.transaction().open_table(META)?;
        Ok(meta.get(META_NEXT_EVENT)?.map_or(0, |next| next.value() - 1))
    }

    /// Returns up to `most` events with numbers after `after`, up to `until`, in their order; after 0 come all that are kept.
    /// `None`: some of those after it are not kept, or there never was such an event.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn events(
        &self,
        after: u64,
        until: u64,
        most: usize,
    ) -> Result<Option<Vec<(u64, EventRecord)>>, StoreError> {
        let last = self.last_event()?;
        let Some(events) = self.table(EVENTS)? else {
            return Ok((after == 0 || after == last).then(Vec::new));
        };
        let first = events.first()?.map_or(last + 1, |(number, _)| number.value());
        if after != 0 && !(first - 1..=last).contains(&after) {
            return Ok(None);
        }
        let rows = events.range::<u64>((Bound::Excluded(after), Bound::Included(until.max(after))))?;
        let read = rows.take(most).map(|row| {
            let (number, row) = row?;
            Ok((number.value(), from_bytes(row.value())?))
        });
        read.collect::<Result<_, StoreError>>().map(Some)
    }

    /// Returns where the folders and the volumes mounted in them were when that was told last, and whether they were there.
    ///
    /// # Errors
    /// The store cannot be read, or the disk has damaged what is asked for.
    pub fn places(&self) -> Result<Vec<(RootId, RelativePath, bool)>, StoreError> {
        let Some(places) = self.table(PLACES)? else { return Ok(Vec::new()) };
        let rows = places.iter()?.map(|row| {
            let (key, row) = row?;
            let (root, at) = key.value();
            Ok((RootId(root), RelativePath::from_bytes(at.to_vec()), row.value().0))
        });
        rows.collect()
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct EventRow {
    at: i64,
    path: Vec<u8>,
    happened: HappenedRow,
}

#[derive(Serialize, Deserialize)]
enum HappenedRow {
    Added { content: [u8; 32] },
    Changed { content: [u8; 32], before: [u8; 32] },
    Moved { content: Option<[u8; 32]>, from: Vec<u8> },
    Removed { content: Option<[u8; 32]> },
    Failed { reason: String, before: Option<[u8; 32]> },
    Offline,
    Online { from: Option<Vec<u8>> },
    Unwatched,
}

impl Record for EventRecord {
    type Row = EventRow;
    const NAME: &'static str = "an event";

    fn row(&self) -> EventRow {
        let bytes = |content: Option<ContentHash>| content.map(|content| content.0);
        let happened = match self.happened.clone() {
            Happened::Added { content } => HappenedRow::Added { content: content.0 },
            Happened::Changed { content, before } => {
                HappenedRow::Changed { content: content.0, before: before.0 }
            }
            Happened::Moved { content, from } => HappenedRow::Moved { content: bytes(content), from },
            Happened::Removed { content } => HappenedRow::Removed { content: bytes(content) },
            Happened::Failed { reason, before } => HappenedRow::Failed { reason, before: bytes(before) },
            Happened::Offline => HappenedRow::Offline,
            Happened::Online { from } => HappenedRow::Online { from },
            Happened::Unwatched => HappenedRow::Unwatched,
        };
        EventRow { at: self.at, path: self.path.clone(), happened }
    }

    fn from_row(row: EventRow) -> Option<Self> {
        let hash = |content: Option<[u8; 32]>| content.map(ContentHash);
        let happened = match row.happened {
            HappenedRow::Added { content } => Happened::Added { content: ContentHash(content) },
            HappenedRow::Changed { content, before } => {
                Happened::Changed { content: ContentHash(content), before: ContentHash(before) }
            }
            HappenedRow::Moved { content, from } => Happened::Moved { content: hash(content), from },
            HappenedRow::Removed { content } => Happened::Removed { content: hash(content) },
            HappenedRow::Failed { reason, before } => Happened::Failed { reason, before: hash(before) },
            HappenedRow::Offline => Happened::Offline,
            HappenedRow::Online { from } => Happened::Online { from },
            HappenedRow::Unwatched => Happened::Unwatched,
        };
        Some(Self { at: row.at, path: row.path, happened })
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
