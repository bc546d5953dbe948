//! Kills while the store is made for the first time, and while one of version 1 is copied: whatever is left there opens.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use resembled::store::Store;

use crate::random::Random;
use crate::stores::{store_of, unpack};
use crate::world::World;

/// What the kills came to.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    /// Those that came before the store had its name, or while it was of version 1.
    before_it_was_there: u32,
    opened: u32,
}

fn start(world: &World) -> std::process::Child {
    world
        .resembled()
        .arg(world.photos())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Whether the store is there, in the present format.
fn is_there(world: &World) -> bool {
    fs::read(store_of(world)).is_ok_and(|bytes| bytes.starts_with(b"resembled store"))
}

/// Puts what a start finds in its place.
fn prepare(world: &World, version: Option<u32>) {
    let _ = fs::remove_dir_all(world.path("data"));
    if let Some(version) = version {
        unpack(world, version);
    }
}

/// Kills `kills` starts within half as long again as making the store takes.
fn campaign(seed: u64, kills: u32, version: Option<u32>) -> Tally {
    let world = World::new();
    prepare(&world, version);
    let begun = Instant::now();
    let mut child = start(&world);
    while !is_there(&world) {
        assert!(begun.elapsed() < crate::world::DEADLINE, "no store is made");
        thread::yield_now();
    }
    let takes = begun.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();

    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    for _ in 0..kills {
        prepare(&world, version);
        let mut child = start(&world);
        // What is waited for here is a moment without a mark.
        thread::sleep(Duration::from_micros(random.below(takes.as_micros() as usize * 3 / 2) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        tally.kills += 1;
        tally.before_it_was_there += u32::from(!is_there(&world));
        fs::create_dir_all(store_of(&world).parent().unwrap()).unwrap();
        let store = Store::open(&store_of(&world)).unwrap();
        let files = store.read().unwrap().total().unwrap().files;
        assert_eq!(files, if version.is_some() { 300 } else { 0 });
        tally.opened += 1;
    }
    tally
}

#[test]
fn a_first_start_that_is_killed_leaves_a_store_that_opens() {
    for version in [None, Some(1)] {
        let tally = campaign(1, 5, version);
        assert_eq!(tally.opened, tally.kills, "{tally:?}");
    }
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_killed_first_starts_leave_stores_that_open() {
    for version in [None, Some(1)] {
        let tally = campaign(2, 200, version);
        println!("first starts killed, from {version:?}: {tally:?}");
        assert_eq!(tally.opened, tally.kills);
        assert!(tally.before_it_was_there > 0);
    }
}
