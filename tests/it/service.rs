//! The daemon as systemd and the shell meet it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use resembled::proto;
use resembled::proto::search_photos_request::Query;
use rustix::process::{Signal, kill_process, test_kill_process};

use crate::pictures;
use crate::world::{DEADLINE, World, run_to_end};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_daemon_on_the_same_data_ends_with_a_clear_word() {
    let world = World::new();
    let daemon = world.start().await;
    let (status, text) = run_to_end(world.resembled().arg(world.photos()));
    assert!(!status.success());
    assert!(text.contains("another resembled runs on this data directory"), "{text}");
    // The first one does not mind.
    daemon.wait_for("rest", |status| status.state() == proto::State::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_was_done_when_it_is_done() {
    let world = World::new();
    for seed in 0..3 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    fs::write(world.photo("broken.jpg"), b"\xff\xd8\xff\xe0 no more than a beginning").unwrap();
    let daemon = world.start().await;
    daemon.wait_for_files(3).await;
    // It may have come to rest more than once on the way.
    let sum_before = |log: &str, what: &str| -> u64 {
        let before =
            log.match_indices(what).filter_map(|(place, _)| log[..place].split_whitespace().next_back());
        before.filter_map(|number| number.parse::<u64>().ok()).sum()
    };
    let begun = Instant::now();
    loop {
        let log = world.log();
        let indexed = sum_before(&log, " files indexed") + sum_before(&log, " file indexed");
        let failed = sum_before(&log, " file could not be read, `resemble failures` says why");
        if (indexed, failed) == (3, 1) {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{indexed} {failed}\n{log}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_commits_what_is_in_hand_and_leaves_no_socket() {
    let world = World::new();
    for seed in 0..30 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let mut daemon = world.start().await;
    assert_eq!(fs::metadata(world.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let status = daemon.wait_for("some are encoded", |status| status.photos_encoded > 2).await;
    daemon.signal(Signal::TERM);
    daemon.told("STOPPING=1", &world);
    daemon.end(&world).await;
    assert!(!world.socket().exists());

    let daemon = world.start().await;
    assert!(daemon.status().await.photos >= status.photos);
    daemon.wait_for_files(30).await;
}

/// Decoding processes that stand still answer nothing, and whoever waits for their answer kept the daemon up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decoding_processes_that_stand_still_keep_no_daemon_from_its_good_end() {
    let world = World::new();
    let mut daemon = world.start().await;
    // The one for queries waits already.
    for seed in 0..100 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let begun = Instant::now();
    let mut stopped = Vec::new();
    while stopped.len() < 2 || daemon.status().await.pending == 0 {
        assert!(begun.elapsed() < DEADLINE, "no process decodes: {stopped:?}");
        stopped = daemon.children();
        // One that has ended meanwhile is replaced, and found in the next round.
        stopped.retain(|child| kill_process(*child, Signal::STOP).is_ok());
    }
    let mut search = daemon.search();
    let query = Some(Query::Image(pictures::png(1).into()));
    let request = proto::SearchPhotosRequest { query, ..Default::default() };
    let searching = async {
        // Whether it is answered by another process or cut off does not matter here.
        let _ = search.search_photos(request).await;
    };
    daemon.signal(Signal::TERM);
    let begun = Instant::now();
    tokio::join!(searching, daemon.end(&world));
    println!("SIGTERM with {} stopped decoders: ended after {:.1?}", stopped.len(), begun.elapsed());
    for child in stopped {
        assert!(test_kill_process(child).is_err(), "{child:?} was left behind");
    }
}

/// A client that is stopped itself (Ctrl-Z) answers nothing, and a graceful end of its connection waits for its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_keeps_no_daemon_from_its_good_end() {
    let world = World::new();
    let daemon = world.start().await;
    let mut mute = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    // The preface of HTTP/2 and empty settings (RFC 9113, 3.4).
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // The daemon has taken it: its own settings are here.
    mute.read_exact(&mut [0; 9]).unwrap();
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_takes_up_a_changed_configuration_and_refuses_a_broken_one() {
    let world = World::new();
    pictures::write(&world.path("more/a.png"), 1);
    pictures::write(&world.photo("skip/b.png"), 2);
    world.configure("roots = [\"~/photos\"]\n");
    let mut daemon = world.start_with(&[]).await;
    daemon.wait_for_files(1).await;

    world.configure("roots = [\"~/photos\", \"~/more\"]\n[watch]\nignore = [\"skip/\"]\n");
    daemon.signal(Signal::HUP);
    daemon.told("READY=1", &world);
    daemon
        .wait_for("the new folder in, the ignored one out", |status| {
            status.roots.len() == 2
                && status.state() == proto::State::Idle
                && status.roots.iter().map(|root| root.files).collect::<Vec<_>>() == [0, 1]
        })
        .await;

    world.configure("rots = []\n");
    daemon.signal(Signal::HUP);
    daemon.told("READY=1", &world);
    assert_eq!(daemon.status().await.roots.len(), 2, "what was valid holds on");
    assert!(world.log().contains("the configuration stays as it was"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_watched_at_a_reload_costs_the_others_nothing() {
    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    pictures::write(&world.path("more/b.png"), 2);
    fs::write(world.path("no-folder"), "a file").unwrap();
    world.configure("roots = [\"~/photos\"]\n");
    let mut daemon = world.start_with(&[]).await;
    daemon.wait_for_files(1).await;
    // A folder around one that is watched by a call, a file, one that is not there, and then a good one.
    let added = world.path("by-call/inner");
    fs::create_dir_all(&added).unwrap();
    assert!(world.resemble(["roots".as_ref(), "add".as_ref(), added.as_os_str()]).status.success());
    world.configure(
        "roots = [\"~/photos\", \"~/by-call\", \"~/no-folder\", \"/nowhere/at/all\", \"~/more\"]\n",
    );
    daemon.signal(Signal::HUP);
    daemon.told("READY=1", &world);
    daemon.wait_for_files(2).await;
    let log = world.log();
    assert!(log.contains("by-call"), "{log}");
    pictures::write(&world.photo("c.png"), 3);
    daemon.wait_for_files(3).await;
    daemon.stop(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reload_refuses_check_config_refuses_too_and_both_say_why() {
    let world = World::new();
    world.configure("roots = [\"~/photos\"]\n");
    let resembled = || world.command(env!("CARGO_BIN_EXE_resembled"));
    let mut daemon = world.start_command(resembled()).await;
    for (text, why) in [
        ("log = \"info\"\nrots = []\n", ["line 2", "rots"]),
        ("roots = []\nmodel = \"nonsense\"\n", ["nonsense", "builtin"]),
        ("roots = []\n[watch]\nignore = [\"[z-a]\"]\n", ["[z-a]", "is not valid"]),
    ] {
        world.configure(text);
        let before = world.log().len();
        daemon.signal(Signal::HUP);
        daemon.told("READY=1", &world);
        let logged = world.log()[before..].to_owned();
        let (status, checked) = run_to_end(resembled().arg("check-config"));
        assert!(!status.success(), "{text}");
        assert!(logged.contains("the configuration stays as it was"), "{logged}");
        for what in why {
            assert!(logged.contains(what) && checked.contains(what), "{what}\n{logged}\n{checked}");
        }
        assert_eq!(daemon.status().await.roots.len(), 1, "what was valid holds on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_is_only_for_those_with_the_token() {
    let world = World::new();
    // The port is free when it was just given and let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let args = ["--listen", &address].map(OsStr::new);
    let _daemon = world.start_with(&args).await;
    let output = world.resemble(["--connect", &address, "status"]);
    assert!(output.status.success(), "{output:?}");
    fs::write(world.path("wrong"), "x".repeat(64)).unwrap();
    let refused = world.resemble(["--connect", &address, "--token-file", "wrong", "status"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bearer token"), "{refused:?}");
}

/// Made under a careless umask, or by a version that left it to the umask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_the_photos_is_for_their_owner_alone() {
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let start = || {
        let mut command = world.command("sh");
        command.args(["-c", "umask 000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_resembled"), "--listen"]);
        command.arg(format!("127.0.0.1:{port}")).arg(world.photos()).env("RESEMBLED_MODEL", "builtin");
        command
    };
    let ours = ["data/resembled", "data/resembled/resembled.redb", "data/resembled/token", "run/resembled"];
    for loosen in [false, true] {
        if loosen {
            for path in ours {
                fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o777)).unwrap();
            }
        }
        let daemon = world.start_command(start()).await;
        for path in ours {
            let mode = fs::metadata(world.path(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path} has {mode:o}, loosened: {loosen}");
        }
        daemon.stop(&world).await;
    }
}

#[test]
fn check_config_names_the_line_that_is_wrong() {
    let world = World::new();
    world.configure("log = \"info\"\nmodle = \"x\"\n");
    let (status, text) = run_to_end(world.resembled().arg("check-config"));
    assert!(!status.success());
    assert!(text.contains("line 2") && text.contains("modle"), "{text}");
    world.configure("log = \"info\"\n");
    let (status, text) = run_to_end(world.resembled().arg("check-config"));
    assert!(status.success(), "{text}");
}

#[test]
fn an_unknown_network_is_refused_before_anything_starts() {
    let world = World::new();
    let (status, text) = run_to_end(world.resembled().args(["--model", "nonsense"]).arg(world.photos()));
    assert!(!status.success());
    assert!(text.contains("nonsense") && text.contains("builtin"), "{text}");
}
