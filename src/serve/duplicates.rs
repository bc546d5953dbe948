//! `DuplicateService`: photos that are there more than once. `find` finds them; here they become answers.

mod find;
mod relation;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use tonic::{Code, Request, Response, Status};
use tonic_types::ErrorDetails;

use self::find::Found;
use self::relation::Relations;
use super::blocking::blocking;
use super::convert::{self, Roots};
use super::pages::{self, Pages};
use super::refuse::Reason;
use super::{Api, calls, files, filter, refuse};
use crate::models::Bands;
use crate::photo::PhotoId;
use crate::proto;
use crate::proto::DuplicateKind;
use crate::proto::duplicate_service_server::DuplicateService;
use crate::search::SearchError;
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

/// What is asked for.
#[derive(Clone, Copy)]
enum Ask {
    Exact,
    Alike(Alike),
}

/// What different contents may have in common.
#[derive(Clone, Copy)]
enum Alike {
    Pixels,
    Near { limit: Option<f32> },
    Burst { limit: f32, seconds: u32 },
}

impl Ask {
    fn of(request: &proto::ListDuplicateGroupsRequest, bands: Option<Bands>) -> Result<Self, Status> {
        if request.max_distance.is_some_and(|distance| distance.is_nan() || distance < 0.0) {
            return Err(refuse::field("max_distance", "must be a number from 0"));
        }
        let within = |band: &str, most: f32| match request.max_distance {
            Some(distance) if distance > most => Err(refuse::field(
                "max_distance",
                format_args!("photos of this kind are known up to {most} only, the band {band}"),
            )),
            distance => Ok(distance),
        };
        match DuplicateKind::try_from(request.kind).unwrap_or(DuplicateKind::Unspecified) {
            DuplicateKind::Unspecified => {
                Err(refuse::field("kind", format_args!("{} is not a kind of this version", request.kind)))
            }
            DuplicateKind::Exact => Ok(Self::Exact),
            DuplicateKind::Pixels => Ok(Self::Alike(Alike::Pixels)),
            DuplicateKind::Near => {
                let bands = bands.ok_or_else(unknown_bands)?;
                Ok(Self::Alike(Alike::Near { limit: within("SIMILAR", bands.similar)? }))
            }
            DuplicateKind::Burst => {
                let bands = bands.ok_or_else(unknown_bands)?;
                let limit = within("SIMILAR", bands.similar)?.unwrap_or(bands.similar);
                let seconds = if request.max_seconds == 0 { BURST_SECONDS } else { request.max_seconds };
                Ok(Self::Alike(Alike::Burst { limit, seconds }))
            }
        }
    }
}

fn unknown_bands() -> Status {
    let what = "it is not known which distances are near with this network: its manifest has no bands";
    let details = ErrorDetails::with_precondition_failure_violation("BANDS", "model", what);
    refuse::with(Code::FailedPrecondition, Reason::UnknownBands, what, details)
}

impl Duplicates {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, pages: Pages::new() }
    }
}

/// Looks the photos of some groups up, and their files on the disk. What has gone meanwhile is left out, and so is a group
/// that is none any more.
async fn groups(
    api: &Arc<Api>,
    found: Arc<Found>,
    rows: Range<usize>,
    are_copies: bool,
) -> Result<Vec<proto::DuplicateGroup>, Status> {
    let (reading, asked) = (Arc::clone(api), Arc::clone(&found));
    let mut groups = blocking(move |_| -> Result<_, StoreError> {
        let known = reading.store.read()?.photos()?;
        let roots = Roots::of(&reading);
        let mut groups = Vec::with_capacity(rows.len());
        for group in &asked.groups[rows] {
            let mut photos = Vec::with_capacity(group.photos.len());
            for &photo in &group.photos {
                photos.extend(convert::photo(&known, &roots, photo)?.map(|known| (photo, known)));
            }
            groups.push((photos, group.not_near.clone()));
        }
        Ok(groups)
    })
    .await?;
    let photos = groups.iter_mut().flat_map(|(photos, _)| photos).map(|(_, photo)| photo);
    files::verify(api, photos.collect()).await?;
    groups.iter_mut().for_each(|(photos, _)| photos.retain(|(_, photo)| !photo.files.is_empty()));
    groups.retain(|(photos, _)| match photos.as_slice() {
        [(_, photo)] => are_copies && photo.files.len() > 1,
        photos => photos.len() > 1,
    });
    let reading = Arc::clone(api);
    blocking(move |_| -> Result<_, StoreError> {
        let relations = Relations::of(&reading.store, &found.model)?;
        groups.into_iter().map(|(photos, not_near)| group(&relations, photos, &not_near)).collect()
    })
    .await
}

/// Makes a group of what is left of one.
fn group(
    relations: &Relations<'_>,
    photos: Vec<(PhotoId, proto::Photo)>,
    not_near: &[(PhotoId, PhotoId)],
) -> Result<proto::DuplicateGroup, StoreError> {
    let places: HashMap<PhotoId, u32> = photos.iter().map(|&(photo, _)| photo).zip(0..).collect();
    let of_places = |&(one, other): &(PhotoId, PhotoId)| {
        Some(proto::PairOfPlaces { first: *places.get(&one)?, second: *places.get(&other)? })
    };
    let not_near = not_near.iter().filter_map(of_places).collect();
    let photos: Vec<proto::Photo> = photos.into_iter().map(|(_, photo)| photo).collect();
    Ok(proto::DuplicateGroup { relations: relations.of_group(&photos)?, photos, not_near })
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
        let ask = Ask::of(&request, served.manifest.bands.of(served.model.metric))?;
        let size = pages::size(request.page_size, pages::GROUPS)?;
        let filter = request.filter.as_ref().map(filter::parse).transpose()?.unwrap_or_default();
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let fingerprint = *blake3::hash(&request.encode_to_vec()).as_bytes();

        let page = if token.is_empty() {
            let api = Arc::clone(&self.api);
            let passing = blocking(move |_| {
                let failed = |error: SearchError| refuse::internal("the filter failed", &error);
                filter.passing(&api, &api.facts.snapshot()).map_err(failed)
            });
            let passing = passing.await?;
            let found = match ask {
                Ask::Exact => find::exact(&self.api, &served, passing).await?,
                Ask::Alike(alike) => {
                    let (api, permit) = (Arc::clone(&self.api), self.api.limiter.enter(connection).await?);
                    let found = blocking(move |cancel| -> Result<Found, Status> {
                        // The next call may run when this has really ended.
                        let _permit = permit;
                        let passing = passing.as_ref();
                        match alike {
                            Alike::Pixels => Ok(find::pixels(&api, &served, passing)?),
                            Alike::Near { limit } => Ok(find::near(&api, &served, limit, passing)?),
                            Alike::Burst { limit, seconds } => {
                                let cancelled = || cancel.is_cancelled();
                                find::bursts(&api, &served, (limit, seconds), passing, &cancelled)
                            }
                        }
                    });
                    found.await?
                }
            };
            let api = Arc::clone(&self.api);
            let found = blocking(move |_| found.summed(&api)).await?;
            let rows = found.groups.len();
            self.pages.first(fingerprint, found, rows, size)?
        } else {
            self.pages.next(fingerprint, &token, size)?
        };
        let are_copies = matches!(ask, Ask::Exact);
        Ok(Response::new(proto::ListDuplicateGroupsResponse {
            groups: groups(&self.api, Arc::clone(&page.answer), page.rows, are_copies).await?,
            next_page_token: page.next_token,
            total_size: page.answer.groups.len() as u64,
            photos_pending: page.answer.pending,
            raw_pairs: page.answer.raw_pairs,
            pairs_pending: page.answer.pairs_pending,
            total_files: page.answer.sums.files,
            total_bytes: page.answer.sums.bytes,
            rest_bytes: page.answer.sums.rest_bytes,
            model_digest: page.answer.model_digest.clone(),
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
