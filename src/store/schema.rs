//! The tables of the one redb file, and the version of their layout.
//!
//! A row belongs to a file `(root, path)`, to a photo (one content), or to a model:
//!
//! ```text
//! FILES       (root, path) -> FileRecord        fingerprint, and what became of it
//! FAILURES    (root, path) -> FailureRecord     why a file could not be indexed
//! PHOTO_FILES photo -> (root, path) ...         the files that hold a content; none: an orphan
//! PHOTOS      photo -> PhotoRecord              content hash, size, what the photo says of itself
//! CONTENTS    content hash -> photo
//! ORPHANS     photo -> second it lost its last file; its embeddings wait there for its return
//! VECTORS     (model, row) -> embeddings        of some photos each, see [`vectors`](super::vectors)
//! QUANTIZERS  model -> (version, quantizer of its codes, as the search writes it)
//! CODES       (model, version of the quantizer, photo) -> code; made again from the embeddings where missing
//! APPEARANCES photo -> AppearanceRow            what the whole picture looks like; missing until it was decoded for it
//! LABELS      (model, photo) -> its likeliest labels, as the words room writes them; made again from the embeddings
//! PAIRS       (model, photo, photo with a lower number) -> PairRecord, of those that look the same or were seen to be near
//! CANDIDATES  the same of those that are still to be looked at side by side
//! COMPARED    model -> which photos have been compared by which rule
//! DISTINCT    (content hash, greater content hash) told apart by the user, whatever the network says
//! MODELS      model digest -> ModelRecord
//! ROOTS       root -> RootRecord
//! INODES      inode -> (root, path) ...         to recognise a file that moved without reading it
//! COUNTS      root -> (searchable files, failures)
//! EVENTS      number -> EventRecord                what happened, the latest of it, see [`events`](super::events)
//! PLACES      (root, path of a volume in it) -> (whether it could be reached, where), as the events told it last
//! META        name -> number
//! ```

use redb::{Database, MultimapTableDefinition, TableDefinition};

use super::StoreError;

/// The layout that this code reads and writes. Raised with each change of a table or a row; an older file is migrated when
/// it is opened, a newer one refused. Tests hold it against rows and files of each version, see `rows_tests.rs`.
///
/// 1: rows as other rooms had them, embeddings as f32 one by one, redb's file as it is.
/// 2: rows of the store's own, embeddings as f16, a checksum for each block of the file.
pub(super) const SCHEMA_VERSION: u64 = 2;

/// Key of a file: root number and relative path.
pub(super) type FileKey = (u32, &'static [u8]);

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const ROOTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("roots");
pub(super) const MODELS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("models");
pub(super) const FILES: TableDefinition<'_, FileKey, &[u8]> = TableDefinition::new("files");
pub(super) const FAILURES: TableDefinition<'_, FileKey, &[u8]> = TableDefinition::new("failures");
pub(super) const PHOTOS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("photos");
pub(super) const CONTENTS: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("contents");
pub(super) const ORPHANS: TableDefinition<'_, u64, i64> = TableDefinition::new("orphans");
pub(super) const PHOTO_FILES: MultimapTableDefinition<'_, u64, FileKey> =
    MultimapTableDefinition::new("photo_files");
pub(super) const VECTORS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("vectors");
pub(super) const INODES: MultimapTableDefinition<'_, u64, FileKey> = MultimapTableDefinition::new("inodes");
pub(super) const COUNTS: TableDefinition<'_, u32, (u64, u64)> = TableDefinition::new("counts");

pub(super) const QUANTIZERS: TableDefinition<'_, u32, (u64, &[u8])> = TableDefinition::new("quantizers");
pub(super) const CODES: TableDefinition<'_, (u32, u64, u64), &[u8]> = TableDefinition::new("codes");

pub(super) const APPEARANCES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("appearances");
pub(super) const LABELS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("labels");

/// By the higher number, which is that of the newer photo: what is new comes at the end.
pub(super) const PAIRS: TableDefinition<'_, (u32, u64, u64), &[u8]> = TableDefinition::new("pairs");
pub(super) const CANDIDATES: TableDefinition<'_, (u32, u64, u64), &[u8]> = TableDefinition::new("candidates");
pub(super) const COMPARED: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("compared");
/// Those of version 2 that were made before there were events get both with their first one.
pub(super) const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
pub(super) const PLACES: TableDefinition<'_, FileKey, (bool, &[u8])> = TableDefinition::new("places");

pub(super) const DISTINCT: TableDefinition<'_, ([u8; 32], [u8; 32]), ()> = TableDefinition::new("distinct");

/// Keys of [`META`].
pub(super) const META_DECODER: &str = "decoder";
pub(super) const META_NEXT_PHOTO: &str = "next_photo";
pub(super) const META_NEXT_ROOT: &str = "next_root";
pub(super) const META_NEXT_MODEL: &str = "next_model";
pub(super) const META_NEXT_EVENT: &str = "next_event";
/// Photos purged since the file was last packed.
pub(super) const META_PURGED: &str = "purged";
/// When damage was last mended, in seconds since 1970, and how many files and photos were lost to it.
pub(super) const META_MENDED: &str = "mended";
pub(super) const META_LOST_FILES: &str = "lost_files";
pub(super) const META_LOST_PHOTOS: &str = "lost_photos";

/// Makes the tables of a new file.
pub(super) fn make_tables(db: &Database) -> Result<(), StoreError> {
    let mut transaction = db.begin_write()?;
    transaction.set_quick_repair(true);
    transaction.open_table(META)?;
    transaction.open_table(ROOTS)?;
    transaction.open_table(MODELS)?;
    transaction.open_table(FILES)?;
    transaction.open_table(FAILURES)?;
    transaction.open_table(PHOTOS)?;
    transaction.open_table(CONTENTS)?;
    transaction.open_table(ORPHANS)?;
    transaction.open_multimap_table(PHOTO_FILES)?;
    transaction.open_table(VECTORS)?;
    transaction.open_multimap_table(INODES)?;
    transaction.open_table(COUNTS)?;
    transaction.open_table(QUANTIZERS)?;
    transaction.open_table(CODES)?;
    transaction.open_table(APPEARANCES)?;
    transaction.open_table(LABELS)?;
    transaction.open_table(PAIRS)?;
    transaction.open_table(CANDIDATES)?;
    transaction.open_table(COMPARED)?;
    transaction.open_table(DISTINCT)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(PLACES)?;
    transaction.commit()?;
    Ok(())
}
