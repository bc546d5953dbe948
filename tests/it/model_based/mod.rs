//! At rest, the index equals the disk: random file operations on a real file system under a real daemon, and
//! after each settling a plain walk of the disk against what the daemon lists.
//!
//! A few hundred operations are an ordinary test. The long run:
//!
//! ```text
//! RESEMBLED_MODEL_OPS=10000 cargo test --release --test it -- --ignored --nocapture model_based
//! ```
//!
//! Every run prints its seed, and every operation goes to a log that is printed when the run fails.
//! `RESEMBLED_MODEL_SEED` replays the operations of a seed; when they meet the daemon stays a matter of chance.

mod daemon;
mod disk;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use daemon::Daemon;
use disk::{Disk, Op};
use resembled::proto;

use crate::random::Random;
use crate::world::World;

/// Longer than anything takes on a busy machine; reached only by a failing run.
const DEADLINE: Duration = crate::world::DEADLINE;

/// Operations between two settlings, at the most.
const BATCH: usize = 12;

#[test]
fn at_rest_the_index_equals_the_disk_after_a_few_hundred_random_operations() {
    run(300);
}

#[test]
#[ignore = "takes about an hour; see the head of this file"]
fn at_rest_the_index_equals_the_disk_after_thousands_of_random_operations() {
    run(number("RESEMBLED_MODEL_OPS").map_or(10_000, |ops| usize::try_from(ops).unwrap()));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn run(ops: usize) {
    let seed = number("RESEMBLED_MODEL_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    eprintln!("RESEMBLED_MODEL_SEED={seed} ({ops} operations)");
    let mut model = Model::new(seed);
    model.settle();
    let mut settlings = 0;
    while model.done < ops {
        for _ in 0..=model.random.below(BATCH) {
            model.step();
        }
        model.settle();
        settlings += 1;
    }
    eprintln!(
        "{} operations, {settlings} settlings, {} contents, {} encodings, slowest settling {:.1?}",
        model.done,
        model.disk.contents(),
        model.encoded_before + model.daemon.status().photos_encoded,
        model.slowest,
    );
}

struct Model {
    disk: Disk,
    daemon: Daemon,
    random: Random,
    log: Vec<String>,
    done: usize,
    /// Encodings of the daemons that have ended.
    encoded_before: u64,
    /// Encodings that a SIGKILL may have made worthless.
    forgiven: u64,
    contents_at_rest: u64,
    slowest: Duration,
}

impl Model {
    fn new(seed: u64) -> Self {
        let world = World::new();
        // The daemon names folders as the disk resolves them.
        let disk = Disk::new(&world.photos().canonicalize().unwrap());
        let daemon = Daemon::start(world, disk.roots());
        Self {
            disk,
            daemon,
            random: Random::new(seed),
            log: Vec::new(),
            done: 0,
            encoded_before: 0,
            forgiven: 0,
            contents_at_rest: 0,
            slowest: Duration::ZERO,
        }
    }

    fn step(&mut self) {
        self.done += 1;
        match self.random.below(200) {
            0 => self.restart(false),
            1 => self.restart(true),
            2 => self.offline_and_back(),
            _ => {
                let op = Op::draw(&mut self.random);
                let said = self.disk.apply(op, &mut self.random);
                self.log.push(said);
            }
        }
    }

    fn restart(&mut self, kill: bool) {
        self.log.push(if kill { "SIGKILL and restart" } else { "SIGTERM and restart" }.to_owned());
        // The count of a daemon that is killed is lost; what it did since the last rest may be done twice.
        if kill {
            self.forgiven += self.disk.contents() - self.contents_at_rest;
        }
        self.encoded_before += self.daemon.status().photos_encoded;
        self.daemon.end(kill);
        // Changes that nobody watches.
        for _ in 0..self.random.below(4) {
            let op = Op::draw(&mut self.random);
            let said = self.disk.apply(op, &mut self.random);
            self.log.push(format!("  meanwhile: {said}"));
        }
        self.daemon.start_again();
    }

    fn offline_and_back(&mut self) {
        self.settle();
        let (root, aside) = self.disk.second_root();
        let before = self.daemon.files();
        self.log.push("the second root goes offline and comes back".to_owned());
        std::fs::rename(&root, &aside).unwrap();
        self.daemon.wait("the root is offline", DEADLINE, |daemon| {
            daemon.root_state(&root) == proto::RootState::Offline
        });
        let after = self.daemon.files();
        self.check(before.keys().eq(after.keys()), "a root that is offline loses nothing");
        let unmarked = after.iter().find(|(path, (_, online))| *online == Some(path.starts_with(&root)));
        self.check(unmarked.is_none(), &format!("photos of a root that is offline are marked: {unmarked:?}"));
        let encoded = self.daemon.status().photos_encoded;
        std::fs::rename(&aside, &root).unwrap();
        self.daemon.wait("the root is back", DEADLINE, |daemon| {
            daemon.root_state(&root) == proto::RootState::Online
        });
        self.settle();
        self.check(
            self.daemon.status().photos_encoded == encoded,
            "nothing is encoded when a root comes back",
        );
    }

    /// Waits until the daemon is at rest and compares.
    fn settle(&mut self) {
        self.disk.finish_slow_writes();
        let expected = self.disk.walk();
        let begun = Instant::now();
        let mut last = BTreeMap::new();
        let is_equal = self.daemon.wait_quietly(DEADLINE, |daemon| {
            last = daemon.files().into_iter().map(|(path, (content, _))| (path, content)).collect();
            last == expected && daemon.is_idle()
        });
        if !is_equal {
            for (path, content) in &expected {
                match last.get(path) {
                    None => eprintln!("missing in the index: {path:?}"),
                    Some(found) if found != content => eprintln!("another content in the index: {path:?}"),
                    Some(_) => {}
                }
            }
            for path in last.keys().filter(|path| !expected.contains_key(*path)) {
                eprintln!("in the index, not on the disk: {path:?}");
            }
        }
        self.check(is_equal, "the index equals the disk");
        self.slowest = self.slowest.max(begun.elapsed());
        let failures = self.daemon.failures();
        self.check(failures.is_empty(), &format!("no photo fails: {failures:?}"));
        self.contents_at_rest = self.disk.contents();
        let encoded = self.encoded_before + self.daemon.status().photos_encoded;
        let needed = self.disk.contents() + self.forgiven;
        self.check(encoded <= needed, &format!("{encoded} encodings of {needed} contents"));
    }

    fn check(&self, holds: bool, claim: &str) {
        if holds {
            return;
        }
        let tail = self.log.len().saturating_sub(60);
        for line in &self.log[tail..] {
            eprintln!("{line}");
        }
        eprintln!("{}", self.daemon.log_tail());
        panic!("after {} operations it does not hold that {claim}", self.done);
    }
}
