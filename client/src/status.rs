//! `resemble status`, `pause` and `resume`

use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use resembled_api::proto;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use serde_json::json;

use crate::Answer;
use crate::connect::{Connection, refused};
use crate::library::{print_roots, root_json};
use crate::output;

pub(crate) async fn status(channel: Connection, watch: bool, json: bool) -> anyhow::Result<Answer> {
    let mut client = DaemonServiceClient::new(channel);
    if watch {
        return watch_status(client, json).await;
    }
    let status = client.get_status(proto::GetStatusRequest {}).await.map_err(refused)?.into_inner();
    if json {
        print_json(&status)?
    } else {
        print_text(&status)?
    }
    Ok(Answer::Found)
}

/// Begins a pause, of a length or for good. One with a length, or that is kept, goes on when the daemon is started anew.
pub(crate) async fn pause(
    channel: Connection,
    length: Option<Duration>,
    keep: bool,
) -> anyhow::Result<Answer> {
    let mut client = DaemonServiceClient::new(channel);
    let duration = length.map(prost_types::Duration::try_from).transpose()?;
    let request = proto::PauseIndexingRequest { duration, keep: keep || length.is_some() };
    client.pause_indexing(request).await.map_err(refused)?;
    let status = client.get_status(proto::GetStatusRequest {}).await.map_err(refused)?.into_inner();
    let end = until(&status).unwrap_or_default();
    eprintln!("new and changed photos wait until {end}`resemble resume`; queries are answered");
    Ok(Answer::Found)
}

pub(crate) async fn resume(channel: Connection) -> anyhow::Result<Answer> {
    let mut client = DaemonServiceClient::new(channel);
    client.resume_indexing(proto::ResumeIndexingRequest {}).await.map_err(refused)?;
    let status = client.get_status(proto::GetStatusRequest {}).await.map_err(refused)?.into_inner();
    for pause in status.pauses() {
        eprintln!("still paused: {}", why(&status, pause));
    }
    if status.pauses.is_empty() {
        eprintln!("indexing goes on: {} files wait", status.pending);
    }
    Ok(Answer::Found)
}

/// Shows a bar, or a line a change, until the index equals the disk, or nothing goes on.
async fn watch_status(mut client: DaemonServiceClient<Connection>, json: bool) -> anyhow::Result<Answer> {
    let mut updates = client.watch_status(proto::WatchStatusRequest {}).await.map_err(refused)?.into_inner();
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(
        ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} files, {per_sec}, {eta} left")
            .context("the progress bar's template")?,
    );
    bar.enable_steady_tick(Duration::from_millis(500));
    let last = loop {
        let Some(status) = updates.message().await.map_err(refused)? else {
            anyhow::bail!("the daemon stopped before all was indexed");
        };
        if json {
            print_json(&status)?;
        }
        let done = status.files + status.failed;
        bar.set_message(state(status.state()));
        bar.set_length(done + status.pending);
        bar.set_position(done);
        if matches!(status.state(), proto::State::Idle | proto::State::Paused) {
            break status;
        }
    };
    bar.finish_and_clear();
    if !json {
        print_text(&last)?;
    }
    Ok(Answer::Found)
}

fn state(state: proto::State) -> &'static str {
    match state {
        proto::State::Unspecified => "unknown",
        proto::State::Scanning => "scanning",
        proto::State::Indexing => "indexing",
        proto::State::Idle => "idle",
        proto::State::Stopping => "stopping",
        proto::State::Paused => "paused",
    }
}

pub(crate) fn why(status: &proto::Status, pause: proto::Pause) -> String {
    let why = match pause {
        proto::Pause::Unspecified => "for a reason that this version does not know",
        proto::Pause::Asked => {
            let end = until(status).unwrap_or_default();
            return format!("`resemble pause` was called; it lasts until {end}`resemble resume`");
        }
        proto::Pause::UnderPressure => {
            "others wait for the machine (ingest.max_pressure); it goes on by itself"
        }
        proto::Pause::OnBattery => "the machine runs on its battery (ingest.pause_on_battery)",
        proto::Pause::CannotWrite => {
            status.write_problem.as_ref().map_or("the index cannot be written", |problem| &problem.message)
        }
    };
    why.to_owned()
}

/// Says when the pause that was asked for ends by itself, in the time of this machine, if it does.
fn until(status: &proto::Status) -> Option<String> {
    let end = status.pause_end_time.as_ref()?;
    let end = jiff::Timestamp::from_second(end.seconds).ok()?.to_zoned(jiff::tz::TimeZone::system());
    Some(format!("{} or ", end.strftime("%Y-%m-%d %H:%M")))
}

fn pause_word(pause: proto::Pause) -> String {
    pause.as_str_name().trim_start_matches("PAUSE_").to_lowercase()
}

fn search(search: &proto::SearchStatus) -> String {
    let mut text = match search.recall {
        _ if !search.sketched => "exact".to_owned(),
        None => "by sketches, recall not measured yet".to_owned(),
        Some(recall) => format!(
            "by sketches, finds {:.1} % of the {} nearest (measured on {} of {} photos)",
            recall.share * 100.0,
            recall.k,
            recall.queries,
            recall.photos
        ),
    };
    if search.learning {
        text.push_str(", sketches are being made anew");
    }
    text
}

fn search_json(search: &proto::SearchStatus) -> serde_json::Value {
    json!({
        "sketched": search.sketched,
        "learning": search.learning,
        "recall": search.recall.map(|recall| json!({
            "share": recall.share,
            "k": recall.k,
            "queries": recall.queries,
            "photos": recall.photos,
        })),
    })
}

fn print_json(status: &proto::Status) -> anyhow::Result<()> {
    output::json_line(&status_json(status))
}

/// Returns what a script may want of the status.
pub(crate) fn status_json(status: &proto::Status) -> serde_json::Map<String, serde_json::Value> {
    let model = status.model.clone().unwrap_or_default();
    let times = status.step_times.unwrap_or_default();
    let decoder = status.decoder.unwrap_or_default();
    let roots: Vec<_> = status
        .roots
        .iter()
        .map(|root| {
            let mut object = serde_json::Map::new();
            output::put_path(&mut object, &root.path);
            object.extend(root_json(root));
            object
        })
        .collect();
    output::object(json!({
        "state": state(status.state()),
        "photos": status.photos,
        "files": status.files,
        "pauses": status.pauses().map(pause_word).collect::<Vec<_>>(),
        "pause_end_time": output::time(status.pause_end_time.as_ref()),
        "write_problem": status.write_problem.as_ref().map(|problem| &problem.message),
        "pending": status.pending,
        "failed": status.failed,
        "files_indexed": status.files_indexed,
        "photos_encoded": status.photos_encoded,
        "model": model.name,
        "model_digest": model.digest,
        "dimensions": model.dimensions,
        "words": model.words,
        "free_text": model.free_text,
        "filling": status.filling.as_ref().map(|filling| json!({
            "model": filling.model.as_ref().map(|model| &model.name),
            "photos": filling.photos,
        })),
        "runtime": status.runtime,
        "decoder": {
            "seccomp": decoder.seccomp,
            "landlock": decoder.landlock,
            "memory_limit": decoder.memory_limit,
            "processes_lost": decoder.processes_lost,
        },
        "search": search_json(&status.search.unwrap_or_default()),
        "mended_store": status.mended_store.as_ref().map(|mended| json!({
            "mend_time": output::time(mended.mend_time.as_ref()),
            "lost_photos": mended.lost_photos,
            "lost_files": mended.lost_files,
        })),
        "last_event": status.last_event,
        "version": status.version,
        "seconds": {
            "read": times.read_seconds,
            "decode": times.decode_seconds,
            "encode": times.encode_seconds,
            "store": times.store_seconds,
        },
        "roots": roots,
    }))
}

/// Says what confines the decoding processes, and how many were lost.
fn decoder(decoder: &proto::Decoder) -> String {
    let walls = [
        (decoder.seccomp, "seccomp"),
        (decoder.landlock, "Landlock"),
        (decoder.memory_limit, "memory limit"),
    ];
    let held: Vec<&str> = walls.iter().filter(|(holds, _)| *holds).map(|(_, name)| *name).collect();
    let held = if held.is_empty() { "not confined".to_owned() } else { held.join(", ") };
    match decoder.processes_lost {
        0 => held,
        lost => format!("{held}; {lost} processes lost over photos"),
    }
}

fn print_text(status: &proto::Status) -> anyhow::Result<()> {
    let model = status.model.clone().unwrap_or_default();
    let at_least = if status.state() == proto::State::Scanning { "at least " } else { "" };
    output::line(format_args!("{}, resembled {}", state(status.state()), status.version))?;
    for pause in status.pauses() {
        output::line(format_args!("paused   {}", why(status, pause)))?;
    }
    output::line(format_args!("photos   {} searchable, in {} files", status.photos, status.files))?;
    if status.pending > 0 {
        output::line(format_args!("pending  {at_least}{}", status.pending))?;
    }
    if status.failed > 0 {
        output::line(format_args!("failed   {} (`resemble failures` lists them)", status.failed))?;
    }
    let words = match model.words {
        _ if model.free_text => "any text".to_owned(),
        0 => "no words".to_owned(),
        words => format!("{words} words"),
    };
    output::line(format_args!("model    {}, {} numbers a photo, {words}", model.name, model.dimensions))?;
    if let Some(filling) = &status.filling {
        let name = filling.model.as_ref().map_or("another one", |model| model.name.as_str());
        output::line(format_args!(
            "         {name} takes over when it has encoded all; {} done",
            filling.photos
        ))?;
    }
    output::line(format_args!("runtime  {}", status.runtime))?;
    output::line(format_args!("search   {}", search(&status.search.unwrap_or_default())))?;
    output::line(format_args!("decoder  {}", decoder(&status.decoder.unwrap_or_default())))?;
    if let Some(mended) = &status.mended_store {
        output::line(format_args!("store    {}", mended_store(mended)))?;
    }
    output::line("")?;
    print_roots(&status.roots)
}

/// Says what became of damage to the store.
fn mended_store(mended: &proto::MendedStore) -> String {
    let seconds = mended.mend_time.as_ref().map_or(0, |time| time.seconds);
    let day = jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string());
    format!(
        "was damaged and is mended since {}: {} photos and {} files were lost to it and read again",
        day.unwrap_or_default(),
        mended.lost_photos,
        mended.lost_files
    )
}
