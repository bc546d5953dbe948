//! `resemble backup`: the whole index in one file, however far away the daemon is.
//!
//! Invariant: the file has its name only once it is whole and on the disk. Nothing is replaced unless that was asked for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use resembled_api::proto;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use serde_json::json;

use crate::connect::{Connection, refused};
use crate::naming::{part_name, rename_to_new};
use crate::{Answer, output};

/// Bytes of a message, and some words around them.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// A file that takes its name at the end. Dropped before that, it is gone.
struct Part {
    file: File,
    path: PathBuf,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone where it has taken its name.
        let _ = fs::remove_file(&self.path);
    }
}

impl Part {
    /// Begins a file beside `target`, for its owner alone.
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let path = target.with_file_name(part_name(name));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        // Two backups into one file would make neither.
        file.try_lock()?;
        file.set_len(0)?;
        Ok(Self { file, path })
    }

    /// Takes the name, for good.
    fn finish(self, target: &Path, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        match force {
            true => fs::rename(&self.path, target)?,
            false => rename_to_new(&self.path, target)?,
        }
        folder_of(target).and_then(File::open)?.sync_all()
    }
}

fn folder_of(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    Ok(absolute.parent().map_or(absolute.clone(), Path::to_path_buf))
}

pub(crate) async fn backup(
    channel: Connection,
    target: &Path,
    force: bool,
    json: bool,
) -> anyhow::Result<Answer> {
    let shown = target.display();
    match target.metadata() {
        Ok(found) if found.is_dir() => bail!("{shown} is a folder: name a file in it"),
        Ok(_) if !force => bail!("{shown} is there already: --force replaces it"),
        _ => {}
    }
    let failed = || format!("cannot write {shown}");
    let mut part = Part::beside(target).with_context(failed)?;
    let bar = ProgressBar::new_spinner().with_message("the daemon makes the copy");
    bar.enable_steady_tick(Duration::from_millis(200));

    let mut daemon = DaemonServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let stream = daemon.back_up_index(proto::BackUpIndexRequest {}).await.map_err(refused)?;
    let mut stream = stream.into_inner();
    let first = stream.message().await.map_err(refused)?;
    let Some(summary) = first.and_then(|first| first.summary) else {
        bail!("the daemon sent no backup: it may be of another version");
    };
    let room = rustix::fs::statvfs(folder_of(target)?).context("cannot look for room")?;
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
        part.file.write_all(&data).with_context(failed)?;
        written += data.len() as u64;
        bar.set_position(written);
    }
    if written != summary.size_bytes {
        bail!("the backup broke off after {written} of {} bytes; ask for it again", summary.size_bytes);
    }
    match part.finish(target, force) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{shown} has come into being meanwhile: --force replaces it")
        }
        finished => finished.with_context(failed)?,
    }
    bar.finish_and_clear();
    print(target, &summary, json)?;
    Ok(Answer::Found)
}

fn print(target: &Path, summary: &proto::BackupSummary, json: bool) -> anyhow::Result<()> {
    use std::os::unix::ffi::OsStrExt;

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
