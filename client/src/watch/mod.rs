//! `resemble watch`: waits for new photos that resemble a picture, or show something, and does something with each.
//!
//! Each message of events is one question to the daemon: which of these new photos are within the distance? How far the events
//! were followed is kept in a file, one for each question, so that nothing is missed between one run and the next, and a
//! photo is told twice only where the run was killed between telling it and writing that down.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueHint};
use resembled_api::content::ContentHash;
use resembled_api::dirs::Dirs;
use resembled_api::proto;
use resembled_api::proto::search_photos_request::Query;
use resembled_api::proto::search_service_client::SearchServiceClient;
use serde_json::json;
use tonic::{Code, Status};

use self::command::Exec;
use crate::Answer;
use crate::asked::{self, Asked};
use crate::cli::{Listing, Target};
use crate::connect::{Connection, refused};
use crate::follow::{Follower, is_passing};
use crate::{filter, output, search};

mod command;

/// Photos that one filter may name.
const AT_ONCE: usize = 1_000;

const AFTER_HELP: &str = "\
`{}` in an argument of --exec stands for the path; without one, the path comes last. No shell sees it, so no name of a file can do \
harm; with --shell, the command is a line for `sh`, in which \"$1\" is the path.

Examples:
  resemble watch cat.jpg --max-distance 0.2
  resemble watch dog --exec notify-send 'A new dog' {}
  resemble watch invoice.png --max-distance 0.1 --shell --exec 'cp -n \"$1\" ~/Invoices/'

Exit codes: 0 it ended with what was asked for, 1 nothing new with --no-follow, 2 an error";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WatchArgs {
    /// Words for what photos show, or a picture, indexed or not
    #[arg(value_name = "WORD|FILE", required = true)]
    asked: Vec<PathBuf>,

    /// They are words, even if there is a file of that name
    #[arg(long)]
    text: bool,

    /// How near a photo must be; needed for a picture. `resemble search FILE` shows distances
    #[arg(long, value_name = "D")]
    max_distance: Option<f32>,

    /// What to run for each photo, with its path; the last option, since all that follows is the command's
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true, value_hint = ValueHint::CommandWithArguments)]
    exec: Vec<String>,

    /// --exec has one line for `sh`, in which "$1" is the path
    #[arg(long, requires = "exec")]
    shell: bool,

    /// Begins behind this event (see `resemble events`) [default: where the last run of the same question ended, else now]
    #[arg(long, value_name = "N")]
    from_event: Option<u64>,

    /// Ends with what has happened, instead of waiting for more
    #[arg(long)]
    no_follow: bool,

    #[command(flatten)]
    filter: filter::FilterArgs,

    #[command(flatten)]
    listing: Listing,
}

/// What is waited for, and what becomes of it.
struct Waiting<'a> {
    request: proto::SearchPhotosRequest,
    exec: Option<Exec>,
    args: &'a WatchArgs,
    position: Position,
    answer: Answer,
}

pub(crate) async fn watch(target: &Target, args: &WatchArgs) -> anyhow::Result<Answer> {
    let exec = Exec::of(&args.exec, args.shell)?;
    let request = request(args)?;
    let mut position = Position::of(&request, target)?;
    let known = position.read()?;
    let after = args.from_event.or(known);
    let mut waiting = Waiting { request, exec, args, position, answer: Answer::Nothing };
    let mut follower = match Follower::open(target, after, args.no_follow).await? {
        Ok(follower) => follower,
        // More has happened since the last run than is kept. Whatever is there now may have come since.
        Err(status) if status.code() == Code::OutOfRange && args.from_event.is_none() => {
            eprintln!(
                "too much has happened since the last run: all photos that match are told, also those told before"
            );
            let follower = Follower::open(target, None, args.no_follow).await?.map_err(refused)?;
            waiting.tell_all(follower.channel()).await?;
            follower
        }
        Err(status) => return Err(refused(status)),
    };
    waiting.check(follower.channel()).await?;
    if !args.listing.is_for_programs() {
        match after {
            Some(_) => eprintln!("waiting for photos, from where the last run ended"),
            None => eprintln!("waiting for photos that come from now on"),
        }
    }
    while let Some(message) = follower.next().await? {
        if let Err(Interrupted { after }) = waiting.take(follower.channel(), &message).await? {
            follower.open_again(after).await?;
        }
    }
    Ok(waiting.answer)
}

/// The daemon has gone while it was asked; all up to an event was told.
struct Interrupted {
    after: Option<u64>,
}

fn request(args: &WatchArgs) -> anyhow::Result<proto::SearchPhotosRequest> {
    let query = Asked::of(&args.asked, args.text)?.query(&[], &[])?;
    if !asked::is_worded(&query) && args.max_distance.is_none() {
        anyhow::bail!(
            "say how near a photo must be: --max-distance D; `resemble search FILE` shows distances"
        );
    }
    // A picture that the daemon would have to read may be gone by then.
    if matches!(query, Query::Path(_)) {
        anyhow::bail!("the picture is too large to be sent again and again: make it smaller than 60 MB");
    }
    Ok(proto::SearchPhotosRequest {
        query: Some(query),
        max_distance: args.max_distance,
        filter: filter::filter(&args.filter)?,
        ..proto::SearchPhotosRequest::default()
    })
}

impl Waiting<'_> {
    /// Has the daemon refuse at once what it would refuse later.
    async fn check(&self, channel: Connection) -> anyhow::Result<()> {
        let request = proto::SearchPhotosRequest { k: 1, ..self.request.clone() };
        SearchServiceClient::new(channel).search_photos(request).await.map_err(refused)?;
        Ok(())
    }

    /// Tells of the new photos in a message that match.
    async fn take(
        &mut self,
        channel: Connection,
        message: &proto::WatchEventsResponse,
    ) -> anyhow::Result<Result<(), Interrupted>> {
        let is_new = |event: &&proto::Event| {
            matches!(event.kind(), proto::EventKind::Added | proto::EventKind::Changed)
        };
        let news: Vec<&proto::Event> = message.events.iter().filter(is_new).collect();
        for news in news.chunks(AT_ONCE) {
            let photos = news.iter().map(|event| event.photo.clone()).collect();
            let matches = match self.matches(channel.clone(), photos).await {
                Ok(matches) => matches,
                Err(status) if is_passing(&status) => {
                    return Ok(Err(Interrupted { after: self.position.last }));
                }
                Err(status) => return Err(refused(status)),
            };
            for event in news {
                if let Some(found) = matches.get(&event.photo) {
                    self.tell(&event.path, found).await?;
                }
                self.position.keep(event.sequence)?;
            }
        }
        self.position.keep(message.sequence)?;
        Ok(Ok(()))
    }

    /// Tells of all photos that match.
    async fn tell_all(&mut self, channel: Connection) -> anyhow::Result<()> {
        let matches = self.matches(channel, Vec::new()).await.map_err(refused)?;
        for found in matches.values() {
            if let Some(file) = found.photo.as_ref().and_then(|photo| photo.files.first()) {
                self.tell(&file.path, found).await?;
            }
        }
        Ok(())
    }

    /// Returns those of these photos that match, by name; of all photos, where none is named.
    async fn matches(
        &self,
        channel: Connection,
        photos: Vec<String>,
    ) -> Result<HashMap<String, proto::Match>, Status> {
        let mut client = SearchServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        let mut request = self.request.clone();
        request.filter.get_or_insert_default().photos = photos;
        let mut matches = HashMap::new();
        loop {
            let page = client.search_photos(request.clone()).await?.into_inner();
            let named = page
                .matches
                .into_iter()
                .filter_map(|found| Some((found.photo.as_ref()?.name.clone(), found)));
            matches.extend(named);
            request.query = None;
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok(matches);
            }
        }
    }

    /// Prints a match, and runs the command.
    async fn tell(&mut self, path: &[u8], found: &proto::Match) -> anyhow::Result<()> {
        self.answer = Answer::Found;
        let listing = self.args.listing;
        if listing.json {
            let mut object = search::match_json(found);
            output::put_path(&mut object, path);
            output::json_line(&object)?;
        } else if !listing.print_path(path)? {
            let mut line = format!("{:.4}  ", found.distance);
            if let Some(band) = search::band(found.band()) {
                let _ = write!(line, "{band:8}  ");
            }
            output::line(format_args!("{line}{}", output::fitted(path, line.len())))?;
        }
        let Some(exec) = &self.exec else { return Ok(()) };
        let done = exec.run(&output::path(path)).await;
        eprintln!("{done}");
        Ok(())
    }
}

/// How far the events were followed for one question, in a file.
struct Position {
    file: PathBuf,
    last: Option<u64>,
}

impl Position {
    /// The same question to the same daemon has the same file.
    fn of(request: &proto::SearchPhotosRequest, target: &Target) -> anyhow::Result<Self> {
        let dirs = Dirs::find(&|name| std::env::var_os(name))?;
        let mut question = prost::Message::encode_to_vec(request);
        let place =
            json!([target.socket.as_deref().map(Path::display).map(|path| path.to_string()), target.connect]);
        question.extend(place.to_string().bytes());
        let name = ContentHash::of(&question).to_string();
        Ok(Self { file: dirs.state.join("watches").join(name), last: None })
    }

    fn read(&mut self) -> anyhow::Result<Option<u64>> {
        let shown = || format!("cannot read {}", self.file.display());
        self.last = match fs::read_to_string(&self.file) {
            Ok(text) => Some(text.trim().parse().with_context(shown)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(shown),
        };
        Ok(self.last)
    }

    /// Writes down that all up to this event was told. A kill leaves the old number or the new one.
    fn keep(&mut self, sequence: u64) -> anyhow::Result<()> {
        if self.last == Some(sequence) {
            return Ok(());
        }
        let write = || {
            if let Some(folder) = self.file.parent() {
                fs::create_dir_all(folder)?;
            }
            let new = self.file.with_extension("new");
            fs::write(&new, format!("{sequence}\n"))?;
            fs::rename(&new, &self.file)
        };
        write().with_context(|| format!("cannot write {}", self.file.display()))?;
        self.last = Some(sequence);
        Ok(())
    }
}
