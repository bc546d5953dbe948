//! `resemble events`: what happens to the library, a line each.

use clap::Args;
use jiff::tz::TimeZone;
use resembled_api::proto;
use serde_json::{Map, Value, json};

use crate::Answer;
use crate::cli::{Output, Target};
use crate::connect::refused;
use crate::follow::Follower;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Begins behind this event: its `sequence` in JSON, or the `last_event` of `status --json`; 0 begins with the oldest that is
    /// kept [default: from now on]
    #[arg(long, value_name = "N")]
    pub(crate) since: Option<u64>,

    /// Ends with what has happened, instead of waiting for more
    #[arg(long)]
    pub(crate) no_follow: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

pub(crate) async fn events(target: &Target, args: &EventsArgs) -> anyhow::Result<Answer> {
    let mut follower = Follower::open(target, args.since, args.no_follow).await?.map_err(refused)?;
    let mut answer = Answer::Nothing;
    while let Some(message) = follower.next().await? {
        for event in &message.events {
            answer = Answer::Found;
            if args.output.json {
                output::json_line(&event_json(event))?;
            } else {
                print(event)?;
            }
        }
    }
    Ok(answer)
}

/// Returns an event's word.
pub(crate) fn word(kind: proto::EventKind) -> &'static str {
    match kind {
        proto::EventKind::Unspecified => "unknown",
        proto::EventKind::Added => "added",
        proto::EventKind::Changed => "changed",
        proto::EventKind::Moved => "moved",
        proto::EventKind::Removed => "removed",
        proto::EventKind::Failed => "failed",
        proto::EventKind::Offline => "offline",
        proto::EventKind::Online => "online",
        proto::EventKind::Unwatched => "unwatched",
    }
}

fn event_json(event: &proto::Event) -> Map<String, Value> {
    let content = |name: &str| name.trim_start_matches("photos/").to_owned();
    let mut object = output::object(json!({
        "sequence": event.sequence,
        "time": output::time(event.event_time.as_ref()),
        "kind": word(event.kind()),
    }));
    output::put_path(&mut object, &event.path);
    for (name, value) in [
        ("content", content(&event.photo)),
        ("former_path", String::from_utf8_lossy(&event.former_path).into_owned()),
        ("former_uri", event.former_uri.clone()),
        ("former_content", content(&event.former_photo)),
        ("reason", event.reason.clone()),
    ] {
        if !value.is_empty() {
            object.insert(name.into(), value.into());
        }
    }
    object
}

fn print(event: &proto::Event) -> anyhow::Result<()> {
    const BESIDE: usize = 32;

    let seconds = event.event_time.as_ref().map_or(0, |time| time.seconds);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(TimeZone::system());
    let word = word(event.kind());
    let path = output::fitted(&event.path, BESIDE);
    output::line(format_args!("{}  {word:9}  {path}", time.strftime("%Y-%m-%d %H:%M:%S")))?;
    if !event.former_path.is_empty() {
        output::line(format_args!("{:32}from {}", "", output::fitted(&event.former_path, BESIDE + 5)))?;
    }
    if !event.reason.is_empty() {
        output::line(format_args!("{:32}{}", "", output::shown(event.reason.as_bytes())))?;
    }
    Ok(())
}
