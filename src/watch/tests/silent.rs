//! Disks that do not answer, played by volumes that keep whoever asks them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::world::{DEADLINE, ROOT, World, config};
use crate::photo::RootId;
use crate::watch::{
    Anchor, MountId, MountTable, Mounted, OfflineReason, RootState, Volume, Volumes, Watching,
};

const SECOND: RootId = RootId(2);

/// The volumes of this machine; those below one folder do not answer the threads of one name for a while.
#[derive(Default)]
struct Hanging {
    silent: Mutex<Option<(PathBuf, &'static str)>>,
    changed: Condvar,
    /// How many wait.
    waiting: Mutex<usize>,
}

impl Hanging {
    fn hang(&self, folder: &Path, thread: &'static str) {
        *self.silent.lock().unwrap() = Some((folder.to_path_buf(), thread));
    }

    fn answer(&self) {
        *self.silent.lock().unwrap() = None;
        self.changed.notify_all();
    }

    fn wait(&self, path: &Path) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let is_hung = |silent: &Option<(PathBuf, &str)>| {
            silent
                .as_ref()
                .is_some_and(|(folder, thread)| path.starts_with(folder) && name.starts_with(thread))
        };
        let mut silent = self.silent.lock().unwrap();
        if !is_hung(&silent) {
            return;
        }
        *self.waiting.lock().unwrap() += 1;
        while is_hung(&silent) {
            silent = self.changed.wait_timeout(silent, DEADLINE).unwrap().0;
        }
    }
}

impl Volumes for Hanging {
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.wait(path);
        MountTable.resolve(path)
    }

    fn anchor(&self, path: &Path) -> io::Result<Anchor> {
        self.wait(path);
        MountTable.anchor(path)
    }

    fn at(&self, path: &Path) -> io::Result<Mounted> {
        self.wait(path);
        MountTable.at(path)
    }

    fn find(&self, volume: &Volume) -> io::Result<Vec<PathBuf>> {
        MountTable.find(volume)
    }

    fn below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.wait(path);
        MountTable.below(path)
    }

    fn mount_of(&self, path: &Path) -> io::Result<(MountId, bool)> {
        self.wait(path);
        MountTable.mount_of(path)
    }
}

fn silent(state: &RootState) -> bool {
    *state == RootState::Offline(OfflineReason::NotAnswering)
}

/// Two watched roots with a photo each, and the means to make the first one hang.
fn world() -> (World, Arc<Hanging>) {
    let volumes = Arc::new(Hanging::default());
    let mut config = config();
    config.volumes = Arc::clone(&volumes) as _;
    config.patience = Duration::from_millis(400);
    let mut world = World::with_config(config);
    let second = world.add_root(SECOND, "second");
    world.put("a.jpg", "a");
    world.put("b.jpg", "b");
    fs::write(second.join("c.jpg"), "c").unwrap();
    (world, volumes)
}

fn second(world: &World) -> PathBuf {
    world.outside().join("second")
}

/// A photo that comes into the second root is found.
fn the_other_goes_on(world: &World, name: &str) {
    fs::write(second(world).join(name), name).unwrap();
    world.store.wait_until("the other root goes on", |index| {
        index.files.keys().any(|file| file.root == SECOND && file.path.as_bytes() == name.as_bytes())
    });
}

#[test]
fn a_root_that_does_not_answer_is_offline_until_it_does_and_others_go_on() {
    let (mut world, volumes) = world();
    world.start();
    world.equals_disk();
    world.idle();
    world.forget_counts();
    volumes.hang(&world.root(), "watch-");
    world.state_is("it does not answer", silent);
    // Nobody waits for it.
    world.idle();
    the_other_goes_on(&world, "d.jpg");
    assert_eq!(world.handle().silent_root_of(&world.path("a.jpg")), Some(world.root()));
    assert_eq!(world.handle().silent_root_of(&second(&world)), None);
    fs::write(world.path("meanwhile.jpg"), "meanwhile").unwrap();
    fs::remove_file(world.path("b.jpg")).unwrap();
    volumes.answer();
    world.state_is("it is back", |state| *state == RootState::Online);
    world.equals_disk();
    let status = world.status();
    assert_eq!(status.watching, Watching::Inotify);
    world.put("later.jpg", "later");
    world.equals_disk();
}

#[test]
fn a_root_that_does_not_answer_at_the_start_costs_the_other_nothing() {
    let (mut world, volumes) = world();
    volumes.hang(&world.root(), "watch-");
    world.start();
    world.state_is("it does not answer", silent);
    the_other_goes_on(&world, "d.jpg");
    // A third can be added, and one removed.
    let third = world.add_root(RootId(3), "third");
    fs::write(third.join("e.jpg"), "e").unwrap();
    world
        .store
        .wait_until("the third is read", |index| index.files.keys().any(|file| file.root == RootId(3)));
    assert!(world.handle().remove_root(ROOT));
    world.idle();
    volumes.answer();
}

#[test]
fn the_live_thread_is_replaced_where_a_disk_keeps_it() {
    let (mut world, volumes) = world();
    world.start();
    world.equals_disk();
    world.idle();
    volumes.hang(&world.root(), "watch-live");
    // Whether it is gone is asked of the volume.
    fs::remove_file(world.path("b.jpg")).unwrap();
    let begun = std::time::Instant::now();
    while *volumes.waiting.lock().unwrap() == 0 {
        assert!(begun.elapsed() < DEADLINE, "the live thread never asked");
        std::thread::yield_now();
    }
    the_other_goes_on(&world, "d.jpg");
    volumes.answer();
    world.equals_disk();
    world.put("later.jpg", "later");
    the_other_goes_on(&world, "e.jpg");
    world.equals_disk();
}

#[test]
fn the_room_ends_while_a_disk_keeps_its_thread() {
    let (mut world, volumes) = world();
    volumes.hang(&world.root(), "watch-");
    world.start();
    world.state_is("it does not answer", silent);
    // Comes back although the disk does not.
    world.stop();
    assert!(volumes.silent.lock().unwrap().is_some());
    volumes.answer();
}
