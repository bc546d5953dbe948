//! `DuplicateService`: photos that are there more than once.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::pages::{self, Pages};
use super::{Api, Served, calls, files, filter, refuse};
use crate::photo::PhotoId;
use crate::proto;
use crate::proto::DuplicateKind;
use crate::proto::duplicate_service_server::DuplicateService;
use crate::search::{self, Pair, PhotoSet, SearchError};
use crate::store::StoreError;

/// Seconds between two shots of a burst where the request does not say.
const BURST_SECONDS: u32 = 10;

/// Photos told apart by one call.
const MAX_APART: usize = 1_000;

/// The service.
pub(super) struct Duplicates {
    api: Arc<Api>,
    pages: Pages<Found>,
}

/// The answer to a request.
struct Found {
    groups: Vec<Vec<PhotoId>>,
    pending: u64,
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Ask {
    Exact,
    Near { limit: f32 },
    Burst { limit: f32, seconds: u32 },
}

impl Ask {
    /// Returns within which distance and how many seconds photos are near; `None` where copies are meant.
    fn near(self) -> Option<(f32, Option<u32>)> {
        match self {
            Self::Exact => None,
            Self::Near { limit } => Some((limit, None)),
            Self::Burst { limit, seconds } => Some((limit, Some(seconds))),
        }
    }

    fn of(request: &proto::ListDuplicateGroupsRequest, near: Option<f32>) -> Result<Self, Status> {
        if request.max_distance.is_some_and(|distance| distance.is_nan() || distance < 0.0) {
            return Err(refuse::field("max_distance", "must be a number from 0"));
        }
        let kind = DuplicateKind::try_from(request.kind).unwrap_or(DuplicateKind::Unspecified);
        let limit = || match (near, request.max_distance) {
            (None, _) => Err(unknown_bands()),
            (Some(near), Some(distance)) if distance > near => {
                Err(refuse::field("max_distance", format_args!("near photos are known up to {near} only")))
            }
            (Some(near), distance) => Ok(distance.unwrap_or(near)),
        };
        match kind {
            DuplicateKind::Unspecified => {
                Err(refuse::field("kind", format_args!("{} is not a kind of this version", request.kind)))
            }
            DuplicateKind::Exact => Ok(Self::Exact),
            DuplicateKind::Near => Ok(Self::Near { limit: limit()? }),
            DuplicateKind::Burst => {
                let seconds = if request.max_seconds == 0 { BURST_SECONDS } else { request.max_seconds };
                Ok(Self::Burst { limit: limit()?, seconds })
            }
        }
    }
}

fn unknown_bands() -> Status {
    let what = "it is not known which distances are near with this network: its manifest has no bands";
    let details = ErrorDetails::with_precondition_failure_violation("BANDS", "model", what);
    Status::with_error_details(Code::FailedPrecondition, what, details)
}

impl Duplicates {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, pages: Pages::new() }
    }
}

/// Finds the photos of which there are several files.
async fn find_exact(api: &Arc<Api>, served: &Served, passing: Option<PhotoSet>) -> Result<Found, Status> {
    let roots = Arc::new(Roots::of(api));
    let (store, reading, index) = (Arc::clone(&api.store), Arc::clone(&roots), served.index.snapshot());
    let copied = blocking(move |_| {
        let reader = store.read()?;
        let (photos, roots) = (reader.photos()?, reading);
        let is_meant = |photo: PhotoId| {
            index.contains(photo) && passing.as_ref().is_none_or(|passing| passing.contains(photo))
        };
        let copied = reader.copied_photos()?.into_iter().filter(|(photo, _)| is_meant(*photo));
        let with_files = copied.map(|(photo, _)| Ok((photo, files::known(&reader, &photos, &roots, photo)?)));
        with_files.collect::<Result<files::OfPhotos, StoreError>>()
    });
    let mut counted = files::count(&roots, copied.await?).await;
    counted.retain(|&(_, files)| files > 1);
    counted.sort_by_key(|&(photo, files)| (Reverse(files), photo));
    Ok(Found { groups: counted.into_iter().map(|(photo, _)| vec![photo]).collect(), pending: 0 })
}

/// Finds all groups of photos that are near, and with a number of seconds taken within those.
fn find_near(
    api: &Api,
    served: &Served,
    limit: f32,
    seconds: Option<u32>,
    passing: Option<&PhotoSet>,
) -> Result<Found, StoreError> {
    let reader = api.store.read()?;
    let index = served.index.snapshot();
    let facts = api.facts.snapshot();
    let apart = reader.told_apart()?;
    let within_seconds = |first, second| {
        seconds.is_none_or(|seconds| {
            let apart =
                facts.taken(first).zip(facts.taken(second)).map(|(one, other)| one.seconds_apart(other));
            apart.is_some_and(|apart| apart <= u64::from(seconds))
        })
    };
    let mut pairs = Vec::new();
    reader.each_pair(&served.model, |first, second, distance| {
        let is_one = |photo| index.contains(photo) && passing.is_none_or(|passing| passing.contains(photo));
        let is_meant = distance <= limit && is_one(first) && is_one(second);
        if is_meant && within_seconds(first, second) && !apart.contains(&(first, second)) {
            pairs.push(Pair { first, second, distance });
        }
    })?;
    let mut groups = search::groups(pairs);
    // Stable: of equals, the one with the oldest photo first.
    groups.sort_by_key(|group| Reverse(group.len()));
    let runs = reader.compared(&served.model)?.unwrap_or_default().runs;
    let is_compared = |photo: &PhotoId| {
        let after = runs.partition_point(|(first, _)| first <= photo);
        after.checked_sub(1).is_some_and(|run| *photo <= runs[run].1)
    };
    let pending = index.ids_after(None).iter().filter(|photo| !is_compared(photo)).count() as u64;
    Ok(Found { groups, pending })
}

/// Looks the photos of some groups up, and their files on the disk. What has gone meanwhile is left out, and so is a group
/// that is none any more.
async fn groups(
    api: &Arc<Api>,
    found: Arc<Found>,
    rows: Range<usize>,
    are_copies: bool,
) -> Result<Vec<proto::DuplicateGroup>, Status> {
    let reading = Arc::clone(api);
    let mut groups = blocking(move |_| -> Result<_, StoreError> {
        let known = reading.store.read()?.photos()?;
        let roots = Roots::of(&reading);
        let mut groups = Vec::with_capacity(rows.len());
        for group in &found.groups[rows] {
            let mut photos = Vec::with_capacity(group.len());
            for &photo in group {
                photos.extend(convert::photo(&known, &roots, photo)?);
            }
            groups.push(proto::DuplicateGroup { photos });
        }
        Ok(groups)
    })
    .await?;
    files::verify(api, groups.iter_mut().flat_map(|group| &mut group.photos).collect()).await?;
    groups.iter_mut().for_each(|group| group.photos.retain(|photo| !photo.files.is_empty()));
    groups.retain(|group| match group.photos.as_slice() {
        [photo] => are_copies && photo.files.len() > 1,
        photos => photos.len() > 1,
    });
    Ok(groups)
}

#[tonic::async_trait]
impl DuplicateService for Duplicates {
    async fn list_duplicate_groups(
        &self,
        request: Request<proto::ListDuplicateGroupsRequest>,
    ) -> Result<Response<proto::ListDuplicateGroupsResponse>, Status> {
        let connection = calls::connection(&request);
        let mut request = request.into_inner();
        let served = self.api.networks.answering();
        let near = served.manifest.bands.of(served.model.metric).map(|bands| bands.near);
        let ask = Ask::of(&request, near)?;
        let size = pages::size(request.page_size, pages::GROUPS)?;
        let filter = request.filter.as_ref().map(filter::parse).transpose()?.unwrap_or_default();
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let fingerprint = *blake3::hash(&request.encode_to_vec()).as_bytes();

        let page = if token.is_empty() {
            let api = Arc::clone(&self.api);
            let passing = blocking(move |_| {
                let failed = |error: SearchError| refuse::internal("the filter failed", &error);
                filter::passing(&api, &filter).map_err(failed)
            });
            let passing = passing.await?;
            let found = match ask.near() {
                None => find_exact(&self.api, &served, passing).await?,
                Some((limit, seconds)) => {
                    let (api, permit) = (Arc::clone(&self.api), self.api.limiter.enter(connection).await?);
                    let found = blocking(move |_| {
                        // The next call may run when this has really ended.
                        let _permit = permit;
                        find_near(&api, &served, limit, seconds, passing.as_ref())
                    });
                    found.await?
                }
            };
            let rows = found.groups.len();
            self.pages.first(fingerprint, found, rows, size)?
        } else {
            self.pages.next(fingerprint, &token, size)?
        };
        Ok(Response::new(proto::ListDuplicateGroupsResponse {
            groups: groups(&self.api, Arc::clone(&page.answer), page.rows, ask.near().is_none()).await?,
            next_page_token: page.next_token,
            total_size: page.answer.groups.len() as u64,
            photos_pending: page.answer.pending,
        }))
    }

    async fn tell_apart(
        &self,
        request: Request<proto::TellApartRequest>,
    ) -> Result<Response<proto::TellApartResponse>, Status> {
        let proto::TellApartRequest { photos, undo } = request.into_inner();
        if photos.len() < 2 || photos.len() > MAX_APART {
            return Err(refuse::field("photos", format_args!("must be 2 to {MAX_APART} photos")));
        }
        let contents = photos.iter().map(|name| convert::parse_photo_name("photos", name));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let api = Arc::clone(&self.api);
        let unknown = blocking(move |_| -> Result<_, StoreError> {
            let reader = api.store.read()?;
            for (place, &content) in contents.iter().enumerate() {
                if reader.photo_with(content)?.is_none() {
                    return Ok(Some(place));
                }
            }
            api.store.tell_apart(&contents, !undo)?;
            Ok(None)
        });
        match unknown.await? {
            Some(place) => Err(refuse::not_found("photo", &photos[place])),
            None => Ok(Response::new(proto::TellApartResponse {})),
        }
    }
}
