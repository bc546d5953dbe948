//! `ComparePictures`: two pictures, read and decoded one after the other, and compared by their local features.

use std::path::Path;
use std::sync::Arc;

use tonic::Status;

use super::blocking::blocking;
use super::connections::ConnectionId;
use super::thumbnails::Asked;
use super::{Api, convert, disk, query, refuse, thumbnails};
use crate::proto;
use crate::proto::example;
use crate::verify::{self, Comparison, Judgement, LocalFeatures, Verdict};

/// Answers the call.
pub(super) async fn compare(
    api: &Arc<Api>,
    connection: ConnectionId,
    request: proto::ComparePicturesRequest,
) -> Result<proto::ComparePicturesResponse, Status> {
    let first = features(api, connection, "first", request.first).await?;
    let second = features(api, connection, "second", request.second).await?;
    let permit = api.limiter.enter(connection).await?;
    blocking(move |_| -> Result<_, Status> {
        let _permit = permit;
        let comparison = verify::compare(&first, &second);
        Ok(answer(&comparison, verify::judge(&comparison)))
    })
    .await
}

/// Reads a picture and finds its local features. Those of a photo of the index may be kept, so its drive may be away.
async fn features(
    api: &Arc<Api>,
    connection: ConnectionId,
    field: &'static str,
    picture: Option<proto::Example>,
) -> Result<LocalFeatures, Status> {
    let missing = || refuse::field(field, "one of image, path, photo or indexed_path must be set");
    let decoders = api.networks.answering().encoding.query_decoders.clone();
    let max_bytes = decoders.limits().max_bytes;
    let of_photo = |asked| thumbnails::features(api, connection, asked);
    let bytes = match picture.and_then(|picture| picture.query).ok_or_else(missing)? {
        example::Query::Image(bytes) => bytes,
        example::Query::Path(path) => read(&convert::parse_path(field, &path)?, max_bytes).await?,
        example::Query::Uri(uri) => read(&convert::parse_uri(field, &uri)?, max_bytes).await?,
        example::Query::Photo(name) => return of_photo(Asked::Name(name)).await,
        example::Query::IndexedPath(path) => return of_photo(Asked::Path(path)).await,
        example::Query::IndexedUri(uri) => return of_photo(Asked::Uri(uri)).await,
        example::Query::Embedding(_) | example::Query::Text(_) => return Err(missing()),
    };
    let permit = api.limiter.enter(connection).await?;
    blocking(move |cancel| -> Result<_, Status> {
        // The next call may run when this has really ended.
        let _permit = permit;
        query::features(&decoders, field, &bytes, cancel)
    })
    .await
}

async fn read(path: &Path, max_bytes: u64) -> Result<prost::bytes::Bytes, Status> {
    disk::wake(path).await?;
    Ok(disk::read(path, max_bytes).await?.into())
}

fn answer(comparison: &Comparison, judgement: Judgement) -> proto::ComparePicturesResponse {
    proto::ComparePicturesResponse {
        verdict: verdict(judgement.verdict).into(),
        probability: judgement.probability,
        share_of_first: judgement.shared[0],
        share_of_second: judgement.shared[1],
        turned_degrees: judgement.turn,
        inliers: comparison.inliers,
        matches: comparison.matches,
        agreement: comparison.agreement(),
        correlation: comparison.correlation,
        supported: comparison.supported,
        stretch: comparison.stretch,
        plainness: comparison.plainness,
    }
}

pub(super) fn verdict(verdict: Verdict) -> proto::Verdict {
    match verdict {
        Verdict::Copy => proto::Verdict::Copy,
        Verdict::Edit => proto::Verdict::Edit,
        Verdict::Turned => proto::Verdict::Turned,
        Verdict::Mirrored => proto::Verdict::Mirrored,
        Verdict::AnotherShot => proto::Verdict::AnotherShot,
        Verdict::Different => proto::Verdict::Different,
    }
}
