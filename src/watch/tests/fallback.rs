//! Roots that cannot be watched, and events that are lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::world::{DEADLINE, ROOT, World, config};
use crate::watch::events::Signal;
use crate::watch::{
    Anchor, FileSystem, MountId, MountTable, Mounted, PollReason, Volume, Volumes, WatchConfig, Watching,
};

const QUEUE_SYSCTL: &str = "/proc/sys/fs/inotify/max_queued_events";

/// The volumes of this machine, said to be on a file system of another kind.
struct Pretended(FileSystem);

impl Volumes for Pretended {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        MountTable.resolve(path)
    }

    fn anchor(&self, path: &Path) -> io::Result<Anchor> {
        MountTable.anchor(path)
    }

    fn at(&self, path: &Path) -> io::Result<Mounted> {
        Ok(Mounted { file_system: self.0, ..MountTable.at(path)? })
    }

    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>> {
        MountTable.find(volume)
    }

    fn below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        MountTable.below(path)
    }

    fn mount_of(&self, path: &Path) -> io::Result<(MountId, bool)> {
        MountTable.mount_of(path)
    }
}

fn polled() -> WatchConfig {
    let mut config = config();
    config.poll_every = (Duration::from_millis(20), Duration::from_millis(80));
    config
}

/// Changes of every kind, found by polling alone.
fn polling_finds_every_change(world: &mut World) {
    world.equals_disk();
    assert_eq!(world.handle().watch_count(), 0);
    let path = world.put("new/a.jpg", "a");
    world.equals_disk();
    fs::write(&path, "longer than before").unwrap();
    world.equals_disk();
    fs::rename(&path, world.path("b.jpg")).unwrap();
    world.equals_disk();
    fs::remove_file(world.path("b.jpg")).unwrap();
    world.equals_disk();
}

#[test]
fn network_and_fuse_file_systems_are_polled() {
    for (file_system, name) in [(FileSystem::Remote("NFS"), "NFS"), (FileSystem::Fuse, "FUSE")] {
        let mut config = polled();
        config.volumes = Arc::new(Pretended(file_system));
        let mut world = World::with_config(config);
        world.put("x/old.jpg", "old");
        world.start();
        // Inode numbers that a program makes up are not kept, so compare names only.
        world.store.wait_until("the old photo is read", |index| index.files.len() == 1);
        assert_eq!(world.status().watching, Watching::Polling(PollReason::FileSystem(name)));
        assert_eq!(world.handle().watch_count(), 0);
        world.put("x/new.jpg", "new");
        world.store.wait_until("the new photo is read", |index| index.files.len() == 2);
        fs::remove_file(world.path("x/old.jpg")).unwrap();
        world.store.wait_until("the old photo is gone", |index| index.files.len() == 1);
    }
}

/// Between the first look at a new file and the second, which makes sure that it is whole, nothing else is to do.
#[test]
fn a_polled_root_is_not_at_rest_before_its_new_photos_were_looked_at_twice() {
    let mut config = polled();
    config.debounce_while_open = Duration::from_secs(3600);
    config.volumes = Arc::new(Pretended(FileSystem::Remote("NFS")));
    let mut world = World::with_config(config);
    world.put("a.jpg", "a");
    world.start();
    world.store.wait_until("it was looked at", |index| {
        index.statuses.get(&ROOT).is_some_and(|status| status.directories > 0)
    });
    let settling = |world: &World| world.handle().activity().borrow().settling;
    let begun = std::time::Instant::now();
    while settling(&world) != 1 {
        assert!(begun.elapsed() < DEADLINE && !world.handle().activity().borrow().is_idle());
        std::thread::yield_now();
    }
    assert!(world.reads().is_empty());
}

#[test]
fn a_photo_on_a_polled_root_is_not_read_while_it_grows() {
    let mut config = polled();
    config.volumes = Arc::new(Pretended(FileSystem::Remote("NFS")));
    let mut world = World::with_config(config);
    world.start();
    world.idle();
    let path = world.put("a.jpg", "half");
    world.store.wait_until("it is read", |index| index.reads.len() == 1);
    assert_eq!(fs::metadata(path).unwrap().len(), 4);
}

#[test]
fn watches_are_counted_before_the_first_is_taken_and_too_few_means_polling() {
    let mut config = polled();
    config.watch_budget = Some(10);
    let mut world = World::with_config(config);
    for number in 0..30 {
        world.put(&format!("{number}/{number}.jpg"), "photo");
    }
    world.start();
    world.equals_disk();
    let Watching::Polling(reason) = world.status().watching else { panic!("{:?}", world.status()) };
    assert!(matches!(reason, PollReason::WatchLimit { needed: 44, .. }), "{reason:?}");
    let message = reason.to_string();
    assert!(message.contains("fs.inotify.max_user_watches") && message.contains("44"), "{message}");
    polling_finds_every_change(&mut world);
}

#[test]
fn a_root_grown_past_the_budget_is_polled_from_then_on() {
    let mut config = polled();
    config.watch_budget = Some(10);
    let mut world = World::with_config(config);
    world.put("a.jpg", "a");
    world.start();
    world.equals_disk();
    assert_eq!(world.status().watching, Watching::Inotify);
    for number in 0..30 {
        world.put(&format!("{number}/{number}.jpg"), "photo");
    }
    world.equals_disk();
    // The next comparison as a whole counts.
    world.handle().rescan(None);
    world.idle();
    world.handle().pretend(Signal::Lost { paths: Vec::new(), why: "a test".into() });
    world.store.wait_until("the root is polled", |index| {
        index.statuses.values().any(|status| matches!(status.watching, Watching::Polling(_)))
    });
    polling_finds_every_change(&mut world);
}

#[test]
fn a_burst_of_events_that_overflows_the_kernels_queue_loses_nothing() {
    let mut world = World::new();
    for number in 0..500 {
        world.put(&format!("{}/{number}.jpg", number % 10), "photo");
    }
    // The size of the queue is fixed when it is made, so a small limit is needed for a moment only.
    let is_forced = match fs::read_to_string(QUEUE_SYSCTL) {
        Ok(limit) if fs::write(QUEUE_SYSCTL, "16").is_ok() => {
            world.start();
            fs::write(QUEUE_SYSCTL, limit).unwrap();
            true
        }
        _ => {
            eprintln!("the queue's limit cannot be set here: losses are injected");
            world.start();
            false
        }
    };
    world.equals_disk();
    for round in 0..28 {
        // Open, truncate, write, close: at least 1800 events a round.
        for number in 0..450 {
            world.put(&format!("{}/{number}.jpg", number % 10), &"x".repeat(round + 1));
        }
        let aside = world.path("aside");
        fs::rename(world.path("3"), &aside).unwrap();
        fs::rename(world.path("4"), world.path("3")).unwrap();
        fs::rename(&aside, world.path("4")).unwrap();
        let file = world.put(&format!("new{round}/n.jpg"), "new");
        if round % 3 == 0 {
            fs::remove_file(file).unwrap();
        }
        if !is_forced {
            world.handle().pretend(Signal::Lost { paths: Vec::new(), why: "a test".into() });
        }
    }
    world.equals_disk();
    assert!(world.handle().losses() > 0);
    // The watches are whole, too.
    world.idle();
    for number in 0..10 {
        world.put(&format!("{number}/after.jpg"), "after");
    }
    world.equals_disk();
}
