//! What happens to a photo while something else about it is still under way.

use std::fs;

use super::world::{World, rewrite_under_old_time};
use crate::photo::FileId;
use crate::watch::{Change, IGNORE_FILE};

fn rewrite(world: &World, below: &str) {
    rewrite_under_old_time(&world.path(below), "after!");
}

fn rename(world: &World, from: &str, to: &str) {
    fs::rename(world.path(from), world.path(to)).unwrap();
}

/// The name that was written to vanished before it was read, and the new one looked like a photo that had only moved.
#[test]
fn a_photo_rewritten_under_its_old_time_and_moved_at_once_is_read_at_its_new_place() {
    let check = |move_it: fn(&World), expected: &str| {
        let mut world = World::new();
        world.put("old/a.jpg", "before");
        world.put("old/b.jpg", "unchanged");
        world.start();
        world.equals_disk();
        world.forget_counts();
        move_it(&world);
        world.store.wait_until("it is read at its new place", |index| {
            index.reads.contains(&World::file(expected))
                && !index.files.contains_key(&World::file("old/a.jpg"))
        });
        world.idle();
        let is_unchanged = |file: &FileId| file.path.as_bytes().ends_with(b"b.jpg");
        assert!(!world.reads().iter().any(is_unchanged), "{:?}", world.reads());
    };
    check(
        |world| {
            rewrite(world, "old/a.jpg");
            rename(world, "old/a.jpg", "old/c.jpg");
        },
        "old/c.jpg",
    );
    check(
        |world| {
            rewrite(world, "old/a.jpg");
            rename(world, "old", "new");
        },
        "new/a.jpg",
    );
    // And under a name that it had for a moment only, in a folder that nobody watched yet.
    check(
        |world| {
            fs::create_dir(world.path("old/d")).unwrap();
            rename(world, "old/a.jpg", "old/d/c.jpg");
            rewrite(world, "old/d/c.jpg");
            rename(world, "old/d", "new");
        },
        "new/c.jpg",
    );
    // By a name of its own, which is deleted.
    check(
        |world| {
            fs::hard_link(world.path("old/a.jpg"), world.path("old/link.jpg")).unwrap();
            world.store.wait_until("the link is known", |index| index.files.len() == 3);
            world.idle();
            world.forget_counts();
            rewrite(world, "old/link.jpg");
            fs::remove_file(world.path("old/link.jpg")).unwrap();
            rename(world, "old", "new");
        },
        "new/a.jpg",
    );
    check(
        |world| {
            rewrite(world, "old/a.jpg");
            fs::create_dir(world.path("new")).unwrap();
            rename(world, "old/a.jpg", "new/a.jpg");
        },
        "new/a.jpg",
    );
}

/// A photo copied over an ignored name was still being encoded when the ignore file came, so that nobody knew yet
/// that it had to go; it stayed until the next rescan.
#[test]
fn a_photo_in_the_works_when_a_rule_leaves_it_out_goes() {
    let mut world = World::new();
    world.start();
    world.idle();
    world.store.with(|index| index.is_held = true);
    world.put("d/a.jpg", "a");
    world.put("d/b.jpg", "b");
    world.store.wait_until("both are in the works", |index| index.held.len() == 2);
    fs::write(world.path("d").join(IGNORE_FILE), "a.jpg\n").unwrap();
    world.store.wait_until("the rule was heard of", |index| index.held.len() > 2);
    world.store.let_go();
    world.holds(&["d/b.jpg"]);
}

/// It had been read under its old name, and was not yet known under it when its folder was renamed.
#[test]
fn a_photo_in_the_works_when_its_folder_is_renamed_is_known_at_its_new_place_only() {
    let mut world = World::new();
    fs::create_dir_all(world.path("d")).unwrap();
    fs::create_dir(world.path("d-e")).unwrap();
    world.start();
    world.idle();
    world.store.with(|index| index.is_held = true);
    world.put("d/a.jpg", "a");
    world.put("d-e/b.jpg", "b");
    world.store.wait_until("both are in the works", |index| index.held.len() == 2);
    rename(&world, "d", "e");
    world.store.wait_until("the old name was given up", |index| {
        index.held.iter().any(|(change, _)| *change == Change::Gone { file: World::file("d/a.jpg") })
    });
    world.store.let_go();
    world.holds(&["d-e/b.jpg", "e/a.jpg"]);
}

/// When the photo of that name was given up, so was all that was known below the name.
#[test]
fn a_folder_that_takes_the_name_of_a_photo_keeps_what_is_in_it() {
    let mut world = World::new();
    let photo = world.put("b.jpg", "b");
    world.start();
    world.equals_disk();
    world.idle();
    world.store.with(|index| index.is_held = true);
    fs::remove_file(&photo).unwrap();
    world.put("b.jpg/inner.jpg", "inner");
    let gone = |below: &str| Change::Gone { file: World::file(below) };
    world.store.wait_until("the photo is given up and what is in the folder read", |index| {
        let is_read = |change: &Change| matches!(change, Change::Read { file, .. } if *file == World::file("b.jpg/inner.jpg"));
        index.held.iter().any(|(change, _)| *change == gone("b.jpg"))
            && index.held.iter().any(|(change, _)| is_read(change))
    });
    world.idle();
    assert!(
        world.store.with(|index| index.held.iter().all(|(change, _)| *change != gone("b.jpg/inner.jpg")))
    );
    world.store.let_go();
    world.holds(&["b.jpg/inner.jpg"]);
}
