//! Roots that go away and come back.

use std::fs;
use std::time::Duration;

use super::world::{ROOT, World, config};
use crate::photo::RelativePath;
use crate::watch::{OfflineReason, RootState};

fn is_offline(reason: OfflineReason) -> impl Fn(&RootState) -> bool {
    move |state| *state == RootState::Offline(reason.clone())
}

#[test]
fn a_root_that_is_moved_away_goes_offline_and_loses_nothing() {
    let mut world = World::new();
    for number in 0..30 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.start();
    world.equals_disk();
    world.forget_counts();
    let aside = world.outside().join("aside");
    fs::rename(world.root(), &aside).unwrap();
    world.state_is("the root is offline", is_offline(OfflineReason::Missing));
    world.idle();
    assert!(world.store.with(|index| index.files.len() == 30 && index.gone.is_empty()));
    fs::rename(&aside, world.root()).unwrap();
    world.state_is("the root is back", |state| *state == RootState::Online);
    world.idle();
    assert!(world.reads().is_empty() && world.store.with(|index| index.gone.is_empty()));
    world.put("x/new.jpg", "new");
    world.equals_disk();
}

#[test]
fn a_root_that_is_missing_at_the_start_is_offline_and_loses_nothing() {
    let mut world = World::new();
    world.put("a.jpg", "a");
    world.start();
    world.equals_disk();
    world.stop();
    let aside = world.outside().join("aside");
    fs::rename(world.root(), &aside).unwrap();
    world.start();
    world.state_is("the root is offline", is_offline(OfflineReason::Missing));
    world.idle();
    assert_eq!(world.store.with(|index| index.files.len()), 1);
    fs::rename(&aside, world.root()).unwrap();
    world.state_is("the root is back", |state| *state == RootState::Online);
    world.equals_disk();
}

#[test]
fn a_root_emptied_where_it_had_photos_goes_offline_and_loses_nothing() {
    let mut world = World::new();
    for number in 0..5 {
        world.put(&format!("{number}.jpg"), "photo");
    }
    world.start();
    world.equals_disk();
    world.stop();
    for number in 0..5 {
        fs::rename(world.path(&format!("{number}.jpg")), world.outside().join(number.to_string())).unwrap();
    }
    world.start();
    world.state_is("the root is offline", is_offline(OfflineReason::Empty));
    world.idle();
    assert_eq!(world.store.with(|index| index.files.len()), 5);
    // Something in it again: what is missing now is missing.
    world.put("new.jpg", "new");
    world.holds(&["new.jpg"]);
}

#[test]
fn a_root_emptied_while_it_is_watched_goes_offline() {
    let mut world = World::new();
    world.put("x/a.jpg", "a");
    world.start();
    world.equals_disk();
    fs::rename(world.path("x"), world.outside().join("x")).unwrap();
    world.state_is("the root is offline", is_offline(OfflineReason::Empty));
    world.idle();
    assert_eq!(world.store.with(|index| index.files.len()), 1);
}

#[test]
fn a_mass_disappearance_is_believed_when_it_is_seen_twice() {
    let mut world = World::new();
    for number in 0..40 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.put("y/stays.jpg", "stays");
    world.start();
    world.equals_disk();
    world.forget_counts();
    world.stop();
    fs::rename(world.path("x"), world.outside().join("x")).unwrap();
    world.start();
    world.store.wait_until("it is held back", |index| {
        index.statuses[&ROOT].held_back.is_some_and(|held| held.missing == 40 && held.known == 41)
    });
    assert_eq!(world.store.with(|index| index.gone.len()), 0);
    world.holds(&["y/stays.jpg"]);
    world
        .store
        .wait_until("nothing is held back any more", |index| index.statuses[&ROOT].held_back.is_none());
}

#[test]
fn a_mass_disappearance_that_was_none_leaves_no_trace() {
    let mut world = World::new();
    for number in 0..40 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.put("y/stays.jpg", "stays");
    world.start();
    world.equals_disk();
    world.idle();
    world.forget_counts();
    let aside = world.outside().join("x");
    fs::rename(world.path("x"), &aside).unwrap();
    world.store.wait_until("it is held back", |index| {
        index.statuses[&ROOT].held_back.is_some() || !index.gone.is_empty()
    });
    fs::rename(&aside, world.path("x")).unwrap();
    world.equals_disk();
    world
        .store
        .wait_until("nothing is held back any more", |index| index.statuses[&ROOT].held_back.is_none());
    assert!(world.store.with(|index| index.gone.is_empty()));
}

#[test]
fn a_mass_disappearance_that_is_accepted_is_believed_at_once() {
    let mut config = config();
    config.confirm_after = Duration::from_secs(3600);
    let mut world = World::with_config(config);
    for number in 0..40 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.put("y/stays.jpg", "stays");
    world.start();
    world.equals_disk();
    fs::rename(world.path("x"), world.outside().join("x")).unwrap();
    world.store.wait_until("it is held back", |index| index.statuses[&ROOT].held_back.is_some());
    let missing = world.handle().missing_at(ROOT, &RelativePath::default(), &|| {}).unwrap();
    assert_eq!((missing.known, missing.missing), (41, 40));
    assert!(world.handle().accept(ROOT, RelativePath::default()));
    world.holds(&["y/stays.jpg"]);
    world
        .store
        .wait_until("nothing is held back any more", |index| index.statuses[&ROOT].held_back.is_none());
}

#[test]
fn a_folder_that_was_emptied_or_removed_on_purpose_is_forgotten_and_watched_on() {
    let mut world = World::new();
    for number in 0..30 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.start();
    world.equals_disk();
    fs::rename(world.path("x"), world.outside().join("x")).unwrap();
    world.state_is("the root is offline", is_offline(OfflineReason::Empty));
    assert!(world.handle().accept(ROOT, RelativePath::default()));
    world.holds(&[]);
    world.put("new.jpg", "new");
    world.holds(&["new.jpg"]);

    fs::rename(world.root(), world.outside().join("aside")).unwrap();
    world.state_is("the root is missing", is_offline(OfflineReason::Missing));
    assert!(world.handle().accept(ROOT, RelativePath::default()));
    world.holds(&[]);
    fs::create_dir(world.root()).unwrap();
    world.put("again.jpg", "again");
    world.holds(&["again.jpg"]);
}
