//! A query in any of its forms becomes an embedding.

use std::path::Path;

use tonic::Status;

use super::{Api, Served, convert, refuse};
use crate::decode::{FailureKind, IsolatedError};
use crate::encode::preprocess::Input;
use crate::ingest::{self, Contents};
use crate::photo::{ContentHash, Embedding, FileId, Metric, PhotoId, RelativePath};
use crate::proto;
use crate::proto::{example, search_photos_request};
use crate::search;
use crate::store::{FileState, StoreError};

/// Examples in a query at the most.
const MAX_EXAMPLES: usize = 100;

/// One picture, however it is given.
enum Picture {
    Image(prost::bytes::Bytes),
    Path(Vec<u8>),
    Photo(String),
    Embedding(Vec<f32>),
    IndexedPath(Vec<u8>),
}

impl From<example::Query> for Picture {
    fn from(query: example::Query) -> Self {
        match query {
            example::Query::Image(bytes) => Self::Image(bytes),
            example::Query::Path(path) => Self::Path(path),
            example::Query::Photo(name) => Self::Photo(name),
            example::Query::Embedding(embedding) => Self::Embedding(embedding.values),
            example::Query::IndexedPath(path) => Self::IndexedPath(path),
        }
    }
}

/// What is searched for.
pub(super) struct Query {
    pub(super) embedding: Embedding,
    /// Photos of the index that are the query: nobody asks for those.
    pub(super) photos: Vec<PhotoId>,
    /// Whether it is one picture, so that the distance to it means what the bands say.
    pub(super) is_one: bool,
}

/// Turns the query of a request into an embedding.
pub(super) async fn embed(
    api: &Api,
    served: &Served,
    query: Option<search_photos_request::Query>,
    metric: Metric,
) -> Result<Query, Status> {
    use search_photos_request::Query as Asked;

    let picture = match query {
        None => {
            let kinds = "one of image, path, photo, embedding, indexed_path or examples must be set";
            return Err(refuse::field("query", kinds));
        }
        Some(Asked::Examples(examples)) => return embed_all(api, served, examples, metric).await,
        Some(Asked::Image(bytes)) => Picture::Image(bytes),
        Some(Asked::Path(path)) => Picture::Path(path),
        Some(Asked::Photo(name)) => Picture::Photo(name),
        Some(Asked::Embedding(embedding)) => Picture::Embedding(embedding.values),
        Some(Asked::IndexedPath(path)) => Picture::IndexedPath(path),
    };
    let (embedding, photo) = embed_one(api, served, picture).await?;
    Ok(Query { embedding, photos: photo.into_iter().collect(), is_one: true })
}

/// Turns several examples into the one embedding that stands for them.
async fn embed_all(
    api: &Api,
    served: &Served,
    examples: proto::Examples,
    metric: Metric,
) -> Result<Query, Status> {
    let examples = examples.examples;
    if examples.is_empty() || examples.len() > MAX_EXAMPLES {
        return Err(refuse::field("examples", format_args!("must be 1 to {MAX_EXAMPLES}")));
    }
    let (mut vectors, mut photos) = (Vec::with_capacity(examples.len()), Vec::new());
    for example in examples {
        let Some(query) = example.query else {
            let kinds = "each needs one of image, path, photo, embedding or indexed_path";
            return Err(refuse::field("examples", kinds));
        };
        let (embedding, photo) = embed_one(api, served, query.into()).await?;
        vectors.push((embedding.0, example.weight.unwrap_or(1.0)));
        photos.extend(photo);
    }
    let weighted: Vec<search::Example<'_>> =
        vectors.iter().map(|(vector, weight)| search::Example { vector, weight: *weight }).collect();
    let embedding = search::combine(&weighted, metric).map_err(|error| refuse::field("examples", error))?;
    // A photo may be named twice.
    photos.sort_unstable();
    photos.dedup();
    Ok(Query { embedding: Embedding(embedding), photos, is_one: false })
}

/// Turns a picture into an embedding, and says which photo it is, if it is one of the index.
async fn embed_one(
    api: &Api,
    served: &Served,
    picture: Picture,
) -> Result<(Embedding, Option<PhotoId>), Status> {
    match picture {
        Picture::Embedding(values) => Ok((Embedding(values), None)),
        Picture::Photo(name) => {
            let content = convert::parse_photo_name("photo", &name)?;
            let found = stored(api, served, content).map_err(unreadable)?;
            let (embedding, photo) = found.ok_or_else(|| refuse::not_found("photo", &name))?;
            Ok((embedding, Some(photo)))
        }
        Picture::IndexedPath(bytes) => {
            let path = convert::parse_path("indexed_path", &bytes)?;
            let found = stored_at(api, served, &path).map_err(unreadable)?;
            let (embedding, photo) =
                found.ok_or_else(|| refuse::not_found("indexed photo", &path.display().to_string()))?;
            Ok((embedding, Some(photo)))
        }
        Picture::Image(bytes) => Ok((encode(served, "image", move |_| Ok(bytes.to_vec())).await?, None)),
        Picture::Path(bytes) => {
            let path = convert::parse_path("path", &bytes)?;
            Ok((encode(served, "path", move |max_bytes| read(&path, max_bytes)).await?, None))
        }
    }
}

fn unreadable(error: StoreError) -> Status {
    refuse::internal("the store could not be read", &error)
}

fn stored(
    api: &Api,
    served: &Served,
    content: ContentHash,
) -> Result<Option<(Embedding, PhotoId)>, StoreError> {
    let reader = api.store.read()?;
    let Some(photo) = reader.photo_with(content)? else { return Ok(None) };
    let mut values = Vec::new();
    let known = reader.embedding(&served.model, photo, &mut values)?;
    Ok(known.then_some((Embedding(values), photo)))
}

/// Looks a file of the index up. It may be reached by another name than the daemon's: a link to its folder.
fn stored_at(api: &Api, served: &Served, path: &Path) -> Result<Option<(Embedding, PhotoId)>, StoreError> {
    let real = path.parent().and_then(|folder| folder.canonicalize().ok()).zip(path.file_name());
    let names = [Some(path.to_path_buf()), real.map(|(folder, name)| folder.join(name))];
    let reader = api.store.read()?;
    for root in api.watch.roots() {
        for name in names.iter().flatten() {
            let Some(path) = RelativePath::strip(&root.path, name) else { continue };
            let record = reader.file(&FileId { root: root.id, path })?;
            if let Some(FileState::Photo(photo)) = record.map(|record| record.state) {
                let mut values = Vec::new();
                let known = reader.embedding(&served.model, photo, &mut values)?;
                return Ok(known.then_some((Embedding(values), photo)));
            }
        }
    }
    Ok(None)
}

fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Status> {
    match ingest::read(path, max_bytes) {
        Contents::Whole { bytes, .. } => Ok(bytes),
        Contents::Vanished => Err(refuse::not_found("file", &path.display().to_string())),
        Contents::NotAPhoto { .. } => Err(refuse::field("path", "not a picture that can be read")),
        Contents::Changing => Err(refuse::busy("the file is being written")),
        Contents::TooLarge { .. } => {
            let mib = max_bytes >> 20;
            Err(Status::resource_exhausted(format!("the file is larger than the limit of {mib} MiB")))
        }
        Contents::Unreadable { error } => Err(Status::permission_denied(format!(
            "the daemon cannot read {}: {error}; send the picture itself",
            path.display()
        ))),
    }
}

/// Reads, decodes and preprocesses on a blocking thread, then has the network encode.
async fn encode(
    served: &Served,
    field: &'static str,
    read: impl FnOnce(u64) -> Result<Vec<u8>, Status> + Send + 'static,
) -> Result<Embedding, Status> {
    let encoding = served.encoding.clone();
    let prepared = tokio::task::spawn_blocking(move || -> Result<Input, Status> {
        let bytes = read(encoding.query_decoders.limits().max_bytes)?;
        let decoded = encoding.query_decoders.decode_squares(&bytes, &[encoding.preprocessing.square()]);
        let squares = decoded.map_err(|error| match error {
            IsolatedError::Photo(error) if error.kind() == FailureKind::TooLarge => {
                Status::resource_exhausted(format!("{field}: {error}"))
            }
            IsolatedError::Photo(error) => {
                refuse::field(field, format_args!("not a picture that can be read: {error}"))
            }
            error => refuse::internal("no decoder could be started", &error),
        })?;
        Ok(encoding.preprocessing.input(&squares.images[0]))
    });
    let input = prepared.await.map_err(|error| refuse::internal("decoding failed", &error))??;
    let encoded = served.encoding.encoder.embed_query(input).await;
    encoded.map_err(|error| refuse::internal("the network failed on the picture", &error))
}
