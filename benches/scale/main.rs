//! Prints what search costs at several sizes of library, beside what was asked for:
//!
//! ```sh
//! benches/scale/embed.py mobilenet_v2_features.onnx photos.npy FOLDER...
//! cargo bench --bench scale -- --embeddings photos.npy --models DIR [--network mobilenet_v2]
//!     [--sizes 10000,100000,1000000] [--dir DIR] [--peers] [--python PYTHON] [--duplicates] [--keep]
//! ```
//!
//! A store is filled as indexing would fill it, and the real daemon is started on it (`daemon.rs`): its answers, their
//! times, its memory. What one process does without a client between is measured on an index over the same store
//! (`inside.rs`). A network with a classifier is asked for words too. `--peers` runs the same workload in usearch and NumPy, `--duplicates` waits until all photos are
//! compared; without it, comparing is paused. A million photos take 14 GB in DIR, which are deleted afterwards unless `--keep` is given.

mod daemon;
mod grow;
mod inside;
mod store;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use self::store::Network;

const QUERIES: usize = 200;
const K: usize = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    embeddings: PathBuf,
    network: Network,
    sizes: Vec<usize>,
    directory: PathBuf,
    peers: bool,
    python: String,
    duplicates: bool,
    keep: bool,
}

fn arguments() -> anyhow::Result<Option<Arguments>> {
    let mut found: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // What `cargo bench` and `cargo test --benches` add of their own.
            "--bench" | "--test" => {}
            "--peers" | "--duplicates" | "--keep" => _ = found.insert(word, String::new()),
            "--embeddings" | "--models" | "--network" | "--sizes" | "--dir" | "--python" => {
                let value = words.next().with_context(|| format!("{word} needs a value"))?;
                found.insert(word, value);
            }
            _ => bail!("unknown argument {word}; the head of benches/scale/main.rs lists them"),
        }
    }
    let Some(embeddings) = found.remove("--embeddings") else { return Ok(None) };
    let sizes = found.remove("--sizes").unwrap_or_else(|| "10000,100000,1000000".into());
    let sizes = sizes.split(',').map(|size| size.parse().context("a size is a number"));
    Ok(Some(Arguments {
        embeddings: embeddings.into(),
        network: Network {
            name: found.remove("--network").unwrap_or_else(|| "mobilenet_v2".into()),
            folder: found.remove("--models").context("--models DIR: where the network's file is")?.into(),
        },
        sizes: sizes.collect::<Result<_, _>>()?,
        directory: found.remove("--dir").map_or_else(std::env::temp_dir, PathBuf::from),
        peers: found.contains_key("--peers"),
        python: found.remove("--python").unwrap_or_else(|| "python3".into()),
        duplicates: found.contains_key("--duplicates"),
        keep: found.contains_key("--keep"),
    }))
}

fn run() -> anyhow::Result<()> {
    let Some(arguments) = arguments()? else {
        eprintln!("SKIPPED: give --embeddings FILE.npy --models DIR");
        return Ok(());
    };
    let mut directory =
        tempfile::Builder::new().prefix("resembled-scale-").tempdir_in(&arguments.directory)?;
    directory.disable_cleanup(arguments.keep);
    let empty = daemon::memory_of_an_empty_one(directory.path(), &arguments.network)?;
    println!("resident memory of a daemon without photos: {empty:.1} MB");
    for &size in &arguments.sizes {
        let home = directory.path().join(size.to_string());
        std::fs::create_dir(&home)?;
        measure(&arguments, &home, size, empty)?;
        if !arguments.keep {
            std::fs::remove_dir_all(&home)?;
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, home: &Path, size: usize, empty: f64) -> anyhow::Result<()> {
    let vectors = home.join("vectors.f32");
    let grown = grow::grow(&arguments.embeddings, &vectors, size, QUERIES)?;
    println!(
        "\n{size} photos of {} numbers, {} of them real; {QUERIES} queries, k = {K}",
        grown.dim, grown.real
    );
    store::fill(home, &arguments.network, &vectors, grown.dim, size)?;
    daemon::measure(home, arguments, size, &grown.queries, empty)?;
    inside::measure(home, &arguments.network, size, &grown.queries)?;
    if arguments.peers {
        let queries = home.join("queries.f32");
        let bytes: Vec<u8> = grown.queries.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&queries, bytes)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scale/peers.py");
        let mut peers = Command::new(&arguments.python);
        let done = peers.arg(script).arg(&vectors).arg(&queries).arg(grown.dim.to_string()).status()?;
        ensure!(done.success(), "the peers failed: {done}");
    }
    Ok(())
}

/// Targets of a table's row, for 10 k, 100 k and 1 M photos; `None` where nothing was asked for.
type Targets = [Option<f64>; 3];

/// Prints a row of the table: what was measured, what was asked for, and whether it is met.
fn row(what: &str, size: usize, measured: f64, unit: &str, targets: Targets, more_is_better: bool) {
    let place = if size <= 10_000 {
        0
    } else if size <= 100_000 {
        1
    } else {
        2
    };
    let verdict = targets[place].map_or(String::new(), |target| {
        let is_met = if more_is_better { measured >= target } else { measured <= target };
        let sign = if more_is_better { ">=" } else { "<=" };
        format!("{sign} {target} {unit}: {}", if is_met { "met" } else { "NOT MET" })
    });
    println!("{what:52} {measured:>10.4} {unit:2}  {verdict}");
}

/// A row about time, in milliseconds.
fn time_row(what: &str, size: usize, time: Duration, targets: Targets) {
    row(what, size, time.as_secs_f64() * 1e3, "ms", targets, false);
}

/// Returns the time that a share of the times does not exceed.
fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() as f64 * share) as usize).min(times.len() - 1)]
}

/// Counts those of the exact neighbors that were found; of equally distant ones, each is as right as the other.
fn found_of(exact: &[f32], found: &[f32]) -> usize {
    let Some(&last) = exact.last() else { return 0 };
    found.iter().filter(|&&distance| distance <= last).count().min(exact.len())
}
