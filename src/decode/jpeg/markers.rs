//! The segments of a JPEG between its markers.

use super::huffman::Table;
use super::scan::Tables;

/// One segment: its marker, its body without marker and length, and where the next one begins.
pub(super) struct Segment<'a> {
    pub marker: u8,
    pub body: &'a [u8],
    pub end: usize,
}

pub(super) const END_OF_IMAGE: u8 = 0xd9;
pub(super) const START_OF_SCAN: u8 = 0xda;
const TOO_EARLY: &str = "the file ends too early";

/// Reads the segment at or after `at`. Between segments there may be fill bytes, and in files of careless
/// writers anything.
pub(super) fn next_segment(bytes: &[u8], at: usize) -> Result<Segment<'_>, &'static str> {
    let (marker, start) = next_marker(bytes, at).ok_or(TOO_EARLY)?;
    if matches!(marker, 0x01 | 0xd0..=0xd9) {
        return Ok(Segment { marker, body: &[], end: start }); // no length follows
    }
    let len = bytes.get(start..).and_then(|rest| rest.first_chunk()).copied().map(u16::from_be_bytes);
    let end = start + usize::from(len.ok_or(TOO_EARLY)?);
    if end < start + 2 {
        return Err("a segment has an impossible length");
    }
    Ok(Segment { marker, body: bytes.get(start + 2..end).ok_or(TOO_EARLY)?, end })
}

fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr::memchr(0xff, bytes.get(at..)?)?;
        at += bytes[at..].iter().position(|&byte| byte != 0xff)?;
        if bytes[at] != 0 {
            return Some((bytes[at], at + 1));
        }
    }
}

/// Returns where the marker behind a scan's entropy-coded bytes is, past all restart markers.
pub(super) fn end_of_scan(bytes: &[u8], mut at: usize) -> usize {
    while let Some((marker, next)) = next_marker(bytes, at) {
        if !matches!(marker, 0xd0..=0xd7) {
            return next - 2;
        }
        at = next;
    }
    bytes.len()
}

/// How the frame is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Sequential,
    Progressive,
    Lossless,
    Hierarchical,
    Arithmetic,
}

/// What the SOF segment says.
#[derive(Debug)]
pub(super) struct FrameHeader {
    pub coding: Coding,
    pub is_progressive: bool,
    /// Bits a sample.
    pub bits: u8,
    pub width: u32,
    pub height: u32,
    pub components: Vec<ComponentHeader>,
}

/// One component of the frame.
#[derive(Debug)]
pub(super) struct ComponentHeader {
    pub id: u8,
    /// Sampling, 1 to 4.
    pub h: u8,
    pub v: u8,
    /// Quantisation table, 0 to 3.
    pub quantisation: u8,
}

impl FrameHeader {
    fn read(marker: u8, body: &[u8]) -> Result<Self, &'static str> {
        let &[bits, h1, h0, w1, w0, count, ref rest @ ..] = body else {
            return Err("the frame header is too short");
        };
        let coding = match marker {
            0xc0 | 0xc1 => Coding::Sequential,
            0xc2 => Coding::Progressive,
            0xc3 => Coding::Lossless,
            0xc5..=0xc7 => Coding::Hierarchical,
            _ => Coding::Arithmetic,
        };
        let (parts, _) = rest.as_chunks::<3>();
        let parts = parts.get(..usize::from(count)).ok_or("the frame header is too short")?;
        let components = parts
            .iter()
            .map(|&[id, sampling, quantisation]| {
                let (h, v) = (sampling >> 4, sampling & 15);
                if !(1..=4).contains(&h) || !(1..=4).contains(&v) || quantisation > 3 {
                    return Err("the frame header has an impossible component");
                }
                Ok(ComponentHeader { id, h, v, quantisation })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            coding,
            is_progressive: coding == Coding::Progressive,
            bits,
            width: u32::from(u16::from_be_bytes([w1, w0])),
            height: u32::from(u16::from_be_bytes([h1, h0])),
            components,
        })
    }
}

/// What the SOS segment says.
#[derive(Debug)]
pub(super) struct ScanHeader {
    pub parts: Vec<ScanPart>,
    /// The band of zigzag indices.
    pub first: usize,
    pub last: usize,
    /// The bit below which earlier scans stopped, 0 in a first scan; and that below which this one stops.
    pub high: u32,
    pub low: u32,
}

/// One component of a scan.
#[derive(Debug)]
pub(super) struct ScanPart {
    /// Index of the component in the frame.
    pub component: usize,
    pub dc: usize,
    pub ac: usize,
}

impl ScanHeader {
    pub(super) fn read(body: &[u8], frame: &FrameHeader) -> Result<Self, &'static str> {
        let impossible = "a scan header is impossible";
        let (&count, rest) = body.split_first().ok_or(impossible)?;
        let (parts, band) = rest.split_at_checked(2 * usize::from(count)).ok_or(impossible)?;
        let &[first, last, bits, ..] = band else {
            return Err(impossible);
        };
        let mut scan = Self {
            parts: Vec::new(),
            first: usize::from(first),
            last: usize::from(last),
            high: u32::from(bits >> 4),
            low: u32::from(bits & 15),
        };
        for &[id, selectors] in parts.as_chunks::<2>().0 {
            let component = frame.components.iter().position(|it| it.id == id).ok_or(impossible)?;
            let (dc, ac) = (usize::from(selectors >> 4), usize::from(selectors & 15));
            if dc > 3 || ac > 3 || scan.parts.iter().any(|part| part.component == component) {
                return Err(impossible);
            }
            scan.parts.push(ScanPart { component, dc, ac });
        }
        let band_is_possible = scan.first <= scan.last
            && scan.last <= 63
            && scan.low <= 13
            && (scan.first > 0 || scan.last == 0)
            && (scan.first == 0 || scan.parts.len() == 1);
        if scan.parts.is_empty() || (frame.is_progressive && !band_is_possible) {
            return Err(impossible);
        }
        Ok(scan)
    }
}

/// What stands before the first scan.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub frame: FrameHeader,
    /// The EXIF block, from its byte-order mark on.
    pub exif: Option<&'a [u8]>,
    pub is_jfif: bool,
    /// The colour transform that Adobe's segment names.
    pub adobe: Option<u8>,
    /// The numbered parts of the ICC profile.
    profile_parts: Vec<(u8, &'a [u8])>,
}

impl<'a> Header<'a> {
    /// Walks the segments up to the first scan.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (mut frame, mut exif, mut is_jfif, mut adobe) = (None, None, false, None);
        let mut profile_parts = Vec::new();
        let mut at = 2;
        loop {
            let Segment { marker, body, end } = next_segment(bytes, at)?;
            at = end;
            match marker {
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    if frame.is_some() {
                        return Err("it has two frame headers");
                    }
                    frame = Some(FrameHeader::read(marker, body)?);
                }
                0xe0 => is_jfif |= body.starts_with(b"JFIF\0"),
                0xe1 if exif.is_none() => exif = body.strip_prefix(b"Exif\0\0"),
                0xe2 => {
                    if let Some([number, _, part @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
                        profile_parts.push((*number, part));
                    }
                }
                0xee if body.starts_with(b"Adobe") => adobe = body.get(11).copied(),
                START_OF_SCAN | END_OF_IMAGE => break,
                _ => {}
            }
        }
        let frame = frame.ok_or("it has no frame header")?;
        Ok(Self { frame, exif, is_jfif, adobe, profile_parts })
    }

    /// Joins the parts of the ICC profile in their order.
    pub(super) fn profile(&self) -> Option<Vec<u8>> {
        let mut parts = self.profile_parts.clone();
        parts.sort_by_key(|&(number, _)| number);
        (!parts.is_empty()).then(|| parts.iter().flat_map(|(_, part)| part.iter().copied()).collect())
    }
}

impl Tables {
    /// Takes in a segment that sets tables; others do nothing.
    pub(super) fn set(&mut self, marker: u8, body: &[u8]) -> Result<(), &'static str> {
        match marker {
            0xc4 => self.set_huffman(body),
            0xdb => self.set_quantisation(body),
            0xdd => {
                let interval = body.first_chunk().ok_or("a restart interval is too short")?;
                self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_huffman(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        let impossible = "a Huffman table is impossible";
        while let Some((&selector, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(impossible)?;
            let len = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, rest) = rest.split_at_checked(len).ok_or(impossible)?;
            let tables = if selector >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let table = tables.get_mut(usize::from(selector & 15)).ok_or(impossible)?;
            *table = Some(Table::new(counts, values).map_err(|_| impossible)?);
            body = rest;
        }
        Ok(())
    }

    fn set_quantisation(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        let impossible = "a quantisation table is impossible";
        while let Some((&selector, rest)) = body.split_first() {
            let table = self.quantisation.get_mut(usize::from(selector & 15)).ok_or(impossible)?;
            let (factors, rest) = match selector >> 4 {
                0 => {
                    let (raw, rest) = rest.split_first_chunk::<64>().ok_or(impossible)?;
                    (raw.map(u16::from), rest)
                }
                _ => {
                    let (raw, rest) = rest.split_first_chunk::<128>().ok_or(impossible)?;
                    (std::array::from_fn(|k| u16::from_be_bytes([raw[2 * k], raw[2 * k + 1]])), rest)
                }
            };
            *table = Some(factors);
            body = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] = b"\xff\xc2\0\x0b\x08\0\x10\0\x20\x01\x01\x11\0";
    const SCAN: &[u8] = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0";

    #[test]
    fn the_segments_before_the_scan_are_read() {
        let exif = b"\xff\xe1\0\x0aExif\0\0II";
        let parts = b"\xff\xe2\0\x11ICC_PROFILE\0\x02\x02B\xff\xe2\0\x11ICC_PROFILE\0\x01\x02A";
        let file = [b"\xff\xd8".as_slice(), exif, b"\xff\xff", &parts[1..], FRAME, SCAN].concat();
        let header = Header::read(&file).unwrap();
        assert_eq!((header.frame.width, header.frame.height, header.frame.bits), (32, 16, 8));
        assert_eq!((header.frame.components.len(), header.frame.coding), (1, Coding::Progressive));
        assert_eq!(header.exif, Some(b"II".as_slice()));
        assert_eq!(header.profile(), Some(b"AB".to_vec()));
    }

    #[test]
    fn a_file_without_a_picture_says_so() {
        let check = |parts: &[&[u8]], expected: &str| {
            assert_eq!(Header::read(&parts.concat()).unwrap_err(), expected);
        };
        check(&[b"\xff\xd8"], "the file ends too early");
        check(&[b"\xff\xd8", SCAN], "it has no frame header");
        check(&[b"\xff\xd8", b"\xff\xe0\0\x01"], "a segment has an impossible length");
        check(&[b"\xff\xd8", FRAME, FRAME, SCAN], "it has two frame headers");
    }

    #[test]
    fn the_end_of_a_scan_lies_behind_its_restart_markers() {
        assert_eq!(end_of_scan(b"ab\xff\0c\xff\xd0d\xff\xff\xd9", 0), 9);
        assert_eq!(end_of_scan(b"ab\xff\0c", 0), 5);
    }
}
