//! Libraries that are kept as codes, against the same libraries kept whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::*;

/// Full vectors in a map: what the store is to the room.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<PhotoId, Vec<f32>>>);

impl Kept {
    fn set(&self, photos: &BTreeMap<PhotoId, Vec<f32>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = photos.clone();
    }
}

impl Vectors for Kept {
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        assert!(ids.is_sorted());
        let kept = self.0.lock().map_err(|_| "poisoned")?;
        ids.iter()
            .filter_map(|id| kept.get(id).map(|vector| (*id, vector)))
            .for_each(|(id, vector)| visit(id, vector));
        Ok(())
    }
}

struct Broken;

impl Vectors for Broken {
    fn fetch(&self, _: &[PhotoId], _: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        Err("the disk is gone".into())
    }
}

fn never() -> bool {
    false
}

fn restored(
    vectors: Arc<dyn Vectors>,
    quantizer: &Arc<Quantizer>,
    codes: impl IntoIterator<Item = (PhotoId, Code)>,
) -> Index {
    let hand_over = |add: &mut dyn FnMut(PhotoId, Code)| -> Result<(), SearchError> {
        codes.into_iter().for_each(|(id, code)| add(id, code));
        Ok(())
    };
    Index::restore(vectors, Arc::clone(quantizer), hand_over).unwrap()
}

/// Vectors like embeddings: clusters within clusters, most of the variance along few axes, nothing below zero.
fn library(photos: u64, dim: usize) -> BTreeMap<PhotoId, Vec<f32>> {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f32 / (1u64 << 30) as f32) - 1.0
    };
    let axes: Vec<Vec<f32>> = (0..24).map(|_| (0..dim).map(|_| random()).collect()).collect();
    let scenes: Vec<Vec<f32>> =
        (0..60).map(|_| (0..24).map(|i| random() * 6.0 / (1.0 + i as f32 / 4.0)).collect()).collect();
    (0..photos)
        .map(|id| {
            let scene = &scenes[(id % 60) as usize];
            let mut vector: Vec<f32> = (0..dim).map(|_| 2.0 + random() * 0.8).collect();
            for (axis, along) in axes.iter().zip(scene) {
                let along = along + random() * 0.7;
                vector.iter_mut().zip(axis).for_each(|(x, axis)| *x += along * axis);
            }
            vector.iter_mut().for_each(|x| *x = x.max(0.0));
            (PhotoId(id), vector)
        })
        .collect()
}

/// The same photos in two indexes: as codes, and whole.
fn both(photos: &BTreeMap<PhotoId, Vec<f32>>, dim: usize) -> (Index, Index, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    kept.set(photos);
    let (coded, whole) = (Index::over(dim, Arc::clone(&kept) as Arc<dyn Vectors>), Index::new(dim));
    for index in [&coded, &whole] {
        index.apply(photos.iter().map(|(id, vector)| (*id, vector.as_slice())), &[]).unwrap();
    }
    coded.train(&never).unwrap().expect("there are vectors to learn from");
    (coded, whole, kept)
}

proptest! {
    #[test]
    fn exact_answers_from_codes_agree_with_sorting_everything(
        batches in batches(),
        train_before in 0usize..5,
        query in vector(),
        k in 0usize..50,
        metric in metric(),
        max_distance in prop::option::of(0f32..3.0),
        modulus in prop::option::of(1u64..9),
    ) {
        let kept = Arc::new(Kept::default());
        let index = Index::over(3, Arc::clone(&kept) as Arc<dyn Vectors>);
        let mut batch = 0;
        let photos = apply_all(&index, &batches, |photos| {
            // Trained on nothing, from half of it, and from all of it but the last batch.
            if batch == train_before {
                index.train(&never).unwrap();
            }
            batch += 1;
            kept.set(photos);
        });
        let filter = modulus.map(multiples);
        let mut options = Options::new(k, metric);
        options.exact = true;
        options.max_distance = max_distance;
        options.filter = filter.as_ref();
        let expected = by_sorting(&photos, &options, |vector| measured(&query, vector, metric));
        let ids = |found: Vec<Neighbor>| found.iter().map(|n| n.id).collect::<Vec<_>>();
        prop_assert_eq!(&ids(index.snapshot().nearest(&query, &options).unwrap()), &expected);
        prop_assert_eq!(&ids(index.snapshot().within(&query, &options).unwrap()), &expected);
        // So small a library is compared as a whole in either way.
        options.exact = false;
        prop_assert_eq!(&ids(index.snapshot().nearest(&query, &options).unwrap()), &expected);
    }
}

#[test]
fn ten_thousand_codes_find_what_ten_thousand_vectors_find() {
    let photos = library(10_000, 160);
    let (coded, whole, _) = both(&photos, 160);
    let (coded, whole) = (coded.snapshot(), whole.snapshot());
    for metric in [Metric::L2, Metric::Cosine] {
        let mut options = Options::new(10, metric);
        let mut found = 0;
        let queries: Vec<_> = photos.values().step_by(199).collect();
        for query in &queries {
            let expected = whole.nearest(query, &options).unwrap();
            let quick = coded.nearest(query, &options).unwrap();
            found += expected.iter().filter(|n| quick.contains(n)).count();
            options.exact = true;
            assert_eq!(coded.nearest(query, &options).unwrap(), expected, "{metric:?}");
            options.exact = false;
        }
        let recall = found as f64 / (10 * queries.len()) as f64;
        assert!(recall >= 0.998, "{metric:?}: recall@10 is {recall}");
    }
}

#[test]
fn everything_within_a_distance_is_found_from_codes() {
    let photos = library(3000, 160);
    let (coded, whole, _) = both(&photos, 160);
    for (metric, share) in [(Metric::L2, 40), (Metric::L2, 900), (Metric::Cosine, 40), (Metric::Cosine, 900)]
    {
        for query in photos.values().step_by(501) {
            let mut options = Options::new(usize::MAX, metric);
            // At the distance of a photo exactly, so that the bound itself is tried.
            let all = whole.snapshot().nearest(query, &options).unwrap();
            options.max_distance = Some(all[share].distance);
            let expected: Vec<_> =
                all.iter().copied().filter(|n| n.distance <= all[share].distance).collect();
            assert_eq!(coded.snapshot().within(query, &options).unwrap(), expected);
        }
    }
}

#[test]
fn a_filter_costs_no_results() {
    let photos = library(5000, 160);
    let (coded, whole, _) = both(&photos, 160);
    for modulus in [2u64, 50, 450] {
        let filter = multiples(modulus);
        let mut options = Options::new(10, Metric::Cosine);
        options.filter = Some(&filter);
        for query in photos.values().step_by(1009) {
            let expected = whole.snapshot().nearest(query, &options).unwrap();
            assert_eq!(expected.len(), 10);
            assert_eq!(coded.snapshot().nearest(query, &options).unwrap(), expected);
        }
    }
}

#[test]
fn what_is_written_while_a_quantizer_is_trained_is_not_lost() {
    /// Writes to the index as soon as the training reads its vectors.
    struct Meddling {
        kept: Kept,
        index: Mutex<Option<Arc<Index>>>,
    }
    impl Vectors for Meddling {
        fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
            let index = self.index.lock().map_err(|_| "poisoned")?.take();
            if let Some(index) = index {
                let new = vec![1.0; 8];
                let mut kept = self.kept.0.lock().map_err(|_| "poisoned")?;
                kept.insert(PhotoId(7777), new.clone());
                kept.insert(PhotoId(3), new.clone());
                kept.remove(&PhotoId(5));
                let inserts = [(PhotoId(7777), new.as_slice()), (PhotoId(3), new.as_slice())];
                index.apply(inserts, &[PhotoId(5)])?;
            }
            self.kept.fetch(ids, visit)
        }
    }
    let photos = library(600, 8);
    let meddling = Arc::new(Meddling { kept: Kept::default(), index: Mutex::default() });
    meddling.kept.set(&photos);
    let index = Arc::new(Index::over(8, Arc::clone(&meddling) as Arc<dyn Vectors>));
    index.apply(photos.iter().map(|(id, vector)| (*id, vector.as_slice())), &[]).unwrap();
    // The first quantizer is trained from memory; only the second reads through `Meddling`.
    index.train(&never).unwrap();
    *meddling.index.lock().unwrap() = Some(Arc::clone(&index));
    index.train(&never).unwrap();

    let snapshot = index.snapshot();
    assert_eq!(snapshot.len(), 600);
    assert!(snapshot.contains(PhotoId(7777)) && !snapshot.contains(PhotoId(5)));
    let found = snapshot.nearest(&[1.0; 8], &Options::new(2, Metric::L2)).unwrap();
    assert_eq!(found.iter().map(|n| (n.id.0, n.distance)).collect::<Vec<_>>(), [(3, 0.0), (7777, 0.0)]);
    let quantizer = snapshot.quantizer().unwrap();
    let kept = meddling.kept.0.lock().unwrap();
    for (id, code) in snapshot.codes() {
        assert_eq!(code, quantizer.encode(&kept[&id]), "{id:?}");
    }
}

#[test]
fn an_index_restored_from_its_codes_gives_the_same_answers() {
    let photos = library(3000, 40);
    let (coded, _, kept) = both(&photos, 40);
    let before = coded.snapshot();
    let bytes: Vec<_> = before.codes().map(|(id, code)| (id, code.to_bytes())).collect();
    let codes = bytes.iter().map(|(id, bytes)| (*id, Code::from_bytes(bytes).unwrap()));
    let restored = restored(kept, before.quantizer().unwrap(), codes);
    assert_eq!(restored.len(), 3000);
    for query in photos.values().step_by(301) {
        let options = Options::new(20, Metric::L2);
        assert_eq!(
            restored.snapshot().nearest(query, &options).unwrap(),
            before.nearest(query, &options).unwrap()
        );
    }
}

#[test]
fn recall_is_measured_against_the_exact_answer() {
    let photos = library(3000, 160);
    let (coded, _, kept) = both(&photos, 160);
    let recall = coded.snapshot().sample_recall(10, Metric::Cosine, 20, 3, &never).unwrap();
    assert_eq!((recall.k, recall.queries), (10, 20));
    assert!(recall.share > 0.99, "{recall:?}");

    // Codes of other vectors than those kept: recall must say so.
    let quantizer = Arc::clone(coded.snapshot().quantizer().unwrap());
    let ids: Vec<PhotoId> = photos.keys().copied().collect();
    let wrong = ids.iter().map(|id| (*id, quantizer.encode(&photos[&PhotoId((id.0 * 17 + 5) % 3000)])));
    let wrong = restored(kept, &quantizer, wrong);
    assert_eq!(wrong.recall(), None);
    let recall = wrong.measure_recall(10, Metric::L2, 20, 0, &never).unwrap();
    assert!(recall.share < 0.5, "{recall:?}");
    assert_eq!(wrong.recall(), Some(recall));
}

#[test]
fn training_is_due_when_the_library_has_outgrown_memory_or_its_quantizer() {
    let photos = library(2000, 4);
    let kept = Arc::new(Kept::default());
    let index = Index::over(4, kept as Arc<dyn Vectors>);
    index.apply(photos.iter().map(|(id, vector)| (*id, vector.as_slice())), &[]).unwrap();
    assert!(!index.training_is_due());
    index.apply([(PhotoId(9999), [0.0; 4].as_slice())], &[]).unwrap();
    assert!(index.training_is_due());
    index.train(&never).unwrap();
    assert!(!index.training_is_due());
    let more: Vec<u64> = (10_000..28_010).collect();
    index.apply(more.iter().map(|&id| (PhotoId(id), [1.0; 4].as_slice())), &[]).unwrap();
    assert!(index.training_is_due());
    assert!(!Index::new(4).training_is_due());
    assert!(Index::new(4).train(&never).unwrap().is_none());
}

#[test]
fn vectors_that_cannot_be_read_fail_the_query_and_nothing_else() {
    let photos = library(300, 8);
    let (coded, _, _) = both(&photos, 8);
    let quantizer = Arc::clone(coded.snapshot().quantizer().unwrap());
    let broken = restored(Arc::new(Broken), &quantizer, coded.snapshot().codes());
    let asked = broken.snapshot().nearest(&photos[&PhotoId(1)], &Options::new(3, Metric::L2));
    assert!(matches!(asked, Err(SearchError::Vectors(_))));
    assert!(matches!(broken.train(&never), Err(SearchError::Vectors(_))));
    assert!(matches!(coded.train(&|| true), Err(SearchError::Cancelled)));
    assert_eq!((broken.len(), coded.len()), (300, 300));
    // A training that failed leaves nothing behind to hold up the next one.
    assert!(coded.train(&never).unwrap().is_some());
}

#[test]
fn all_pairs_within_a_distance_are_found_whoever_came_first() {
    let mut photos = library(400, 140);
    // Without a direction, which is at cosine distance 1 from everything.
    photos.insert(PhotoId(150), vec![0.0; 140]);
    let (coded, whole, _) = both(&photos, 140);
    for metric in [Metric::L2, Metric::Cosine] {
        // So that a photo has a handful of others within it.
        let limit =
            whole.snapshot().nearest(&photos[&PhotoId(9)], &Options::new(6, metric)).unwrap()[5].distance;
        let mut expected = Vec::new();
        for (&first, a) in &photos {
            let later = photos.range(first..).skip(1).map(|(&second, b)| (second, measured(a, b, metric)));
            expected.extend(later.filter(|(_, d)| *d <= limit).map(|(second, distance)| Pair {
                first,
                second,
                distance,
            }));
        }
        assert!(expected.len() > 100 && expected.len() < 100_000, "{} pairs say little", expected.len());
        for index in [&coded, &whole] {
            let snapshot = index.snapshot();
            // All at once, and in three batches that are not in the order of the photos' numbers.
            for batches in [[0..400u64, 400..400, 400..400], [200..400, 0..100, 100..200]] {
                let (mut found, mut known) = (Vec::new(), PhotoSet::default());
                for batch in batches {
                    let new: PhotoSet = batch.map(PhotoId).collect();
                    found.extend(snapshot.pairs_of(&new, &known, limit, metric, &never).unwrap());
                    new.iter().for_each(|id| _ = known.insert(id));
                }
                found.sort_by_key(|pair| (pair.first, pair.second));
                assert_eq!(found, expected, "{metric:?}");
            }
        }
    }
}

#[test]
fn of_very_many_near_photos_only_the_nearest_are_paired() {
    let photos: BTreeMap<PhotoId, Vec<f32>> =
        (0..600).map(|id| (PhotoId(id), vec![1.0, id as f32 * 1e-3])).collect();
    let (coded, ..) = both(&photos, 2);
    let all: PhotoSet = photos.keys().copied().collect();
    let pairs = coded.snapshot().pairs_of(&all, &PhotoSet::default(), 10.0, Metric::L2, &never).unwrap();
    let of_last: Vec<u64> = pairs.iter().filter(|p| p.second == PhotoId(599)).map(|p| p.first.0).collect();
    assert_eq!(of_last, (599 - MOST_A_PHOTO as u64..599).collect::<Vec<_>>());
}
