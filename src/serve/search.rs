//! `SearchService`: a query in any form becomes an embedding, and its neighbours become photos.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tonic::{Request, Response, Status};

use super::convert::{self, Roots};
use super::limit::Gate;
use super::{Api, refuse};
use crate::decode::{FailureKind, IsolatedError};
use crate::encode::preprocess::Input;
use crate::ingest::{self, Contents};
use crate::photo::{Embedding, PhotoId};
use crate::proto;
use crate::proto::search_photos_request::Query;
use crate::proto::search_service_server::SearchService;
use crate::search::{Neighbor, Options, SearchError};

/// Matches where the request does not say how many.
const DEFAULT_K: u32 = 20;

/// Matches at the most. Beyond that, a client wants a list, not a search.
const MAX_K: u32 = 10_000;

/// The service.
pub(super) struct Search {
    api: Arc<Api>,
    gate: Gate,
}

impl Search {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, gate: Gate::new() }
    }

    /// Turns the query into an embedding, and says which photo it is, if it is one of the index.
    async fn embed(&self, query: Option<Query>) -> Result<(Embedding, Option<PhotoId>), Status> {
        match query {
            None => Err(refuse::field("query", "one of image, path, photo or embedding must be set")),
            Some(Query::Embedding(embedding)) => Ok((Embedding(embedding.values), None)),
            Some(Query::Photo(name)) => {
                let (embedding, photo) = self.stored(&name)?;
                Ok((embedding, Some(photo)))
            }
            Some(Query::Image(bytes)) => Ok((self.encode("image", move |_| Ok(bytes.to_vec())).await?, None)),
            Some(Query::Path(bytes)) => {
                let path = convert::parse_path("path", &bytes)?;
                let read = move |max_bytes| match ingest::read(&path, max_bytes) {
                    Contents::Whole { bytes, .. } => Ok(bytes),
                    Contents::Vanished => Err(refuse::not_found("file", &path.display().to_string())),
                    Contents::NotAPhoto { .. } => {
                        Err(refuse::field("path", "not a picture that can be read"))
                    }
                    Contents::Changing => Err(refuse::busy("the file is being written")),
                    Contents::TooLarge { .. } => {
                        let mib = max_bytes >> 20;
                        Err(Status::resource_exhausted(format!(
                            "the file is larger than the limit of {mib} MiB"
                        )))
                    }
                    Contents::Unreadable { error } => Err(Status::permission_denied(format!(
                        "the daemon cannot read {}: {error}; send the picture itself",
                        path.display()
                    ))),
                };
                Ok((self.encode("path", read).await?, None))
            }
        }
    }

    fn stored(&self, name: &str) -> Result<(Embedding, PhotoId), Status> {
        let content = convert::parse_photo_name("photo", name)?;
        let find = || {
            let reader = self.api.store.read()?;
            let Some(photo) = reader.photo_with(content)? else { return Ok(None) };
            let mut values = Vec::new();
            let known = reader.embedding(&self.api.model, photo, &mut values)?;
            Ok(known.then_some((Embedding(values), photo)))
        };
        find()
            .map_err(|error: crate::store::StoreError| {
                refuse::internal("the store could not be read", &error)
            })?
            .ok_or_else(|| refuse::not_found("photo", name))
    }

    /// Reads, decodes and preprocesses on a blocking thread, then has the network encode.
    async fn encode(
        &self,
        field: &'static str,
        read: impl FnOnce(u64) -> Result<Vec<u8>, Status> + Send + 'static,
    ) -> Result<Embedding, Status> {
        let encoding = self.api.encoding.clone();
        let prepared = tokio::task::spawn_blocking(move || -> Result<Input, Status> {
            let bytes = read(encoding.query_decoders.limits().max_bytes)?;
            let decoded = encoding.query_decoders.decode(&bytes, encoding.need());
            let decoded = decoded.map_err(|error| match error {
                IsolatedError::Photo(error) if error.kind() == FailureKind::TooLarge => {
                    Status::resource_exhausted(format!("{field}: {error}"))
                }
                IsolatedError::Photo(error) => {
                    refuse::field(field, format_args!("not a picture that can be read: {error}"))
                }
                error => refuse::internal("no decoder could be started", &error),
            })?;
            encoding.input(&decoded.image).map_err(|error| refuse::field(field, error))
        });
        let input = prepared.await.map_err(|error| refuse::internal("decoding failed", &error))??;
        let encoded = self.api.encoding.encoder.embed_query(input).await;
        encoded.map_err(|error| refuse::internal("the network failed on the picture", &error))
    }

    /// Searches on a blocking thread; stops when the call is given up.
    async fn neighbors(&self, embedding: Embedding, ask: Ask) -> Result<(Vec<Neighbor>, usize), Status> {
        let snapshot = self.api.index.snapshot();
        let searched = snapshot.len();
        let cancelled = Arc::new(AtomicBool::new(false));
        let _guard = CancelOnDrop(Arc::clone(&cancelled));
        let found = tokio::task::spawn_blocking(move || {
            let is_cancelled = || cancelled.load(Ordering::Relaxed);
            let mut options = Options::new(ask.k, ask.metric);
            options.max_distance = ask.max_distance;
            options.cancelled = Some(&is_cancelled);
            snapshot.nearest(&embedding.0, &options)
        })
        .await
        .map_err(|error| refuse::internal("the search failed", &error))?;
        match found {
            Ok(neighbors) => Ok((neighbors, searched)),
            Err(error @ (SearchError::WrongDimension { .. } | SearchError::QueryNotFinite)) => {
                Err(refuse::field("embedding", error))
            }
            Err(SearchError::Cancelled) => Err(Status::cancelled("the call was given up")),
            Err(error) => Err(refuse::internal("the search failed", &error)),
        }
    }
}

/// What is asked of the index.
#[derive(Clone, Copy)]
struct Ask {
    k: usize,
    metric: crate::photo::Metric,
    max_distance: Option<f32>,
}

/// A call that the client gave up drops its future, and this with it.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl SearchService for Search {
    async fn search_photos(
        &self,
        request: Request<proto::SearchPhotosRequest>,
    ) -> Result<Response<proto::SearchPhotosResponse>, Status> {
        let request = request.into_inner();
        let metric = convert::parse_metric(request.metric, self.api.manifest.metric)?;
        let k = match request.k {
            0 => DEFAULT_K,
            k if k <= MAX_K => k,
            k => return Err(refuse::field("k", format_args!("{k} is more than {MAX_K}"))),
        };
        if request.max_distance.is_some_and(|distance| distance.is_nan() || distance < 0.0) {
            return Err(refuse::field("max_distance", "must be a number from 0"));
        }

        let pass = self.gate.enter().await?;
        let (embedding, photo) = self.embed(request.query).await?;
        // A photo is its own nearest neighbour; nobody asks for that.
        let ask =
            Ask { k: k as usize + usize::from(photo.is_some()), metric, max_distance: request.max_distance };
        let (mut neighbors, searched) = self.neighbors(embedding, ask).await?;
        drop(pass);
        neighbors.retain(|neighbor| Some(neighbor.id) != photo);
        neighbors.truncate(k as usize);

        let api = Arc::clone(&self.api);
        let matches = tokio::task::spawn_blocking(move || matches(&api, &neighbors, metric))
            .await
            .map_err(|error| refuse::internal("the answer could not be put together", &error))?
            .map_err(|error| refuse::internal("the store could not be read", &error))?;
        Ok(Response::new(proto::SearchPhotosResponse {
            matches,
            metric: convert::metric(metric).into(),
            photos_searched: searched as u64,
        }))
    }
}

/// Looks the neighbours up in the store. One that has gone since the search is left out.
fn matches(
    api: &Api,
    neighbors: &[Neighbor],
    metric: crate::photo::Metric,
) -> Result<Vec<proto::Match>, crate::store::StoreError> {
    let reader = api.store.read()?;
    let roots = Roots::of(api);
    let bands = api.manifest.bands.of(metric);
    let mut matches = Vec::with_capacity(neighbors.len());
    for &Neighbor { id, distance } in neighbors {
        if let Some(photo) = convert::photo(&reader, &roots, id)? {
            matches.push(proto::Match {
                photo: Some(photo),
                distance,
                similarity: metric.similarity(distance),
                band: convert::band(bands, distance).into(),
            });
        }
    }
    Ok(matches)
}
