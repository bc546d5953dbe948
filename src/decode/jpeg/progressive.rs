//! Progressive scans: each brings some bits of some coefficients of every block.

use super::bits::{Bits, extend};
use super::frame::Frame;
use super::huffman::Table;
use super::markers::ScanHeader;
use super::scan::{ScanError, Segment, Tables, read_dc};

/// Decodes a segment of a progressive scan into the coefficients. Returns how many MCUs were good.
pub(super) fn decode_segment(
    mut segment: Segment<'_>,
    scan: &ScanHeader,
    frame: &mut Frame,
    tables: &Tables,
) -> Result<usize, ScanError> {
    let mut last_dc = [0; 4];
    let mut run_left = 0;
    let mut good = 0;
    for place in segment.places.clone() {
        segment.check_time(place)?;
        let at = (place % segment.wide, place / segment.wide);
        let decoded = if scan.first == 0 {
            decode_dc(&mut segment.bits, scan, frame, tables, &mut last_dc, at)
        } else {
            decode_ac(&mut segment.bits, scan, frame, tables, &mut run_left, at)
        };
        if decoded.is_none() || segment.bits.is_overrun() {
            break;
        }
        good += 1;
    }
    Ok(good)
}

/// Reads the DC values of one MCU, or one more bit of them.
#[inline(always)]
fn decode_dc(
    bits: &mut Bits<'_>,
    scan: &ScanHeader,
    frame: &mut Frame,
    tables: &Tables,
    last_dc: &mut [i32; 4],
    (column, row): (usize, usize),
) -> Option<()> {
    for (part, last_dc) in scan.parts.iter().zip(last_dc) {
        let component = &mut frame.components[part.component];
        let (h, v) = if scan.parts.len() == 1 { (1, 1) } else { (component.h, component.v) };
        for place in 0..h * v {
            let block = component.coefficients_of(column * h + place % h, row * v + place / h)?;
            if scan.high == 0 {
                *last_dc = last_dc.wrapping_add(read_dc(tables.dc[part.dc].as_ref()?, bits)?);
                block[0] = (*last_dc << scan.low) as i16;
            } else if bits.bit() {
                block[0] |= 1 << scan.low;
            }
        }
    }
    Some(())
}

/// Reads a band of one block. Such scans have one component.
#[inline(always)]
fn decode_ac(
    bits: &mut Bits<'_>,
    scan: &ScanHeader,
    frame: &mut Frame,
    tables: &Tables,
    run_left: &mut u32,
    (column, row): (usize, usize),
) -> Option<()> {
    let part = scan.parts.first()?;
    let table = tables.ac[part.ac].as_ref()?;
    let block = frame.components[part.component].coefficients_of(column, row)?;
    if scan.high == 0 {
        first_ac(scan, table, bits, run_left, block)
    } else {
        refine_ac(scan, table, bits, run_left, block)
    }
}

/// The first scan of a band: as in a sequential file, but runs of empty blocks are counted.
#[inline(always)]
fn first_ac(
    scan: &ScanHeader,
    table: &Table,
    bits: &mut Bits<'_>,
    run_left: &mut u32,
    coefficients: &mut [i16; 64],
) -> Option<()> {
    if *run_left > 0 {
        *run_left -= 1;
        return Some(());
    }
    let mut k = scan.first;
    while k <= scan.last {
        bits.refill();
        let symbol = table.symbol(bits)?;
        let (run, size) = ((symbol >> 4) as usize, symbol & 15);
        if size == 0 {
            if run < 15 {
                *run_left = (1 << run) - 1 + bits.take(run as u32) as u32;
                break;
            }
            k += 16;
            continue;
        }
        k += run;
        let value = extend(bits.take(size), size);
        if k <= scan.last {
            coefficients[k] = (value << scan.low) as i16;
        }
        k += 1;
    }
    Some(())
}

/// A later scan of a band: one more bit for the coefficients that are there, and some new ones.
#[inline(always)]
fn refine_ac(
    scan: &ScanHeader,
    table: &Table,
    bits: &mut Bits<'_>,
    run_left: &mut u32,
    coefficients: &mut [i16; 64],
) -> Option<()> {
    let step = 1i16 << scan.low;
    let refine = |bits: &mut Bits<'_>, coefficient: &mut i16| {
        if bits.bit() && *coefficient & step == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient >= 0 { step } else { -step });
        }
    };
    let mut k = scan.first;
    if *run_left == 0 {
        while k <= scan.last {
            bits.refill();
            let symbol = table.symbol(bits)?;
            let (mut run, size) = (symbol >> 4, symbol & 15);
            let mut new = 0;
            if size > 0 {
                new = if bits.bit() { step } else { -step };
            } else if run < 15 {
                *run_left = (1 << run) + bits.take(run) as u32;
                break;
            }
            // The run counts coefficients that are still 0; the others on the way are refined.
            while k <= scan.last {
                if coefficients[k] != 0 {
                    refine(bits, &mut coefficients[k]);
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if new != 0 && k <= scan.last {
                coefficients[k] = new;
            }
            k += 1;
        }
    }
    if *run_left > 0 {
        for coefficient in &mut coefficients[k..=scan.last] {
            if *coefficient != 0 {
                refine(bits, coefficient);
            }
        }
        *run_left -= 1;
    }
    Some(())
}
