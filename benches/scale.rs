//! Prints what search costs at several sizes of library: `cargo bench --bench scale -- --embeddings FILE.npy`.
//!
//! The library is grown out of real embeddings, given as an `.npy` file of `f32` rows in C order. A new vector is a real
//! one, moved up to half the way to one of its ten nearest, plus up to 0.8 times the difference of two others that
//! are neighbors of each other; what falls below the least number of the file is set to it. Of several ways tried,
//! this is the one whose result looks like reality: 2,200 MobileNetV2 embeddings of photos grown to 22,238, against
//! 22,238 real ones, have the nearest, tenth, hundredth and thousandth neighbor of a query at 15.9, 16.8, 18.6
//! and 21.7 (real: 16.2, 17.4, 19.2, 22.3), and 128 principal components find 0.967 of the ten nearest among 20
//! candidates (real: 0.971). The seed is fixed; the same file gives the same library. Some real vectors are
//! kept out of it and serve as queries.
//!
//! Full vectors lie in a file and are read from it one by one, as a store would. Ground truth is `exact: true`, which
//! is compared with reading every vector for some of the queries.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use resembled::photo::{Metric, PhotoId};
use resembled::search::{Basis, Index, Neighbor, Options, PhotoSet, Sketch, Vectors, VectorsError};

const QUERIES: usize = 200;
/// Queries whose ground truth is checked by reading every vector.
const CHECKED: usize = 5;
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
    sizes: Vec<usize>,
    directory: PathBuf,
    peer: bool,
}

fn arguments() -> anyhow::Result<Option<Arguments>> {
    let mut found: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // What `cargo bench` and `cargo test --benches` add of their own.
            "--bench" | "--test" => {}
            "--peer" => _ = found.insert(word, String::new()),
            "--embeddings" | "--sizes" | "--dir" => {
                let value = words.next().with_context(|| format!("{word} needs a value"))?;
                found.insert(word, value);
            }
            _ => bail!(
                "unknown argument {word}; there are --embeddings FILE.npy --sizes 10000,100000 --dir DIR --peer"
            ),
        }
    }
    let Some(embeddings) = found.remove("--embeddings") else { return Ok(None) };
    let sizes = found.remove("--sizes").unwrap_or_else(|| "10000,100000,1000000".into());
    Ok(Some(Arguments {
        embeddings: embeddings.into(),
        sizes: sizes
            .split(',')
            .map(|size| size.parse().context("a size is a number"))
            .collect::<Result<_, _>>()?,
        directory: found.remove("--dir").map_or_else(std::env::temp_dir, PathBuf::from),
        peer: found.contains_key("--peer"),
    }))
}

fn run() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, directory, file] = words.as_slice()
        && word == "--load"
    {
        return start(Path::new(directory), Path::new(file));
    }
    let Some(arguments) = arguments()? else {
        eprintln!("SKIPPED: give --embeddings FILE.npy");
        return Ok(());
    };
    let directory = arguments.directory.join(format!("resembled-scale-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let result = arguments.sizes.iter().try_for_each(|&size| measure(&arguments, &directory, size));
    std::fs::remove_dir_all(&directory)?;
    result
}

fn measure(arguments: &Arguments, directory: &Path, size: usize) -> anyhow::Result<()> {
    let file = directory.join(format!("{size}.f32"));
    let (queries, dim) = grow(&arguments.embeddings, &file, size)?;
    println!("\n{size} photos of {dim} numbers, {} queries, k = {K}", queries.len());
    let stored = Arc::new(Stored { file: File::open(&file)?, dim, len: size });
    let vectors = Arc::clone(&stored) as Arc<dyn Vectors>;

    let began = Instant::now();
    let index = Index::over(dim, Arc::clone(&vectors));
    // Only what the basis is learnt from: a library of this size never sat in memory whole.
    let first = size.min(4096);
    let ids: Vec<PhotoId> = (0..first as u64).map(PhotoId).collect();
    let mut start = Vec::new();
    stored
        .fetch(&ids, &mut |id, vector| start.push((id, vector.to_vec())))
        .map_err(anyhow::Error::from_boxed)?;
    index.apply(start.iter().map(|(id, vector)| (*id, vector.as_slice())), &[])?;
    drop(start);
    index.learn(&|| false)?;
    row("learn a basis from 4,096", began.elapsed());
    let began = Instant::now();
    let rest: Vec<PhotoId> = (first as u64..size as u64).map(PhotoId).collect();
    for batch in rest.chunks(256) {
        let mut vectors = Vec::new();
        stored
            .fetch(batch, &mut |id, vector| vectors.push((id, vector.to_vec())))
            .map_err(anyhow::Error::from_boxed)?;
        index.apply(vectors.iter().map(|(id, vector)| (*id, vector.as_slice())), &[])?;
    }
    row("insert the rest, 256 a batch", began.elapsed());
    if index.learning_is_due() {
        let began = Instant::now();
        index.learn(&|| false)?;
        row("learn anew, sketch all anew", began.elapsed());
    }

    let began = Instant::now();
    let sketches = directory.join("sketches");
    save(&index, &sketches)?;
    row("save the sketches", began.elapsed());
    let basis = index.basis().context("there is a basis")?;
    drop(index);

    std::fs::write(directory.join("basis"), postcard::to_stdvec(basis.as_ref())?)?;
    std::fs::write(
        directory.join("query"),
        queries[0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>(),
    )?;
    // In a process of its own: this one's allocator would fill holes that growing the library has left.
    let started = Command::new(std::env::current_exe()?).arg("--load").arg(directory).arg(&file).status()?;
    ensure!(started.success(), "loading failed: {started}");
    let index = load(&sketches, basis, vectors)?;

    for metric in [Metric::L2, Metric::Cosine] {
        search(&index, &stored, &queries, metric)?;
    }
    change(&index, &queries)?;
    if arguments.peer {
        let queries_file = directory.join("queries.f32");
        std::fs::write(
            &queries_file,
            queries.iter().flatten().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(),
        )?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/scale_peers.py");
        let done = Command::new("python3")
            .arg(script)
            .arg(&file)
            .arg(&queries_file)
            .arg(dim.to_string())
            .status()?;
        ensure!(done.success(), "the peers failed: {done}");
    }
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Does what a start does, and says how long it took and how much memory the index needs.
fn start(directory: &Path, file: &Path) -> anyhow::Result<()> {
    let before = resident_kb()?;
    let began = Instant::now();
    let basis: Basis = postcard::from_bytes(&std::fs::read(directory.join("basis"))?)?;
    let dim = basis.dim();
    let query: Vec<f32> = std::fs::read(directory.join("query"))?
        .as_chunks()
        .0
        .iter()
        .map(|x| f32::from_le_bytes(*x))
        .collect();
    let len = usize::try_from(std::fs::metadata(file)?.len())? / (dim * 4);
    let vectors = Arc::new(Stored { file: File::open(file)?, dim, len });
    let index = load(&directory.join("sketches"), Arc::new(basis), vectors)?;
    index.snapshot().nearest(&query, &Options::new(K, Metric::L2))?;
    row("start: load the sketches, first answer", began.elapsed());
    println!("{:44} {:>9.1} MB", "resident memory of the index", (resident_kb()? - before) as f64 / 1024.0);
    Ok(())
}

fn search(index: &Index, stored: &Stored, queries: &[Vec<f32>], metric: Metric) -> anyhow::Result<()> {
    let snapshot = index.snapshot();
    let is_meant = |id: &u64| id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / 10;
    let tenth: PhotoSet = (0..index.len() as u64).filter(is_meant).map(PhotoId).collect();
    let timed = |options: &Options<'_>,
                 queries: &[Vec<f32>]|
     -> anyhow::Result<(Vec<Vec<Neighbor>>, Vec<Duration>)> {
        let mut answers = Vec::new();
        let mut times = Vec::new();
        for query in queries {
            let began = Instant::now();
            answers.push(snapshot.nearest(query, options)?);
            times.push(began.elapsed());
        }
        times.sort();
        Ok((answers, times))
    };
    let mut options = Options::new(K, metric);
    timed(&options, &queries[..20])?;
    let (quick, times) = timed(&options, queries)?;
    options.filter = Some(&tenth);
    let (_, filtered) = timed(&options, queries)?;
    options.filter = None;
    options.exact = true;
    let (exact, exact_times) = timed(&options, queries)?;

    for (query, exact) in queries.iter().zip(&exact).take(CHECKED) {
        let all = stored.by_reading_all(query, metric)?;
        let close = |a: &Neighbor, b: &f64| (f64::from(a.distance) - b).abs() <= 1e-3 * b;
        ensure!(exact.iter().zip(&all).all(|(a, b)| close(a, b)), "exact is not: {exact:?} {all:?}");
    }
    let found: usize = quick
        .iter()
        .zip(&exact)
        .map(|(quick, exact)| exact.iter().filter(|n| quick.contains(n)).count())
        .sum();
    let half = queries.len() / 2;
    let recall = found as f64 / (K * queries.len()) as f64;
    println!("{:44} {recall:>12.4}", format!("{metric:?}: recall@{K}"));
    row(&format!("{metric:?}: query p50"), times[half]);
    row(&format!("{metric:?}: query, fastest tenth"), times[times.len() / 10]);
    row(&format!("{metric:?}: query p99"), times[queries.len() * 99 / 100]);
    row(&format!("{metric:?}: query p50, filter passes a tenth"), filtered[half]);
    row(&format!("{metric:?}: exact query p50"), exact_times[half]);
    Ok(())
}

fn change(index: &Index, queries: &[Vec<f32>]) -> anyhow::Result<()> {
    let mut inserts = Vec::new();
    let mut deletes = Vec::new();
    for (i, query) in (1u64 << 40..).zip(queries) {
        let began = Instant::now();
        index.apply([(PhotoId(i), query.as_slice())], &[])?;
        ensure!(index.snapshot().contains(PhotoId(i)));
        inserts.push(began.elapsed());
    }
    // Deleted from the middle of the library, where most photos are.
    for i in 0..queries.len() as u64 {
        let id = PhotoId(i * (index.len() as u64 / 2) / queries.len() as u64);
        let began = Instant::now();
        index.apply([], &[id])?;
        ensure!(!index.snapshot().contains(id));
        deletes.push(began.elapsed());
    }
    inserts.sort();
    deletes.sort();
    row("insert until searchable p50", inserts[inserts.len() / 2]);
    row("insert until searchable p99", inserts[inserts.len() * 99 / 100]);
    row("delete until gone p50", deletes[deletes.len() / 2]);
    row("delete until gone p99", deletes[deletes.len() * 99 / 100]);
    Ok(())
}

fn row(what: &str, time: Duration) {
    println!("{what:44} {:>9.3} ms", time.as_secs_f64() * 1e3);
}

/// Full vectors in a file, the one of photo `n` at row `n`.
struct Stored {
    file: File,
    dim: usize,
    len: usize,
}

impl Vectors for Stored {
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        let mut bytes = vec![0; self.dim * 4];
        let mut vector = vec![0f32; self.dim];
        for &id in ids.iter().filter(|id| id.0 < self.len as u64) {
            self.file.read_exact_at(&mut bytes, id.0 * 4 * self.dim as u64)?;
            for (x, bytes) in vector.iter_mut().zip(bytes.as_chunks().0) {
                *x = f32::from_le_bytes(*bytes);
            }
            visit(id, &vector);
        }
        Ok(())
    }
}

impl Stored {
    /// Returns the `K` least distances in double precision.
    fn by_reading_all(&self, query: &[f32], metric: Metric) -> anyhow::Result<Vec<f64>> {
        let ids: Vec<PhotoId> = (0..self.len as u64).map(PhotoId).collect();
        let own = query.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let mut all = Vec::with_capacity(ids.len());
        let mut visit = |_, vector: &[f32]| {
            let (mut squared, mut dot, mut length) = (0f64, 0f64, 0f64);
            for (&a, &b) in query.iter().zip(vector) {
                let (a, b) = (f64::from(a), f64::from(b));
                squared += (a - b) * (a - b);
                dot += a * b;
                length += b * b;
            }
            all.push(match metric {
                Metric::L2 => squared.sqrt(),
                Metric::Cosine => 1.0 - dot / (own * length.sqrt()),
            });
        };
        self.fetch(&ids, &mut visit).map_err(anyhow::Error::from_boxed)?;
        all.sort_by(f64::total_cmp);
        all.truncate(K);
        Ok(all)
    }
}

fn save(index: &Index, path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (id, sketch) in index.snapshot().sketches() {
        file.write_all(&id.0.to_le_bytes())?;
        file.write_all(&sketch.to_bytes())?;
    }
    Ok(file.flush()?)
}

fn load(path: &Path, basis: Arc<Basis>, vectors: Arc<dyn Vectors>) -> anyhow::Result<Index> {
    let mut file = std::io::BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut record = [0u8; 8 + Sketch::BYTES];
    Index::restore(vectors, basis, |add| {
        loop {
            match file.read_exact(&mut record) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let (id, sketch) = record.split_first_chunk().context("a record holds an id")?;
            add(PhotoId(u64::from_le_bytes(*id)), Sketch::from_bytes(sketch).context("a sketch")?);
        }
    })
}

fn resident_kb() -> anyhow::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel tells VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A seeded source of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// Writes a library of `size` vectors to `out`. Returns the queries, which are not in it, and the dimension.
fn grow(embeddings: &Path, out: &Path, size: usize) -> anyhow::Result<(Vec<Vec<f32>>, usize)> {
    let (mut real, dim) = read_npy(embeddings)?;
    ensure!(real.len() > 4 * QUERIES, "too few embeddings: {}", real.len());
    let mut random = Random(42);
    let least = real.iter().flatten().copied().fold(f32::INFINITY, f32::min);
    for place in (1..real.len()).rev() {
        real.swap(place, random.below(place + 1));
    }
    let queries = real.split_off(real.len() - QUERIES);

    let index = Index::new(dim);
    index.apply((0..).map(PhotoId).zip(real.iter().map(Vec::as_slice)), &[])?;
    let snapshot = index.snapshot();
    // Neighbors are looked up for some thousand real vectors, which then are the ones to grow from.
    let mut families = Vec::new();
    for place in (0..real.len()).step_by(real.len().div_ceil(4000)) {
        let near = snapshot.nearest(&real[place], &Options::new(11, Metric::L2))?;
        let near: Vec<usize> = near.iter().map(|n| n.id.0 as usize).filter(|&near| near != place).collect();
        families.push((place, near));
    }
    drop((index, snapshot));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    for number in 0..size {
        // Every real vector is there once; those that follow are grown.
        let grown: Vec<f32>;
        let vector = if number < real.len() {
            &real[number]
        } else {
            let (start, near) = &families[random.below(families.len())];
            let (from, others) = &families[random.below(families.len())];
            let toward = &real[near[random.below(near.len())]];
            let to = &real[others[random.below(others.len().min(5))]];
            let (share, scale) = (0.5 * random.unit(), 0.8 * random.unit());
            let along = real[*start].iter().zip(toward).map(|(x, toward)| x + share * (toward - x));
            let across = real[*from].iter().zip(to).map(|(from, to)| scale * (to - from));
            grown = along.zip(across).map(|(along, across)| (along + across).max(least)).collect();
            &grown
        };
        file.write_all(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    file.flush()?;
    Ok((queries, dim))
}

fn read_npy(path: &Path) -> anyhow::Result<(Vec<Vec<f32>>, usize)> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(bytes.starts_with(b"\x93NUMPY\x01\x00"), "{} is no .npy file of version 1.0", path.display());
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, data) = bytes[10..].split_at(header_len);
    let header = std::str::from_utf8(header)?;
    ensure!(
        header.contains("'<f4'") && header.contains("False"),
        "rows of f32 in C order are needed: {header}"
    );
    let shape = header.split(['(', ')']).nth(1).context("a shape")?;
    let dim: usize = shape.split(',').nth(1).context("two dimensions")?.trim().parse()?;
    let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    Ok((data.chunks_exact(dim * 4).map(|row| row.as_chunks().0.iter().map(number).collect()).collect(), dim))
}
