//! Decodes and preprocesses one photo many times, for `benches/against_pillow.py` to measure.
//!
//!     decode_speed FILE TIMES [full]
//!
//! Prints the size that was decoded and the best wall time of decode and of preprocessing in milliseconds.

use std::time::{Duration, Instant};

use resembled::decode::{self, Limits, Need};
use resembled::encode::preprocess::{Preprocessing, Preprocessor};

fn main() -> anyhow::Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [file, times, ..] = &given[..] else { anyhow::bail!("decode_speed FILE TIMES [full]") };
    let preprocessing = Preprocessing {
        resize_short_side: 256,
        crop: 224,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };
    let full = given.get(2).is_some_and(|mode| mode == "full");
    let need = if full { Need::full() } else { Need::short_side(preprocessing.needed_short_side()) };
    let mut preprocessor = Preprocessor::new(preprocessing)?;
    let bytes = std::fs::read(file)?;
    let (mut decode_best, mut preprocess_best, mut size) = (Duration::MAX, Duration::MAX, (0, 0));
    for _ in 0..times.parse()? {
        let begin = Instant::now();
        let decoded = decode::decode(&bytes, need, &Limits::default())?;
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
