//! What the tools do: arguments in, what the assistant reads out. The daemon is connected to anew for each call.

use std::os::unix::ffi::OsStrExt;

use anyhow::{anyhow, ensure};
use data_encoding::BASE64;
use resembled_api::proto;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use resembled_api::proto::duplicate_service_client::DuplicateServiceClient;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use resembled_api::proto::search_photos_request::Query;
use resembled_api::proto::search_service_client::SearchServiceClient;
use resembled_api::proto::{example, get_thumbnail_request};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::Code;

use super::asking::{FilterAsked, Named, read};
use crate::cli::{By, DuplicateKind, Target};
use crate::connect::{Connection, connect, refused};
use crate::duplicates::{group_json, said};
use crate::list::count_json;
use crate::rest::split_as_marked;
use crate::search::{match_json, photo_json};
use crate::status::status_json;
use crate::{asked, filter, words};

/// How many of something a tool returns.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Where the call does not say.
    pub(super) usual: u16,
    pub(super) most: u16,
}

impl Limits {
    fn of(self, asked: Option<u32>) -> anyhow::Result<u32> {
        let limit = asked.unwrap_or(self.usual.into());
        ensure!((1..=self.most.into()).contains(&limit), "limit: from 1 to {}", self.most);
        Ok(limit)
    }
}

pub(super) const PHOTOS: Limits = Limits { usual: 20, most: 200 };
pub(super) const GROUPS: Limits = Limits { usual: 20, most: 100 };
pub(super) const COUNTS: Limits = Limits { usual: 100, most: 1_000 };

/// Pictures that are shown at a time: a model takes many words' room for each.
pub(super) const MOST_SHOWN: usize = 8;

fn library(channel: Connection) -> LibraryServiceClient<Connection> {
    LibraryServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// Returns an answer as the text that the assistant reads, without what says nothing.
fn text(mut answer: Value) -> Vec<Value> {
    strip(&mut answer);
    vec![json!({ "type": "text", "text": answer.to_string() })]
}

/// Leaves out what is null or empty.
fn strip(value: &mut Value) {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(strip);
            // A list without anything in it is an answer; of a photo, it only says that there are no copies.
            let is_no_copy = |name: &str, value: &Value| {
                matches!(name, "copies" | "labels") && value.as_array().is_some_and(Vec::is_empty)
            };
            object.retain(|name, value| !says_nothing(value) && !is_no_copy(name, value));
        }
        Value::Array(array) => array.iter_mut().for_each(strip),
        _ => {}
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SearchAsked {
    text: Option<String>,
    like: Vec<String>,
    unlike: Vec<String>,
    limit: Option<u32>,
    newest_first: Option<bool>,
}

pub(super) async fn search(target: &Target, mut arguments: Map<String, Value>) -> anyhow::Result<Vec<Value>> {
    let filter_args = FilterAsked::take(&mut arguments)?.to_args()?;
    let asked: SearchAsked = read(arguments)?;
    let limit = PHOTOS.of(asked.limit)?;
    let filter = filter::filter(&filter_args)?;
    let query = query(&asked).await?;
    let channel = connect(target).await?;
    let mut answer = match query {
        None => newest(channel.clone(), filter, limit, asked.newest_first.unwrap_or(true)).await?,
        Some(query) => {
            nearest(channel.clone(), query, filter, limit, asked.newest_first == Some(true)).await?
        }
    };
    if answer["photos"] == json!([]) {
        answer["instead"] = filter::what_there_is(library(channel), &filter_args).await?.into();
    }
    Ok(text(answer))
}

/// Returns what is searched for; `None` where only conditions are.
async fn query(asked: &SearchAsked) -> anyhow::Result<Option<Query>> {
    let mut examples = Vec::new();
    if let Some(text) = asked.text.as_deref().filter(|text| !text.trim().is_empty()) {
        let query = Some(example::Query::Text(text.to_owned()));
        examples.push(proto::Example { query, weight: Some(1.0) });
    }
    for (pictures, weight) in [(&asked.like, 1.0), (&asked.unlike, -1.0)] {
        for picture in pictures {
            examples.push(Named::of(picture)?.example(weight).await?);
        }
    }
    ensure!(
        examples.is_empty() || asked.unlike.len() < examples.len(),
        "unlike: only beside words or pictures that the photos do resemble"
    );
    let alone = if examples.len() == 1 { examples.pop().and_then(|example| example.query) } else { None };
    Ok(match alone {
        // An answer to one thing alone says more.
        Some(example::Query::Text(text)) => Some(Query::Text(text)),
        Some(example::Query::Photo(name)) => Some(Query::Photo(name)),
        Some(example::Query::Image(bytes)) => Some(Query::Image(bytes)),
        Some(example::Query::Path(path)) => Some(Query::Path(path)),
        Some(example::Query::IndexedPath(path)) => Some(Query::IndexedPath(path)),
        Some(other) => {
            let examples = vec![proto::Example { query: Some(other), weight: None }];
            Some(Query::Examples(proto::Examples { examples }))
        }
        None if examples.is_empty() => None,
        None => {
            asked::balance(&mut examples);
            Some(Query::Examples(proto::Examples { examples }))
        }
    })
}

async fn newest(
    channel: Connection,
    filter: Option<proto::Filter>,
    limit: u32,
    newest_first: bool,
) -> anyhow::Result<Value> {
    let request = proto::ListPhotosRequest {
        page_size: i32::try_from(limit)?,
        page_token: String::new(),
        filter,
        order_by: if newest_first { "capture_time desc" } else { "capture_time" }.to_owned(),
    };
    let page = library(channel).list_photos(request).await.map_err(refused)?.into_inner();
    let photos: Vec<_> = page.photos.iter().map(photo_json).collect();
    Ok(json!({ "photos": photos, "total": page.total_size }))
}

async fn nearest(
    channel: Connection,
    query: Query,
    filter: Option<proto::Filter>,
    limit: u32,
    newest_first: bool,
) -> anyhow::Result<Value> {
    let is_worded = asked::is_worded(&query);
    let request = proto::SearchPhotosRequest {
        query: Some(query),
        k: limit,
        filter,
        order_by: if newest_first { "capture_time desc" } else { "" }.to_owned(),
        ..Default::default()
    };
    let mut client = SearchServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let page = client.search_photos(request).await.map_err(unknown_file)?.into_inner();
    let photos: Vec<_> = page.matches.iter().map(match_json).collect();
    let mut answer = json!({ "photos": photos, "photos_searched": page.photos_searched });
    match is_worded && !page.free_text {
        true => {
            answer["total"] = page.photos_showing.into();
            answer["meaning"] = words::said(&page).into();
        }
        false => {
            answer["note"] = "the nearest that there are, however far: smaller distances are nearer".into();
        }
    }
    Ok(answer)
}

/// Says what the daemon refused. A file is looked for in the index where it is not on this machine.
fn unknown_file(status: tonic::Status) -> anyhow::Error {
    let is_unknown = status.code() == Code::NotFound;
    let error = refused(status);
    match is_unknown {
        true => anyhow!("{error:#}; there is no such file here either"),
        false => error,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountAsked {
    by: By,
    limit: Option<u32>,
}

pub(super) async fn count(target: &Target, mut arguments: Map<String, Value>) -> anyhow::Result<Vec<Value>> {
    let filter_args = FilterAsked::take(&mut arguments)?.to_args()?;
    let asked: CountAsked = read(arguments)?;
    let limit = COUNTS.of(asked.limit)?;
    let filter = filter::filter(&filter_args)?;
    let request = proto::CountPhotosRequest { filter, facet: proto::Facet::from(asked.by).into() };
    let channel = connect(target).await?;
    let counted = library(channel).count_photos(request).await.map_err(refused)?.into_inner();
    let counts: Vec<_> = counted.counts.iter().take(usize::try_from(limit)?).map(count_json).collect();
    Ok(text(json!({ "counts": counts, "total": counted.total_size, "values": counted.counts.len() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowAsked {
    photos: Vec<String>,
    #[serde(default)]
    longest_side: i32,
}

/// Shows each photo that can be shown, and says of the others why not.
pub(super) async fn show(target: &Target, arguments: Map<String, Value>) -> anyhow::Result<Vec<Value>> {
    let asked: ShowAsked = read(arguments)?;
    ensure!((1..=MOST_SHOWN).contains(&asked.photos.len()), "photos: from 1 to {MOST_SHOWN} at a time");
    let mut library = library(connect(target).await?);
    let (mut content, mut shown) = (Vec::new(), 0);
    for named in &asked.photos {
        let photo = match Named::of(named)? {
            Named::Photo(name) => get_thumbnail_request::Photo::Name(name),
            Named::File(file) => get_thumbnail_request::Photo::Path(file.as_os_str().as_bytes().to_vec()),
        };
        let request = proto::GetThumbnailRequest { photo: Some(photo), longest_side: asked.longest_side };
        match library.get_thumbnail(request).await {
            Ok(thumbnail) => {
                shown += 1;
                let jpeg = BASE64.encode(&thumbnail.into_inner().jpeg);
                content.push(json!({ "type": "text", "text": named }));
                content.push(json!({ "type": "image", "data": jpeg, "mimeType": "image/jpeg" }));
            }
            Err(status) => {
                content.push(json!({ "type": "text", "text": format!("{named}: {:#}", refused(status)) }));
            }
        }
    }
    if shown > 0 {
        return Ok(content);
    }
    let reasons: Vec<&str> = content.iter().filter_map(|part| part["text"].as_str()).collect();
    Err(anyhow!("{}", reasons.join("\n")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribeAsked {
    picture: String,
}

pub(super) async fn describe(target: &Target, arguments: Map<String, Value>) -> anyhow::Result<Vec<Value>> {
    let asked: DescribeAsked = read(arguments)?;
    let picture = Named::of(&asked.picture)?.example(1.0).await?;
    let mut client = SearchServiceClient::new(connect(target).await?);
    let request = proto::DescribePhotoRequest { picture: Some(picture) };
    let labels = client.describe_photo(request).await.map_err(unknown_file)?.into_inner().labels;
    let labels: Vec<_> =
        labels.iter().map(|label| json!({ "label": label.word, "likelihood": label.likelihood })).collect();
    Ok(text(json!({ "shows": labels })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DuplicatesAsked {
    #[serde(default = "near")]
    kind: DuplicateKind,
    limit: Option<u32>,
}

fn near() -> DuplicateKind {
    DuplicateKind::Near
}

pub(super) async fn duplicates(
    target: &Target,
    mut arguments: Map<String, Value>,
) -> anyhow::Result<Vec<Value>> {
    let filter_args = FilterAsked::take(&mut arguments)?.to_args()?;
    let asked: DuplicatesAsked = read(arguments)?;
    let request = proto::ListDuplicateGroupsRequest {
        kind: proto::DuplicateKind::from(asked.kind).into(),
        page_size: i32::try_from(GROUPS.of(asked.limit)?)?,
        filter: filter::filter(&filter_args)?,
        ..Default::default()
    };
    let channel = connect(target).await?;
    let mut client = DuplicateServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let page = client.list_duplicate_groups(request).await.map_err(refused)?.into_inner();
    let groups = page.groups.iter().map(|group| {
        let mut object = group_json(asked.kind, group, &split_as_marked(group, |_| false), false);
        object.insert("says".into(), group.relations.iter().map(said).collect());
        object
    });
    Ok(text(json!({
        "groups": groups.collect::<Vec<_>>(),
        "total": page.total_size,
        "not_compared_yet": page.photos_pending + page.pairs_pending,
    })))
}

pub(super) async fn status(target: &Target, arguments: Map<String, Value>) -> anyhow::Result<Vec<Value>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    let Nothing {} = read(arguments)?;
    let mut client = DaemonServiceClient::new(connect(target).await?);
    let status = client.get_status(proto::GetStatusRequest {}).await.map_err(refused)?.into_inner();
    Ok(text(Value::Object(status_json(&status))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out_and_what_is_none_is_said() {
        let mut answer = json!({
            "photos": [{ "path": "/a", "lens": "", "taken": null, "copies": [], "online": false, "band": null }],
            "groups": [], "total": 0,
        });
        strip(&mut answer);
        assert_eq!(
            answer,
            json!({ "photos": [{ "path": "/a", "online": false }], "groups": [], "total": 0 })
        );
    }

    #[test]
    fn a_limit_is_a_number_that_there_may_be() {
        assert_eq!(PHOTOS.of(None).unwrap(), 20);
        assert_eq!(PHOTOS.of(Some(200)).unwrap(), 200);
        assert!(PHOTOS.of(Some(0)).is_err() && PHOTOS.of(Some(201)).is_err());
    }
}
