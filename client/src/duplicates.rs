//! `resemble duplicates`

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use indicatif::HumanBytes;
use resembled_api::content::ContentHash;
use resembled_api::proto;
use resembled_api::proto::duplicate_service_client::DuplicateServiceClient;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use serde_json::{Map, Value, json};

use crate::Answer;
use crate::cli::{DuplicateKind, DuplicatesArgs};
use crate::compare::edit_of;
use crate::connect::{Connection, refused};
use crate::rest::{Keep, Member, Split, split};
use crate::search::{photo_json, shown};
use crate::sheet::{Figure, Sheet};
use crate::{filter, output, trash};

/// Groups asked for at a time.
const PAGE: i32 = 100;

pub(crate) async fn duplicates(channel: Connection, args: &DuplicatesArgs) -> anyhow::Result<Answer> {
    let client = DuplicateServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let library = LibraryServiceClient::new(channel);
    if !args.not_same.is_empty() {
        return tell_apart(client, args).await;
    }
    let answer = list(client, &library, args).await?;
    if answer == Answer::Nothing && !args.listing.is_for_programs() {
        filter::say_what_there_is(library, &args.filter).await?;
    }
    Ok(answer)
}

async fn tell_apart(
    mut client: DuplicateServiceClient<Connection>,
    args: &DuplicatesArgs,
) -> anyhow::Result<Answer> {
    let name = |file: &PathBuf| {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(format!("photos/{}", ContentHash::of(&bytes)))
    };
    let photos = args.not_same.iter().map(name).collect::<anyhow::Result<_>>()?;
    client.tell_apart(proto::TellApartRequest { photos, undo: args.undo }).await.map_err(refused)?;
    eprintln!(
        "{} photos {} of one group from now on",
        args.not_same.len(),
        if args.undo { "may be" } else { "are never" }
    );
    Ok(Answer::Found)
}

async fn list(
    mut client: DuplicateServiceClient<Connection>,
    library: &LibraryServiceClient<Connection>,
    args: &DuplicatesArgs,
) -> anyhow::Result<Answer> {
    let mut request = proto::ListDuplicateGroupsRequest {
        kind: proto::DuplicateKind::from(args.kind).into(),
        max_distance: args.max_distance,
        max_seconds: args.seconds.unwrap_or(0),
        page_size: PAGE,
        page_token: String::new(),
        filter: filter::filter(&args.filter)?,
    };
    anyhow::ensure!(
        !args.trash || args.keep.is_some() || matches!(args.kind, DuplicateKind::Exact),
        "near photos are not the same: --keep says which of them stay"
    );
    let keep = args.keep.as_ref().map(Keep::resolved).transpose()?;
    let rule = keep.clone().unwrap_or(Keep::Largest);
    let mut sheet = args.html.is_some().then(|| Sheet::new("Photos that are there more than once"));
    let (mut groups, mut sums, mut number) = (Vec::new(), Sums::default(), 0);
    loop {
        let page = client.list_duplicate_groups(request.clone()).await.map_err(refused)?.into_inner();
        for group in page.groups {
            number += 1;
            let parts = split(&group, &rule);
            sums.count(&parts);
            let is_marked = keep.is_some() || args.trash;
            match &mut sheet {
                Some(sheet) => show(sheet, library, number, &parts, is_marked).await,
                None => print(args, number, &group, &parts, is_marked)?,
            }
            if args.trash {
                groups.push(group);
            }
        }
        if page.next_page_token.is_empty() {
            match page.raw_pairs {
                0 => {}
                1 => eprintln!("1 shot is there as RAW and as another picture, which counts as one photo"),
                more => eprintln!(
                    "{more} shots are there as RAW and as another picture, which counts as one photo each"
                ),
            }
            if page.photos_pending > 0 {
                eprintln!("{} photos are not compared yet; ask again in a while", page.photos_pending);
            }
            if page.pairs_pending > 0 {
                let pairs = match page.pairs_pending {
                    1 => "1 pair is".to_owned(),
                    pairs => format!("{pairs} pairs are"),
                };
                eprintln!(
                    "{pairs} not looked at side by side yet: in idle time, or once the drive is back; until then the distance \
                     decides"
                );
            }
            break;
        }
        request.page_token = page.next_page_token;
    }
    match number {
        0 if args.listing.is_for_programs() => {}
        0 => eprintln!("no duplicates found"),
        groups => eprintln!("{}", sums.text(groups, args)),
    }
    if let (Some(sheet), Some(file), 1..) = (sheet, &args.html, number) {
        sheet.write(file, args.open)?;
    }
    if args.trash {
        let parts: Vec<Split<'_>> = groups.iter().map(|group| split(group, &rule)).collect();
        return trash::move_rest(&parts, args.yes);
    }
    // Of the rest there may be none, though there are groups.
    let found = if args.rest { sums.rest_files } else { number };
    Ok(if found == 0 { Answer::Nothing } else { Answer::Found })
}

/// What all groups come to.
#[derive(Default)]
struct Sums {
    files: u64,
    rest_files: u64,
    rest_bytes: u64,
}

impl Sums {
    fn count(&mut self, parts: &Split<'_>) {
        self.files += (parts.kept.len() + parts.rest.len()) as u64;
        self.rest_files += parts.rest.len() as u64;
        self.rest_bytes += parts.rest.iter().map(|member| member.photo.size_bytes).sum::<u64>();
    }

    fn text(&self, groups: u64, args: &DuplicatesArgs) -> String {
        let Self { files, rest_files, rest_bytes } = self;
        let kept = match &args.keep {
            None if matches!(args.kind, DuplicateKind::Exact) => "the first of each",
            None | Some(Keep::Largest) => "the largest of each",
            Some(Keep::Oldest) => "the oldest of each",
            Some(Keep::Newest) => "the newest of each",
            Some(Keep::Folder(_)) => "those in the folder",
        };
        let groups = if groups == 1 { "1 group".to_owned() } else { format!("{groups} groups") };
        let bytes = HumanBytes(*rest_bytes);
        format!("{groups}, {files} files; beyond {kept}: {rest_files} files, {bytes}")
    }
}

/// Puts a group on a sheet.
async fn show(
    sheet: &mut Sheet,
    library: &LibraryServiceClient<Connection>,
    number: u64,
    parts: &Split<'_>,
    is_marked: bool,
) {
    sheet.start_group(&format!("Group {number}"));
    let kept = parts.kept.iter().map(|member| ("stays: ", member));
    let rest = parts.rest.iter().map(|member| ("goes: ", member));
    let figures: Vec<Figure<'_>> = kept
        .chain(rest)
        .map(|(mark, member)| {
            let mark = if is_marked { mark } else { "" };
            let about = format!("{mark}{}", about(member.photo).trim_start());
            Figure { photo: member.photo, file: Some(member.file), about }
        })
        .collect();
    sheet.add(library, &figures).await;
}

/// Prints a group in the way that is asked for.
fn print(
    args: &DuplicatesArgs,
    number: u64,
    group: &proto::DuplicateGroup,
    parts: &Split<'_>,
    is_marked: bool,
) -> anyhow::Result<()> {
    let listing = &args.listing;
    if args.rest || listing.paths || listing.print0 {
        let members = parts.rest.iter().chain(parts.kept.iter().filter(|_| !args.rest));
        return members.into_iter().try_for_each(|member| match listing.json {
            true => output::json_line(&output::file_json(member.file)),
            false => match listing.print_path(&member.file.path)? {
                true => Ok(()),
                false => output::line(output::shown(&member.file.path)),
            },
        });
    }
    if listing.json {
        return output::json_line(&group_json(args.kind, group, parts, is_marked));
    }
    if number > 1 {
        output::line("")?;
    }
    if is_marked {
        let marked = parts.kept.iter().map(|kept| ("stays", kept));
        let marked = marked.chain(parts.rest.iter().map(|rest| ("goes", rest)));
        return marked.into_iter().try_for_each(|(mark, member)| print_marked(mark, member));
    }
    for (place, photo) in group.photos.iter().enumerate() {
        // One photo alone is one content in several files: those are the group.
        if group.photos.len() == 1 {
            photo.files.iter().try_for_each(|file| output::line(output::file(file, 0)))?;
        } else {
            let size = about(photo);
            let relation = place.checked_sub(1).and_then(|place| group.relations.get(place));
            let what = relation.and_then(said).map_or_else(String::new, |said| format!("  {said}"));
            let path = shown(photo, size.len() + 2 + what.len());
            output::line(format_args!("{size}  {path}{what}"))?;
        }
    }
    Ok(())
}

fn print_marked(mark: &str, member: &Member<'_>) -> anyhow::Result<()> {
    let size = about(member.photo);
    output::line(format_args!("{mark:5}  {size}  {}", output::file(member.file, size.len() + 9)))
}

/// What tells photos of a group from one another: pixels and bytes.
fn about(photo: &proto::Photo) -> String {
    let pixels = format!("{}x{}", photo.width, photo.height);
    format!("{pixels:>11}  {:>10}", HumanBytes(photo.size_bytes).to_string())
}

/// Returns what a script may want of a group.
pub(crate) fn group_json(
    kind: DuplicateKind,
    group: &proto::DuplicateGroup,
    parts: &Split<'_>,
    is_marked: bool,
) -> Map<String, Value> {
    let kind = match kind {
        DuplicateKind::Exact => "exact",
        DuplicateKind::Near => "near",
        DuplicateKind::Burst => "burst",
        DuplicateKind::Pixels => "pixels",
    };
    let photos = group.photos.iter().enumerate().map(|(place, photo)| {
        let mut object = photo_json(photo);
        let relation = place.checked_sub(1).and_then(|place| group.relations.get(place));
        if let Some(relation) = relation {
            object.extend(output::object(json!({
                "relation": word(relation.kind()),
                "turn": turn(relation.turn()),
            })));
            if relation.probability > 0.0 {
                object.extend(output::object(json!({
                    "probability": relation.probability,
                    "share_of_first": relation.share_of_other,
                    "share_of_this": relation.share_of_this,
                })));
            }
        }
        object
    });
    let photos: Vec<_> = photos.collect();
    let mut object = output::object(json!({ "kind": kind, "photos": photos }));
    if is_marked {
        let files = |members: &[Member<'_>]| -> Value {
            members.iter().map(|member| Value::Object(output::file_json(member.file))).collect()
        };
        object.insert("stays".into(), files(&parts.kept));
        object.insert("goes".into(), files(&parts.rest));
    }
    object
}

/// Says what a photo is to the first of its group.
pub(crate) fn said(relation: &proto::Relation) -> Option<String> {
    let what = match relation.kind() {
        proto::RelationKind::Unspecified | proto::RelationKind::Near => return None,
        proto::RelationKind::Pixels => "the same pixels".to_owned(),
        proto::RelationKind::Copy => "a copy".to_owned(),
        proto::RelationKind::Colours => "a copy in other colours".to_owned(),
        proto::RelationKind::Edit | proto::RelationKind::Turned | proto::RelationKind::Mirrored => {
            let percent = |share: f32| (share * 100.0).round();
            format!("an {}", edit_of(percent(relation.share_of_other), percent(relation.share_of_this)))
        }
        proto::RelationKind::AnotherShot => "another shot".to_owned(),
    };
    let how = match relation.turn() {
        proto::Turn::Unspecified | proto::Turn::Upright => return Some(what),
        proto::Turn::Mirrored => "mirrored",
        proto::Turn::UpsideDown => "upside down",
        proto::Turn::Flipped => "mirrored upside down",
        proto::Turn::Right => "turned right",
        proto::Turn::Left => "turned left",
        proto::Turn::Transposed => "mirrored and turned left",
        proto::Turn::Transversed => "mirrored and turned right",
    };
    Some(format!("{what}, {how}"))
}

fn word(kind: proto::RelationKind) -> Option<&'static str> {
    match kind {
        proto::RelationKind::Unspecified => None,
        proto::RelationKind::Pixels => Some("pixels"),
        proto::RelationKind::Copy => Some("copy"),
        proto::RelationKind::Colours => Some("colours"),
        proto::RelationKind::Near => Some("near"),
        proto::RelationKind::Edit => Some("edit"),
        proto::RelationKind::Turned => Some("turned"),
        proto::RelationKind::Mirrored => Some("mirrored"),
        proto::RelationKind::AnotherShot => Some("another-shot"),
    }
}

fn turn(turn: proto::Turn) -> Option<&'static str> {
    match turn {
        proto::Turn::Unspecified => None,
        proto::Turn::Upright => Some("upright"),
        proto::Turn::Mirrored => Some("mirrored"),
        proto::Turn::UpsideDown => Some("upside-down"),
        proto::Turn::Flipped => Some("flipped"),
        proto::Turn::Right => Some("right"),
        proto::Turn::Left => Some("left"),
        proto::Turn::Transposed => Some("transposed"),
        proto::Turn::Transversed => Some("transversed"),
    }
}
