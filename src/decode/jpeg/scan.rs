//! One scan of a JPEG: entropy-coded bytes -> coefficients or samples.
//!
//! Damage stays where it is: a segment (all bytes up to the next restart marker) ends at the first bits that
//! make no sense, and what it did not fill keeps its grey. How much that was is counted, for the caller to
//! judge. The end of the file in the middle of a scan is another matter: such a file is not complete.

use std::ops::Range;
use std::time::Instant;

use super::bits::{Bits, extend, unstuff};
use super::frame::{Component, Frame};
use super::huffman::Table;
use super::idct::NATURAL;
use super::markers::ScanHeader;
use super::progressive;

/// The tables that DHT, DQT and DRI segments have set so far.
#[derive(Default)]
pub(super) struct Tables {
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Table>; 4],
    pub quantisation: [Option<[u16; 64]>; 4],
    /// MCUs between restart markers; 0 for none.
    pub restart_interval: usize,
}

/// Why a scan was given up.
#[derive(Debug, PartialEq)]
pub(super) enum ScanError {
    Malformed(&'static str),
    OutOfTime,
}

/// How a scan went.
pub(super) struct Outcome {
    /// Where the next marker is.
    pub end: usize,
    /// MCUs that were lost to damage, of [`Self::mcus`].
    pub lost: usize,
    pub mcus: usize,
}

/// Decodes the scan whose entropy-coded bytes begin at `at`.
pub(super) fn decode(
    bytes: &[u8],
    mut at: usize,
    scan: &ScanHeader,
    frame: &mut Frame,
    tables: &mut Tables,
    deadline: Instant,
) -> Result<Outcome, ScanError> {
    prepare(scan, frame, tables)?;
    let (wide, high) = match scan.parts[..] {
        // A scan of one component has no MCUs; its blocks come row by row.
        [ref only] => {
            let component = &frame.components[only.component];
            (component.blocks_wide, component.blocks_high)
        }
        _ => (frame.mcus_wide, frame.mcus_high),
    };
    let mcus = wide * high;
    let interval = if tables.restart_interval == 0 { mcus } else { tables.restart_interval };
    let mut clean = Vec::new();
    let (mut done, mut lost) = (0, 0);
    while done < mcus {
        let end = unstuff(bytes, at, &mut clean);
        let count = interval.min(mcus - done);
        let segment = Segment { bits: Bits::new(&clean), places: done..done + count, wide, deadline };
        let good = if frame.is_progressive {
            progressive::decode_segment(segment, scan, frame, tables)?
        } else {
            decode_segment(segment, scan, frame, tables)?
        };
        if good < count && end == bytes.len() {
            return Err(ScanError::Malformed("the file ends too early"));
        }
        lost += count - good;
        done += count;
        at = end;
        // A restart marker belongs to the scan; any other ends it.
        if done < mcus {
            match bytes.get(end + 1) {
                Some(0xd0..=0xd7) => at = end + 2,
                _ => {
                    lost += mcus - done;
                    break;
                }
            }
        }
    }
    Ok(Outcome { end: at, lost, mcus })
}

/// The bits up to the next restart marker, and the MCUs they hold.
pub(super) struct Segment<'a> {
    pub bits: Bits<'a>,
    /// Numbers of the MCUs, row by row.
    pub places: Range<usize>,
    /// MCUs in a row.
    pub wide: usize,
    pub deadline: Instant,
}

impl Segment<'_> {
    /// Looks at the clock at the start of each row.
    pub(super) fn check_time(&self, place: usize) -> Result<(), ScanError> {
        if place.is_multiple_of(self.wide) && Instant::now() > self.deadline {
            return Err(ScanError::OutOfTime);
        }
        Ok(())
    }
}

/// Checks that all tables are there and notes each component's quantisation.
fn prepare(scan: &ScanHeader, frame: &mut Frame, tables: &mut Tables) -> Result<(), ScanError> {
    for part in &scan.parts {
        let component = &mut frame.components[part.component];
        if component.factors.is_none() {
            let factors = tables.quantisation[component.quantisation];
            component.factors = Some(factors.ok_or(ScanError::Malformed("a quantisation table is missing"))?);
        }
        let needs_dc = !frame.is_progressive || (scan.first == 0 && scan.high == 0);
        let needs_ac = !frame.is_progressive || scan.first > 0;
        if (needs_dc && tables.dc[part.dc].is_none()) || (needs_ac && tables.ac[part.ac].is_none()) {
            return Err(ScanError::Malformed("a Huffman table is missing"));
        }
        if let Some(table) = &mut tables.ac[part.ac]
            && !frame.is_progressive
            && component.last_needed < 63
        {
            table.prepare_skips();
        }
    }
    Ok(())
}

/// Decodes a segment of a sequential scan and writes its samples. Returns how many MCUs were good.
fn decode_segment(
    mut segment: Segment<'_>,
    scan: &ScanHeader,
    frame: &mut Frame,
    tables: &Tables,
) -> Result<usize, ScanError> {
    let is_single = scan.parts.len() == 1;
    let mut last_dc = [0; 4];
    let mut good = 0;
    for place in segment.places.clone() {
        segment.check_time(place)?;
        let (column, row) = (place % segment.wide, place / segment.wide);
        for (part, last_dc) in scan.parts.iter().zip(&mut last_dc) {
            let (Some(dc), Some(ac)) = (&tables.dc[part.dc], &tables.ac[part.ac]) else {
                return Ok(good); // checked by `prepare`
            };
            let component = &mut frame.components[part.component];
            let (h, v) = if is_single { (1, 1) } else { (component.h, component.v) };
            for y in 0..v {
                for x in 0..h {
                    let block_place = (column * h + x, row * v + y);
                    if decode_block(component, dc, ac, &mut segment.bits, last_dc, block_place).is_none() {
                        return Ok(good);
                    }
                }
            }
        }
        if segment.bits.is_overrun() {
            break;
        }
        good += 1;
    }
    Ok(good)
}

/// Reads one whole block and writes its samples; `None` where the bits make no sense.
#[inline(always)]
fn decode_block(
    component: &mut Component,
    dc: &Table,
    ac: &Table,
    bits: &mut Bits<'_>,
    last_dc: &mut i32,
    place: (usize, usize),
) -> Option<()> {
    let factors = component.factors.as_ref()?;
    *last_dc = last_dc.wrapping_add(read_dc(dc, bits)?);
    let mut block = [0; 64];
    block[0] = last_dc.wrapping_mul(i32::from(factors[0]));
    let mut is_flat = true;
    let last = component.last_needed;
    let stop = ac.coefficients(bits, 1, last, |k, value| {
        block[NATURAL[k]] = value * i32::from(factors[k]);
        is_flat = false;
    })?;
    if last < 63 {
        ac.skip(bits, stop)?;
    }
    component.write(&block, is_flat, place);
    Some(())
}

/// Reads the difference of a DC value to that of the block before.
#[inline(always)]
pub(super) fn read_dc(table: &Table, bits: &mut Bits<'_>) -> Option<i32> {
    bits.refill();
    let size = table.symbol(bits)?;
    (size <= 15).then(|| extend(bits.take(size), size))
}
