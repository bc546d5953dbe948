//! A new file from an old one: how a store is migrated, mended after damage, packed after it has shrunk, backed up and restored.
//!
//! Only what others are derived from is copied: folders, marks, networks, photos, embeddings, files. Which photo has which
//! files, which content is which photo and what is counted is made again, so that nothing derived can be wrong. What cannot
//! be read is left out: a file that the new store does not know is found by the comparison with the disk and read again.
//!
//! The old file is not touched. Rows are written in transactions of a fixed size, so memory stays small however large
//! the file is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use redb::{Database, ReadableMultimapTable, ReadableTable, TableDefinition, WriteTransaction};

use super::decisions::Decided;
use super::record::{FailureRecord, FileRecord, FileState, ModelRecord, PhotoRecord, RootRecord};
use super::rows::{Record, from_bytes, to_bytes};
use super::schema::{
    APPEARANCES, CANDIDATES, CODES, COMPARED, CONTENTS, COUNTS, DISTINCT, EVENTS, FAILURES, FILES, INODES,
    LABELS, META, META_DECODER, META_LOST_FILES, META_LOST_PHOTOS, META_MENDED, META_NEXT_EVENT,
    META_NEXT_MODEL, META_NEXT_PHOTO, META_NEXT_ROOT, MODELS, ORPHANS, PAIRS, PHOTO_FILES, PHOTOS, PLACES,
    QUANTIZERS, ROOTS, VECTORS,
};
use super::source::Source;
use super::vectors::{self, Row};
use super::{StoreError, events, version1};
use crate::appearance::Appearance;
use crate::photo::{ContentHash, PhotoId};

/// Bytes in a transaction, about.
const AT_ONCE: usize = 4 << 20;

/// How often it is said how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// What is copied, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From nothing: a new store.
    New,
    /// From a sound file of version 1.
    Version1,
    /// No more than folders and marks, from a file of version 1 that is damaged: it has no checksums that say which of its
    /// rows can be believed.
    DamagedVersion1,
    /// From a file of this version that may be damaged.
    Mend,
    /// All of a sound file of this version, what the search keeps for its next start included.
    Pack,
    /// The same of a backup, which knows nothing of what was told since it was made.
    Restore,
}

/// What a copy came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Watched folders.
    pub folders: u64,
    /// Pairs that the user told apart.
    pub marks: u64,
    /// Photos.
    pub photos: u64,
    /// Files that are known.
    pub files: u64,
    /// Files that were known before and are not any more, as far as that could be read.
    pub lost_files: u64,
    /// The same of photos.
    pub lost_photos: u64,
}

/// Fills a new file, all tables of which are there and empty, from an old one. `decided` is the other copy of the
/// user's decisions: what one copy lacks the other one gives. `now` is in seconds since 1970.
pub(super) fn fill(
    to: &Database,
    from: &mut Source,
    kind: Kind,
    decided: &Decided,
    now: i64,
) -> Result<Rebuilt, StoreError> {
    let mut to = Target { db: to, transaction: None, bytes: 0, said: Instant::now() };
    let (folders, read) = folders(from, &mut to, kind, decided)?;
    let marks = marks(from, &mut to, decided)?;
    let mut rebuilt = Rebuilt { folders, marks, ..Rebuilt::default() };
    if kind != Kind::DamagedVersion1 {
        numbers(from, &mut to, kind)?;
        let dims = models(from, &mut to)?;
        (rebuilt.photos, rebuilt.lost_photos) = photos(from, &mut to)?;
        appearances(from, &mut to)?;
        match kind {
            Kind::Version1 => embeddings_of_version1(from, &mut to, &dims)?,
            _ => embeddings(from, &mut to, &dims)?,
        }
        (rebuilt.files, rebuilt.lost_files) = files(from, &mut to, &read)?;
        orphans(from, &mut to, now)?;
    }
    if matches!(kind, Kind::Pack | Kind::Restore) {
        caches(from, &mut to)?;
    }
    events(from, &mut to, kind, now)?;
    if matches!(kind, Kind::Mend | Kind::DamagedVersion1) {
        to.insert(META, META_MENDED, u64::try_from(now).unwrap_or(0))?;
        to.insert(META, META_LOST_FILES, rebuilt.lost_files)?;
        to.insert(META, META_LOST_PHOTOS, rebuilt.lost_photos)?;
    }
    to.commit()?;
    Ok(rebuilt)
}

/// The file that is filled.
struct Target<'a> {
    db: &'a Database,
    transaction: Option<WriteTransaction>,
    /// Written in this transaction.
    bytes: usize,
    said: Instant,
}

impl Target<'_> {
    fn transaction(&mut self) -> Result<&WriteTransaction, StoreError> {
        if self.bytes > AT_ONCE {
            self.commit()?;
        }
        if self.transaction.is_none() {
            let mut transaction = self.db.begin_write()?;
            transaction.set_quick_repair(true);
            self.transaction = Some(transaction);
        }
        Ok(self.transaction.as_ref().expect("it was begun above"))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        self.transaction.take().map_or(Ok(()), |transaction| Ok(transaction.commit()?))
    }

    fn insert<'k, K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
        key: K::SelfType<'k>,
        value: V::SelfType<'k>,
    ) -> Result<(), StoreError> {
        self.bytes += V::as_bytes(&value).as_ref().len() + 64;
        self.transaction()?.open_table(table)?.insert(key, value)?;
        Ok(())
    }

    fn insert_record<'k, K: redb::Key + 'static>(
        &mut self,
        table: TableDefinition<'static, K, &'static [u8]>,
        key: K::SelfType<'k>,
        record: &impl Record,
    ) -> Result<(), StoreError> {
        let bytes = to_bytes(record)?;
        self.bytes += bytes.len() + 64;
        self.transaction()?.open_table(table)?.insert(key, bytes.as_slice())?;
        Ok(())
    }

    /// Raises one of the numbers that are never given twice.
    fn raise(&mut self, name: &str, least: u64) -> Result<(), StoreError> {
        let known = self.transaction()?.open_table(META)?.get(name)?.map_or(0, |number| number.value());
        if known < least { self.insert(META, name, least) } else { Ok(()) }
    }

    /// Says from time to time how far it is: a store of a million photos takes minutes.
    fn say(&mut self, what: &str, done: u64, all: u64) {
        if self.said.elapsed() > SAY_EVERY {
            self.said = Instant::now();
            tracing::info!("{done} of {all} {what} are copied");
        }
    }
}

/// Reads a record. One that is none was written by nobody and is left out.
fn record<R: Record>(bytes: &[u8]) -> Option<R> {
    from_bytes(bytes).inspect_err(|error| tracing::warn!("{error}; it is left out")).ok()
}

/// Returns how many folders there are now, and the numbers of those that could be read: a folder that only the other copy
/// knows gets a number anew, which may be that of one that was lost, whose files are none of its own.
fn folders(
    from: &mut Source,
    to: &mut Target<'_>,
    kind: Kind,
    decided: &Decided,
) -> Result<(u64, BTreeSet<u32>), StoreError> {
    let mut roots: BTreeMap<u32, RootRecord> = BTreeMap::new();
    from.each(ROOTS, None, &mut |id, bytes| {
        let root = match kind {
            Kind::Version1 | Kind::DamagedVersion1 => version1::root(bytes).ok(),
            Kind::New | Kind::Mend | Kind::Pack | Kind::Restore => record(bytes),
        };
        roots.extend(root.map(|root| (id, root)));
        Ok(())
    })?;
    let read = roots.keys().copied().collect();
    let mut next = roots.last_key_value().map_or(1, |(&id, _)| id + 1);
    for path in &decided.folders {
        match roots.values_mut().find(|root| root.path == *path) {
            Some(root) => root.kept = true,
            None => {
                roots.insert(next, RootRecord::new(path.clone(), true));
                next += 1;
            }
        }
    }
    for (&id, root) in &roots {
        to.insert_record(ROOTS, id, root)?;
    }
    to.raise(META_NEXT_ROOT, u64::from(next))?;
    Ok((roots.len() as u64, read))
}

fn marks(from: &mut Source, to: &mut Target<'_>, decided: &Decided) -> Result<u64, StoreError> {
    let mut apart = decided.apart.clone();
    from.each(DISTINCT, None, &mut |(one, other), ()| {
        apart.insert((ContentHash(one), ContentHash(other)));
        Ok(())
    })?;
    for (one, other) in &apart {
        to.insert(DISTINCT, (one.0, other.0), ())?;
    }
    Ok(apart.len() as u64)
}

/// Numbers that are never given twice, and who decoded last. Those that cannot be read follow from the rows.
fn numbers(from: &mut Source, to: &mut Target<'_>, kind: Kind) -> Result<(), StoreError> {
    const KEPT: [&str; 7] = [
        META_DECODER,
        META_NEXT_PHOTO,
        META_NEXT_ROOT,
        META_NEXT_MODEL,
        // What a former mending said, until the next one.
        META_MENDED,
        META_LOST_FILES,
        META_LOST_PHOTOS,
    ];
    from.each(META, None, &mut |name, number| {
        let is_kept = KEPT.contains(&name) || (name == META_NEXT_EVENT && kind == Kind::Pack);
        if is_kept { to.raise(name, number) } else { Ok(()) }
    })
}

/// Copies the networks; returns how many numbers an embedding of each has.
fn models(from: &mut Source, to: &mut Target<'_>) -> Result<BTreeMap<u32, usize>, StoreError> {
    let mut dims = BTreeMap::new();
    from.each(MODELS, None, &mut |digest, bytes| {
        let Some(model) = record::<ModelRecord>(bytes) else { return Ok(()) };
        dims.insert(model.id, model.dim as usize);
        to.insert_record(MODELS, digest, &model)?;
        to.raise(META_NEXT_MODEL, u64::from(model.id) + 1)
    })?;
    Ok(dims)
}

/// Returns how many there are now, and how many were lost.
fn photos(from: &mut Source, to: &mut Target<'_>) -> Result<(u64, u64), StoreError> {
    let (all, mut copied, mut newest) = (from.len(PHOTOS), 0, 0);
    from.each(PHOTOS, Some(after_photo), &mut |id, bytes| {
        let Some(photo) = record::<PhotoRecord>(bytes) else { return Ok(()) };
        (copied, newest) = (copied + 1, id);
        to.say("photos", copied, all);
        to.insert(CONTENTS, photo.content.0, id)?;
        to.insert_record(PHOTOS, id, &photo)
    })?;
    to.raise(META_NEXT_PHOTO, newest + 1)?;
    Ok((copied, all.saturating_sub(copied)))
}

/// Those that are lost are looked at again.
fn appearances(from: &mut Source, to: &mut Target<'_>) -> Result<(), StoreError> {
    from.each(APPEARANCES, Some(after_photo), &mut |photo, bytes| {
        let Some(seen) = record::<Appearance>(bytes) else { return Ok(()) };
        match has_photo(to, photo)? {
            true => to.insert_record(APPEARANCES, photo, &seen),
            false => Ok(()),
        }
    })
}

/// One embedding each becomes a row of several. They come in the order of their photos.
fn embeddings_of_version1(
    from: &mut Source,
    to: &mut Target<'_>,
    dims: &BTreeMap<u32, usize>,
) -> Result<(), StoreError> {
    let (all, mut done) = (from.len(version1::EMBEDDINGS), 0);
    let mut filling: Option<((u32, u64), Vec<u8>)> = None;
    from.each(version1::EMBEDDINGS, Some(after_row), &mut |(model, photo), bytes| {
        done += 1;
        to.say("embeddings", done, all);
        let Some(&dim) = dims.get(&model) else { return Ok(()) };
        if !has_photo(to, photo)? {
            return Ok(());
        }
        let embedding = version1::embedding(bytes, dim)?;
        let (number, place) = vectors::place(PhotoId(photo), vectors::photos_in_row(dim));
        let key = (model, number);
        let before = match filling.take() {
            Some((at, row)) if at == key => Some(row),
            Some((at, row)) => {
                to.insert(VECTORS, at, row.as_slice())?;
                None
            }
            None => None,
        };
        let row = before.as_deref().map(|bytes| Row::parse(bytes, dim)).transpose()?;
        filling = Some((key, vectors::put(row, place, &embedding.0)));
        Ok(())
    })?;
    filling.map_or(Ok(()), |(at, row)| to.insert(VECTORS, at, row.as_slice()))
}

fn embeddings(from: &mut Source, to: &mut Target<'_>, dims: &BTreeMap<u32, usize>) -> Result<(), StoreError> {
    let (all, mut done) = (from.len(VECTORS), 0);
    from.each(VECTORS, Some(after_row), &mut |(model, number), bytes| {
        done += 1;
        to.say("rows of embeddings", done, all);
        let Some(&dim) = dims.get(&model) else { return Ok(()) };
        let in_row = vectors::photos_in_row(dim);
        let mut kept = bytes.to_vec();
        for place in Row::parse(bytes, dim)?.places() {
            if !has_photo(to, number * in_row + u64::from(place))? {
                match vectors::remove(&Row::parse(&kept, dim)?, place) {
                    Some(rest) => kept = rest,
                    None => return Ok(()),
                }
            }
        }
        to.insert(VECTORS, (model, number), kept.as_slice())
    })
}

fn has_photo(to: &mut Target<'_>, photo: u64) -> Result<bool, StoreError> {
    Ok(to.transaction()?.open_table(PHOTOS)?.get(photo)?.is_some())
}

/// Copies files and all that follows from them. Returns how many are known now, and how many were lost.
fn files(from: &mut Source, to: &mut Target<'_>, roots: &BTreeSet<u32>) -> Result<(u64, u64), StoreError> {
    let mut failures = BTreeMap::new();
    from.each(FAILURES, None, &mut |(root, path), bytes| {
        failures.extend(record::<FailureRecord>(bytes).map(|failure| ((root, path.to_vec()), failure)));
        Ok(())
    })?;
    let (all, mut copied) = (from.len(FILES), 0);
    let mut counts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    from.each(FILES, None, &mut |(root, path), bytes| {
        let Some(file) = record::<FileRecord>(bytes) else { return Ok(()) };
        if !roots.contains(&root) {
            return Ok(());
        }
        let (photos, failed) = counts.entry(root).or_default();
        match file.state {
            FileState::Photo(photo) => {
                if !has_photo(to, photo.0)? {
                    return Ok(());
                }
                *photos += 1;
                to.transaction()?.open_multimap_table(PHOTO_FILES)?.insert(photo.0, (root, path))?;
            }
            FileState::Failed => {
                let Some(failure) = failures.remove(&(root, path.to_vec())) else { return Ok(()) };
                *failed += 1;
                to.insert_record(FAILURES, (root, path), &failure)?;
            }
            FileState::NotAPhoto => {}
        }
        copied += 1;
        to.say("files", copied, all);
        to.transaction()?.open_multimap_table(INODES)?.insert(file.fingerprint.inode, (root, path))?;
        to.insert_record(FILES, (root, path), &file)
    })?;
    for (root, count) in counts {
        to.insert(COUNTS, root, count)?;
    }
    Ok((copied, all.saturating_sub(copied)))
}

/// Finds the photos without a file. They have been so since the second that is known, or since now.
fn orphans(from: &mut Source, to: &mut Target<'_>, now: i64) -> Result<(), StoreError> {
    let mut since = BTreeMap::new();
    from.each(ORPHANS, Some(after_photo), &mut |photo, second| {
        since.insert(photo, second);
        Ok(())
    })?;
    let mut orphans = Vec::new();
    {
        let transaction = to.transaction()?;
        let photo_files = transaction.open_multimap_table(PHOTO_FILES)?;
        for row in transaction.open_table(PHOTOS)?.iter()? {
            let photo = row?.0.value();
            if photo_files.get(photo)?.is_empty() {
                orphans.push(photo);
            }
        }
    }
    orphans
        .into_iter()
        .try_for_each(|photo| to.insert(ORPHANS, photo, since.get(&photo).copied().unwrap_or(now)))
}

/// A whole log goes on. Where something was lost, or has gone back to what it was, what is told next does not follow on what was told
/// before: a new log begins, and whoever followed the old one is told to begin anew.
fn events(from: &mut Source, to: &mut Target<'_>, kind: Kind, now: i64) -> Result<(), StoreError> {
    if kind == Kind::Pack {
        from.each(EVENTS, None, &mut |number, event| to.insert(EVENTS, number, event))?;
        return from.each(PLACES, None, &mut |key, place| to.insert(PLACES, key, place));
    }
    let mut next = events::first_number(now);
    from.each(META, None, &mut |name, number| {
        if name == META_NEXT_EVENT {
            next = next.max(number + 1);
        }
        Ok(())
    })?;
    to.insert(META, META_NEXT_EVENT, next)
}

/// What the search keeps for its next start.
fn caches(from: &mut Source, to: &mut Target<'_>) -> Result<(), StoreError> {
    from.each(QUANTIZERS, None, &mut |model, quantizer| to.insert(QUANTIZERS, model, quantizer))?;
    // A row of a photo that is lost would be taken for the next one's with its number.
    from.each(CODES, None, &mut |key, code| match has_photo(to, key.2)? {
        true => to.insert(CODES, key, code),
        false => Ok(()),
    })?;
    from.each(LABELS, None, &mut |key, labels| match has_photo(to, key.1)? {
        true => to.insert(LABELS, key, labels),
        false => Ok(()),
    })?;
    from.each(COMPARED, None, &mut |model, compared| to.insert(COMPARED, model, compared))?;
    for table in [PAIRS, CANDIDATES] {
        from.each(table, None, &mut |key, pair| match has_photo(to, key.1)? && has_photo(to, key.2)? {
            true => to.insert(table, key, pair),
            false => Ok(()),
        })?;
    }
    Ok(())
}

/// The key of a photo some way behind another one, as redb has integers: little endian.
fn after_photo(key: &[u8], step: u64) -> Option<Vec<u8>> {
    let photo = key.try_into().map_or(0, u64::from_le_bytes);
    photo.checked_add(step).map(|photo| photo.to_le_bytes().to_vec())
}

/// The same of a model and a row or photo of it.
fn after_row(key: &[u8], step: u64) -> Option<Vec<u8>> {
    // More networks than anybody uses, and more photos than anybody has.
    const MODELS: u32 = 1 << 6;
    const ROWS: u64 = 1 << 40;
    let (model, row) =
        key.split_first_chunk().map_or((0, &[][..]), |(model, row)| (u32::from_le_bytes(*model), row));
    let row = row.try_into().map_or(0, u64::from_le_bytes).saturating_add(step);
    let (model, row) = if row < ROWS { (model, row) } else { (model + 1, 0) };
    (model < MODELS).then(|| [&model.to_le_bytes()[..], &row.to_le_bytes()].concat())
}
