//! The client and a daemon that does not answer, ends, or cannot start: it says so, and nobody waits for ever.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;

use crate::pictures;
use crate::world::{World, run_to_end, wait_for_end};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What systemd holds while the service cannot start: a socket at which nobody answers.
fn mute(world: &World) -> UnixListener {
    fs::create_dir_all(world.socket().parent().unwrap()).unwrap();
    UnixListener::bind(world.socket()).unwrap()
}

#[test]
fn every_command_gives_a_daemon_up_that_says_nothing() {
    let world = World::new();
    let _socket = mute(&world);
    pictures::write(&world.path("a.png"), 1);
    for command in [
        &["status"][..],
        &["status", "--watch"],
        &["search", "a.png"],
        &["similar", "a.png"],
        &["check", "a.png"],
        &["duplicates"],
        &["list"],
        &["failures"],
        &["roots"],
        &["roots", "add", "photos"],
        &["rescan"],
        &["pause"],
        &["resume"],
    ] {
        let output = world.resemble([&["--timeout", "1"], command].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}: {output:?}");
        let text = stderr(&output);
        assert!(text.contains("no sign of life for 1 seconds") && text.contains("resemble doctor"), "{text}");
    }
    let doctor = world.resemble(["--timeout", "1", "doctor"]);
    assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains("no sign of life") && text.contains("the configuration is valid"), "{text}");
    assert!(!text.contains("resemble doctor"), "it sends nobody to itself: {text}");
}

/// Where too many wait, a Unix socket refuses at once; that is no reason to say that there is no daemon.
#[test]
fn a_socket_at_which_too_many_wait_is_given_up_too() {
    let world = World::new();
    let _socket = mute(&world);
    let mut waiting = Vec::new();
    // Its queue holds a few thousand at the most (`net.core.somaxconn`).
    while let Ok(stream) = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::NONBLOCK,
        None,
    ) {
        let address = rustix::net::SocketAddrUnix::new(world.socket()).unwrap();
        if rustix::net::connect(&stream, &address).is_err() {
            break;
        }
        waiting.push(stream);
    }
    assert!(!waiting.is_empty());
    let output = world.resemble(["--timeout", "1", "status"]);
    assert!(stderr(&output).contains("no sign of life"), "{output:?}");
}

#[test]
fn an_error_of_the_system_is_told_once() {
    let world = World::new();
    let nobody = world.resemble(["status"]);
    assert_eq!(nobody.status.code(), Some(2));
    let text = stderr(&nobody);
    assert!(text.contains("start one with") && !text.contains("os error"), "{text}");
    drop(mute(&world));
    let ended = world.resemble(["status"]);
    assert!(stderr(&ended).contains("it has ended: start one with"), "{ended:?}");
    fs::write(world.path("token"), "x").unwrap();
    let refused = world.resemble(["--connect", "127.0.0.1:1", "--token-file", "token", "status"]);
    assert_eq!(stderr(&refused).matches("os error").count(), 1, "{refused:?}");
}

/// Starts `status --watch` on a daemon that is not idle, and waits for its first line.
fn watch(world: &World) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = world
        .client()
        .args(["status", "--watch", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"state\""), "{line}");
    (child, lines)
}

fn words_at_the_end(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (wait_for_end(&mut child).code(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_daemon_that_dies_or_freezes_is_noticed() {
    let world = World::new();
    for seed in 0..400 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let mut daemon = world.start().await;
    daemon.stop_listening();
    let (child, _lines) = watch(&world);
    daemon.signal(Signal::STOP);
    let (code, text) = tokio::task::block_in_place(|| words_at_the_end(child));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("has ended or hangs"), "{text}");
    daemon.signal(Signal::CONT);

    let (child, _lines) = watch(&world);
    daemon.kill();
    let (code, text) = tokio::task::block_in_place(|| words_at_the_end(child));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("has ended or hangs"), "{text}");
}

/// Starts the daemon as systemd does: the socket is descriptor 3.
fn activated(world: &World, socket: &UnixListener) -> Command {
    let mut command = world.command("/bin/sh");
    command
        .arg("-c")
        .arg("exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\"")
        .arg(env!("CARGO_BIN_EXE_resembled"))
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

/// A caller who waits at the socket of a service that cannot start waited for ever, and had it started again and again.
#[test]
fn who_waits_for_a_service_that_cannot_start_is_turned_away() {
    let world = World::new();
    let socket = mute(&world);
    for (configuration, part) in [
        ("rots = []\n", "rots"),
        ("model = \"nonsense\"\n", "nonsense"),
        ("log = \"a=b=c\"\n", "log filter"),
        ("[watch]\nignore = [\"[z-a].jpg\"]\n", "ignore pattern"),
    ] {
        world.configure(configuration);
        let mut client = world.client();
        let client = client.arg("status").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Until it waits.
        let mut poll = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).unwrap();
        let (status, text) = run_to_end(&mut activated(&world, &socket));
        assert!(text.contains(part), "{text}");
        assert_eq!(status.code(), Some(78), "{text}");
        let (code, text) = words_at_the_end(client);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("broke off"), "{text}");
    }
}

/// `systemctl` and `journalctl` as a machine has them whose service fails.
#[test]
fn the_doctor_tells_what_the_service_says() {
    let world = World::new();
    let _socket = mute(&world);
    world.configure("roots = []\nrots = []\n");
    fs::create_dir(world.path("bin")).unwrap();
    for (name, script) in [
        (
            "systemctl",
            "case \"$3\" in resembled.service) echo LoadState=loaded; echo ActiveState=failed; echo Result=exit-code; \
             echo ExecMainStatus=78;; resembled.socket) echo LoadState=loaded; echo ActiveState=active; echo Result=success;; esac",
        ),
        ("journalctl", "echo 'resembled: the configuration is not valid'; echo 'Main process exited'"),
    ] {
        let path = world.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output =
        world.client().args(["--timeout", "1", "doctor"]).env("PATH", world.path("bin")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "no sign of life",
        "line 2",
        "`rots`",
        "exit code 78, its configuration is not valid",
        "`systemctl --user reset-failed resembled.service`",
        "`systemctl --user start resembled.service resembled.socket`",
        "      Main process exited",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_stray_word_is_no_folder_to_watch() {
    let world = World::new();
    pictures::write(&world.path("cat.jpg"), 1);
    let refused = |args: &[&str]| {
        let (status, text) = run_to_end(world.resembled().args(args));
        assert_eq!(status.code(), Some(2), "{args:?}: {text}");
        text
    };
    assert!(refused(&["start"]).contains("`systemctl --user start resembled`"));
    assert!(refused(&["similar", "a.jpg"]).contains("`resemble similar a.jpg`"));
    assert!(refused(&["./cat.jpg"]).contains("`resemble search ./cat.jpg`"));
    assert!(refused(&["photos", "Pictrues"]).contains("no folder Pictrues here"));
    // Each command of the client that the daemon does not have too is known as one.
    let commands = |help: Output| -> Vec<String> {
        let help = String::from_utf8(help.stdout).unwrap();
        let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        let commands = lines
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next());
        commands.map(str::to_owned).collect()
    };
    let of_the_daemon = commands(world.resembled().arg("--help").output().unwrap());
    let mut of_the_client = commands(world.resemble(["--help"]));
    of_the_client.retain(|command| !of_the_daemon.contains(command));
    assert!(of_the_daemon.len() > 5 && of_the_client.len() > 10, "{of_the_daemon:?} {of_the_client:?}");
    for command in of_the_client {
        assert!(refused(&[&command]).contains(&format!("`resemble {command}`")), "{command}");
    }
    for (help, parts) in [
        (world.resemble(["--help"]), ["Exit codes: 0", "2 an error"]),
        (world.resemble(["check", "--help"]), ["Exit codes: 0", "copy-offline"]),
        (world.resemble(["doctor", "--help"]), ["Exit codes: 0", "1 there is something"]),
        (world.resembled().arg("--help").output().unwrap(), ["Exit codes: 0", "78 the configuration"]),
    ] {
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_whose_drive_is_away_is_a_folder_to_watch() {
    let world = World::new();
    std::os::unix::fs::symlink("/nowhere/drive", world.path("drive")).unwrap();
    let _daemon = world.start_with(&["/nowhere/card".as_ref(), "drive".as_ref(), "./later".as_ref()]).await;
    let roots = String::from_utf8(world.resemble(["roots"]).stdout).unwrap();
    for part in ["/nowhere/card", "drive", "later"] {
        assert!(roots.contains(part), "{roots}");
    }
}

#[test]
fn the_units_are_what_systemd_understands() {
    let world = World::new();
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for name in ["resembled.service", "resembled.socket"] {
        // The daemon is not where a user has it.
        let text = fs::read_to_string(units.join(name)).unwrap();
        let text = text.replace("%h/.cargo/bin/resembled", env!("CARGO_BIN_EXE_resembled"));
        fs::write(world.path(name), text).unwrap();
    }
    fs::create_dir_all(world.path("run")).unwrap();
    let mut verify = world.command("systemd-analyze");
    verify.env("PATH", "/usr/bin:/bin").args(["verify", "--user", "resembled.service", "resembled.socket"]);
    match verify.output() {
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
        Err(error) => eprintln!("SKIPPED: no systemd-analyze here: {error}"),
    }
}
