//! A query in any of its forms becomes an embedding.

use std::path::PathBuf;
use std::sync::Arc;

use tonic::{Code, Status};

use super::blocking::blocking;
use super::limiter::Permit;
use super::refuse::Reason;
use super::second_look::Sight;
use super::{Api, Served, convert, disk, files, free_text, refuse};
use crate::appearance::Appearance;
use crate::decode::{Cancel, Decoders, FailureKind, IsolatedError};
use crate::encode::EncodeError;
use crate::encode::preprocess::Input;
use crate::photo::{ContentHash, Embedding, Metric, PhotoId};
use crate::proto;
use crate::proto::{example, search_photos_request};
use crate::search;
use crate::store::{FileState, Reader, StoreError};
use crate::thumbnails::{self, ThumbnailError};
use crate::verify::LocalFeatures;

/// Examples in a query at the most.
const MAX_EXAMPLES: usize = 100;

/// What a request searches with, checked, and with all paths on disks that answer.
pub(super) struct Asked {
    /// With their weights.
    pictures: Vec<(Picture, f32)>,
    /// What photos shall show, or shall not.
    pub(super) words: Vec<Line>,
    /// Whether it is one picture, so that the distance to it means what the bands say.
    is_one: bool,
}

/// A line of words.
pub(super) struct Line {
    pub(super) text: String,
    /// Whether photos that show it are not meant.
    pub(super) is_disliked: bool,
}

/// One example: a picture, or words.
enum Given {
    Picture(Picture),
    Words(String),
}

/// One picture, however it is given.
enum Picture {
    Image(prost::bytes::Bytes),
    File(PathBuf),
    Photo { name: String, content: ContentHash },
    Embedding(proto::Embedding),
    Indexed { names: Vec<PathBuf> },
}

/// What is searched for.
pub(super) struct Query {
    pub(super) embedding: Embedding,
    /// Photos of the index that are the query: nobody asks for those.
    pub(super) photos: Vec<PhotoId>,
    /// As [`Asked::is_one`].
    pub(super) is_one: bool,
    /// The picture as the network read it, where it is one that was encoded for this query.
    pub(super) input: Option<Input>,
    /// What the one picture looks like, where it was seen.
    pub(super) appearance: Option<Appearance>,
    /// The local features of the one picture, where they were asked for and it is none of the index.
    pub(super) features: Option<LocalFeatures>,
}

impl Query {
    /// Takes what it is looked at by; nothing where it cannot be.
    pub(super) fn sight(&mut self) -> Option<Sight> {
        match (self.features.take(), &*self.photos) {
            (Some(features), _) => Some(Sight::Features(Box::new(features))),
            (None, &[photo]) => Some(Sight::Photo(photo)),
            (None, _) => None,
        }
    }
}

impl Asked {
    /// Reads the query of a request. Takes as long as the disks of its paths take to answer; so it is done before anything
    /// that others wait for is taken.
    pub(super) async fn of(query: Option<search_photos_request::Query>) -> Result<Self, Status> {
        use search_photos_request::Query;

        let query = match query {
            None => {
                let kinds = "one of image, path, uri, photo, embedding, indexed_path, indexed_uri, examples or text must be set";
                return Err(refuse::field("query", kinds));
            }
            Some(Query::Examples(examples)) => return Self::of_examples(examples.examples).await,
            Some(Query::Image(bytes)) => example::Query::Image(bytes),
            Some(Query::Path(path)) => example::Query::Path(path),
            Some(Query::Photo(name)) => example::Query::Photo(name),
            Some(Query::Embedding(embedding)) => example::Query::Embedding(embedding),
            Some(Query::IndexedPath(path)) => example::Query::IndexedPath(path),
            Some(Query::Uri(uri)) => example::Query::Uri(uri),
            Some(Query::IndexedUri(uri)) => example::Query::IndexedUri(uri),
            Some(Query::Text(text)) => example::Query::Text(text),
        };
        let mut asked = Self { pictures: Vec::new(), words: Vec::new(), is_one: true };
        asked.add(Given::of(query).await?, 1.0);
        Ok(asked)
    }

    /// Reads one picture.
    pub(super) async fn of_picture(example: Option<proto::Example>) -> Result<Self, Status> {
        let query = example.and_then(|example| example.query);
        let picture = match query {
            Some(query) => Given::of(query).await?,
            None => Given::Words(String::new()),
        };
        let Given::Picture(picture) = picture else {
            let kinds = "needs one of image, path, uri, photo, embedding, indexed_path or indexed_uri";
            return Err(refuse::field("picture", kinds));
        };
        Ok(Self { pictures: vec![(picture, 1.0)], words: Vec::new(), is_one: true })
    }

    async fn of_examples(examples: Vec<proto::Example>) -> Result<Self, Status> {
        if examples.is_empty() || examples.len() > MAX_EXAMPLES {
            return Err(refuse::field("examples", format_args!("must be 1 to {MAX_EXAMPLES}")));
        }
        let mut asked =
            Self { pictures: Vec::with_capacity(examples.len()), words: Vec::new(), is_one: false };
        for example in examples {
            let Some(query) = example.query else {
                let kinds =
                    "each needs one of image, path, uri, photo, embedding, indexed_path, indexed_uri or text";
                return Err(refuse::field("examples", kinds));
            };
            asked.add(Given::of(query).await?, example.weight.unwrap_or(1.0));
        }
        // A picture beside words is as far from a photo as it is alone.
        asked.is_one = matches!(*asked.pictures, [(_, weight)] if weight > 0.0 && weight.is_finite());
        Ok(asked)
    }

    fn add(&mut self, given: Given, weight: f32) {
        match given {
            Given::Picture(picture) => self.pictures.push((picture, weight)),
            Given::Words(text) => self.words.push(Line { text, is_disliked: weight < 0.0 }),
        }
    }

    /// Whether it is one picture that can be looked at.
    pub(super) fn is_one_picture(&self) -> bool {
        self.is_one && self.words.is_empty() && !matches!(*self.pictures, [(Picture::Embedding(_), _)])
    }

    /// Whether there is a picture, which photos can resemble.
    pub(super) fn has_pictures(&self) -> bool {
        !self.pictures.is_empty()
    }
}

impl Given {
    async fn of(query: example::Query) -> Result<Self, Status> {
        Ok(Self::Picture(match query {
            example::Query::Text(text) => return Ok(Self::Words(text)),
            example::Query::Image(bytes) => Picture::Image(bytes),
            example::Query::Path(path) => Picture::of_file(convert::parse_path("path", &path)?).await?,
            example::Query::Uri(uri) => Picture::of_file(convert::parse_uri("uri", &uri)?).await?,
            example::Query::Photo(name) => {
                let content = convert::parse_photo_name("photo", &name)?;
                Picture::Photo { name, content }
            }
            example::Query::Embedding(embedding) => Picture::Embedding(embedding),
            example::Query::IndexedPath(path) => {
                let path = convert::parse_path("indexed_path", &path)?;
                Picture::Indexed { names: disk::names(&path).await? }
            }
            example::Query::IndexedUri(uri) => {
                let path = convert::parse_uri("indexed_uri", &uri)?;
                Picture::Indexed { names: disk::names(&path).await? }
            }
        }))
    }
}

impl Picture {
    async fn of_file(path: PathBuf) -> Result<Self, Status> {
        disk::wake(&path).await?;
        Ok(Self::File(path))
    }
}

/// Refuses what belongs to another network than the one that answers; nothing named is any.
pub(super) fn check_network(field: &str, named: &str, served: &Served) -> Result<(), Status> {
    let digest = served.digest.to_string();
    if named.is_empty() || named.eq_ignore_ascii_case(&digest) {
        return Ok(());
    }
    let message =
        format!("{field}: {} answers now, with the digest {digest}; ask it anew", served.model.name);
    Err(refuse::because(Code::FailedPrecondition, Reason::OtherNetwork, message))
}

/// Turns what is asked into an embedding: that of its picture, or the one that stands for its examples.
pub(super) async fn embed(
    api: &Arc<Api>,
    served: &Arc<Served>,
    permit: &Arc<Permit>,
    Asked { pictures, words, is_one }: Asked,
    metric: Metric,
    wants_features: bool,
) -> Result<Query, Status> {
    let (mut vectors, mut photos) = (Vec::with_capacity(pictures.len()), Vec::new());
    let (mut input, mut appearance, mut features) = (None, None, None);
    // A text moves the place from which distances are measured.
    let is_one = is_one && (served.text.is_none() || words.is_empty());
    if let Some(text) = &served.text {
        vectors.extend(free_text::embed(text, &words).await?);
    }
    for (picture, weight) in pictures {
        let one = embed_one(api, served, permit, picture, wants_features).await?;
        vectors.push((one.embedding.0, weight));
        photos.extend(one.photo);
        input = one.input.filter(|_| is_one);
        appearance = one.appearance.filter(|_| is_one);
        features = one.features.filter(|_| is_one);
    }
    // A photo may be named twice.
    photos.sort_unstable();
    photos.dedup();
    let embedding = match (is_one, vectors.pop()) {
        (true, Some((only, _))) => only,
        (_, last) => {
            vectors.extend(last);
            let weighted: Vec<search::Example<'_>> =
                vectors.iter().map(|(vector, weight)| search::Example { vector, weight: *weight }).collect();
            search::combine(&weighted, metric).map_err(|error| refuse::field("examples", error))?
        }
    };
    Ok(Query { embedding: Embedding(embedding), photos, is_one, input, appearance, features })
}

/// What became of one picture.
struct Embedded {
    embedding: Embedding,
    /// The photo that it is, if it is one of the index.
    photo: Option<PhotoId>,
    /// As [`Query::input`].
    input: Option<Input>,
    /// What it looks like; `None` where that is not known.
    appearance: Option<Appearance>,
    /// As [`Query::features`].
    features: Option<LocalFeatures>,
}

/// Turns a picture into an embedding, and looks at it.
async fn embed_one(
    api: &Arc<Api>,
    served: &Arc<Served>,
    permit: &Arc<Permit>,
    picture: Picture,
    wants_features: bool,
) -> Result<Embedded, Status> {
    match picture {
        Picture::Embedding(proto::Embedding { values, model_digest }) => {
            check_network("embedding.model_digest", &model_digest, served)?;
            let embedding = Embedding(values);
            Ok(Embedded { embedding, photo: None, input: None, appearance: None, features: None })
        }
        Picture::Photo { name, content } => {
            let (api, served) = (Arc::clone(api), Arc::clone(served));
            let found = blocking(move |_| stored(&api, &served, content)).await?;
            found.ok_or_else(|| refuse::not_found("photo", &name))
        }
        Picture::Indexed { names } => {
            let asked = names[0].display().to_string();
            let (api, served) = (Arc::clone(api), Arc::clone(served));
            let found = blocking(move |_| stored_at(&api, &served, &names)).await?;
            found.ok_or_else(|| refuse::not_found("indexed photo", &asked))
        }
        Picture::Image(bytes) => encode(served, permit, "image", bytes, wants_features).await,
        Picture::File(path) => {
            let bytes = disk::read(&path, served.encoding.query_decoders.limits().max_bytes).await?;
            encode(served, permit, "path", bytes.into(), wants_features).await
        }
    }
}

fn stored(api: &Api, served: &Served, content: ContentHash) -> Result<Option<Embedded>, StoreError> {
    let reader = api.store.read()?;
    let photo = reader.photo_with(content)?;
    photo.map_or(Ok(None), |photo| seen(&reader, served, photo))
}

/// Reads what is known of a photo; `None` where the network has not encoded it.
fn seen(reader: &Reader, served: &Served, photo: PhotoId) -> Result<Option<Embedded>, StoreError> {
    let mut values = Vec::new();
    if !reader.embedding(&served.model, photo, &mut values)? {
        return Ok(None);
    }
    let appearance = reader.appearances()?.get(photo)?;
    let embedding = Embedding(values);
    Ok(Some(Embedded { embedding, photo: Some(photo), input: None, appearance, features: None }))
}

/// Looks a file of the index up by any of its names.
fn stored_at(api: &Api, served: &Served, names: &[PathBuf]) -> Result<Option<Embedded>, StoreError> {
    let reader = api.store.read()?;
    let found = files::find(api, &reader, names)?;
    let Some((_, FileState::Photo(photo))) = found else { return Ok(None) };
    seen(&reader, served, photo)
}

/// Decodes and preprocesses on a blocking thread, then has the network encode. Where the call is given up, the
/// process that decodes is killed.
async fn encode(
    served: &Served,
    permit: &Arc<Permit>,
    field: &'static str,
    bytes: prost::bytes::Bytes,
    wants_features: bool,
) -> Result<Embedded, Status> {
    let (encoding, permit) = (served.encoding.clone(), Arc::clone(permit));
    let (input, appearance, features) = blocking(move |cancel| -> Result<_, Status> {
        // The next call may run when this has really ended.
        let _permit = permit;
        let squares = [encoding.preprocessing.square()];
        let decoded = encoding.query_decoders.decode_squares(&bytes, &squares, cancel);
        let squares = decoded.map_err(|error| not_decoded(field, error))?;
        let features = match wants_features {
            true => Some(features(&encoding.query_decoders, field, &bytes, cancel)?),
            false => None,
        };
        Ok((encoding.preprocessing.input(&squares.images[0]), squares.appearance, features))
    })
    .await?;
    let embedding = embed_input(served, input.clone()).await?;
    Ok(Embedded { embedding, photo: None, input: Some(input), appearance: Some(appearance), features })
}

/// Finds the local features of a picture of a request.
pub(super) fn features(
    decoders: &Decoders,
    field: &'static str,
    bytes: &[u8],
    cancel: &Cancel,
) -> Result<LocalFeatures, Status> {
    thumbnails::features(decoders, bytes, cancel).map_err(|error| match error {
        ThumbnailError::Decode(error) => not_decoded(field, error),
        error => refuse::internal("the picture could not be looked at", &error),
    })
}

/// Says why a picture of a request was not decoded.
fn not_decoded(field: &'static str, error: IsolatedError) -> Status {
    match error {
        IsolatedError::Photo(error) if error.kind() == FailureKind::TooLarge => {
            refuse::because(Code::ResourceExhausted, Reason::TooLarge, format!("{field}: {error}"))
        }
        IsolatedError::Photo(error) => {
            refuse::field(field, format_args!("not a picture that can be read: {error}"))
        }
        IsolatedError::Cancelled => refuse::given_up(),
        error => refuse::unavailable("the picture could not be decoded now", &error),
    }
}

/// Has the network encode what is ready for it.
pub(super) async fn embed_input(served: &Served, input: Input) -> Result<Embedding, Status> {
    served.encoding.encoder.embed_query(input).await.map_err(|error| match error {
        EncodeError::Busy => refuse::busy("too many queries at once"),
        EncodeError::Stopped => refuse::stopping(),
        error => refuse::internal("the network failed on the picture", &error),
    })
}
