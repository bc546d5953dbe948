//! `ListPhotos` and `CountPhotos`: the library without a query.

use std::cmp::Reverse;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use prost::Message;
use resembled_api::uri;
use tonic::Status;

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::filter::Filter;
use super::pages::{self, Pages};
use super::{Api, files, filter, refuse};
use crate::decode::Cancel;
use crate::photo::{ContentHash, PhotoId};
use crate::proto;
use crate::search::{Facet, FacetValue, SearchError};
use crate::store::StoreError;

/// In which order photos are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Name,
    Oldest,
    Newest,
}

/// Lists that are in order of time, while their pages are asked for.
pub(super) type Lists = Pages<Vec<PhotoId>>;

/// Answers `ListPhotos`.
pub(super) async fn list(
    api: &Arc<Api>,
    lists: &Lists,
    mut request: proto::ListPhotosRequest,
) -> Result<proto::ListPhotosResponse, Status> {
    let size = pages::size(request.page_size, pages::ROWS)?;
    let filter = request.filter.as_ref().map(filter::parse).transpose()?.unwrap_or_default();
    let order = match request.order_by.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] => Order::Name,
        ["capture_time"] => Order::Oldest,
        ["capture_time", "desc"] => Order::Newest,
        _ => return Err(refuse::field("order_by", "must be `capture_time`, `capture_time desc` or empty")),
    };
    let token = std::mem::take(&mut request.page_token);
    let mut response = match order {
        Order::Name => by_name(api, filter, &token, size).await?,
        order => {
            request.page_size = 0;
            let fingerprint = *blake3::hash(&request.encode_to_vec()).as_bytes();
            by_time(api, lists, filter, order == Order::Newest, fingerprint, &token, size).await?
        }
    };
    files::fold_paths(api, response.photos.iter_mut().collect()).await?;
    Ok(response)
}

/// The token of a page is the content of its last photo, so that nothing need be kept.
async fn by_name(
    api: &Arc<Api>,
    filter: Filter,
    token: &str,
    size: usize,
) -> Result<proto::ListPhotosResponse, Status> {
    let mut after: Option<ContentHash> = match token {
        "" => None,
        token => Some(token.parse().map_err(|_| refuse::field("page_token", "not a token of this call"))?),
    };
    let api = Arc::clone(api);
    blocking(move |cancel: &Cancel| -> Result<_, Status> {
        let passing = filter.passing(&api, &api.facts.snapshot()).map_err(failed)?;
        let reader = api.store.read()?;
        let roots = Roots::of(&api);
        let index = api.networks.answering().index.snapshot();
        let known = reader.photos()?;
        let is_meant = |id| index.contains(id) && passing.as_ref().is_none_or(|passing| passing.contains(id));
        let mut photos = Vec::with_capacity(size.min(1_000));
        loop {
            if cancel.is_cancelled() {
                return Err(refuse::given_up());
            }
            let listed = reader.list_photos(after, size)?;
            let is_last = listed.len() < size;
            for (id, content) in listed {
                after = Some(content);
                if is_meant(id) {
                    photos.extend(convert::photo(&known, &roots, id)?);
                }
                if photos.len() == size {
                    break;
                }
            }
            let is_full = photos.len() == size;
            if is_full || is_last {
                let next = after.filter(|_| is_full).map(|content| content.to_string());
                let total_size = match &passing {
                    None => index.len() as u64,
                    Some(passing) => passing.iter().filter(|&id| index.contains(id)).count() as u64,
                };
                return Ok(proto::ListPhotosResponse {
                    photos,
                    next_page_token: next.unwrap_or_default(),
                    total_size,
                });
            }
        }
    })
    .await
}

async fn by_time(
    api: &Arc<Api>,
    lists: &Lists,
    filter: Filter,
    is_newest_first: bool,
    fingerprint: pages::Fingerprint,
    token: &str,
    size: usize,
) -> Result<proto::ListPhotosResponse, Status> {
    let page = if token.is_empty() {
        let asked = Arc::clone(api);
        let ids = blocking(move |_| -> Result<_, Status> {
            let mut ids = meant(&asked, &filter)?;
            let facts = asked.facts.snapshot();
            // Photos without a time last, whichever order; of equals the one that was indexed first.
            ids.sort_by_cached_key(|&id| {
                let taken = facts.taken(id).map(|taken| taken.seconds());
                let place =
                    taken.map(|taken| if is_newest_first { -i128::from(taken) } else { taken.into() });
                (taken.is_none(), place, id)
            });
            Ok(ids)
        });
        let ids = ids.await?;
        let rows = ids.len();
        lists.first(fingerprint, ids, rows, size)?
    } else {
        lists.next(fingerprint, token, size)?
    };
    let (api, ids, rows) = (Arc::clone(api), Arc::clone(&page.answer), page.rows);
    let photos = blocking(move |_| -> Result<_, StoreError> {
        let known = api.store.read()?.photos()?;
        let roots = Roots::of(&api);
        let photos = ids[rows].iter().map(|&id| convert::photo(&known, &roots, id));
        // One that has gone since is left out.
        Ok(photos.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    });
    Ok(proto::ListPhotosResponse {
        photos: photos.await?,
        next_page_token: page.next_token,
        total_size: page.answer.len() as u64,
    })
}

/// Returns the searchable photos that pass, in the order of indexing.
pub(super) fn meant(api: &Api, filter: &Filter) -> Result<Vec<PhotoId>, Status> {
    let index = api.networks.answering().index.snapshot();
    // Also where the filter lets all pass: a photo whose last file has gone is none.
    let passing = filter.photos(api, &api.facts.snapshot()).map_err(failed)?;
    Ok(passing.iter().filter(|&id| index.contains(id)).collect())
}

fn failed(error: SearchError) -> Status {
    refuse::internal("the filter failed", &error)
}

/// Answers `CountPhotos`.
pub(super) async fn count(
    api: &Arc<Api>,
    request: proto::CountPhotosRequest,
) -> Result<proto::CountPhotosResponse, Status> {
    let facet = match request.facet() {
        proto::Facet::Unspecified => {
            return Err(refuse::field("facet", format_args!("{} is not one of this version", request.facet)));
        }
        proto::Facet::Year => Facet::Year,
        proto::Facet::Month => Facet::Month,
        proto::Facet::Camera => Facet::Camera,
        proto::Facet::Lens => Facet::Lens,
        proto::Facet::MediaType => Facet::MediaType,
        proto::Facet::Folder => Facet::Folder,
    };
    let filter = request.filter.as_ref().map(filter::parse).transpose()?.unwrap_or_default();
    let api = Arc::clone(api);
    blocking(move |_| -> Result<_, Status> {
        let photos = meant(&api, &filter)?;
        let total_size = photos.len() as u64;
        let mut counted = api.facts.snapshot().count(&photos.into_iter().collect(), facet);
        match facet {
            Facet::Year | Facet::Month => counted.sort_by(|(one, _), (other, _)| other.cmp(one)),
            Facet::Camera | Facet::Lens | Facet::MediaType | Facet::Folder => {
                counted.sort_by(|(one, of_one), (other, of_other)| {
                    let key = |value: &Option<FacetValue>, photos| (value.is_none(), Reverse(photos));
                    key(one, *of_one).cmp(&key(other, *of_other)).then_with(|| one.cmp(other))
                });
            }
        }
        let roots = Roots::of(&api);
        let counts = counted.into_iter().filter_map(|(value, photos)| shown(&roots, value, photos)).collect();
        Ok(proto::CountPhotosResponse { counts, total_size })
    })
    .await
}

/// Returns a count as it is answered; `None` for a folder that is just being removed.
fn shown(roots: &Roots, value: Option<FacetValue>, photos: u64) -> Option<proto::PhotoCount> {
    let named = |value| Some(proto::PhotoCount { value, photos, path: Vec::new() });
    match value {
        None => named(String::new()),
        Some(FacetValue::Year(year)) => named(format!("{year:04}")),
        Some(FacetValue::Month(year, month)) => named(format!("{year:04}-{month:02}")),
        Some(FacetValue::Name(name)) => named(name),
        Some(FacetValue::Folder(root, folder)) => {
            let path = folder.under(&roots.get(root)?.path).as_os_str().as_bytes().to_vec();
            Some(proto::PhotoCount { value: uri::of_path(&path), photos, path })
        }
    }
}
