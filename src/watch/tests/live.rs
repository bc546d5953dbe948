//! Start, live changes, moves, rules, roots at run time.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;

use super::world::{ROOT, World, config, rewrite_under_old_time};
use crate::photo::{FileId, RelativePath, RootId};
use crate::watch::{IGNORE_FILE, Root, WatchError, Watcher};

#[test]
fn what_is_there_at_the_start_is_read_and_nothing_else() {
    let mut world = World::new();
    world.put("a.jpg", "a");
    world.put("x/y/b.jpg", "b");
    world.put("x/notes.txt", "no photo");
    world.put(".hidden/c.jpg", "c");
    world.start();
    world.holds(&["a.jpg", "x/y/b.jpg"]);
}

#[test]
fn a_restart_over_unchanged_photos_reads_none_and_looks_once_at_each() {
    let mut world = World::new();
    for number in 0..500 {
        world.put(&format!("{}/{number}.jpg", number % 7), "photo");
    }
    world.start();
    world.equals_disk();
    world.stop();
    world.forget_counts();
    world.start();
    world.idle();
    assert!(world.reads().is_empty());
    let costs = world.handle().costs();
    // One look at each photo, and a few at the root.
    assert!((500..520).contains(&costs.stats), "{costs:?}");
    assert!(costs.directories <= 2 * 8 + 1, "{costs:?}");
}

#[test]
fn changes_made_while_nobody_watched_are_found_at_the_start() {
    let mut world = World::new();
    let changed = world.put("changed.jpg", "before");
    let gone = world.put("gone.jpg", "gone");
    world.put("same.jpg", "same");
    world.start();
    world.equals_disk();
    world.stop();
    fs::write(changed, "after it").unwrap();
    fs::remove_file(gone).unwrap();
    world.put("new/new.jpg", "new");
    world.start();
    world.holds(&["changed.jpg", "new/new.jpg", "same.jpg"]);
    world.equals_disk();
}

#[test]
fn a_photo_written_in_pieces_is_read_once_and_whole() {
    let mut world = World::new();
    world.put("first.jpg", "x");
    world.start();
    world.equals_disk();
    world.forget_counts();
    let path = world.path("slow.jpg");
    let mut file = File::create(&path).unwrap();
    for _ in 0..50 {
        file.write_all(&[7; 1000]).unwrap();
        file.flush().unwrap();
    }
    drop(file);
    world.equals_disk();
    world.idle();
    assert_eq!(world.reads(), [World::file("slow.jpg")]);
    assert_eq!(world.store.with(|index| index.files[&World::file("slow.jpg")].len), 50_000);
}

#[test]
fn a_download_is_read_under_its_final_name_only() {
    let mut world = World::new();
    world.start();
    let part = world.path("a.jpg.part");
    fs::write(&part, "all of it").unwrap();
    fs::rename(&part, world.path("a.jpg")).unwrap();
    let temporary = world.put(".b.jpg.Xy12Zz", "as rsync does");
    fs::rename(temporary, world.path("b.jpg")).unwrap();
    world.holds(&["a.jpg", "b.jpg"]);
    assert_eq!(world.reads().len(), 2);
}

#[test]
fn a_photo_replaced_by_rename_is_read_again() {
    let mut world = World::new();
    let path = world.put("a.jpg", "old");
    world.start();
    world.equals_disk();
    world.forget_counts();
    let edited = world.put("a.jpg_exiftool_tmp", "edited");
    fs::rename(edited, path).unwrap();
    world.equals_disk();
    assert_eq!(world.reads(), [World::file("a.jpg")]);
}

#[test]
fn a_deleted_photo_goes() {
    let mut world = World::new();
    let path = world.put("x/a.jpg", "a");
    world.put("b.jpg", "b");
    world.start();
    world.equals_disk();
    fs::remove_file(path).unwrap();
    world.holds(&["b.jpg"]);
}

#[test]
fn a_tree_of_a_thousand_folders_made_at_once_is_found_whole() {
    let mut world = World::new();
    world.start();
    world.idle();
    for number in 0..1000 {
        world.put(&format!("{}/{number}/{number}.jpg", number % 10), "photo");
    }
    world.equals_disk();
}

#[test]
fn a_renamed_photo_is_moved_and_not_read() {
    let mut world = World::new();
    let path = world.put("a.jpg", "a");
    world.start();
    world.equals_disk();
    world.forget_counts();
    fs::rename(&path, world.path("A.jpg")).unwrap();
    world.holds(&["A.jpg"]);
    assert!(world.reads().is_empty());
    assert_eq!(world.store.with(|index| index.moves.clone()), [(World::file("a.jpg"), World::file("A.jpg"))]);
}

#[test]
fn a_moved_folder_keeps_all_its_photos_and_is_watched_at_its_new_place() {
    let mut world = World::new();
    for number in 0..30 {
        world.put(&format!("old/{}/{number}.jpg", number % 3), "photo");
    }
    world.start();
    world.equals_disk();
    world.forget_counts();
    fs::rename(world.path("old"), world.path("new")).unwrap();
    world.equals_disk();
    assert!(world.reads().is_empty());
    // There and back, then a change below.
    fs::rename(world.path("new"), world.path("old")).unwrap();
    fs::rename(world.path("old"), world.path("newer")).unwrap();
    world.put("newer/1/late.jpg", "late");
    world.equals_disk();
    world.idle();
    assert_eq!(world.reads(), [World::file("newer/1/late.jpg")]);
}

#[test]
fn a_folder_moved_while_nobody_watched_is_not_read_again() {
    let mut world = World::new();
    for number in 0..30 {
        world.put(&format!("old/{number}.jpg"), "photo");
    }
    world.start();
    world.equals_disk();
    world.stop();
    world.forget_counts();
    fs::rename(world.path("old"), world.path("new")).unwrap();
    world.start();
    world.equals_disk();
    assert!(world.reads().is_empty());
}

#[test]
fn a_photo_moved_between_roots_is_not_read_again_and_one_moved_out_goes() {
    let mut world = World::new();
    let second = world.add_root(RootId(2), "second");
    let path = world.put("a.jpg", "a");
    world.put("b.jpg", "b");
    world.put("c.jpg", "c");
    world.start();
    world.equals_disk();
    world.forget_counts();
    fs::rename(path, second.join("a.jpg")).unwrap();
    fs::rename(world.path("b.jpg"), world.outside().join("b.jpg")).unwrap();
    world.equals_disk();
    assert!(world.reads().is_empty());
    assert_eq!(world.store.with(|index| index.gone.clone()), [World::file("b.jpg")]);
    // And in again: its path is new to us, so it is read.
    fs::rename(world.outside().join("b.jpg"), world.path("b.jpg")).unwrap();
    world.equals_disk();
}

#[test]
fn two_photos_that_swap_names_are_both_looked_at_again() {
    let mut world = World::new();
    let (a, b) = (world.put("a.jpg", "a"), world.put("b.jpg", "longer"));
    world.start();
    world.equals_disk();
    let aside = world.outside().join("aside");
    fs::rename(&a, &aside).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(&aside, &b).unwrap();
    world.equals_disk();
}

#[test]
fn content_changed_under_the_old_size_and_time_is_read_again() {
    let mut world = World::new();
    let path = world.put("a.jpg", "before");
    world.start();
    world.equals_disk();
    world.forget_counts();
    rewrite_under_old_time(&path, "after!");
    world.store.wait_until("it is read again", |index| index.reads == [World::file("a.jpg")]);
}

#[test]
fn an_ignore_file_takes_effect_at_once_in_both_directions() {
    let mut world = World::new();
    world.put("keep/a.jpg", "a");
    world.put("drop/b.jpg", "b");
    world.put("drop/deep/c.jpg", "c");
    world.start();
    world.equals_disk();
    let ignore = world.path(IGNORE_FILE);
    fs::write(&ignore, "drop/\n").unwrap();
    world.holds(&["keep/a.jpg"]);
    // Nothing below is heard of any more.
    world.put("drop/deep/d.jpg", "d");
    world.put("keep/e.jpg", "e");
    world.holds(&["keep/a.jpg", "keep/e.jpg"]);
    fs::write(&ignore, "drop/deep/\n").unwrap();
    world.holds(&["drop/b.jpg", "keep/a.jpg", "keep/e.jpg"]);
    fs::remove_file(&ignore).unwrap();
    world.equals_disk();
    // And what came back is watched.
    world.put("drop/deep/f.jpg", "f");
    world.equals_disk();
}

#[test]
fn patterns_changed_at_run_time_take_effect_at_once() {
    let mut world = World::new();
    world.put("raw/a.jpg", "a");
    world.put("b.jpg", "b");
    world.start();
    world.equals_disk();
    world.handle().reload_rules(&["raw/".to_owned()], false).unwrap();
    world.holds(&["b.jpg"]);
    world.handle().reload_rules(&[], false).unwrap();
    world.equals_disk();
    assert!(matches!(world.handle().reload_rules(&["[z-a]".to_owned()], false), Err(WatchError::Rule(_))));
}

#[test]
fn a_root_added_at_run_time_is_read_and_one_removed_is_left_alone() {
    let mut world = World::new();
    world.put("a.jpg", "a");
    world.start();
    world.equals_disk();
    fs::create_dir(world.outside().join("second")).unwrap();
    fs::write(world.outside().join("second/b.jpg"), "b").unwrap();
    let second = world.add_root(RootId(2), "second");
    world.equals_disk();
    assert!(world.handle().remove_root(RootId(2)));
    assert!(!world.handle().remove_root(RootId(2)));
    fs::write(second.join("c.jpg"), "c").unwrap();
    world.put("d.jpg", "d");
    world
        .store
        .wait_until("the watched root goes on", |index| index.files.contains_key(&World::file("d.jpg")));
    let late = FileId { root: RootId(2), path: RelativePath::from_bytes(b"c.jpg".to_vec()) };
    assert!(!world.store.with(|index| index.files.contains_key(&late)));
    assert_eq!(world.handle().roots().len(), 1);
}

#[test]
fn roots_in_one_another_are_refused_and_both_are_named() {
    let mut world = World::new();
    world.start();
    let inner = world.path("inner");
    fs::create_dir(&inner).unwrap();
    let link = world.outside().join("link");
    std::os::unix::fs::symlink(&inner, &link).unwrap();
    for path in [inner.clone(), link, world.outside().to_path_buf(), world.root()] {
        let refused = world.handle().add_root(Root::new(RootId(2), path.clone()));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(&*path.to_string_lossy()), "{message}");
        assert!(message.contains(&*world.root().to_string_lossy()), "{message}");
    }
}

#[test]
fn live_changes_pass_a_walk_that_waits_for_the_backlog() {
    let mut world = World::new();
    for number in 0..100 {
        world.put(&format!("{number}/{number}.jpg"), "photo");
    }
    // Old enough that the walk hands them to the backlog.
    world.config.debounce_while_open = std::time::Duration::ZERO;
    world.store.with(|index| index.backlog_is_blocked = true);
    world.start();
    world.store.wait_until("the walk waits", |index| index.in_backlog == 1);
    // In a directory that the walk has not reached: it is watched all the same.
    world.put("99/late.jpg", "late");
    world
        .store
        .wait_until("the late photo passed", |index| index.files.contains_key(&World::file("99/late.jpg")));
    assert_eq!(world.store.with(|index| index.files.len()), 1);
    world.store.with(|index| index.backlog_is_blocked = false);
    world.equals_disk();
}

#[test]
fn what_a_full_live_queue_refuses_is_found_by_comparing() {
    let mut world = World::new();
    world.start();
    world.idle();
    world.store.with(|index| index.live_is_full = true);
    for number in 0..50 {
        world.put(&format!("{number}.jpg"), "photo");
    }
    world.equals_disk();
}

#[test]
fn more_events_than_we_can_hold_become_a_comparison() {
    let mut config = config();
    config.event_capacity = 1;
    config.settle_capacity = 3;
    let mut world = World::with_config(config);
    world.start();
    world.idle();
    for number in 0..2000 {
        world.put(&format!("{}/{number}.jpg", number % 20), "photo");
        if number % 3 == 0 {
            fs::remove_file(world.path(&format!("{}/{number}.jpg", number % 20))).unwrap();
        }
    }
    world.equals_disk();
}

#[test]
fn a_rescan_finds_what_events_did_not_tell() {
    let mut world = World::new();
    world.put("a.jpg", "a");
    world.start();
    world.equals_disk();
    world.idle();
    world.store.with(|index| index.files.clear());
    assert!(world.handle().rescan(Some(ROOT)));
    assert!(!world.handle().rescan(Some(RootId(9))));
    world.equals_disk();
}

#[test]
fn the_room_stops_when_asked_and_says_so_when_a_thread_dies() {
    struct Broken;
    impl crate::watch::Known for Broken {
        fn children(
            &self,
            _: RootId,
            _: &RelativePath,
        ) -> Result<crate::watch::Children, crate::watch::KnownError> {
            Err("the store is broken".into())
        }
        fn file(&self, _: &FileId) -> Result<Option<crate::photo::Fingerprint>, crate::watch::KnownError> {
            Err("the store is broken".into())
        }
        fn with_inode(
            &self,
            _: u64,
        ) -> Result<Vec<(FileId, crate::photo::Fingerprint)>, crate::watch::KnownError> {
            Err("the store is broken".into())
        }
        fn in_works(&self, _: RootId) -> Vec<FileId> {
            Vec::new()
        }

        fn is_empty(&self, _: RootId) -> Result<bool, crate::watch::KnownError> {
            Ok(true)
        }
    }
    let world = World::new();
    let roots = || vec![Root::new(ROOT, world.root())];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();

    let (watcher, _) = Watcher::start(config(), roots(), Arc::new(Broken), world.store.clone()).unwrap();
    let error = runtime.block_on(watcher.run(stop.clone())).unwrap_err();
    assert!(matches!(&error, WatchError::ThreadEnded { name, .. } if name == "watch-root-1"), "{error}");

    let (watcher, _) = Watcher::start(config(), roots(), world.store.clone(), world.store.clone()).unwrap();
    stop.cancel();
    runtime.block_on(watcher.run(stop)).unwrap();
}
