//! Photos that leave a folder and are back before that is written down.

use std::fs;

use resembled::proto;
use rustix::process::Signal;

use crate::pictures;
use crate::world::{Daemon, World};

async fn start_with(world: &World, photos: u32) -> Daemon {
    for seed in 0..photos {
        pictures::write(&world.photo(format!("{}/{seed}.png", seed % 6)), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(photos.into()).await;
    daemon
}

async fn pause(daemon: &Daemon) {
    daemon.daemon().pause_indexing(proto::PauseIndexingRequest::default()).await.unwrap();
}

async fn resume(daemon: &Daemon) {
    daemon.daemon().resume_indexing(proto::ResumeIndexingRequest {}).await.unwrap();
}

/// What waited said that they were gone, and what compared the folder with the store found them known: they were lost
/// until a rescan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_moved_out_and_back_while_indexing_is_paused_keeps_its_photos() {
    let world = World::new();
    let daemon = start_with(&world, 36).await;
    pause(&daemon).await;
    fs::rename(world.photo("3"), world.path("outside")).unwrap();
    daemon.wait_for("six are missed", |status| status.pending >= 6).await;
    fs::rename(world.path("outside"), world.photo("3")).unwrap();
    daemon.wait_for("six are found", |status| status.pending >= 12).await;
    resume(&daemon).await;
    let status = daemon.wait_for_files(36).await;
    assert_eq!(status.photos_encoded, 36, "and none is encoded again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_that_is_written_and_taken_back_while_indexing_is_paused_costs_no_photo() {
    let world = World::new();
    let daemon = start_with(&world, 36).await;
    pause(&daemon).await;
    fs::write(world.photo(".resembledignore"), "/3/\n").unwrap();
    daemon.wait_for("six are left out", |status| status.pending >= 6).await;
    fs::remove_file(world.photo(".resembledignore")).unwrap();
    daemon.wait_for("six are found", |status| status.pending >= 12).await;
    resume(&daemon).await;
    daemon.wait_for_files(36).await;
}

/// The same by reloads of the configuration, as fast as they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_reloads_costs_no_photo() {
    let world = World::new();
    world.configure("roots = [\"~/photos\"]\n");
    let mut daemon = start_with(&world, 120).await;
    daemon.stop_listening();
    for turn in 0..30 {
        let ignored = if turn % 2 == 0 { "[watch]\nignore = [\"1/\", \"4/\"]\n" } else { "" };
        world.configure(&format!("roots = [\"~/photos\"]\n{ignored}"));
        daemon.signal(Signal::HUP);
        // Not waited for: one may be read while the next is written.
        daemon.status().await;
    }
    world.configure("roots = [\"~/photos\"]\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for_files(120).await;
}
