//! Decodes and preprocesses one photo many times, for `benches/against_pillow.py` to measure.
//!
//!     decode_speed FILE TIMES SHORT_SIDE full|scaled|isolated
//!
//! `SHORT_SIDE` is what the network's resize makes of the short side. `full` reads every pixel, `scaled` as few as twice
//! that side needs, `isolated` does the same in a worker process, as the daemon does. Prints the size that was decoded
//! and the best wall time of decoding and of preprocessing in milliseconds.

use std::time::{Duration, Instant};

use anyhow::bail;
use resembled::decode::{self, Decoders, Limits, Need, Program};
use resembled::encode::preprocess::{Preprocessing, Preprocessor};

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
    };
    let need = match mode.as_str() {
        "full" => Need::full(),
        "scaled" | "isolated" => {
            Need::short_side(preprocessing.needed_short_side()).middle(preprocessing.needed_middle())
        }
        other => bail!("{other}: full, scaled or isolated"),
    };
    let mut preprocessor = Preprocessor::new(preprocessing)?;
    let decoders = Decoders::new(Program::this(), Limits::default());
    let bytes = std::fs::read(file)?;
    let (mut decode_best, mut preprocess_best, mut size) = (Duration::MAX, Duration::MAX, (0, 0));
    for _ in 0..times.parse()? {
        let begin = Instant::now();
        let decoded = match mode.as_str() {
            "isolated" => decoders.decode(&bytes, need)?,
            _ => decode::decode(&bytes, need, &Limits::default())?,
        };
        decode_best = decode_best.min(begin.elapsed());
        let begin = Instant::now();
        std::hint::black_box(preprocessor.run(&decoded.image)?);
        preprocess_best = preprocess_best.min(begin.elapsed());
        size = (decoded.image.width, decoded.image.height);
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{}x{} {:.2} {:.2}", size.0, size.1, ms(decode_best), ms(preprocess_best));
    Ok(())
}
