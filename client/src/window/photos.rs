//! Photos: lists in order of time, counts, one photo, thumbnails, and searches.

use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use resembled_api::proto;
use resembled_api::proto::{example, get_thumbnail_request};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::Code;

use super::Window;
use super::answer::{self, Body, Failure};
use super::asking::{self, Example, Filter};
use crate::cli::By;
use crate::connect::retry_delay;
use crate::list::count_json;
use crate::search::{match_json, photo_json};
use crate::{asked, words};

/// Photos of a page, where the page does not say.
const PAGE: i32 = 200;

/// How often the daemon is asked again when it has too much to do.
const TRIES: u32 = 20;

/// Words that are offered while one is typed.
const MOST_WORDS: usize = 12;

/// Labels of a photo less likely than this say nothing about it.
const LEAST_LIKELIHOOD: f32 = 0.05;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListAsked {
    filter: Filter,
    oldest_first: bool,
    page_size: Option<u16>,
    page_token: String,
}

pub(super) async fn list(window: &Window, asked: ListAsked) -> Result<Value, Failure> {
    let request = proto::ListPhotosRequest {
        page_size: asked.page_size.map_or(PAGE, i32::from),
        page_token: asked.page_token,
        filter: asked.filter.to_proto()?,
        order_by: if asked.oldest_first { "capture_time" } else { "capture_time desc" }.to_owned(),
    };
    let page = window.library().list_photos(request).await?.into_inner();
    let photos: Vec<_> = page.photos.iter().map(photo_json).collect();
    Ok(json!({ "photos": photos, "next": page.next_page_token, "total": page.total_size }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountAsked {
    by: By,
    #[serde(default)]
    filter: Filter,
}

pub(super) async fn count(window: &Window, asked: CountAsked) -> Result<Value, Failure> {
    let filter = asked.filter.to_proto()?;
    let request = proto::CountPhotosRequest { filter, facet: proto::Facet::from(asked.by).into() };
    let counted = window.library().count_photos(request).await?.into_inner();
    let counts: Vec<_> = counted.counts.iter().map(count_json).collect();
    Ok(json!({ "counts": counts, "total": counted.total_size }))
}

/// One photo.
pub(super) async fn photo(window: &Window, content: &str) -> Result<Value, Failure> {
    let name = format!("photos/{content}");
    let photo = window.library().get_photo(proto::GetPhotoRequest { name }).await?.into_inner();
    Ok(Value::Object(photo_json(&photo)))
}

/// What a photo shows. A network that knows no words says nothing of it.
pub(super) async fn labels(window: &Window, content: &str) -> Result<Value, Failure> {
    let query = Some(example::Query::Photo(format!("photos/{content}")));
    let picture = Some(proto::Example { query, weight: None });
    let labels = match window.search().describe_photo(proto::DescribePhotoRequest { picture }).await {
        Ok(described) => described.into_inner().labels,
        Err(status) if status.code() == Code::FailedPrecondition => Vec::new(),
        Err(status) => return Err(status.into()),
    };
    let likely = labels.iter().filter(|label| label.likelihood >= LEAST_LIKELIHOOD);
    let labels: Vec<_> =
        likely.map(|label| json!({ "label": label.word, "likelihood": label.likelihood })).collect();
    Ok(json!({ "labels": labels }))
}

/// A thumbnail by the daemon, which makes it of an indexed photo only. While that has too much to do, we wait for it.
pub(super) async fn thumbnail(window: &Window, content: &str, side: i32) -> Result<Response<Body>, Failure> {
    if !asking::is_content(content) {
        return Err(Failure::new(StatusCode::NOT_FOUND, "no photo has this name"));
    }
    let photo = Some(get_thumbnail_request::Photo::Name(format!("photos/{content}")));
    let request = proto::GetThumbnailRequest { photo, longest_side: side };
    let mut library = window.library();
    let mut tries = 0;
    loop {
        match library.get_thumbnail(request.clone()).await {
            Ok(thumbnail) => return Ok(answer::jpeg(thumbnail.into_inner().jpeg)),
            Err(status) => match retry_delay(&status).filter(|_| tries < TRIES) {
                Some(delay) => sleep(delay).await,
                None => return Err(status.into()),
            },
        }
        tries += 1;
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SearchAsked {
    examples: Vec<Example>,
    filter: Filter,
    k: u32,
    by_date: bool,
    page_size: Option<u16>,
    page_token: String,
}

/// Searches by photos of the index, words, and the picture that came with the request.
pub(super) async fn search(window: &Window, asked: SearchAsked, picture: Bytes) -> Result<Value, Failure> {
    let query = asking::query(&asked.examples, &picture)?;
    let is_worded = asked::is_worded(&query);
    let request = proto::SearchPhotosRequest {
        query: Some(query),
        k: asked.k,
        filter: asked.filter.to_proto()?,
        page_size: asked.page_size.map_or(PAGE, i32::from),
        page_token: asked.page_token,
        order_by: if asked.by_date { "capture_time desc" } else { "" }.to_owned(),
        ..Default::default()
    };
    let page = window.search().search_photos(request).await?.into_inner();
    let matches: Vec<_> = page.matches.iter().map(match_json).collect();
    Ok(json!({
        "matches": matches,
        "next": page.next_page_token,
        "total": page.total_size,
        "searched": page.photos_searched,
        "words": is_worded && !page.free_text,
        "said": if page.meanings.is_empty() { Vec::new() } else { words::said(&page) },
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WordsAsked {
    prefix: String,
}

/// Words that begin with what is typed. A network that knows none offers none.
pub(super) async fn words(window: &Window, asked: WordsAsked) -> Result<Value, Failure> {
    let request = proto::ListWordsRequest { prefix: asked.prefix };
    let words = match window.search().list_words(request).await {
        Ok(list) => list.into_inner().words,
        Err(status) if status.code() == Code::FailedPrecondition => Vec::new(),
        Err(status) => return Err(status.into()),
    };
    Ok(json!({ "words": words.into_iter().take(MOST_WORDS).collect::<Vec<_>>() }))
}
