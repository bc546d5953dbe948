//! `resemble check`: which of these files are in the index already?
//!
//! Only a copy, byte for byte, is a file that may be thrown away; a resembling photo is shown, and no more than that. What
//! is a copy is the daemon's word, who looks at the disk when it is asked: another file, and none of those that were
//! given. Whatever goes wrong with one file, the others are answered, and the exit code tells.

mod copying;
mod finding;
mod summary;
mod walk;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use resembled_api::content::ContentHash;
use resembled_api::proto;
use resembled_api::proto::FilePresence;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use resembled_api::proto::search_service_client::SearchServiceClient;
use serde_json::{Map, Value};
use tonic::{Code, Status};

use self::copying::Copying;
use self::finding::{Finding, Near};
use self::summary::Summary;
use self::walk::Kind;
use crate::Answer;
use crate::cli::CheckArgs;
use crate::connect::{Connection, refused, retry_delay};
use crate::{output, search};

/// Files with one content that the daemon is asked about at a time.
const MAX_SAME: usize = 10_000;

/// Photos that are near a file and looked at, until one is found that is still there.
const NEAREST: u32 = 5;

/// How often the daemon is asked again when it has too much to do.
const TRIES: u32 = 20;

/// [`Answer::Found`] when there is a copy of every photo; [`Answer::Incomplete`] when a file could not be judged.
pub(crate) async fn check(channel: Connection, args: &CheckArgs) -> anyhow::Result<Answer> {
    let mut check = Check::begin(channel, args.files.clone(), progress_bar()?).await?;
    let target = args.copy_missing_to.as_ref();
    let mut copying = target
        .map(|target| Copying::to(target).with_context(|| format!("cannot write into {}", target.display())))
        .transpose()?;
    while let Some((number, finding)) = check.next(args.copies).await? {
        let entry = &check.entries[number];
        check.checking.bar.suspend(|| print(&entry.path, &finding, args))?;
        let content =
            check.checking.content(number).filter(|_| finding.is_missing(args.trust_offline) == Some(true));
        if let Some(content) = content
            && let Some(mut taken) = copying.take()
        {
            let (file, given) = (entry.path.clone(), args.files.clone());
            // The connection lives on meanwhile.
            let copied = tokio::task::spawn_blocking(move || {
                taken.copy(&file, &given, content)?;
                Ok::<_, io::Error>(taken)
            });
            let copied = copied.await.map_err(io::Error::other).and_then(|copied| copied);
            copying = Some(copied.with_context(|| format!("cannot copy {}", entry.path.display()))?);
        }
    }
    check.checking.bar.finish_and_clear();
    if let Some(warning) = check.warning() {
        eprintln!("resemble: {warning}");
    }
    eprintln!("{}", check.summary());
    if let Some(copying) = copying {
        eprintln!("{}", copying.text());
    }
    Ok(check.summary.answer(args.trust_offline))
}

/// A check that is under way: all files that were given, one after another.
pub(crate) struct Check {
    entries: Vec<walk::Entry>,
    checking: Checking,
    summary: Summary,
    next: usize,
}

impl Check {
    /// Finds the files.
    ///
    /// # Errors
    /// None of a file or folder: what cannot be read is found so.
    pub(crate) async fn begin(
        channel: Connection,
        given: Vec<PathBuf>,
        bar: ProgressBar,
    ) -> anyhow::Result<Self> {
        bar.set_message("looking for files");
        let walked =
            tokio::task::spawn_blocking(move || walk::walk(&given)).await.context("looking failed")?;
        let checking = Checking::new(channel, walked.folders, &walked.entries, bar);
        Ok(Self { entries: walked.entries, checking, summary: Summary::default(), next: 0 })
    }

    /// Looks at the next file. `None` after the last.
    ///
    /// # Errors
    /// The daemon does not answer.
    async fn next(&mut self, copies_only: bool) -> anyhow::Result<Option<(usize, Finding)>> {
        let number = self.next;
        let Some(entry) = self.entries.get(number) else { return Ok(None) };
        let finding = match &entry.kind {
            Kind::NoPhoto(why) => Finding::NoPhoto(*why),
            Kind::Unreadable(error) => Finding::Unreadable(error.to_string()),
            Kind::Photo(_) => match self.checking.hash(&self.entries, number).await {
                Ok(content) => self.checking.judge(&entry.path, content, copies_only).await?,
                Err(error) => Finding::Unreadable(error.to_string()),
            },
        };
        self.summary.count(&entry.path, &finding);
        self.next += 1;
        Ok(Some((number, finding)))
    }

    /// Looks at the next file, and says of it what a script may want. `None` after the last.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub(crate) async fn next_json(&mut self) -> anyhow::Result<Option<Map<String, Value>>> {
        let found = self.next(false).await?;
        Ok(found.map(|(number, finding)| finding.json(self.entries[number].path.as_os_str().as_bytes())))
    }

    /// How many files there are.
    pub(crate) fn files(&self) -> usize {
        self.entries.len()
    }

    /// How many stand where, of those that were looked at.
    pub(crate) fn summary(&self) -> String {
        self.summary.text()
    }

    /// What makes the answers less sure than they sound.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        self.checking.is_elsewhere.then_some(
            "the daemon runs on another machine, and may not know a file again that it reaches by another way: make sure that \
             what was checked is in none of its folders",
        )
    }
}

fn progress_bar() -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left")
            .context("the progress bar's template")?,
    );
    bar.enable_steady_tick(Duration::from_millis(500));
    Ok(bar)
}

/// What a file holds, and which file it is.
#[derive(Clone)]
struct Hashed {
    content: ContentHash,
    identity: proto::FileIdentity,
}

/// Asks the daemon about one file after another.
struct Checking {
    library: LibraryServiceClient<Connection>,
    searching: SearchServiceClient<Connection>,
    folders: Vec<proto::FileIdentity>,
    boot_id: String,
    /// By size: the numbers of the photos that were given. Only files of one size can be copies of one another.
    of_size: HashMap<u64, Vec<usize>>,
    /// What was read already.
    hashed: HashMap<usize, io::Result<Hashed>>,
    bar: ProgressBar,
    /// The daemon runs on another machine.
    is_elsewhere: bool,
}

impl Checking {
    fn new(
        channel: Connection,
        folders: Vec<proto::FileIdentity>,
        entries: &[walk::Entry],
        bar: ProgressBar,
    ) -> Self {
        let mut of_size: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, entry) in entries.iter().enumerate() {
            if let Kind::Photo(len) = entry.kind {
                of_size.entry(len).or_default().push(number);
                bar.inc_length(len);
            }
        }
        Self {
            library: LibraryServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            searching: SearchServiceClient::new(channel).max_decoding_message_size(usize::MAX),
            folders,
            // Where it cannot be read, the daemon takes us for another machine, and we say so.
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            of_size,
            hashed: HashMap::new(),
            bar,
            is_elsewhere: false,
        }
    }

    /// Reads a photo, and those of the same size with it: the daemon is told of all that have its content.
    async fn hash(&mut self, entries: &[walk::Entry], number: usize) -> io::Result<Same> {
        let Kind::Photo(len) = entries[number].kind else { return Err(io::Error::other("it is no photo")) };
        let of_size = self.of_size.get(&len).cloned().unwrap_or_default();
        for &other in &of_size {
            if !self.hashed.contains_key(&other) {
                self.bar.set_message(output::shown(entries[other].path.as_os_str().as_bytes()));
                let (path, bar) = (entries[other].path.clone(), self.bar.clone());
                // The connection lives on meanwhile.
                let hashed = tokio::task::spawn_blocking(move || hash(&path, &bar));
                let hashed = hashed.await.map_err(io::Error::other).and_then(|hashed| hashed);
                self.hashed.insert(other, hashed);
            }
        }
        let hashed = |number: &usize| self.hashed.get(number).and_then(|hashed| hashed.as_ref().ok());
        match (hashed(&number), self.hashed.get(&number)) {
            (Some(Hashed { content, .. }), _) => {
                let same = of_size.iter().filter_map(hashed).filter(|other| other.content == *content);
                Ok(Same { content: *content, files: same.map(|hashed| hashed.identity).collect() })
            }
            (None, Some(Err(error))) => Err(io::Error::new(error.kind(), error.to_string())),
            (None, _) => Err(io::Error::other("it was not read")),
        }
    }

    /// Returns what a photo holds, if it could be read.
    fn content(&self, number: usize) -> Option<ContentHash> {
        self.hashed.get(&number)?.as_ref().ok().map(|hashed| hashed.content)
    }

    async fn judge(&mut self, file: &Path, same: Same, copies_only: bool) -> anyhow::Result<Finding> {
        if same.files.len() > MAX_SAME {
            let reason =
                format!("more than {MAX_SAME} files with its content were given: check them in parts");
            return Ok(Finding::Unreadable(reason));
        }
        let found = self.find_copies(same.content.to_string(), same.files).await?;
        self.is_elsewhere |= !found.same_machine;
        let photo = found.photo.map(|mut photo| {
            photo.files.retain(may_be_there);
            photo
        });
        match photo.filter(|photo| !photo.files.is_empty()) {
            Some(photo) if is_verified(&photo.files[0]) => Ok(Finding::Copy(photo)),
            Some(photo) => Ok(Finding::CopyOffline(photo)),
            None if !found.asked_files.is_empty() => Ok(Finding::Only(found.asked_files)),
            None if copies_only => Ok(Finding::Missing(None)),
            None => self.nearest(file, same.content).await,
        }
    }

    async fn find_copies(
        &mut self,
        content: String,
        files: Vec<proto::FileIdentity>,
    ) -> anyhow::Result<proto::FindCopiesResponse> {
        let request = proto::FindCopiesRequest {
            photo: format!("photos/{content}"),
            files,
            folders: self.folders.clone(),
            boot_id: self.boot_id.clone(),
        };
        for _ in 0..TRIES {
            match self.library.find_copies(request.clone()).await {
                Ok(found) => return Ok(found.into_inner()),
                Err(status) => wait_for_room(status).await?,
            }
        }
        bail!("the daemon has too much to do")
    }

    /// Returns the nearest photo, if it is near and still there. What the index knows of the file itself is not meant.
    async fn nearest(&mut self, file: &Path, content: ContentHash) -> anyhow::Result<Finding> {
        let path = file.to_path_buf();
        let query =
            tokio::task::spawn_blocking(move || search::query(&path)).await.context("reading failed")?;
        let query = match query {
            Ok(query) => query,
            Err(error) => return Ok(Finding::Unreadable(format!("{error:#}"))),
        };
        let request =
            proto::SearchPhotosRequest { query: Some(query), k: NEAREST, verify: true, ..Default::default() };
        let mut tries = 0;
        let matches = loop {
            match self.searching.search_photos(request.clone()).await {
                Ok(response) => break response.into_inner().matches,
                Err(status) if is_busy(&status) && tries < TRIES => {
                    tries += 1;
                    wait_for_room(status).await?;
                }
                Err(status) if matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted) => {
                    return Ok(Finding::NotComparable(status.message().to_owned()));
                }
                Err(status) => return Err(refused(status)),
            }
        };
        for found in matches {
            let (band, seen, second_look) =
                (found.band(), search::seen(&found), search::second_look_json(&found));
            let Some(photo) = found.photo else { continue };
            let other = photo.name.trim_start_matches("photos/").to_owned();
            if !matches!(band, proto::Band::Same | proto::Band::Near) || other == content.to_string() {
                continue;
            }
            let looked = self.find_copies(other, Vec::new()).await?.photo;
            if let Some(mut photo) = looked {
                photo.files.retain(may_be_there);
                if !photo.files.is_empty() {
                    return Ok(Finding::Missing(Some(Near { band, photo, seen, second_look })));
                }
            }
        }
        Ok(Finding::Missing(None))
    }
}

/// A content, and all the files with it that were given.
struct Same {
    content: ContentHash,
    files: Vec<proto::FileIdentity>,
}

fn may_be_there(file: &proto::File) -> bool {
    matches!(file.presence(), FilePresence::Verified | FilePresence::Offline | FilePresence::Unreachable)
}

fn is_verified(file: &proto::File) -> bool {
    file.presence() == FilePresence::Verified
}

/// Says whether the daemon only has too much to do at the moment.
fn is_busy(status: &Status) -> bool {
    retry_delay(status).is_some()
}

/// Waits as long as the daemon asks to.
async fn wait_for_room(status: Status) -> anyhow::Result<()> {
    match retry_delay(&status) {
        Some(delay) => tokio::time::sleep(delay).await,
        None => return Err(refused(status)),
    }
    Ok(())
}

/// Reads a whole file. One that changes meanwhile is none that could be judged.
fn hash(path: &Path, bar: &ProgressBar) -> io::Result<Hashed> {
    let file = File::open(path)?;
    let before = file.metadata()?;
    let content = ContentHash::read(bar.wrap_read(&file))?;
    let after = file.metadata()?;
    let identity = walk::identity(&after);
    if walk::identity(&before) != identity {
        return Err(io::Error::other("it is being written: check it again"));
    }
    Ok(Hashed { content, identity })
}

fn print(file: &Path, finding: &Finding, args: &CheckArgs) -> anyhow::Result<()> {
    let bytes = file.as_os_str().as_bytes();
    let is_missing = finding.is_missing(args.trust_offline);
    if args.missing && is_missing != Some(true) {
        return Ok(());
    }
    if args.output.json {
        return output::json_line(&finding.json(bytes));
    }
    let file = output::shown(bytes);
    if let (true, Finding::Unreadable(reason)) = (args.missing, finding) {
        eprintln!("resemble: cannot read {file}: {reason}");
    }
    match (finding, finding.photo(), finding.reason()) {
        _ if args.missing => output::line(file),
        // The summary tells how many there are.
        (Finding::NoPhoto(_), _, _) => Ok(()),
        (_, Some(photo), _) => {
            let seen = finding.seen().map_or_else(String::new, |seen| format!("  {seen}"));
            output::line(format_args!(
                "{:<12}  {file}  {}{seen}",
                finding.word(),
                search::shown(photo, 16 + file.chars().count() + seen.len())
            ))
        }
        (_, _, Some(reason)) => output::line(format_args!("{:<12}  {file}: {reason}", finding.word())),
        (_, None, None) => output::line(format_args!("{:<12}  {file}", finding.word())),
    }
}
