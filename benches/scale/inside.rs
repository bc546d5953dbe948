//! What one process does with the store, without a client between.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use resembled::photo::{Metric, PhotoId};
use resembled::search::{Code, Index, Options, Quantizer, Snapshot, Vectors, VectorsError};
use resembled::store::{ModelRecord, Store};

use crate::{K, found_of, percentile, row, store, time_row};

struct Stored {
    store: Arc<Store>,
    model: ModelRecord,
    /// Vectors read since it was last asked.
    read: AtomicUsize,
}

impl Vectors for Stored {
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        self.read.fetch_add(ids.len(), Ordering::Relaxed);
        Ok(self.store.read()?.embeddings(&self.model, ids, visit)?)
    }
}

pub(crate) fn measure(
    home: &Path,
    network: &store::Network,
    size: usize,
    queries: &[Vec<f32>],
) -> anyhow::Result<()> {
    let store = Arc::new(Store::open(&store::path(home))?);
    let model = store::record(&store, &store::model(network)?)?;
    let reader = store.read()?;
    let (version, quantizer) = reader.quantizer(&model)?.context("the daemon has trained a quantizer")?;
    let quantizer: Quantizer = postcard::from_bytes(&quantizer)?;
    let vectors =
        Arc::new(Stored { store: Arc::clone(&store), model: model.clone(), read: AtomicUsize::new(0) });
    let index = Index::restore(Arc::clone(&vectors) as Arc<dyn Vectors>, Arc::new(quantizer), |add| {
        reader.each_code(&model, version, |photo, bytes| {
            if let Some(code) = bytes.and_then(Code::from_bytes) {
                add(photo, code);
            }
        })
    })?;
    ensure!(index.len() == size, "{} codes of {size} photos", index.len());

    for metric in [Metric::L2, Metric::Cosine] {
        let snapshot = index.snapshot();
        let mut options = Options::new(K, metric);
        ask(&snapshot, queries, &options)?;
        vectors.read.store(0, Ordering::Relaxed);
        let (quick, mut times) = ask(&snapshot, queries, &options)?;
        let read = vectors.read.load(Ordering::Relaxed) as f64 / queries.len() as f64;
        row(&format!("{metric:?}: full vectors read a query"), size, read, "", [None; 3], false);
        time_row(
            &format!("{metric:?}: fastest tenth of the queries, in process"),
            size,
            percentile(&mut times, 0.1),
            [None; 3],
        );
        options.exact = true;
        let few = if size > 200_000 { &queries[..10] } else { queries };
        let (exact, mut exact_times) = ask(&snapshot, few, &options)?;
        let found: usize = exact.iter().zip(&quick).map(|(exact, quick)| found_of(exact, quick)).sum();
        let recall = found as f64 / (K * exact.len()) as f64;
        row(
            &format!("{metric:?}: recall@{K}, {} queries", exact.len()),
            size,
            recall,
            "",
            [Some(1.0), Some(0.998), Some(0.995)],
            true,
        );
        time_row(
            &format!("{metric:?}: query p50, in process"),
            size,
            percentile(&mut times, 0.5),
            [Some(0.5), Some(2.0), Some(10.0)],
        );
        time_row(
            &format!("{metric:?}: query p99, in process"),
            size,
            percentile(&mut times, 0.99),
            [None; 3],
        );
        time_row(
            &format!("{metric:?}: exact query p50, in process"),
            size,
            percentile(&mut exact_times, 0.5),
            [None; 3],
        );
    }
    change(&index, size, queries)
}

/// Returns the distances of the answers, and the times.
fn ask(
    snapshot: &Snapshot,
    queries: &[Vec<f32>],
    options: &Options<'_>,
) -> anyhow::Result<(Vec<Vec<f32>>, Vec<Duration>)> {
    let (mut answers, mut times) = (Vec::new(), Vec::new());
    for query in queries {
        let begun = Instant::now();
        let found = snapshot.nearest(query, options)?;
        times.push(begun.elapsed());
        answers.push(found.iter().map(|neighbor| neighbor.distance).collect());
    }
    Ok((answers, times))
}

fn change(index: &Index, size: usize, queries: &[Vec<f32>]) -> anyhow::Result<()> {
    let (mut inserts, mut deletes) = (Vec::new(), Vec::new());
    for (id, query) in (1u64 << 40..).map(PhotoId).zip(queries) {
        let begun = Instant::now();
        index.apply([(id, query.as_slice())], &[])?;
        ensure!(index.snapshot().contains(id));
        inserts.push(begun.elapsed());
    }
    let ids = index.snapshot().ids_after(None);
    // From the middle of the library, where most photos are.
    for id in ids.iter().step_by(size / queries.len()).take(queries.len()) {
        let begun = Instant::now();
        index.apply([], &[*id])?;
        ensure!(!index.snapshot().contains(*id));
        deletes.push(begun.elapsed());
    }
    time_row("insert until searchable p50", size, percentile(&mut inserts, 0.5), [Some(1.0); 3]);
    time_row("insert until searchable p99", size, percentile(&mut inserts, 0.99), [None; 3]);
    time_row("delete until gone p50", size, percentile(&mut deletes, 0.5), [Some(1.0); 3]);
    time_row("delete until gone p99", size, percentile(&mut deletes, 0.99), [None; 3]);
    Ok(())
}
