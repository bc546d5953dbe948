//! Decodes and preprocesses one photo many times, for `benches/against_pillow.py` to measure.
//!
//!     decode_speed FILE TIMES SHORT_SIDE full|scaled|isolated
//!
//! `SHORT_SIDE` is what the network's resize makes of the short side. `full` reads every pixel, `scaled` as few as twice
//! that side needs, `isolated` does the same in a worker process, as the daemon does. Prints the size that is decoded
//! and the best wall time in milliseconds.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use resembled::decode::{self, Cancel, Decoders, Limits, Need, Program};
use resembled::encode::preprocess::preprocess;
use resembled::models::Preprocessing;

fn main() -> anyhow::Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    // What the worker processes are started with.
    if given == ["decode-worker"] {
        return Ok(decode::serve_worker()?);
    }
    let [file, times, short_side, mode] = &given[..] else {
        bail!("decode_speed FILE TIMES SHORT_SIDE full|scaled|isolated")
    };
    let resize_short_side = short_side.parse()?;
    let preprocessing = Preprocessing {
        resize_short_side,
        crop: resize_short_side * 7 / 8,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        squash: false,
        resampling: Default::default(),
    };
    let (square, limits) = (preprocessing.square(), Limits::default());
    let need = if mode == "full" { Need::full() } else { square.need() };
    let decoders = Decoders::new(Program::this(), limits);
    let bytes = std::fs::read(file)?;
    let size = decode::decode(&bytes, need, &limits)?.image;
    let mut best = Duration::MAX;
    for _ in 0..times.parse()? {
        let begin = Instant::now();
        let input = match mode.as_str() {
            "full" => preprocess(&decode::decode(&bytes, need, &limits)?.image, &preprocessing)?,
            "scaled" | "isolated" => {
                let squares = match mode.as_str() {
                    "scaled" => decode::decode_squares(&bytes, &[square], &limits)?,
                    _ => decoders.decode_squares(&bytes, &[square], &Cancel::default())?,
                };
                preprocessing.input(squares.images.first().context("no square")?)
            }
            other => bail!("{other}: full, scaled or isolated"),
        };
        std::hint::black_box(input);
        best = best.min(begin.elapsed());
    }
    println!("{}x{} {:.2}", size.width, size.height, best.as_secs_f64() * 1e3);
    Ok(())
}
