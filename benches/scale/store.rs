//! A store as indexing would have filled it: a file, a photo, facts and an embedding for each vector.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use resembled::decode::{Format, PhotoInfo, Position, Taken};
use resembled::models::{Catalogue, Model};
use resembled::photo::{ContentHash, Embedding, FileId, Fingerprint, RelativePath};
use resembled::store::{ModelRecord, PhotoRecord, Store, Write};

/// Photos in one transaction: more than indexing has, so that filling takes minutes and not an hour.
const BATCH: usize = 4096;

/// One photo in ten is in this folder: what filters are measured with.
pub(crate) const TENTH: &str = "tenth";

/// Where the daemon of this home has its store.
pub(crate) fn path(home: &Path) -> PathBuf {
    home.join("data/resembled/resembled.redb")
}

/// The watched folder. It is empty, so its photos count as offline.
pub(crate) fn photos(home: &Path) -> PathBuf {
    home.join("photos")
}

/// Which network the embeddings are of.
pub(crate) struct Network {
    pub(crate) name: String,
    /// Where its file is.
    pub(crate) folder: PathBuf,
}

pub(crate) fn model(network: &Network) -> anyhow::Result<Model> {
    Ok(Catalogue::new(&[], vec![network.folder.clone()])?.resolve(Path::new(&network.name))?)
}

pub(crate) fn record(store: &Store, model: &Model) -> anyhow::Result<ModelRecord> {
    let manifest = &model.manifest;
    Ok(store.ensure_model(model.digest, &manifest.name, manifest.dim, manifest.metric)?)
}

pub(crate) fn fill(
    home: &Path,
    network: &Network,
    vectors: &Path,
    dim: usize,
    size: usize,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    std::fs::create_dir_all(photos(home))?;
    let store = Store::open(&path(home))?;
    let model = record(&store, &model(network)?)?;
    let root = store.add_root(&photos(home), true)?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(vectors)?);
    let mut bytes = vec![0; dim * size_of::<f32>()];
    for start in (0..size).step_by(BATCH) {
        let mut writes = Vec::with_capacity(BATCH);
        for number in start..size.min(start + BATCH) {
            file.read_exact(&mut bytes).context("the file holds all vectors")?;
            let values = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
            let folder = if number % 10 == 3 { TENTH.to_owned() } else { format!("rest/{}", number / 1000) };
            let path = RelativePath::from_bytes(format!("{folder}/IMG_{number:07}.jpg").into_bytes());
            let len = 4_000_000 + number as u64;
            writes.push(Write::Encoded {
                file: FileId { root, path },
                fingerprint: Fingerprint { len, modified_ns: 0, changed_ns: 0, inode: number as u64 + 1 },
                photo: PhotoRecord {
                    content: ContentHash::of(&number.to_le_bytes()),
                    size_bytes: len,
                    info: info(number),
                },
                appearance: None,
                embedding: Embedding(values),
                former: None,
            });
        }
        store.commit(&model, &writes, 0)?;
    }
    println!("filled a store in {:.1?}, {} MB", begun.elapsed(), std::fs::metadata(path(home))?.len() >> 20);
    Ok(())
}

/// What a camera would have written: a picture every ten minutes, half of them with a position.
fn info(number: usize) -> PhotoInfo {
    let seconds = 1_000_000_000 + 600 * number as i64;
    let position = Position {
        latitude: (number % 120) as f64 - 60.0,
        longitude: (number % 300) as f64 - 150.0,
        altitude: None,
    };
    PhotoInfo {
        width: 6000,
        height: 4000,
        format: Format::Jpeg,
        taken: Some(Taken { local_seconds: seconds, nanos: 0, offset_minutes: Some(60) }),
        camera: Some(format!("Maker Model {}", number % 7)),
        lens: Some("24-105mm F4".into()),
        position: number.is_multiple_of(2).then_some(position),
        is_damaged: false,
    }
}
