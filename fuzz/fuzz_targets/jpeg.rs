//! JPEG at a scale that the first byte chooses, since each scale has code of its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resembled_fuzz::decode::Need;

fuzz_target!(|bytes: &[u8]| {
    let Some((&need, rest)) = bytes.split_first() else { return };
    let file = [b"\xff\xd8\xff", rest.strip_prefix(b"\xff\xd8\xff").unwrap_or(rest)].concat();
    resembled_fuzz::check(&file, if need == 0 { Need::full() } else { Need::short_side(need.into()) });
});
