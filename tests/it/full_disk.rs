//! A disk under the index that takes no writes takes nothing else away.

use std::process::Command;

use resembled::proto;

use crate::pictures;
use crate::private_disk::PrivateDisk;
use crate::world::{Daemon, World};

/// Room for the index of some hundred photos.
const KIB: u32 = 12 << 10;

pub async fn start(world: &World, disk: &PrivateDisk) -> Daemon {
    let mut command: Command = world.resembled();
    command.arg(world.photos());
    world.start_command(disk.seen_by(&command)).await
}

pub fn cannot_write(status: &proto::Status) -> bool {
    status.state() == proto::State::Paused && status.pauses().any(|pause| pause == proto::Pause::CannotWrite)
}

fn put(world: &World, seeds: std::ops::Range<u32>) {
    seeds.for_each(|seed| pictures::write(&world.photo(format!("{}/{seed}.png", seed % 7)), seed));
}

/// Adds photos to those that are there until the disk refuses one: what the index has freed before is used up first.
/// Returns how many there are then.
pub async fn import_until_full(world: &World, daemon: &Daemon, there: u32) -> u32 {
    let mut photos = there;
    loop {
        put(world, photos..photos + 5);
        photos += 5;
        let is_done = |status: &proto::Status| {
            status.state() == proto::State::Idle && status.files == u64::from(photos)
        };
        let status = daemon.wait_for("done or full", |status| cannot_write(status) || is_done(status)).await;
        if cannot_write(&status) {
            return photos;
        }
    }
}

/// One new photo on a full disk ended the daemon, and the next start as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_queries_are_answered_and_photos_wait_until_there_is_room() {
    let world = World::new();
    let Some(disk) = PrivateDisk::mount(&world.path("data/resembled"), KIB) else { return };
    put(&world, 0..10);
    let daemon = start(&world, &disk).await;
    daemon.wait_for_files(10).await;

    disk.fill();
    let photos = import_until_full(&world, &daemon, 10).await;
    let known = daemon.files().await.len();
    let status = daemon.status().await;
    let problem = status.write_problem.unwrap();
    assert_eq!(problem.kind(), proto::WriteProblemKind::DiskFull);
    assert!(
        problem.message.contains("the disk is full") && problem.message.contains("Free some space"),
        "{problem:?}"
    );
    assert!(known >= 10 && known < photos as usize, "{known} of {photos}");
    assert!(daemon.nearest(pictures::png(3), 1).await[0].distance < 1e-5, "it answers");
    for asked in ["status", "doctor"] {
        let output = world.resemble([asked]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("the disk is full"), "{asked}: {output:?}");
    }
    let more = world.path("more");
    std::fs::create_dir(&more).unwrap();
    let refused = world.resemble(["roots".as_ref(), "add".as_ref(), more.as_os_str()]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the disk is full"), "{refused:?}");

    daemon.stop(&world).await;
    let daemon = start(&world, &disk).await;
    let photos = import_until_full(&world, &daemon, photos).await;
    assert!(daemon.nearest(pictures::png(3), 1).await[0].distance < 1e-5, "it answers");
    disk.free();
    let status = daemon.wait_for_files(photos.into()).await;
    assert_eq!((status.failed, status.write_problem), (0, None));
    daemon.stop(&world).await;
    let (said, mended) = ("cannot be written: the disk is full", "can be written again after");
    assert_eq!(world.log().matches(said).count(), 2, "once for each daemon\n{}", world.log());
    assert_eq!(world.log().matches(mended).count(), 1, "{}", world.log());
}

/// It did not start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_disk_that_may_only_be_read_it_answers_and_goes_on_once_it_may_be_written() {
    let world = World::new();
    let Some(disk) = PrivateDisk::mount(&world.path("data/resembled"), KIB) else { return };
    put(&world, 0..5);
    let daemon = start(&world, &disk).await;
    daemon.wait_for_files(5).await;
    daemon.stop(&world).await;

    disk.allow_writes(false);
    put(&world, 5..8);
    let daemon = start(&world, &disk).await;
    let status = daemon.wait_for("read-only", cannot_write).await;
    assert_eq!(status.write_problem.unwrap().kind(), proto::WriteProblemKind::ReadOnly);
    assert!(daemon.nearest(pictures::png(3), 1).await[0].distance < 1e-5, "it answers");
    disk.allow_writes(true);
    daemon.wait_for_files(8).await;
}
