//! `resemble duplicates`

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use indicatif::HumanBytes;
use resembled_api::content::ContentHash;
use resembled_api::proto;
use resembled_api::proto::duplicate_service_client::DuplicateServiceClient;
use serde_json::json;

use crate::Answer;
use crate::cli::{DuplicateKind, DuplicatesArgs};
use crate::connect::{Connection, refused};
use crate::output;
use crate::search::{photo_json, shown};

/// Groups asked for at a time.
const PAGE: i32 = 100;

pub(crate) async fn duplicates(channel: Connection, args: &DuplicatesArgs) -> anyhow::Result<Answer> {
    let client = DuplicateServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    if args.not_same.is_empty() { list(client, args).await } else { tell_apart(client, args).await }
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
    Ok(Answer::Found)
}

async fn list(
    mut client: DuplicateServiceClient<Connection>,
    args: &DuplicatesArgs,
) -> anyhow::Result<Answer> {
    let kind = match args.kind {
        DuplicateKind::Exact => proto::DuplicateKind::Exact,
        DuplicateKind::Near => proto::DuplicateKind::Near,
        DuplicateKind::Burst => proto::DuplicateKind::Burst,
    };
    let mut request = proto::ListDuplicateGroupsRequest {
        kind: kind.into(),
        max_distance: args.max_distance,
        max_seconds: args.seconds.unwrap_or(0),
        page_size: PAGE,
        page_token: String::new(),
    };
    let (mut answer, mut number, mut more) = (Answer::Nothing, 0, Surplus::default());
    loop {
        let page = client.list_duplicate_groups(request.clone()).await.map_err(refused)?.into_inner();
        for group in &page.groups {
            answer = Answer::Found;
            number += 1;
            more.count(group);
            if args.output.json {
                print_json(args.kind, group)?;
            } else {
                print_text(number, group)?;
            }
        }
        if page.next_page_token.is_empty() {
            if page.photos_pending > 0 {
                eprintln!("{} photos are not compared yet; ask again in a while", page.photos_pending);
            }
            match answer {
                Answer::Found if matches!(args.kind, DuplicateKind::Exact) => {
                    eprintln!("{}", more.text(number))
                }
                Answer::Nothing if !args.output.json => eprintln!("no duplicates found"),
                _ => {}
            }
            return Ok(answer);
        }
        request.page_token = page.next_page_token;
    }
}

/// Files beyond the first of each photo.
#[derive(Default)]
struct Surplus {
    files: u64,
    bytes: u64,
}

impl Surplus {
    fn count(&mut self, group: &proto::DuplicateGroup) {
        for photo in &group.photos {
            let surplus = (photo.files.len() as u64).saturating_sub(1);
            self.files += surplus;
            self.bytes += surplus * photo.size_bytes;
        }
    }

    fn text(&self, photos: usize) -> String {
        let (files, bytes) = (self.files, HumanBytes(self.bytes));
        format!("{photos} photos are there more than once: {files} files, {bytes}, beyond the first of each")
    }
}

fn print_json(kind: DuplicateKind, group: &proto::DuplicateGroup) -> anyhow::Result<()> {
    let kind = match kind {
        DuplicateKind::Exact => "exact",
        DuplicateKind::Near => "near",
        DuplicateKind::Burst => "burst",
    };
    let photos: Vec<_> = group.photos.iter().map(photo_json).collect();
    output::json_line(&output::object(json!({ "kind": kind, "photos": photos })))
}

fn print_text(number: usize, group: &proto::DuplicateGroup) -> anyhow::Result<()> {
    if number > 1 {
        output::line("")?;
    }
    for photo in &group.photos {
        // One photo alone is one content in several files: those are the group.
        if group.photos.len() == 1 {
            photo.files.iter().try_for_each(|file| output::line(output::file(file)))?;
        } else {
            output::line(format_args!("{}  {}x{}", shown(photo), photo.width, photo.height))?;
        }
    }
    Ok(())
}
