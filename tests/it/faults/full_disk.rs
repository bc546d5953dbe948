//! The disk under the index runs full again and again while photos are imported.

use std::time::{Duration, Instant};

use crate::full_disk::{import_until_full, start};
use crate::pictures;
use crate::private_disk::PrivateDisk;
use crate::world::World;

/// Room for what is imported, and little more.
const KIB: u32 = 64 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes"]
async fn a_disk_that_runs_full_fifty_times_during_an_import() {
    let fills = 50;
    let world = World::new();
    let Some(disk) = PrivateDisk::mount(&world.path("data/resembled"), KIB) else { return };
    let mut daemon = start(&world, &disk).await;
    daemon.stop_listening();
    let (mut longest_answer, mut longest_stop) = (Duration::ZERO, Duration::ZERO);
    let mut photos = 5;
    (0..photos).for_each(|seed| pictures::write(&world.photo(format!("{}/{seed}.png", seed % 7)), seed));
    daemon.wait_for_files(photos.into()).await;
    for fill in 0..fills {
        disk.fill();
        photos = import_until_full(&world, &daemon, photos).await;
        let asked = Instant::now();
        assert!(daemon.nearest(pictures::png(fill % 5), 1).await[0].distance < 1e-5);
        longest_answer = longest_answer.max(asked.elapsed());
        // Every tenth time it is stopped and started while the disk is full.
        if fill % 10 == 9 {
            let asked = Instant::now();
            daemon.stop(&world).await;
            longest_stop = longest_stop.max(asked.elapsed());
            daemon = start(&world, &disk).await;
            daemon.stop_listening();
            photos = import_until_full(&world, &daemon, photos).await;
        }
        disk.free();
        daemon.wait_for_files(photos.into()).await;
    }
    let status = daemon.status().await;
    let lost = u64::from(photos) - status.files;
    println!(
        "full disk: {fills} fills, 0 exits, {lost} of {photos} lost, {} failed; longest answer {longest_answer:.1?}, \
         longest stop {longest_stop:.1?}",
        status.failed,
    );
    assert_eq!((lost, status.failed), (0, 0));
}
