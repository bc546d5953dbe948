//! `resemble search` and `similar`

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment};
use resembled::proto;
use resembled::proto::example;
use resembled::proto::library_service_client::LibraryServiceClient;
use resembled::proto::search_photos_request::Query;
use resembled::proto::search_service_client::SearchServiceClient;
use serde_json::json;
use tonic::{Code, Status};

use crate::Answer;
use crate::cli::{SearchArgs, SimilarArgs, Wanted};
use crate::connect::{Connection, refused};
use crate::sheet::{Figure, Sheet};
use crate::{filter, output};

/// Up to this size the picture itself is sent, so that the daemon need not be allowed to read it. A larger one is
/// named, and the daemon reads it.
const MAX_SENT_BYTES: u64 = 60 << 20;

/// Matches asked for at a time, so that a large answer is shown while it comes.
const PAGE: i32 = 1_000;

pub(crate) async fn search(channel: Connection, args: &SearchArgs) -> anyhow::Result<Answer> {
    let query = if args.text || args.like.is_empty() && args.unlike.is_empty() && is_word(&args.file) {
        let text = args.file.to_str().context("a word must be UTF-8")?;
        Query::Text(text.to_owned())
    } else if args.like.is_empty() && args.unlike.is_empty() {
        query(&args.file)?
    } else {
        let liked = args.like.iter().map(|liked| example(&liked.file, liked.weight));
        let unlike = args.unlike.iter().map(|unlike| example(&unlike.file, -unlike.weight));
        let examples = std::iter::once(example(&args.file, 1.0)).chain(liked).chain(unlike);
        Query::Examples(proto::Examples { examples: examples.collect::<anyhow::Result<_>>()? })
    };
    ask(channel, query, &args.file, &args.wanted).await
}

/// What is a file is the file; what looks like the path of one was meant as one.
fn is_word(file: &Path) -> bool {
    let is_plain = file.as_os_str() != "-" && file.extension().is_none() && file.components().count() == 1;
    is_plain && fs::symlink_metadata(file).is_err()
}

pub(crate) async fn similar(channel: Connection, args: &SimilarArgs) -> anyhow::Result<Answer> {
    let path = output::absolute(&args.file)?;
    let query = Query::IndexedPath(path.as_os_str().as_bytes().to_vec());
    ask(channel, query, &args.file, &args.wanted).await
}

/// Says what the daemon refused; of a file that it does not know, what to do.
fn refused_query(query: Option<&Query>, status: Status) -> anyhow::Error {
    match query {
        Some(Query::IndexedPath(path)) if status.code() == Code::NotFound => anyhow::anyhow!(
            "{} is not in the index: `resemble failures` says whether it could not be read, and `resemble search FILE` \
             takes any picture",
            output::shown(path)
        ),
        _ => refused(status),
    }
}

async fn ask(channel: Connection, query: Query, file: &Path, wanted: &Wanted) -> anyhow::Result<Answer> {
    let asked = output::shown(file.as_os_str().as_bytes());
    let title = match &query {
        Query::Text(word) => format!("Photos that show {word}"),
        _ => format!("Photos that resemble {asked}"),
    };
    let mut sheet = wanted.html.is_some().then(|| Sheet::new(&title));
    let library = LibraryServiceClient::new(channel.clone());
    let mut client = SearchServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut request = proto::SearchPhotosRequest {
        query: Some(query),
        metric: wanted.metric.map_or(proto::Metric::Unspecified, proto::Metric::from).into(),
        k: wanted.k.unwrap_or(0),
        max_distance: wanted.max_distance,
        exact: wanted.exact,
        filter: filter::filter(&wanted.filter)?,
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut answer = Answer::Nothing;
    loop {
        let page = client.search_photos(request.clone()).await;
        let page = page.map_err(|status| refused_query(request.query.as_ref(), status))?.into_inner();
        if !page.matches.is_empty() {
            answer = Answer::Found;
        }
        let is_last = page.next_page_token.is_empty();
        let is_first = request.page_token.is_empty();
        if let Some(meaning) = page.meaning.as_ref().filter(|_| is_first && !wanted.output.json) {
            say(meaning, page.photos_searched);
        }
        match (&mut sheet, answer) {
            _ if wanted.output.json => print_json(&page.matches)?,
            (Some(sheet), Answer::Found) => sheet.add(&library, &figures(&page.matches)).await,
            (None, Answer::Found) => print_table(&page.matches)?,
            (_, Answer::Nothing) if is_last && page.meaning.is_none() => {
                eprintln!("nothing found among {} photos", page.photos_searched);
            }
            (_, Answer::Nothing | Answer::Incomplete) => {}
        }
        if is_last {
            if let (Some(sheet), Some(file), Answer::Found) = (sheet, &wanted.html, answer) {
                sheet.write(file)?;
                output::line(format_args!("the photos are shown in {}", output::absolute(file)?.display()))?;
            }
            return Ok(answer);
        }
        request.page_token = page.next_page_token;
    }
}

/// Says what a word was taken for, and how many photos show it. Beside the table, so that a script reads photos alone.
fn say(meaning: &proto::WordMeaning, searched: u64) {
    match meaning.photos_showing {
        0 => eprintln!("none of {searched} photos shows {}: {}", meaning.word, meaning.gloss),
        1 => eprintln!("1 of {searched} photos shows {}: {}", meaning.word, meaning.gloss),
        many => eprintln!("{many} of {searched} photos show {}: {}", meaning.word, meaning.gloss),
    }
    for other in &meaning.other_meanings {
        eprintln!("  not meant: {other}");
    }
}

/// Returns the query for a picture file.
pub(crate) fn query(file: &Path) -> anyhow::Result<Query> {
    Ok(match picture(file)? {
        Picture::Bytes(bytes) => Query::Image(bytes.into()),
        Picture::Path(path) => Query::Path(path),
    })
}

pub(crate) fn example(file: &Path, weight: f32) -> anyhow::Result<proto::Example> {
    let query = match picture(file)? {
        Picture::Bytes(bytes) => example::Query::Image(bytes.into()),
        Picture::Path(path) => example::Query::Path(path),
    };
    Ok(proto::Example { query: Some(query), weight: Some(weight) })
}

/// How a picture is given to the daemon.
enum Picture {
    Bytes(Vec<u8>),
    Path(Vec<u8>),
}

fn picture(file: &Path) -> anyhow::Result<Picture> {
    let shown = || format!("cannot read {}", file.display());
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .take(MAX_SENT_BYTES + 1)
            .read_to_end(&mut bytes)
            .context("cannot read the standard input")?;
        anyhow::ensure!(
            bytes.len() as u64 <= MAX_SENT_BYTES,
            "the picture is too large to be sent: name its file"
        );
        return Ok(Picture::Bytes(bytes));
    }
    let metadata = fs::metadata(file).with_context(shown)?;
    anyhow::ensure!(metadata.is_file(), "{} is not a file", file.display());
    if metadata.len() > MAX_SENT_BYTES {
        return Ok(Picture::Path(output::absolute(file)?.as_os_str().as_bytes().to_vec()));
    }
    Ok(Picture::Bytes(fs::read(file).with_context(shown)?))
}

/// Returns what a contact sheet shows of matches.
fn figures(matches: &[proto::Match]) -> Vec<Figure<'_>> {
    let mut figures = Vec::with_capacity(matches.len());
    for found in matches {
        if let Some(photo) = &found.photo {
            let band = band(found.band()).unwrap_or_default();
            figures.push(Figure { photo, about: format!("{:.4} {band}", found.distance) });
        }
    }
    figures
}

fn print_json(matches: &[proto::Match]) -> anyhow::Result<()> {
    for found in matches {
        let photo = found.photo.clone().unwrap_or_default();
        let mut object = photo_json(&photo);
        object.extend(output::object(json!({
            "distance": found.distance,
            "similarity": found.similarity,
            "band": band(found.band()),
            "label": Some(&found.label).filter(|label| !label.is_empty()),
        })));
        output::json_line(&object)?;
    }
    Ok(())
}

/// Returns what a script may want of a photo: its first file, and what it has in common with its copies.
pub(crate) fn photo_json(photo: &proto::Photo) -> serde_json::Map<String, serde_json::Value> {
    let mut object = photo.files.first().map(output::file_json).unwrap_or_default();
    object.extend(output::object(json!({
        "copies": photo.files.iter().skip(1).map(output::file_json).collect::<Vec<_>>(),
        "content": photo.name.trim_start_matches("photos/"),
        "size": photo.size_bytes,
        "width": photo.width,
        "height": photo.height,
        "type": photo.media_type,
        "taken": output::time(photo.capture_time.as_ref()),
        "camera": photo.camera,
    })));
    object
}

fn print_table(matches: &[proto::Match]) -> anyhow::Result<()> {
    if matches.first().is_some_and(|found| !found.label.is_empty()) {
        let mut table = output::table(["likely", "label", "photo"]);
        for found in matches {
            let photo = found.photo.clone().unwrap_or_default();
            let likely = Cell::new(format!("{:.2}", found.similarity)).set_alignment(CellAlignment::Right);
            table.add_row([likely, Cell::new(&found.label), Cell::new(shown(&photo))]);
        }
        return output::print(&table);
    }
    let mut table = output::table(["distance", "similarity", "band", "photo"]);
    for found in matches {
        let photo = found.photo.clone().unwrap_or_default();
        let shown = shown(&photo);
        table.add_row([
            Cell::new(format!("{:.4}", found.distance)).set_alignment(CellAlignment::Right),
            Cell::new(format!("{:.4}", found.similarity)).set_alignment(CellAlignment::Right),
            Cell::new(band(found.band()).unwrap_or("-")),
            Cell::new(shown),
        ]);
    }
    output::print(&table)
}

/// Returns a band's word.
pub(crate) fn band(band: proto::Band) -> Option<&'static str> {
    match band {
        proto::Band::Unspecified => None,
        proto::Band::Same => Some("same"),
        proto::Band::Near => Some("near"),
        proto::Band::Similar => Some("similar"),
        proto::Band::Related => Some("related"),
    }
}

/// Returns a photo for the eyes: its first file, and what there is to say of the others.
pub(crate) fn shown(photo: &proto::Photo) -> String {
    let mut shown = photo.files.first().map(output::file).unwrap_or_default();
    match photo.files.len() {
        0 | 1 => {}
        2 => shown.push_str("  (+1 copy)"),
        files => shown.push_str(&format!("  (+{} copies)", files - 1)),
    }
    shown
}
