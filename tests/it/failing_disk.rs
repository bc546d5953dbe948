//! A disk under the index that fails: the daemon's own calls, made to fail from outside as a broken disk lets them fail.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use resembled::proto;
use rustix::process::{Pid, Signal, kill_process};

use crate::pictures;
use crate::world::{Daemon, World, run_to_end};

/// `resembled` ends with this where its disk has failed for good (`EX_IOERR` of `sysexits.h`).
const DISK_FAILED: i32 = 74;

/// `strace` at the daemon: these calls on the index fail. Dropping it lets them succeed again.
struct Failing {
    strace: Child,
    /// Held open: a word of it that finds no reader would end it.
    _words: BufReader<ChildStderr>,
}

impl Failing {
    /// `None` where `strace` is missing or may not do that.
    fn start(world: &World, daemon: &Daemon, calls: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["--follow-forks", "-p", &daemon.pid().to_string()]);
        command.args(["-e", &format!("inject={calls}:error=EIO")]);
        for file in ["resembled.redb", "resembled.decisions"] {
            command.arg("-P").arg(world.path("data/resembled").join(file));
        }
        let Ok(mut strace) = command.arg("-o").arg(world.path("trace")).stderr(Stdio::piped()).spawn() else {
            eprintln!("SKIPPED: there is no strace here");
            return None;
        };
        // It says so when it holds all threads.
        let mut words = BufReader::new(strace.stderr.take()?);
        let mut line = String::new();
        while words.read_line(&mut line).is_ok_and(|length| length > 0) {
            if line.contains("attached") {
                return Some(Self { strace, _words: words });
            }
        }
        eprintln!("SKIPPED: strace may not look at other processes here: {line}");
        let _ = strace.wait();
        None
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // It lets go of the daemon only where it is asked to end.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::INT);
        let _ = self.strace.wait();
    }
}

fn is_failing(status: &proto::Status) -> bool {
    status
        .write_problem
        .as_ref()
        .is_some_and(|problem| problem.kind() == proto::WriteProblemKind::DiskFailing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_to_write_for_a_while_ends_nothing_and_costs_no_photo() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let Some(failing) =
        Failing::start(&world, &daemon, "pwrite64,pwritev,write,fsync,fdatasync,sync_file_range")
    else {
        return;
    };
    pictures::write(&world.photo("b.png"), 2);
    daemon.wait_for("the disk fails", is_failing).await;
    assert!(daemon.nearest(pictures::png(1), 1).await[0].distance < 1e-5, "it answers");
    drop(failing);
    let status = daemon.wait_for_files(2).await;
    assert_eq!((status.failed, status.write_problem), (0, None));
    daemon.stop(&world).await;
}

/// A service that ends in this way is not started again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_read_any_more_is_a_clear_end() {
    let tried = Command::new("strace").args(["--seccomp-bpf", "-f", "-o", "/dev/null", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no strace here, or it may not be used");
        return;
    }
    let world = World::new();
    for seed in 0..40 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(40).await;
    daemon.stop(&world).await;
    // From the first read on, or in the midst of the start.
    for read in [1, 3, 9, 27] {
        let mut command = world.command("strace");
        command.env("PATH", "/usr/bin:/bin").args(["--follow-forks", "--seccomp-bpf", "-o", "trace", "-P"]);
        command.arg(world.path("data/resembled/resembled.redb"));
        command.args(["-e", &format!("inject=pread64,preadv:error=EIO:when={read}+")]);
        command.arg(env!("CARGO_BIN_EXE_resembled")).arg(world.photos()).env("RESEMBLED_MODEL", "builtin");
        let (ended, text) = run_to_end(&mut command);
        assert_eq!(ended.code(), Some(DISK_FAILED), "from read {read} on: {text}");
        assert!(text.contains("Input/output error") && !text.contains("panicked"), "{text}");
    }
    // Nothing was lost by it.
    let daemon = world.start().await;
    daemon.wait_for_files(40).await;
    daemon.stop(&world).await;
}
