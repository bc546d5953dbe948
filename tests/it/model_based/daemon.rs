//! A real daemon of its own, and a client that asks it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::daemon_service_client::DaemonServiceClient;
use resembled::proto::library_service_client::LibraryServiceClient;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint, Uri};

/// Longer than a start takes on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Daemon {
    world: PathBuf,
    roots: Vec<PathBuf>,
    child: Child,
    runtime: Runtime,
    channel: Option<Channel>,
}

impl Daemon {
    pub(super) fn start(world: &Path, roots: &[PathBuf]) -> Self {
        // A thread of its own, so that streams we dropped are also closed while nobody waits here.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let child = spawn(world, roots);
        let mut daemon =
            Self { world: world.to_path_buf(), roots: roots.to_vec(), child, runtime, channel: None };
        daemon.connect();
        daemon
    }

    pub(super) fn start_again(&mut self) {
        self.child = spawn(&self.world, &self.roots);
        self.connect();
    }

    /// Ends the daemon and waits for its end.
    pub(super) fn end(&mut self, kill: bool) {
        self.channel = None;
        let pid = rustix::process::Pid::from_child(&self.child);
        let signal = if kill { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
        rustix::process::kill_process(pid, signal).unwrap();
        let status = self.child.wait().unwrap();
        assert!(kill || status.success(), "the daemon ended with {status}\n{}", self.log_tail());
    }

    fn connect(&mut self) {
        let socket = self.world.join("runtime/resembled/resembled.sock");
        let connected = self.runtime.block_on(async {
            Endpoint::from_static("http://resembled.invalid")
                .connect_with_connector(tower::service_fn(move |_: Uri| {
                    let socket = socket.clone();
                    async move { UnixStream::connect(socket).await.map(TokioIo::new) }
                }))
                .await
        });
        let connected =
            connected.unwrap_or_else(|error| panic!("no daemon answers: {error:?}\n{}", self.log_tail()));
        self.channel = Some(connected);
    }

    fn channel(&self) -> Channel {
        self.channel.clone().unwrap()
    }

    pub(super) fn status(&self) -> proto::Status {
        let mut client = DaemonServiceClient::new(self.channel());
        let status = self.runtime.block_on(client.get_status(proto::GetStatusRequest {}));
        status.unwrap_or_else(|error| panic!("no status: {error}\n{}", self.log_tail())).into_inner()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status().state() == proto::State::Idle
    }

    pub(super) fn is_root_online(&self, path: &Path) -> bool {
        let roots = self.status().roots;
        let root = roots.iter().find(|root| root.path == path.as_os_str().as_bytes()).unwrap();
        root.state() == proto::RootState::Online
    }

    /// Returns content and presence of every file that is listed.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, (ContentHash, bool)> {
        let mut client = LibraryServiceClient::new(self.channel());
        let mut files = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListPhotosRequest { page_size: 10_000, page_token };
            let page = self.runtime.block_on(client.list_photos(request)).unwrap().into_inner();
            for photo in page.photos {
                let content: ContentHash = photo.name.strip_prefix("photos/").unwrap().parse().unwrap();
                for file in photo.files {
                    let path = PathBuf::from(OsStr::from_bytes(&file.path));
                    let twice = files.insert(path, (content, file.online));
                    assert!(twice.is_none(), "listed twice: {:?}", file.path);
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
        let mut client = LibraryServiceClient::new(self.channel());
        let request = proto::ListFailuresRequest { page_size: 10_000, page_token: String::new() };
        let page = self.runtime.block_on(client.list_failures(request)).unwrap().into_inner();
        let row = |failure: proto::Failure| (PathBuf::from(OsStr::from_bytes(&failure.path)), failure.reason);
        page.failures.into_iter().map(row).collect()
    }

    /// Waits until `is_so`, which is asked whenever the status has changed. False: not before the deadline.
    pub(super) fn wait_quietly(&self, deadline: Duration, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let until = Instant::now() + deadline;
        let mut client = DaemonServiceClient::new(self.channel());
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
        let log = fs::read_to_string(self.world.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already where the run was cut short in a restart.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a daemon and waits until it says that it is ready.
fn spawn(world: &Path, roots: &[PathBuf]) -> Child {
    for folder in ["config", "data", "state", "cache", "runtime", "home"] {
        fs::create_dir_all(world.join(folder)).unwrap();
    }
    let notify = world.join("notify");
    let _ = fs::remove_file(&notify);
    let ready = UnixDatagram::bind(&notify).unwrap();
    ready.set_read_timeout(Some(START_DEADLINE)).unwrap();
    let log = File::options().create(true).append(true).open(world.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_resembled"))
        .args(roots)
        .env_clear()
        .env("HOME", world.join("home"))
        .env("XDG_CONFIG_HOME", world.join("config"))
        .env("XDG_DATA_HOME", world.join("data"))
        .env("XDG_STATE_HOME", world.join("state"))
        .env("XDG_CACHE_HOME", world.join("cache"))
        .env("XDG_RUNTIME_DIR", world.join("runtime"))
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut message = [0; 4096];
    loop {
        let length = ready.recv(&mut message).unwrap_or_else(|error| {
            let log = fs::read_to_string(world.join("log")).unwrap_or_default();
            panic!("the daemon never became ready: {error}\n{log}")
        });
        if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
            return child;
        }
    }
}
