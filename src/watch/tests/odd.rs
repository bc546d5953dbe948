//! Odd things in the tree: none may block, crash or loop.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::world::{World, inode};

#[test]
fn links_pipes_and_sockets_are_passed_over() {
    let mut world = World::new();
    let outside = world.outside().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("o.jpg"), "outside").unwrap();
    let odd = |world: &World, directory: &str| {
        world.put(&format!("{directory}/a.jpg"), "a");
        let path = world.path(directory);
        symlink(&outside, path.join("out")).unwrap();
        symlink(outside.join("o.jpg"), path.join("o.jpg")).unwrap();
        symlink(&path, path.join("loop")).unwrap();
        symlink("self.jpg", path.join("self.jpg")).unwrap();
        mknodat(CWD, path.join("pipe.jpg"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        drop(UnixListener::bind(path.join("socket.jpg")).unwrap());
    };
    odd(&world, "before");
    world.start();
    world.holds(&["before/a.jpg"]);
    odd(&world, "live");
    world.holds(&["before/a.jpg", "live/a.jpg"]);
}

#[test]
fn a_photo_that_becomes_a_link_or_a_folder_goes() {
    let mut world = World::new();
    let (a, b) = (world.put("a.jpg", "a"), world.put("b.jpg", "b"));
    world.put("c.jpg", "c");
    world.start();
    world.equals_disk();
    fs::remove_file(&a).unwrap();
    symlink(world.path("c.jpg"), &a).unwrap();
    fs::remove_file(&b).unwrap();
    world.put("b.jpg/inner.jpg", "inner");
    world.holds(&["b.jpg/inner.jpg", "c.jpg"]);
    // And back.
    fs::remove_dir_all(&b).unwrap();
    world.put("b.jpg", "a file again");
    world.holds(&["b.jpg", "c.jpg"]);
}

#[test]
fn names_that_are_no_text_are_names() {
    let mut world = World::new();
    let names: [&[u8]; 4] = [b"\xff\xfe.jpg", b"new\nline.jpg", b" .jpg", b"-rf *.jpg"];
    for name in names {
        fs::create_dir_all(world.root().join(OsStr::from_bytes(name)).with_extension("d")).unwrap();
        fs::write(world.root().join(OsStr::from_bytes(name)), "photo").unwrap();
    }
    world.start();
    world.equals_disk();
    for name in names {
        let folder = world.root().join(OsStr::from_bytes(name)).with_extension("d");
        fs::write(folder.join(OsStr::from_bytes(name)), "photo").unwrap();
    }
    world.equals_disk();
    assert_eq!(world.reads().len(), 8);
}

#[test]
fn a_hard_link_is_a_file_of_its_own() {
    let mut world = World::new();
    let path = world.put("a.jpg", "a");
    world.start();
    world.equals_disk();
    fs::hard_link(&path, world.path("b.jpg")).unwrap();
    assert_eq!(inode(&path), inode(&world.path("b.jpg")));
    world.equals_disk();
    assert!(world.store.with(|index| index.moves.is_empty()));
    fs::remove_file(&path).unwrap();
    world.equals_disk();
}

#[test]
fn a_photo_rewritten_under_one_name_is_read_again_under_all() {
    let mut world = World::new();
    let path = world.put("x/a.jpg", "before");
    fs::create_dir(world.path("y")).unwrap();
    fs::hard_link(&path, world.path("y/b.jpg")).unwrap();
    world.start();
    world.equals_disk();
    fs::write(&path, "after that").unwrap();
    world.equals_disk();
    assert_eq!(world.store.with(|index| index.files[&World::file("y/b.jpg")].len), 10);
}

#[test]
fn times_in_the_future_and_before_1970_are_times() {
    let mut world = World::new();
    world.start();
    for (name, seconds) in [("future.jpg", 4_000_000_000_i64), ("past.jpg", -86_400)] {
        let path = world.put(name, name);
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 5 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    }
    world.equals_disk();
    world.idle();
    world.forget_counts();
    world.stop();
    world.start();
    world.idle();
    assert!(world.reads().is_empty());
}

#[test]
fn the_deepest_path_that_the_system_takes_is_read_and_a_deeper_one_passed_over() {
    let mut world = World::new();
    let name = "d".repeat(255);
    let mut path = world.root();
    while path.as_os_str().len() + 1 + 255 + 1 + 255 <= 4095 {
        path.push(&name);
    }
    fs::create_dir_all(&path).unwrap();
    let left = 4095 - path.as_os_str().len() - 1;
    let longest = path.join(format!("{}.jpg", "p".repeat(left.min(255) - 4)));
    fs::write(&longest, "deep").unwrap();
    // Deeper than any path: only step by step, relative to where one is.
    let mut directory = rustix::fs::open(&path, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..3 {
        rustix::fs::mkdirat(&directory, &*name, Mode::from_raw_mode(0o700)).unwrap();
        directory = rustix::fs::openat(&directory, &*name, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    world.put("a.jpg", "a");
    world.start();
    world.store.wait_until("both are read", |index| index.files.len() == 2);
    world.put("b.jpg", "b");
    world.store.wait_until("and what comes later", |index| index.files.len() == 3);
    assert_eq!(world.handle().roots()[0].unreadable, 1);
}

#[test]
fn an_unreadable_folder_keeps_its_photos() {
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may read everything");
        return;
    }
    let mut world = World::new();
    world.put("x/a.jpg", "a");
    world.put("b.jpg", "b");
    world.start();
    world.equals_disk();
    world.stop();
    fs::set_permissions(world.path("x"), fs::Permissions::from_mode(0o000)).unwrap();
    world.put("c.jpg", "c");
    world.start();
    world.holds(&["b.jpg", "c.jpg", "x/a.jpg"]);
    fs::set_permissions(world.path("x"), fs::Permissions::from_mode(0o700)).unwrap();
    world.put("x/d.jpg", "d");
    world.equals_disk();
}
