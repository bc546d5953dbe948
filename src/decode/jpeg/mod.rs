//! JPEG, decoded no larger than needed.
//!
//! Written for this daemon, since it asks for something no library of ours gives: a picture of a camera has
//! twenty times the pixels that a network wants. At 1/4 or 1/8 of the size most coefficients do not matter,
//! so they are not decoded but skipped, several at a look; scans of a progressive file that only carry such
//! coefficients are not read at all. At full size the pixels are those of libjpeg.
//!
//! Sequential and progressive Huffman coding with 8 bits a sample is what cameras, phones and the web write.
//! Arithmetic, lossless and 12-bit files are refused as unsupported.

mod bits;
mod frame;
mod huffman;
mod idct;
mod markers;
mod output;
mod scan;

use std::time::Instant;

use super::info::Exif;
use super::{DecodeError, Decoded, Format, Limits, Need, pixels};
use crate::photo::Rgb;
use frame::Frame;
use markers::{Coding, END_OF_IMAGE, Header, START_OF_SCAN, ScanHeader, Segment};
use output::Pixels;
use scan::{ScanError, Tables};

/// More scans than any encoder writes; a hostile file could have thousands, each costing a pass.
const MAX_SCANS: usize = 200;

pub(super) fn decode(bytes: &[u8], need: Need, limits: &Limits) -> Result<Decoded, DecodeError> {
    let deadline = Instant::now() + limits.max_time;
    let header = Header::read(bytes).map_err(malformed)?;
    let (width, height) = (header.frame.width, header.frame.height);
    check_kind(&header)?;
    let eighths = scale(width.min(height), need);
    let mut frame = Frame::new(&header.frame, eighths as usize);
    limits.check_size(Format::Jpeg, width, height, frame.memory_bytes())?;

    frame.allocate();
    read_scans(bytes, &header, &mut frame, deadline).map_err(|error| match error {
        ScanError::Malformed(reason) => malformed(reason),
        ScanError::OutOfTime => DecodeError::TimedOut { limit_ms: limits.max_time.as_millis() as u64 },
    })?;
    frame.finish();

    let exif = header.exif.map(Exif::read).unwrap_or_default();
    let rgb = match output::join(&frame, &header) {
        Pixels::Grey(grey) => pixels::grey_to_rgb(&grey),
        Pixels::Rgb(rgb) => rgb,
        Pixels::Cmyk(cmyk) => pixels::cmyk_to_rgb(&cmyk),
    };
    let image = Rgb { width: frame.width as u32, height: frame.height as u32, pixels: rgb };
    let (width, height) = exif.orientation.upright_size(width, height);
    Ok(Decoded { image: exif.orientation.apply(image), info: exif.with_size(Format::Jpeg, width, height) })
}

fn malformed(reason: &'static str) -> DecodeError {
    DecodeError::malformed(Format::Jpeg, reason)
}

fn check_kind(header: &Header<'_>) -> Result<(), DecodeError> {
    let unsupported = |what: String| Err(DecodeError::Unsupported { what: format!("JPEG with {what}") });
    match header.frame.coding {
        Coding::Sequential | Coding::Progressive => {}
        Coding::Lossless => return unsupported("lossless coding".to_owned()),
        Coding::Hierarchical => return unsupported("hierarchical coding".to_owned()),
        Coding::Arithmetic => return unsupported("arithmetic coding".to_owned()),
    }
    match (header.frame.bits, header.frame.components.len()) {
        (8, 1 | 3 | 4) => Ok(()),
        (8, count) => unsupported(format!("{count} colour components")),
        (bits, _) => unsupported(format!("{bits} bits a sample")),
    }
}

/// Returns the smallest number of eighths that leaves the short side not below the need: 1 to 4, or all 8.
fn scale(short_side: u32, need: Need) -> u32 {
    (1..=4).find(|eighths| (short_side * eighths).div_ceil(8) >= need.short_side).unwrap_or(8)
}

/// Reads all scans up to the end of the picture.
fn read_scans(
    bytes: &[u8],
    header: &Header<'_>,
    frame: &mut Frame,
    deadline: Instant,
) -> Result<(), ScanError> {
    let mut tables = Tables::default();
    let mut is_seen = vec![false; frame.components.len()];
    let (mut lost, mut mcus, mut scans) = (0, 0, 0);
    let mut at = 2;
    loop {
        let Segment { marker, body, end } = markers::next_segment(bytes, at).map_err(ScanError::Malformed)?;
        at = end;
        match marker {
            END_OF_IMAGE => break,
            START_OF_SCAN => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(ScanError::Malformed("it has too many scans"));
                }
                let scan = ScanHeader::read(body, &header.frame).map_err(ScanError::Malformed)?;
                let is_needed =
                    |part: &markers::ScanPart| scan.first <= frame.components[part.component].last_needed();
                if header.frame.is_progressive && !scan.parts.iter().any(is_needed) {
                    at = markers::end_of_scan(bytes, at);
                    continue;
                }
                let outcome = scan::decode(bytes, at, &scan, frame, &mut tables, deadline)?;
                at = outcome.end;
                if scan.first == 0 && scan.high == 0 {
                    lost += outcome.lost;
                    mcus += outcome.mcus;
                    scan.parts.iter().for_each(|part| is_seen[part.component] = true);
                }
                // Nothing of use follows the last scan of a sequential file, not even its end marker.
                if !header.frame.is_progressive && is_seen.iter().all(|&seen| seen) {
                    break;
                }
            }
            _ => tables.set(marker, body).map_err(ScanError::Malformed)?,
        }
    }
    if !is_seen.iter().all(|&seen| seen) {
        return Err(ScanError::Malformed("a colour component is missing"));
    }
    if lost * 2 > mcus {
        return Err(ScanError::Malformed("most of the picture is damaged"));
    }
    Ok(())
}
