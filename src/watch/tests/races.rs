//! What happens to a photo while something else about it is still under way.

use std::fs;

use super::world::{World, rewrite_under_old_time};
use crate::watch::IGNORE_FILE;

/// The name that was written to vanished before it was read, and the new one looked like a photo that had only moved.
#[test]
fn a_photo_rewritten_under_its_old_time_and_moved_at_once_is_read_at_its_new_place() {
    for folder_moves in [false, true] {
        let mut world = World::new();
        let path = world.put("old/a.jpg", "before");
        world.put("old/b.jpg", "unchanged");
        world.start();
        world.equals_disk();
        world.forget_counts();
        rewrite_under_old_time(&path, "after!");
        if folder_moves {
            fs::rename(world.path("old"), world.path("new")).unwrap();
        } else {
            fs::create_dir(world.path("new")).unwrap();
            fs::rename(&path, world.path("new/a.jpg")).unwrap();
            fs::rename(world.path("old/b.jpg"), world.path("new/b.jpg")).unwrap();
        }
        world.holds(&["new/a.jpg", "new/b.jpg"]);
        let reads = world.reads();
        assert!(reads.contains(&World::file("new/a.jpg")), "folder {folder_moves}: {reads:?}");
        assert!(!reads.contains(&World::file("new/b.jpg")), "folder {folder_moves}: {reads:?}");
    }
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
