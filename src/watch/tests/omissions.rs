//! What is left out can be counted and listed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::world::{ROOT, World};
use crate::watch::OmissionKind;

/// Returns what is left out, below the folder that holds the roots.
fn listed(world: &World) -> Vec<(PathBuf, OmissionKind)> {
    let omissions = world.handle().omissions(Some(ROOT)).unwrap();
    omissions
        .into_iter()
        .map(|omission| (omission.path.strip_prefix(world.root()).unwrap().to_path_buf(), omission.kind))
        .collect()
}

#[track_caller]
fn becomes(world: &World, expected: &[(&str, OmissionKind)]) {
    let expected: Vec<_> = expected.iter().map(|(path, kind)| (PathBuf::from(path), *kind)).collect();
    world.store.wait_until(&format!("{expected:?} is left out"), |_| listed(world) == expected);
    let counts = world.handle().roots()[0].omissions;
    for kind in OmissionKind::ALL {
        let count = expected.iter().filter(|(_, of)| *of == kind).count() as u64;
        assert_eq!(counts.of(kind), count, "{kind:?}");
    }
}

#[test]
fn links_and_what_patterns_leave_out_are_listed_and_what_nobody_misses_is_not() {
    use OmissionKind::{Ignored, Link};

    let mut world = World::new();
    let outside = world.outside().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("o.jpg"), "outside").unwrap();
    fs::write(outside.join("notes.txt"), "outside").unwrap();
    world.put("a.jpg", "a");
    world.put(".git/b.jpg", "b");
    world.put(".hidden/b.jpg", "b");
    world.put("x/skipped/c.jpg", "c");
    world.put("x/skip.jpg", "c");
    fs::write(world.path("x/.resembledignore"), "skip*\n").unwrap();
    symlink(&outside, world.path("folder")).unwrap();
    symlink(outside.join("o.jpg"), world.path("photo.jpg")).unwrap();
    // Nothing new stands there.
    symlink("x", world.path("inside")).unwrap();
    symlink("..", world.path("above")).unwrap();
    symlink(outside.join("notes.txt"), world.path("notes")).unwrap();
    symlink("nowhere", world.path("broken.jpg")).unwrap();
    world.start();
    let listed = [(".hidden", Ignored), ("folder", Link), ("photo.jpg", Link), ("x/skip.jpg", Ignored)];
    becomes(&world, &[&listed[..], &[("x/skipped", Ignored)]].concat());
    let reasons: Vec<String> =
        world.handle().omissions(None).unwrap().into_iter().map(|omission| omission.reason).collect();
    assert!(reasons[0].contains("watch.hidden"), "{reasons:?}");
    assert!(reasons[1].contains(&format!("resemble roots add {}", outside.display())), "{reasons:?}");
    assert!(reasons[3].contains("`skip*` in x/.resembledignore"), "{reasons:?}");

    // And live.
    fs::remove_dir_all(world.path("x/skipped")).unwrap();
    fs::remove_file(world.path("folder")).unwrap();
    fs::write(world.path("x/.resembledignore"), "").unwrap();
    fs::create_dir(world.path("new")).unwrap();
    symlink(&outside, world.path("new/folder")).unwrap();
    assert!(world.handle().rescan(None));
    becomes(&world, &[(".hidden", Ignored), ("new/folder", Link), ("photo.jpg", Link)]);
}

#[test]
fn a_path_that_is_too_long_is_listed() {
    let mut world = World::new();
    let name = "d".repeat(200);
    // Deeper than the system takes in one path, so step by step.
    let mut directory = rustix::fs::open(
        world.root(),
        rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..21 {
        rustix::fs::mkdirat(&directory, &*name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        directory = rustix::fs::openat(&directory, &*name, flags, rustix::fs::Mode::empty()).unwrap();
    }
    world.start();
    world
        .store
        .wait_until("it is counted", |_| world.handle().roots()[0].omissions.of(OmissionKind::TooLong) == 1);
    world.idle();
}

#[test]
fn photos_that_are_held_back_are_listed_until_they_are_believed_to_be_gone() {
    let mut world = World::new();
    for number in 0..40 {
        world.put(&format!("x/{number}.jpg"), "photo");
    }
    world.put("y/stays.jpg", "stays");
    world.start();
    world.equals_disk();
    world.idle();
    fs::rename(world.path("x"), world.outside().join("x")).unwrap();
    world.store.wait_until("they are listed", |_| {
        listed(&world).iter().filter(|(_, kind)| *kind == OmissionKind::HeldBack).count() == 40
    });
    world.holds(&["y/stays.jpg"]);
    world.store.wait_until("nothing is listed any more", |_| listed(&world).is_empty());
}

/// The kernel tells of writing only in the folder through which the file was opened.
#[test]
fn bytes_written_through_a_hard_link_elsewhere_are_found_by_the_quiet_comparison() {
    let mut config = super::world::config();
    config.compare_every = Some(std::time::Duration::from_millis(50));
    let mut world = World::with_config(config);
    let path = world.put("x/a.jpg", "a");
    world.put("y/b.jpg", "b");
    world.start();
    world.equals_disk();
    let link = world.outside().join("elsewhere.jpg");
    fs::hard_link(path, &link).unwrap();
    world.idle();
    world.forget_counts();
    fs::write(&link, "other bytes than before").unwrap();
    world.equals_disk();
    assert_eq!(world.reads(), [World::file("x/a.jpg")]);
}
