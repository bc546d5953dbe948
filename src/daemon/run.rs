//! Start order and stop order.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::adapters::{Changes, KnownFiles};
use super::cores::threads_or_cores;
use super::disk::DiskFailed;
use super::error::DaemonError;
use super::follow::{Follow, start_writer};
use super::handover::Handover;
use super::lifetime::Ended;
use super::maintenance::{self, MaintenanceThread, Waker};
use super::retries::Retries;
use super::second_look::Eyes;
use super::supervisor::{Supervisor, SupervisorError};
use super::{batches, decoders, disk, networks, power, pressure, priority, reload, roots, systemd};
use crate::config::{Config, ConfigError};
use crate::decode;
use crate::ingest::{Again, Parts, Pause, Progress, Queue, Workers};
use crate::models::Bands;
use crate::serve::{self, Api, Limiter, ServeError, Socket, Token};
use crate::store::{NearRule, Reach, Store, StoreError, Write};
use crate::thumbnails::{Cache, Thumbnails};
use crate::verify::JUDGE;
use crate::watch::{Activity, WatchConfig, Watcher};

/// How long the rooms have to stop. Who overruns it is left behind.
pub(super) const GRACE: Duration = Duration::from_secs(6);

/// How often photos are dropped whose files have been gone for long enough.
const PURGE_EVERY: Duration = Duration::from_secs(6 * 3600);

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Runs the daemon until `stop` or a failure. `reloads` asks for the configuration to be read again.
pub(super) async fn run(
    config: Config,
    read_again: Reload,
    stop: CancellationToken,
    reloads: Arc<Notify>,
) -> Result<Ended, DaemonError> {
    let path = config.store.clone();
    let mut damage = None;
    let ended = run_rooms(config, read_again, stop, reloads, &mut damage).await;
    // Whichever room came across it first has less to say.
    match (&ended, damage.and_then(|damage| *damage.borrow())) {
        (Err(_), Some(block)) => Err(StoreError::DamagedBlock { path, block }.into()),
        _ => ended,
    }
}

async fn run_rooms(
    config: Config,
    read_again: Reload,
    stop: CancellationToken,
    reloads: Arc<Notify>,
    damage: &mut Option<watch::Receiver<Option<u64>>>,
) -> Result<Ended, DaemonError> {
    let begun = Instant::now();
    // First, so that whoever waits at it is turned away if we cannot start.
    let passed = Socket::from_systemd()?;
    // Taken before anything that lasts, so that a second daemon ends at once.
    let store =
        Store::open(&config.store).map_err(|error| match DiskFailed::to_open(&config.store, &error) {
            Some(failed) => DaemonError::from(failed),
            None => error.into(),
        });
    let store = Arc::new(store?);
    let problems = store.problems();
    *damage = Some(store.damage());
    let socket = match passed {
        Some(socket) => socket,
        None => Socket::bind(&config.socket)?,
    };
    let mut supervisor = Supervisor::new(stop.clone());
    let networks::Loaded { networks, former, runtime, facts, written } =
        networks::load(&config, &store, &mut supervisor, &stop)?;
    let facts = Arc::new(facts);
    let configured = Arc::clone(networks.configured());
    let queue = Arc::new(Queue::default());
    let pause = Arc::new(Pause::load(Arc::clone(&queue), config.store.with_file_name("paused")));
    let progress = Arc::new(Progress::default());
    let again = Arc::new(Again::default());
    let (waker, wake_receiver) = maintenance::waker();
    let last_event = watch::Sender::new(store.read()?.last_event()?);
    let follow = Follow {
        store: Arc::clone(&store),
        networks: Arc::clone(&networks),
        facts: Arc::clone(&facts),
        queue: Arc::clone(&queue),
        progress: Arc::clone(&progress),
        again: Arc::clone(&again),
        waker: waker.clone(),
        last_event: last_event.clone(),
    };
    let (writer_thread, writer) = start_writer(&configured.model, follow)?;
    supervisor.start("the store", writer_thread.ended());
    supervisor.start("the store's file", until_damaged(store.damage(), config.store.clone(), stop.clone()));
    let query_decoders = configured.encoding.query_decoders.clone();
    decoders::start_first(query_decoders.clone()).await;
    supervisor.start("ending idle decoders", decoders::end_idle_ones(query_decoders, stop.clone()));

    let settled = roots::settle(&store, &config.roots)?;
    for dropped in &settled.dropped {
        tracing::info!("{} is no longer configured and is forgotten", dropped.path.display());
        writer.enqueue(Write::RemoveRoot { root: dropped.id }).await?;
    }
    writer.enqueue(Write::TryFailuresAgain { decoder: config.decode.limits().decoder_id() }).await?;
    // Where the disk takes no writes, this is done later, and then what was forgotten by it has to be looked for.
    let is_written = match writer.flush().await {
        Ok(()) => true,
        Err(StoreError::CannotWrite { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    if settled.watched.is_empty() {
        tracing::warn!("no folder is watched yet: add one with `resemble roots add DIR`");
    }
    let known = KnownFiles {
        store: Arc::clone(&store),
        queue: Arc::clone(&queue),
        index: Arc::clone(&configured.index),
    };
    let changes = Arc::new(Changes::new(Arc::clone(&queue), Arc::clone(&store), writer.clone()));
    let sink = Arc::clone(&changes);
    let (watcher, watch) = Watcher::start(watch_config(&config), settled.watched, Arc::new(known), sink)?;
    supervisor.start("watching", watcher.run(stop.clone()));
    let (rescan, is_owed) = (watch.clone(), AtomicBool::new(!is_written));
    let mended = Arc::new(move || {
        changes.remember_places(&rescan.roots());
        if is_owed.swap(false, Ordering::Relaxed) {
            rescan.rescan(None);
        }
    });
    let in_view = disk::keep_in_view(Arc::clone(&store), Arc::clone(&queue), mended, stop.clone());
    supervisor.start("the disk of the index", in_view);
    let deletions = watch.clone();
    let parts = Parts {
        queue: Arc::clone(&queue),
        store: Arc::clone(&store),
        model: configured.model.clone(),
        writer: writer.clone(),
        encoding: configured.encoding.clone(),
        former: Arc::clone(&former),
        progress: Arc::clone(&progress),
        is_gone: Arc::new(move |file| deletions.is_gone(file)),
    };
    let workers = Workers::start(parts, threads_or_cores(config.ingest.threads), priority::lower)?;
    supervisor.start("indexing", workers.ended());

    let cache = Cache::new(config.thumbnail_dir.clone(), config.thumbnails.max_bytes());
    let api = Arc::new(Api {
        store,
        networks: Arc::clone(&networks),
        runtime,
        facts,
        watch,
        queue: Arc::clone(&queue),
        again: Arc::clone(&again),
        thumbnails: Arc::new(Thumbnails::new(cache)),
        progress,
        writer,
        configured: Mutex::new(settled.configured),
        changing_roots: Arc::default(),
        last_event: last_event.subscribe(),
        limiter: Limiter::default(),
        pause: Arc::clone(&pause),
        calls: Arc::default(),
        stop: stop.clone(),
    });
    let retries =
        Retries { store: Arc::clone(&api.store), queue: Arc::clone(&queue), again, watch: api.watch.clone() };
    supervisor.start("trying again", retries.run(stop.clone()));
    if let Some(path) = socket.path() {
        tracing::info!("answering on {}", path.display());
    }
    supervisor.start("serving", serve::run_socket(Arc::clone(&api), socket));
    if let Some(address) = config.listen {
        let token = Token::load(&config.token).map_err(ServeError::from)?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
        tracing::info!("answering on {address} for callers with the token in {}", config.token.display());
        if !address.ip().is_loopback() {
            tracing::warn!("{address} can be reached from outside: token and photos travel unencrypted");
        }
        supervisor.start("serving TCP", serve::run_tcp(Arc::clone(&api), listener, token));
    }
    if let Some(address) = config.metrics.listen {
        let listener =
            TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
        tracing::info!("metrics are at http://{address}/metrics");
        supervisor.start("metrics on TCP", serve::run_metrics_on_tcp(Arc::clone(&api), listener));
    }
    if let Some(path) = &config.metrics.socket {
        let socket = Socket::bind(path)?;
        tracing::info!("metrics are on {}", path.display());
        supervisor.start("metrics", serve::run_metrics_on_socket(Arc::clone(&api), socket));
    }
    supervisor.start("telling systemd", systemd::keep_informed(Arc::clone(&api), stop.clone()));
    supervisor.start("reloading", reload::on_request(Arc::clone(&api), reloads, read_again, stop.clone()));
    if networks.former().is_some() {
        let (watch, queue) = (api.watch.clone(), Arc::clone(&queue));
        let handover = Handover { networks: Arc::clone(&networks), former, watch, queue };
        supervisor.start("changing the network", handover.when_full(stop.clone()));
    }
    let (watching, held) = (Arc::clone(&queue), Arc::clone(&queue));
    let maintained = maintenance::Parts {
        index: Arc::clone(&configured.index),
        store: Arc::clone(&api.store),
        model: configured.model.clone(),
        words: configured.words.clone(),
        near: configured.manifest.bands.of(configured.model.metric).map(near_rule),
        written,
        is_idle: Box::new(move || watching.pending() == 0),
        is_held: Box::new(move || !held.holds().is_empty()),
        stop: stop.clone(),
    };
    let watch = api.watch.clone();
    let eyes = Eyes {
        thumbnails: Arc::clone(&api.thumbnails),
        decoders: configured.encoding.decoders.clone(),
        place: Box::new(move |file| {
            let root = watch.roots().into_iter().find(|root| root.id == file.root)?;
            root.is_reachable(&file.path).then(|| file.path.under(&root.path))
        }),
    };
    let telling =
        batches::tell(api.watch.activity(), Arc::clone(&queue), Arc::clone(&api.progress), stop.clone());
    supervisor.start("telling what was done", telling);
    // A drive may be back.
    supervisor.start("hearing of rest", wake_at_rest(api.watch.activity(), waker.clone(), stop.clone()));
    let maintenance = MaintenanceThread::start(maintained, eyes, waker, wake_receiver)?;
    supervisor.start("maintaining the index", maintenance.ended(stop.clone()));
    supervisor.start("ending a pause", pause.run(stop.clone()));
    if config.ingest.max_pressure > 0.0 {
        let watched =
            pressure::pause_under_pressure(Arc::clone(&queue), config.ingest.max_pressure, stop.clone());
        supervisor.start("watching the pressure", watched);
    }
    if config.ingest.pause_on_battery {
        supervisor.start("watching the battery", power::pause_on_battery(Arc::clone(&queue), stop.clone()));
    }
    let keep_for = Duration::from_secs(u64::from(config.ingest.keep_deleted_days) * 86_400);
    supervisor.start("purging", purge_now_and_then(Arc::clone(&api), keep_for, stop.clone()));
    systemd::ready().await;
    tracing::info!(
        "ready after {:.0?}: {} photos can be searched; `resemble window` shows them, `resemble --help` lists the rest",
        begun.elapsed(),
        api.networks.answering().index.len()
    );

    let watched = supervisor.watch().await;
    systemd::stopping().await;
    tracing::info!("stopping");
    // The workers finish the photo in hand; what waits is found again at the next start. With the last handles of
    // the writer and the encoder, which the tasks hold, those two end.
    queue.close();
    decoders::close(configured.encoding.decoders.clone()).await;
    // Nor does anything wait for a disk that takes no writes.
    api.store.give_up();
    drop((api, networks, configured));
    let joined = supervisor.join(GRACE).await;
    // Whoever came across it first has less to say.
    let unreadable = disk::unreadable(&config.store, problems.borrow().as_ref());
    match (watched.and(joined), unreadable) {
        (Ok(()), _) => Ok(Ended::Wholly),
        (Err(_), Some(failed)) => Err(failed.into()),
        // Asked to stop, and stopping: no failure. The writer has committed whatever reached it.
        (Err(error @ SupervisorError::Overran { .. }), None) => {
            tracing::warn!("{error}; left behind");
            Ok(Ended::LeftBehind)
        }
        (Err(error), None) => Err(error.into()),
    }
}

/// Wakes the maintenance each time when the watching has nothing left to do.
async fn wake_at_rest(
    mut activity: watch::Receiver<Activity>,
    waker: Waker,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = activity.changed() => match changed {
                Ok(()) if activity.borrow_and_update().is_idle() => waker.wake(),
                Ok(()) => {}
                // The watching has ended.
                Err(_) => return Ok(()),
            },
        }
    }
}

/// Share of the radius around two photos within which they are looked at side by side. Of the pairs of shots that looking finds
/// (of those within the band `similar`) it loses none, and leaves out a third of all candidates.
const CANDIDATE_SHARE: f32 = 0.85;

/// Which photos are looked at side by side: the same thing or place, as far as the network tells.
fn near_rule(bands: Bands) -> NearRule {
    NearRule {
        candidates: Reach { distance: bands.similar, share: CANDIDATE_SHARE },
        near: Reach { distance: bands.near, share: bands.near_share.unwrap_or(f32::INFINITY) },
        judge: JUDGE,
    }
}

fn watch_config(config: &Config) -> WatchConfig {
    WatchConfig {
        ignore: config.watch.ignore.clone(),
        include_hidden: config.watch.hidden,
        compare_every: (config.watch.compare_minutes > 0)
            .then(|| Duration::from_secs(config.watch.compare_minutes.saturating_mul(60))),
        ..WatchConfig::new(may_be_a_photo)
    }
}

/// Says whether a file is worth opening. One without an extension is: its first bytes will tell.
fn may_be_a_photo(name: &OsStr) -> bool {
    let is_plain = Path::new(name).extension().is_none() && !name.as_bytes().starts_with(b".");
    is_plain || decode::is_photo_name(name)
}

/// Ends the daemon when a damaged block of the store is met: from then on nothing more can be read.
async fn until_damaged(
    mut damage: watch::Receiver<Option<u64>>,
    path: PathBuf,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        found = damage.wait_for(Option::is_some) => match found.ok().and_then(|block| *block) {
            Some(block) => Err(StoreError::DamagedBlock { path, block }),
            // The store was closed.
            None => Ok(()),
        },
    }
}

/// Drops photos whose files have been gone for `keep_for`, at the start and every few hours.
async fn purge_now_and_then(
    api: Arc<Api>,
    keep_for: Duration,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut ticks = tokio::time::interval(PURGE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let before = Timestamp::now().as_second().saturating_sub_unsigned(keep_for.as_secs());
        while api.store.read()?.has_orphans(before)? && !stop.is_cancelled() {
            api.writer.enqueue(Write::PurgeOrphans { before }).await?;
            api.writer.flush().await?;
        }
        let api = Arc::clone(&api);
        // What a photo looked like is kept no longer than what else is known of it.
        let forget = move || -> Result<(), StoreError> {
            let reader = api.store.read()?;
            api.thumbnails.forget_all_but(&mut |content| Ok(reader.photo_with(content)?.is_some()))
        };
        // It ends early only by a panic, which has been logged; the thumbnails can wait.
        if let Ok(forgotten) = tokio::task::spawn_blocking(forget).await {
            forgotten?;
        }
    }
}
