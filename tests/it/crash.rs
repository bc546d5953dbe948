//! Killed at any moment, the daemon goes on where it was: nothing lost, nothing twice.

use std::collections::BTreeSet;

use resembled::proto;

use crate::pictures;
use crate::world::World;

const PHOTOS: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_encodes_it_finishes_after_the_restart() {
    let world = World::new();
    for seed in 0..PHOTOS {
        pictures::write(&world.photo(format!("{}/{seed}.png", seed % 7)), seed);
    }
    let mut acknowledged: BTreeSet<_> = BTreeSet::new();
    for kill_after in [1, 9, 20, 30] {
        let daemon = world.start().await;
        let status = daemon
            .wait_for("some are encoded", |status| {
                status.photos_encoded >= kill_after || status.state() == proto::State::Idle
            })
            .await;
        assert!(
            status.photos_encoded as usize + acknowledged.len() <= PHOTOS as usize,
            "what was searchable before the kill is not encoded again"
        );
        let files: BTreeSet<_> = daemon.files().await.into_iter().collect();
        assert!(files.is_superset(&acknowledged), "what was searchable before the kill still is");
        acknowledged = files;
        daemon.kill();
    }
    let daemon = world.start().await;
    let status = daemon.wait_for_files(u64::from(PHOTOS)).await;
    assert_eq!((status.photos, status.failed), (u64::from(PHOTOS), 0));
    let files = daemon.files().await;
    let paths: BTreeSet<_> = files.iter().map(|(path, _)| path).collect();
    assert_eq!((files.len(), paths.len()), (PHOTOS as usize, PHOTOS as usize), "none is there twice");
    assert!(files.iter().cloned().collect::<BTreeSet<_>>().is_superset(&acknowledged));
    let left = PHOTOS as usize - acknowledged.len();
    assert!(status.photos_encoded as usize <= left, "a batch in flight is done again, not more");
}
