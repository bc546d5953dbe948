//! The decode room by itself, with what it makes of whole pictures. The other rooms would take many minutes to build with instrumentation, and nothing here
//! needs them. Of the package in `api/` it needs two files, and goes by that name for them.

#![allow(dead_code, reason = "other rooms use the rest")]

extern crate self as resembled_api;

#[path = "../../src/appearance/mod.rs"]
pub mod appearance;
#[path = "../../api/src/content.rs"]
pub mod content;
#[path = "../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../api/src/format.rs"]
pub mod format;
#[path = "../../src/photo.rs"]
pub mod photo;

use decode::{DecodeError, Limits, Square};

/// Limits that keep a fuzzer quick and let it see what breaks them.
pub fn limits() -> Limits {
    Limits {
        max_bytes: 1 << 20,
        max_pixels: 4_000_000,
        max_memory_bytes: 64 << 20,
        max_time: std::time::Duration::from_secs(5),
    }
}

/// Decodes as the daemon does, and checks what must hold of every answer. A caught panic is a finding.
pub fn check(bytes: &[u8], square: Square) {
    let need = square.need();
    match decode::decode(bytes, need, &limits()) {
        Ok(decoded) => {
            let image = &decoded.image;
            assert_eq!(image.pixels.len(), image.width as usize * image.height as usize * 3);
            assert!(image.width > 0 && image.height > 0);
            let full_short = decoded.info.width.min(decoded.info.height);
            assert!(
                image.width.min(image.height) >= need.short_side.min(full_short)
                    || decoded.info.format.is_raw()
            );
            square.cut_from(image).expect("what was decoded cannot be resized");
        }
        Err(DecodeError::Crashed { reason }) => panic!("a decoder panicked: {reason}"),
        Err(_) => {}
    }
}
