//! Volumes on real mounts: each test runs itself again in a user and mount namespace of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_move, move_mount,
    open_tree, unmount,
};

use super::world::{Index, World, config};
use crate::photo::{FileId, RelativePath, RootId};
use crate::watch::{
    Anchor, FileSystem, MountId, MountTable, Mounted, OfflineReason, PollReason, RootState, Volume, Volumes,
    WatchConfig, Watching,
};

const INSIDE: &str = "RESEMBLED_TEST_IN_NAMESPACE";

/// Runs `body` where it may mount. The test `name` is this module's.
fn in_namespace(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let is_allowed = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !is_allowed {
        eprintln!("SKIPPED: this machine allows no user and mount namespace");
        return;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("watch::tests::mounts::{name}"), "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn mount_tmpfs(at: &Path) {
    mount("none", at, "tmpfs", MountFlags::empty(), None).unwrap();
}

fn world_on_a_volume() -> World {
    let mut world = World::new();
    mount_tmpfs(&world.root());
    for number in 0..30 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.start();
    world.equals_disk();
    world.idle();
    world.forget_counts();
    world
}

fn lost_nothing(world: &World) {
    world.idle();
    let (files, reads, gone) =
        world.store.with(|index| (index.files.len(), index.reads.clone(), index.gone.clone()));
    assert_eq!((files, reads.len(), gone.len()), (30, 0, 0), "read {reads:?}, gone {gone:?}");
}

fn is_back(state: &RootState) -> bool {
    *state == RootState::Online
}

#[test]
fn an_unmounted_root_loses_nothing_and_comes_back_without_reading() {
    in_namespace("an_unmounted_root_loses_nothing_and_comes_back_without_reading", || {
        let world = world_on_a_volume();
        let volume =
            open_tree(CWD, world.root(), OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
                .unwrap();
        unmount(world.root(), UnmountFlags::DETACH).unwrap();
        world.state_is("it is offline", |state| *state == RootState::Offline(OfflineReason::OtherVolume));
        lost_nothing(&world);
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&volume, "", CWD, world.root(), flags).unwrap();
        world.state_is("it is back", is_back);
        lost_nothing(&world);
        world.put("x/new.jpg", "new");
        world.equals_disk();
    });
}

#[test]
fn a_root_unmounted_while_nobody_watched_loses_nothing() {
    in_namespace("a_root_unmounted_while_nobody_watched_loses_nothing", || {
        let mut world = world_on_a_volume();
        world.stop();
        let volume =
            open_tree(CWD, world.root(), OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
                .unwrap();
        unmount(world.root(), UnmountFlags::DETACH).unwrap();
        // Not even empty: what stands below the mount point is not ours.
        world.put("below.jpg", "below");
        world.start();
        world.state_is("it is offline", |state| *state == RootState::Offline(OfflineReason::OtherVolume));
        lost_nothing(&world);
        move_mount(&volume, "", CWD, world.root(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
        world.state_is("it is back", is_back);
        lost_nothing(&world);
    });
}

#[test]
fn another_volume_at_the_same_place_is_not_taken_for_the_root() {
    in_namespace("another_volume_at_the_same_place_is_not_taken_for_the_root", || {
        let world = world_on_a_volume();
        mount_tmpfs(&world.root());
        world.put("stranger.jpg", "stranger");
        world.state_is("it is offline", |state| *state == RootState::Offline(OfflineReason::OtherVolume));
        lost_nothing(&world);
        unmount(world.root(), UnmountFlags::DETACH).unwrap();
        world.state_is("it is back", is_back);
        lost_nothing(&world);
    });
}

/// The volumes of this machine, some of them said to be of another kind.
struct Played<F>(F);

impl<F: Fn(&Path, Mounted) -> Mounted + Send + Sync> Volumes for Played<F> {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        MountTable.resolve(path)
    }

    fn anchor(&self, path: &Path) -> io::Result<Anchor> {
        MountTable.anchor(path)
    }

    fn at(&self, path: &Path) -> io::Result<Mounted> {
        Ok((self.0)(path, MountTable.at(path)?))
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

/// As a machine sees cards whose serial numbers it cannot read.
fn vague(_: &Path, mounted: Mounted) -> Mounted {
    let Mounted { volume, file_system } = mounted;
    let source = if volume.kind == "tmpfs" { "/dev/sdb1".to_owned() } else { volume.source };
    Mounted { volume: Volume { uuid: None, file_system_id: None, source, ..volume }, file_system }
}

/// Events do not come from a network, not even where it is mounted in a folder that is watched.
#[test]
fn a_network_mount_in_a_folder_is_polled_and_the_folder_is_watched() {
    in_namespace("a_network_mount_in_a_folder_is_polled_and_the_folder_is_watched", || {
        let mut config = config();
        config.poll_every = (Duration::from_millis(20), Duration::from_millis(80));
        config.volumes = Arc::new(Played(|path: &Path, mounted: Mounted| {
            let file_system =
                if path.ends_with("nas") { FileSystem::Remote("NFS") } else { mounted.file_system };
            Mounted { file_system, ..mounted }
        }));
        let mut world = World::with_config(config);
        world.put("own/0.jpg", "photo");
        world.start();
        world.equals_disk();
        let nas = world.path("nas");
        fs::create_dir(&nas).unwrap();
        mount_tmpfs(&nas);
        world.put("nas/x/0.jpg", "on the network");
        world.equals_disk();
        world.put("nas/x/1.jpg", "later");
        world.equals_disk();
        fs::remove_file(world.path("nas/x/0.jpg")).unwrap();
        world.equals_disk();
        let status = world.status();
        assert_eq!(status.watching, Watching::Inotify);
        assert_eq!(status.mounts[0].watching, Watching::Polling(PollReason::FileSystem("NFS")));
        assert_eq!(world.handle().watch_count(), 2, "the root and its own folder");
    });
}

/// Two cards in one reader: the same device, the same kind, the same names on them.
#[test]
fn a_card_without_a_mark_is_known_by_what_is_on_it() {
    in_namespace("a_card_without_a_mark_is_known_by_what_is_on_it", || {
        let mut world = World::with_config(WatchConfig { volumes: Arc::new(Played(vague)), ..config() });
        mount_tmpfs(&world.root());
        let nested = world.path("card");
        for number in 0..30 {
            world.put(&format!("{number}.jpg"), "photo");
        }
        fs::create_dir(&nested).unwrap();
        mount_tmpfs(&nested);
        world.put("card/0.jpg", "of the card");
        world.start();
        world.equals_disk();
        world.idle();
        world.forget_counts();
        let kept = |world: &World| {
            world.idle();
            assert_eq!(world.store.with(|index| (index.files.len(), index.gone.len())), (31, 0));
        };

        mount_tmpfs(&nested);
        fs::write(nested.join("0.jpg"), "of another card").unwrap();
        let is_other = |state: &RootState| *state == RootState::Offline(OfflineReason::OtherVolume);
        world.store.wait_until("the card is another", |index| {
            index.statuses.values().any(|status| status.mounts.iter().any(|mount| is_other(&mount.state)))
        });
        kept(&world);
        unmount(&nested, UnmountFlags::DETACH).unwrap();
        world.store.wait_until("the card is back", |index| {
            index.statuses.values().all(|status| status.mounts.iter().all(|mount| is_back(&mount.state)))
        });
        mount_tmpfs(&world.root());
        world.put("0.jpg", "of another card");
        world.state_is("it is offline", is_other);
        kept(&world);
        unmount(world.root(), UnmountFlags::DETACH).unwrap();
        world.state_is("it is back", is_back);
        kept(&world);
        assert!(world.reads().is_empty());
    });
}

#[test]
fn a_volume_mounted_elsewhere_is_followed_without_reading() {
    in_namespace("a_volume_mounted_elsewhere_is_followed_without_reading", || {
        let mut world = world_on_a_volume();
        let before = world.root();
        let elsewhere = world.outside().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        mount_move(&before, &elsewhere).unwrap();
        world.store.wait_until("the root follows", |index| {
            index.statuses.values().any(|status| status.path == elsewhere && is_back(&status.state))
        });
        lost_nothing(&world);
        fs::write(elsewhere.join("x/new.jpg"), "new").unwrap();
        world.store.wait_until("the new photo is read", |index| index.files.len() == 31);
        // And back, while nobody watches.
        world.stop();
        world.forget_counts();
        mount_move(&elsewhere, &before).unwrap();
        world.start();
        world.store.wait_until("the root follows", |index| {
            index.statuses.values().any(|status| status.path == before && is_back(&status.state))
        });
        world.idle();
        assert!(world.reads().is_empty() && world.store.with(|index| index.gone.is_empty()));
    });
}

#[test]
fn a_volume_mounted_inside_a_root_keeps_its_photos_while_it_is_away() {
    in_namespace("a_volume_mounted_inside_a_root_keeps_its_photos_while_it_is_away", || {
        let mut world = World::new();
        for number in 0..10 {
            world.put(&format!("own/{number}.jpg"), "photo");
        }
        let card = world.path("own/card");
        fs::create_dir(&card).unwrap();
        mount_tmpfs(&card);
        for number in 0..5 {
            world.put(&format!("own/card/x/{number}.jpg"), "photo");
        }
        world.start();
        world.equals_disk();
        world.idle();
        world.forget_counts();
        let volume =
            open_tree(CWD, &card, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC).unwrap();
        unmount(&card, UnmountFlags::DETACH).unwrap();
        let kept = |world: &World| {
            world.handle().rescan(None);
            world.idle();
            let gone = world.store.with(|index| index.gone.clone());
            assert!(gone.is_empty() && world.reads().is_empty(), "gone {gone:?}, read {:?}", world.reads());
        };
        kept(&world);
        // And over a restart.
        world.stop();
        world.start();
        kept(&world);
        // A deletion beside it is one.
        fs::remove_file(world.path("own/0.jpg")).unwrap();
        world.store.wait_until("it is gone", |index| index.files.len() == 14);
        world.forget_counts();
        move_mount(&volume, "", CWD, &card, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
        kept(&world);
        // What stands below the mount point is not the drive's, unless our user says that it is to be so.
        unmount(&card, UnmountFlags::DETACH).unwrap();
        world.put("own/card/plain.jpg", "plain");
        kept(&world);
        let (root, at) = world.handle().place(&card).unwrap();
        let missing = world.handle().missing_at(root, &at, &|| {}).unwrap();
        assert_eq!((missing.known, missing.missing), (5, 5));
        assert!(world.handle().accept(root, at));
        world.equals_disk();
    });
}

/// The root that goes offline took back the watches at its place, where the other one was by then.
#[test]
fn two_drives_that_change_places_are_both_watched_on() {
    in_namespace("two_drives_that_change_places_are_both_watched_on", || {
        let mut world = World::new();
        let (one, two, aside) =
            (world.root(), world.add_root(RootId(2), "two"), world.outside().join("aside"));
        fs::create_dir(&aside).unwrap();
        for (place, name) in [(&one, "a.jpg"), (&two, "b.jpg")] {
            mount_tmpfs(place);
            fs::write(place.join(name), name).unwrap();
        }
        world.start();
        let file = |root: u32, name: &str| FileId {
            root: RootId(root),
            path: RelativePath::from_bytes(name.as_bytes().to_vec()),
        };
        let holds = |world: &World, files: Vec<FileId>| {
            world.store.wait_until(&format!("the index holds {files:?}"), |index| {
                index.files.keys().cloned().collect::<Vec<_>>() == files
            });
        };
        holds(&world, vec![file(1, "a.jpg"), file(2, "b.jpg")]);
        // Of the first drive nothing is seen until the second is at its place.
        let first = open_tree(CWD, &one, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
        unmount(&one, UnmountFlags::DETACH).unwrap();
        mount_move(&two, &one).unwrap();
        world.store.wait_until("the second is followed", |index| {
            index.statuses.get(&RootId(2)).is_some_and(|status| status.path == one && is_back(&status.state))
        });
        fs::write(one.join("c.jpg"), "c").unwrap();
        holds(&world, vec![file(1, "a.jpg"), file(2, "b.jpg"), file(2, "c.jpg")]);
        world.stop();
        fs::write(one.join("d.jpg"), "d").unwrap();
        world.start();
        let three = vec![file(1, "a.jpg"), file(2, "b.jpg"), file(2, "c.jpg"), file(2, "d.jpg")];
        holds(&world, three.clone());
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(first.unwrap(), "", CWD, &two, flags).unwrap();
        world.store.wait_until("the first is followed", |index| {
            index.statuses.get(&RootId(1)).is_some_and(|status| status.path == two && is_back(&status.state))
        });
        fs::write(two.join("e.jpg"), "e").unwrap();
        fs::write(one.join("f.jpg"), "f").unwrap();
        let mut all = three;
        all.insert(1, file(1, "e.jpg"));
        all.push(file(2, "f.jpg"));
        holds(&world, all);
        assert!(world.store.with(|index| index.gone.is_empty()));
    });
}

/// The first walk over a large folder takes hours, since its photos wait for their turn.
#[test]
fn a_volume_that_comes_during_a_walk_is_seen_before_its_end() {
    in_namespace("a_volume_that_comes_during_a_walk_is_seen_before_its_end", || {
        let mut world = World::new();
        // Whatever is found is whole, and goes to the backlog.
        world.config.debounce_while_open = Duration::ZERO;
        for number in 0..50 {
            world.put(&format!("{number}/{number}.jpg"), "photo");
        }
        // Old enough that the walk hands them to the backlog.
        world.config.debounce_while_open = Duration::ZERO;
        world.store.with(|index| index.backlog_is_blocked = true);
        world.start();
        world.store.wait_until("the walk waits", |index| index.in_backlog > 0);
        let card = world.path("card");
        fs::create_dir(&card).unwrap();
        mount_tmpfs(&card);
        // One photo after the other is taken, and the walk goes on to the next folder, in which one waits.
        let is_seen = |index: &Index| index.statuses.values().any(|status| status.mounts.len() == 1);
        let was_seen = (0..40).any(|_| {
            world.store.with(|index| index.backlog_allowance = 1);
            world.store.wait_until("the next photo waits", |index| {
                index.backlog_allowance == 0 && index.in_backlog == 1
            });
            world.store.with(|index| is_seen(index))
        });
        assert!(was_seen, "not before the end of the walk");
        world.store.with(|index| index.backlog_is_blocked = false);
        world.put("card/0.jpg", "of the card");
        world.equals_disk();
    });
}

#[test]
fn a_machine_out_of_watches_means_polling() {
    in_namespace("a_machine_out_of_watches_means_polling", || {
        let mut config = config();
        config.poll_every = (Duration::from_millis(20), Duration::from_millis(80));
        let mut world = World::with_config(config);
        for number in 0..60 {
            world.put(&format!("{number}/{number}.jpg"), "photo");
        }
        // What the sysctl allows is far more: as if others had taken the rest.
        fs::write("/proc/sys/user/max_inotify_watches", "20").unwrap();
        world.start();
        world.equals_disk();
        let watching = world.status().watching;
        assert!(matches!(watching, Watching::Polling(PollReason::WatchLimit { .. })), "{watching:?}");
        assert_eq!(world.handle().watch_count(), 0);
        fs::write(world.path("7/7.jpg"), "changed").unwrap();
        world.equals_disk();
    });
}

#[test]
fn the_last_watch_taken_while_running_means_polling() {
    in_namespace("the_last_watch_taken_while_running_means_polling", || {
        let mut config = config();
        config.poll_every = (Duration::from_millis(20), Duration::from_millis(80));
        let mut world = World::with_config(config);
        world.put("a.jpg", "a");
        fs::write("/proc/sys/user/max_inotify_watches", "20").unwrap();
        world.start();
        world.equals_disk();
        assert_eq!(world.status().watching, Watching::Inotify);
        for number in 0..60 {
            world.put(&format!("{number}/{number}.jpg"), "photo");
        }
        world.store.wait_until("it is polled", |index| {
            index.statuses.values().any(|status| matches!(status.watching, Watching::Polling(_)))
        });
        world.equals_disk();
    });
}

/// Both limits are those of the namespace, and come below the machine's.
#[test]
fn a_limit_that_is_raised_is_taken_up_and_the_one_that_was_hit_is_named() {
    in_namespace("a_limit_that_is_raised_is_taken_up_and_the_one_that_was_hit_is_named", || {
        for (setting, too_few, enough) in
            [("max_inotify_watches", "8", "1000"), ("max_inotify_instances", "0", "10")]
        {
            let file = format!("/proc/sys/user/{setting}");
            fs::write(&file, too_few).unwrap();
            let mut config = config();
            config.poll_every = (Duration::from_millis(20), Duration::from_millis(80));
            let mut world = World::with_config(config);
            for number in 0..20 {
                world.put(&format!("{number}/{number}.jpg"), "photo");
            }
            world.start();
            world.equals_disk();
            world.idle();
            let Watching::Polling(reason) = world.status().watching else { panic!("{setting} was ignored") };
            let text = reason.to_string();
            assert!(text.contains(&format!("user.{setting} is {too_few}, set it to at least")), "{text}");
            fs::write(&file, enough).unwrap();
            world.store.wait_until("it is watched", |index| {
                index.statuses.values().all(|status| status.watching == Watching::Inotify)
            });
            world.put("20/late.jpg", "late");
            world.equals_disk();
            world.stop();
        }
    });
}

#[test]
fn a_folder_that_is_seen_twice_is_polled_the_second_time() {
    in_namespace("a_folder_that_is_seen_twice_is_polled_the_second_time", || {
        let mut config = config();
        config.poll_every = (Duration::from_millis(20), Duration::from_millis(80));
        let mut world = World::with_config(config);
        world.put("x/a.jpg", "a");
        world.start();
        world.equals_disk();
        let second = world.outside().join("second");
        fs::create_dir(&second).unwrap();
        mount_bind(world.path("x"), &second).unwrap();
        world.add_root(RootId(2), "second");
        world.equals_disk();
        world.put("x/b.jpg", "b");
        world.equals_disk();
        let watching = world.store.with(|index| index.statuses[&RootId(2)].watching.clone());
        assert_eq!(watching, Watching::Polling(PollReason::WatchedTwice(world.path("x"))));
    });
}
