//! One scan of a JPEG: entropy-coded bytes -> coefficients or samples.
//!
//! Damage stays where it is: a segment (all bytes up to the next restart marker) ends at the first bits that
//! make no sense, and what it did not fill keeps its grey. How much that was is counted, for the caller to
//! judge. The end of the file in the middle of a scan is another matter: such a file is not complete.

use std::time::Instant;

use super::bits::{Bits, extend, unstuff};
use super::frame::{Component, Frame};
use super::huffman::Table;
use super::idct::NATURAL;
use super::markers::ScanHeader;

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

/// What one segment carries from block to block.
#[derive(Default)]
struct Carry {
    /// The last DC value of each component of the scan.
    dc: [i32; 4],
    /// Blocks still to come without new coefficients (progressive).
    end_of_band_run: u32,
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
        let mut bits = Bits::new(&clean);
        let mut carry = Carry::default();
        let count = interval.min(mcus - done);
        let mut good = 0;
        while good < count {
            let place = done + good;
            if place % wide == 0 && Instant::now() > deadline {
                return Err(ScanError::OutOfTime);
            }
            let decoded =
                decode_mcu(scan, frame, tables, &mut bits, &mut carry, (place % wide, place / wide));
            if decoded.is_none() || bits.is_overrun() {
                break;
            }
            good += 1;
        }
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
            && component.last_needed() < 63
        {
            table.prepare_skips();
        }
    }
    Ok(())
}

#[inline(always)]
fn decode_mcu(
    scan: &ScanHeader,
    frame: &mut Frame,
    tables: &Tables,
    bits: &mut Bits<'_>,
    carry: &mut Carry,
    (column, row): (usize, usize),
) -> Option<()> {
    for (index, part) in scan.parts.iter().enumerate() {
        let component = &mut frame.components[part.component];
        let (h, v) = if scan.parts.len() == 1 { (1, 1) } else { (component.h, component.v) };
        for place in 0..h * v {
            let block = (column * h + place % h, row * v + place / h);
            if frame.is_progressive {
                let start = (block.1 * component.padded_wide + block.0) * 64;
                let coefficients = component.coefficients.get_mut(start..start + 64)?.first_chunk_mut()?;
                if scan.first > 0 {
                    let table = tables.ac[part.ac].as_ref()?;
                    if scan.high == 0 {
                        first_ac(scan, table, bits, carry, coefficients)?;
                    } else {
                        refine_ac(scan, table, bits, carry, coefficients)?;
                    }
                } else if scan.high == 0 {
                    let difference = read_dc(tables.dc[part.dc].as_ref()?, bits)?;
                    carry.dc[index] = carry.dc[index].wrapping_add(difference);
                    coefficients[0] = (carry.dc[index] << scan.low) as i16;
                } else if bits.bit() {
                    coefficients[0] |= 1 << scan.low;
                }
            } else {
                let (dc, ac) = (tables.dc[part.dc].as_ref()?, tables.ac[part.ac].as_ref()?);
                sequential(component, dc, ac, bits, &mut carry.dc[index], block)?;
            }
        }
    }
    Some(())
}

#[inline(always)]
fn read_dc(table: &Table, bits: &mut Bits<'_>) -> Option<i32> {
    bits.refill();
    let size = table.symbol(bits)?;
    (size <= 15).then(|| extend(bits.take(size), size))
}

/// Reads one whole block and writes its samples.
#[inline(always)]
fn sequential(
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
    let last = component.last_needed();
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

/// The first scan of a band: as in a sequential file, but runs of empty blocks are counted.
fn first_ac(
    scan: &ScanHeader,
    table: &Table,
    bits: &mut Bits<'_>,
    carry: &mut Carry,
    coefficients: &mut [i16; 64],
) -> Option<()> {
    if carry.end_of_band_run > 0 {
        carry.end_of_band_run -= 1;
        return Some(());
    }
    let mut k = scan.first;
    while k <= scan.last {
        bits.refill();
        let symbol = table.symbol(bits)?;
        let (run, size) = ((symbol >> 4) as usize, symbol & 15);
        if size == 0 {
            if run < 15 {
                carry.end_of_band_run = (1 << run) - 1 + bits.take(run as u32) as u32;
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
fn refine_ac(
    scan: &ScanHeader,
    table: &Table,
    bits: &mut Bits<'_>,
    carry: &mut Carry,
    coefficients: &mut [i16; 64],
) -> Option<()> {
    let step = 1i16 << scan.low;
    let refine = |bits: &mut Bits<'_>, coefficient: &mut i16| {
        if bits.bit() && *coefficient & step == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient >= 0 { step } else { -step });
        }
    };
    let mut k = scan.first;
    if carry.end_of_band_run == 0 {
        while k <= scan.last {
            bits.refill();
            let symbol = table.symbol(bits)?;
            let (mut run, size) = (symbol >> 4, symbol & 15);
            let mut new = 0;
            if size > 0 {
                new = if bits.bit() { step } else { -step };
            } else if run < 15 {
                carry.end_of_band_run = (1 << run) + bits.take(run) as u32;
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
    if carry.end_of_band_run > 0 {
        for coefficient in &mut coefficients[k..=scan.last] {
            if *coefficient != 0 {
                refine(bits, coefficient);
            }
        }
        carry.end_of_band_run -= 1;
    }
    Some(())
}
