//! A library grown out of real embeddings, an `.npy` file of `f32` rows in C order.
//!
//! A new vector is a real one, moved up to half the way to one of its ten nearest, plus up to 0.8 times the difference of
//! two others that are neighbors of each other; what falls below the least number of the file is set to it. Of several
//! ways tried, this is the one whose result looks like reality: 2,200 MobileNetV2 embeddings of photos grown to 22,238,
//! against 22,238 real ones, have the nearest, tenth, hundredth and thousandth neighbor of a query at 15.9, 16.8,
//! 18.6 and 21.7 (real: 16.2, 17.4, 19.2, 22.3), and 128 principal components find 0.967 of the ten nearest among 20
//! candidates (real: 0.971). The seed is fixed; the same file gives the same library.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use resembled::photo::{Metric, PhotoId};
use resembled::search::{Index, Options};

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

/// What is measured with.
pub(crate) struct Grown {
    /// Real vectors that are not in the library.
    pub(crate) queries: Vec<Vec<f32>>,
    pub(crate) dim: usize,
    /// How many vectors of the library are real.
    pub(crate) real: usize,
}

/// Writes a library of `size` vectors to `out`, as `f32` rows. Some real vectors are kept out of it as queries.
pub(crate) fn grow(embeddings: &Path, out: &Path, size: usize, asked: usize) -> anyhow::Result<Grown> {
    let (mut real, dim) = read_npy(embeddings)?;
    ensure!(real.len() > 4 * asked, "too few embeddings: {}", real.len());
    let mut random = Random(42);
    let least = real.iter().flatten().copied().fold(f32::INFINITY, f32::min);
    for place in (1..real.len()).rev() {
        real.swap(place, random.below(place + 1));
    }
    let queries = real.split_off(real.len() - asked);

    let index = Index::new(dim);
    index.apply((0..).map(PhotoId).zip(real.iter().map(Vec::as_slice)), &[])?;
    let snapshot = index.snapshot();
    // Neighbors are looked up for some thousand real vectors, which then are the ones to grow from.
    let mut families = Vec::new();
    let founders = if size > real.len() { real.len() } else { 0 };
    for place in (0..founders).step_by(real.len().div_ceil(4000)) {
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
    Ok(Grown { queries, dim, real: real.len().min(size) })
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
