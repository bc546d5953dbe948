//! Decoding processes that others kill or stop while photos are imported.

use std::fs;
use std::path::Path;

use resembled::proto;
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use crate::pictures;
use crate::random::Random;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_kills() {
    campaign(1, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn three_hundred_kills() {
    campaign(2, 300).await;
}

/// Whoever is killed before the first word decodes nothing; the daemon starts nevertheless, and decodes once it is let.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_first_word() {
    let world = World::new();
    let (stop, home) = (CancellationToken::new(), world.path(""));
    let stopped = stop.clone();
    let killer = tokio::task::spawn_blocking(move || {
        let mut killed = 0;
        while !stopped.is_cancelled() {
            for decoder in decoders_in(&home) {
                killed += u32::from(kill_process(decoder, Signal::KILL).is_ok());
            }
        }
        killed
    });
    let daemon = world.start().await;
    stop.cancel();
    let killed = killer.await.unwrap();
    for photo in 0..5 {
        pictures::write(&world.photo(format!("{photo}.png")), photo);
    }
    daemon.wait_for_files(5).await;
    assert_eq!(daemon.nearest(pictures::png(1), 1).await.len(), 1);
    println!("{killed} decoding processes killed while the daemon started");
    daemon.stop(&world).await;
}

/// Returns the decoding processes of the daemon that works in a folder.
fn decoders_in(home: &Path) -> Vec<Pid> {
    let home = home.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let decoders = processes.filter(|process| {
        fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == home)
            && fs::read(process.path().join("cmdline")).is_ok_and(|line| line.ends_with(b"decode-worker\0"))
    });
    decoders.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}

/// Kills so many processes at random moments while photos come in; none may fail for it.
async fn campaign(seed: u64, kills: u64) {
    const BATCH: u32 = 40;

    let mut random = Random::new(seed);
    let world = World::new();
    let daemon = world.start().await;
    let (mut photos, mut killed, mut stopped) = (0, 0, 0);
    while killed < kills {
        let status = daemon.status().await;
        if status.pending < 5 {
            for photo in photos..photos + BATCH {
                pictures::write(&world.photo(format!("{photo}.png")), photo);
            }
            photos += BATCH;
        }
        let Some(child) = random.pick(&daemon.children()).copied() else {
            // None waits and none works; the next photo starts one.
            tokio::task::yield_now().await;
            continue;
        };
        let signal = match random.below(20) {
            0 => Signal::STOP,
            1..4 => Signal::TERM,
            _ => Signal::KILL,
        };
        if kill_process(child, signal).is_ok() {
            killed += 1;
            stopped += u64::from(signal == Signal::STOP);
        }
        // Now and then several at once.
        let meanwhile = random.below(4) as u64;
        let indexed = status.files_indexed;
        daemon
            .wait_for("some photos more", |status| {
                status.files_indexed >= indexed + meanwhile || status.pending == 0
            })
            .await;
    }
    let status = daemon
        .wait_for("all photos in and rest", |status| {
            status.files == u64::from(photos) && status.state() == proto::State::Idle
        })
        .await;
    assert_eq!(daemon.failures().await, []);
    println!(
        "seed {seed}: {killed} decoding processes killed ({stopped} of them stopped) over {photos} photos: 0 failed, {} lost",
        status.decoder.unwrap().processes_lost
    );
    daemon.stop(&world).await;
}
