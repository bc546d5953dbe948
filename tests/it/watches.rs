//! `resemble watch`: new photos within a distance, over restarts of the daemon and of the client.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::pictures;
use crate::world::World;

/// Runs a watch to the end of what has happened.
fn run(world: &World, more: &[&str]) -> Output {
    let query = world.path("query.png");
    let first = ["watch", query.to_str().unwrap(), "--max-distance", "0.01", "--no-follow", "--paths"];
    world.resemble(first.iter().chain(more))
}

fn told(output: &Output) -> Vec<PathBuf> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(PathBuf::from).collect()
}

/// A folder with names that a shell would stumble over.
fn odd(world: &World, name: &str) -> PathBuf {
    world.photo("it's $(touch evil)").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_while_nobody_watched_is_told_once_and_handed_to_the_command() {
    let world = World::new();
    pictures::write(&world.path("query.png"), 1);
    pictures::write(&world.photo("before.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert_eq!(
        (told(&run(&world, &[])), run(&world, &[]).status.code()),
        (vec![], Some(1)),
        "it was there before"
    );
    daemon.kill();
    pictures::write(&odd(&world, "`new`.png"), 1);
    pictures::write(&world.photo("other.png"), 2);
    let daemon = world.start().await;
    daemon.wait_for_files(3).await;

    fs::create_dir(world.path("copies")).unwrap();
    let ran = run(&world, &["--exec", "cp", "{}", world.path("copies").to_str().unwrap()]);
    assert_eq!((told(&ran), ran.status.code()), (vec![odd(&world, "`new`.png")], Some(0)), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("done: \"cp\""), "{ran:?}");
    assert!(world.path("copies/`new`.png").exists());
    assert_eq!(told(&run(&world, &[])), Vec::<PathBuf>::new(), "told once");

    pictures::write(&odd(&world, "second.png"), 1);
    daemon.wait_for_files(4).await;
    let ran = run(&world, &["--shell", "--exec", "cp \"$1\" copies/shell.png; exit 3"]);
    assert_eq!(told(&ran), [odd(&world, "second.png")]);
    assert!(String::from_utf8_lossy(&ran.stderr).contains("failed (exit status: 3)"), "{ran:?}");
    assert!(world.path("copies/shell.png").exists() && !world.path("evil").exists());

    // More has happened than is kept: told again, rather than not at all.
    let watches: Vec<_> = fs::read_dir(world.path("state/resembled/watches")).unwrap().collect();
    assert_eq!(watches.len(), 1, "one question");
    fs::write(watches[0].as_ref().unwrap().path(), "1\n").unwrap();
    let ran = run(&world, &[]);
    let mut all = told(&ran);
    all.sort();
    assert_eq!(all.len(), 1, "one photo, whatever its copies: {all:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("too much has happened"), "{ran:?}");
    assert_eq!(told(&run(&world, &[])), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_when_the_daemon_does() {
    let world = World::new();
    pictures::write(&world.path("query.png"), 1);
    let daemon = world.start().await;
    let mut child = world
        .client()
        .args(["watch", "query.png", "--max-distance", "0.01", "--paths"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || tokio::task::block_in_place(|| PathBuf::from(lines.next().unwrap().unwrap()));
    // Its question has been asked when its file is there.
    daemon.wait_for_rest().await;
    let watches = world.path("state/resembled/watches");
    let is_there = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    while !is_there(&watches) {
        std::thread::yield_now();
    }
    pictures::write(&world.photo("1.png"), 1);
    assert_eq!(next(), world.photo("1.png"));
    daemon.stop(&world).await;
    pictures::write(&world.photo("other.png"), 2);
    pictures::write(&world.photo("2.png"), 1);
    let _daemon = world.start().await;
    assert_eq!(next(), world.photo("2.png"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_waited_for_is_said_at_once() {
    let world = World::new();
    pictures::write(&world.path("query.png"), 1);
    fs::write(world.path("text.png"), "no picture").unwrap();
    let _daemon = world.start().await;
    let refused = |args: &[&str], expected: &str| {
        let output = world.resemble(["watch", "--no-follow"].iter().chain(args));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected), "{args:?}: {text}");
    };
    refused(&["query.png"], "--max-distance D");
    refused(&["missing.png", "--max-distance", "1"], "cannot read missing.png");
    refused(&["text.png", "--max-distance", "1"], "not a picture");
    refused(&["qwertyuiop"], "is not among the");
    refused(&["query.png", "--max-distance", "1", "--shell", "--exec", "a", "b"], "one line");
    refused(&["query.png", "--max-distance", "1", "--from-event", "1"], "list the photos anew");
}
