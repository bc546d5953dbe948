//! Any bytes, of any format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resembled_fuzz::decode::Need;

fuzz_target!(|bytes: &[u8]| resembled_fuzz::check(bytes, Need::short_side(64)));
