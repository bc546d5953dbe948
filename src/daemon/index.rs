//! From the store to what the search has in memory, at the start.
//!
//! Invariant: nothing here is needed to search rightly. Codes that are missing, damaged or of another quantizer are made
//! again from the embeddings.

use std::sync::Arc;
use std::thread;

use super::error::DaemonError;
use crate::photo::PhotoId;
use crate::search::{Code, FactTable, Facts, Index, Quantizer, Vectors, VectorsError};
use crate::store::{ModelRecord, Reader, Store, StoreError};

/// Embeddings handed to the index at a time.
const LOAD_BATCH: usize = 1024;

/// The embeddings of one network in the store.
struct StoredVectors {
    store: Arc<Store>,
    model: ModelRecord,
}

impl Vectors for StoredVectors {
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        Ok(self.store.read()?.embeddings(&self.model, ids, visit)?)
    }
}

/// Which codes the store has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Of this quantizer, if of any.
    pub(super) version: Option<u64>,
    /// Up to this photo.
    pub(super) newest: Option<PhotoId>,
}

/// What a search needs.
pub(super) struct Loaded {
    pub(super) index: Index,
    pub(super) facts: FactTable,
    pub(super) written: Written,
}

/// Reads what a search needs of the store: codes, or for a small library the embeddings, and facts.
pub(super) fn load(
    store: &Arc<Store>,
    model: &ModelRecord,
    max_full_vectors: usize,
) -> Result<Loaded, DaemonError> {
    let reader = store.read()?;
    // Two tables that are read from one end to the other, each on a core of its own.
    thread::scope(|scope| {
        let facts = scope.spawn(|| load_facts(&reader));
        let (index, written) = load_index(store, model, &reader, max_full_vectors)?;
        let facts = facts.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Loaded { index, facts: FactTable::new(facts), written })
    })
}

fn load_facts(reader: &Reader) -> Result<Facts, StoreError> {
    let mut facts = Facts::default();
    reader.each_photo(|photo, record, files| facts.set(photo, &record.info, files))?;
    Ok(facts)
}

/// Reads what a search by one network needs.
pub(super) fn load_index(
    store: &Arc<Store>,
    model: &ModelRecord,
    reader: &Reader,
    max_full_vectors: usize,
) -> Result<(Index, Written), DaemonError> {
    let vectors: Arc<dyn Vectors> =
        Arc::new(StoredVectors { store: Arc::clone(store), model: model.clone() });
    match valid_quantizer(reader, model)? {
        Some((version, quantizer)) => restore(reader, model, version, quantizer, vectors),
        None => {
            let index = Index::over(model.dim as usize, vectors).with_max_full_vectors(max_full_vectors);
            read_embeddings(reader, model, &index)?;
            Ok((index, Written::default()))
        }
    }
}

fn valid_quantizer(
    reader: &Reader,
    model: &ModelRecord,
) -> Result<Option<(u64, Arc<Quantizer>)>, StoreError> {
    let Some((version, bytes)) = reader.quantizer(model)? else { return Ok(None) };
    let quantizer = postcard::from_bytes::<Quantizer>(&bytes).ok();
    let quantizer = quantizer.filter(|quantizer| {
        quantizer.is_valid() && quantizer.dim() == model.dim as usize && quantizer.version() == version
    });
    if quantizer.is_none() {
        tracing::warn!("the sketches in the store cannot be used and are made anew");
    }
    Ok(quantizer.map(|quantizer| (version, Arc::new(quantizer))))
}

/// Starts from codes, and makes those that are missing.
fn restore(
    reader: &Reader,
    model: &ModelRecord,
    version: u64,
    quantizer: Arc<Quantizer>,
    vectors: Arc<dyn Vectors>,
) -> Result<(Index, Written), DaemonError> {
    let mut missing = Vec::new();
    let mut written = Written { version: Some(version), newest: None };
    let index = Index::restore(vectors, quantizer, |add| {
        reader.each_code(model, version, |photo, bytes| match bytes.and_then(Code::from_bytes) {
            Some(code) => {
                written.newest = Some(photo);
                add(photo, code);
            }
            None => missing.push(photo),
        })
    })?;
    for photos in missing.chunks(LOAD_BATCH) {
        let mut batch = Vec::new();
        reader.embeddings(model, photos, &mut |photo, values| batch.push((photo, values.to_vec())))?;
        index.apply(batch.iter().map(|(photo, values)| (*photo, values.as_slice())), &[])?;
    }
    Ok((index, written))
}

/// Fills an empty index with embeddings.
fn read_embeddings(reader: &Reader, model: &ModelRecord, index: &Index) -> Result<(), DaemonError> {
    let mut batch: Vec<(PhotoId, Vec<f32>)> = Vec::with_capacity(LOAD_BATCH);
    let apply = |batch: &mut Vec<(PhotoId, Vec<f32>)>| -> Result<(), DaemonError> {
        index.apply(batch.iter().map(|(photo, values)| (*photo, values.as_slice())), &[])?;
        batch.clear();
        // Before all the others are in memory whole.
        if index.training_is_due() && index.quantizer().is_none() {
            index.train(&|| false)?;
        }
        Ok(())
    };
    reader.each_embedding(model, |photo, values| -> Result<(), DaemonError> {
        batch.push((photo, values.to_vec()));
        if batch.len() == LOAD_BATCH { apply(&mut batch) } else { Ok(()) }
    })?;
    apply(&mut batch)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::decode::{Format, PhotoInfo};
    use crate::photo::{ContentHash, Embedding, FileId, Fingerprint, Metric, ModelDigest, RelativePath};
    use crate::search::MAX_FULL_VECTORS;
    use crate::store::{PhotoRecord, Write};

    const DIM: usize = 16;
    const PHOTOS: u8 = 60;

    fn encoded(file: FileId, number: u8) -> Write {
        let info = PhotoInfo {
            width: 1,
            height: 1,
            format: Format::Png,
            taken: None,
            camera: None,
            lens: None,
            position: None,
            is_damaged: false,
        };
        let values = (0..DIM).map(|at| f32::from(number.wrapping_mul(31).wrapping_add(17 * at as u8)));
        Write::Encoded {
            file,
            fingerprint: Fingerprint { len: 1, modified_ns: 0, changed_ns: 0, inode: u64::from(number) },
            photo: PhotoRecord { content: ContentHash::of(&[number]), size_bytes: 1, info },
            embedding: Embedding(values.collect()),
            appearance: None,
            former: None,
        }
    }

    /// A kill between the commit of photos and that of their codes leaves some without one.
    #[test]
    fn a_photo_whose_code_is_missing_or_damaged_is_in_the_index_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("s.redb")).unwrap());
        let model = store.ensure_model(ModelDigest([1; 32]), "net", DIM, Metric::L2).unwrap();
        let root = store.add_root(Path::new("/photos"), true).unwrap();
        let file = |number: u8| FileId { root, path: RelativePath::from_bytes(vec![b'a', number]) };
        let writes: Vec<_> = (1..=PHOTOS).map(|number| encoded(file(number), number)).collect();
        store.commit(&model, &writes, 0).unwrap();
        let whole = load_index(&store, &model, &store.read().unwrap(), MAX_FULL_VECTORS).unwrap().0;
        let quantizer = whole.train(&|| false).unwrap().unwrap();
        let snapshot = whole.snapshot();
        let codes = snapshot.codes().map(|(photo, code)| (photo, code.to_bytes().to_vec()));
        let codes: Vec<_> = codes
            .filter(|(photo, _)| photo.0 % 3 != 0)
            .map(|(photo, code)| (photo, if photo.0 % 5 == 0 { code[1..].to_vec() } else { code }))
            .collect();
        store.keep_codes(&model, quantizer.version(), codes).unwrap();
        let bytes = postcard::to_stdvec(quantizer.as_ref()).unwrap();
        store.keep_quantizer(&model, quantizer.version(), &bytes).unwrap();

        let (restored, written) =
            load_index(&store, &model, &store.read().unwrap(), MAX_FULL_VECTORS).unwrap();
        assert_eq!(written.version, Some(quantizer.version()), "it starts from codes");
        assert_eq!(restored.snapshot().ids_after(None), snapshot.ids_after(None));
    }
}
