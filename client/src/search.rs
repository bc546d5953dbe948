//! `resemble search` and `similar`

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment};
use resembled_api::proto;
use resembled_api::proto::example;
use resembled_api::proto::get_thumbnail_request;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use resembled_api::proto::search_photos_request::Query;
use resembled_api::proto::search_service_client::SearchServiceClient;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

use crate::Answer;
use crate::asked::{self, Asked};
use crate::cli::{Listing, SearchArgs, SimilarArgs, Wanted};
use crate::connect::{Connection, refused};
use crate::sheet::{Figure, Sheet};
use crate::{compare, filter, output, words};

/// Up to this size the picture itself is sent, so that the daemon need not be allowed to read it. A larger one is
/// named, and the daemon reads it.
const MAX_SENT_BYTES: u64 = 60 << 20;

/// Matches asked for at a time, so that a large answer is shown while it comes.
const PAGE: i32 = 1_000;

pub(crate) async fn search(channel: Connection, args: &SearchArgs) -> anyhow::Result<Answer> {
    let asked = Asked::of(&args.asked, args.text)?;
    let title = asked.title();
    let guess = match &asked {
        Asked::File(file) if !asked::looks_like_a_path(file) && !args.wanted.listing.json => {
            eprintln!("{} is a file here; with --text it is taken for a word", file.display());
            None
        }
        Asked::Words(text) if args.asked.len() == 1 && !args.text => {
            Some(format!("there is no file {text} here, so it was taken for a word"))
        }
        _ => None,
    };
    let query = asked.query(&args.like, &args.unlike)?;
    let how = How { turned: args.turned.then_some(true), verify: args.verify };
    let answer = ask(channel, query, how, &title, &args.wanted).await;
    match guess {
        Some(guess) => answer.context(guess),
        None => answer,
    }
}

pub(crate) async fn similar(channel: Connection, args: &SimilarArgs) -> anyhow::Result<Answer> {
    let path = output::absolute(&args.file)?;
    let query = Query::IndexedPath(path.as_os_str().as_bytes().to_vec());
    let title = format!("Photos that resemble {}", output::shown(args.file.as_os_str().as_bytes()));
    ask(channel, query, How::default(), &title, &args.wanted).await
}

/// How a picture is searched for.
#[derive(Clone, Copy, Default)]
struct How {
    turned: Option<bool>,
    verify: bool,
}

/// Says what the daemon refused; of a file that it does not know, why, or what to do.
async fn refused_query(
    mut library: LibraryServiceClient<Connection>,
    query: Option<&Query>,
    status: Status,
) -> anyhow::Error {
    let Some(Query::IndexedPath(path)) = query.filter(|_| status.code() == Code::NotFound) else {
        return refused(status);
    };
    // Of a file that could not be indexed this is refused with the reason.
    let photo = Some(get_thumbnail_request::Photo::Path(path.clone()));
    let request = proto::GetThumbnailRequest { photo, longest_side: 0 };
    match library.get_thumbnail(request).await {
        Err(why) if why.code() == Code::FailedPrecondition => refused(why),
        _ => anyhow::anyhow!(
            "{} is not in the index; `resemble search FILE` takes any picture",
            output::shown(path)
        ),
    }
}

async fn ask(
    channel: Connection,
    query: Query,
    How { turned, verify }: How,
    title: &str,
    wanted: &Wanted,
) -> anyhow::Result<Answer> {
    let mut sheet = wanted.html.is_some().then(|| Sheet::new(title));
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
        order_by: if wanted.by_date { "capture_time desc" } else { "" }.to_owned(),
        turned,
        verify,
        model_digest: String::new(),
    };
    let is_worded = request.query.as_ref().is_some_and(asked::is_worded);
    let mut answer = Answer::Nothing;
    loop {
        let page = client.search_photos(request.clone()).await;
        let page = match page {
            Ok(page) => page.into_inner(),
            Err(status) => return Err(refused_query(library, request.query.as_ref(), status).await),
        };
        if !page.matches.is_empty() {
            answer = Answer::Found;
        }
        let is_last = page.next_page_token.is_empty();
        let is_first = request.page_token.is_empty();
        // Texts that were encoded have distances, as pictures have.
        let is_worded = is_worded && !page.free_text;
        if is_first && !page.meanings.is_empty() && !wanted.listing.is_for_programs() {
            words::say(&page);
        }
        if is_first && page.free_text && !page.matches.is_empty() && !wanted.listing.is_for_programs() {
            eprintln!(
                "the nearest of {} photos; from where on they do not show it, is for you to see",
                page.photos_searched
            );
        }
        match (&mut sheet, answer) {
            _ if wanted.listing.json => print_json(&page.matches)?,
            _ if wanted.listing.is_for_programs() => print_paths(&page.matches, wanted.listing)?,
            (Some(sheet), Answer::Found) => sheet.add(&library, &figures(&page.matches, is_worded)).await,
            (None, Answer::Found) => print_table(&page.matches, is_worded, wanted.by_date)?,
            (_, Answer::Nothing) if is_last && page.meanings.is_empty() => {
                eprintln!("nothing found among {} photos", page.photos_searched);
                filter::say_what_there_is(library.clone(), &wanted.filter).await?;
            }
            (_, Answer::Nothing | Answer::Incomplete) => {}
        }
        if is_last {
            if let (Some(sheet), Some(file), Answer::Found) = (sheet, &wanted.html, answer) {
                sheet.write(file, wanted.open)?;
            }
            return Ok(answer);
        }
        // Of the next page it is known without.
        request.query = None;
        request.page_token = page.next_page_token;
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
fn figures(matches: &[proto::Match], is_worded: bool) -> Vec<Figure<'_>> {
    let mut figures = Vec::with_capacity(matches.len());
    for found in matches {
        if let Some(photo) = &found.photo {
            let band = told(found).unwrap_or_default();
            let about = match is_worded {
                true => format!("{:.2} {}", found.similarity, found.labels.join(", ")),
                false => format!("{:.4} {band}", found.distance),
            };
            figures.push(Figure::new(photo, about));
        }
    }
    figures
}

/// Prints the path of each match: of its first file, which is online if one is.
fn print_paths(matches: &[proto::Match], listing: Listing) -> anyhow::Result<()> {
    let files = matches.iter().filter_map(|found| found.photo.as_ref()?.files.first());
    files.into_iter().try_for_each(|file| listing.print_path(&file.path).map(drop))
}

fn print_json(matches: &[proto::Match]) -> anyhow::Result<()> {
    matches.iter().try_for_each(|found| output::json_line(&match_json(found)))
}

/// Returns what a script may want of a match.
pub(crate) fn match_json(found: &proto::Match) -> Map<String, Value> {
    let mut object = found.photo.as_ref().map(photo_json).unwrap_or_default();
    object.extend(output::object(json!({
        "distance": found.distance,
        "similarity": found.similarity,
        "band": band(found.band()),
        "labels": found.labels,
        "quarter_turns": found.quarter_turns,
    })));
    object.extend(second_look_json(found));
    object
}

/// Returns what a script may want of a photo: its first file, and what it has in common with its copies.
pub(crate) fn photo_json(photo: &proto::Photo) -> Map<String, Value> {
    let mut object = photo.files.first().map(output::file_json).unwrap_or_default();
    let copies: Vec<_> = photo.files.iter().skip(1).map(output::file_json).collect();
    object.insert("copies".into(), json!(copies));
    object.extend(output::about(photo));
    object
}

/// Matches as a table. Words alone have likelihoods instead of distances, and say which label speaks.
fn print_table(matches: &[proto::Match], is_worded: bool, by_date: bool) -> anyhow::Result<()> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut head = match is_worded {
        true => vec!["likely", "label"],
        false => vec!["distance", "band"],
    };
    if by_date {
        head.push("taken");
    }
    head.push("photo");
    let told = |found: &proto::Match| match is_worded {
        true => found.labels.join(", "),
        false => told(found).unwrap_or_else(|| "-".to_owned()),
    };
    let widest = matches.iter().map(|found| told(found).chars().count()).max().unwrap_or(0);
    // Each column has a space on both sides.
    let beside = if is_worded { 8 } else { 10 } + 2 + widest.max(5) + if by_date { 21 } else { 0 } + 2;
    let mut table = output::table(head);
    for found in matches {
        let photo = found.photo.clone().unwrap_or_default();
        let mut row = match is_worded {
            true => vec![right(format!("{:.2}", found.similarity)), Cell::new(told(found))],
            false => vec![right(format!("{:.4}", found.distance)), Cell::new(told(found))],
        };
        if by_date {
            row.push(Cell::new(output::taken_text(&photo)));
        }
        row.push(Cell::new(shown(&photo, beside)));
        table.add_row(row);
    }
    output::print(&table)
}

/// Returns a match's band, what was seen of it, and whether a part of it is lost.
fn told(found: &proto::Match) -> Option<String> {
    let is_damaged = found.photo.as_ref().is_some_and(|photo| photo.damaged);
    let damage = is_damaged.then(|| "damaged".to_owned());
    let all: Vec<String> = [band_and_turn(found), seen(found), damage].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Says what was seen when a picture and a match were looked at side by side; nothing where they were not, or are different.
pub(crate) fn seen(found: &proto::Match) -> Option<String> {
    let percent = |share: f32| (share * 100.0).round();
    if !found.second_look_failed.is_empty() {
        return Some("not looked at".to_owned());
    }
    let look = found.second_look?;
    let edit = || compare::edit_of(percent(look.share_of_photo), percent(look.share_of_query));
    Some(match look.verdict() {
        proto::Verdict::Unspecified | proto::Verdict::Different => return None,
        proto::Verdict::Edit => edit(),
        verdict => compare::word(verdict).to_owned(),
    })
}

/// Returns the same for programs.
pub(crate) fn second_look_json(found: &proto::Match) -> serde_json::Map<String, serde_json::Value> {
    let mut object = serde_json::Map::new();
    if let Some(look) = &found.second_look {
        object.extend(output::object(json!({ "second_look": {
            "verdict": compare::word_of_programs(look.verdict()),
            "probability": look.probability,
            "share_of_query": look.share_of_query,
            "share_of_photo": look.share_of_photo,
            "turned_degrees": look.turned_degrees,
        }})));
    }
    if !found.second_look_failed.is_empty() {
        object.extend(output::object(json!({ "second_look_failed": found.second_look_failed })));
    }
    object
}

/// Returns a match's band, and how the query lies to be so near.
fn band_and_turn(found: &proto::Match) -> Option<String> {
    let turn = match found.quarter_turns {
        0 => return band(found.band()).map(str::to_owned),
        1 => "turned right",
        2 => "upside down",
        _ => "turned left",
    };
    Some(band(found.band()).map_or_else(|| turn.to_owned(), |band| format!("{band}, {turn}")))
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

/// Returns a photo for the eyes, beside so many columns of other things: its first file, and what there is to say of the
/// others.
pub(crate) fn shown(photo: &proto::Photo, taken: usize) -> String {
    let others = match photo.files.len() {
        0 | 1 => String::new(),
        2 => "  (+1 copy)".to_owned(),
        files => format!("  (+{} copies)", files - 1),
    };
    let first = photo.files.first().map(|file| output::file(file, taken + others.len()));
    first.unwrap_or_default() + &others
}
