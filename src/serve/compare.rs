//! `ComparePictures`: two pictures, read and decoded one after the other, and compared by their local features.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use tonic::Status;

use super::blocking::blocking;
use super::connections::ConnectionId;
use super::{Api, convert, disk, refuse, thumbnails};
use crate::decode::{FailureKind, IsolatedError};
use crate::proto;
use crate::proto::{example, get_thumbnail_request};
use crate::verify::{self, Comparison, Judgement, LONG_SIDE, LocalFeatures, Plane, Verdict};

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

/// Reads a picture and finds its local features. Of a photo of the index its thumbnail will do, so its drive may be away.
async fn features(
    api: &Arc<Api>,
    connection: ConnectionId,
    field: &'static str,
    picture: Option<proto::Example>,
) -> Result<LocalFeatures, Status> {
    use get_thumbnail_request::Photo;

    let missing = || refuse::field(field, "one of image, path, photo or indexed_path must be set");
    let decoders = api.networks.answering().encoding.query_decoders.clone();
    let max_bytes = decoders.limits().max_bytes;
    let bytes = match picture.and_then(|picture| picture.query).ok_or_else(missing)? {
        example::Query::Image(bytes) => bytes,
        example::Query::Path(path) => read(&convert::parse_path(field, &path)?, max_bytes).await?,
        example::Query::Uri(uri) => read(&convert::parse_uri(field, &uri)?, max_bytes).await?,
        example::Query::Photo(name) => thumbnail(api, connection, Photo::Name(name)).await?,
        example::Query::IndexedPath(path) => thumbnail(api, connection, Photo::Path(path)).await?,
        example::Query::IndexedUri(uri) => {
            let path = convert::parse_uri(field, &uri)?;
            thumbnail(api, connection, Photo::Path(path.into_os_string().into_vec())).await?
        }
        example::Query::Embedding(_) | example::Query::Text(_) => return Err(missing()),
    };
    let permit = api.limiter.enter(connection).await?;
    blocking(move |cancel| -> Result<_, Status> {
        // The next call may run when this has really ended.
        let _permit = permit;
        let picture = decoders.decode_fitted(&bytes, LONG_SIDE, cancel).map_err(|error| match error {
            IsolatedError::Photo(error) if error.kind() == FailureKind::TooLarge => {
                Status::resource_exhausted(format!("{field}: {error}"))
            }
            IsolatedError::Photo(error) => {
                refuse::field(field, format_args!("not a picture that can be read: {error}"))
            }
            IsolatedError::Cancelled => refuse::given_up(),
            error => refuse::unavailable("the picture could not be decoded now", &error),
        })?;
        let plane = Plane::of_rgb(picture.width, picture.height, &picture.pixels);
        let plane = plane.ok_or_else(|| refuse::field(field, "a picture without pixels"))?;
        Ok(LocalFeatures::of(&plane))
    })
    .await
}

async fn read(path: &Path, max_bytes: u64) -> Result<prost::bytes::Bytes, Status> {
    disk::wake(path).await?;
    Ok(disk::read(path, max_bytes).await?.into())
}

async fn thumbnail(
    api: &Arc<Api>,
    connection: ConnectionId,
    photo: get_thumbnail_request::Photo,
) -> Result<prost::bytes::Bytes, Status> {
    let longest_side = LONG_SIDE.cast_signed();
    let request = proto::GetThumbnailRequest { photo: Some(photo), longest_side };
    Ok(thumbnails::get(api, connection, request).await?.jpeg.into())
}

fn answer(comparison: &Comparison, judgement: Judgement) -> proto::ComparePicturesResponse {
    let verdict = match judgement.verdict {
        Verdict::Copy => proto::Verdict::Copy,
        Verdict::Edit => proto::Verdict::Edit,
        Verdict::Turned => proto::Verdict::Turned,
        Verdict::Mirrored => proto::Verdict::Mirrored,
        Verdict::AnotherShot => proto::Verdict::AnotherShot,
        Verdict::Different => proto::Verdict::Different,
    };
    proto::ComparePicturesResponse {
        verdict: verdict.into(),
        probability: judgement.probability,
        share_of_first: judgement.shared[0],
        share_of_second: judgement.shared[1],
        turned_degrees: judgement.turn,
        inliers: comparison.inliers,
    }
}
