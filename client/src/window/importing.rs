//! What of a card or a folder is in the index already: `resemble check`, line by line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use anyhow::Context;
use hyper::Response;
use hyper::body::Bytes;
use indicatif::ProgressBar;
use resembled_api::dirs::Dirs;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Window;
use super::answer::{self, Body, Failure};
use crate::check::Check;

/// Lines that wait for the page.
const WAITING: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckAsked {
    /// As the user typed it: absolute, or with `~`.
    folder: String,
}

/// Answers with an object a line: how many files there are, then each file as `check --json` has it, and at last the sums, or
/// why it ended before. It goes on only as long as somebody reads it.
///
/// # Errors
/// No absolute path.
pub(super) fn check(window: Arc<Window>, asked: CheckAsked) -> Result<Response<Body>, Failure> {
    let home = Dirs::find(&|name| env::var_os(name)).ok().and_then(|dirs| dirs.home);
    let folder = absolute(&asked.folder, home.as_deref())?;
    let (lines, waiting) = mpsc::channel(WAITING);
    let making = async move {
        let _used = window.usage.begin();
        if let Err(error) = say(&window, folder, &lines).await {
            // Nobody may be there to read it any more.
            let _ = send(&lines, &json!({ "error": format!("{error:#}") })).await;
        }
    };
    Ok(answer::lines(making, waiting))
}

async fn say(window: &Window, folder: PathBuf, lines: &mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    let mut check = Check::begin(window.channel.clone(), vec![folder], ProgressBar::hidden()).await?;
    send(lines, &json!({ "files": check.files() })).await?;
    while let Some(found) = check.next_json().await? {
        send(lines, &Value::Object(found)).await?;
    }
    send(lines, &json!({ "summary": check.summary(), "warning": check.warning() })).await
}

async fn send(lines: &mpsc::Sender<Bytes>, line: &Value) -> anyhow::Result<()> {
    lines.send(format!("{line}\n").into()).await.context("nobody reads it any more")
}

fn absolute(typed: &str, home: Option<&Path>) -> Result<PathBuf, Failure> {
    let typed = typed.trim();
    let path = match (typed.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_path_buf(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(typed),
    };
    match path.is_absolute() {
        true => Ok(path),
        false => Err(Failure::bad("write the whole path of the folder, as /media/card or ~/Downloads")),
    }
}

/// Drives that the desktop has mounted: where cards are.
pub(super) async fn cards() -> Result<Value, Failure> {
    let found = tokio::task::spawn_blocking(|| {
        let user = env::var_os("USER").unwrap_or_else(|| OsString::from("root"));
        let places = [Path::new("/run/media").join(&user), Path::new("/media").join(&user)];
        // Only listed, not looked at: a drive may hang.
        let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
        entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    let mut cards = found.await.map_err(anyhow::Error::from)?;
    cards.sort();
    Ok(json!({ "cards": cards }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_typed_whole_or_below_the_home() {
        let check = |typed: &str, expected: Option<&str>| {
            let found = absolute(typed, Some(Path::new("/home/u"))).ok();
            assert_eq!(found, expected.map(PathBuf::from), "{typed}");
        };
        check(" /media/card ", Some("/media/card"));
        check("~", Some("/home/u"));
        check("~/Pictures/new", Some("/home/u/Pictures/new"));
        for wrong in ["", "card", "~other/x", "./card", "../card"] {
            check(wrong, None);
        }
        assert!(absolute("~/x", None).is_err());
    }
}
