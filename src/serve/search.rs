//! `SearchService`: a query becomes an embedding, and its neighbors become photos.

use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::limiter::Permit;
use super::pages::{self, Pages};
use super::query::{self, Asked, Query};
use super::{Api, Served, calls, files, filter, refuse, words};
use crate::models::Bands;
use crate::photo::Metric;
use crate::proto;
use crate::proto::search_photos_request;
use crate::proto::search_service_server::SearchService;
use crate::search::{Filter, Neighbor, Options, SearchError, Snapshot};
use crate::store::StoreError;

/// Matches where the request does not say how many.
const DEFAULT_K: usize = 20;

/// Matches at the most. Beyond that, a client wants a list, not a search.
const MAX_K: usize = pages::MATCHES.most;

/// The service.
pub(super) struct Search {
    api: Arc<Api>,
    pages: Pages<Found>,
}

/// The answer to a request.
struct Found {
    neighbors: Vec<Neighbor>,
    metric: Metric,
    /// What distances mean, where that is known.
    bands: Option<Bands>,
    searched: usize,
    /// What a word was taken for, and for each neighbor the label that speaks for it.
    spoken: Option<(proto::WordMeaning, Vec<String>)>,
}

/// What is asked of the index.
struct Ask {
    k: usize,
    metric: Metric,
    max_distance: Option<f32>,
    exact: bool,
    filter: Filter,
}

impl Ask {
    fn of(request: &proto::SearchPhotosRequest, default: Metric) -> Result<Self, Status> {
        if request.max_distance.is_some_and(|distance| distance.is_nan() || distance < 0.0) {
            return Err(refuse::field("max_distance", "must be a number from 0"));
        }
        let k = match request.k as usize {
            0 if request.max_distance.is_some() => usize::MAX,
            0 => DEFAULT_K,
            k if k <= MAX_K => k,
            k => return Err(refuse::field("k", format_args!("{k} is more than {MAX_K}"))),
        };
        Ok(Self {
            k,
            metric: convert::parse_metric(request.metric, default)?,
            max_distance: request.max_distance,
            exact: request.exact,
            filter: request.filter.as_ref().map(filter::parse).transpose()?.unwrap_or_default(),
        })
    }
}

impl Search {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, pages: Pages::new() }
    }

    /// Searches on a blocking thread, and looks the first `size` matches up there; stops when the call is given up.
    async fn find(
        &self,
        served: &Served,
        permit: Arc<Permit>,
        query: Query,
        ask: Ask,
        size: usize,
    ) -> Result<(Found, Vec<proto::Match>), Status> {
        let api = Arc::clone(&self.api);
        let snapshot = served.index.snapshot();
        let bands = if query.is_one { served.manifest.bands.of(ask.metric) } else { None };
        // One thread for both: handing a call from thread to thread takes about as long as searching ten thousand photos.
        blocking(move |cancel| -> Result<_, Status> {
            // The next call may run when this has really ended.
            let _permit = permit;
            let found = find(&api, &snapshot, &query, &ask, bands, &|| cancel.is_cancelled());
            let found = found.map_err(|error| match error {
                SearchError::WrongDimension { .. } | SearchError::QueryNotFinite => {
                    refuse::field("embedding", error)
                }
                SearchError::Cancelled => refuse::given_up(),
                error => refuse::internal("the search failed", &error),
            })?;
            let first = 0..found.neighbors.len().min(size);
            let matches = matches(&api, &found, first)?;
            Ok((found, matches))
        })
        .await
    }
}

impl Search {
    /// Looks a word up, and the photos that show it, on a blocking thread.
    async fn find_word(
        &self,
        served: &Served,
        permit: Arc<Permit>,
        text: String,
        ask: Ask,
        size: usize,
    ) -> Result<(Found, Vec<proto::Match>), Status> {
        let words = Arc::clone(words::of(served)?);
        let api = Arc::clone(&self.api);
        blocking(move |_| -> Result<_, Status> {
            let _permit = permit;
            let meaning = words::find(&words, &text)?;
            let spoken = words::search(&api, &words, &meaning, &ask.filter, ask.max_distance, ask.k);
            let spoken = spoken.map_err(|error| refuse::internal("the search failed", &error))?;
            let label = |&label: &u16| words.vocabulary.label(label).unwrap_or_default().to_owned();
            let labels = spoken.labels.iter().map(label).collect();
            let found = Found {
                neighbors: spoken.neighbors,
                metric: words::METRIC,
                bands: None,
                searched: spoken.searched,
                spoken: Some((spoken.meaning, labels)),
            };
            let first = 0..found.neighbors.len().min(size);
            let matches = matches(&api, &found, first)?;
            Ok((found, matches))
        })
        .await
    }
}

fn find(
    api: &Api,
    snapshot: &Snapshot,
    query: &Query,
    ask: &Ask,
    bands: Option<Bands>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Found, SearchError> {
    let passing = if ask.filter.is_empty() {
        None
    } else {
        Some(ask.filter.photos(&api.facts.snapshot(), &filter::roots(api))?)
    };
    // A photo is its own nearest neighbor; nobody asks for that.
    let mut options = Options::new(ask.k.saturating_add(query.photos.len()), ask.metric);
    options.max_distance = ask.max_distance;
    options.exact = ask.exact;
    options.filter = passing.as_ref();
    options.cancelled = Some(cancelled);
    let mut neighbors = match ask.max_distance {
        Some(_) => snapshot.within(&query.embedding.0, &options)?,
        None => snapshot.nearest(&query.embedding.0, &options)?,
    };
    neighbors.retain(|neighbor| !query.photos.contains(&neighbor.id));
    neighbors.truncate(ask.k);
    let searched = passing.as_ref().map_or(snapshot.len(), |passing| passing.len().min(snapshot.len()));
    Ok(Found { neighbors, metric: ask.metric, bands, searched, spoken: None })
}

#[tonic::async_trait]
impl SearchService for Search {
    async fn search_photos(
        &self,
        request: Request<proto::SearchPhotosRequest>,
    ) -> Result<Response<proto::SearchPhotosResponse>, Status> {
        let connection = calls::connection(&request);
        let mut request = request.into_inner();
        let served = self.api.networks.answering();
        let ask = Ask::of(&request, served.manifest.metric)?;
        let size = pages::size(request.page_size, pages::MATCHES)?;
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let fingerprint = *blake3::hash(&request.encode_to_vec()).as_bytes();

        let (page, mut matches) = if token.is_empty() {
            let (found, matches) = match request.query {
                Some(search_photos_request::Query::Text(text)) => {
                    let permit = Arc::new(self.api.limiter.enter(connection).await?);
                    self.find_word(&served, permit, text, ask, size).await?
                }
                query => {
                    let asked = Asked::of(query).await?;
                    let permit = Arc::new(self.api.limiter.enter(connection).await?);
                    let query = query::embed(&self.api, &served, &permit, asked, ask.metric).await?;
                    self.find(&served, permit, query, ask, size).await?
                }
            };
            let rows = found.neighbors.len();
            (self.pages.first(fingerprint, found, rows, size)?, matches)
        } else {
            let page = self.pages.next(fingerprint, &token, size)?;
            let (api, found, rows) = (Arc::clone(&self.api), Arc::clone(&page.answer), page.rows.clone());
            (page, blocking(move |_| matches(&api, &found, rows)).await?)
        };
        let photos = matches.iter_mut().filter_map(|found| found.photo.as_mut());
        files::fold_paths(&self.api, photos.collect()).await?;
        Ok(Response::new(proto::SearchPhotosResponse {
            matches,
            metric: convert::metric(page.answer.metric).into(),
            photos_searched: page.answer.searched as u64,
            next_page_token: page.next_token,
            total_size: page.answer.neighbors.len() as u64,
            meaning: page.answer.spoken.as_ref().map(|(meaning, _)| meaning.clone()),
        }))
    }

    async fn list_words(
        &self,
        request: Request<proto::ListWordsRequest>,
    ) -> Result<Response<proto::ListWordsResponse>, Status> {
        let served = self.api.networks.answering();
        Ok(Response::new(words::list(words::of(&served)?, &request.get_ref().prefix)))
    }

    async fn describe_photo(
        &self,
        request: Request<proto::DescribePhotoRequest>,
    ) -> Result<Response<proto::DescribePhotoResponse>, Status> {
        let connection = calls::connection(&request);
        let served = self.api.networks.answering();
        let words = words::of(&served)?;
        let asked = Asked::of_example(request.into_inner().picture).await?;
        let permit = Arc::new(self.api.limiter.enter(connection).await?);
        let query = query::embed(&self.api, &served, &permit, asked, served.manifest.metric).await?;
        Ok(Response::new(words::describe(words, &query.embedding.0)?))
    }
}

/// Looks the neighbors up in the store. One that has gone since the search is left out.
fn matches(api: &Api, found: &Found, rows: Range<usize>) -> Result<Vec<proto::Match>, StoreError> {
    let photos = api.store.read()?.photos()?;
    let roots = Roots::of(api);
    let mut matches = Vec::with_capacity(rows.len());
    for row in rows {
        let Neighbor { id, distance } = found.neighbors[row];
        let label = found.spoken.as_ref().map(|(_, labels)| labels[row].clone()).unwrap_or_default();
        if let Some(photo) = convert::photo(&photos, &roots, id)? {
            matches.push(proto::Match {
                photo: Some(photo),
                distance,
                similarity: found.metric.similarity(distance),
                band: convert::band(found.bands, distance).into(),
                label,
            });
        }
    }
    Ok(matches)
}
