//! What is done on this machine on the user's word.

use std::process::Stdio;
use std::time::Duration;

use hyper::StatusCode;
use resembled_api::proto;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::Window;
use super::answer::Failure;

/// A program that runs for longer has opened something, and stays with it.
const OPENED_AFTER: Duration = Duration::from_secs(5);

/// A file of a photo.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAsked {
    content: String,
    uri: String,
}

/// Shows a file in the file manager, selected in its folder. Only files of indexed photos: the page is not asked to be honest.
pub(super) async fn reveal(window: &Window, asked: FileAsked) -> Result<Value, Failure> {
    here(window)?;
    let name = format!("photos/{}", asked.content);
    let photo = window.library().get_photo(proto::GetPhotoRequest { name }).await?.into_inner();
    let file = photo.files.iter().find(|file| file.uri == asked.uri);
    let file =
        file.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "the photo has no such file any more"))?;
    // Of letters, digits and `-._~/:%`: nothing that these need quotes for.
    let items = format!("['{}']", file.uri);
    let call = [
        "call",
        "--session",
        "--dest",
        "org.freedesktop.FileManager1",
        "--object-path",
        "/org/freedesktop/FileManager1",
        "--method",
        "org.freedesktop.FileManager1.ShowItems",
        &items,
        "",
    ];
    if run("gdbus", &call).await {
        return Ok(json!({}));
    }
    let array = format!("array:string:{}", file.uri);
    let call = [
        "--session",
        "--print-reply",
        "--dest=org.freedesktop.FileManager1",
        "/org/freedesktop/FileManager1",
        "org.freedesktop.FileManager1.ShowItems",
        &array,
        "string:",
    ];
    if run("dbus-send", &call).await {
        return Ok(json!({}));
    }
    // Without a file manager that is asked so: the folder at least.
    let folder = file.uri.rsplit_once('/').map_or("", |(folder, _)| folder);
    if run("xdg-open", &[folder]).await {
        return Ok(json!({}));
    }
    Err(Failure::new(StatusCode::NOT_IMPLEMENTED, "no file manager answers: copy the path instead"))
}

/// # Errors
/// The daemon runs on another machine, so that its files are not here.
pub(super) fn here(window: &Window) -> Result<(), Failure> {
    match window.is_local {
        true => Ok(()),
        false => Err(Failure::new(StatusCode::CONFLICT, "the photos are on another machine")),
    }
}

async fn run(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match timeout(OPENED_AFTER, command.status()).await {
        Ok(ended) => ended.is_ok_and(|status| status.success()),
        Err(_) => true,
    }
}
