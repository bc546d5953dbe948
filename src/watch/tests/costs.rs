//! What watching costs. Measured on request:
//!
//! ```text
//! cargo test --release --lib -- --ignored --nocapture watch::tests::costs
//! ```

use std::fs;
use std::time::Instant;

use super::world::World;

#[test]
#[ignore = "a measurement over 100,000 files"]
fn a_restart_over_100_000_unchanged_photos_looks_once_at_each() {
    let mut world = World::new();
    for number in 0..100_000 {
        world.put(&format!("{}/{}/{number}.jpg", number % 20, number % 1000), "photo");
    }
    world.start();
    world.equals_disk();
    world.stop();
    world.forget_counts();
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    world.start();
    world.idle();
    let costs = world.handle().costs();
    eprintln!(
        "{:.2?}, {:.2} s of CPU; {:.4} looks and {:.4} directory readings a photo",
        begun.elapsed(),
        cpu_seconds() - cpu,
        costs.stats as f64 / 1e5,
        costs.directories as f64 / 1e5
    );
    assert!(world.reads().is_empty());
    assert!(costs.stats < 100_000 + 100, "{costs:?}");
}

/// Returns what this process used so far, from `/proc/self/stat` (proc(5)), in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}
