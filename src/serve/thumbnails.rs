//! `GetThumbnail`, and the local features of photos: what is kept, or made anew of a file of the photo that can be reached.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::{Code, Status};

use super::blocking::blocking;
use super::connections::ConnectionId;
use super::convert::{self, Roots};
use super::refuse::Reason;
use super::{Api, disk, files, refuse};
use crate::decode::{Cancel, Decoders, IsolatedError};
use crate::ingest::Contents;
use crate::photo::ContentHash;
use crate::proto;
pub(super) use crate::proto::get_thumbnail_request::Photo as Asked;
use crate::store::{FileState, Reader, StoreError};
use crate::thumbnails::{Side, ThumbnailError};
use crate::verify::LocalFeatures;

/// Where the request does not say, in pixels.
const DEFAULT_SIDE: u32 = 512;

/// Files of a photo that are tried at the most. Each may be on a disk that takes its time to say no.
const MOST_TRIED: usize = 4;

/// What is known of the photo that is asked for.
enum Found {
    Photo(ContentHash, Box<proto::Photo>),
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
    let asked =
        request.photo.ok_or_else(|| refuse::field("photo", "one of name, path or uri must be set"))?;
    let (content, photo) = find(api, asked).await?;
    let keeping = Arc::clone(api);
    let kept = blocking(move |_| Ok::<_, Status>(keeping.thumbnails.kept(content, side))).await?;
    if let Some(jpeg) = kept {
        return Ok(proto::Thumbnail { jpeg });
    }
    let made = from_file(api, connection, content, &photo, move |api, decoders, bytes, cancel| {
        api.thumbnails.make(decoders, content, side, bytes, cancel, &|other| is_away(api, other))
    });
    let jpeg = made.await?.map_err(|why| {
        let what = "the photo cannot be shown, and no thumbnail of it was kept";
        refuse::because(Code::FailedPrecondition, Reason::NoPicture, format!("{what}: {why}"))
    })?;
    Ok(proto::Thumbnail { jpeg })
}

/// Returns the local features of a photo of the index.
pub(super) async fn features(
    api: &Arc<Api>,
    connection: ConnectionId,
    asked: Asked,
) -> Result<LocalFeatures, Status> {
    let (content, photo) = find(api, asked).await?;
    let keeping = Arc::clone(api);
    let kept = blocking(move |_| Ok::<_, Status>(keeping.thumbnails.kept_features(content))).await?;
    if let Some(features) = kept {
        return Ok(features);
    }
    let made = from_file(api, connection, content, &photo, move |api, decoders, bytes, cancel| {
        api.thumbnails.make_features(decoders, content, bytes, cancel, &|other| is_away(api, other))
    });
    let why = match made.await? {
        Ok(features) => return Ok(features),
        Err(why) => why,
    };
    let permit = api.limiter.enter(connection).await?;
    let decoders = api.networks.answering().encoding.query_decoders.clone();
    let looking = Arc::clone(api);
    let found = blocking(move |cancel| {
        let _permit = permit;
        looking.thumbnails.features_of_thumbnail(&decoders, content, cancel).map_err(refused)
    });
    let nothing = || {
        let what = "the photo cannot be looked at, and no thumbnail of it was kept";
        refuse::because(Code::FailedPrecondition, Reason::NoPicture, format!("{what}: {why}"))
    };
    found.await?.ok_or_else(nothing)
}

/// Returns the photo that is asked for.
async fn find(api: &Arc<Api>, asked: Asked) -> Result<(ContentHash, proto::Photo), Status> {
    let (kind, name, found) = match asked {
        Asked::Name(name) => {
            let content = convert::parse_photo_name("name", &name)?;
            let api = Arc::clone(api);
            ("photo", name, blocking(move |_| of_content(&api, &api.store.read()?, content)).await?)
        }
        Asked::Path(path) => of_path(api, convert::parse_path("path", &path)?).await?,
        Asked::Uri(uri) => of_path(api, convert::parse_uri("uri", &uri)?).await?,
    };
    match found {
        None => Err(refuse::not_found(kind, &name)),
        Some(Found::NoPhoto(why)) => {
            Err(refuse::because(Code::FailedPrecondition, Reason::NoPicture, format!("{name}: {why}")))
        }
        Some(Found::Photo(content, photo)) => Ok((content, *photo)),
    }
}

/// Returns what is found of a file, with what it is and its name for a refusal.
async fn of_path(api: &Arc<Api>, path: PathBuf) -> Result<(&'static str, String, Option<Found>), Status> {
    let (asked, names) = (Arc::clone(api), vec![path.clone()]);
    let mut found = blocking(move |_| of_names(&asked, &names)).await?;
    if found.is_none() {
        // Only now, since the disk may be away.
        let (asked, names) = (Arc::clone(api), disk::names(&path).await?);
        found = blocking(move |_| of_names(&asked, &names)).await?;
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

fn of_content(api: &Api, reader: &Reader, content: ContentHash) -> Result<Option<Found>, StoreError> {
    Ok(photo(api, reader, content)?.map(|photo| Found::Photo(content, Box::new(photo))))
}

fn of_names(api: &Api, names: &[PathBuf]) -> Result<Option<Found>, StoreError> {
    let reader = api.store.read()?;
    let Some((file, state)) = files::find(api, &reader, names)? else { return Ok(None) };
    match state {
        FileState::Photo(photo) => match reader.photos()?.get(photo)? {
            Some(record) => of_content(api, &reader, record.content),
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

/// Makes something of the first file that can be read and still has the content, or says why there is none.
async fn from_file<T: Send + 'static>(
    api: &Arc<Api>,
    connection: ConnectionId,
    content: ContentHash,
    photo: &proto::Photo,
    make: impl Fn(&Api, &Decoders, &[u8], &Cancel) -> Result<T, ThumbnailError> + Clone + Send + 'static,
) -> Result<Result<T, String>, Status> {
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
        let (api, decoders, make) = (Arc::clone(api), decoders.clone(), make.clone());
        let made = blocking(move |cancel| -> Result<Option<T>, Status> {
            // The next call may run when this has really ended.
            let _permit = permit;
            if ContentHash::of(&bytes) != content {
                return Ok(None);
            }
            make(&api, &decoders, &bytes, cancel).map(Some).map_err(refused)
        });
        if let Some(made) = made.await? {
            return Ok(Ok(made));
        }
        why = "its file has just changed".to_owned();
    }
    Ok(Err(why))
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
        ThumbnailError::Decode(IsolatedError::Photo(error)) => refuse::because(
            Code::FailedPrecondition,
            Reason::NoPicture,
            format!("the photo cannot be decoded: {error}"),
        ),
        ThumbnailError::Decode(error) => refuse::unavailable("the photo could not be decoded now", &error),
        error @ (ThumbnailError::Encode(_) | ThumbnailError::NoPixels) => {
            refuse::internal("the thumbnail could not be made", &error)
        }
    }
}
