//! `resemble check`: which of these files are in the index already?
//!
//! Only a copy, byte for byte, is a file that may be thrown away; a resembling photo is shown, and no more than that.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ignore::WalkBuilder;
use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::library_service_client::LibraryServiceClient;
use resembled::proto::search_service_client::SearchServiceClient;
use serde_json::json;
use tonic::Code;

use crate::Answer;
use crate::cli::CheckArgs;
use crate::connect::{Connection, refused};
use crate::{output, search};

/// Where a file stands.
enum Finding {
    /// The index has the same bytes.
    Copy(proto::Photo),
    /// It has not; this is the nearest photo, if one is in the band `SAME` or `NEAR`.
    Missing(Option<proto::Match>),
    /// It has not, and the file is no picture that could be compared.
    NotComparable(String),
}

impl Finding {
    fn word(&self) -> &'static str {
        match self {
            Self::Copy(_) => "copy",
            Self::Missing(Some(found)) => search::band(found.band()).unwrap_or("new"),
            Self::Missing(None) => "new",
            Self::NotComparable(_) => "other",
        }
    }

    fn photo(&self) -> Option<&proto::Photo> {
        match self {
            Self::Copy(photo) => Some(photo),
            Self::Missing(found) => found.as_ref()?.photo.as_ref(),
            Self::NotComparable(_) => None,
        }
    }
}

/// [`Answer::Found`] when the index has a copy of every file.
pub(crate) async fn check(channel: Connection, args: &CheckArgs) -> anyhow::Result<Answer> {
    let mut library = LibraryServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let mut searching = SearchServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut answer = Answer::Found;
    for given in &args.files {
        for file in files(given)? {
            let file = file?;
            let finding = match copy(&mut library, &file).await? {
                Some(photo) => Finding::Copy(photo),
                None if args.copies => Finding::Missing(None),
                None => nearest(&mut searching, &file).await?,
            };
            let is_copy = matches!(finding, Finding::Copy(_));
            if !is_copy {
                answer = Answer::Nothing;
            }
            if !(args.missing && is_copy) {
                print(&file, &finding, args)?;
            }
        }
    }
    Ok(answer)
}

/// Returns a file as it was given, or the files below a folder, in the order of their names.
fn files(given: &Path) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<PathBuf>>>> {
    let metadata = fs::metadata(given).with_context(|| format!("cannot read {}", given.display()))?;
    if metadata.is_file() {
        return Ok(Box::new(std::iter::once(Ok(given.to_path_buf()))));
    }
    anyhow::ensure!(metadata.is_dir(), "{} is neither a file nor a folder", given.display());
    let entries = WalkBuilder::new(given).standard_filters(false).sort_by_file_name(Ord::cmp).build();
    Ok(Box::new(entries.filter_map(|entry| match entry {
        Ok(entry) => entry.file_type().is_some_and(|kind| kind.is_file()).then(|| Ok(entry.into_path())),
        Err(error) => Some(Err(error.into())),
    })))
}

/// Returns the photo of the index with the same bytes.
async fn copy(
    library: &mut LibraryServiceClient<Connection>,
    file: &Path,
) -> anyhow::Result<Option<proto::Photo>> {
    let content = File::open(file).and_then(ContentHash::read);
    let content = content.with_context(|| format!("cannot read {}", file.display()))?;
    match library.get_photo(proto::GetPhotoRequest { name: format!("photos/{content}") }).await {
        Ok(photo) => Ok(Some(photo.into_inner())),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(refused(status)),
    }
}

/// Returns the nearest photo, if it is near.
async fn nearest(searching: &mut SearchServiceClient<Connection>, file: &Path) -> anyhow::Result<Finding> {
    let request =
        proto::SearchPhotosRequest { query: Some(search::query(file)?), k: 1, ..Default::default() };
    let response = match searching.search_photos(request).await {
        Ok(response) => response.into_inner(),
        Err(status) if matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted) => {
            return Ok(Finding::NotComparable(status.message().to_owned()));
        }
        Err(status) => return Err(refused(status)),
    };
    let is_near = |found: &proto::Match| matches!(found.band(), proto::Band::Same | proto::Band::Near);
    Ok(Finding::Missing(response.matches.into_iter().next().filter(is_near)))
}

fn print(file: &Path, finding: &Finding, args: &CheckArgs) -> anyhow::Result<()> {
    let bytes = file.as_os_str().as_bytes();
    if args.output.json {
        let mut object = serde_json::Map::new();
        output::put_path(&mut object, bytes);
        object.extend(output::object(json!({ "state": finding.word() })));
        if let Finding::NotComparable(reason) = finding {
            object.extend(output::object(json!({ "reason": reason })));
        }
        if let Some(photo) = finding.photo() {
            object.extend(output::object(json!({ "photo": search::photo_json(photo) })));
        }
        return output::json_line(&object);
    }
    let file = output::shown(bytes);
    if args.missing {
        return output::line(file);
    }
    match (finding, finding.photo()) {
        (Finding::NotComparable(reason), _) => {
            output::line(format_args!("{:<5}  {file}: {reason}", finding.word()))
        }
        (_, Some(photo)) => {
            output::line(format_args!("{:<5}  {file}  {}", finding.word(), search::shown(photo)))
        }
        (_, None) => output::line(format_args!("{:<5}  {file}", finding.word())),
    }
}
