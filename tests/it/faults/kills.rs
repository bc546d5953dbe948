//! Kills at random moments of import, delete, rename, recovery and first start. After each the daemon starts, and in the
//! end what it knows equals the disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use resembled::photo::ContentHash;

use crate::pictures;
use crate::random::Random;
use crate::world::{Daemon, World};

/// A kill comes so long after what it interrupts began, at the most.
const WITHIN_MS: u64 = 400;

/// What a campaign came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    kills: u32,
    lost: usize,
    doubled: usize,
    refused: u32,
}

/// Photos on the disk, by what was done to them.
struct Folder {
    world: World,
    random: Random,
    made: u32,
}

impl Folder {
    fn files(&self) -> BTreeSet<(PathBuf, String)> {
        let mut files = BTreeSet::new();
        for directory in fs::read_dir(self.world.photos()).unwrap() {
            for file in fs::read_dir(directory.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let content = ContentHash::of(&fs::read(&path).unwrap()).to_string();
                files.insert((path, content));
            }
        }
        files
    }

    fn import(&mut self) {
        let folder = self.world.photo(format!("import {}", self.made));
        for _ in 0..4 {
            self.made += 1;
            pictures::write(&folder.join(format!("{}.png", self.made)), self.made);
        }
    }

    fn delete(&mut self) {
        let files: Vec<_> = self.files().into_iter().collect();
        for _ in 0..3.min(files.len()) {
            // Twice the same is no harm.
            let _ = fs::remove_file(&files[self.random.below(files.len())].0);
        }
    }

    fn rename(&mut self) {
        let folders: Vec<_> =
            fs::read_dir(self.world.photos()).unwrap().map(|entry| entry.unwrap().path()).collect();
        if let Some(folder) = folders.get(self.random.below(folders.len().max(1))) {
            self.made += 1;
            fs::rename(folder, self.world.photo(format!("renamed {}", self.made))).unwrap();
        }
    }

    /// Waits a random time: that a kill may come at any moment is what this is about.
    fn wait_a_moment(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(WITHIN_MS as usize) as u64));
    }
}

/// Compares what the daemon knows at rest with the disk.
async fn compare(folder: &Folder, daemon: &Daemon, tally: &mut Tally) {
    let expected = folder.files();
    let status = daemon.wait_for_rest().await;
    let listed = daemon.files().await;
    let known: BTreeSet<_> = listed.iter().cloned().collect();
    let contents: BTreeSet<_> = expected.iter().map(|(_, content)| content).collect();
    tally.lost += expected.difference(&known).count() + known.difference(&expected).count();
    tally.doubled += listed.len() - known.len() + (status.photos as usize).abs_diff(contents.len());
    assert_eq!(status.failed, 0);
}

async fn campaign(kills: u32, seed: u64) -> Tally {
    let mut folder = Folder { world: World::new(), random: Random::new(seed), made: 0 };
    fs::create_dir_all(folder.world.photo("first")).unwrap();
    let mut tally = Tally::default();
    while tally.kills < kills {
        let act = folder.random.below(5);
        if act == 4 {
            // As if for the first time: all that was known is gone. It may not have got so far the last time.
            let _ = fs::remove_dir_all(folder.world.path("data"));
        }
        if act >= 3 {
            // Killed while it opens what was left, or makes it.
            let mut command = folder.world.resembled();
            command.arg(folder.world.photos());
            let starting = folder.world.spawn(command);
            folder.wait_a_moment();
            starting.kill();
            tally.kills += 1;
        }
        let Some(daemon) = folder.world.try_start().await else {
            tally.refused += 1;
            eprintln!("refused after {tally:?}\n{}", folder.world.log());
            let _ = fs::remove_dir_all(folder.world.path("data"));
            continue;
        };
        match act {
            0 => folder.import(),
            1 => folder.delete(),
            2 => folder.rename(),
            _ => {}
        }
        if act < 3 {
            folder.wait_a_moment();
            daemon.kill();
            tally.kills += 1;
        } else {
            compare(&folder, &daemon, &mut tally).await;
            daemon.kill();
            tally.kills += 1;
        }
    }
    let daemon = folder.world.start().await;
    compare(&folder, &daemon, &mut tally).await;
    tally
}

/// The small version, for every day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_kills_lose_and_double_nothing() {
    let tally = campaign(12, 5).await;
    assert_eq!(tally, Tally { kills: tally.kills, ..Tally::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some twenty minutes"]
async fn hundreds_of_kills() {
    let seed = 20_261_130;
    let tally = campaign(300, seed).await;
    println!("kills (seed {seed}): {tally:?}");
    assert_eq!(tally, Tally { kills: tally.kills, ..Tally::default() });
}
