//! The real daemon on the store: how long it takes to start, what it answers, how much memory it has.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hyper_util::rt::TokioIo;
use resembled::proto;
use resembled::proto::daemon_service_client::DaemonServiceClient;
use resembled::proto::duplicate_service_client::DuplicateServiceClient;
use resembled::proto::search_photos_request::Query;
use resembled::proto::search_service_client::SearchServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::store::Network;
use crate::{Arguments, K, found_of, percentile, row, store, time_row};

/// How long anything may take: learning and comparing a million photos.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Ticks of a second in `/proc`, the same on every architecture that Linux has now.
const USER_HZ: u64 = 100;
const POLL: Duration = Duration::from_millis(20);
/// How long the daemon is watched doing nothing.
const AT_REST: Duration = Duration::from_secs(60);

struct Daemon {
    child: Child,
    channel: Channel,
    runtime: Runtime,
}

impl Daemon {
    fn start(home: &Path, network: &Network) -> anyhow::Result<Self> {
        let run = home.join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_resembled"));
        command.env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", &run);
        for (name, below) in
            [("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data"), ("XDG_STATE_HOME", "state")]
        {
            command.env(name, home.join(below));
        }
        std::fs::create_dir_all(store::photos(home))?;
        let log = std::fs::File::options().create(true).append(true).open(home.join("log"))?;
        let child = command
            .env("RESEMBLED_MODEL", &network.name)
            .env("RESEMBLED_MODEL_DIR", &network.folder)
            .envs(std::env::var_os("ORT_DYLIB_PATH").map(|library| ("ORT_DYLIB_PATH", library)))
            .arg(store::photos(home))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let runtime = runtime()?;
        let socket = run.join("resembled/resembled.sock");
        let _entered = runtime.enter();
        let channel = Endpoint::from_static("http://resembled.invalid").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }),
        );
        drop(_entered);
        Ok(Self { child, channel, runtime })
    }

    fn search(
        &self,
        request: proto::SearchPhotosRequest,
    ) -> Result<proto::SearchPhotosResponse, tonic::Status> {
        let mut client = SearchServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        self.runtime.block_on(client.search_photos(request)).map(tonic::Response::into_inner)
    }

    fn status(&self) -> anyhow::Result<proto::Status> {
        let mut client = DaemonServiceClient::new(self.channel.clone());
        Ok(self.runtime.block_on(client.get_status(proto::GetStatusRequest {}))?.into_inner())
    }

    /// An empty call: what every answer costs whatever was asked.
    fn check(&self) -> anyhow::Result<()> {
        let mut client = HealthClient::new(self.channel.clone());
        self.runtime.block_on(client.check(HealthCheckRequest::default()))?;
        Ok(())
    }

    /// Keeps it from comparing photos for duplicates, which would take both cores while something else is measured.
    fn pause(&self) -> anyhow::Result<()> {
        let mut client = DaemonServiceClient::new(self.channel.clone());
        self.runtime.block_on(client.pause_indexing(proto::PauseIndexingRequest::default()))?;
        Ok(())
    }

    /// Returns how many photos are still to be compared, and how many groups of near ones there are.
    fn pending(&self, max_distance: Option<f32>) -> anyhow::Result<(u64, u64)> {
        let mut client = DuplicateServiceClient::new(self.channel.clone());
        let request = proto::ListDuplicateGroupsRequest {
            kind: proto::DuplicateKind::Near.into(),
            max_distance,
            page_size: 1,
            ..Default::default()
        };
        let answer = self.runtime.block_on(client.list_duplicate_groups(request))?.into_inner();
        Ok((answer.photos_pending, answer.total_size))
    }

    fn resident_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Returns the processor time so far, over all threads: what a busy machine changes least.
    fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name before the last parenthesis may hold spaces; user and system time are the 12th and 13th field after.
        let fields = stat.rsplit(')').next().context("the kernel tells the process's times")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
    }

    /// Waits until the first answer, however often it takes to ask.
    fn first_answer(&mut self, query: &[f32]) -> anyhow::Result<proto::SearchPhotosResponse> {
        let begun = Instant::now();
        loop {
            match self.search(nearest(query)) {
                Ok(answer) => return Ok(answer),
                Err(status) if begun.elapsed() > DEADLINE => bail!("no answer: {status}"),
                Err(_) => {
                    if let Some(ended) = self.child.try_wait()? {
                        bail!("the daemon ended: {ended}");
                    }
                    std::thread::sleep(POLL);
                }
            }
        }
    }

    /// Waits until the daemon has measured its recall: until then it is busy with that.
    fn own_recall(&self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        loop {
            let search = self.status()?.search.unwrap_or_default();
            ensure!(search.sketched, "so few photos are kept whole; there is nothing to measure");
            if let Some(recall) = search.recall.filter(|_| !search.learning) {
                return Ok(recall.share);
            }
            ensure!(begun.elapsed() < DEADLINE, "recall was not measured");
            std::thread::sleep(POLL);
        }
    }

    fn stop(mut self) -> anyhow::Result<()> {
        // Hangs up: nobody would answer the daemon's goodbye.
        self.runtime = runtime()?;
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the daemon ended: {ended}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn nearest(query: &[f32]) -> proto::SearchPhotosRequest {
    proto::SearchPhotosRequest {
        query: Some(Query::Embedding(proto::Embedding { values: query.to_vec(), ..Default::default() })),
        k: K as u32,
        ..Default::default()
    }
}

/// Starts a daemon without photos, asks it often, and returns its resident memory in MB.
pub(crate) fn memory_of_an_empty_one(directory: &Path, network: &Network) -> anyhow::Result<f64> {
    let home = directory.join("empty");
    std::fs::create_dir(&home)?;
    let mut daemon = Daemon::start(&home, network)?;
    let dim = store::model(network)?.manifest.dim;
    let query = vec![1.0; dim];
    daemon.first_answer(&query)?;
    for _ in 0..200 {
        daemon.search(nearest(&query))?;
    }
    let resident = daemon.resident_mb()?;
    daemon.stop()?;
    Ok(resident)
}

pub(crate) fn measure(
    home: &Path,
    arguments: &Arguments,
    size: usize,
    queries: &[Vec<f32>],
    empty: f64,
) -> anyhow::Result<()> {
    learn(home, arguments, size, &queries[0])?;

    let begun = Instant::now();
    let mut daemon = Daemon::start(home, &arguments.network)?;
    let first = daemon.first_answer(&queries[0])?;
    time_row(
        "daemon start until the first answer",
        size,
        begun.elapsed(),
        [Some(1000.0), Some(1000.0), Some(3000.0)],
    );
    ensure!(first.photos_searched == size as u64, "{} photos are searched", first.photos_searched);

    if !arguments.duplicates {
        daemon.pause()?;
    }
    daemon.own_recall()?;
    ask(&daemon, queries, nearest)?;
    let before = daemon.processor_time()?;
    let (quick, mut times) = ask(&daemon, queries, nearest)?;
    let spent = (daemon.processor_time()? - before) / queries.len() as u32;
    time_row("query, processor time of the daemon, mean", size, spent, [None; 3]);
    time_row(
        "query p50, one client of the daemon",
        size,
        percentile(&mut times, 0.5),
        [Some(0.5), Some(2.0), Some(10.0)],
    );
    time_row("query p99, one client of the daemon", size, percentile(&mut times, 0.99), [None; 3]);
    let mut empty_calls = Vec::new();
    for _ in queries {
        let begun = Instant::now();
        daemon.check()?;
        empty_calls.push(begun.elapsed());
    }
    time_row("an empty call to compare with, p50", size, percentile(&mut empty_calls, 0.5), [None; 3]);
    let plain = percentile(&mut times, 0.5);
    let resident = daemon.resident_mb()? - empty;
    row(
        "resident memory for search, of the daemon",
        size,
        resident,
        "MB",
        [None, Some(40.0), Some(300.0)],
        false,
    );
    let few = if size > 200_000 { &queries[..10] } else { queries };
    let (exact, mut times) =
        ask(&daemon, few, |query| proto::SearchPhotosRequest { exact: true, ..nearest(query) })?;
    let found: usize = exact.iter().zip(&quick).map(|(exact, quick)| found_of(exact, quick)).sum();
    let recall = found as f64 / (K * exact.len()) as f64;
    row(
        "recall@10 of the daemon against exact: true",
        size,
        recall,
        "",
        [Some(1.0), Some(0.998), Some(0.995)],
        true,
    );
    time_row("exact query p50, one client of the daemon", size, percentile(&mut times, 0.5), [None; 3]);

    let folder = store::photos(home).join(store::TENTH).as_os_str().as_bytes().to_vec();
    let filter = proto::Filter { folders: vec![folder], ..Default::default() };
    let filtered =
        |query: &[f32]| proto::SearchPhotosRequest { filter: Some(filter.clone()), ..nearest(query) };
    let (answers, mut times) = ask(&daemon, queries, filtered)?;
    ensure!(answers.iter().all(|answer| answer.len() == K), "a filter has cost results");
    let filtered = percentile(&mut times, 0.5);
    time_row("query p50, a filter passes a tenth", size, filtered, [None; 3]);
    row(
        "the same, in times of the unfiltered",
        size,
        filtered.as_secs_f64() / plain.as_secs_f64(),
        "x",
        [Some(2.0); 3],
        false,
    );
    ask_words(&daemon, size, plain)?;
    let limit = exact.iter().filter_map(|answer| answer.last()).copied().fold(0.0, f32::max);
    let range = |query: &[f32]| proto::SearchPhotosRequest {
        max_distance: Some(limit),
        k: 0,
        page_size: 10,
        ..nearest(query)
    };
    let (_, mut times) = ask(&daemon, &queries[..10], range)?;
    time_row(
        "all within the distance of a tenth neighbor, p50",
        size,
        percentile(&mut times, 0.5),
        [None; 3],
    );
    at_rest(&daemon, size)?;
    row("resident memory after all of that", size, daemon.resident_mb()? - empty, "MB", [None; 3], false);
    daemon.stop()
}

/// Asks for the ten photos that show a word most likely, beside the ten that are nearest an embedding: both without encoding.
fn ask_words(daemon: &Daemon, size: usize, plain: Duration) -> anyhow::Result<()> {
    const WORDS: [&str; 8] = [
        "dog",
        "animal",
        "entity",
        "golden retriever",
        "vehicle",
        "cat or dog",
        "food not pizza",
        "musical instrument",
    ];
    if daemon.status()?.model.unwrap_or_default().words == 0 {
        println!("{:52} {:>10}", "word query", "the network knows no words");
        return Ok(());
    }
    let shown = |word: &str| {
        let query = Some(Query::Text(word.to_owned()));
        daemon.search(proto::SearchPhotosRequest { query, k: K as u32, ..Default::default() })
    };
    let begun = Instant::now();
    while shown(WORDS[0])?.photos_waiting > 0 {
        ensure!(begun.elapsed() < DEADLINE, "the labels of some photos are not known yet");
        std::thread::sleep(POLL);
    }
    let mut times = Vec::new();
    for word in WORDS.iter().cycle().take(25 * WORDS.len()) {
        let begun = Instant::now();
        shown(word)?;
        times.push(begun.elapsed());
    }
    let worded = percentile(&mut times, 0.5);
    time_row("word query p50, one client of the daemon", size, worded, [None; 3]);
    let times_plain = worded.as_secs_f64() / plain.as_secs_f64();
    row("the same, in times of a query by an embedding", size, times_plain, "x", [Some(2.0); 3], false);
    Ok(())
}

/// What the daemon takes of a core while nobody asks it anything.
fn at_rest(daemon: &Daemon, size: usize) -> anyhow::Result<()> {
    let before = daemon.processor_time()?;
    std::thread::sleep(AT_REST);
    let spent = daemon.processor_time()? - before;
    let share = 100.0 * spent.as_secs_f64() / AT_REST.as_secs_f64();
    row("share of a core at rest, over a minute", size, share, "%", [Some(0.1); 3], false);
    Ok(())
}

/// The first start: sketches are made, recall is measured, and if asked for all photos are compared.
fn learn(home: &Path, arguments: &Arguments, size: usize, query: &[f32]) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut daemon = Daemon::start(home, &arguments.network)?;
    daemon.first_answer(query)?;
    time_row("first start, sketches made from embeddings", size, begun.elapsed(), [None; 3]);
    if !arguments.duplicates {
        daemon.pause()?;
    }
    let begun = Instant::now();
    let waits = || begun.elapsed() < DEADLINE;
    if arguments.duplicates {
        let before = daemon.processor_time()?;
        // Groups of photos at no distance, since more of them take the daemon longer to make.
        let mut pending = daemon.pending(Some(0.0))?.0;
        while pending > 0 && waits() {
            let asked = Instant::now();
            pending = daemon.pending(Some(0.0))?.0;
            std::thread::sleep((20 * asked.elapsed()).clamp(POLL, Duration::from_secs(20)));
        }
        ensure!(pending == 0, "{pending} photos are not compared yet");
        time_row(
            "all photos compared for duplicates",
            size,
            begun.elapsed(),
            [None, Some(60e3), Some(900e3)],
        );
        let spent = daemon.processor_time()? - before;
        time_row("the same, processor time, asking included", size, spent, [None; 3]);
        println!("{:52} {:>10}", "groups of near photos", daemon.pending(None)?.1);
    }
    let recall = daemon.own_recall()?;
    row("recall@10 by the daemon's own sampling", size, recall, "", [None; 3], true);
    daemon.stop()
}

/// Returns the distances of the answers, and the times.
fn ask(
    daemon: &Daemon,
    queries: &[Vec<f32>],
    request: impl Fn(&[f32]) -> proto::SearchPhotosRequest,
) -> anyhow::Result<(Vec<Vec<f32>>, Vec<Duration>)> {
    let (mut answers, mut times) = (Vec::new(), Vec::new());
    for query in queries {
        let request = request(query);
        let begun = Instant::now();
        let answer = daemon.search(request)?;
        times.push(begun.elapsed());
        answers.push(answer.matches.iter().map(|found| found.distance).collect());
    }
    Ok((answers, times))
}
