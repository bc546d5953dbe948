//! A home of its own for each test, the daemon in it, and ways to wait.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use hyper_util::rt::TokioIo;
use resembled::proto;
use resembled::proto::daemon_service_client::DaemonServiceClient;
use resembled::proto::library_service_client::LibraryServiceClient;
use resembled::proto::search_service_client::SearchServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Much longer than anything takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A temporary home with a folder of photos.
pub struct World {
    home: TempDir,
    /// Up to how many photos the daemon keeps full vectors in memory, instead of codes. From `RESEMBLED_MAX_FULL_VECTORS`
    /// where a test does not say, so that all tests can be run as if libraries were large; else what people have.
    max_full_vectors: Option<u64>,
}

/// Makes two tests of one: of the search by full vectors in memory, as small libraries have it, and by codes, as large ones.
macro_rules! with_vectors_and_with_codes {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use crate::world::World;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn with_vectors() {
                super::$name(World::new()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn with_codes() {
                super::$name(World::of_codes()).await;
            }
        }
    )*};
}
pub(crate) use with_vectors_and_with_codes;

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    child: Child,
    notify: UnixDatagram,
    max_full_vectors: Option<u64>,
    pub channel: Channel,
}

impl World {
    pub fn new() -> Self {
        let max_full_vectors = std::env::var("RESEMBLED_MAX_FULL_VECTORS").ok();
        Self::with(max_full_vectors.map(|photos| photos.parse().unwrap()))
    }

    /// A world whose daemon searches by codes once it has three photos.
    pub fn of_codes() -> Self {
        Self::with(Some(2))
    }

    /// A world whose daemon searches by codes once it has more photos than that.
    pub fn with_max_full_vectors(photos: u64) -> Self {
        Self::with(Some(photos))
    }

    fn with(max_full_vectors: Option<u64>) -> Self {
        let world = Self { home: tempfile::tempdir().unwrap(), max_full_vectors };
        fs::create_dir(world.photos()).unwrap();
        world
    }

    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(below)
    }

    pub fn photos(&self) -> PathBuf {
        self.path("photos")
    }

    pub fn photo(&self, below: impl AsRef<Path>) -> PathBuf {
        self.photos().join(below)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/resembled/resembled.sock")
    }

    /// A command that sees this world and nothing of the machine's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("RUST_BACKTRACE", "1")
            .current_dir(self.home.path());
        for (name, below) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "data"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.env(name, self.path(below));
        }
        command
    }

    /// The daemon's command, on the built-in network.
    pub fn resembled(&self) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_resembled"));
        command.env("RESEMBLED_MODEL", "builtin");
        if let Some(photos) = self.max_full_vectors {
            command.env("RESEMBLED_MAX_FULL_VECTORS", photos.to_string());
        }
        command
    }

    /// The client's command.
    pub fn client(&self) -> Command {
        self.command(client().to_str().unwrap())
    }

    /// Runs the client to its end.
    pub fn resemble<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.client().args(args).output().unwrap()
    }

    /// Starts the daemon on the folder of photos, and waits until it says that it is ready.
    pub async fn start(&self) -> Daemon {
        self.start_with(&[self.photos().as_os_str()]).await
    }

    pub async fn start_with(&self, args: &[&OsStr]) -> Daemon {
        let mut command = self.resembled();
        command.args(args);
        self.start_command(command).await
    }

    /// Starts the daemon as another user, as whom it cannot read everything.
    pub async fn start_as(&self, user: u32) -> Daemon {
        let mut command = self.resembled();
        command.arg(self.photos()).uid(user).gid(user);
        self.start_command(command).await
    }

    /// Runs a command that becomes the daemon, and waits until it says that it is ready.
    pub async fn start_command(&self, command: Command) -> Daemon {
        let mut daemon = self.spawn(command);
        daemon.told("READY=1", self);
        daemon
    }

    /// Starts the daemon on the folder of photos, and waits until it is ready. `None` where it ends instead.
    pub async fn try_start(&self) -> Option<Daemon> {
        let mut command = self.resembled();
        command.arg(self.photos());
        let mut daemon = self.spawn(command);
        let begun = Instant::now();
        // Both are waited for, and only one of them has a timeout.
        daemon.notify.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut message = [0; 4096];
        while begun.elapsed() < DEADLINE {
            if let Ok(length) = daemon.notify.recv(&mut message)
                && String::from_utf8_lossy(&message[..length]).contains("READY=1")
            {
                daemon.notify.set_read_timeout(Some(DEADLINE)).unwrap();
                return Some(daemon);
            }
            if daemon.child.try_wait().unwrap().is_some() {
                return None;
            }
        }
        panic!("neither ready nor at an end\n{}", self.log());
    }

    /// Runs a command that becomes the daemon, and waits for nothing.
    pub fn spawn(&self, mut command: Command) -> Daemon {
        let address = self.path("notify");
        let _ = fs::remove_file(&address);
        let notify = UnixDatagram::bind(&address).unwrap();
        // Also for a daemon that runs as another user.
        fs::set_permissions(&address, fs::Permissions::from_mode(0o666)).unwrap();
        notify.set_read_timeout(Some(DEADLINE)).unwrap();
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = command
            .env("NOTIFY_SOCKET", &address)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let max_full_vectors = self.max_full_vectors;
        Daemon { child, notify, max_full_vectors, channel: connect(self.socket()) }
    }

    /// Writes the configuration that the next start, or a reload, reads.
    pub fn configure(&self, text: &str) {
        let file = self.path("config/resembled/config.toml");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
    }

    /// What the daemons of this world have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// The client's executable. It is of another package, so cargo does not tell where it is: beside the daemon's.
pub fn client() -> &'static Path {
    static CLIENT: LazyLock<PathBuf> = LazyLock::new(|| {
        let client = Path::new(env!("CARGO_BIN_EXE_resembled")).with_file_name("resemble");
        let sources = ["client/src", "api/src", "proto"].map(|folder| newest(&workspace().join(folder)));
        let built = fs::metadata(&client).and_then(|metadata| metadata.modified());
        assert!(
            built.is_ok_and(|built| sources.into_iter().max() <= Some(built)),
            "{} is missing or older than its sources: `cargo test` builds it, with and without `--test it`, but not with \
             `--package resembled`",
            client.display()
        );
        client
    });
    &CLIENT
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// When the last change was made below a folder.
fn newest(folder: &Path) -> SystemTime {
    let changed = fs::read_dir(folder).unwrap().map(|entry| {
        let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        if metadata.is_dir() { newest(&path) } else { metadata.modified().unwrap() }
    });
    changed.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Connects at the first call.
pub fn connect(socket: PathBuf) -> Channel {
    Endpoint::from_static("http://resembled.invalid").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        },
    ))
}

impl Daemon {
    pub fn search(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.channel.clone())
    }

    pub fn library(&self) -> LibraryServiceClient<Channel> {
        LibraryServiceClient::new(self.channel.clone())
    }

    pub fn daemon(&self) -> DaemonServiceClient<Channel> {
        DaemonServiceClient::new(self.channel.clone())
    }

    /// Hears nothing more of what systemd would be told. A queue that nobody reads is full after a minute, and
    /// then whoever tells waits.
    pub fn stop_listening(&mut self) {
        self.notify = UnixDatagram::unbound().unwrap();
    }

    /// Waits until systemd would have been told this.
    pub fn told(&mut self, what: &str, world: &World) {
        let mut message = [0; 4096];
        loop {
            match self.notify.recv(&mut message) {
                Ok(length) if String::from_utf8_lossy(&message[..length]).contains(what) => return,
                Ok(_) => {}
                Err(error) => panic!("never told {what}: {error}\n{}", world.log()),
            }
        }
    }

    pub async fn status(&self) -> proto::Status {
        self.daemon().get_status(proto::GetStatusRequest {}).await.unwrap().into_inner()
    }

    /// Waits for a status that `is_it` accepts, and returns it.
    pub async fn wait_for(&self, what: &str, is_it: impl Fn(&proto::Status) -> bool) -> proto::Status {
        let mut last = None;
        let wait = async {
            let mut updates =
                self.daemon().watch_status(proto::WatchStatusRequest {}).await.unwrap().into_inner();
            while let Some(status) = updates.message().await.unwrap() {
                if is_it(&status) {
                    return status;
                }
                last = Some(status);
            }
            panic!("the stream of statuses ended")
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("never {what}; last: {last:#?}"),
        }
    }

    /// Waits until so many files are searchable, in the way that this world's daemon searches, and nothing is left to do.
    pub async fn wait_for_files(&self, files: u64) -> proto::Status {
        self.wait_for(&format!("{files} files and idle"), |status| {
            let search = status.search.unwrap_or_default();
            let is_coded = search.sketched && !search.learning;
            status.files == files
                && status.state() == proto::State::Idle
                && (is_coded || self.max_full_vectors.is_none_or(|most| status.photos <= most))
        })
        .await
    }

    /// Waits until nothing is left to do.
    pub async fn wait_for_rest(&self) -> proto::Status {
        self.wait_for("rest", |status| status.state() == proto::State::Idle).await
    }

    /// Returns path and content of every searchable file, sorted.
    pub async fn files(&self) -> Vec<(PathBuf, String)> {
        let request = proto::ListPhotosRequest { page_size: 7, ..Default::default() };
        let mut files = Vec::new();
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let page = self.library().list_photos(request).await.unwrap().into_inner();
            for photo in page.photos {
                let content = photo.name.trim_start_matches("photos/").to_owned();
                let paths =
                    photo.files.iter().flat_map(|file| std::iter::once(&file.path).chain(&file.other_paths));
                files.extend(paths.map(|path| (PathBuf::from(OsStr::from_bytes(path)), content.clone())));
            }
            if !page.next_page_token.is_empty() {
                next = Some(proto::ListPhotosRequest {
                    page_size: 7,
                    page_token: page.next_page_token,
                    ..Default::default()
                });
            }
        }
        files.sort();
        files
    }

    /// Returns path and reason of every failure.
    pub async fn failures(&self) -> Vec<proto::Failure> {
        let request = proto::ListFailuresRequest::default();
        self.library().list_failures(request).await.unwrap().into_inner().failures
    }

    /// Finds the nearest `k` to a picture.
    pub async fn nearest(&self, image: Vec<u8>, k: u32) -> Vec<proto::Match> {
        let query = Some(proto::search_photos_request::Query::Image(image.into()));
        let request = proto::SearchPhotosRequest { query, k, ..Default::default() };
        self.search().search_photos(request).await.unwrap().into_inner().matches
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the processes that it started: its decoders.
    pub fn children(&self) -> Vec<Pid> {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_child = |process: &i32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // The name, in brackets, may hold anything; after it come the state and the parent.
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            rest.split(' ').nth(1) == Some(&self.pid().to_string())
        };
        processes.filter(is_child).filter_map(Pid::from_raw).collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills without a warning, as the kernel does when memory runs out. What has been written stays written, as after no
    /// power cut.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks to stop, and waits for a good end.
    pub async fn stop(mut self, world: &World) {
        self.signal(Signal::TERM);
        self.end(world).await;
    }

    /// Waits for a good end of the process. Our connection stays alive meanwhile, to let go when it is told to.
    pub async fn end(&mut self, world: &World) {
        let status = tokio::task::block_in_place(|| wait_for_end(&mut self.child));
        assert!(status.success(), "{status}\n{}", world.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a process, at most [`DEADLINE`]: the end of its life closes the descriptor that is polled.
pub fn wait_for_end(child: &mut Child) -> ExitStatus {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, pidfd_open};

    let begun = Instant::now();
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let timeout = rustix::event::Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).unwrap();
    match child.try_wait().unwrap() {
        Some(status) => status,
        None => panic!("still running after {:?}", begun.elapsed()),
    }
}

/// Runs a command that must end by itself; returns its status and what it wrote to the standard error.
pub fn run_to_end(command: &mut Command) -> (ExitStatus, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (wait_for_end(&mut child), text)
}
