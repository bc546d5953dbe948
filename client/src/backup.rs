//! `resemble backup`: the whole index in one file, however far away the daemon is.
//!
//! Invariant: the file has its name only once it is whole and on the disk. Nothing is replaced unless that was asked for.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use resembled_api::proto;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use serde_json::json;

use crate::connect::{Connection, refused};
use crate::part::{self, Part};
use crate::{Answer, output};

/// Bytes of a message, and some words around them.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

pub(crate) async fn backup(
    channel: Connection,
    target: &Path,
    force: bool,
    json: bool,
) -> anyhow::Result<Answer> {
    let shown = target.display();
    let mut part = Part::of(target, force)?;
    let failed = || format!("cannot write {shown}");
    let bar = ProgressBar::new_spinner().with_message("the daemon makes the copy");
    bar.enable_steady_tick(Duration::from_millis(200));

    let mut daemon = DaemonServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let stream = daemon.back_up_index(proto::BackUpIndexRequest {}).await.map_err(refused)?;
    let mut stream = stream.into_inner();
    let first = stream.message().await.map_err(refused)?;
    let Some(summary) = first.and_then(|first| first.summary) else {
        bail!("the daemon sent no backup: it may be of another version");
    };
    let room = rustix::fs::statvfs(part::folder_of(target)?).context("cannot look for room")?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free < summary.size_bytes {
        let (needed, free) = (HumanBytes(summary.size_bytes), HumanBytes(free));
        bail!("the backup has {needed}, and {free} are free there: name a file on another disk");
    }
    bar.set_length(summary.size_bytes);
    bar.set_message("");
    bar.set_style(ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}")?);
    let mut written = 0;
    while let Some(proto::BackUpIndexResponse { data, .. }) = stream.message().await.map_err(refused)? {
        part.file().write_all(&data).with_context(failed)?;
        written += data.len() as u64;
        bar.set_position(written);
    }
    if written != summary.size_bytes {
        bail!("the backup broke off after {written} of {} bytes; ask for it again", summary.size_bytes);
    }
    part.finish()?;
    bar.finish_and_clear();
    print(target, &summary, json)?;
    Ok(Answer::Found)
}

fn print(target: &Path, summary: &proto::BackupSummary, json: bool) -> anyhow::Result<()> {
    let path = output::absolute(target)?;
    if json {
        let mut object = output::object(json!({
            "size": summary.size_bytes,
            "photos": summary.photos,
            "files": summary.files,
            "folders": summary.folders,
            "marks": summary.marks,
        }));
        output::put_path(&mut object, path.as_os_str().as_bytes());
        return output::json_line(&object);
    }
    let counted = output::counted;
    output::line(format_args!(
        "{}: {} in {}, {}, {} of \"not the same\"; {}",
        output::shown(path.as_os_str().as_bytes()),
        counted(summary.photos, "photo"),
        counted(summary.files, "file"),
        counted(summary.folders, "folder"),
        counted(summary.marks, "mark"),
        HumanBytes(summary.size_bytes)
    ))?;
    output::line("`resembled restore FILE` makes an index of it, here or on another computer")
}
