//! Any bytes, of any format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resembled_fuzz::decode::{Resampling, Square};

/// Of another side than the photo's own, so that most are scaled.
const SQUARE: Square =
    Square { resize_short_side: 32, side: 28, squash: false, resampling: Resampling::Bilinear };

fuzz_target!(|bytes: &[u8]| resembled_fuzz::check(bytes, SQUARE));
