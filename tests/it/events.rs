//! Events: whoever follows them has what the daemon has, over restarts and kills.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Stdio;

use resembled::proto;
use resembled::proto::EventKind;
use resembled::proto::event_service_client::EventServiceClient;
use serde_json::Value;
use tonic::{Code, Streaming};

use crate::pictures;
use crate::random::Random;
use crate::world::{DEADLINE, Daemon, World};

/// What a client knows of the files: what each holds; nothing where it could not be indexed.
#[derive(Default)]
struct Follower {
    files: BTreeMap<PathBuf, String>,
    after: u64,
    seen: u64,
}

impl Follower {
    fn apply(&mut self, event: &proto::Event) {
        assert!(self.after == 0 || event.sequence == self.after + 1, "{event:?} after {}", self.after);
        self.after = event.sequence;
        self.seen += 1;
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let content = |name: &str| name.trim_start_matches("photos/").to_owned();
        let (file, photo) = (path(&event.path), content(&event.photo));
        match event.kind() {
            EventKind::Added => {
                let before = self.files.insert(file, photo);
                assert!(before.is_none_or(|before| before.is_empty()), "added twice: {event:?}");
            }
            EventKind::Changed => {
                assert_eq!(self.files.insert(file, photo), Some(content(&event.former_photo)), "{event:?}");
            }
            EventKind::Moved => {
                assert_eq!(self.files.remove(&path(&event.former_path)), Some(photo.clone()), "{event:?}");
                assert_eq!(self.files.insert(file, photo), None, "{event:?}");
            }
            EventKind::Removed => assert_eq!(self.files.remove(&file), Some(photo), "{event:?}"),
            EventKind::Failed => _ = self.files.insert(file, String::new()),
            EventKind::Unwatched => self.files.retain(|known, _| !known.starts_with(&file)),
            EventKind::Offline | EventKind::Online => {}
            EventKind::Unspecified => panic!("{event:?}"),
        }
    }

    /// Applies what has happened since.
    async fn catch_up(&mut self, daemon: &Daemon) {
        let mut stream = watch(daemon, Some(self.after), true).await.unwrap();
        while let Some(message) = stream.message().await.unwrap() {
            message.events.iter().for_each(|event| self.apply(event));
            assert!(message.sequence >= self.after);
        }
    }

    /// Compares with what the daemon lists.
    async fn compare(&self, daemon: &Daemon) {
        let photos = self.files.iter().filter(|(_, content)| !content.is_empty());
        let photos: Vec<_> = photos.map(|(path, content)| (path.clone(), content.clone())).collect();
        assert_eq!(photos, daemon.files().await);
        let failed = self.files.iter().filter(|(_, content)| content.is_empty()).map(|(path, _)| path);
        let failures = daemon.failures().await;
        let listed = failures.iter().map(|failure| OsStr::from_bytes(&failure.path));
        assert!(failed.map(|path| path.as_os_str()).eq(listed), "{failures:?}");
    }
}

async fn watch(
    daemon: &Daemon,
    after: Option<u64>,
    only_past: bool,
) -> Result<Streaming<proto::WatchEventsResponse>, tonic::Status> {
    let mut client = EventServiceClient::new(daemon.channel.clone());
    Ok(client.watch_events(proto::WatchEventsRequest { after, only_past }).await?.into_inner())
}

/// Different pictures: few, so that most files are copies, and the time goes into changes, not into encoding.
const PICTURES: u32 = 40;

/// Shows what the daemon said where the test fails.
struct ShownOnFailure<'a>(&'a World);

impl Drop for ShownOnFailure<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.0.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// Makes changes of all kinds, so many events at the least, and follows them: by a stream while they happen, by what is kept after a
/// daemon was killed or ended in their midst.
async fn follow(changes: u64, seed: u64) {
    let world = World::new();
    let _shown = ShownOnFailure(&world);
    let mut random = Random::new(seed);
    let mut follower = Follower::default();
    let (mut made, mut restarts) = (0, 0);
    let mut names: Vec<PathBuf> = Vec::new();
    while follower.seen < changes {
        let daemon = world.start().await;
        let mut live = watch(&daemon, Some(follower.after), false).await.unwrap();
        let acts = 20 + random.below((changes / 20) as usize);
        for _ in 0..acts {
            let place = random.below(names.len().max(1));
            match (random.below(10), names.get(place).cloned()) {
                (0..=4, _) | (_, None) => {
                    made += 1;
                    let name = world.photo(format!("{}/{made}.png", made % 9));
                    pictures::write(&name, made % PICTURES);
                    names.push(name);
                }
                (5, Some(name)) => {
                    made += 1;
                    pictures::write(&name, made % PICTURES);
                }
                (6, Some(name)) => {
                    made += 1;
                    let to = world.photo(format!("{}/moved {made}.png", made % 9));
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::rename(&name, &to).unwrap();
                    names[place] = to;
                }
                (7, Some(name)) => fs::write(&name, format!("no picture {made}")).unwrap(),
                (_, Some(name)) => {
                    fs::remove_file(&name).unwrap();
                    names.swap_remove(place);
                }
            }
        }
        // Some of it is heard as it happens. The first message comes at once.
        for _ in 0..1 + random.below(2) {
            let message = live.message().await.unwrap().unwrap();
            message.events.iter().for_each(|event| follower.apply(event));
        }
        match random.below(3) {
            0 => daemon.kill(),
            1 => daemon.stop(&world).await,
            _ => {
                daemon.wait_for_rest().await;
                follower.catch_up(&daemon).await;
                follower.compare(&daemon).await;
                daemon.kill();
            }
        }
        restarts += 1;
    }
    let daemon = world.start().await;
    daemon.wait_for_rest().await;
    follower.catch_up(&daemon).await;
    follower.compare(&daemon).await;
    let mut anew = Follower::default();
    anew.catch_up(&daemon).await;
    assert_eq!((anew.files, anew.seen), (follower.files, follower.seen), "from the very beginning");
    println!("{} events over {restarts} restarts (seed {seed}): none lost, none twice", follower.seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_over_restarts_lose_and_double_nothing() {
    follow(400, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes"]
async fn ten_thousand_events_over_restarts_lose_and_double_nothing() {
    follow(10_000, 20_261_201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_too_late_or_from_elsewhere_is_told_to_begin_anew() {
    let world = World::new();
    pictures::write(&world.photo("1.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let last = daemon.status().await.last_event;
    let mut now = watch(&daemon, None, true).await.unwrap();
    let first = now.message().await.unwrap().unwrap();
    assert_eq!((first.events.len(), first.sequence), (0, last), "from now on");
    assert_eq!(now.message().await.unwrap(), None);
    for elsewhere in [1, last + 1, u64::MAX] {
        let refused = watch(&daemon, Some(elsewhere), false).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        assert!(refused.message().contains("list the photos anew"), "{refused:?}");
    }
    daemon.stop(&world).await;
    // A store that was lost is no reason to be told other events for one's own.
    fs::remove_file(world.path("data/resembled/resembled.redb")).unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert!(daemon.status().await.last_event > last);
    assert_eq!(watch(&daemon, Some(last), false).await.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_away_and_one_that_is_not_watched_any_more_are_one_event_each() {
    let world = World::new();
    for seed in 0..3 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let more = world.path("more");
    pictures::write(&more.join("3.png"), 3);
    let daemon = world.start().await;
    let path = more.as_os_str().as_bytes().to_vec();
    let root = proto::AddRootRequest { path: path.clone(), ..Default::default() };
    let root = daemon.library().add_root(root).await.unwrap().into_inner();
    daemon.wait_for_files(4).await;
    let mut stream = watch(&daemon, None, false).await.unwrap();
    stream.message().await.unwrap();
    let away = world.path("away");
    let mut told = Vec::new();
    fs::rename(&more, &away).unwrap();
    for step in 0..3 {
        let message = tokio::time::timeout(DEADLINE, stream.message()).await.unwrap().unwrap().unwrap();
        told.extend(message.events.iter().map(|event| (event.kind(), event.path.clone())));
        match step {
            0 => fs::rename(&away, &more).unwrap(),
            1 => {
                let name = root.name.clone();
                daemon.library().remove_root(proto::RemoveRootRequest { name }).await.unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(
        told,
        [(EventKind::Offline, path.clone()), (EventKind::Online, path.clone()), (EventKind::Unwatched, path)]
    );
}

/// A client that takes nothing from its stream while thousands of events come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_nobody_up_and_gets_all_when_it_does() {
    let world = World::new();
    let daemon = world.start().await;
    let mut slow = watch(&daemon, None, false).await.unwrap();
    let begin = slow.message().await.unwrap().unwrap().sequence;
    for made in 0..250 {
        pictures::write(&world.photo(format!("{made}.png")), made);
    }
    daemon.wait_for_files(250).await;
    let last = daemon.status().await.last_event;
    let mut follower = Follower { after: begin, ..Follower::default() };
    while follower.after < last {
        let message = slow.message().await.unwrap().unwrap();
        message.events.iter().for_each(|event| follower.apply(event));
    }
    follower.compare(&daemon).await;
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_prints_events_and_goes_on_after_a_restart() {
    let world = World::new();
    pictures::write(&world.photo("1.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let past = world.resemble(["events", "--since", "0", "--no-follow"]);
    let text = String::from_utf8(past.stdout).unwrap();
    assert!(text.contains("  added      ") && text.contains("photos/1.png"), "{text}");
    assert_eq!(past.status.code(), Some(0));
    assert_eq!(world.resemble(["events", "--no-follow"]).status.code(), Some(1), "nothing is new");
    let elsewhere = world.resemble(["events", "--since", "1"]);
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("list the photos anew"), "{elsewhere:?}");

    let mut child = world.client();
    let mut child = child
        .args(["events", "--json", "--since", &daemon.status().await.last_event.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        tokio::task::block_in_place(|| {
            serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()
        })
    };
    pictures::write(&world.photo("2.png"), 2);
    let added = next();
    assert_eq!(
        (added["kind"].as_str(), added["path"].as_str()),
        (Some("added"), world.photo("2.png").to_str())
    );
    daemon.kill();
    fs::remove_file(world.photo("2.png")).unwrap();
    let _daemon = world.start().await;
    let removed = next();
    assert_eq!(removed["kind"], "removed");
    assert_eq!(removed["sequence"].as_u64(), added["sequence"].as_u64().map(|number| number + 1));
    assert_eq!((&removed["content"], &removed["uri"]), (&added["content"], &added["uri"]));
    fs::rename(world.photo("1.png"), world.photo("3.png")).unwrap();
    let moved = next();
    assert_eq!(moved["kind"], "moved");
    assert_eq!(moved["former_path"].as_str(), world.photo("1.png").to_str());
    child.kill().unwrap();
    child.wait().unwrap();
}
