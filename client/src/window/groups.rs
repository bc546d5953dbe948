//! Duplicates: groups as the daemon lists them with what a rule would keep, and what the user says of them: the rest to the
//! trash, and back; not the same.
//!
//! Invariant: a file goes only out of a group that the daemon has listed for this window, for another file of that group that
//! is there now. What is true of files is asked anew when they go, whatever the page believes.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use resembled_api::{proto, uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Window;
use super::acting::here;
use super::answer::Failure;
use super::asking::Filter;
use crate::cli::DuplicateKind;
use crate::duplicates::{group_json, said};
use crate::output;
use crate::rest::{Keep, split, split_as_marked};
use crate::trash::{self, Trashed};

/// Groups of a page.
const PAGE: i32 = 24;

/// What the window remembers of groups.
#[derive(Default)]
pub(super) struct Groups {
    /// The names of the photos of each group that was listed.
    listed: Mutex<HashSet<Vec<String>>>,
    /// What went to the trash, at each time. Held while files go and come: of two files that stand for each other, one at a
    /// time.
    gone: tokio::sync::Mutex<Vec<Vec<Trashed>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupsAsked {
    kind: DuplicateKind,
    /// `largest`, `oldest`, `newest`, the URI of a folder, or nothing: then all stays.
    #[serde(default)]
    keep: String,
    #[serde(default)]
    filter: Filter,
    #[serde(default)]
    page_token: String,
}

pub(super) async fn list(window: &Window, asked: GroupsAsked) -> Result<Value, Failure> {
    let keep = rule(&asked.keep)?;
    let request = proto::ListDuplicateGroupsRequest {
        kind: proto::DuplicateKind::from(asked.kind).into(),
        page_size: PAGE,
        page_token: asked.page_token,
        filter: asked.filter.to_proto()?,
        ..Default::default()
    };
    let page = window.duplicates().list_duplicate_groups(request).await?.into_inner();
    let mut listed = window.groups.listed.lock().unwrap_or_else(PoisonError::into_inner);
    let groups = page.groups.iter().map(|group| {
        listed.insert(group.photos.iter().map(|photo| photo.name.clone()).collect());
        let parts = match &keep {
            Some(keep) => split(group, keep),
            None => split_as_marked(group, |_| false),
        };
        let mut object = group_json(asked.kind, group, &parts, true);
        object.insert("says".into(), group.relations.iter().map(said).collect());
        object
    });
    Ok(json!({
        "groups": groups.collect::<Vec<_>>(),
        "next": page.next_page_token,
        "total": page.total_size,
        "pending": page.photos_pending + page.pairs_pending,
    }))
}

fn rule(text: &str) -> Result<Option<Keep>, Failure> {
    match text {
        "" => Ok(None),
        "largest" => Ok(Some(Keep::Largest)),
        "oldest" => Ok(Some(Keep::Oldest)),
        "newest" => Ok(Some(Keep::Newest)),
        folder => match uri::to_path(folder) {
            Ok(path) => Ok(Some(Keep::Folder(output::path(&path)))),
            Err(error) => Err(Failure::bad(error.to_string())),
        },
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrashAsked {
    groups: Vec<MarkedGroup>,
}

/// A group, and which of its files shall go.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkedGroup {
    /// The contents of its photos, in the order of the list.
    photos: Vec<String>,
    /// URIs.
    goes: Vec<String>,
}

/// Moves files to the trash.
pub(super) async fn trash(window: &Window, asked: TrashAsked) -> Result<Value, Failure> {
    here(window)?;
    let mut gone = window.groups.gone.lock().await;
    let mut groups = Vec::with_capacity(asked.groups.len());
    for group in asked.groups {
        groups.push((look(window, &group.photos).await?, group.goes));
    }
    let moved = tokio::task::spawn_blocking(move || {
        let (mut moved, mut left) = (Vec::new(), Vec::new());
        for (group, goes) in &groups {
            let parts = split_as_marked(group, |member| goes.contains(&member.file.uri));
            for (member, done) in trash::move_group(&parts) {
                match done {
                    Ok(trashed) => moved.push((trashed, member.file.uri.clone())),
                    Err(error) => left.push(json!({ "uri": member.file.uri, "why": format!("{error:#}") })),
                }
            }
            let stays = parts.kept.iter().filter(|member| goes.contains(&member.file.uri));
            left.extend(stays.map(|member| {
                let why = "nothing else of the group is there for it, it is away, or it is one shot with what stays";
                json!({ "uri": member.file.uri, "why": why })
            }));
        }
        (moved, left)
    });
    let (moved, left) = moved.await.map_err(anyhow::Error::from)?;
    let (trashed, uris): (Vec<Trashed>, Vec<String>) = moved.into_iter().unzip();
    gone.push(trashed);
    Ok(json!({ "moved": uris, "left": left, "undo": gone.len() - 1 }))
}

/// Looks at a group that was listed as it is now.
async fn look(window: &Window, contents: &[String]) -> Result<proto::DuplicateGroup, Failure> {
    let names: Vec<String> = contents.iter().map(|content| format!("photos/{content}")).collect();
    if !window.groups.listed.lock().unwrap_or_else(PoisonError::into_inner).contains(&names) {
        return Err(Failure::new(
            StatusCode::CONFLICT,
            "these photos are no group: list the duplicates again",
        ));
    }
    let mut group = proto::DuplicateGroup::default();
    for photo in names {
        let request = proto::FindCopiesRequest { photo, ..Default::default() };
        let found = window.library().find_copies(request).await?.into_inner();
        group.photos.extend(found.photo);
    }
    Ok(group)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreAsked {
    undo: usize,
}

/// Moves back what went at one time. What cannot come back stays in the trash.
pub(super) async fn restore(window: &Window, asked: RestoreAsked) -> Result<Value, Failure> {
    here(window)?;
    let mut gone = window.groups.gone.lock().await;
    let trashed = gone.get_mut(asked.undo).map(std::mem::take).unwrap_or_default();
    let restored = tokio::task::spawn_blocking(move || {
        let (mut restored, mut left): (usize, Vec<(PathBuf, io::Error)>) = (0, Vec::new());
        for trashed in trashed {
            match trashed.restore() {
                Ok(()) => restored += 1,
                Err(error) => left.push((trashed.file, error)),
            }
        }
        (restored, left)
    });
    let (restored, left) = restored.await.map_err(anyhow::Error::from)?;
    let left: Vec<_> = left
        .iter()
        .map(|(file, error)| json!({ "path": file.to_string_lossy(), "why": error.to_string() }))
        .collect();
    Ok(json!({ "restored": restored, "left": left }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApartAsked {
    /// Contents.
    photos: Vec<String>,
    #[serde(default)]
    undo: bool,
}

/// Remembers that photos are not the same, or takes that back.
pub(super) async fn tell_apart(window: &Window, asked: ApartAsked) -> Result<Value, Failure> {
    let photos = asked.photos.iter().map(|content| format!("photos/{content}")).collect();
    window.duplicates().tell_apart(proto::TellApartRequest { photos, undo: asked.undo }).await?;
    Ok(json!({}))
}
