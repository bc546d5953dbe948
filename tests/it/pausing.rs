//! The pause that a user asks for: until it is ended, for a time, over a restart.

use resembled::proto;

use crate::pictures;
use crate::world::{Daemon, World};

async fn is_paused(daemon: &Daemon) -> bool {
    daemon.status().await.pauses().any(|pause| pause == proto::Pause::Asked)
}

fn resemble(world: &World, args: &[&str]) -> String {
    let output = world.resemble(args);
    assert!(output.status.success(), "{output:?}");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_lasts_as_long_as_was_said_over_a_restart_too() {
    let world = World::new();
    pictures::write(&world.photo("1.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    assert!(resemble(&world, &["pause"]).contains("wait until `resemble resume`"));
    assert!(is_paused(&daemon).await);
    daemon.stop(&world).await;

    // Nothing was said of a restart.
    let daemon = world.start().await;
    assert!(!is_paused(&daemon).await);
    assert!(resemble(&world, &["pause", "--for", "2h"]).contains(" or `resemble resume`"));
    pictures::write(&world.photo("2.png"), 2);
    daemon.wait_for("a photo waits", |status| status.pending == 1).await;
    daemon.stop(&world).await;

    let daemon = world.start().await;
    let status = daemon.wait_for("it waits again", |status| status.pending == 1).await;
    assert_eq!((status.state(), status.files), (proto::State::Paused, 1));
    let end = status.pause_end_time.unwrap().seconds - jiff::Timestamp::now().as_second();
    assert!((1..=7_200).contains(&end), "{end}");
    assert!(resemble(&world, &["status"]).contains("it lasts until 20"));
    resemble(&world, &["resume"]);
    daemon.wait_for_files(2).await;
    resemble(&world, &["pause", "--keep"]);
    daemon.stop(&world).await;

    let daemon = world.start().await;
    assert!(is_paused(&daemon).await);
    // It takes the place of the other one, and ends by itself.
    pictures::write(&world.photo("3.png"), 3);
    resemble(&world, &["pause", "--for", "1s"]);
    daemon.wait_for_files(3).await;
    assert!(daemon.status().await.pause_end_time.is_none());
    daemon.stop(&world).await;
    let daemon = world.start().await;
    assert!(!is_paused(&daemon).await);
    assert_eq!(world.resemble(["pause", "--for", "0"]).status.code(), Some(2));
    daemon.stop(&world).await;
}
