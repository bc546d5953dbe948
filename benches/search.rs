//! What the parts of a search cost: `cargo bench --bench search`. For whole libraries, see `scale.rs`.

use std::sync::{Arc, OnceLock};

use divan::Bencher;
use resembled::photo::{Metric, PhotoId};
use resembled::search::{Index, Options, PhotoSet, Vectors, VectorsError};

const DIM: usize = 1280;

fn main() {
    divan::main();
}

/// Vectors made up when they are asked for: clusters of a hundred, so that some are near.
struct MadeUp;

fn vector(id: u64) -> Vec<f32> {
    let mut vector = vec![0f32; DIM];
    for (seed, scale) in [(id / 100, 1.0), (id.wrapping_mul(0x9e37_79b9), 0.3)] {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for x in &mut vector {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *x += scale * (state >> 40) as f32 / (1u64 << 24) as f32;
        }
    }
    vector
}

impl Vectors for MadeUp {
    fn fetch(&self, ids: &[PhotoId], visit: &mut dyn FnMut(PhotoId, &[f32])) -> Result<(), VectorsError> {
        ids.iter().for_each(|&id| visit(id, &vector(id.0)));
        Ok(())
    }
}

fn filled(index: Index, photos: u64) -> Index {
    for start in (0..photos).step_by(1000) {
        let batch: Vec<_> = (start..photos.min(start + 1000)).map(|id| (PhotoId(id), vector(id))).collect();
        index
            .apply(batch.iter().map(|(id, vector)| (*id, vector.as_slice())), &[])
            .expect("the vectors are sound");
        if index.training_is_due() && index.quantizer().is_none() {
            index.train(&|| false).expect("the vectors are there");
        }
    }
    index
}

/// A library of codes, shared by the benches since it takes seconds to make.
fn coded() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| filled(Index::over(DIM, Arc::new(MadeUp)), 20_000))
}

#[divan::bench(args = [Metric::L2, Metric::Cosine])]
fn nearest_of_2000_whole(bencher: Bencher<'_, '_>, metric: Metric) {
    let index = filled(Index::new(DIM), 2000);
    let query = vector(1 << 40);
    bencher.bench(|| index.snapshot().nearest(&query, &Options::new(10, metric)));
}

#[divan::bench(args = [Metric::L2, Metric::Cosine])]
fn nearest_of_20_000_coded(bencher: Bencher<'_, '_>, metric: Metric) {
    let index = coded();
    let query = vector(1 << 40);
    bencher.bench(|| index.snapshot().nearest(&query, &Options::new(10, metric)));
}

#[divan::bench(args = [2, 10, 1000])]
fn nearest_of_20_000_coded_where_one_passes_in(bencher: Bencher<'_, '_>, share: u64) {
    let index = coded();
    let query = vector(1 << 40);
    let passing: PhotoSet = (0..20_000).step_by(share as usize).map(PhotoId).collect();
    let mut options = Options::new(10, Metric::L2);
    options.filter = Some(&passing);
    bencher.bench(|| index.snapshot().nearest(&query, &options));
}

#[divan::bench]
fn encoding_one_vector(bencher: Bencher<'_, '_>) {
    let quantizer = coded().quantizer().expect("it has been trained");
    let vector = vector(7);
    bencher.bench(|| quantizer.encode(&vector));
}

#[divan::bench]
fn inserting_and_deleting_one_photo(bencher: Bencher<'_, '_>) {
    let index = coded();
    let vector = vector(1 << 41);
    bencher.bench(|| {
        index.apply([(PhotoId(1 << 41), vector.as_slice())], &[]).expect("the vector is sound");
        index.apply([], &[PhotoId(1 << 41)]).expect("nothing to check");
    });
}
