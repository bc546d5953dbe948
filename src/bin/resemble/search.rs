//! `resemble search`

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment};
use resembled::proto;
use resembled::proto::search_photos_request::Query;
use resembled::proto::search_service_client::SearchServiceClient;
use serde_json::json;

use crate::Answer;
use crate::cli::SearchArgs;
use crate::connect::{Connection, refused};
use crate::output;
use crate::sheet::Sheet;

/// Up to this size the picture itself is sent, so that the daemon need not be allowed to read it. A larger one is
/// named, and the daemon reads it.
const MAX_SENT_BYTES: u64 = 60 << 20;

pub(crate) async fn search(channel: Connection, args: &SearchArgs) -> anyhow::Result<Answer> {
    let request = proto::SearchPhotosRequest {
        query: Some(query(args)?),
        metric: args.metric.map_or(proto::Metric::Unspecified, proto::Metric::from).into(),
        k: args.k,
        max_distance: args.max_distance,
    };
    let response = SearchServiceClient::new(channel)
        .max_decoding_message_size(usize::MAX)
        .search_photos(request)
        .await
        .map_err(refused)?
        .into_inner();
    if let Some(file) = &args.html {
        write_sheet(args, &response.matches, file)?;
    } else if args.output.json {
        print_json(&response.matches)?;
    } else {
        print_table(&response)?;
    }
    Ok(if response.matches.is_empty() { Answer::Nothing } else { Answer::Found })
}

fn query(args: &SearchArgs) -> anyhow::Result<Query> {
    let shown = || format!("cannot read {}", args.file.display());
    if args.file.as_os_str() == "-" {
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
        return Ok(Query::Image(bytes.into()));
    }
    let metadata = fs::metadata(&args.file).with_context(shown)?;
    anyhow::ensure!(metadata.is_file(), "{} is not a file", args.file.display());
    if metadata.len() > MAX_SENT_BYTES {
        let path = output::absolute(&args.file)?;
        return Ok(Query::Path(path.as_os_str().as_bytes().to_vec()));
    }
    Ok(Query::Image(fs::read(&args.file).with_context(shown)?.into()))
}

fn write_sheet(args: &SearchArgs, matches: &[proto::Match], file: &Path) -> anyhow::Result<()> {
    let query = output::shown(args.file.as_os_str().as_bytes());
    let mut sheet = Sheet::new(&format!("{} photos that resemble {query}", matches.len()));
    for found in matches {
        let files = found.photo.iter().flat_map(|photo| &photo.files);
        for file in files.take(1) {
            let band = band(found.band()).unwrap_or_default();
            sheet.add(&file.path, &format!("{:.4} {band}", found.distance));
        }
    }
    sheet.write(file)?;
    output::line(format_args!("the photos are shown in {}", output::absolute(file)?.display()))
}

fn print_json(matches: &[proto::Match]) -> anyhow::Result<()> {
    for found in matches {
        let photo = found.photo.clone().unwrap_or_default();
        let mut object = serde_json::Map::new();
        if let Some(file) = photo.files.first() {
            output::put_path(&mut object, &file.path);
        }
        object.extend(output::object(json!({
            "distance": found.distance,
            "similarity": found.similarity,
            "band": band(found.band()),
            "online": photo.files.first().is_some_and(|file| file.online),
            "copies": photo.files.iter().skip(1).map(|file| String::from_utf8_lossy(&file.path)).collect::<Vec<_>>(),
            "content": photo.name.trim_start_matches("photos/"),
            "size": photo.size_bytes,
            "width": photo.width,
            "height": photo.height,
            "type": photo.media_type,
            "taken": output::time(photo.capture_time.as_ref()),
        })));
        output::json_line(&object)?;
    }
    Ok(())
}

fn print_table(response: &proto::SearchPhotosResponse) -> anyhow::Result<()> {
    if response.matches.is_empty() {
        eprintln!("nothing found among {} photos", response.photos_searched);
        return Ok(());
    }
    let mut table = output::table(["distance", "similarity", "band", "photo"]);
    for found in &response.matches {
        let photo = found.photo.clone().unwrap_or_default();
        let mut shown = photo.files.first().map(|file| output::shown(&file.path)).unwrap_or_default();
        if photo.files.len() > 1 {
            shown.push_str(&format!("  (+{} copies)", photo.files.len() - 1));
        }
        if photo.files.first().is_some_and(|file| !file.online) {
            shown.push_str("  (offline)");
        }
        table.add_row([
            Cell::new(format!("{:.4}", found.distance)).set_alignment(CellAlignment::Right),
            Cell::new(format!("{:.4}", found.similarity)).set_alignment(CellAlignment::Right),
            Cell::new(band(found.band()).unwrap_or("-")),
            Cell::new(shown),
        ]);
    }
    output::print(&table)
}

fn band(band: proto::Band) -> Option<&'static str> {
    match band {
        proto::Band::Unspecified => None,
        proto::Band::Same => Some("same"),
        proto::Band::Near => Some("near"),
        proto::Band::Similar => Some("similar"),
        proto::Band::Related => Some("related"),
    }
}
