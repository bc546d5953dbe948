//! The daemon of the run, asked without `async` around every step.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use resembled::photo::ContentHash;
use resembled::proto;
use tokio::runtime::Runtime;

use crate::world::{self, World};

pub(super) struct Daemon {
    world: World,
    roots: Vec<PathBuf>,
    runtime: Runtime,
    /// None only while it is being restarted.
    running: Option<world::Daemon>,
}

impl Daemon {
    pub(super) fn start(world: World, roots: &[PathBuf]) -> Self {
        // A thread of its own, so that streams we dropped are also closed while nobody waits here.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut daemon = Self { world, roots: roots.to_vec(), runtime, running: None };
        daemon.start_again();
        daemon
    }

    pub(super) fn start_again(&mut self) {
        let roots: Vec<&OsStr> = self.roots.iter().map(|root| root.as_os_str()).collect();
        let mut running = self.runtime.block_on(self.world.start_with(&roots));
        running.stop_listening();
        self.running = Some(running);
    }

    /// Ends the daemon and waits for its end.
    pub(super) fn end(&mut self, kill: bool) {
        let running = self.running.take().unwrap();
        if kill {
            running.kill();
        } else {
            self.runtime.block_on(running.stop(&self.world));
        }
    }

    fn running(&self) -> &world::Daemon {
        self.running.as_ref().unwrap()
    }

    pub(super) fn status(&self) -> proto::Status {
        self.runtime.block_on(self.running().status())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status().state() == proto::State::Idle
    }

    /// Returns the state of a root. One that is compared with the disk is neither online nor offline.
    pub(super) fn root_state(&self, path: &Path) -> proto::RootState {
        let roots = self.status().roots;
        roots.iter().find(|root| root.path == path.as_os_str().as_bytes()).unwrap().state()
    }

    /// Returns every path that is listed, with its content and whether the file is online. Of a file with several paths one
    /// is enough for that, so for the others it is not known.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, (ContentHash, Option<bool>)> {
        let mut client = self.running().library();
        let mut files = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListPhotosRequest { page_size: 10_000, page_token, ..Default::default() };
            let page = self.runtime.block_on(client.list_photos(request)).unwrap().into_inner();
            for photo in page.photos {
                let content: ContentHash = photo.name.strip_prefix("photos/").unwrap().parse().unwrap();
                for file in photo.files {
                    let others = file.other_paths.iter().map(|path| (path, None));
                    for (path, online) in std::iter::once((&file.path, Some(file.online))).chain(others) {
                        let path = PathBuf::from(OsStr::from_bytes(path));
                        let twice = files.insert(path, (content, online));
                        assert!(twice.is_none(), "listed twice: {:?}", file.path);
                    }
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return files;
            }
        }
    }

    /// Returns path and reason of every failure.
    pub(super) fn failures(&self) -> Vec<(PathBuf, String)> {
        let row = |failure: proto::Failure| (PathBuf::from(OsStr::from_bytes(&failure.path)), failure.reason);
        self.runtime.block_on(self.running().failures()).into_iter().map(row).collect()
    }

    /// Waits until `is_so`, which is asked whenever the status has changed. False: not before the deadline.
    pub(super) fn wait_quietly(&self, deadline: Duration, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let until = Instant::now() + deadline;
        let mut client = self.running().daemon();
        let request = proto::WatchStatusRequest {};
        let mut updates = self.runtime.block_on(client.watch_status(request)).unwrap().into_inner();
        loop {
            if is_so(self) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // An index may also change while the status stays the same: one photo gone, another come.
            let a_while = left.min(Duration::from_millis(500));
            let next =
                self.runtime.block_on(async { tokio::time::timeout(a_while, updates.message()).await });
            if let Ok(update) = next {
                assert!(matches!(update, Ok(Some(_))), "the status ended: {update:?}\n{}", self.log_tail());
            }
        }
    }

    pub(super) fn wait(&self, what: &str, deadline: Duration, is_so: impl FnMut(&Self) -> bool) {
        assert!(self.wait_quietly(deadline, is_so), "waited in vain until {what}\n{}", self.log_tail());
    }

    /// Returns the last lines of the daemon's log.
    pub(super) fn log_tail(&self) -> String {
        let log = self.world.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}
