//! `GetThumbnail`: what is kept, or made anew of a file of the photo that can be reached.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::Status;

use super::blocking::blocking;
use super::connections::ConnectionId;
use super::convert::{self, Roots};
use super::{Api, disk, files, refuse};
use crate::decode::IsolatedError;
use crate::ingest::Contents;
use crate::photo::ContentHash;
use crate::proto;
use crate::proto::get_thumbnail_request::Photo as Asked;
use crate::store::{FileState, Reader, StoreError};
use crate::thumbnails::{Side, ThumbnailError};

/// Where the request does not say, in pixels.
const DEFAULT_SIDE: u32 = 512;

/// Files of a photo that are tried at the most. Each may be on a disk that takes its time to say no.
const MOST_TRIED: usize = 4;

/// What is known of the photo that is asked for.
enum Found {
    Kept(Vec<u8>),
    /// A thumbnail has to be made.
    Photo(ContentHash, proto::Photo),
    /// A file that is no photo, and why.
    NoPhoto(String),
}

/// Answers the call.
pub(super) async fn get(
    api: &Arc<Api>,
    connection: ConnectionId,
    request: proto::GetThumbnailRequest,
) -> Result<proto::Thumbnail, Status> {
    let side = side(request.longest_side)?;
    let (kind, name, found) = match request.photo {
        None => return Err(refuse::field("photo", "one of name, path or uri must be set")),
        Some(Asked::Name(name)) => {
            let content = convert::parse_photo_name("name", &name)?;
            let api = Arc::clone(api);
            ("photo", name, blocking(move |_| of_content(&api, &api.store.read()?, content, side)).await?)
        }
        Some(Asked::Path(path)) => of_path(api, convert::parse_path("path", &path)?, side).await?,
        Some(Asked::Uri(uri)) => of_path(api, convert::parse_uri("uri", &uri)?, side).await?,
    };
    match found {
        None => Err(refuse::not_found(kind, &name)),
        Some(Found::Kept(jpeg)) => Ok(proto::Thumbnail { jpeg }),
        Some(Found::NoPhoto(why)) => Err(Status::failed_precondition(format!("{name}: {why}"))),
        Some(Found::Photo(content, photo)) => make(api, connection, content, &photo, side).await,
    }
}

/// Returns what is found of a file, with what it is and its name for a refusal.
async fn of_path(
    api: &Arc<Api>,
    path: PathBuf,
    side: Side,
) -> Result<(&'static str, String, Option<Found>), Status> {
    let (asked, names) = (Arc::clone(api), vec![path.clone()]);
    let mut found = blocking(move |_| of_names(&asked, &names, side)).await?;
    if found.is_none() {
        // Only now, since the disk may be away.
        let (asked, names) = (Arc::clone(api), disk::names(&path).await?);
        found = blocking(move |_| of_names(&asked, &names, side)).await?;
    }
    Ok(("indexed photo", path.display().to_string(), found))
}

fn side(pixels: i32) -> Result<Side, Status> {
    let side = match u32::try_from(pixels) {
        Ok(0) => Side::at_least(DEFAULT_SIDE),
        Ok(pixels) => Side::at_least(pixels),
        Err(_) => None,
    };
    let most = Side::MOST;
    side.ok_or_else(|| {
        refuse::field("longest_side", format_args!("must be from 1 to {most}, or 0 for {DEFAULT_SIDE}"))
    })
}

fn of_content(
    api: &Api,
    reader: &Reader,
    content: ContentHash,
    side: Side,
) -> Result<Option<Found>, StoreError> {
    let Some(photo) = photo(api, reader, content)? else { return Ok(None) };
    Ok(Some(match api.thumbnails.kept(content, side) {
        Some(jpeg) => Found::Kept(jpeg),
        None => Found::Photo(content, photo),
    }))
}

fn of_names(api: &Api, names: &[PathBuf], side: Side) -> Result<Option<Found>, StoreError> {
    let reader = api.store.read()?;
    let Some((file, state)) = files::find(api, &reader, names)? else { return Ok(None) };
    match state {
        FileState::Photo(photo) => match reader.photos()?.get(photo)? {
            Some(record) => of_content(api, &reader, record.content, side),
            None => Ok(None),
        },
        FileState::NotAPhoto => Ok(Some(Found::NoPhoto("it is no photo".to_owned()))),
        FileState::Failed => {
            let why = reader.failure(&file)?.map(|failure| failure.reason);
            Ok(why.map(|why| Found::NoPhoto(format!("it could not be indexed: {why}"))))
        }
    }
}

/// `None` where no file has the content any more, too.
fn photo(api: &Api, reader: &Reader, content: ContentHash) -> Result<Option<proto::Photo>, StoreError> {
    match reader.photo_with(content)? {
        Some(photo) => convert::photo(&reader.photos()?, &Roots::of(api), photo),
        None => Ok(None),
    }
}

/// Makes the thumbnail of the first file that can be read and still has the content.
async fn make(
    api: &Arc<Api>,
    connection: ConnectionId,
    content: ContentHash,
    photo: &proto::Photo,
    side: Side,
) -> Result<proto::Thumbnail, Status> {
    let decoders = api.networks.answering().encoding.query_decoders.clone();
    let mut why = String::from("its drive is away");
    for file in photo.files.iter().filter(|file| file.online).take(MOST_TRIED) {
        let path = Path::new(OsStr::from_bytes(&file.path));
        // Nobody else waits meanwhile.
        if let Err(silent) = disk::wake(path).await {
            why = silent.message().to_owned();
            continue;
        }
        let permit = api.limiter.enter(connection).await?;
        let bytes = match disk::contents(path, decoders.limits().max_bytes).await {
            Ok(Contents::Whole { bytes, .. }) => bytes,
            Ok(other) => {
                why = reason(&other);
                continue;
            }
            Err(silent) => {
                why = silent.message().to_owned();
                continue;
            }
        };
        let (api, decoders) = (Arc::clone(api), decoders.clone());
        let made = blocking(move |cancel| -> Result<Option<Vec<u8>>, Status> {
            // The next call may run when this has really ended.
            let _permit = permit;
            if ContentHash::of(&bytes) != content {
                return Ok(None);
            }
            let is_away = |other| is_away(&api, other);
            let made = api.thumbnails.make(&decoders, content, side, &bytes, cancel, &is_away);
            made.map(Some).map_err(refused)
        });
        if let Some(jpeg) = made.await? {
            return Ok(proto::Thumbnail { jpeg });
        }
        why = "its file has just changed".to_owned();
    }
    Err(Status::failed_precondition(format!(
        "the photo cannot be shown, and no thumbnail of it was kept: {why}"
    )))
}

/// Says whether all files of a photo are on drives that are away. What cannot be told will be at the next time.
fn is_away(api: &Api, content: ContentHash) -> bool {
    let photo = api.store.read().and_then(|reader| photo(api, &reader, content));
    matches!(photo, Ok(Some(photo)) if !photo.files.iter().any(|file| file.online))
}

/// Says why a file gave no bytes.
fn reason(contents: &Contents) -> String {
    match contents {
        Contents::Whole { .. } => String::new(),
        Contents::Vanished => "its file is gone".to_owned(),
        Contents::NotAPhoto { .. } | Contents::Changing => "its file has just changed".to_owned(),
        Contents::TooLarge { .. } => "its file is larger than the configuration allows".to_owned(),
        Contents::Unreadable { error } => format!("its file cannot be read: {error}"),
        Contents::NoAnswer(error) => error.to_string(),
    }
}

fn refused(error: ThumbnailError) -> Status {
    match error {
        ThumbnailError::Decode(IsolatedError::Cancelled) => refuse::given_up(),
        ThumbnailError::Decode(IsolatedError::Photo(error)) => {
            Status::failed_precondition(format!("the photo cannot be decoded: {error}"))
        }
        ThumbnailError::Decode(error) => refuse::unavailable("the photo could not be decoded now", &error),
        error @ (ThumbnailError::Encode(_) | ThumbnailError::NoPixels) => {
            refuse::internal("the thumbnail could not be made", &error)
        }
    }
}
