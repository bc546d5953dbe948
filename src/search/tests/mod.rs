//! The room as a whole, attacked through its public door.

mod coded;
mod filters;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::photo::{Metric, PhotoId};

/// The definition of a distance, in double precision.
fn reference(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let sum =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| f(a.into(), b.into())).sum::<f64>();
    match metric {
        Metric::L2 => sum(&|a, b| (a - b) * (a - b)).sqrt() as f32,
        Metric::Cosine => {
            let (n, m) = (sum(&|a, _| a * a).sqrt(), sum(&|_, b| b * b).sqrt());
            if n * m == 0.0 { 1.0 } else { (1.0 - sum(&|a, b| a * b) / (n * m)) as f32 }
        }
    }
}

/// The definition of the answer, with no regard for speed.
fn by_sorting(
    photos: &BTreeMap<PhotoId, Vec<f32>>,
    options: &Options<'_>,
    distance: impl Fn(&[f32]) -> f32,
) -> Vec<PhotoId> {
    let mut all: Vec<Neighbor> = photos
        .iter()
        .map(|(&id, vector)| Neighbor { id, distance: distance(vector) })
        .filter(|n| options.max_distance.is_none_or(|max| n.distance <= max))
        .filter(|n| options.filter.is_none_or(|filter| filter.contains(n.id)))
        .collect();
    all.sort();
    all.truncate(options.k);
    all.into_iter().map(|n| n.id).collect()
}

/// The photos whose number is a multiple, beyond those that any test here has.
fn multiples(of: u64) -> PhotoSet {
    (0..10_000).step_by(of as usize).map(PhotoId).collect()
}

fn metric() -> impl Strategy<Value = Metric> {
    prop_oneof![Just(Metric::L2), Just(Metric::Cosine)]
}

/// Few distinct coordinates, so that ties and zero vectors are common.
fn vector() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-2i8..=2).prop_map(f32::from), 3)
}

/// Photos to insert and to remove, batch after batch.
type Batches = Vec<(Vec<(u64, Vec<f32>)>, Vec<u64>)>;

fn batches() -> impl Strategy<Value = Batches> {
    let batch =
        (prop::collection::vec((0u64..120, vector()), 0..40), prop::collection::vec(0u64..120, 0..20));
    prop::collection::vec(batch, 1..5)
}

/// Applies the batches, calling `committed` with what the photos are before each is applied.
fn apply_all(
    index: &Index,
    batches: &Batches,
    mut committed: impl FnMut(&BTreeMap<PhotoId, Vec<f32>>),
) -> BTreeMap<PhotoId, Vec<f32>> {
    let mut photos = BTreeMap::new();
    for (inserts, removes) in batches {
        let removes: Vec<PhotoId> = removes.iter().copied().map(PhotoId).collect();
        for id in &removes {
            photos.remove(id);
        }
        photos.extend(inserts.iter().map(|(id, v)| (PhotoId(*id), v.clone())));
        committed(&photos);
        index.apply(inserts.iter().map(|(id, v)| (PhotoId(*id), v.as_slice())), &removes).unwrap();
    }
    assert_eq!(index.len(), photos.len());
    photos
}

/// Returns the room's own distance, which decides what is a tie.
fn measured(query: &[f32], vector: &[f32], metric: Metric) -> f32 {
    let single = Index::new(query.len());
    single.apply([(PhotoId(0), vector)], &[]).unwrap();
    single.snapshot().nearest(query, &Options::new(1, metric)).unwrap()[0].distance
}

proptest! {
    #[test]
    fn answers_agree_with_sorting_everything(
        batches in batches(),
        query in vector(),
        k in 0usize..50,
        metric in metric(),
        max_distance in prop::option::of(0f32..3.0),
        modulus in prop::option::of(1u64..9),
    ) {
        let index = Index::new(3);
        let photos = apply_all(&index, &batches, |_| ());
        let filter = modulus.map(multiples);
        let mut options = Options::new(k, metric);
        options.max_distance = max_distance;
        options.filter = filter.as_ref();
        let found = index.snapshot().nearest(&query, &options).unwrap();

        let expected = by_sorting(&photos, &options, |vector| measured(&query, vector, metric));
        prop_assert_eq!(found.iter().map(|n| n.id).collect::<Vec<_>>(), expected);
        // What is a tie depends on rounding, so the order is that of the room's own distances; and those are right.
        for neighbor in &found {
            let expected = reference(metric, &query, &photos[&neighbor.id]);
            prop_assert!((neighbor.distance - expected).abs() <= 1e-3 * expected + 1e-6, "{neighbor:?} {expected}");
        }
    }

    #[test]
    fn a_snapshot_does_not_change(vectors in prop::collection::vec(vector(), 1..40), query in vector()) {
        let index = Index::new(3);
        index.apply((0..).map(PhotoId).zip(vectors.iter().map(Vec::as_slice)), &[]).unwrap();
        let snapshot = index.snapshot();
        let before = snapshot.nearest(&query, &Options::new(10, Metric::L2)).unwrap();
        let all: Vec<PhotoId> = (0..vectors.len() as u64).map(PhotoId).collect();
        index.apply([(PhotoId(7), query.as_slice())], &all).unwrap();
        prop_assert_eq!(snapshot.nearest(&query, &Options::new(10, Metric::L2)).unwrap(), before);
        prop_assert_eq!(index.len(), 1);
    }
}

/// Enough rows that several threads share the work.
fn large() -> (Index, Vec<f32>) {
    let dim = 64;
    let index = Index::new(dim);
    let vectors: Vec<Vec<f32>> =
        (0..20_000u64).map(|i| (0..dim as u64).map(|j| ((i * 31 + j * 17) % 101) as f32).collect()).collect();
    index.apply((0..).map(PhotoId).zip(vectors.iter().map(Vec::as_slice)), &[]).unwrap();
    (index, vectors[4242].clone())
}

#[test]
fn several_threads_break_ties_as_one_would() {
    let (index, query) = large();
    // The vectors repeat every 101 photos, so every distance is a tie of about 198.
    let found = index.snapshot().nearest(&query, &Options::new(300, Metric::L2)).unwrap();
    assert!(found.is_sorted());
    let same: Vec<u64> = found.iter().filter(|n| n.distance == 0.0).map(|n| n.id.0).collect();
    assert_eq!(same, (0..20_000).filter(|id| id % 101 == 4242 % 101).collect::<Vec<_>>());
}

#[test]
fn a_cancelled_search_stops_reading() {
    let (index, query) = large();
    let asked = AtomicUsize::new(0);
    let cancelled = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
    let mut options = Options::new(10, Metric::Cosine);
    options.cancelled = Some(&cancelled);
    let chunks = 20_000 * 64 * 4 / (256 << 10);
    assert!(matches!(index.snapshot().nearest(&query, &options), Err(SearchError::Cancelled)));
    assert!(asked.load(Ordering::Relaxed) < chunks, "it went on to the end");
}

#[test]
fn vectors_that_are_no_vectors_are_refused_and_change_nothing() {
    let index = Index::new(2);
    index.apply([(PhotoId(1), [1.0, 0.0].as_slice())], &[]).unwrap();
    let refused = |vector: &[f32]| {
        index.apply([(PhotoId(2), [0.0, 1.0].as_slice()), (PhotoId(3), vector)], &[PhotoId(1)])
    };
    assert!(matches!(refused(&[1.0]), Err(SearchError::WrongDimension { expected: 2, found: 1 })));
    assert!(matches!(refused(&[f32::NAN, 0.0]), Err(SearchError::EmbeddingNotFinite(PhotoId(3)))));
    assert!(matches!(refused(&[f32::INFINITY, 0.0]), Err(SearchError::EmbeddingNotFinite(PhotoId(3)))));
    assert_eq!(index.len(), 1);
    assert!(index.snapshot().contains(PhotoId(1)));

    let ask = |query: &[f32]| index.snapshot().nearest(query, &Options::new(1, Metric::L2));
    assert!(matches!(ask(&[1.0, 2.0, 3.0]), Err(SearchError::WrongDimension { expected: 2, found: 3 })));
    assert!(matches!(ask(&[1.0, f32::NAN]), Err(SearchError::QueryNotFinite)));
}

#[test]
fn huge_and_tiny_vectors_still_have_an_order() {
    let index = Index::new(2);
    let huge = 2f32.powi(49);
    let vectors = [[huge, 0.0], [-huge, 0.0], [1e-40, 0.0], [0.0, 0.0], [2.0, 0.0]];
    index.apply((0..).map(PhotoId).zip(vectors.iter().map(|v| v.as_slice())), &[]).unwrap();
    for metric in [Metric::L2, Metric::Cosine] {
        for query in vectors {
            let found = index.snapshot().nearest(&query, &Options::new(9, metric)).unwrap();
            assert_eq!(found.len(), 5, "{metric:?} {query:?} {found:?}");
            assert!(found.iter().all(|n| n.distance >= 0.0) && found.is_sorted());
        }
    }
    let found = index.snapshot().nearest(&[5.0, 0.0], &Options::new(5, Metric::Cosine)).unwrap();
    let distances: Vec<(u64, f32)> = found.iter().map(|n| (n.id.0, n.distance)).collect();
    assert_eq!(distances, [(0, 0.0), (4, 0.0), (2, 1.0), (3, 1.0), (1, 2.0)]);
}

#[test]
fn readers_go_on_while_a_writer_works() {
    let (index, query) = large();
    let stop = AtomicBool::new(false);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut id = 1_000_000;
            while !stop.load(Ordering::Relaxed) {
                // Each batch takes out what the last one put in, so the number never moves for a reader.
                index.apply([(PhotoId(id + 1), query.as_slice())], &[PhotoId(id)]).unwrap();
                id += 1;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..20 {
            let snapshot = index.snapshot();
            let extra = snapshot.len() - 20_000;
            let found = snapshot.nearest(&query, &Options::new(199 + extra, Metric::L2)).unwrap();
            assert_eq!(found.iter().filter(|n| n.id.0 >= 1_000_000).count(), usize::from(extra == 1));
        }
        while done.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
