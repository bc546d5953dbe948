//! Failures that are not the photo's: it is tried again, and in the end it is there.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::pictures;
use crate::world::{Daemon, World};

/// How many the daemon may open at the most. What is open stays open.
fn limit_descriptors(daemon: &Daemon, limit: u64) {
    let daemon = Pid::from_raw(daemon.pid() as i32);
    prlimit(daemon, Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(1024) }).unwrap();
}

/// It stayed a failure for good, whatever came later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_photo_that_comes_while_descriptors_are_short_is_read_once_they_are_not() {
    let world = World::new();
    pictures::write(&world.photo("before.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    limit_descriptors(&daemon, 3);
    pictures::write(&world.photo("meanwhile.png"), 2);
    daemon.wait_for("it failed", |status| status.failed == 1).await;
    let failures = daemon.failures().await;
    assert!(failures[0].retried && failures[0].reason.contains("Too many open files"), "{failures:?}");
    limit_descriptors(&daemon, 1024);
    assert_eq!(daemon.wait_for_files(2).await.failed, 0);

    limit_descriptors(&daemon, 3);
    fs::write(world.photo("later.png"), pictures::png(3)).unwrap();
    daemon.wait_for("it failed", |status| status.failed == 1).await;
    daemon.kill();
    let daemon = world.start().await;
    assert_eq!(daemon.wait_for_files(3).await.failed, 0, "a restart forgets none");
}
