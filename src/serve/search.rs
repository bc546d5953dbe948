//! `SearchService`: a query becomes an embedding, and its neighbors become photos.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::filter::Filter;
use super::limiter::Permit;
use super::near::{Around, Neighborhoods};
use super::pages::{self, Pages};
use super::query::{self, Asked, Query};
use super::words::{self, Spoken};
use super::{Api, Served, calls, compare, files, filter, free_text, refuse, second_look};
use crate::appearance::Appearance;
use crate::encode::preprocess::Input;
use crate::models::Bands;
use crate::photo::{Embedding, Metric, PhotoId};
use crate::proto;
use crate::proto::search_service_server::SearchService;
use crate::search::{self, Facts, Neighbor, Options, PhotoSet, SearchError, Snapshot, TakenAt};
use crate::store::StoreError;

/// Matches where the request does not say how many.
const DEFAULT_K: usize = 20;

/// Matches at the most. Beyond that, a client wants a list, not a search.
const MAX_K: usize = pages::MATCHES.most;

/// The service.
pub(super) struct Search {
    api: Arc<Api>,
    pages: Pages<Found>,
    neighborhoods: Arc<Neighborhoods>,
}

/// The answer to a request.
struct Found {
    neighbors: Vec<Neighbor>,
    metric: Metric,
    /// What distances mean, where that is known.
    bands: Option<Bands>,
    /// What the query looks like.
    appearance: Option<Appearance>,
    /// Which of them are near for their neighborhood, where that was looked at.
    near: Option<HashSet<PhotoId>>,
    searched: usize,
    /// Photos of the index.
    photos: usize,
    /// What words were taken for.
    spoken: Option<Spoken>,
    /// Whether a text was encoded.
    is_free: bool,
    /// By how many quarters the query must be turned to be so near, where that is not none.
    turns: HashMap<PhotoId, u32>,
    /// The network that found them.
    model_digest: String,
    /// What tells the query from others.
    query: Option<pages::Fingerprint>,
}

/// In which order matches come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Oldest,
    Newest,
}

/// What is asked of the index.
struct Ask {
    k: usize,
    metric: Metric,
    max_distance: Option<f32>,
    exact: bool,
    filter: Filter,
    order: Order,
}

impl Ask {
    fn of(request: &proto::SearchPhotosRequest, default: Metric, is_cut_off: bool) -> Result<Self, Status> {
        if request.max_distance.is_some_and(|distance| distance.is_nan() || distance < 0.0) {
            return Err(refuse::field("max_distance", "must be a number from 0"));
        }
        let k = match request.k as usize {
            0 if is_cut_off || request.max_distance.is_some() => usize::MAX,
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
            order: match request.order_by.split_whitespace().collect::<Vec<_>>().as_slice() {
                [] => Order::Nearest,
                ["capture_time"] => Order::Oldest,
                ["capture_time", "desc"] => Order::Newest,
                _ => {
                    let orders = "must be `capture_time`, `capture_time desc` or empty";
                    return Err(refuse::field("order_by", orders));
                }
            },
        })
    }
}

impl Ask {
    /// Puts neighbors, which come by distance, into the order that is asked for, and cuts them to as many as are.
    fn arrange(&self, facts: &Facts, neighbors: &mut Vec<Neighbor>) {
        if self.order != Order::Nearest {
            neighbors.sort_by_cached_key(|neighbor| {
                let taken = facts.taken(neighbor.id).map(TakenAt::seconds);
                // Those without a time last.
                let key = if self.order == Order::Oldest { taken } else { taken.map(|seconds| -seconds) };
                (key.is_none(), key)
            });
        }
        neighbors.truncate(self.k);
    }
}

impl Search {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, pages: Pages::new(), neighborhoods: Arc::default() }
    }

    /// Searches on a blocking thread, and looks the first `size` matches up there; stops when the call is given up. Without a
    /// query, words alone decide.
    async fn find(
        &self,
        served: &Served,
        permit: Arc<Permit>,
        query: Option<Query>,
        spoken: Option<Spoken>,
        ask: Arc<Ask>,
        size: usize,
    ) -> Result<(Found, Vec<proto::Match>), Status> {
        let (api, neighborhoods) = (Arc::clone(&self.api), Arc::clone(&self.neighborhoods));
        let (snapshot, model) = (served.index.snapshot(), served.model.id);
        let is_one = query.as_ref().is_some_and(|query| query.is_one);
        let bands = if is_one { served.manifest.bands.of(ask.metric) } else { None };
        // One thread for both: handing a call from thread to thread takes about as long as searching ten thousand photos.
        blocking(move |cancel| -> Result<_, Status> {
            // The next call may run when this has really ended.
            let _permit = permit;
            let around = Around { neighborhoods: &neighborhoods, model, bands };
            let found = find(&api, &snapshot, query, spoken, &ask, around, &|| cancel.is_cancelled());
            let found = found.map_err(refused)?;
            let first = 0..found.neighbors.len().min(size);
            let matches = matches(&api, &found, first)?;
            Ok((found, matches))
        })
        .await
    }

    /// Searches once more with the query turned, and puts what is near then among what was found.
    async fn find_turned(
        &self,
        served: &Served,
        permit: Arc<Permit>,
        turned: Vec<Embedding>,
        (mut found, limit): (Found, Option<f32>),
        ask: Arc<Ask>,
        size: usize,
    ) -> Result<(Found, Vec<proto::Match>), Status> {
        let (api, neighborhoods) = (Arc::clone(&self.api), Arc::clone(&self.neighborhoods));
        let (snapshot, model) = (served.index.snapshot(), served.model.id);
        blocking(move |cancel| -> Result<_, Status> {
            let _permit = permit;
            let around = Around { neighborhoods: &neighborhoods, model, bands: found.bands };
            let facts = api.facts.snapshot();
            let passing = ask.filter.passing(&api, &facts).map_err(refused)?;
            let mut nearest_of: HashMap<PhotoId, (f32, u32)> =
                found.neighbors.iter().map(|neighbor| (neighbor.id, (neighbor.distance, 0))).collect();
            for (turns, embedding) in (1..).zip(turned) {
                let query = Query {
                    embedding,
                    photos: Vec::new(),
                    is_one: true,
                    input: None,
                    appearance: None,
                    features: None,
                };
                let cancelled = || cancel.is_cancelled();
                let neighbors =
                    nearest(&snapshot, &query, &ask, passing.as_ref(), &cancelled).map_err(refused)?;
                let near = around.near(&snapshot, &query, &neighbors, ask.metric).map_err(refused)?;
                let is_near = |id: PhotoId| near.as_ref().is_none_or(|near| near.contains(&id));
                for Neighbor { id, distance } in neighbors {
                    let is_nearer = nearest_of.get(&id).is_none_or(|(known, _)| distance < *known);
                    if is_nearer && limit.is_none_or(|limit| distance <= limit && is_near(id)) {
                        nearest_of.insert(id, (distance, turns));
                    }
                }
                if let (Some(all), Some(more)) = (&mut found.near, near) {
                    all.extend(more);
                }
            }
            let neighbor = |(&id, &(distance, _)): (&PhotoId, &(f32, u32))| Neighbor { id, distance };
            found.neighbors = nearest_of.iter().map(neighbor).collect();
            found.neighbors.sort();
            ask.arrange(&facts, &mut found.neighbors);
            found.turns = found
                .neighbors
                .iter()
                .filter_map(|neighbor| Some((neighbor.id, nearest_of.get(&neighbor.id)?.1)))
                .filter(|(_, turns)| *turns > 0)
                .collect();
            let first = 0..found.neighbors.len().min(size);
            let matches = matches(&api, &found, first)?;
            Ok((found, matches))
        })
        .await
    }
}

/// What tells a query from others: its kind and its value.
fn fingerprint_of(query: &proto::search_photos_request::Query) -> pages::Fingerprint {
    let mut bytes = Vec::new();
    query.encode(&mut bytes);
    *blake3::hash(&bytes).as_bytes()
}

/// Says what was wrong with a search.
fn refused(error: SearchError) -> Status {
    match error {
        SearchError::WrongDimension { .. } | SearchError::QueryNotFinite => refuse::field("embedding", error),
        SearchError::Cancelled => refuse::given_up(),
        error => refuse::internal("the search failed", &error),
    }
}

fn find(
    api: &Api,
    snapshot: &Snapshot,
    query: Option<Query>,
    mut spoken: Option<Spoken>,
    ask: &Ask,
    around: Around<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Found, SearchError> {
    let facts = api.facts.snapshot();
    let appearance = query.as_ref().and_then(|query| query.appearance.clone());
    let mut passing = ask.filter.passing(api, &facts)?;
    let known = spoken.as_ref().map_or(snapshot.len(), Spoken::photos_known);
    let searched = passing.as_ref().map_or(known, |passing| passing.len().min(known));
    let mut near = None;
    let (mut neighbors, metric) = match (query, &mut spoken) {
        (Some(query), spoken) => {
            if let Some(spoken) = spoken {
                passing = Some(spoken.photos(passing.as_ref()));
            }
            let found = nearest(snapshot, &query, ask, passing.as_ref(), cancelled)?;
            near = around.near(snapshot, &query, &found, ask.metric)?;
            (found, ask.metric)
        }
        (None, Some(spoken)) => (spoken.search(ask.max_distance, passing.as_ref()), words::METRIC),
        (None, None) => (Vec::new(), ask.metric),
    };
    ask.arrange(&facts, &mut neighbors);
    let (photos, turns) = (snapshot.len(), HashMap::new());
    let bands = around.bands;
    let (is_free, model_digest, query) = (false, String::new(), None);
    Ok(Found {
        neighbors,
        metric,
        bands,
        appearance,
        near,
        searched,
        photos,
        spoken,
        is_free,
        turns,
        model_digest,
        query,
    })
}

/// Returns the neighbors of a query: all within a distance that is given, else the k nearest.
fn nearest(
    snapshot: &Snapshot,
    query: &Query,
    ask: &Ask,
    passing: Option<&PhotoSet>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Neighbor>, SearchError> {
    // All within a distance are ordered before they are cut to k.
    let k = match (ask.order, ask.max_distance) {
        (Order::Oldest | Order::Newest, Some(_)) => usize::MAX,
        _ => ask.k,
    };
    // A photo is its own nearest neighbor; nobody asks for that.
    let mut options = Options::new(k.saturating_add(query.photos.len()), ask.metric);
    // Who asks for 0 asks for the picture itself; every limit that rounding cannot hide is taken to the letter.
    let rounding = search::rounding(ask.metric, &query.embedding.0);
    options.max_distance = ask.max_distance.map(|most| most.max(rounding));
    options.exact = ask.exact;
    options.filter = passing;
    options.cancelled = Some(cancelled);
    let mut neighbors = match ask.max_distance {
        Some(_) => snapshot.within(&query.embedding.0, &options)?,
        None => snapshot.nearest(&query.embedding.0, &options)?,
    };
    neighbors.retain(|neighbor| !query.photos.contains(&neighbor.id));
    neighbors.truncate(k);
    Ok(neighbors)
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
        let size = pages::size(request.page_size, pages::MATCHES)?;
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        query::check_network("model_digest", &request.model_digest, &served)?;
        // A page may be asked for without the picture, or with the same.
        let query = request.query.take();
        let fingerprint = *blake3::hash(&request.encode_to_vec()).as_bytes();
        let asked_for = query.as_ref().map(fingerprint_of);

        let mut sight = None;
        let (page, mut matches) = if token.is_empty() {
            let asked = Asked::of(query).await?;
            let is_free = served.text.is_some() && !asked.words.is_empty();
            let spoken = if is_free { None } else { Spoken::of(&served, &asked.words)? };
            let is_worded = !asked.has_pictures() && !is_free;
            if request.verify && !asked.is_one_picture() {
                return Err(refuse::field(
                    "verify",
                    "only one picture can be looked at, and no words beside it",
                ));
            }
            let ask = Arc::new(Ask::of(&request, served.manifest.metric, is_worded)?);
            if is_free {
                free_text::check(&asked.words, asked.has_pictures(), ask.metric)?;
            }
            if is_worded && !spoken.as_ref().is_some_and(Spoken::wants_something) {
                return Err(refuse::field("text", "must say what photos show, not only what they do not"));
            }
            let permit = Arc::new(self.api.limiter.enter(connection).await?);
            let mut query = match is_worded {
                true => None,
                false => {
                    Some(query::embed(&self.api, &served, &permit, asked, ask.metric, request.verify).await?)
                }
            };
            // Words are said of what is in a picture, whichever way it is turned.
            let input = query.as_mut().and_then(|query| query.input.take()).filter(|_| spoken.is_none());
            sight = query.as_mut().filter(|_| request.verify).and_then(Query::sight);
            if request.turned == Some(true) && input.is_none() {
                return Err(refuse::field(
                    "turned",
                    "only one picture, given by itself or its path, can be turned",
                ));
            }
            let (found, matches) =
                self.find(&served, Arc::clone(&permit), query, spoken, Arc::clone(&ask), size).await?;
            let (model_digest, query) = (served.digest.to_string(), asked_for);
            let found = Found { is_free, model_digest, query, ..found };
            let (found, matches) = match (input, turning(request.turned, &found)) {
                (Some(input), Some(limit)) => {
                    let turned = turned(&served, input).await?;
                    self.find_turned(&served, permit, turned, (found, limit), ask, size).await?
                }
                _ => (found, matches),
            };
            let rows = found.neighbors.len();
            (self.pages.first(fingerprint, found, rows, size)?, matches)
        } else {
            let page = self.pages.next(fingerprint, &token, size)?;
            if asked_for.is_some() && asked_for != page.answer.query {
                return Err(refuse::field("page_token", "belongs to another request"));
            }
            let (api, found, rows) = (Arc::clone(&self.api), Arc::clone(&page.answer), page.rows.clone());
            (page, blocking(move |_| matches(&api, &found, rows)).await?)
        };
        let photos = matches.iter_mut().filter_map(|found| found.photo.as_mut());
        files::fold_paths(&self.api, photos.collect()).await?;
        if let Some(sight) = sight {
            second_look::look(&self.api, connection, sight, page.answer.bands, &mut matches).await?;
        }
        let spoken = page.answer.spoken.as_ref();
        Ok(Response::new(proto::SearchPhotosResponse {
            matches,
            model_digest: page.answer.model_digest.clone(),
            metric: convert::metric(page.answer.metric).into(),
            photos_searched: page.answer.searched as u64,
            next_page_token: page.next_token,
            total_size: page.answer.neighbors.len() as u64,
            meanings: spoken.map_or_else(Vec::new, |spoken| spoken.meanings.clone()),
            free_text: page.answer.is_free,
            photos_showing: spoken.map_or(0, |spoken| spoken.photos_showing),
            photos_waiting: spoken
                .map_or(0, |spoken| page.answer.photos.saturating_sub(spoken.photos_known()) as u64),
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
        let asked = Asked::of_picture(request.into_inner().picture).await?;
        let permit = Arc::new(self.api.limiter.enter(connection).await?);
        let query = query::embed(&self.api, &served, &permit, asked, served.manifest.metric, false).await?;
        Ok(Response::new(words::describe(words, &query.embedding.0, served.digest.to_string())?))
    }

    async fn compare_pictures(
        &self,
        request: Request<proto::ComparePicturesRequest>,
    ) -> Result<Response<proto::ComparePicturesResponse>, Status> {
        let connection = calls::connection(&request);
        Ok(Response::new(compare::compare(&self.api, connection, request.into_inner()).await?))
    }
}

/// Says whether the query is to be turned, as it is asked for or nothing near was found; and then how near a match must be to count.
fn turning(asked: Option<bool>, found: &Found) -> Option<Option<f32>> {
    match asked {
        Some(true) => Some(None),
        Some(false) => None,
        None => {
            let near = found.bands?.near;
            let is_near = |id| found.near.as_ref().is_none_or(|all| all.contains(id));
            let is_found =
                found.neighbors.iter().any(|neighbor| neighbor.distance <= near && is_near(&neighbor.id));
            (!is_found).then_some(Some(near))
        }
    }
}

/// Returns the embeddings of a picture turned clockwise by one, two and three quarters.
async fn turned(served: &Served, input: Input) -> Result<Vec<Embedding>, Status> {
    let mut embeddings = Vec::with_capacity(3);
    let mut input = input;
    for _ in 0..3 {
        input = input.turned();
        embeddings.push(query::embed_input(served, input.clone()).await?);
    }
    Ok(embeddings)
}

/// Looks the neighbors up in the store. One that has gone since the search is left out.
fn matches(api: &Api, found: &Found, rows: Range<usize>) -> Result<Vec<proto::Match>, StoreError> {
    let reader = api.store.read()?;
    let (photos, appearances) = (reader.photos()?, reader.appearances()?);
    let roots = Roots::of(api);
    let mut matches = Vec::with_capacity(rows.len());
    for &Neighbor { id, distance } in &found.neighbors[rows] {
        let labels = found.spoken.as_ref().map_or_else(Vec::new, |spoken| spoken.labels(id));
        if let Some(photo) = convert::photo(&photos, &roots, id)? {
            let seen = appearances.get(id)?;
            let looks_same = found.appearance.as_ref().zip(seen.as_ref());
            let looks_same = looks_same.is_some_and(|(query, photo)| query.is_same_as(photo));
            // Two empty frames are alike, and no more than that.
            let is_flat = |looks: Option<&Appearance>| looks.is_some_and(|looks| !looks.has_contrast());
            let is_empty = is_flat(found.appearance.as_ref()) || is_flat(seen.as_ref());
            let is_near = !is_empty && found.near.as_ref().is_none_or(|near| near.contains(&id));
            matches.push(proto::Match {
                photo: Some(photo),
                distance,
                similarity: found.metric.similarity(distance),
                band: convert::band(found.bands, distance, looks_same, is_near).into(),
                labels,
                quarter_turns: found.turns.get(&id).copied().unwrap_or(0),
                ..Default::default()
            });
        }
    }
    Ok(matches)
}
