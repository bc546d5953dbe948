//! Any EXIF block, in a JPEG that is good otherwise: it must be indexed whatever the block says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resembled_fuzz::decode::{Need, decode};

/// An 8x8 grey JPEG after its first marker: a quantisation table, a frame, one Huffman table each of one code
/// for "nothing", and a scan that says "nothing" twice.
fn grey_jpeg_after_start() -> Vec<u8> {
    let mut file = b"\xff\xdb\0\x43\0".to_vec();
    file.extend([1; 64]);
    file.extend(b"\xff\xc0\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0");
    for class in [0x00, 0x10] {
        file.extend([0xff, 0xc4, 0, 20, class, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    file.extend(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\x3f\xff\xd9");
    file
}

fuzz_target!(|block: &[u8]| {
    let block = &block[..block.len().min(65_000)];
    let len = (block.len() as u16 + 8).to_be_bytes();
    let file = [b"\xff\xd8\xff\xe1", &len[..], b"Exif\0\0", block, &grey_jpeg_after_start()].concat();
    let decoded = decode(&file, Need::full(), &resembled_fuzz::limits()).expect("broken EXIF cost the photo");
    if let Some(position) = decoded.info.position {
        assert!(position.latitude.abs() <= 90.0 && position.longitude.abs() <= 180.0);
    }
});
