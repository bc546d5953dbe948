//! `resemble list`: the library without a query, as files or as counts.

use resembled_api::proto;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use serde_json::{Map, Value, json};

use crate::Answer;
use crate::cli::{By, ListArgs};
use crate::connect::{Connection, refused};
use crate::{filter, output};

/// Photos asked for at a time.
const PAGE: i32 = 1_000;

pub(crate) async fn list(channel: Connection, args: &ListArgs) -> anyhow::Result<Answer> {
    let client = LibraryServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let answer = match args.by {
        Some(by) => count(client.clone(), by, args).await?,
        None => files(client.clone(), args).await?,
    };
    if answer == Answer::Nothing && !args.listing.is_for_programs() {
        filter::say_what_there_is(client, &args.filter).await?;
    }
    Ok(answer)
}

async fn files(mut client: LibraryServiceClient<Connection>, args: &ListArgs) -> anyhow::Result<Answer> {
    let order_by = match (args.by_date, args.reverse) {
        (false, _) => "",
        (true, false) => "capture_time desc",
        (true, true) => "capture_time",
    };
    let mut request = proto::ListPhotosRequest {
        page_size: PAGE,
        page_token: String::new(),
        filter: filter::filter(&args.filter)?,
        order_by: order_by.to_owned(),
    };
    let mut left = args.limit.unwrap_or(u32::MAX);
    let mut answer = Answer::Nothing;
    loop {
        let page = client.list_photos(request.clone()).await.map_err(refused)?.into_inner();
        for photo in &page.photos {
            if left == 0 {
                return Ok(answer);
            }
            left -= 1;
            for file in &photo.files {
                for path in std::iter::once(&file.path).chain(&file.other_paths) {
                    print(photo, file, path, args)?;
                }
                answer = Answer::Found;
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(answer);
        }
    }
}

fn print(photo: &proto::Photo, file: &proto::File, path: &[u8], args: &ListArgs) -> anyhow::Result<()> {
    if args.listing.print_path(path)? {
        return Ok(());
    }
    if !args.listing.json {
        return match args.by_date {
            false => output::line(output::fitted(path, 0)),
            true => {
                let taken = output::taken_text(photo);
                output::line(format_args!("{taken:19}  {}", output::fitted(path, 21)))
            }
        };
    }
    let mut object = serde_json::Map::new();
    output::put_path(&mut object, path);
    object.insert("online".into(), file.online.into());
    object.extend(output::about(photo));
    output::json_line(&object)
}

async fn count(
    mut client: LibraryServiceClient<Connection>,
    by: By,
    args: &ListArgs,
) -> anyhow::Result<Answer> {
    let request = proto::CountPhotosRequest {
        filter: filter::filter(&args.filter)?,
        facet: proto::Facet::from(by).into(),
    };
    let counted = client.count_photos(request).await.map_err(refused)?.into_inner();
    let counts = counted.counts.iter().take(args.limit.map_or(usize::MAX, |limit| limit as usize));
    for counted in counts {
        if args.listing.json {
            output::json_line(&count_json(counted))?;
            continue;
        }
        let proto::PhotoCount { value, photos, path } = counted;
        let value = match (path.is_empty(), value.as_str()) {
            (false, _) => output::fitted(path, 10),
            (true, "") => "not known".to_owned(),
            (true, value) => output::shown(value.as_bytes()),
        };
        output::line(format_args!("{photos:8}  {value}"))?;
    }
    Ok(if counted.total_size == 0 { Answer::Nothing } else { Answer::Found })
}

/// Returns what a script may want of a count: what photos have in common, null where they do not say, or the folder.
pub(crate) fn count_json(counted: &proto::PhotoCount) -> Map<String, Value> {
    let proto::PhotoCount { value, photos, path } = counted;
    let mut object = Map::new();
    match path.is_empty() {
        true => _ = object.insert("value".into(), json!((!value.is_empty()).then_some(value))),
        false => output::put_path(&mut object, path),
    }
    object.insert("photos".into(), json!(photos));
    object
}
